"""podman, through `podman load` of an OCI archive that keeps the platform's manifest byte for byte.

The store knows an image by its config's digest and remembers under which manifest digests it came;
both are compared. podman 4.3 does not compare layers with the config's diff_ids, so `archive` does.
The stream carries no name; the image is named when podman has said what it holds. There is no
daemon: the client is the runtime, and finds its store where the configuration says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loader.errors import RuntimeAbsentError, RuntimeLoadError, shown
from loader.runtime.archive import podman_archive
from loader.runtime.asking import ANSWER_SIZE_MAX, LOAD_SECONDS, Asker, put_back_unless_done
from loader.runtime.base import Discarded, Receipt, Undo, expect_named, only_platform, settle_name
from loader.runtime.calls import Call, Client, Operand
from loader.runtime.clients import (
    check_client,
    clean_environment,
    find_client,
    temporary_folder,
)
from loader.runtime.launcher import Launcher

if TYPE_CHECKING:
    from loader.runtime.base import Expected, LoadRequest, PlatformImage
    from loader.witness import Staged

NAME: Final = "podman"
_SCRATCH: Final = "/var/tmp"  # noqa: S108 - where podman itself keeps streams; ours is private
_DIGEST_COUNT_MAX: Final = 10_000
_ABSENT_STATUS: Final = 1
"""Of `podman image exists`; anything else than 0 and 1 is a failure."""
_VERSION: Final = '{"version":{{json .Client.Version}}}'
_IMAGE: Final = '{"id":{{json .ID}},"digest":{{json .Digest}},"digests":{{json .RepoDigests}}}'
_TAGS: Final = '{"tags":{{json .RepoTags}}}'
_NAME_COUNT_MAX: Final = 10_000
_CALLS: Final = {
    "version": Call(arguments=("version", "--format", _VERSION)),
    "exists": Call(arguments=("image", "exists", Operand.DIGEST)),
    "name-exists": Call(arguments=("image", "exists", Operand.NAME)),
    "image": Call(arguments=("image", "inspect", "--format", _IMAGE, Operand.DIGEST)),
    "named": Call(arguments=("image", "inspect", "--format", _IMAGE, Operand.NAME)),
    "tags": Call(arguments=("image", "inspect", "--format", _TAGS, Operand.DIGEST)),
    "load": Call(arguments=("load", "--quiet"), stdin=True, seconds=LOAD_SECONDS),
    "ids": Call(
        arguments=("images", "--all", "--quiet", "--no-trunc"), stdout_size_max=ANSWER_SIZE_MAX
    ),
    "tag": Call(arguments=("tag", Operand.DIGEST, Operand.NAME)),
    "untag": Call(arguments=("untag", Operand.DIGEST, Operand.NAME)),
    "remove": Call(arguments=("image", "rm", Operand.DIGEST)),
}


def podman_client(environment: Mapping[str, str], *, client: Path | None = None) -> Client:
    """Return the podman client; it works on the store of whoever runs the loader.

    Raises:
        RuntimeAbsentError: there is no client.
        RuntimeLoadError: it is not safe to use, or is told to work across a network.
    """
    for name in ("CONTAINER_HOST", "CONTAINER_CONNECTION"):
        if environment.get(name):
            raise RuntimeLoadError(
                "podman is told to work on another machine", where=name, expected="not set"
            )
    return Client(
        name=NAME,
        path=find_client(NAME) if client is None else check_client(client),
        prefix=("--remote=false",),
        environment=clean_environment(environment, "CONTAINERS_STORAGE_CONF", "CONTAINERS_CONF"),
        calls=_CALLS,
        scratch=temporary_folder(environment) or Path(_SCRATCH),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What podman says it has."""

    image_id: str
    digest: str
    named_digests: frozenset[str]
    """`name@digest` for every name of the image and every manifest that it came with."""


