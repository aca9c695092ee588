"""One fact: the newest root follows from the pinned one, rotation by rotation.

A pin says where trust begins: at the newest root that is signed by the keys it names. From there
on every root must be signed by the threshold of the one before it and by its own (FORMATS §5.3);
one that is missing breaks the chain. What a host has seen is part of the chain: it goes through the
very roots that were seen, and never ends before the newest of them.

Notary itself holds every root against the pin, so that a repository whose root key was rotated
needs a new pin on each host. Here a pinned key may be rotated away; an authority stays what it is:
under a pinned one the newest root's certificates must be issued by it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final, assert_never

from loader.digest import Digest
from loader.errors import FormatError, LimitError, NotaryError, NotaryRollbackError, NotaryRootError
from loader.limits import DEFAULT_LIMITS
from loader.model.notary import Root, Signed, parse_root
from loader.model.notary_roles import ROOT
from loader.trust.notary_pins import PinnedAuthorities, PinnedKeys
from loader.verify.notary.certificates import is_issued, root_chain
from loader.verify.notary.signatures import expect_signed

if TYPE_CHECKING:
    from cryptography import x509

    from loader.limits import Limits
    from loader.model.notary_roles import MetadataKey, RoleKeys
    from loader.trust.memory import RootsSeen
    from loader.trust.notary_pins import Pin

_SUFFIX: Final = ".root"
PACK_AGAIN: Final = (
    "pack the image again, with what its repository says today: no reason goes back behind what "
    "signers said last, `--allow-downgrade` is for images"
)
"""The one way to an older image under content trust: a tag that is withdrawn is not in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootChain:
    """The newest root, and all that lead to it from where trust begins."""

    newest: Signed[Root]
    digests: Mapping[int, Digest]
    """Of every root that was verified, by version."""
    begins: int
    """The version that the pin speaks of."""
    signed_by: tuple[MetadataKey, ...]
    """The newest root's own keys that signed it."""


