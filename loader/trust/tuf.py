"""A TUF repository, replayed from bytes: only what was verified becomes state (TUF 1.0 §5).

    pinned root → 2.root … N.root → timestamp → snapshot → targets → delegated roles → a target

In the shape of python-tuf's `TrustedMetadataSet`: no I/O, bytes are arguments, order is enforced.
What differs is ours to answer for: signatures are counted by distinct keys (`tuf_keys`), versions
are compared with what the host has seen instead of with old files, and expiry is not judged here
but handed on: behind a gap, the time at which it counts is known only after evidence was judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from loader.digest import Digest
from loader.errors import (
    TrustDigestError,
    TrustIncompleteError,
    TrustRollbackError,
    TrustVersionError,
    shown,
)
from loader.limits import DEFAULT_LIMITS
from loader.trust.memory import RoleSeen, RootsSeen
from loader.trust.tuf_keys import Signers, count, still_enough
from loader.trust.tuf_metadata import Document, T, expect_target, has_strong_hash, parse_metadata

if TYPE_CHECKING:
    from securesystemslib.signer import Key
    from tuf.api.metadata import Role

    from loader.limits import Limits
    from loader.trust.tuf_keys import KeyVerifier


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleState:
    """The metadata of one role that was verified."""

    name: str
    version: int
    expires: datetime
    signers: Signers

    @property
    def seen(self) -> RoleSeen:
        """Return what the host remembers of it."""
        return RoleSeen(
            version=self.version, signers=self.signers.fingerprints, expires=self.expires
        )


class TrustedSet:
    """The verified part of one repository. Each `update_*` takes the next file, or raises."""

    def __init__(
        self,
        root: bytes,
        *,
        name: str,
        seen: RootsSeen | None = None,
        keys: KeyVerifier | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Begin with a root that the host trusts by itself, whatever its age.

        Args:
            root: pinned, or remembered; it has to hold by its own keys, or the chain is not usable.
            name: what messages call the repository.
            seen: what the host remembers of it; versions never fall below.
            keys: judge of signatures by Sigstore identities.
            limits: sizes and counts.

        Raises:
            TrustRootFormatError, TrustSignatureError, LimitError: it cannot be used.
        """
        self.name = name
        self.roles: dict[str, RoleState] = {}
        self.roots: dict[int, Digest] = {}
        self._seen = seen
        self._verifier = keys
        self._limits = limits
        self._timestamp: Timestamp | None = None
        self._snapshot: Snapshot | None = None
        self._targets: dict[str, Targets] = {}
        self._vouched: set[tuple[str, str]] = set()
        first = self._parse(root, Root, "the pinned root", limits.tuf_root_size_max)
        self.root: Root = first.signed
        self.root_raw = root
        self._take_root(first)

    # --- roots ------------------------------------------------------------------------------------

    def update_root(self, raw: bytes) -> None:
        """Take the next root: the very next version, signed by enough of the old and the new keys.

        Its expiry does not matter: only the last root's does (TUF §5.3.10).

        Raises:
            TrustVersionError, TrustSignatureError, TrustRootFormatError, LimitError: it is not.
        """
        if self._timestamp is not None:
            raise RuntimeError("a root behind the timestamp")
        expected = self.root.version + 1
        new = self._parse(raw, Root, f"{expected}.root.json", self._limits.tuf_root_size_max)
        if new.signed.version != expected:
            raise TrustVersionError(
                "a root of another version than its place in the chain",
                where=new.name,
                expected=str(expected),
                found=str(new.signed.version),
            )
        self._count(self.root.roles[Root.type], self.root.keys, new, by="the root before it")
        self._take_root(new)

    def _take_root(self, new: Document[Root]) -> None:
        root = new.signed
        signers = self._count(root.roles[Root.type], root.keys, new, by="itself")
        self.root, self.root_raw = root, new.raw
        self.roots[root.version] = Digest.of(new.raw)
        self._take(Root.type, root, signers)

    # --- timestamp, snapshot ----------------------------------------------------------------------

    def update_timestamp(self, raw: bytes) -> None:
        """Take the timestamp; from here on no root is taken any more.

        Raises:
            TrustRollbackError: it, or the snapshot that it names, is older than what was seen.
            TrustSignatureError, TrustRootFormatError, LimitError: it does not hold.
        """
        if self._timestamp is not None:
            raise RuntimeError("a second timestamp")
        new = self._parse(raw, Timestamp, "timestamp.json", self._limits.tuf_timestamp_size_max)
        signers = self._count_top(new)
        self._expect_not_older(Timestamp.type, new.signed.version)
        self._expect_not_older(Snapshot.type, new.signed.snapshot_meta.version)
        self._timestamp = new.signed
        self._take(Timestamp.type, new.signed, signers)

    def update_snapshot(self, raw: bytes) -> None:
        """Take the snapshot that the timestamp names.

        Raises:
            TrustDigestError, TrustVersionError: it is another.
            TrustRollbackError: a role in it is older than what was seen, or is gone.
            TrustSignatureError, TrustRootFormatError, LimitError: it does not hold.
        """
        if self._timestamp is None or self._snapshot is not None:
            raise RuntimeError("a snapshot out of its order")
        meta = self._timestamp.snapshot_meta
        new = self._parse(raw, Snapshot, "snapshot.json", self._limits.tuf_snapshot_size_max)
        self._expect_file(meta, raw, new.name)
        signers = self._count_top(new)
        self._expect_version(new, meta.version, by="the timestamp")
        versions = {
            file.removesuffix(".json"): info.version for file, info in new.signed.meta.items()
        }
        if Targets.type not in versions:
            raise TrustVersionError("a snapshot without targets", where=new.name)
        if self._seen is not None and self._floors_hold:
            for role in set(self._seen.roles) - {Root.type, Timestamp.type, Snapshot.type}:
                if role not in versions:
                    raise TrustRollbackError(
                        "a role that the host has seen is gone from the snapshot",
                        where=new.name,
                        found=shown(role),
                    )
                self._expect_not_older(role, versions[role])
        self._snapshot = new.signed
        self._take(Snapshot.type, new.signed, signers)

    # --- targets ----------------------------------------------------------------------------------

    def update_targets(self, raw: bytes, role: str = Targets.type, by: str = Root.type) -> None:
        """Take a targets role, top-level or delegated, that the snapshot lists.

        Args:
            raw: its metadata.
            role: its name.
            by: the role that delegates to it; `root` for the top-level one.

        Raises:
            TrustDigestError, TrustVersionError: it is not the one that the snapshot lists.
            TrustSignatureError, TrustRootFormatError, LimitError: it does not hold.
        """
        meta = self._listed(role)
        new = self._parse(raw, Targets, f"{role}.json", self._limits.tuf_targets_size_max)
        self._expect_file(meta, raw, new.name)
        if by == Root.type:
            signers = self._count_top(new)
        else:
            delegations = self._targets[by].delegations
            if delegations is None:
                raise RuntimeError("a role that nobody delegates to")
            try:
                delegated = self._targets[by].get_delegated_role(role)
            except ValueError as e:
                raise RuntimeError("a role that nobody delegates to") from e
            signers = self._count(delegated, delegations.keys, new, by=by)
        self._expect_version(new, meta.version, by="the snapshot")
        self._targets[role] = new.signed
        self._vouched.add((role, by))
        self._take(role, new.signed, signers)

    def _listed(self, role: str) -> MetaFile:
        if self._snapshot is None:
            raise RuntimeError("targets before the snapshot")
        meta = self._snapshot.meta.get(f"{role}.json")
        if meta is None:
            raise TrustIncompleteError(
                "a role that the snapshot does not list", where=self._where(f"{role}.json")
            )
        return meta

    def has(self, role: str, by: str) -> bool:
        """Tell whether a targets role was taken under the keys that this delegator gives it.

        Two may delegate to one name with other keys: what one of them vouches for, the other does
        not.
        """
        return (role, by) in self._vouched

    def listed_in(self, role: str, path: str) -> TargetFile | None:
        """Return what a role that was taken says of a target."""
        return self._targets[role].targets.get(path)

    def delegated_for(self, role: str, path: str) -> tuple[tuple[str, bool], ...]:
        """Return the roles that one delegates a target to, in order, and whether each ends it."""
        delegations = self._targets[role].delegations
        return () if delegations is None else tuple(delegations.get_roles_for_target(path))

    def expect_target(self, target: TargetFile, raw: bytes) -> None:
        """Check that these bytes are a target.

        Raises:
            TrustDigestError: another length or hash, or no hash worth the name.
        """
        expect_target(target.path, where=self.name)
        where = self._where(f"targets/{target.path}")
        if not has_strong_hash(target.hashes):
            raise TrustDigestError(
                "a target whose hash could be another file's, too",
                where=where,
                expected="sha256 or sha512",
                found=shown(", ".join(target.hashes)),
            )
        try:
            target.verify_length_and_hashes(raw)
        except LengthOrHashMismatchError as e:
            raise TrustDigestError(
                "a target is not the file that its role describes", where=where, found=shown(str(e))
            ) from e

    # --- what the host remembers ------------------------------------------------------------------

    def remembered(self, files: Mapping[str, Digest]) -> RootsSeen:
        """Return what the host will have seen once all of this is accepted."""
        before = {} if self._seen is None else dict(self._seen.roots)
        if self._snapshot is None:
            raise RuntimeError("nothing to remember before the snapshot")
        listed = {
            file.removesuffix(".json"): RoleSeen(version=info.version)
            for file, info in self._snapshot.meta.items()
        }
        taken = {name: role.seen for name, role in self.roles.items()}
        return RootsSeen(roots={**before, **self.roots}, roles={**listed, **taken}, files=files)

    @property
    def _floors_hold(self) -> bool:
        """Whether those who signed the last timestamp and snapshot could still do so (§5.3.11)."""
        if self._seen is None:
            return False
        for name in (Timestamp.type, Snapshot.type):
            old = self._seen.roles.get(name)
            if old is None or not still_enough(self.root.roles[name], self.root.keys, old.signers):
                return False
        return True

    def _expect_not_older(self, role: str, version: int) -> None:
        old = None if self._seen is None else self._seen.roles.get(role)
        if old is not None and version < old.version and self._floors_hold:
            raise TrustRollbackError(
                "trust material is older than what this host has seen",
                where=self._where(f"{role}.json"),
                expected=f"version {old.version} or higher",
                found=f"version {version}",
                hint="pack the bundle again: its TUF repository has newer metadata; no reason goes "
                "back behind what signers said last, `--allow-downgrade` is for images",
            )

    # --- small steps ------------------------------------------------------------------------------

    def _parse(self, raw: bytes, kind: type[T], file: str, size_max: int) -> Document[T]:
        return parse_metadata(
            raw, kind, name=self._where(file), size_max=size_max, limits=self._limits
        )

    def _count_top(
        self, new: Document[Timestamp] | Document[Snapshot] | Document[Targets]
    ) -> Signers:
        return self._count(self.root.roles[new.signed.type], self.root.keys, new, by="the root")

    def _count(
        self,
        role: Role,
        keys: Mapping[str, Key],
        new: Document[Root] | Document[Timestamp] | Document[Snapshot] | Document[Targets],
        *,
        by: str,
    ) -> Signers:
        return count(
            role,
            keys,
            new.payload,
            new.signatures,
            verifier=self._verifier,
            where=f"{new.name}, under {by}",
        )

    def _take(self, name: str, signed: Root | Timestamp | Snapshot | Targets, who: Signers) -> None:
        self.roles[name] = RoleState(
            name=name, version=signed.version, expires=signed.expires, signers=who
        )

    def _expect_file(self, meta: MetaFile, raw: bytes, name: str) -> None:
        try:
            meta.verify_length_and_hashes(raw)
        except LengthOrHashMismatchError as e:
            raise TrustDigestError(
                "not the file that signed metadata describes", where=name, found=shown(str(e))
            ) from e

    def _expect_version(
        self, new: Document[Snapshot] | Document[Targets], version: int, *, by: str
    ) -> None:
        if new.signed.version != version:
            raise TrustVersionError(
                f"another version than {by} names",
                where=new.name,
                expected=str(version),
                found=str(new.signed.version),
            )

    def _where(self, file: str) -> str:
        return f"{self.name}: {shown(file)[1:-1]}"
