"""The procedure: from a pinned root to the tags of every role, step by numbered step.

The numbers are those of docs/verification.md. It takes bytes and returns facts; no file, no clock,
no network. Whether something has expired is for whoever knows the time: facts carry their ends.

A delegation that too few of its keys signed is kept as such, with what is wrong, since Notary's own
client goes on without it; everything else that does not hold refuses the repository as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

from loader._seal import SEAL
from loader.digest import Digest
from loader.errors import (
    FormatError,
    LimitError,
    NotaryError,
    NotaryRollbackError,
    NotaryRootError,
    UnsupportedKeyError,
)
from loader.limits import DEFAULT_LIMITS
from loader.model.notary import parse_snapshot, parse_targets, parse_timestamp
from loader.model.notary_roles import ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from loader.trust.memory import RoleSeen, RootsSeen
from loader.trust.notary_ids import bare_key_id
from loader.verify.notary.certificates import root_chain
from loader.verify.notary.facts import ContentTrust, RoleFacts, RootCertificate, SignedTag
from loader.verify.notary.paths import Paths
from loader.verify.notary.roots import PACK_AGAIN, verify_roots
from loader.verify.notary.signatures import expect_signed, public_key
from loader.witness import Verified

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from loader.limits import Limits
    from loader.model.notary import Content, Fingerprint, Signed, Targets
    from loader.model.notary_roles import MetadataKey, RoleKeys
    from loader.trust.notary_pins import NotaryPins
    from loader.verify.notary.roots import RootChain

_DEPTH_MAX: Final = 16
_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """A role that holds, with what it says where it is one of targets."""

    facts: RoleFacts
    keys: RoleKeys
    targets: Targets | None = None


def verify_repository(
    files: Mapping[str, bytes],
    *,
    gun: str,
    pins: NotaryPins,
    seen: RootsSeen | None = None,
    remembered: bytes | None = None,
    tags: frozenset[str] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Verified[ContentTrust]:
    """Check a repository's metadata from its pinned root down, and return what it says.

    Args:
        files: by role and version: `root`, `2.root`, `timestamp`, `snapshot`, `targets`,
            `targets/releases`; what nothing leads to is not looked at.
        gun: the repository's globally unique name: `docker.io/library/alpine`.
        pins: where trust may begin.
        seen: what this host verified before of this repository.
        remembered: the newest root among that.
        tags: those that somebody asks for; the facts hold no others. None keeps all.
        limits: sizes and counts.

    Raises:
        NotaryRootError: nothing is pinned for it, or its newest root does not follow from the pin.
        NotaryRollbackError: a role is older than this host has seen it.
        NotaryError: a signature, hash, length or form does not hold, or a file is missing.
        LimitError: it is larger, or has more roles, than the published limits.
    """
    size = sum(map(len, files.values()))
    if size > limits.notary_repository_size_max:
        raise LimitError(
            "a repository's metadata is too large",
            where=gun,
            expected=f"at most {limits.notary_repository_size_max} bytes",
            found=str(size),
        )
    pin = pins.pin_of(gun)
    if pin is None:
        raise NotaryRootError(
            "nothing is pinned for this repository",
            where=gun,
            expected=f"a pin for it in {pins.name}",
            hint="nothing is trusted on first use: pin the id of a root key",
        )
    # (n1) roots
    chain = verify_roots(files, gun=gun, pin=pin, seen=seen, remembered=remembered, limits=limits)
    walk = _Walk(files=files, chain=chain, seen=seen, limits=limits)
    roles, unpublished = walk.roles()
    return Verified(
        ContentTrust(
            gun=gun,
            pinned=str(pin),
            begins=chain.begins,
            roles=tuple(one.facts for one in roles),
            unpublished=unpublished,
            certificates=_certificates(chain, gun=gun, limits=limits),
            tags=tuple(_tags(roles, tags)),
            seen=_seen(chain, roles, seen),
            root=chain.newest.raw,
        ),
        SEAL,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    """The roles below one root, each held against what the one above it says."""

    files: Mapping[str, bytes]
    chain: RootChain
    seen: RootsSeen | None
    limits: Limits

    def roles(self) -> tuple[tuple[_Held, ...], tuple[RoleFacts, ...]]:
        """Return every role that holds, parents first, and those that have published nothing."""
        root, limits = self.chain.newest, self.limits
        keys = root.content.roles
        # (n2) timestamp
        raw = self._file(TIMESTAMP)
        timestamp = _understood(TIMESTAMP, lambda: parse_timestamp(raw, limits=limits))
        stamped = self._held(timestamp, keys[TIMESTAMP])
        # (n3) snapshot
        listed_raw = self._file(SNAPSHOT, timestamp.content.snapshot)
        snapshot = _understood(SNAPSHOT, lambda: parse_snapshot(listed_raw, limits=limits))
        snapped = self._held(snapshot, keys[SNAPSHOT])
        # (n4) the root is the one that the snapshot lists: nothing older goes with it
        listed = snapshot.content.files
        differs = listed[ROOT].differs(root.raw)
        if differs:
            raise NotaryError(
                "root is not the file that the snapshot lists", where=ROOT, found=differs
            )
        rooted = _Held(
            facts=_facts(root, keys[ROOT], self.chain.signed_by, limits=limits), keys=keys[ROOT]
        )
        # (n5) targets and delegations
        found, unpublished = self._targets(keys[TARGETS], listed)
        return (rooted, *found, snapped, stamped), unpublished

    def _targets(
        self, top: RoleKeys, listed: Mapping[str, Fingerprint]
    ) -> tuple[tuple[_Held, ...], tuple[RoleFacts, ...]]:
        found: list[_Held] = []
        unpublished: list[RoleFacts] = []
        pending = [top]
        while pending:
            keys = pending.pop(0)
            if keys.name not in listed:
                self._expect_forward(0, keys)  # what was published once does not go away
                unpublished.append(_unpublished(keys, limits=self.limits))
                continue
            if len(found) >= self.limits.notary_role_count_max or (
                keys.name.count("/") > _DEPTH_MAX
            ):
                raise LimitError("a repository of too many roles", where=keys.name)
            one = self._delegated(keys, listed[keys.name])
            found.append(one)
            if one.targets is not None and not one.facts.problem:
                allowed = Paths(keys.paths)
                pending[:0] = [_restricted(child, allowed) for child in one.targets.delegations]
        return tuple(found), tuple(unpublished)

    def _delegated(self, keys: RoleKeys, fingerprint: Fingerprint) -> _Held:
        name, limits = keys.name, self.limits
        raw = self._file(name, fingerprint)
        document = _understood(name, lambda: parse_targets(raw, role=name, limits=limits))
        return replace(self._held(document, keys), targets=document.content)

    def _file(self, name: str, fingerprint: Fingerprint | None = None) -> bytes:
        """Return the file of a role, if it is the one that the role above means."""
        raw = self.files.get(name)
        above = TIMESTAMP if name == SNAPSHOT else SNAPSHOT
        if raw is None:
            raise NotaryError(f"{name} is missing, and the repository has it", where=name)
        differs = "" if fingerprint is None else fingerprint.differs(raw)
        if differs:
            raise NotaryError(
                f"{name} is not the file that the {above} lists", where=name, found=differs
            )
        return raw

    def _held(self, document: Signed[Content], keys: RoleKeys) -> _Held:
        """Check who signed a document, and that it is not older than one that was seen."""
        signed_by: tuple[MetadataKey, ...] = ()
        problem = ""
        try:
            signed_by = expect_signed(document, keys, what=keys.name, limits=self.limits)
        except NotaryError as e:
            if keys.name in self.chain.newest.content.roles:
                raise
            problem = f"{e.message}: {e.found} of {e.expected}"
        if not problem:
            self._expect_forward(document.version, keys)
        return _Held(
            facts=_facts(document, keys, signed_by, limits=self.limits, problem=problem), keys=keys
        )

    def _expect_forward(self, version: int, keys: RoleKeys) -> None:
        """Check that a role's version did not go back under keys that are still its own."""
        old = None if self.seen is None else self.seen.roles.get(keys.name)
        if old is None or version >= old.version:
            return
        if len(set(old.signers) & set(keys.key_ids)) < keys.threshold:
            return  # whoever could sign the higher one no longer can (TUF §5.3.11)
        raise NotaryRollbackError(
            f"{keys.name} is older than this host has seen it",
            where=keys.name,
            expected=f"version {old.version} or later",
            found=str(version),
            hint=PACK_AGAIN,
        )