class Podman:
    """The podman store of this user."""

    __slots__ = ("_asker",)

    def __init__(self, launcher: Launcher) -> None:
        self._asker = Asker(launcher)

    @property
    def name(self) -> str:
        """The word on the command line."""
        return NAME

    def close(self) -> None:
        """Let go of the client."""
        self._asker.close()

    def probe(self) -> str:
        """Return the client's version, in words; see `Runtime.probe`."""
        completed = self._asker.run("version")
        if completed.status != 0:
            raise RuntimeAbsentError("podman does not work here", found=completed.stderr)
        answer = self._asker.said(completed)
        with self._asker.understanding(answer, call="version") as fields:
            return f"podman {fields.text('version')}"

    def load(self, image: Staged[LoadRequest]) -> Receipt:
        """Load the image, compare its digests, and name it; see `Runtime.load`."""
        request = image.value
        chosen = only_platform(request, runtime=NAME)
        manifest = chosen.manifest.descriptor.digest
        image_id = str(chosen.config.descriptor.digest)
        name = request.reference.tagged if request.reference.tag else None
        held = None if name is None else self._named(name)
        current = None if held is None else held.image_id
        if held is not None and current != image_id:
            settle_name(request, current=held.digest, wanted=str(manifest), runtime=NAME)
        before = self._held(image_id)
        naming = {} if name is None or current == image_id else {name: current}
        there = before is not None and self._came_with(before, chosen)
        undo = Undo(names=naming, brought=() if before is not None else (image_id,))
        with put_back_unless_done(lambda: self._put_back(undo), runtime=NAME):
            if not there:
                self._asker.load(podman_archive(chosen, request.blobs), wanted=image_id)
            if before is None:
                self._compare(chosen, None)
            for new in naming:
                self._asker.ask("tag", image_id, new)
            read_back = self._compare(chosen, name)
        notes = ["podman keeps the platform's manifest, not the index that lists it"]
        if name is None:
            notes.append("podman names nothing by digest alone: the image has its ID and no name")
        if current is not None and naming:
            notes.append(f"{name} pointed to {current} before")
        return Receipt(
            runtime=NAME,
            reference=request.reference,
            digest=manifest,
            what="already-there" if there and not naming else "loaded",
            read_back=read_back,
            notes=tuple(notes),
            undo=undo,
        )

    def compare(self, image: Expected) -> tuple[tuple[str, str], ...]:
        """Compare name, ID and manifest; see `Runtime.compare`."""
        chosen = only_platform(image, runtime=NAME)
        name = image.reference.tagged if image.reference.tag else None
        if name is not None:
            held = self._named(name)
            expect_named(None if held is None else held.image_id, name=name, runtime=NAME)
        return self._compare(chosen, name)

    def discard(self, items: Sequence[str], *, really: bool) -> tuple[Discarded, ...]:
        """Remove images that have no name any more; see `Runtime.discard`."""
        return tuple(self._asker.discard(items, self._names_of, really=really))

    def _names_of(self, image_id: str) -> tuple[str, ...] | None:
        if not self._exists("exists", image_id):
            return None
        answer = self._asker.ask("tags", image_id)
        with self._asker.understanding(answer, call="tags") as fields:
            some = fields.has("tags")
            names = fields.items("tags", count_max=_NAME_COUNT_MAX) if some else []
            return tuple(shown(name) for name in names)

    def undo(self, receipt: Receipt) -> None:
        """Put back what `load` changed; see `Runtime.undo`."""
        self._put_back(receipt.undo)

    def _held(self, image_id: str) -> _Held | None:
        return self._facts("image", image_id) if self._exists("exists", image_id) else None

    def _named(self, name: str) -> _Held | None:
        return self._facts("named", name) if self._exists("name-exists", name) else None

    def _exists(self, call: str, operand: str) -> bool:
        completed = self._asker.run(call, operand)
        if completed.status == _ABSENT_STATUS:
            return False
        self._asker.said(completed)
        return True

    def _facts(self, call: str, operand: str) -> _Held:
        with self._asker.understanding(self._asker.ask(call, operand), call=call) as fields:
            some = fields.has("digests")
            digests = fields.items("digests", count_max=_DIGEST_COUNT_MAX) if some else []
            return _Held(
                image_id=f"sha256:{fields.text('id')}",
                digest=fields.text("digest"),
                named_digests=frozenset(str(item) for item in digests),
            )

    @staticmethod
    def _came_with(held: _Held, chosen: PlatformImage) -> bool:
        """Tell whether podman knows this image by this manifest, and not only by another one."""
        manifest = str(chosen.manifest.descriptor.digest)
        return held.digest == manifest or any(
            named.endswith(f"@{manifest}") for named in held.named_digests
        )

    def _compare(self, chosen: PlatformImage, name: str | None) -> tuple[tuple[str, str], ...]:
        image_id = str(chosen.config.descriptor.digest)
        manifest = str(chosen.manifest.descriptor.digest)
        held = self._held(image_id)
        known = held is not None and self._came_with(held, chosen)
        seen = manifest if known else None if held is None else held.digest
        facts = [
            self._asker.agree(
                "image ID (config digest)",
                expected=image_id,
                found=None if held is None else held.image_id,
            ),
            self._asker.agree("manifest digest", expected=manifest, found=seen),
        ]
        if name is not None:
            named = self._named(name)
            found = None if named is None else named.image_id
            facts.append(self._asker.agree(f"name {name}", expected=image_id, found=found))
        return tuple(facts)

    def _put_back(self, undo: Undo) -> None:
        """Move names back, then remove what was not there before."""
        for name, before in undo.names.items():
            held = self._named(name)
            current = None if held is None else held.image_id
            if current == before:
                continue
            if before is not None:
                self._asker.ask("tag", before, name)
            elif current is not None:
                self._asker.ask("untag", current, name)
        for image_id in undo.brought:
            if self._exists("exists", image_id):
                self._asker.ask("remove", image_id)
