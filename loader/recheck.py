"""`verify-local`: what runtimes have now, judged again from kept evidence under today's policy.

No archive is at hand. For every image that this host let in: the record that did so, the statement
and signatures that the record names, the small members that were kept with them, through the same
judge; and the runtime is asked what stands under the name now. Each of these may answer for itself:
an image may be denied and still be there, or be gone and still be good. Nothing is changed.

A bundle that has expired since is no fault: its end says until when it may be loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from loader.errors import (
    AirlockError,
    DigestError,
    DriftError,
    GoneError,
    InputError,
    KeptEvidenceError,
    MissingError,
    NotaryError,
    PolicyError,
    PolicyFileError,
    RollbackError,
    RuntimeGoneError,
    RuntimeMismatchError,
    TrustRootError,
    shown,
)
from loader.graph import read_graph
from loader.judge import judge, judge_statement
from loader.model.bundle import BundleStatement
from loader.model.reference import Reference
from loader.policy.decide import refusal
from loader.policy.facts import Judgement
from loader.renewal import remembered
from loader.runtime.base import Expected
from loader.trust.freshness import Reckoned
from loader.trust.memory import NO_MEMORY, TrustMemory

if TYPE_CHECKING:
    from loader.digest import Digest
    from loader.graph import ImageGraph
    from loader.model.bundle import ImageEntry
    from loader.policy.facts import ImageJudgement
    from loader.run import Host
    from loader.runtime.base import Runtime
    from loader.state.evidence import EvidenceStore
    from loader.state.ledger import Look
    from loader.state.record import Attempt, AttemptedImage, Record

_GOOD: Final = frozenset({"loaded", "already-there"})
_HINT: Final = "load the bundle once more: that keeps its evidence again"
T = TypeVar("T")
There = Literal["same", "gone", "changed", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An image that this host let in, by the last record that did."""

    target: str
    record: Record
    image: AttemptedImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Recheck:
    """What became of one image."""

    held: Held
    judgement: ImageJudgement | None
    """None where it could not be judged, or the bundle was refused before its images were."""
    refused: AirlockError | None
    """Why it would not be let in today, or could not be judged."""
    there: There
    facts: tuple[tuple[str, str], ...]
    drift: AirlockError | None
    """Why what the runtime has is not what was let in, or could not be told."""
    expired: bool = False
    """Whether the bundle's own time has run out since."""
    older_trust: bool = False
    """Whether it was judged by the trust material that it carries, and a newer one is known."""

    @property
    def error(self) -> AirlockError | None:
        """The first check that failed, in the order of a load."""
        return self.refused or self.drift


def held_images(records: Iterable[Record]) -> tuple[Held, ...]:
    """Return what is under each name of each target, as the records, newest first, say."""
    found: dict[tuple[str, str], Held] = {}
    for record in records:
        attempt = record.attempt
        if attempt.outcome not in _GOOD:
            continue
        for image in attempt.images:
            place = attempt.target, image.name
            found.setdefault(place, Held(target=attempt.target, record=record, image=image))
    return tuple(found[place] for place in sorted(found))


def recheck(
    held: Iterable[Held],
    host_for: Callable[[Attempt], Host],
    runtimes: Mapping[str, Runtime | AirlockError],
    store: EvidenceStore | AirlockError,
    *,
    seen: Look,
) -> Iterator[Recheck]:
    """Judge and compare one image after the other; a bundle is judged once for all of its images.

    Args:
        held: what is to be looked at.
        host_for: gives today's policy, anchors and clock, the policy filled with the variables
            that the attempt was judged with.
        runtimes: each target's, or why it cannot be asked.
        store: kept evidence, or why there is none.
        seen: the host's memory: its newest verified time, its trust material.
    """
    hosts: dict[tuple[tuple[str, str], ...], Host | AirlockError] = {}
    bundles: dict[object, _Bundle | AirlockError] = {}
    for one in held:
        attempt = one.record.attempt
        key = attempt.statement, attempt.signatures, attempt.variables
        if attempt.variables not in hosts:
            hosts[attempt.variables] = _host(attempt, host_for)
        host = hosts[attempt.variables]
        if isinstance(host, AirlockError):
            bundles[key] = host
        elif key not in bundles:
            now = Reckoned(clock=host.now, floor=seen.floors.time, evidence=None).at
            bundles[key] = _judged(attempt, host, store, now=now, memory=seen.trust)
        yield _recheck(one, bundles[key], runtimes[one.target])


def _host(attempt: Attempt, host_for: Callable[[Attempt], Host]) -> Host | AirlockError:
    try:
        return host_for(attempt)
    except (PolicyFileError, InputError) as e:
        # Perhaps a variable that this attempt knew nothing of: the others can still be judged.
        # Where it is the policy or an anchor that cannot be read, that is said of each.
        return e


def _judged(
    attempt: Attempt,
    host: Host,
    store: EvidenceStore | AirlockError,
    *,
    now: datetime,
    memory: TrustMemory,
) -> _Bundle | AirlockError:
    return _caught(
        lambda: _Bundle.judged(
            attempt.statement, attempt.signatures, host, store, now=now, memory=memory
        )
    )


