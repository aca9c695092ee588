"""What is denied, whoever signed it: a digest, an identity, a key, or what is older than a date.

    [[deny]] of the policy             by the operator of this host
    deny lists that a bundle carries   by whom the policy names; applied to that very bundle
    deny lists of bundles before       remembered with what this host accepted; they only grow

An image whose digest is denied is refused. Evidence by a denied signer counts for nothing, and an
image that has no other is refused as denied: a key that was stolen signs well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Final

from loader.digest import Digest
from loader.errors import DeniedError, FormatError, PolicyFileError, shown
from loader.model.fields import format_instant
from loader.policy.facts import Problem
from loader.policy.keys import Day, Key, Text, names_of
from loader.policy.patterns import Glob
from loader.verify.facts import CertificateSigner, KeySigner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loader.graph import ImageGraph
    from loader.model.reference import Reference
    from loader.policy.toml import Table
    from loader.verify.facts import Signed, Signer

DENIAL_COUNT_MAX: Final = 10_000
KEY_FINGERPRINT: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)

DENY_KEYS: Final = (
    Key(
        name="digest",
        form=Text(pattern="sha256:[0-9a-f]{64}"),
        words="an image, or a platform's manifest or configuration",
    ),
    Key(
        name="identity",
        form=Text(),
        words="whom a certificate names; its signatures count no more",
    ),
    Key(name="issuer", form=Text(), words="only as this issuer vouched for that identity"),
    Key(
        name="key",
        form=Text(),
        words="an anchor's name, or sha256: of the key's DER; its signatures count no more",
    ),
    Key(
        name="before",
        form=Day(),
        words="only what was signed before this day; alone: every image that was",
    ),
    Key(name="image", form=Text(), words="only images whose name fits this glob"),
    Key(name="reason", form=Text(), words="why", required=True),
)
"""The keys of `[[deny]]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """One thing that is denied. All that is named must fit."""

    reason: str
    source: str
    """Who says so, in words: the policy's place, or who signed the list."""
    digest: Digest | None = None
    identity: str = ""
    issuer: str = ""
    key: str = ""
    before: datetime | None = None
    image: Glob | None = None

    @property
    def words(self) -> str:
        """What is denied."""
        parts = [str(self.digest)] if self.digest is not None else []
        parts += [f"identity {shown(self.identity)}"] if self.identity else []
        parts += [f"by issuer {shown(self.issuer)}"] if self.issuer else []
        parts += [f"key {shown(self.key)}"] if self.key else []
        parts += [f"signed before {format_instant(self.before)}"] if self.before else []
        return ", ".join(parts)

    def denies_signer(self, signed: Signed, reference: Reference | None) -> bool:
        """Tell whether evidence by this signer, of this time, counts for nothing."""
        if self.digest is not None or not self._is_by(signed.signer) or not self._fits(reference):
            return False
        # What nobody dates may be from any time.
        times = [found.at for found in signed.times]
        return self.before is None or not times or min(times) < self.before

    def denies_image(self, graph: ImageGraph, reference: Reference, at: datetime | None) -> bool:
        """Tell whether an image is denied: by its digest, or by the time of its evidence."""
        if self.identity or self.key or not self._fits(reference):
            return False
        old = self.before is None or at is None or at < self.before
        return old and (
            self.digest is None
            or self.digest in graph.digests
            or any(blob.digest == self.digest for blob in graph.metadata)
        )

    def _is_by(self, signer: Signer) -> bool:
        match signer:
            case KeySigner(name=name, fingerprint=fingerprint):
                return bool(self.key) and self.key in {name, f"sha256:{fingerprint}"}
            case CertificateSigner(san=san, issuer=issuer):
                return bool(self.identity) and (
                    san == self.identity and self.issuer in {"", issuer}
                )

    def _fits(self, reference: Reference | None) -> bool:
        return self.image is None or (reference is not None and self.image.matches(reference))


def read_denials(table: Table) -> tuple[Denial, ...]:
    """Return the `[[deny]]` tables.

    Raises:
        PolicyFileError: one denies nothing, two things at once, or gives no reason.
    """
    return tuple(_denial(item) for item in table.each("deny", count_max=DENIAL_COUNT_MAX))


def _denial(table: Table) -> Denial:
    table.only(names_of(DENY_KEYS))
    named = [name for name in ("digest", "identity", "key") if table.has(name)]
    if len(named) > 1 or (not named and not table.has("before")):
        raise PolicyFileError(
            "not exactly one thing that is denied",
            where=table.path,
            expected="`digest`, `identity`, `key`, or `before` alone",
            found=", ".join(named) or "none",
        )
    if table.has("issuer") and not table.has("identity"):
        raise PolicyFileError("an issuer without an identity", where=table.at("issuer"))
    key = table.optional_text("key") or ""
    if ":" in key and KEY_FINGERPRINT.fullmatch(key) is None:
        raise PolicyFileError(
            "neither the name of an anchor nor a key's fingerprint",
            where=table.at("key"),
            expected="sha256: and 64 digits of 0-9a-f",
            found=shown(key),
        )
    return Denial(
        reason=table.text("reason"),
        source=table.path,
        digest=_digest(table) if table.has("digest") else None,
        identity=table.optional_text("identity") or "",
        issuer=table.optional_text("issuer") or "",
        key=key,
        before=datetime.combine(table.day("before"), time.min, tzinfo=UTC)
        if table.has("before")
        else None,
        image=Glob.parse(table.text("image"), where=table.at("image"))
        if table.has("image")
        else None,
    )


def _digest(table: Table) -> Digest:
    try:
        return Digest.parse(table.text("digest"), where=table.at("digest"))
    except FormatError as e:
        raise PolicyFileError(
            "not a digest", where=table.at("digest"), expected="sha256:…", found=e.found
        ) from e


def denied_signer(
    signed: Signed, reference: Reference | None, denials: Sequence[Denial]
) -> Problem | None:
    """Return why evidence by this signer counts for nothing, or None; a bundle has no reference."""
    for one in denials:
        if one.denies_signer(signed, reference):
            return _problem("its signer is denied", one)
    return None


def denied_image(
    graph: ImageGraph, reference: Reference, at: datetime | None, denials: Sequence[Denial]
) -> tuple[Problem, ...]:
    """Return why an image is denied: nothing, where it is not."""
    return tuple(
        _problem("this image is denied", one)
        for one in denials
        if one.denies_image(graph, reference, at)
    )


def _problem(message: str, denial: Denial) -> Problem:
    return Problem(
        code=DeniedError.code,
        message=message,
        expected="nothing that a deny list names",
        found=f"{denial.words}: {shown(denial.reason)[1:-1]} ({denial.source})",
    )
