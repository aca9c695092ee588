"""What this host has seen of trust material that grows: values that only move forward. Pure.

    roots   a chain of root metadata, TUF or Notary: the digest of every root that was verified, the
            newest version of every other role, and the files that are needed again
    head    a log: the newest head that was verified
    lists   deny lists: every one that was accepted

Which kind a name has is part of its key, so that a log and a repository of one name stay apart. The
ledger keeps these values among its floors, and the files that they name beside them; nothing here
reads or writes anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias, assert_never

from loader.digest import Digest
from loader.errors import JsonFieldError, shown
from loader.model.fields import Fields, decode_hex, format_instant
from loader.model.strictjson import JsonObject

if TYPE_CHECKING:
    from loader.trust.root_change import RootChange

TrustKind = Literal["tuf", "notary", "log", "deny-list"]
TRUST_KINDS: Final[tuple[TrustKind, ...]] = ("tuf", "notary", "log", "deny-list")
NUMBER_MAX: Final = 2**63 - 1
_COUNT_MAX: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSeen:
    """The newest metadata of a role."""

    version: int
    signers: tuple[str, ...] = ()
    """What names the keys whose signatures counted. Once a root takes so many of them away that the
    rest would not reach its threshold, the version is no floor any more: whoever stole a key cannot
    lock everybody out for ever (TUF §5.3.11)."""
    expires: datetime | None = None

    def plain(self) -> JsonObject:
        """Return it as a JSON object; numbers as text, since they may be beyond 2**53."""
        return {
            "version": str(self.version),
            "signers": list(self.signers),
            # Of the year 1 Python writes "1", which is no year; whoever signs may write any.
            "expires": None
            if self.expires is None
            else format_instant(self.expires).rjust(20, "0"),
        }

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Return what an object writes.

        Raises:
            FormatError: it is malformed.
        """
        fields.only("version", "signers", "expires")
        return cls(
            version=_number(fields, "version"),
            signers=tuple(
                _text(item, fields.at("signers"))
                for item in fields.items("signers", count_max=_COUNT_MAX)
            ),
            expires=fields.instant("expires") if fields.has("expires") else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RootsSeen:
    """A chain of roots, from the first that was verified here to the newest, and its roles."""

    roots: Mapping[int, Digest]
    """By version, each with the digest of its bytes: what tells one repository from another."""
    roles: Mapping[str, RoleSeen] = field(default_factory=dict)
    """By name: timestamp, snapshot, and every targets role that the snapshot lists."""
    files: Mapping[str, Digest] = field(default_factory=dict)
    """Kept with their bytes: the newest root's metadata, and verified targets."""

    def __post_init__(self) -> None:
        if not self.roots:
            raise ValueError("a chain without a root")

    @property
    def newest(self) -> int:
        """The version of the newest root."""
        return max(self.roots)

    def covers(self, other: RootsSeen) -> bool:
        """Tell whether this is the same chain, not shorter, and no role fell under the same root.

        Under a newer root a role may begin anew, and so may one whose keys another role gives, once
        somebody who signed it no longer does; who replays the chain says when it may.
        """
        same = all(self.roots.get(version) == digest for version, digest in other.roots.items())
        return same and (
            self.newest > other.newest
            or all(
                name in self.roles
                and (
                    self.roles[name].version >= role.version
                    or not set(role.signers) <= set(self.roles[name].signers)
                )
                for name, role in other.roles.items()
            )
        )

    def plain(self) -> JsonObject:
        """Return it as a JSON object."""
        return {
            "roots": {str(version): str(digest) for version, digest in self.roots.items()},
            "roles": {name: role.plain() for name, role in self.roles.items()},
            "files": {name: str(digest) for name, digest in self.files.items()},
        }

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Return what an object writes.

        Raises:
            FormatError: it is malformed.
        """
        fields.only("roots", "roles", "files")
        roots, roles, files = (fields.fields(name) for name in ("roots", "roles", "files"))
        if not roots.object:
            raise JsonFieldError("a chain without a root", where=roots.path)
        return cls(
            roots={decimal(version, roots.path): roots.digest(version) for version in roots.object},
            roles={name: RoleSeen.parse(roles.fields(name)) for name in roles.object},
            files={name: files.digest(name) for name in files.object},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSeen:
    """The newest verified head of a log, for a proof that the next one grew out of it."""

    size: int
    """Leaves."""
    root_hash: bytes
    files: Mapping[str, Digest] = field(default_factory=dict)
    """Kept with their bytes: the signed checkpoint, where somebody may ask for it."""

    def covers(self, other: HeadSeen) -> bool:
        """Tell whether this tree is larger, or the very same.

        That a larger one grew out of the smaller is for a consistency proof to show.
        """
        return self.size > other.size or (
            self.size == other.size and self.root_hash == other.root_hash
        )

    def plain(self) -> JsonObject:
        """Return it as a JSON object."""
        return {
            "size": str(self.size),
            "root_hash": self.root_hash.hex(),
            "files": {name: str(digest) for name, digest in self.files.items()},
        }

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Return what an object writes.

        Raises:
            FormatError: it is malformed.
        """
        fields.only("size", "root_hash", "files")
        files = fields.fields("files")
        return cls(
            size=_number(fields, "size"),
            root_hash=decode_hex(fields.text("root_hash"), where=fields.at("root_hash")),
            files={name: files.digest(name) for name in files.object},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListsSeen:
    """Signed lists that were accepted; none is ever forgotten."""

    files: Mapping[str, Digest]
    """Kept with their bytes: each list as it was signed, by its digest."""

    def covers(self, other: ListsSeen) -> bool:
        """Tell whether every list of the other one is here."""
        return other.files.items() <= self.files.items()

    def plain(self) -> JsonObject:
        """Return it as a JSON object."""
        return {"files": {name: str(digest) for name, digest in self.files.items()}}

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Return what an object writes.

        Raises:
            FormatError: it is malformed.
        """
        fields.only("files")
        files = fields.fields("files")
        return cls(files={name: files.digest(name) for name in files.object})


Seen: TypeAlias = RootsSeen | HeadSeen | ListsSeen
TrustKey: TypeAlias = tuple[TrustKind, str]


def covers(new: Seen, old: Seen) -> bool:
    """Tell whether one value may follow the other."""
    match new, old:
        case RootsSeen(), RootsSeen():
            return new.covers(old)
        case HeadSeen(), HeadSeen():
            return new.covers(old)
        case ListsSeen(), ListsSeen():
            return new.covers(old)
        case _:
            return False


def parse_kind(text: str, *, where: str) -> TrustKind:
    """Return the kind that a word names.

    Raises:
        JsonFieldError: none.
    """
    for kind in TRUST_KINDS:
        if kind == text:
            return kind
    raise JsonFieldError("an unknown kind of trust", where=where, found=shown(text))


def parse_seen(kind: TrustKind, fields: Fields) -> Seen:
    """Return the value of a kind that an object writes.

    Raises:
        FormatError: it is malformed.
    """
    match kind:
        case "tuf" | "notary":
            return RootsSeen.parse(fields)
        case "log":
            return HeadSeen.parse(fields)
        case "deny-list":
            return ListsSeen.parse(fields)
        case _:
            assert_never(kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustMemory:
    """All of it: what was seen, and the bytes of the files that it names."""

    seen: Mapping[TrustKey, Seen] = field(default_factory=dict)
    files: Mapping[Digest, bytes] = field(default_factory=dict)

    def roots(self, kind: Literal["tuf", "notary"], name: str) -> RootsSeen | None:
        """Return a chain that was seen."""
        found = self.seen.get((kind, name))
        return found if isinstance(found, RootsSeen) else None

    def head(self, name: str) -> HeadSeen | None:
        """Return a log's head that was seen."""
        found = self.seen.get(("log", name))
        return found if isinstance(found, HeadSeen) else None

    def lists(self, name: str) -> ListsSeen | None:
        """Return the lists that were accepted."""
        found = self.seen.get(("deny-list", name))
        return found if isinstance(found, ListsSeen) else None

    def with_seen(
        self, seen: Mapping[TrustKey, Seen], files: Mapping[Digest, bytes]
    ) -> TrustMemory:
        """Return the memory after more was seen."""
        return TrustMemory(seen={**self.seen, **seen}, files={**self.files, **files})


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What a bundle's trust material is, once verified: remembered if the bundle is accepted."""

    seen: Mapping[TrustKey, Seen] = field(default_factory=dict)
    files: Mapping[Digest, bytes] = field(default_factory=dict)
    changes: tuple[RootChange, ...] = ()
    """What that changes about repositories: for people, and for the record."""

    def and_more(self, other: Learned) -> Learned:
        """Return both together."""
        return Learned(
            seen={**self.seen, **other.seen},
            files={**self.files, **other.files},
            changes=self.changes + other.changes,
        )


NOTHING_LEARNED: Final = Learned()
NO_MEMORY: Final = TrustMemory()
"""Of a host that begins, and of the connected side."""


def _number(fields: Fields, name: str) -> int:
    return decimal(fields.text(name, length_max=19), fields.at(name))


def decimal(text: str, where: str) -> int:
    """Return the number that a string writes, 0 to 2**63 - 1, in one way only.

    Raises:
        JsonFieldError: it writes none.
    """
    if not (text.isascii() and text.isdecimal()) or (text[0] == "0" and text != "0"):
        raise JsonFieldError("not a number in decimal digits", where=where, found=shown(text))
    number = int(text) if len(text) <= 19 else NUMBER_MAX + 1  # noqa: PLR2004
    if number > NUMBER_MAX:
        raise JsonFieldError("a number that is too large", where=where, found=shown(text))
    return number


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise JsonFieldError("not a string", where=where, found=shown(value))
    return value