def _recheck(
    held: Held, bundle: _Bundle | AirlockError, runtime: Runtime | AirlockError
) -> Recheck:
    if isinstance(bundle, AirlockError):
        return Recheck(
            held=held,
            judgement=None,
            refused=bundle,
            there="unknown",
            facts=(),
            drift=runtime if isinstance(runtime, AirlockError) else None,
        )
    entry = bundle.entry(held.image)
    if isinstance(entry, AirlockError):
        return Recheck(
            held=held, judgement=None, refused=entry, there="unknown", facts=(), drift=None
        )
    there, facts, drift = _compared(held, _caught(lambda: bundle.graph(entry)), runtime)
    return Recheck(
        held=held,
        judgement=bundle.judgement_of(entry),
        refused=bundle.refusal_of(entry),
        there=there,
        facts=facts,
        drift=drift,
        expired=bundle.expired,
        older_trust=bundle.older_trust,
    )


def _compared(
    held: Held, graph: ImageGraph | AirlockError, runtime: Runtime | AirlockError
) -> tuple[There, tuple[tuple[str, str], ...], AirlockError | None]:
    if isinstance(graph, AirlockError):
        return "unknown", (), graph
    if isinstance(runtime, AirlockError):
        return "unknown", (), runtime
    wanted = set(held.image.manifests)
    selection = tuple(kept for kept in graph.kept if kept.digest in wanted) or graph.kept
    try:
        expected = Expected(
            reference=Reference.parse(held.image.name), graph=graph, selection=selection
        )
        return "same", runtime.compare(expected), None
    except RuntimeGoneError as e:
        return "gone", (), _drift(GoneError, held, e)
    except RuntimeMismatchError as e:
        return "changed", (), _drift(DriftError, held, e)
    except AirlockError as e:
        return "unknown", (), e


def _drift(kind: type[DriftError], held: Held, e: RuntimeMismatchError) -> AirlockError:
    return kind(
        e.message,
        where=f"{held.image.name} in {held.target}",
        expected=e.expected,
        found=e.found,
        hint="find out who did it; to have it as it was: load the bundle once more",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bundle:
    """A bundle that was judged again, whatever came of it."""

    statement: BundleStatement
    judgement: Judgement | None
    error: PolicyError | None
    store: EvidenceStore
    host: Host
    expired: bool
    older_trust: bool

    @classmethod
    def judged(
        cls,
        digest: Digest | None,
        signatures: tuple[Digest, ...],
        host: Host,
        store: EvidenceStore | AirlockError,
        *,
        now: datetime,
        memory: TrustMemory,
    ) -> _Bundle:
        """Judge it by what was kept.

        Raises:
            KeptEvidenceError: something of it is gone, or was changed.
        """
        if isinstance(store, AirlockError):
            raise store
        if digest is None:
            raise KeptEvidenceError("the record names no statement", hint=_HINT)
        limits = host.limits
        try:
            raw = store.bytes_of(digest, size_max=limits.statement_size_max)
            signed = tuple(
                store.bytes_of(one, size_max=limits.statement_signature_size_max)
                for one in signatures
            )
            statement = BundleStatement.parse(raw, limits=limits)
            expired = statement.expires is not None and statement.expires < now
            # The raw bytes, which signatures cover, stay as they are.
            lasting = replace(statement, expires=None)
            try:
                judgement, error = cls._judge(lasting, signed, host, store, now, memory)
                older = False
            except (NotaryError, TrustRootError, RollbackError):
                # This host has seen newer trust material than the bundle carries: judged by its
                # own, as it was then, and said.
                judgement, error = cls._judge(lasting, signed, host, store, now, NO_MEMORY)
                older = True
        except (MissingError, DigestError) as e:
            raise KeptEvidenceError(
                f"what this was let in by cannot be judged again: {e.message}",
                where=e.where,
                expected=e.expected,
                found=e.found,
                hint=_HINT,
            ) from e
        return cls(
            statement=statement,
            judgement=judgement,
            error=error,
            store=store,
            host=host,
            expired=expired,
            older_trust=older,
        )

    @staticmethod
    def _judge(
        statement: BundleStatement,
        signatures: tuple[bytes, ...],
        host: Host,
        store: EvidenceStore,
        now: datetime,
        memory: TrustMemory,
    ) -> tuple[Judgement | None, PolicyError | None]:
        policy, limits = host.policy, host.limits
        try:
            trust = remembered(host.trust, memory)
            claims = judge_statement(
                statement, signatures, policy=policy, trust=trust, now=now, limits=limits
            )
            judged = judge(
                statement,
                claims,
                store,
                policy=policy,
                trust=trust,
                now=now,
                memory=memory,
                limits=limits,
            )
        except PolicyError as e:
            return (e.judgement if isinstance(e.judgement, Judgement) else None), e
        return judged.value, None

    def entry(self, image: AttemptedImage) -> ImageEntry | AirlockError:
        for entry in self.statement.images:
            if str(entry.reference) == image.packed_as and entry.image.digest == image.image:
                return entry
        return KeptEvidenceError(
            "the statement that was kept does not hold this image", where=shown(image.packed_as)
        )

    def graph(self, entry: ImageEntry) -> ImageGraph:
        return read_graph(entry, self.store, limits=self.host.limits)

    def judgement_of(self, entry: ImageEntry) -> ImageJudgement | None:
        images = () if self.judgement is None else self.judgement.images
        return next((image for image in images if image.entry == entry), None)

    def refusal_of(self, entry: ImageEntry) -> PolicyError | None:
        """Return why this image would not be let in: its own problems, and the whole bundle's."""
        if self.error is None:
            return None
        if self.judgement is None:
            return self.error
        others = {str(e.reference) for e in self.statement.images} - {str(entry.reference)}
        mine = tuple(item for item in self.judgement.problems if item[0] not in others)
        return refusal(replace(self.judgement, problems=mine)) if mine else None


def _caught(work: Callable[[], T]) -> T | AirlockError:
    try:
        return work()
    except AirlockError as e:
        return e
