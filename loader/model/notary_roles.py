"""Keys and roles of Notary v1 metadata: who may sign what, as it is written (FORMATS §5.1).

Nothing is believed here but that a key has the id that it is named by: the id is a hash of it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from loader.errors import JsonFieldError, LimitError, shown
from loader.model.canonical_json import canonical
from loader.model.fields import decode_base64

if TYPE_CHECKING:
    from loader.limits import Limits
    from loader.model.fields import Fields

ROOT: Final = "root"
TIMESTAMP: Final = "timestamp"
SNAPSHOT: Final = "snapshot"
TARGETS: Final = "targets"
RELEASES: Final = "targets/releases"
"""The delegation that `docker pull` looks at first."""
BASE_ROLES: Final = (ROOT, TIMESTAMP, SNAPSHOT, TARGETS)
ROLE_LENGTH_MAX: Final = 255
NAME_LENGTH_MAX: Final = 1024
"""Characters of a target's name, and of a path that it begins with."""

_PATH_COUNT_MAX: Final = 1024
_DELEGATION: Final = re.compile(r"targets(?:/[-a-z0-9_]+)+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataKey:
    """A key as metadata writes it. Whether it is of a kind that verifies anything is not known yet.

    `key_id` is the hash of what is written here, so two writings of one key have two of them.
    """

    kind: str
    """`ecdsa`, `rsa`, `ed25519`, `ecdsa-x509`, `rsa-x509`; with another one nothing verifies."""
    public: bytes
    """DER of a SubjectPublicKeyInfo, 32 raw bytes, or PEM of certificates, by `kind`."""
    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleKeys:
    """Which keys sign a role, and how many of them must."""

    name: str
    keys: tuple[MetadataKey, ...]
    threshold: int
    paths: tuple[str, ...] = ("",)
    """Beginnings of the names of targets that a delegation may hold; the four roles hold all."""

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids, in the order of the metadata."""
        return tuple(key.key_id for key in self.keys)


def is_role(name: str) -> bool:
    """Tell whether a name is one of the four roles, or that of a delegation."""
    if len(name) > ROLE_LENGTH_MAX:
        return False
    return name in BASE_ROLES or _DELEGATION.fullmatch(name) is not None


def key_id_of(kind: str, public: str) -> str:
    """Return the id of a key from its type and its base64 (notary, `TUFKey.ID`)."""
    written = canonical({"keytype": kind, "keyval": {"private": None, "public": public}})
    return hashlib.sha256(written).hexdigest()


def expect_plain(fields: Fields, *names: str) -> None:
    """Refuse a field's name that Go would take for one of these, and we would not.

    Raises:
        JsonFieldError: there is one.
    """
    known = {name.casefold() for name in names}
    for key in fields.object:
        if key not in names and key.casefold() in known:
            raise JsonFieldError(
                "a field's name in other letters", where=fields.path, found=shown(key)
            )


def keys_of(fields: Fields, *, limits: Limits) -> dict[str, MetadataKey]:
    """Return the keys of a document by their ids.

    Raises:
        FormatError: malformed, a private one, or under an id that is not its own.
    """
    if len(fields.object) > limits.notary_key_count_max:
        raise LimitError(
            "metadata with too many keys",
            where=fields.path,
            expected=f"at most {limits.notary_key_count_max}",
            found=str(len(fields.object)),
        )
    return {key_id: _key(fields.fields(key_id), key_id, limits=limits) for key_id in fields.object}


def _key(fields: Fields, key_id: str, *, limits: Limits) -> MetadataKey:
    expect_plain(fields, "keytype", "keyval")
    value = fields.fields("keyval")
    expect_plain(value, "private", "public")
    if value.has("private"):
        raise JsonFieldError("a private key in public metadata", where=value.at("private"))
    kind = fields.text("keytype", length_max=64)
    public = value.text("public", length_max=2 * limits.certificate_size_max)
    own = key_id_of(kind, public)
    if own != key_id:
        raise JsonFieldError(
            "a key under an id that is not its own",
            where=fields.path,
            expected=own,
            found=shown(key_id),
        )
    return MetadataKey(
        kind=kind, public=decode_base64(public, where=value.at("public")), key_id=key_id
    )


def role_keys(
    fields: Fields,
    name: str,
    keys: Mapping[str, MetadataKey],
    *,
    limits: Limits,
    paths: tuple[str, ...] = ("",),
) -> RoleKeys:
    """Return one role of a document that holds these keys.

    Raises:
        FormatError: malformed, a threshold below one, or a key that is named twice or is not there.
    """
    expect_plain(fields, "keyids", "threshold", "name", "paths")
    found: dict[str, MetadataKey] = {}
    for key_id in fields.items("keyids", count_max=limits.notary_key_count_max):
        if not isinstance(key_id, str) or key_id not in keys:
            raise JsonFieldError(
                "a role names a key that is not there",
                where=fields.at("keyids"),
                found=shown(key_id),
            )
        if key_id in found:
            raise JsonFieldError(
                "a role names a key twice", where=fields.at("keyids"), found=shown(key_id)
            )
        found[key_id] = keys[key_id]
    threshold = fields.integer("threshold", minimum=1, maximum=limits.notary_key_count_max)
    return RoleKeys(name=name, keys=tuple(found.values()), threshold=threshold, paths=paths)


def paths_of(fields: Fields) -> tuple[str, ...]:
    """Return the paths of a delegation; none where there are none: it may then hold nothing.

    Raises:
        FormatError: malformed.
    """
    if not fields.has("paths"):
        return ()
    found: list[str] = []
    for path in fields.items("paths", count_max=_PATH_COUNT_MAX):
        if not isinstance(path, str) or len(path) > NAME_LENGTH_MAX:
            raise JsonFieldError("not a path", where=fields.at("paths"), found=shown(path))
        found.append(path)
    return tuple(found)
