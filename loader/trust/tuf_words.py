"""A TUF root, and a change of one, in words: who may sign what, how many of them, until when.

Works on roots and on targets metadata with delegations; what is shown is parsed, and verified by
whoever asks. Two people compare these lines over a telephone: a key is its fingerprint, an identity
is itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from tuf.api.metadata import Root, Targets

from loader.errors import TrustRootFormatError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model.fields import format_instant
from loader.trust.tuf_keys import describe, fingerprint, is_named_by_content
from loader.trust.tuf_metadata import parse_metadata

if TYPE_CHECKING:
    from securesystemslib.signer import Key
    from tuf.api.metadata import Role

    from loader.limits import Limits

_IDS_SHOWN: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleWords:
    """Who may sign for a role."""

    threshold: int
    keys: Mapping[str, str]
    """By fingerprint, in words."""
    paths: tuple[str, ...] = ()
    """Of a delegated role: the targets that it may speak of."""
    terminating: bool = False

    @property
    def quorum(self) -> str:
        """How many of how many."""
        return f"{self.threshold} of {len(self.keys)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegatorWords:
    """What a root, or a targets role that delegates, says of others."""

    what: str
    version: int
    expires: datetime
    roles: Mapping[str, RoleWords]
    misnamed: tuple[str, ...] = ()
    """Ids of keys that are not the hashes of them: a warning."""

    @classmethod
    def parse(cls, raw: bytes, *, name: str, limits: Limits = DEFAULT_LIMITS) -> DelegatorWords:
        """Return what a root's or a targets role's metadata says; no signature is looked at.

        Raises:
            TrustRootFormatError, LimitError: it is neither.
        """
        try:
            root = parse_metadata(
                raw, Root, name=name, size_max=limits.tuf_root_size_max, limits=limits
            ).signed
        except TrustRootFormatError as e:
            if e.expected != Root.type:
                raise
        else:
            return cls(
                what="root",
                version=root.version,
                expires=root.expires,
                roles={role: _words(root.roles[role], root.keys) for role in root.roles},
                misnamed=_misnamed(root.keys),
            )
        targets = parse_metadata(
            raw, Targets, name=name, size_max=limits.tuf_targets_size_max, limits=limits
        ).signed
        delegations = targets.delegations
        listed = {} if delegations is None else delegations.roles or {}
        keys = {} if delegations is None else delegations.keys
        return cls(
            what="targets",
            version=targets.version,
            expires=targets.expires,
            roles={
                role.name: _words(
                    role,
                    keys,
                    paths=tuple(role.paths or role.path_hash_prefixes or ()),
                    terminating=role.terminating,
                )
                for role in listed.values()
            },
            misnamed=_misnamed(keys),
        )

    def lines(self) -> Iterator[str]:
        """Yield it in words."""
        yield f"{self.what} {self.version}, until {format_instant(self.expires)}"
        for name, role in self.roles.items():
            yield f"  {name}: {role.quorum}{_speaks_of(role)}"
            yield from (f"    {words}" for words in role.keys.values())
        yield from (f"  warning: {warning}" for warning in self.warnings())

    def warnings(self) -> tuple[str, ...]:
        """Return what is odd about it and refuses nothing."""
        if not self.misnamed:
            return ()
        ids, more = self.misnamed[:_IDS_SHOWN], len(self.misnamed) - _IDS_SHOWN
        listed = ", ".join(map(shown, ids)) + (f" and {more} more" if more > 0 else "")
        said = f"key ids that are not their keys' hashes, {listed}; nothing rests on them"
        return (f"{self.what} {self.version}: {said}",)


def _misnamed(keys: Mapping[str, Key]) -> tuple[str, ...]:
    return tuple(keyid for keyid, key in keys.items() if not is_named_by_content(keyid, key))


def _speaks_of(role: RoleWords) -> str:
    ends = ", and nobody after it" if role.terminating else ""
    return f" for {', '.join(role.paths)}{ends}" if role.paths else ""


def _words(
    role: Role, keys: Mapping[str, Key], *, paths: tuple[str, ...] = (), terminating: bool = False
) -> RoleWords:
    known = [keys[keyid] for keyid in role.keyids if keyid in keys]
    return RoleWords(
        threshold=role.threshold,
        keys={fingerprint(key): describe(key) for key in known},
        paths=paths,
        terminating=terminating,
    )


def changes(old: DelegatorWords, new: DelegatorWords) -> tuple[str, ...]:
    """Return what is different, in words; versions and dates alone are none.

    Raises:
        TrustRootFormatError: they are not of one kind.
    """
    if old.what != new.what:
        raise TrustRootFormatError("metadata of two kinds", expected=old.what, found=new.what)
    found: list[str] = []
    for name in dict.fromkeys((*old.roles, *new.roles)):
        before, after = old.roles.get(name), new.roles.get(name)
        if before is None and after is not None:
            found.append(f"+ role {name}: {after.quorum}{_speaks_of(after)}")
            found += (f"+ {name}: {words}" for words in after.keys.values())
        elif before is not None and after is None:
            found.append(f"- role {name}: {before.quorum}{_speaks_of(before)}")
        elif before is not None and after is not None:
            found += _role_changes(name, before, after)
    return tuple(found)


def _role_changes(name: str, before: RoleWords, after: RoleWords) -> Iterator[str]:
    for key, words in before.keys.items():
        if key not in after.keys:
            yield f"- {name}: {words}"
    for key, words in after.keys.items():
        if key not in before.keys:
            yield f"+ {name}: {words}"
    if before.threshold != after.threshold:
        yield f"! {name}: {after.threshold} signatures are enough, before {before.threshold}"
    if (before.paths, before.terminating) != (after.paths, after.terminating):
        yield f"! {name}: speaks{_speaks_of(after)}, before{_speaks_of(before)}"