def _understood(name: str, parse: Callable[[], _Parsed]) -> _Parsed:
    try:
        return parse()
    except LimitError:
        raise
    except FormatError as e:
        raise NotaryError(
            f"{name} cannot be understood: {e.message}",
            where=e.where or name,
            expected=e.expected,
            found=e.found,
        ) from e


def _restricted(child: RoleKeys, parent: Paths) -> RoleKeys:
    """Return a delegation with those of its paths that its parent may hold itself."""
    return replace(child, paths=tuple(path for path in child.paths if parent.cover(path)))


def _facts(
    document: Signed[Content],
    keys: RoleKeys,
    signed_by: tuple[MetadataKey, ...],
    *,
    limits: Limits,
    problem: str = "",
) -> RoleFacts:
    return RoleFacts(
        name=keys.name,
        version=document.version,
        expires=document.expires,
        threshold=keys.threshold,
        key_ids=keys.key_ids,
        signer_ids=tuple(key.key_id for key in signed_by),
        canonical_ids=tuple(_canonical_id(key, limits=limits) for key in keys.keys),
        problem=problem,
    )


def _unpublished(keys: RoleKeys, *, limits: Limits) -> RoleFacts:
    return RoleFacts(
        name=keys.name,
        version=0,
        expires=None,
        threshold=keys.threshold,
        key_ids=keys.key_ids,
        signer_ids=(),
        canonical_ids=tuple(_canonical_id(key, limits=limits) for key in keys.keys),
        problem="it has published nothing",
    )


