"""One run of the loader: what it brings along, what was asked, what became known on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

from loader.digest import Digest
from loader.errors import AirlockError
from loader.limits import DEFAULT_LIMITS, Limits
from loader.model.fields import format_instant
from loader.state.record import Attempt, AttemptedClaim, AttemptedImage, Failure, Outcome
from loader.trust.freshness import Reckoned

if TYPE_CHECKING:
    from loader.model.bundle import BundleStatement
    from loader.model.descriptor import Platform
    from loader.places import Places
    from loader.policy.facts import ImageJudgement, Judgement
    from loader.policy.model import Policy
    from loader.runtime.base import Receipt
    from loader.state.admission import Admission
    from loader.state.signing import Signer
    from loader.trust.freshness import AnchorAge
    from loader.trust.store import TrustStore

REFUSED_IMAGE_COUNT_MAX: Final = 100
"""Images of a refused bundle that its record lists: anybody can make bundles to be refused, and
ten thousand names are six megabytes of ledger that nobody ever removes."""


class Progress(Protocol):
    """Somebody who is told how far the layers are."""

    def begin(self, what: str, size: int) -> None:
        """Learn that so many bytes will come."""

    def advance(self, size: int) -> None:
        """Learn that so many came."""

    def end(self) -> None:
        """Learn that all came, or that none will come any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What this host brings along, before anything of the bundle is known."""

    places: Places
    policy: Policy
    trust: TrustStore
    now: datetime
    version: str
    limits: Limits = DEFAULT_LIMITS
    signer: Signer | None = None
    """Who signs records; None takes the key in the state folder."""
    least: Mapping[str, int] = field(default_factory=dict)
    """By channel, the sequence that `config.toml` says even a host without memory knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the operator asked for."""

    target: str
    """The runtime, as the ledger keys it: two folders are two targets."""
    platform: Platform | None
    """None asks for all that there is."""
    allow_downgrade: str | None = None


@dataclass(slots=True, kw_only=True)
class Trace:
    """What became known on the way, for verdict and ledger; nothing is ever decided by it."""

    archive: str = ""
    """The archive's path, as messages show it."""
    size: int = 0
    bytes_read: int = 0
    layers_read: int = 0
    """Bytes of layers that were taken from the archive."""
    statement: BundleStatement | None = None
    signatures: tuple[bytes, ...] = ()
    """The statement's signatures, as they came."""
    trust: TrustStore | None = None
    """The anchors as this host remembers them, before anything of the bundle renewed them."""
    judgement: Judgement | None = None
    floor: datetime | None = None
    """The newest verified time that this host ever saw before."""
    admission: Admission | None = None
    receipts: list[Receipt] = field(default_factory=list)
    intended: tuple[tuple[str, str, str], ...] = ()
    warnings: list[str] = field(default_factory=list)

    def time(self, host: Host) -> Reckoned:
        """Return what time it is, by what is known so far."""
        evidence = None if self.judgement is None else self.judgement.reference_time
        return Reckoned(clock=host.now, floor=self.floor, evidence=evidence)

    def anchors(self, host: Host) -> TrustStore:
        """Return the anchors that judged, or would have."""
        if self.judgement is not None:
            return self.judgement.renewal.trust
        return self.trust or host.trust

    def ages(self, host: Host, time: Reckoned) -> tuple[AnchorAge, ...]:
        """Return how old each of them is at a time."""
        return self.anchors(host).ages(host.policy.anchor_rules, time)

    def witnessed_logs(self, host: Host) -> frozenset[str]:
        """Return the ids of the logs that policy wants witnessed."""
        rules = host.policy.anchor_rules
        wanted = [rule.name for rule in rules if rule.witness == "require"]
        return self.anchors(host).logs_of(wanted)

    def attempt(self, host: Host, wish: Wish, outcome: Outcome) -> Attempt:
        """Return the ledger's record of what is known so far."""
        return self._attempt(host, wish, outcome, failure=None)

    def failed(self, host: Host, wish: Wish, outcome: Outcome, error: BaseException) -> Attempt:
        """Return the ledger's record of an attempt that ended with an error."""
        failure = (
            Failure(code=error.code, message=error.message, where=error.where)
            if isinstance(error, AirlockError)
            else Failure(code="internal.bug", message=type(error).__name__)
        )
        return self._attempt(host, wish, outcome, failure=failure)

    def _reckoned(self, host: Host) -> Iterator[str]:
        """Yield what time was taken for now, how old that made each anchor, how logs stood."""
        time = self.time(host)
        yield f"time {format_instant(time.at)}, {time.words}"
        for age in self.ages(host, time):
            if age.holds != "undated":
                yield f"anchor {age.name}: {age.words}"
        for log in () if self.admission is None else self.admission.logs:
            yield f"log {log.origin or log.name}: {log.words}"

    def _attempt(
        self, host: Host, wish: Wish, outcome: Outcome, *, failure: Failure | None
    ) -> Attempt:
        statement, judgement, admission = self.statement, self.judgement, self.admission
        receipts = {receipt.reference.tagged: receipt for receipt in self.receipts}
        images = () if judgement is None else judgement.images
        warnings = tuple(self.warnings)
        if outcome == "refused" and len(images) > REFUSED_IMAGE_COUNT_MAX:
            warnings += (f"{len(images) - REFUSED_IMAGE_COUNT_MAX} more images are not listed",)
            images = images[:REFUSED_IMAGE_COUNT_MAX]
        return Attempt(
            verb="load",
            outcome=outcome,
            at=host.now,
            loader=host.version,
            archive=self.archive,
            target=wish.target,
            statement=None if statement is None else statement.digest,
            signatures=tuple(Digest.of(raw) for raw in self.signatures),
            created=None if statement is None else statement.created,
            channel=None if statement is None else statement.channel,
            sequence=None if statement is None else statement.sequence,
            policy=host.policy.digest,
            variables=host.policy.variables,
            anchors=tuple(
                (anchor.name, anchor.file_digest) for anchor in self.anchors(host).anchors
            ),
            trust=()
            if judgement is None or outcome in {"refused", "failed"}
            else tuple(change.kept() for change in judgement.learned.changes if change.moved),
            time=None if judgement is None else judgement.reference_time,
            images=tuple(
                _attempted(image, receipts.get(image.name.reference.tagged)) for image in images
            ),
            exceptions=tuple(
                dict.fromkeys(words for image in images for words in image.exceptions)
            ),
            downgrade=None if admission is None else admission.reason,
            downgrades=() if admission is None else admission.downgrades,
            notes=tuple(self._reckoned(host)),
            warnings=warnings,
            failure=failure,
        )


def _attempted(image: ImageJudgement, receipt: Receipt | None) -> AttemptedImage:
    return AttemptedImage(
        name=image.name.reference.tagged,
        packed_as=str(image.entry.reference),
        image=image.entry.image.digest,
        evidence=tuple(dict.fromkeys(d for claim in image.claims for d in claim.evidence)),
        claims=tuple(
            AttemptedClaim(words=claim.words, who=claim.who, at=claim.at)
            for claim in image.claims
            if claim.holds == "met"
        ),
        at=image.at,
        what="" if receipt is None else receipt.what,
        manifests=() if receipt is None else receipt.manifests,
        brought=() if receipt is None else receipt.brought,
        read_back=() if receipt is None else receipt.read_back,
    )
