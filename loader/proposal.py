"""A carried proposal for another policy: read, and held against the policy keys that are pinned.

It says nothing about the bundle that carries it, and the bundle nothing about it: whoever packed
may put a proposal in, and only k of n pinned keys over its very bytes make it one. It is never
accepted by itself: an operator looks at what changes, and names the policy by its digest.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from loader.archive.metadata import MetadataStore
from loader.archive.reader import ArchiveReader
from loader.errors import (
    DigestError,
    FormatError,
    NoProposalError,
    ProposalError,
    ReplayError,
    RollbackError,
    VerificationError,
    shown,
)
from loader.limits import DEFAULT_LIMITS, Limits
from loader.model.bundle import BundleStatement
from loader.model.proposal import SIZE_LIMIT, Proposal
from loader.model.sigstore_bundle import MessageSignature, SigstoreBundle
from loader.policy.model import Policy
from loader.source import BundleFile
from loader.verify.message import Message
from loader.verify.sigstore import Material, verify_artifact

if TYPE_CHECKING:
    from pathlib import Path

    from loader.config import PolicyKeys
    from loader.digest import Digest
    from loader.state.floors import Floors
    from loader.trust.keys import PublicKey

SIGNATURE_COUNT_MAX: Final = 64
_DOCUMENT_COUNT: Final = 2
"""The proposal and the policy, before the signatures."""
SERIAL: Final = ("policy-proposal", "serial")
"""Where the floors keep the highest serial that was accepted: among what only rises. No signer of
a log entry is called so; theirs begin with `key:` and `identity:`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A proposal as it lay in a bundle; nothing of it is believed yet."""

    proposal: Proposal
    raw: bytes
    """The policy's bytes, which have the digest that the proposal names."""
    signatures: tuple[bytes, ...]
    statement: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """A proposal that enough of the pinned keys signed. Made by `held_against` alone."""

    proposal: Proposal
    policy: Policy
    signers: tuple[PublicKey, ...]


def read_carried(path: Path, scratch: Path, *, limits: Limits = DEFAULT_LIMITS) -> Carried:
    """Read a bundle up to its first layer, and return the proposal in it.

    Raises:
        NoProposalError: it carries none.
        FormatError: the bundle, or the proposal, is malformed.
        LocalError: it cannot be read.
    """
    with BundleFile.open(path) as source, MetadataStore(scratch, limits=limits) as blobs:
        reader = ArchiveReader(source, limits=limits)
        statement = BundleStatement.parse(reader.read_statement().raw, limits=limits)
        entries = [entry for entry in statement.trust if entry.kind == "policy"]
        if not entries:
            raise NoProposalError("this bundle proposes no policy", where=shown(str(path)))
        count = len(entries[0].blobs) - _DOCUMENT_COUNT
        if len(entries) > 1 or not 0 <= count <= SIGNATURE_COUNT_MAX:
            raise FormatError(
                "a bundle proposes one policy",
                where="trust",
                expected=f"a proposal, a policy, and at most {SIGNATURE_COUNT_MAX} signatures",
            )
        reader.read_metadata(statement, blobs)
        first, second, *others = entries[0].blobs
        proposal = Proposal.parse(blobs.read(first, where="proposal", size_max=SIZE_LIMIT))
        raw = blobs.read(second, where="policy", size_max=limits.policy_size_max)
        if second.digest != proposal.policy:
            raise DigestError(
                "the policy beside a proposal is another one than it names",
                where="policy",
                expected=str(proposal.policy),
                found=str(second.digest),
            )
        size_max = limits.statement_signature_size_max
        return Carried(
            proposal=proposal,
            raw=raw,
            signatures=tuple(
                blobs.read(one, where="signature of a proposal", size_max=size_max)
                for one in others
            ),
            statement=statement.digest,
        )


def held_against(
    carried: Carried, keys: PolicyKeys | None, *, limits: Limits = DEFAULT_LIMITS
) -> Proposed:
    """Check that k of n pinned keys signed the proposal; a key counts once, whatever it signs.

    Raises:
        ProposalError: no keys are pinned, or too few of them signed.
        PolicyFileError: the policy that they signed cannot be understood.
    """
    if keys is None:
        raise ProposalError(
            "nobody may propose a policy to this host",
            expected="[policy] keys and threshold in config.toml",
            hint="pin the keys of those who may, or change the policy by hand",
        )
    message = Message.of(carried.proposal.raw)
    signers: dict[bytes, PublicKey] = {}
    why = ""
    for raw in carried.signatures:
        for key in keys.keys:
            try:
                _expect_signed(raw, message, key, limits=limits)
            except (FormatError, VerificationError) as e:
                why = why or str(e)
                continue
            signers[key.spki] = key
    if len(signers) < keys.threshold:
        raise ProposalError(
            "too few of the pinned policy keys signed this proposal",
            expected=f"{keys.threshold} of {len(keys.keys)}",
            found=f"{len(signers)}" + (f"; {why}" if why else ""),
        )
    return Proposed(
        proposal=carried.proposal,
        policy=Policy.parse(carried.raw, where="the proposed policy"),
        signers=tuple(signers.values()),
    )


def _expect_signed(raw: bytes, message: Message, key: PublicKey, *, limits: Limits) -> None:
    """Check one signature: a Sigstore bundle over the proposal's very bytes, by this key."""
    bundle = SigstoreBundle.parse(raw, where="signature of a proposal", limits=limits)
    if not isinstance(bundle.content, MessageSignature):
        raise FormatError("not a signature over a file", where="signature of a proposal")
    verify_artifact(bundle, message, Material(key=key), limits=limits)


def expect_newer(proposed: Proposed, floors: Floors, accepted: Collection[Digest | None]) -> None:
    """Check that the proposal is no older than the last one that was accepted.

    Args:
        proposed: the proposal.
        floors: what this host keeps.
        accepted: the policy in place, and the one whose acceptance was cut off: of the serial that
            was accepted last, these are no others.

    Raises:
        RollbackError: it is older.
        ReplayError: another one of the same serial was accepted.
    """
    serial, floor = proposed.proposal.serial, floors.logs.get(SERIAL)
    if floor is None or serial > floor:
        return
    if serial < floor:
        raise RollbackError(
            "this proposal is older than the one that this host accepted",
            where="proposal.serial",
            expected=f"serial {floor + 1} or higher",
            found=f"serial {serial}",
            hint="whoever keeps the policy proposes it again with a new serial",
        )
    if proposed.proposal.policy not in accepted:
        raise ReplayError(
            "a proposal of this serial was accepted before",
            where="proposal.serial",
            expected=f"serial {floor + 1} or higher",
            found=f"serial {serial}",
            hint="ask whoever keeps the policy: two proposals have one serial",
        )
