"""docker, through `docker load`: classic image store, docker 20 to 28.

The store knows an image by the digest of its config (the image ID) and by the diff_ids of its
layers, which the daemon compares as it unpacks. It forgets manifest digests; the receipt says so.
The stream carries no name: an archive with names moves them silently, before anybody could compare
anything. The name is set when the daemon has said what it holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loader.errors import RuntimeAbsentError, RuntimeLoadError, shown
from loader.runtime.archive import docker_archive
from loader.runtime.asking import ANSWER_SIZE_MAX, LOAD_SECONDS, Asker, put_back_unless_done
from loader.runtime.base import Discarded, Receipt, Undo, expect_named, only_platform, settle_name
from loader.runtime.calls import Call, Client, Operand
from loader.runtime.clients import check_client, check_socket, clean_environment, find_client
from loader.runtime.expand import SizeGuessError
from loader.runtime.launcher import Launcher

if TYPE_CHECKING:
    from loader.runtime.base import Expected, LoadRequest, PlatformImage
    from loader.witness import Staged

NAME: Final = "docker"
DEFAULT_SOCKET: Final = Path("/var/run/docker.sock")
_UNIX: Final = "unix://"
_LAYER_COUNT_MAX: Final = 1024
_ABSENT: Final = "no such image"
_CONTAINERD_STORE: Final = "io.containerd.snapshotter.v1"
_INFO: Final = (
    '{"version":{{json .ServerVersion}},"driver":{{json .Driver}},'
    '"architecture":{{json .Architecture}},"status":{{json .DriverStatus}}}'
)
_IMAGE: Final = '{"id":{{json .Id}},"layers":{{json .RootFS.Layers}}}'
_TAGS: Final = '{"tags":{{json .RepoTags}}}'
_NAME_COUNT_MAX: Final = 10_000
_CALLS: Final = {
    "info": Call(arguments=("info", "--format", _INFO)),
    "ids": Call(
        arguments=("image", "ls", "--all", "--quiet", "--no-trunc"),
        stdout_size_max=ANSWER_SIZE_MAX,
    ),
    "image": Call(arguments=("image", "inspect", "--format", _IMAGE, Operand.DIGEST)),
    "named": Call(arguments=("image", "inspect", "--format", _IMAGE, Operand.NAME)),
    "tags": Call(arguments=("image", "inspect", "--format", _TAGS, Operand.DIGEST)),
    "load": Call(arguments=("load", "--quiet"), stdin=True, seconds=LOAD_SECONDS),
    "tag": Call(arguments=("tag", Operand.DIGEST, Operand.NAME)),
    "untag": Call(arguments=("image", "rm", "--no-prune", Operand.NAME)),
    "remove": Call(arguments=("image", "rm", "--no-prune", Operand.DIGEST)),
}


def docker_client(environment: Mapping[str, str], *, client: Path | None = None) -> Client:
    """Return the docker client and the daemon that it is pointed at.

    Args:
        environment: what the user set; DOCKER_HOST counts where it names a Unix socket.
        client: another program than the system's `docker`.

    Raises:
        RuntimeAbsentError: there is no client, or no socket.
        RuntimeLoadError: one of them is not safe to use, or the daemon is across a network.
    """
    host = environment.get("DOCKER_HOST") or f"{_UNIX}{DEFAULT_SOCKET}"
    if not host.startswith(f"{_UNIX}/"):
        raise RuntimeLoadError(
            "the docker daemon is not on this machine",
            where="DOCKER_HOST",
            expected="unix:///path/to/docker.sock",
            found=shown(host),
        )
    socket = check_socket(Path(host.removeprefix(_UNIX)), name=NAME)
    return Client(
        name=NAME,
        path=find_client(NAME) if client is None else check_client(client),
        # No configuration: a user's own may name proxies, contexts and plug-ins that run along.
        prefix=("--config", "/nonexistent", "--host", f"{_UNIX}{socket}"),
        environment=clean_environment(environment),
        calls=_CALLS,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What the daemon says it has."""

    image_id: str
    layers: tuple[str, ...]


