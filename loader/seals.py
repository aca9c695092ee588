"""Signatures of the bundle statement: who sealed a bundle, of those whom policy asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loader.digest import Digest
from loader.errors import (
    FormatError,
    VerificationError,
)
from loader.model.sigstore_bundle import MessageSignature, SigstoreBundle
from loader.policy.claims.bundle_signature import BundleSignatureClaim
from loader.policy.facts import (
    BundleClaims,
    Considered,
    Piece,
)
from loader.policy.results import claims_of_statement
from loader.policy.speakers import KeySpeaker
from loader.policy.weigh import unreadable, weigh_statement
from loader.verify.message import Message
from loader.verify.sigstore import Material, verify_artifact

if TYPE_CHECKING:
    from collections.abc import Callable

    from loader.limits import Limits
    from loader.model.bundle import (
        BundleStatement,
    )
    from loader.policy.denials import Denial
    from loader.policy.speakers import Speaker
    from loader.policy.weigh import Outcome
    from loader.trust.store import TrustStore
    from loader.verify.facts import Signed
    from loader.witness import Verified


def judge_signatures(
    statement: BundleStatement,
    signatures: tuple[bytes, ...],
    wanted: tuple[BundleSignatureClaim, ...],
    *,
    trust: TrustStore,
    denials: tuple[Denial, ...],
    limits: Limits,
) -> BundleClaims:
    """Return what became of each requirement on the signatures of a bundle statement."""
    considered = tuple(
        _statement_signature(raw, statement, wanted, trust=trust, denials=denials, limits=limits)
        for raw in signatures
        if wanted
    )
    return BundleClaims(
        results=claims_of_statement(wanted, considered),
        considered=considered,
        wanted=wanted,
        signatures=signatures if wanted else (),
    )


def _statement_signature(
    raw: bytes,
    statement: BundleStatement,
    wanted: tuple[BundleSignatureClaim, ...],
    *,
    trust: TrustStore,
    denials: tuple[Denial, ...],
    limits: Limits,
) -> Considered:
    piece = Piece(
        store="statement",
        manifest=None,
        blob=Digest.of(raw),
        what="signature of the bundle statement",
        subjects=frozenset(),
    )
    try:
        bundle = _over_bytes(raw, limits=limits)
    except FormatError as e:
        return Considered(piece=piece, weighed=tuple(unreadable(e) for _ in wanted))
    message = Message.of(statement.raw)
    verify = verifier(
        lambda material: verify_artifact(bundle, message, material, limits=limits), trust
    )
    return Considered(
        piece=piece, weighed=tuple(weigh_statement(one, verify, denials) for one in wanted)
    )


def _over_bytes(raw: bytes, *, limits: Limits) -> SigstoreBundle:
    """Return a signature of the bundle statement: v0.3, over the bytes themselves (format.md).

    An in-toto statement that lists the file among its subjects says something about it, for
    instance that a scanner saw it; that is no approval of what it holds.

    Raises:
        FormatError: it is something else.
    """
    where = "airlock.sigstore.json"
    bundle = SigstoreBundle.parse(raw, where=where, limits=limits)
    if bundle.version != "0.3" or not isinstance(bundle.content, MessageSignature):
        raise FormatError(
            "not a signature of a bundle statement",
            where=where,
            expected="a Sigstore bundle v0.3 with a messageSignature",
            found=f"v{bundle.version}, {type(bundle.content).__name__}",
        )
    return bundle


def verifier(
    check: Callable[[Material], Verified[Signed]], trust: TrustStore
) -> Callable[[Speaker], Outcome]:
    """Return a function that verifies one piece of evidence once for each set of anchors."""
    outcomes: dict[tuple[str | None, str | None], Outcome] = {}

    def verify(speaker: Speaker) -> Outcome:
        key = speaker.key if isinstance(speaker, KeySpeaker) else None
        names = (speaker.trusted_root, key)
        if names not in outcomes:
            root = speaker.trusted_root
            material = Material(
                trusted_root=None if root is None else trust.trusted_root(root),
                key=None if key is None else trust.key(key),
            )
            try:
                outcomes[names] = check(material)
            except VerificationError as e:
                outcomes[names] = e
        return outcomes[names]

    return verify
