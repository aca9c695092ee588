"""A carried TUF repository, from the root that a host pins to the targets that it asks for.

The files have the names that a bundle gives them: `N.root.json`, `timestamp.json`, `snapshot.json`,
`targets.json`, `ROLE.json` and `targets/PATH`. They are looked up, never opened: there is no
folder.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

from tuf.api.metadata import Targets

from loader.digest import Digest
from loader.errors import (
    LimitError,
    TrustIncompleteError,
    TrustRollbackError,
    TrustRootMismatchError,
    shown,
)
from loader.limits import DEFAULT_LIMITS
from loader.trust.memory import RootsSeen
from loader.trust.tuf import TrustedSet
from loader.trust.tuf_pin import TufPin

if TYPE_CHECKING:
    from tuf.api.metadata import TargetFile

    from loader.limits import Limits
    from loader.trust.tuf import RoleState
    from loader.trust.tuf_keys import KeyVerifier

ROOT_FILE: Final = re.compile(r"([1-9][0-9]{0,17})\.root\.json", re.ASCII)
NEWEST_ROOT: Final = "root.json"
"""The name under which the ledger keeps the newest root; targets are kept under their paths."""


def kept_target(path: str) -> str:
    """Return the name under which the ledger keeps a target, and a bundle carries it."""
    return f"targets/{path}"


class TufFiles(Protocol):
    """The files of one repository that came along."""

    @property
    def names(self) -> Collection[str]:
        """What there is."""

    def read(self, name: str, *, size_max: int) -> bytes:
        """Return one of them.

        Raises:
            LimitError: it is larger.
        """


class Replayed:
    """A repository whose metadata was verified; what it says of targets is looked up from here."""

    def __init__(self, trusted: TrustedSet, files: TufFiles, *, limits: Limits) -> None:
        self._trusted = trusted
        self._files = files
        self._limits = limits

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._trusted.name

    @property
    def root_version(self) -> int:
        """The newest root's version."""
        return self._trusted.root.version

    @property
    def root(self) -> bytes:
        """The newest root's metadata."""
        return self._trusted.root_raw

    @property
    def roles(self) -> Mapping[str, RoleState]:
        """Every role that was verified so far: versions, signers, and when each expires."""
        return self._trusted.roles

    @property
    def expires_at(self) -> datetime:
        """When the first of them expires."""
        return min(role.expires for role in self.roles.values())

    @property
    def signed_at(self) -> datetime | None:
        """The newest verified time at which an identity signed any of it; None for other keys."""
        times = [at for role in self.roles.values() for at in role.signers.times]
        return max(times, default=None)

    def target(self, path: str) -> bytes | None:
        """Return a target, or None where no role that may speak of it lists it (TUF §5.6.7).

        Raises:
            TrustIncompleteError: it, or a role that decides about it, is not in the bundle.
            TrustRootError: a role or the file does not hold.
            LimitError: too many roles would have to be looked into, or the file is too large.
        """
        found = self._find(path)
        if found is None:
            return None
        raw = _read(
            self._files, kept_target(path), self._limits.tuf_target_size_max, where=self.name
        )
        self._trusted.expect_target(found, raw)
        return raw

    def _find(self, path: str) -> TargetFile | None:
        """Search the roles in order, each once, down before across (TUF §5.6.7.1)."""
        ahead: list[tuple[str, str]] = [(Targets.type, "root")]
        visited: set[str] = set()
        while ahead:
            role, by = ahead.pop()
            if role in visited:
                continue
            if len(visited) > self._limits.tuf_delegation_count_max:
                raise LimitError(
                    "too many roles may speak of one target",
                    where=self.name,
                    expected=f"at most {self._limits.tuf_delegation_count_max}",
                    found=shown(path),
                )
            visited.add(role)
            self._take(role, by)
            found = self._trusted.listed_in(role, path)
            if found is not None:
                return found
            below: list[tuple[str, str]] = []
            for name, ends in self._trusted.delegated_for(role, path):
                below.append((name, role))
                if ends:
                    ahead = []
                    break
            ahead.extend(reversed(below))
        return None

    def _take(self, role: str, by: str) -> None:
        if not self._trusted.has(role, by):
            size_max = self._limits.tuf_targets_size_max
            raw = _read(self._files, f"{role}.json", size_max, where=self.name)
            self._trusted.update_targets(raw, role, by)

    def remembered(self, targets: Mapping[str, bytes]) -> tuple[RootsSeen, dict[Digest, bytes]]:
        """Return what a host keeps of it once it is accepted, and the files that belong to it.

        Args:
            targets: verified targets that the host will need again, by path.
        """
        kept = {NEWEST_ROOT: self.root, **{kept_target(path): raw for path, raw in targets.items()}}
        files = {Digest.of(raw): raw for raw in kept.values()}
        return self._trusted.remembered({name: Digest.of(raw) for name, raw in kept.items()}), files


