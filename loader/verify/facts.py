"""What verification found out about one piece of evidence. Policy judges these facts alone.

`Signed` exists only inside `Verified[Signed]`, and that only `sigstore.py` mints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, assert_never

from loader.digest import Digest
from loader.model.simplesigning import SimpleSigning
from loader.model.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from loader.model.checkpoint import Checkpoint

SanKind = Literal["uri", "email", "other-name"]
Checked = Literal["verified", "absent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySigner:
    """Whoever holds the private half of a pinned key."""

    name: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSigner:
    """Whom a certificate authority of the trusted root vouched for."""

    san: str
    san_kind: SanKind
    issuer: str
    """Who vouched to the authority (the OIDC issuer); empty where the certificate does not say."""
    extensions: Mapping[str, str]
    """Fulcio's extensions by the last number of their OID (1.3.6.1.4.1.57264.1.N)."""
    certificate: bytes


Signer: TypeAlias = KeySigner | CertificateSigner


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTime:
    """A time at which the signature existed, and who says so."""

    source: Literal["log", "timestamp"]
    at: datetime
    authority: str


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class LogTree:
    """One state of one tree of one log. Rekor v1 signs every tree with the same key."""

    log: str
    """The log's id, hexadecimal."""
    origin: str
    """What the log calls the tree in its checkpoints."""
    size: int
    root_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LogProof:
    """An entry of a known log that records this signature; promise or proof is verified."""

    log: str
    """The log's id, hexadecimal: what a threshold counts."""
    name: str
    log_index: int | None
    """Where the log says that the entry stands; None where it signed no such thing: a proof from
    Rekor v1 is about the place in one of its trees, and anybody may write another one beside it."""
    promise: Checked
    proof: Checked
    checkpoint: Checkpoint | None
    """Verified, where there is a proof: a state of the log that this host may remember."""

    @property
    def tree(self) -> LogTree | None:
        """The tree that the proof is about; None where the log only promised."""
        if self.checkpoint is None:
            return None
        return LogTree(
            log=self.log,
            origin=self.checkpoint.origin,
            size=self.checkpoint.size,
            root_hash=self.checkpoint.root_hash,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDigest:
    """An artifact that was signed as such."""

    digest: Digest


Payload: TypeAlias = SimpleSigning | Statement | MessageDigest


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """One signature that holds, and everything known of it."""

    evidence_digest: Digest
    format: str
    """In words: "bundle v0.3", "cosign signature"."""
    payload: Payload
    signer: Signer
    times: tuple[SignedTime, ...]
    logs: tuple[LogProof, ...]
    sct_count: int
    """Distinct certificate transparency logs that promised the certificate."""

    @property
    def subjects(self) -> frozenset[Digest]:
        """The digests of everything that it speaks of."""
        match self.payload:
            case SimpleSigning(digest=digest) | MessageDigest(digest=digest):
                return frozenset({digest})
            case Statement() as statement:
                return statement.digests
            case _:
                assert_never(self.payload)

    @property
    def predicate_type(self) -> str:
        """What kind of thing a statement says; empty for signatures of other formats."""
        return self.payload.predicate_type if isinstance(self.payload, Statement) else ""
