"""A proposal for another policy on the far side: written to a folder, signed there, and packed.

proposal.json        what is signed: serial, reason, the policy's digest
policy.toml          the policy
*.sigstore.json      signatures, by whoever may: here, or with `cosign sign-blob --bundle`
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from loader.digest import Digest
from loader.errors import FormatError, LocalError, UsageError
from loader.limits import DEFAULT_LIMITS
from loader.model.bundle import TrustEntry
from loader.model.descriptor import Descriptor, MediaType
from loader.model.proposal import (
    MEDIA_TYPE,
    POLICY_MEDIA_TYPE,
    SIGNATURE_MEDIA_TYPE,
    SIZE_LIMIT,
    Proposal,
)
from loader.policy.model import Policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bundler.sign import Signer
    from bundler.store import ContentStore

PROPOSAL_NAME: Final = "proposal.json"
POLICY_NAME: Final = "policy.toml"
SIGNATURE_ENDING: Final = ".sigstore.json"
ANCHOR: Final = "policy"


def propose(
    policy: Path, *, serial: int, reason: str, into: Path, signers: Sequence[Signer]
) -> Proposal:
    """Write a proposal and its signatures into a folder; one that is there gets more signatures.

    Raises:
        UsageError: the policy cannot be understood, or the folder holds another proposal.
        LocalError: it cannot be written.
    """
    raw = _read(policy, size_max=DEFAULT_LIMITS.policy_size_max, what="the policy")
    Policy.parse(raw, where=str(policy))
    try:
        proposal = Proposal.make(serial=serial, policy=raw, reason=reason)
    except FormatError as e:
        raise UsageError("not a proposal", found=str(e)) from e
    try:
        into.mkdir(parents=True, exist_ok=True)
        for name, content in ((PROPOSAL_NAME, proposal.raw), (POLICY_NAME, raw)):
            path = into / name
            if path.exists() and path.read_bytes() != content:
                raise UsageError("the folder holds another proposal", where=str(path))
            path.write_bytes(content)
        for signer in signers:
            signature = signer.sign(proposal.raw)
            name = f"{Digest.of(signature).short}{SIGNATURE_ENDING}"
            (into / name).write_bytes(signature)
    except OSError as e:
        raise LocalError(
            "a proposal cannot be written", where=str(into), found=e.strerror or ""
        ) from e
    return proposal


def packed(folder: Path | None, store: ContentStore) -> tuple[TrustEntry, ...]:
    """Put a proposal into the store, and return what the statement says of it.

    Raises:
        UsageError: the folder holds no whole proposal.
    """
    if folder is None:
        return ()
    raw = _read(folder / PROPOSAL_NAME, size_max=SIZE_LIMIT, what="a proposal")
    policy = _read(folder / POLICY_NAME, size_max=DEFAULT_LIMITS.policy_size_max, what="the policy")
    try:
        proposal = Proposal.parse(raw)
    except FormatError as e:
        raise UsageError("not a proposal", where=str(folder), found=str(e)) from e
    if proposal.policy != Digest.of(policy):
        raise UsageError(
            "the policy beside a proposal is another one than it names",
            where=str(folder / POLICY_NAME),
            expected=str(proposal.policy),
            found=str(Digest.of(policy)),
        )
    signatures = [
        _read(path, size_max=DEFAULT_LIMITS.statement_signature_size_max, what="a signature")
        for path in sorted(folder.glob(f"*{SIGNATURE_ENDING}"))
    ]
    if not signatures:
        raise UsageError(
            "nobody signed the proposal",
            where=str(folder),
            hint="airlock policy propose --sign-key, or cosign sign-blob --bundle "
            f"{folder}/NAME{SIGNATURE_ENDING} {folder}/{PROPOSAL_NAME}",
        )
    blobs = []
    documents = [(MEDIA_TYPE, raw), (POLICY_MEDIA_TYPE, policy)]
    documents += [(SIGNATURE_MEDIA_TYPE, one) for one in signatures]
    for media_type, content in documents:
        store.put(content)
        blobs.append(Descriptor.make(MediaType(media_type), content))
    return (TrustEntry(anchor=ANCHOR, kind="policy", blobs=tuple(blobs)),)


def _read(path: Path, *, size_max: int, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(size_max + 1)
    except OSError as e:
        raise UsageError(f"{what} cannot be read", where=str(path), found=e.strerror or "") from e
    if len(raw) > size_max:
        raise UsageError(
            f"{what} is too large", where=str(path), expected=f"at most {size_max} bytes"
        )
    return raw