def verify_roots(
    files: Mapping[str, bytes],
    *,
    gun: str,
    pin: Pin,
    seen: RootsSeen | None = None,
    remembered: bytes | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> RootChain:
    """Check that the newest root follows from the pinned one and from what this host has seen.

    Args:
        files: `root`, and `N.root` for each version that is here.
        gun: the repository's globally unique name.
        pin: where trust begins.
        seen: what this host verified before of this repository.
        remembered: the newest root that was seen; the files may begin behind it.
        limits: sizes and counts.

    Raises:
        NotaryRootError: it does not, or a root between them is missing.
        NotaryRollbackError: the newest one here is older than one that was seen.
        LimitError: too many roots, or one that is too large.
    """
    roots = _read(files, limits=limits)
    newest = max(roots)
    if remembered is not None:
        old = parse_root(remembered, where="the remembered root", limits=limits)
        roots.setdefault(old.version, old)
    if seen is not None and newest < seen.newest:
        raise NotaryRollbackError(
            "the newest root is older than one that this host has seen",
            where=gun,
            expected=f"version {seen.newest} or later",
            found=str(newest),
            hint=PACK_AGAIN,
        )
    known = {} if seen is None else {v: d for v, d in seen.roots.items() if v in roots}
    for version, digest in known.items():
        if Digest.of(roots[version].raw) != digest:
            raise NotaryRootError(
                f"root {version} is another one than this host has seen",
                where=gun,
                expected=str(digest),
                found=str(Digest.of(roots[version].raw)),
                hint="if the repository was made anew, pin its root under an anchor of a new name",
            )
    begins = _begins(roots, gun=gun, pin=pin, limits=limits)
    first = begins if seen is None else min(begins, seen.newest)
    chain = [_at(roots, version, gun=gun) for version in range(first, newest + 1)]
    for old, new in pairwise(chain):
        _expect_rotation(old, new, gun=gun, limits=limits)
    role = _root_keys(chain[-1], gun=gun, limits=limits)
    if isinstance(pin, PinnedAuthorities):
        role = _pinned(role, pin, gun=gun, limits=limits)
    return RootChain(
        newest=chain[-1],
        digests={root.version: Digest.of(root.raw) for root in chain} | known,
        begins=begins,
        signed_by=_expect_signed(chain[-1], role, what=f"root {newest}", limits=limits),
    )


def _read(files: Mapping[str, bytes], *, limits: Limits) -> dict[int, Signed[Root]]:
    """Return the roots by the versions that they say they have; a file's name must say the same."""
    found: dict[int, Signed[Root]] = {}
    named = [name for name in files if name == ROOT or name.endswith(_SUFFIX)]
    if len(named) > limits.notary_root_count_max + 1:
        raise LimitError(
            "too many roots of one repository",
            expected=f"at most {limits.notary_root_count_max}",
            found=str(len(named)),
        )
    for name in named:
        try:
            root = parse_root(files[name], where=name, limits=limits)
        except LimitError:
            raise
        except FormatError as e:
            raise NotaryRootError(
                f"a root cannot be understood: {e.message}",
                where=e.where or name,
                expected=e.expected,
                found=e.found,
            ) from e
        if name not in {ROOT, f"{root.version}{_SUFFIX}"}:
            raise NotaryRootError(
                "a root of another version than its name says", where=name, found=str(root.version)
            )
        if found.setdefault(root.version, root).raw != root.raw:
            raise NotaryRootError("two roots of one version", where=name, found=str(root.version))
    if ROOT in files and max(found) != parse_root(files[ROOT], where=ROOT, limits=limits).version:
        raise NotaryRootError("`root` is not the newest of the roots", where=ROOT)
    if not found:
        raise NotaryRootError("there is no root", expected="root, or N.root")
    return found


def _begins(roots: Mapping[int, Signed[Root]], *, gun: str, pin: Pin, limits: Limits) -> int:
    """Return the newest version that the pin speaks of."""
    why: NotaryError | None = None
    for version in sorted(roots, reverse=True):
        root = roots[version]
        try:
            role = _root_keys(root, gun=gun, limits=limits)
            _expect_signed(
                root,
                _pinned(role, pin, gun=gun, limits=limits),
                what=f"root {version}",
                limits=limits,
            )
        except NotaryError as e:
            why = why or e
            continue
        return version
    if why is None:
        raise NotaryRootError("there is no root", where=gun)
    raise why


def _root_keys(root: Signed[Root], *, gun: str, limits: Limits) -> RoleKeys:
    """Return the root role with those of its keys that are certificates for this repository."""
    role = root.content.roles[ROOT]
    why: NotaryRootError | None = None
    kept: list[MetadataKey] = []
    for key in role.keys:
        try:
            root_chain(key, gun=gun, limits=limits)
        except NotaryRootError as e:
            why = e
            continue
        kept.append(key)
    if len(kept) < role.threshold and why is not None:
        raise why
    return replace(role, keys=tuple(kept))


def _pinned(role: RoleKeys, pin: Pin, *, gun: str, limits: Limits) -> RoleKeys:
    """Return the root role with those of its keys that the pin names."""
    kept = tuple(key for key in role.keys if _is_pinned(key, pin, gun=gun, limits=limits))
    if len(kept) < role.threshold:
        raise NotaryRootError(
            "the root is not the pinned one",
            where=gun,
            expected=str(pin),
            found="root key " + (", ".join(key.key_id[:12] for key in role.keys) or "none"),
        )
    return replace(role, keys=kept)


def _is_pinned(key: MetadataKey, pin: Pin, *, gun: str, limits: Limits) -> bool:
    match pin:
        case PinnedKeys(key_ids=key_ids):
            return key.key_id in key_ids
        case PinnedAuthorities(certificates=certificates):
            chain: tuple[x509.Certificate, ...] = root_chain(key, gun=gun, limits=limits)
            return is_issued(chain, certificates)
        case _:
            assert_never(pin)


def _expect_rotation(old: Signed[Root], new: Signed[Root], *, gun: str, limits: Limits) -> None:
    """Check that both the old root's keys and its own signed a new root. No expiry is compared."""
    what = f"root {new.version}"
    for root in (old, new):
        role = _root_keys(root, gun=gun, limits=limits)
        by = f"{what}, by the keys of root {root.version}"
        _expect_signed(new, role, what=by, limits=limits)


def _expect_signed(
    root: Signed[Root], role: RoleKeys, *, what: str, limits: Limits
) -> tuple[MetadataKey, ...]:
    try:
        return expect_signed(root, role, what=what, limits=limits)
    except NotaryError as e:
        raise NotaryRootError(e.message, where=e.where, expected=e.expected, found=e.found) from e


def _at(roots: Mapping[int, Signed[Root]], version: int, *, gun: str) -> Signed[Root]:
    if version not in roots:
        raise NotaryRootError(
            f"root {version} is missing: no rotation leads to the newest",
            where=gun,
            expected=f"{version}{_SUFFIX}",
            found=", ".join(str(one) for one in sorted(roots)),
            hint="capture the repository anew, with its roots' history",
        )
    return roots[version]