def replay(
    files: TufFiles,
    pin: TufPin,
    *,
    name: str,
    seen: RootsSeen | None = None,
    kept: Mapping[Digest, bytes] | None = None,
    keys: KeyVerifier | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Replayed:
    """Replay a carried repository up to its targets role.

    Args:
        files: what came along.
        pin: the root that an operator pinned.
        name: what messages call the anchor.
        seen: what the host has seen of this anchor; nothing goes back behind it.
        kept: the files that it remembers.
        keys: judge of signatures by Sigstore identities.
        limits: sizes and counts.

    Raises:
        TrustRootError: a link does not hold, is missing, or is older than what the host has seen.
        LimitError: too many roots, or a file that is too large.
    """
    carried = _carried_roots(files, name=name, limits=limits)
    trusted = TrustedSet(
        _start(pin, seen, kept or {}, name=name),
        name=name,
        seen=seen,
        keys=keys,
        limits=limits,
    )
    start = trusted.root.version
    size_max = limits.tuf_root_size_max
    while (number := trusted.root.version + 1) in carried:
        trusted.update_root(_read(files, f"{number}.root.json", size_max, where=name))
    _expect_no_gap(carried, trusted.root.version, name=name)
    known = {start: trusted.roots[start]} | ({} if seen is None else dict(seen.roots))
    for number in sorted(carried & set(known)):
        found = Digest.of(_read(files, f"{number}.root.json", size_max, where=name))
        if found != known[number]:
            raise TrustRootMismatchError(
                "a root that is not the one of this version which the host trusts",
                where=f"{name}: {number}.root.json",
                expected=str(known[number]),
                found=str(found),
            )
    if seen is not None and trusted.root.version < seen.newest:
        raise TrustRollbackError(
            "a chain of roots that ends before the newest that this host has seen",
            where=name,
            expected=f"{seen.newest}.root.json",
            found=f"{trusted.root.version}.root.json",
        )
    trusted.update_timestamp(
        _read(files, "timestamp.json", limits.tuf_timestamp_size_max, where=name)
    )
    trusted.update_snapshot(_read(files, "snapshot.json", limits.tuf_snapshot_size_max, where=name))
    trusted.update_targets(_read(files, "targets.json", limits.tuf_targets_size_max, where=name))
    return Replayed(trusted, files, limits=limits)


def _carried_roots(files: TufFiles, *, name: str, limits: Limits) -> frozenset[int]:
    matches = (ROOT_FILE.fullmatch(file) for file in files.names)
    carried = frozenset(int(match.group(1)) for match in matches if match is not None)
    if len(carried) > limits.tuf_root_count_max:
        raise LimitError(
            "too many roots in one chain",
            where=name,
            expected=f"at most {limits.tuf_root_count_max}",
            found=str(len(carried)),
        )
    return carried


def _start(
    pin: TufPin,
    seen: RootsSeen | None,
    kept: Mapping[Digest, bytes],
    *,
    name: str,
) -> bytes:
    """Return the root to begin with: the newest that the host has seen, if it is the pin's chain.

    Raises:
        TrustRootMismatchError: the pin is not a root that this host has followed, nor a newer one.
    """
    if seen is None:
        return pin.root
    if not follows(pin, seen, name=name):
        return pin.root
    # Where the ledger could not be opened to the end, its files are not at hand.
    newest = kept.get(seen.roots[seen.newest])
    return pin.root if newest is None else newest


def follows(pin: TufPin, seen: RootsSeen, *, name: str) -> bool:
    """Tell whether what the host has seen goes on from the pinned root.

    Returns:
        False where the pin is newer than all of it: an operator, or a newer loader, pinned it.

    Raises:
        TrustRootMismatchError: the pin is neither of that chain nor newer.
        TrustRootFormatError: the pin is no root.
    """
    pinned = pin.version()
    if pinned > seen.newest:
        return False
    if seen.roots.get(pinned) == pin.digest:
        return True
    raise TrustRootMismatchError(
        "the pinned root is not one of the chain that this host has followed under this name",
        where=f"{name}: root {pinned}",
        expected=str(seen.roots.get(pinned, f"a root from {min(seen.roots)} on")),
        found=str(pin.digest),
        hint="give another repository another name",
    )


def _expect_no_gap(carried: frozenset[int], reached: int, *, name: str) -> None:
    beyond = [number for number in carried if number > reached]
    if beyond:
        raise TrustIncompleteError(
            "a chain of roots with a link missing",
            where=name,
            expected=f"{reached + 1}.root.json",
            found=f"{min(beyond)}.root.json",
            hint="pack with the oldest root that a host may still pin",
        )


def _read(files: TufFiles, name: str, size_max: int, *, where: str) -> bytes:
    if name not in files.names:
        raise TrustIncompleteError(
            "a file of a TUF repository is not in the bundle", where=f"{where}: {shown(name)[1:-1]}"
        )
    return files.read(name, size_max=size_max)
