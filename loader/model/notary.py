"""Metadata of Docker Content Trust: the four kinds of document of a Notary v1 repository.

    root        keys, and which of them may sign what             (theupdateframework/notary 0.7,
    timestamp   the one snapshot that is current                   tuf/data; FORMATS §5.1)
    snapshot    hashes and lengths of root, targets and delegations
    targets     tags with hash and length; roles that may add others

A document is what its signatures cover, `signed`, read once and strictly; nothing of it is
believed here. Fields that are unknown are covered by the signature and ignored, as Notary does, but
never one that Go's reader, which takes letters in any case, could mistake for a known one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final, Generic, Literal, TypeVar

from loader.errors import JsonFieldError, LimitError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.canonical_json import canonical
from loader.model.fields import Fields
from loader.model.notary_roles import (
    BASE_ROLES,
    NAME_LENGTH_MAX,
    ROLE_LENGTH_MAX,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    RoleKeys,
    expect_plain,
    is_role,
    keys_of,
    paths_of,
    role_keys,
)

if TYPE_CHECKING:
    from loader.limits import Limits

_INSTANT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:Z|([+-])([0-9]{2}):([0-9]{2}))",
    re.ASCII,
)
_SHA256_SIZE: Final = 32
_SHA512_SIZE: Final = 64

DocumentType = Literal["Root", "Timestamp", "Snapshot", "Targets"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What bytes must be: a length, a SHA-256, and a SHA-512 where there is one."""

    length: int
    sha256: bytes
    sha512: bytes | None

    def differs(self, raw: bytes) -> str:
        """Return in words how bytes are others than these; empty where they are not."""
        if len(raw) != self.length:
            return f"{len(raw)} bytes instead of {self.length}"
        if hashlib.sha256(raw).digest() != self.sha256:
            return f"sha256 {hashlib.sha256(raw).hexdigest()} instead of {self.sha256.hex()}"
        if self.sha512 is not None and hashlib.sha512(raw).digest() != self.sha512:
            return "another sha512"
        return ""

    def differs_from(self, other: Fingerprint) -> bool:
        """Tell whether no bytes can be both: a SHA-512 counts where both have one."""
        return (self.length, self.sha256) != (other.length, other.sha256) or (
            None not in {self.sha512, other.sha512} and self.sha512 != other.sha512
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """The keys of a repository and what each may sign."""

    roles: Mapping[str, RoleKeys]
    """All four."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timestamp:
    """Which snapshot is current."""

    snapshot: Fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Which root, targets and delegations belong together."""

    files: Mapping[str, Fingerprint]
    """By role; root and targets are always there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Tags, and the roles that may hold further ones."""

    targets: Mapping[str, Fingerprint]
    delegations: tuple[RoleKeys, ...]


Content = TypeVar("Content", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One signature, by the key with this id."""

    key_id: str
    method: str
    """In lower case: `ecdsa`, `rsapss`, `rsapkcs1v15`, `eddsa`, `pycrypto-pkcs#1 pss`."""
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed(Generic[Content]):
    """One document: what is signed, by whom, and what it says."""

    raw: bytes
    message: bytes
    """What the signatures are over."""
    signatures: tuple[Signature, ...]
    version: int
    expires: datetime
    content: Content


def parse_root(raw: bytes, *, where: str, limits: Limits = DEFAULT_LIMITS) -> Signed[Root]:
    """Return a root document.

    Raises:
        FormatError: it is malformed, gives a key an id that is not its own, or names a role with a
            threshold below one, a key twice, or a key that is not there.
    """
    size_max = limits.notary_root_size_max
    signed, fields = _opened(raw, "Root", where=where, size_max=size_max, limits=limits)
    keys = keys_of(fields.fields("keys"), limits=limits)
    roles = fields.fields("roles")
    found = {name: role_keys(roles.fields(name), name, keys, limits=limits) for name in BASE_ROLES}
    return _made(raw, signed, fields, Root(roles=found), limits=limits)


def parse_timestamp(
    raw: bytes, *, where: str = TIMESTAMP, limits: Limits = DEFAULT_LIMITS
) -> Signed[Timestamp]:
    """Return a timestamp document.

    Raises:
        FormatError: it is malformed.
    """
    size_max = limits.notary_timestamp_size_max
    signed, fields = _opened(raw, "Timestamp", where=where, size_max=size_max, limits=limits)
    meta = fields.fields("meta").fields(SNAPSHOT)
    content = Timestamp(snapshot=_fingerprint(meta))
    return _made(raw, signed, fields, content, limits=limits)


def parse_snapshot(
    raw: bytes, *, where: str = SNAPSHOT, limits: Limits = DEFAULT_LIMITS
) -> Signed[Snapshot]:
    """Return a snapshot document.

    Raises:
        FormatError: it is malformed, or lists something that is no role, or not root and targets.
    """
    size_max = limits.notary_snapshot_size_max
    signed, fields = _opened(raw, "Snapshot", where=where, size_max=size_max, limits=limits)
    meta = fields.fields("meta")
    names = list(meta.object)
    if len(names) > limits.notary_role_count_max:
        raise LimitError(
            "a repository of too many roles",
            where=meta.path,
            expected=f"at most {limits.notary_role_count_max}",
            found=str(len(names)),
        )
    for name in names:
        if not is_role(name):
            raise JsonFieldError("not a role's name", where=meta.path, found=shown(name))
    files = {name: _fingerprint(meta.fields(name)) for name in {*names, ROOT, TARGETS}}
    return _made(raw, signed, fields, Snapshot(files=files), limits=limits)


def parse_targets(
    raw: bytes, *, role: str, where: str = "", limits: Limits = DEFAULT_LIMITS
) -> Signed[Targets]:
    """Return the targets document of this role.

    Raises:
        FormatError: it is malformed, or delegates to something that is not directly below it.
    """
    size_max = limits.document_size_max
    where = where or role
    signed, fields = _opened(raw, "Targets", where=where, size_max=size_max, limits=limits)
    targets = fields.fields("targets")
    found: dict[str, Fingerprint] = {}
    for name in targets.object:
        if not name or len(name) > NAME_LENGTH_MAX:
            raise JsonFieldError("not the name of a target", where=targets.path, found=shown(name))
        found[name] = _fingerprint(Fields(targets.value(name), f"{targets.path}[{shown(name)}]"))
    content = Targets(targets=found, delegations=_delegations(fields, role, limits=limits))
    return _made(raw, signed, fields, content, limits=limits)


def _opened(
    raw: bytes, kind: DocumentType, *, where: str, size_max: int, limits: Limits
) -> tuple[Fields, Fields]:
    # Two tags may differ only in case, so keys are compared exactly, and the known ones below.
    document = strictjson.parse_object(
        raw, what=where, size_max=size_max, keys="exact", limits=limits
    )
    fields = Fields(document, where)
    expect_plain(fields, "signed", "signatures")
    signed = fields.fields("signed")
    expect_plain(signed, *_KNOWN[kind])
    found = signed.text("_type", length_max=64)
    if found != kind:
        raise JsonFieldError(
            "metadata of another type", where=signed.at("_type"), expected=kind, found=shown(found)
        )
    return fields, signed


_KNOWN: Final[dict[DocumentType, tuple[str, ...]]] = {
    "Root": ("_type", "version", "expires", "keys", "roles", "consistent_snapshot"),
    "Timestamp": ("_type", "version", "expires", "meta"),
    "Snapshot": ("_type", "version", "expires", "meta"),
    "Targets": ("_type", "version", "expires", "targets", "delegations"),
}


def _made(
    raw: bytes, document: Fields, signed: Fields, content: Content, *, limits: Limits
) -> Signed[Content]:
    return Signed(
        raw=raw,
        message=canonical(signed.object),
        signatures=tuple(
            _signature(item, limits=limits)
            for item in document.each("signatures", count_max=limits.notary_key_count_max)
        ),
        version=signed.integer("version", minimum=1),
        expires=_instant(signed, "expires"),
        content=content,
    )


def _signature(fields: Fields, *, limits: Limits) -> Signature:
    expect_plain(fields, "keyid", "method", "sig")
    return Signature(
        key_id=fields.text("keyid", length_max=128),
        method=fields.text("method", length_max=64).lower(),
        value=fields.base64("sig", length_max=2 * limits.signature_size_max),
    )


def _delegations(fields: Fields, role: str, *, limits: Limits) -> tuple[RoleKeys, ...]:
    delegations = fields.optional_fields("delegations")
    if delegations is None:
        return ()
    expect_plain(delegations, "keys", "roles")
    if not delegations.has("roles"):
        return ()
    keys = delegations.optional_fields("keys")
    known = {} if keys is None else keys_of(keys, limits=limits)
    found: dict[str, RoleKeys] = {}
    for item in delegations.each("roles", count_max=limits.notary_role_count_max):
        name = item.text("name", length_max=ROLE_LENGTH_MAX)
        if not is_role(name) or name.rpartition("/")[0] != role:
            raise JsonFieldError(
                "not a role below this one",
                where=item.at("name"),
                expected=f"{role}/NAME",
                found=shown(name),
            )
        if name in found:
            raise JsonFieldError("a role twice", where=item.at("name"), found=shown(name))
        found[name] = role_keys(item, name, known, limits=limits, paths=paths_of(item))
    return tuple(found.values())


def _fingerprint(fields: Fields) -> Fingerprint:
    expect_plain(fields, "hashes", "length", "custom")
    hashes = fields.fields("hashes")
    expect_plain(hashes, "sha256", "sha512")
    return Fingerprint(
        length=fields.integer("length"),
        sha256=_hash(hashes, "sha256", _SHA256_SIZE),
        sha512=_hash(hashes, "sha512", _SHA512_SIZE) if hashes.has("sha512") else None,
    )


def _hash(fields: Fields, name: str, size: int) -> bytes:
    found = fields.base64(name, length_max=128)
    if len(found) != size:
        raise JsonFieldError(f"not a {name}", where=fields.at(name), found=f"{len(found)} bytes")
    return found


def _instant(fields: Fields, name: str) -> datetime:
    """Return an instant as Go writes it: nanoseconds, and the offset of wherever it was signed.

    What is finer than a microsecond is left out: an expiry comes that much earlier.
    """
    text, where = fields.text(name, length_max=40), fields.at(name)
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise JsonFieldError("not an instant", where=where, expected="RFC 3339", found=shown(text))
    whole, fraction, sign, hours, minutes = match.groups()
    try:
        at = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
        at = at.replace(microsecond=int((fraction or "0")[:6].ljust(6, "0")))
        if sign is not None:
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            zone = timezone(offset if sign == "+" else -offset)
            at = at.replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError) as e:
        raise JsonFieldError("not an instant", where=where, found=shown(text)) from e
    return at
