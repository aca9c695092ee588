"""`verify-blob`: one file and one Sigstore bundle about it, judged as a policy's requirement is.

    options ─policy.reading→ Speaker ─trust.store→ Material ─verify→ Verified ─policy.weigh→ verdict

The command line is one requirement, with the words of a policy file for it. So an identity, a log
or a timestamp means here what it means there, and no second judge can be laxer than the first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loader.digest import Digest
from loader.errors import (
    AnchorFileError,
    ConditionError,
    IdentityError,
    InputError,
    PolicyFileError,
    TrustRootError,
    UsageError,
    shown,
)
from loader.limits import DEFAULT_LIMITS, MIB
from loader.model.sigstore_bundle import SigstoreBundle
from loader.places import open_regular, read_small_file
from loader.policy.claims.bundle_signature import BundleSignatureClaim
from loader.policy.reading_speakers import read_speaker
from loader.policy.speakers import KeySpeaker, Said
from loader.policy.toml import Table
from loader.policy.weigh import Outcome, weigh_statement
from loader.trust.anchors import AnchorFile, AnchorKind, AnchorRule, AnchorUse, is_file
from loader.trust.store import TrustStore
from loader.verify.message import Message
from loader.verify.sigstore import Material, verify_artifact

if TYPE_CHECKING:
    from loader.places import Places
    from loader.policy.speakers import Speaker
    from loader.policy.toml import TomlValue
    from loader.verify.sigstore import Signed

HELD_MAX: Final = DEFAULT_LIMITS.evidence_size_max
"""Bytes of a file that are held: an Ed25519 signature is over the bytes, not over a digest. Of a
larger file only digests are left, and such a signature over it cannot be verified."""
_PIECE: Final = 1 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRequest:
    """What the command line asks for; `who` has the keys of a policy's requirement."""

    file: Path
    bundle: Path
    who: Mapping[str, TomlValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobVerdict:
    """Who signed the file, and everything else that was found out."""

    digest: Digest
    size: int
    signed: Signed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Anchors:
    """What the command line names, as a policy would; it describes no anchors of its own."""

    uses: tuple[AnchorUse, ...]
    anchors: tuple[AnchorFile, ...] = ()
    anchor_rules: tuple[AnchorRule, ...] = ()


def verify_blob(request: BlobRequest, places: Places) -> BlobVerdict:
    """Verify that the one who is named signed the file, or a statement that speaks of it.

    Args:
        request: file, bundle, and who must have signed.
        places: where this host keeps its anchors.

    Raises:
        UsageError: the options contradict one another, or an anchor cannot be read.
        LocalError: a file cannot be read.
        FormatError: the bundle is malformed.
        VerificationError: it does not hold, or is about another file.
        PolicyError: it holds, and somebody else signed, or it is not recorded as asked.
    """
    speaker = _speaker(request.who)
    trust = _open_trust(speaker, places)
    material = Material(
        trusted_root=None
        if speaker.trusted_root is None
        else trust.trusted_root(speaker.trusted_root),
        key=trust.key(speaker.key) if isinstance(speaker, KeySpeaker) else None,
    )
    raw = read_small_file(
        request.bundle, size_max=DEFAULT_LIMITS.evidence_size_max, what="the Sigstore bundle"
    )
    bundle = SigstoreBundle.parse(raw, where="bundle")
    message, digest, size = _read_file(request.file)
    verified = verify_artifact(bundle, message, material)

    def outcome(named: Speaker) -> Outcome:
        del named  # there is one, and this is what its anchors say
        return verified

    claim = BundleSignatureClaim(said=Said(where="", speakers=(speaker,)))
    weighed = weigh_statement(claim, outcome)
    problem = weighed.problem
    if problem is not None:
        error = IdentityError if weighed.stage == "identity" else ConditionError
        raise error(
            problem.message, expected=problem.expected, found=problem.found, hint=problem.hint
        )
    return BlobVerdict(digest=digest, size=size, signed=verified.value)


def _speaker(who: Mapping[str, TomlValue]) -> Speaker:
    named = {
        key: str(Path(value).absolute())
        if key in {"key", "trusted-root"} and isinstance(value, str) and is_file(value)
        else value
        for key, value in who.items()
    }
    try:
        return read_speaker(Table(named, "-"))
    except PolicyFileError as e:
        option = e.where.removeprefix("-.")
        raise UsageError(
            e.message,
            where=f"--{option}" if option in named else "",
            expected=e.expected,
            found=e.found,
            hint=e.hint,
        ) from e


def _open_trust(speaker: Speaker, places: Places) -> TrustStore:
    """Read the anchors; names are looked for on the host, never in the working directory."""
    kinds: list[tuple[str | None, AnchorKind]] = [(speaker.trusted_root, "trusted-root")]
    if isinstance(speaker, KeySpeaker):
        kinds.append((speaker.key, "key"))
    uses = tuple(
        AnchorUse(name=name, kind=kind, where=f"--{kind}")
        for name, kind in kinds
        if name is not None
    )
    try:
        return TrustStore.open(
            _Anchors(uses=uses),
            policy_directory=places.policy.absolute().parent,
            anchors_directory=places.anchors,
        )
    except (AnchorFileError, TrustRootError) as e:
        if not e.where.startswith("--"):
            raise  # a file that was found
        raise type(e)(
            "this host has no such anchor",
            where=e.where,
            expected="a name below anchors/, or a file: ./FILE",
            hint=e.hint,
        ) from e


def _read_file(path: Path) -> tuple[Message, Digest, int]:
    """Read a regular file once, and return it as a message, with its digest and size."""
    where = shown(str(path))
    with os.fdopen(open_regular(path, what="the file"), "rb", buffering=0) as file:
        size = 0

        def pieces() -> Iterator[bytes]:
            nonlocal size
            while piece := file.read(_PIECE):
                size += len(piece)
                yield piece

        try:
            message = _message(pieces())
        except OSError as e:
            raise InputError("the file cannot be read", where=where, found=e.strerror or "") from e
    return message, Digest(message.digests["sha256"].hex()), size


def _message(pieces: Iterator[bytes]) -> Message:
    """Hold a small file; of a large one keep the digests."""
    held: list[bytes] = []
    held_size = 0
    for piece in pieces:
        held.append(piece)
        held_size += len(piece)
        if held_size > HELD_MAX:
            return Message.of_chunks(chain(held, pieces))
    return Message.of(*held)