class Docker:
    """A docker daemon on this machine."""

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
        """Return the daemon's version, in words; see `Runtime.probe`."""
        completed = self._asker.run("info")
        if completed.status != 0:
            raise RuntimeAbsentError(
                "the docker daemon does not answer",
                where=self._asker.name,
                found=completed.stderr,
                hint="start it, or set DOCKER_HOST to its Unix socket",
            )
        with self._asker.understanding(self._asker.said(completed), call="info") as info:
            version = f"{info.text('version')}, {info.text('driver')}, {info.text('architecture')}"
            classic = _CONTAINERD_STORE not in str(info.object.get("status"))
        if not classic:
            raise RuntimeLoadError(
                "this docker keeps its images in containerd",
                where=self._asker.name,
                expected="docker's classic image store",
                found=f"driver type {_CONTAINERD_STORE}",
                hint="load --into containerd:moby puts them where this docker sees them",
            )
        return f"docker {version}"

    def load(self, image: Staged[LoadRequest]) -> Receipt:
        """Load the image, compare ID and layers, and name it; see `Runtime.load`."""
        request = image.value
        chosen = only_platform(request, runtime=NAME)
        image_id = str(chosen.config.descriptor.digest)
        name = request.reference.tagged if request.reference.tag else None
        current = None if name is None else self._named(name)
        settle_name(request, current=current, wanted=image_id, runtime=NAME)
        there = self._held("image", image_id) is not None
        naming = {} if name is None or current == image_id else {name: current}
        undo = Undo(names=naming, brought=() if there else (image_id,))
        with put_back_unless_done(lambda: self._put_back(undo), runtime=NAME):
            if not there:
                self._bring(chosen, request)
            read_back = [*self._compare(chosen)]
            for new in naming:
                self._asker.ask("tag", image_id, new)
            if name is not None:
                read_back.append(
                    self._asker.agree(f"name {name}", expected=image_id, found=self._named(name))
                )
        notes = ["docker's classic store keeps no manifest digests: it knows the image by its ID"]
        if name is None:
            notes.append("docker names nothing by digest alone: the image has its ID and no name")
        if current is not None and naming:
            notes.append(f"{name} pointed to {current} before")
        return Receipt(
            runtime=NAME,
            reference=request.reference,
            digest=chosen.config.descriptor.digest,
            what="already-there" if there and not naming else "loaded",
            read_back=tuple(read_back),
            notes=tuple(notes),
            undo=undo,
        )

    def compare(self, image: Expected) -> tuple[tuple[str, str], ...]:
        """Compare name, ID and layers; see `Runtime.compare`."""
        chosen = only_platform(image, runtime=NAME)
        image_id = str(chosen.config.descriptor.digest)
        facts: list[tuple[str, str]] = []
        if image.reference.tag:
            name = image.reference.tagged
            found = self._named(name)
            expect_named(found, name=name, runtime=NAME)
            facts.append(self._asker.agree(f"name {name}", expected=image_id, found=found))
        return (*facts, *self._compare(chosen))

    def discard(self, items: Sequence[str], *, really: bool) -> tuple[Discarded, ...]:
        """Remove images that have no name any more; see `Runtime.discard`."""
        return tuple(self._asker.discard(items, self._names_of, really=really))

    def _names_of(self, image_id: str) -> tuple[str, ...] | None:
        completed = self._asker.run("tags", image_id)
        if completed.status != 0 and _ABSENT in completed.stderr.lower():
            return None
        with self._asker.understanding(self._asker.said(completed), call="tags") as fields:
            some = fields.has("tags")
            names = fields.items("tags", count_max=_NAME_COUNT_MAX) if some else []
            return tuple(shown(name) for name in names)

    def undo(self, receipt: Receipt) -> None:
        """Put back what `load` changed; see `Runtime.undo`."""
        self._put_back(receipt.undo)

    def _held(self, call: str, operand: str) -> _Held | None:
        completed = self._asker.run(call, operand)
        if completed.status != 0 and _ABSENT in completed.stderr.lower():
            return None
        with self._asker.understanding(self._asker.said(completed), call=call) as fields:
            named = fields.has("layers")
            layers = fields.items("layers", count_max=_LAYER_COUNT_MAX) if named else []
            return _Held(image_id=fields.text("id"), layers=tuple(str(layer) for layer in layers))

    def _named(self, name: str) -> str | None:
        held = self._held("named", name)
        return None if held is None else held.image_id

    def _bring(self, chosen: PlatformImage, request: LoadRequest) -> None:
        """Stream the image, decompressed where that can be. A wrong guess costs one attempt."""
        wanted = str(chosen.config.descriptor.digest)
        try:
            archive = docker_archive(chosen, request.blobs, gzip="expand")
            self._asker.load(archive, wanted=wanted)
        except SizeGuessError:
            archive = docker_archive(chosen, request.blobs, gzip="keep")
            self._asker.load(archive, wanted=wanted)

    def _compare(self, chosen: PlatformImage) -> tuple[tuple[str, str], ...]:
        image_id = str(chosen.config.descriptor.digest)
        held = self._held("image", image_id)
        layers = " ".join(str(diff_id) for diff_id in chosen.config.diff_ids)
        return (
            self._asker.agree(
                "image ID (config digest)",
                expected=image_id,
                found=None if held is None else held.image_id,
            ),
            self._asker.agree(
                "layers (diff_ids)",
                expected=layers,
                found=None if held is None else " ".join(held.layers),
            ),
        )

    def _put_back(self, undo: Undo) -> None:
        """Move names back, then remove what was not there before."""
        for name, before in undo.names.items():
            current = self._named(name)
            if current == before:
                continue
            if before is None:
                self._asker.ask("untag", name)
            else:
                self._asker.ask("tag", before, name)
        for image_id in undo.brought:
            if self._held("image", image_id) is not None:
                self._asker.ask("remove", image_id)
