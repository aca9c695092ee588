"""TUF metadata: from bytes to what `tuf.api` reads of them, and the bytes that signatures cover.

`tuf.api` is lenient where we are not: JSON is read by our own strict reader, what was signed is the
canonical form of exactly what stood there (unknown fields included), and names that could be taken
for paths are refused, though none is ever used as one (CVE-2021-41131). Nothing here is verified.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from securesystemslib.exceptions import FormatError as CanonicalError
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import Signature
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from loader.errors import FormatError, LimitError, TrustRootFormatError, shown
from loader.limits import Limits
from loader.model import strictjson
from loader.model.strictjson import JsonObject
from loader.trust.memory import NUMBER_MAX
from loader.trust.tuf_keys import accept_identities

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)

TOP_LEVEL: Final = frozenset({"root", "timestamp", "snapshot", "targets"})
_ROLE_LENGTH_MAX: Final = 255
_ROLE: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._@+ -]*", re.ASCII)
_ROOT_FILE: Final = re.compile(r"[0-9]+\.root")
_STRONG_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
# What `tuf.api` raises where a value is not of the type that it expects.
_MALFORMED: Final = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(Generic[T]):
    """One metadata file, understood but not verified."""

    name: str
    """Its file, for messages."""
    raw: bytes
    signed: T
    payload: bytes
    """What signatures cover: the canonical JSON of `signed` as it stood in the file."""
    signatures: Mapping[str, Signature]
    """By key id; a second signature under one key id is refused."""


def parse_metadata(
    raw: bytes, kind: type[T], *, name: str, size_max: int, limits: Limits
) -> Document[T]:
    """Return the metadata of one role that these bytes write.

    Raises:
        LimitError: larger, deeper or of more values or keys than is read.
        TrustRootFormatError: it is malformed, of another kind, or names what could be a path.
    """
    accept_identities()
    try:
        document = strictjson.parse_object(
            raw, what=name, size_max=size_max, keys="exact", limits=limits
        )
        payload = _canonical(document)
        metadata: Metadata[T] = Metadata.from_dict(copy.deepcopy(document))
    except LimitError:
        raise
    except FormatError as e:
        raise TrustRootFormatError(
            f"not TUF metadata: {e.message}", where=name, expected=e.expected, found=e.found
        ) from e
    except (*_MALFORMED, CanonicalError) as e:
        raise TrustRootFormatError("not TUF metadata", where=name, found=shown(str(e))) from e
    signed = metadata.signed
    if not isinstance(signed, kind):
        raise TrustRootFormatError(
            "TUF metadata of another role", where=name, expected=kind.type, found=shown(signed.type)
        )
    _expect_versions(signed, name=name)
    _expect_bounded(signed, name=name, limits=limits)
    return Document(
        name=name, raw=raw, signed=signed, payload=payload, signatures=metadata.signatures
    )


def _canonical(document: JsonObject) -> bytes:
    signed = document.get("signed")
    if not isinstance(signed, dict):
        raise TypeError("no object `signed`")
    return (encode_canonical(signed) or "").encode("utf-8")


def _expect_versions(signed: Root | Timestamp | Snapshot | Targets, *, name: str) -> None:
    """Refuse versions that a host could not remember: what was accepted must be kept."""
    versions = [signed.version]
    if isinstance(signed, Timestamp):
        versions.append(signed.snapshot_meta.version)
    if isinstance(signed, Snapshot):
        versions += (info.version for info in signed.meta.values())
    for version in versions:
        if type(version) is not int or version > NUMBER_MAX:
            raise TrustRootFormatError(
                "a version that is no number, or too large",
                where=name,
                expected=f"at most {NUMBER_MAX}",
                found=shown(version),
            )


def _expect_bounded(
    signed: Root | Timestamp | Snapshot | Targets, *, name: str, limits: Limits
) -> None:
    match signed:
        case Root():
            count = len(signed.keys)
        case Targets() if signed.delegations is not None:
            count = len(signed.delegations.keys)
        case _:
            count = 0
    if count > limits.tuf_key_count_max:
        raise LimitError(
            "too many keys in TUF metadata",
            where=name,
            expected=f"at most {limits.tuf_key_count_max}",
            found=str(count),
        )
    if isinstance(signed, Snapshot):
        for file in signed.meta:
            expect_role(file.removesuffix(".json"), where=name)
    if isinstance(signed, Targets):
        for path in signed.targets:
            expect_target(path, where=name)
        if signed.delegations is not None and signed.delegations.roles is not None:
            for role in signed.delegations.roles:
                expect_delegated_role(role, where=name)


def expect_role(name: str, *, where: str) -> None:
    """Refuse the name of a role that a careless program could take for a path or a URL.

    Raises:
        TrustRootFormatError: it is one.
    """
    if len(name) > _ROLE_LENGTH_MAX or _ROLE.fullmatch(name) is None or name.endswith((" ", ".")):
        raise TrustRootFormatError(
            "a role whose name could be taken for a path",
            where=where,
            expected="letters, digits and . _ @ + - or a space, none of them a path's",
            found=shown(name),
        )


def expect_delegated_role(name: str, *, where: str) -> None:
    """Refuse a role's name that is another file's, beside what `expect_role` refuses.

    Raises:
        TrustRootFormatError: it is one.
    """
    expect_role(name, where=where)
    if name in TOP_LEVEL or _ROOT_FILE.fullmatch(name):
        raise TrustRootFormatError(
            "a delegated role with a name that means another one", where=where, found=shown(name)
        )


def expect_target(path: str, *, where: str) -> None:
    """Refuse the path of a target that would lead out of any folder.

    Raises:
        TrustRootFormatError: it would.
    """
    if any(part in {"", ".", ".."} for part in path.split("/")) or not (
        path.isprintable() and "\\" not in path and "%2" not in path
    ):
        raise TrustRootFormatError(
            "a target whose name leads out of its folder", where=where, found=shown(path)
        )


def has_strong_hash(hashes: Mapping[str, str]) -> bool:
    """Tell whether at least one hash is one that nobody can find a second file for."""
    return not _STRONG_HASHES.isdisjoint(hashes)