def _canonical_id(key: MetadataKey, *, limits: Limits) -> str:
    try:
        return bare_key_id(public_key(key, limits=limits))
    except UnsupportedKeyError:
        return key.key_id  # nothing that it signs counts; it is only shown


def _certificates(chain: RootChain, *, gun: str, limits: Limits) -> tuple[RootCertificate, ...]:
    found = []
    for key in chain.signed_by:
        leaf = root_chain(key, gun=gun, limits=limits)[0]
        found.append(
            RootCertificate(
                key_id=key.key_id,
                not_before=leaf.not_valid_before_utc,
                not_after=leaf.not_valid_after_utc,
            )
        )
    return tuple(found)


def _tags(roles: tuple[_Held, ...], wanted: frozenset[str] | None) -> Iterator[SignedTag]:
    """Yield what each role says that may say it: within its paths, and signed."""
    for role in roles:
        if role.targets is None or role.facts.problem:
            continue
        paths = Paths(role.keys.paths)
        for name, fingerprint in sorted(role.targets.targets.items()):
            if wanted is not None and name not in wanted:
                continue
            if paths.cover(name):
                yield SignedTag(role=role.facts.name, name=name, fingerprint=fingerprint)


def _seen(chain: RootChain, roles: tuple[_Held, ...], before: RootsSeen | None) -> RootsSeen:
    """Return what to remember: every root, and each role that counts with who signed it."""
    return RootsSeen(
        roots={**({} if before is None else before.roots), **chain.digests},
        roles=({} if before is None else dict(before.roles))
        | {
            one.facts.name: RoleSeen(
                version=one.facts.version,
                signers=one.facts.signer_ids,
                expires=_whole(one.facts.expires),
            )
            for one in roles
            if one.facts.name != ROOT and not one.facts.problem
        },
        files={ROOT: Digest.of(chain.newest.raw)},
    )


def _whole(at: datetime | None) -> datetime | None:
    """Return an instant in whole seconds, as a host's memory keeps it."""
    return None if at is None else at.replace(microsecond=0)
