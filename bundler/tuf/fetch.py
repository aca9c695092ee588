"""`trust fetch --tuf`: one repository into a folder to pack from, or to carry and import."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bundler.registry.settings import RegistrySettings
from bundler.tuf.capture import Captured, capture, keys_of, open_place
from loader.errors import UsageError
from loader.limits import DEFAULT_LIMITS
from loader.model.fields import format_instant
from loader.trust.anchors import AnchorFile, AnchorRule, AnchorUse
from loader.trust.store import BUILTIN_DIRECTORY, TrustStore
from loader.trust.tuf_pin import TARGET, VOUCHED_BY, TufPin
from loader.trust.tuf_words import DelegatorWords


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOrder:
    """What is fetched, from where, and by which root it is judged."""

    source: str
    root: Path
    targets: tuple[str, ...]
    vouched_by: str
    """Trusted root for Sigstore identities that sign the repository: a built-in name or a file."""
    output: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Vouching:
    """One trusted root, as a store is opened for a policy."""

    name: str

    @property
    def anchors(self) -> Sequence[AnchorFile]:
        return ()

    @property
    def anchor_rules(self) -> Sequence[AnchorRule]:
        return ()

    @property
    def uses(self) -> Sequence[AnchorUse]:
        return (AnchorUse(name=self.name, kind="trusted-root", where="--trusted-root"),)


def fetch(
    order: FetchOrder, *, settings: RegistrySettings, sleep: Callable[[float], None]
) -> Captured:
    """Capture a repository, and write it.

    Raises:
        UsageError: the root or the folder cannot be used.
        RemoteError, TrustRootError, LimitError: the repository cannot be had, or does not hold.
    """
    try:
        with order.root.open("rb") as file:
            root = file.read(DEFAULT_LIMITS.tuf_root_size_max + 1)
    except OSError as e:
        raise UsageError(
            "the pinned root cannot be read", where=str(order.root), found=e.strerror or ""
        ) from e
    pin = TufPin(root=root, origin=str(order.root), vouched_by=order.vouched_by)
    trust = TrustStore(anchors=())
    if pin.names_identities:
        trust = TrustStore.open(
            _Vouching(name=order.vouched_by),
            policy_directory=Path(),
            builtin=BUILTIN_DIRECTORY,
        )
    place = open_place(order.source, settings, sleep=sleep)
    try:
        captured = capture(pin, place, order.targets, name=order.source, keys=keys_of(pin, trust))
    finally:
        place.close()
    try:
        captured.write(order.output)
    except OSError as e:
        raise UsageError(
            "the folder cannot be written", where=str(order.output), found=e.strerror or ""
        ) from e
    return captured


def lines(captured: Captured, order: FetchOrder, *, now: datetime) -> Iterator[str]:
    """Yield what there is to say of it."""
    replayed = captured.replayed
    yield f"{captured.origin}: {len(captured.files)} files, in {order.output}"
    for role in replayed.roles.values():
        past = ", EXPIRED" if role.expires <= now else ""
        yield f"  {role.name} {role.version}, until {format_instant(role.expires)}{past}"
    words = DelegatorWords.parse(replayed.root, name=captured.origin)
    yield from (f"  warning: {warning}" for warning in words.warnings())
    for target in order.targets:
        there = f"targets/{target}" in captured.files
        yield f"  target {target}: {'there' if there else 'not listed'}"


__all__ = ["TARGET", "VOUCHED_BY", "FetchOrder", "fetch", "lines"]
