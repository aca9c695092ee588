"""The TUF repositories that a policy's anchors begin, captured for the images of one bundle.

Capturing is replaying: the loader's own replay asks for files one by one, and what it asked for is
what travels. So the far side finds all that it will ask for, and nothing that does not hold is ever
sealed. Older roots come along, too: a host may have pinned any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bundler.registry.settings import RegistrySettings
from bundler.store import ContentStore
from bundler.tuf.layout import LiveFiles
from bundler.tuf.places import Folder, Web
from loader.errors import UsageError, shown
from loader.model.bundle import ImageEntry, TrustEntry
from loader.model.descriptor import Descriptor
from loader.policy.claims.tuf_target import TufTargetClaim
from loader.policy.model import Policy
from loader.renewal import renew
from loader.trust.anchors import label_of
from loader.trust.memory import NO_MEMORY
from loader.trust.store import TrustStore
from loader.trust.trusted_root import TrustedRoot
from loader.trust.tuf_keys import KeyVerifier
from loader.trust.tuf_pin import TufPin
from loader.trust.tuf_replay import Replayed, replay
from loader.verify.keyless import SigstoreKeys

PUBLIC: Final = {
    "sigstore": "https://tuf-repo-cdn.sigstore.dev",
    "github": "https://tuf-repo.github.com",
}
"""Where the repositories of the built-in anchors are."""
_MEDIA_TYPE: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class TufSource:
    """`NAME=URL` or `NAME=DIR`: where the repository of an anchor is captured from."""

    anchor: str
    place: str

    @classmethod
    def parse(cls, text: str) -> TufSource:
        """Return what an option says; `sigstore` or `github` alone mean their own repositories.

        Raises:
            UsageError: neither.
        """
        name, equals, place = text.partition("=")
        if text in PUBLIC:
            return cls(anchor=text, place=PUBLIC[text])
        if not (equals and name and place):
            raise UsageError(
                "not a TUF repository for an anchor",
                where="--tuf",
                expected=f"NAME=URL, NAME=DIR, or one of {', '.join(PUBLIC)}",
                found=shown(text),
            )
        return cls(anchor=name, place=place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """The files of one repository, and what their replay came to."""

    files: Mapping[str, bytes]
    replayed: Replayed
    origin: str

    def carried(self, anchor: str, store: ContentStore) -> TrustEntry:
        """Put the files into the store and return what the statement says of them."""
        label = label_of(anchor)
        names = sorted(self.files)
        for name in names:
            store.put(self.files[name])
        return TrustEntry(
            anchor=label,
            kind="tuf",
            blobs=tuple(Descriptor.make(_MEDIA_TYPE, self.files[name]) for name in names),
            repository=label,
            names=tuple(names),
        )

    def write(self, folder: Path) -> None:
        """Write the files below a folder, which `--tuf NAME=DIR` and `trust import` read."""
        for name, raw in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)


def capture(
    pin: TufPin,
    place: Web | Folder,
    targets: Iterable[str],
    *,
    name: str,
    keys: KeyVerifier | None,
) -> Captured:
    """Capture a repository: all roots, current metadata, and these targets where they are listed.

    Raises:
        RemoteError: it cannot be asked, or there is none.
        TrustRootError, LimitError: it does not chain to the pin, or does not hold.
    """
    live = LiveFiles(place)
    live.collect_roots(pin.version())
    replayed = replay(live, pin, name=name, keys=keys)
    for target in dict.fromkeys(targets):
        replayed.target(target)
    return Captured(files=live.files, replayed=replayed, origin=live.origin)


def capture_wanted(
    policy: Policy,
    trust: TrustStore,
    images: Sequence[ImageEntry],
    store: ContentStore,
    sources: Sequence[TufSource],
    *,
    settings: RegistrySettings,
    sleep: Callable[[float], None],
) -> tuple[TrustEntry, ...]:
    """Capture the repository of every anchor that has a TUF root, each once.

    Args:
        policy: of the far side.
        trust: its anchors.
        images: of the bundle.
        store: where the files are put.
        sources: where each repository is; the built-in anchors can do without.
        settings: how servers are reached.
        sleep: waits between tries.

    Raises:
        UsageError: an anchor has a TUF root, and nobody says where its repository is.
        RemoteError, TrustRootError, LimitError: as `capture`.
    """
    places = {source.anchor: source for source in sources}
    pins = {anchor.name: anchor.tuf for anchor in trust.anchors if anchor.tuf is not None}
    for unknown in sorted(places.keys() - pins.keys()):
        raise UsageError("no anchor of the policy has such a TUF root", found=f"--tuf {unknown}=…")
    entries: list[TrustEntry] = []
    # Whoever vouches for identities has to be renewed before they are judged.
    for name, pin in sorted(pins.items(), key=lambda item: (item[1].names_identities, item[0])):
        source = places.get(name)
        anchors = [anchor for anchor in trust.anchors if anchor.name == name]
        if source is None:
            if any(anchor.kind == "tuf-root" for anchor in anchors):
                raise UsageError(
                    "nobody says where this anchor's TUF repository is",
                    where=name,
                    expected=f"--tuf {name}=URL, or a folder",
                )
            continue
        known = renew(trust, entries, store, NO_MEMORY).trust
        targets = [pin.target] if any(one.use != "tuf-root" for one in anchors) else []
        targets += _recorded(policy, images, name)
        place = open_place(source.place, settings, sleep=sleep)
        try:
            found = capture(pin, place, targets, name=name, keys=keys_of(pin, known))
        finally:
            place.close()
        entries.append(found.carried(name, store))
    return tuple(entries)


def open_place(
    text: str, settings: RegistrySettings, *, sleep: Callable[[float], None]
) -> Web | Folder:
    """Return the place that an address or a path names.

    Raises:
        UsageError: neither.
    """
    if "://" in text:
        return Web(text, settings, sleep=sleep)
    return Folder(Path(text).expanduser())


def keys_of(pin: TufPin, trust: TrustStore) -> KeyVerifier | None:
    """Return the judge of Sigstore identities that sign a repository, if anybody vouches."""
    for anchor in trust.anchors:
        if anchor.name == pin.vouched_by and isinstance(anchor.value, TrustedRoot):
            return SigstoreKeys(trusted_root=anchor.value)
    return None


def _recorded(policy: Policy, images: Sequence[ImageEntry], anchor: str) -> list[str]:
    """Return the targets in which releases of these images are recorded."""
    return [
        claim.path
        for image in images
        for claim in policy.rules_for(image.reference).on_images
        if isinstance(claim, TufTargetClaim) and claim.tuf_root == anchor
    ]
