"""containerd, through `ctr images import`: the index as it was signed, and one platform of it.

The import brings the image under `name@digest` alone: that name can mean nothing else. When
containerd has said that it holds this digest and every blob of the platform, `name:tag` is set;
`ctr` refuses to set a name that exists unless it is told to move it. Before a name is moved, what
it pointed to gets a `name@digest` of its own: containerd forgets content that no name leads to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loader.digest import Digest
from loader.errors import OciError, RuntimeAbsentError, RuntimeLoadError, UsageError, shown
from loader.runtime.archive import containerd_archive
from loader.runtime.asking import ANSWER_SIZE_MAX, LOAD_SECONDS, Asker, put_back_unless_done
from loader.runtime.base import Discarded, Receipt, Undo, expect_named, only_platform, settle_name
from loader.runtime.calls import Call, Client, Operand
from loader.runtime.clients import check_client, check_socket, clean_environment, find_client
from loader.runtime.launcher import Launcher

if TYPE_CHECKING:
    from loader.runtime.base import Expected, LoadRequest, PlatformImage
    from loader.witness import Staged

NAME: Final = "containerd"
CLIENT: Final = "ctr"
DEFAULT_SOCKET: Final = Path("/run/containerd/containerd.sock")
DEFAULT_NAMESPACE: Final = "default"
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*", re.ASCII)
_IDENTIFIER_LENGTH_MAX: Final = 76
"""containerd's own limit (`identifiers.Validate`)."""
_TABLE_COLUMNS: Final = ("REF", "TYPE", "DIGEST")
_UNPACKED: Final = "containerd.io/gc.ref.snapshot."
"""Label on an image's config: which snapshots its layers were unpacked into."""


def _calls(snapshotter: str | None) -> dict[str, Call]:
    chosen = () if snapshotter is None else ("--snapshotter", snapshotter)
    return {
        "version": Call(arguments=("version",)),
        "names": Call(arguments=("images", "ls", Operand.FILTERS)),
        "content": Call(
            arguments=("content", "ls", Operand.FILTERS), stdout_size_max=ANSWER_SIZE_MAX
        ),
        "import": Call(
            arguments=("images", "import", *chosen, "--platform", Operand.PLATFORM, "-"),
            stdin=True,
            seconds=LOAD_SECONDS,
        ),
        "tag": Call(arguments=("images", "tag", Operand.NAME, Operand.NAME)),
        "move": Call(arguments=("images", "tag", "--force", Operand.NAME, Operand.NAME)),
        "remove": Call(arguments=("images", "rm", "--sync", Operand.NAME)),
    }


def containerd_client(
    environment: Mapping[str, str],
    *,
    namespace: str | None = None,
    client: Path | None = None,
) -> Client:
    """Return the containerd client, and the daemon and namespace that it is pointed at.

    Args:
        environment: what the user set: CONTAINERD_ADDRESS, CONTAINERD_NAMESPACE and
            CONTAINERD_SNAPSHOTTER count, as they do for `ctr` and `nerdctl`.
        namespace: `k8s.io` for Kubernetes; goes before the environment's.
        client: another program than the system's `ctr`.

    Raises:
        UsageError: the namespace or snapshotter is not a name.
        RuntimeAbsentError: there is no client, or no socket.
        RuntimeLoadError: one of them is not safe to use.
    """
    space = namespace or environment.get("CONTAINERD_NAMESPACE") or DEFAULT_NAMESPACE
    snapshotter = environment.get("CONTAINERD_SNAPSHOTTER") or None
    for what, text in (("namespace", space), ("snapshotter", snapshotter or "x")):
        if _IDENTIFIER.fullmatch(text) is None or len(text) > _IDENTIFIER_LENGTH_MAX:
            raise UsageError(f"not the name of a containerd {what}", found=shown(text))
    address = environment.get("CONTAINERD_ADDRESS") or str(DEFAULT_SOCKET)
    socket = check_socket(Path(address.removeprefix("unix://")), name=NAME)
    return Client(
        name=NAME,
        path=find_client(CLIENT) if client is None else check_client(client),
        prefix=("--address", str(socket), "--namespace", space),
        environment=clean_environment(environment),
        calls=_calls(snapshotter),
    )


class Containerd:
    """One namespace of a containerd on this machine."""

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
        completed = self._asker.run("version")
        if completed.status != 0:
            raise RuntimeAbsentError(
                "the containerd daemon does not answer",
                found=completed.stderr,
                hint="start it, or set CONTAINERD_ADDRESS to its Unix socket",
            )
        _, _, server = self._asker.said(completed).partition("Server:")
        words = server.split()
        if "Version:" not in words[:-1]:
            raise RuntimeLoadError(
                "what containerd answers cannot be understood", found=shown(server)
            )
        return f"containerd {shown(words[words.index('Version:') + 1])[1:-1]}"

    def load(self, image: Staged[LoadRequest]) -> Receipt:
        """Import the image, compare its digests and content, and name it; see `Runtime.load`."""
        request = image.value
        chosen = only_platform(request, runtime=NAME)
        top = request.graph.top.descriptor.digest
        exact = f"{request.reference.name}@{top}"
        name = request.reference.tagged if request.reference.tag else None
        exact_now = self._target(exact)
        settle_name(request, current=exact_now, wanted=str(top), runtime=NAME)
        current = None if name is None else self._target(name)
        settle_name(request, current=current, wanted=str(top), runtime=NAME)
        there = exact_now is not None and self._is_whole(request, chosen)
        naming = {} if name is None or current == str(top) else {name: current}
        keepers = tuple(
            f"{request.reference.name}@{before}" for before in naming.values() if before is not None
        )
        kept = tuple(keeper for keeper in keepers if self._target(keeper) is None)
        undo = Undo(names=naming | ({} if exact_now else {exact: None}), brought=kept)
        with put_back_unless_done(lambda: self._put_back(undo), runtime=NAME):
            if not there:
                self._import(request, chosen, exact)
            read_back = [*self._compare(request, chosen, exact)]
            for new, before in naming.items():
                for keeper in kept:
                    self._asker.ask("tag", new, keeper)
                self._asker.ask("tag" if before is None else "move", exact, new)
                found = self._target(new)
                read_back.append(self._asker.agree(f"name {new}", expected=str(top), found=found))
        notes = [f"{keeper} keeps what {name} pointed to before" for keeper in keepers]
        return Receipt(
            runtime=NAME,
            reference=request.reference,
            digest=top,
            what="already-there" if there and not naming else "loaded",
            read_back=tuple(read_back),
            notes=tuple(notes),
            undo=undo,
        )

    def compare(self, image: Expected) -> tuple[tuple[str, str], ...]:
        """Compare names and content; see `Runtime.compare`."""
        chosen = only_platform(image, runtime=NAME)
        top = str(image.graph.top.descriptor.digest)
        facts: list[tuple[str, str]] = []
        if image.reference.tag:
            name = image.reference.tagged
            found = self._target(name)
            expect_named(found, name=name, runtime=NAME)
            facts.append(self._asker.agree(f"name {name}", expected=top, found=found))
        exact = f"{image.reference.name}@{top}"
        return (*facts, *self._compare(image, chosen, exact))

    def discard(self, items: Sequence[str], *, really: bool) -> tuple[Discarded, ...]:
        """Remove names by digest; content that no name leads to goes with them.

        Such a name is ours alone: a load made it, and it can mean nothing else.
        """
        return tuple(self._discarded(item, really=really) for item in items)

    def _discarded(self, item: str, *, really: bool) -> Discarded:
        if "@" not in item:
            return Discarded(item=item, what="kept", why="not a name by digest")
        if self._target(item) is None:
            return Discarded(item=item, what="gone")
        if not really:
            return Discarded(item=item, what="to-remove")
        done = self._asker.run("remove", item)
        if done.status == 0:
            return Discarded(item=item, what="removed")
        return Discarded(item=item, what="kept", why=done.stderr)

    def undo(self, receipt: Receipt) -> None:
        """Put back what `load` changed; see `Runtime.undo`."""
        self._put_back(receipt.undo)

    def _import(self, request: LoadRequest, chosen: PlatformImage, exact: str) -> None:
        archive = containerd_archive(
            request.graph.top, request.graph.indexes, chosen, request.blobs, name=exact
        )
        self._asker.said(self._asker.run("import", str(chosen.platform), stdin=archive))

    def _target(self, name: str) -> str | None:
        """Return the digest that a name points to."""
        table = self._asker.ask("names", f"name=={name}").splitlines()
        rows = [line.split() for line in table]
        if not rows or tuple(rows[0][: len(_TABLE_COLUMNS)]) != _TABLE_COLUMNS:
            raise self._nonsense(table)
        found = [row for row in rows[1:] if row and row[0] == name]
        if not found:
            return None
        try:
            return str(Digest.parse(found[0][2]))
        except (IndexError, OciError) as e:
            raise self._nonsense(table) from e

    def _content(self, *digests: Digest) -> dict[str, str]:
        """Return which of these blobs are there, each with its labels."""
        filters = sorted({f"digest=={digest}" for digest in digests})
        rows = self._asker.ask("content", *filters).splitlines()[1:]
        return {row.partition("\t")[0].strip(): row for row in rows if row}

    def _needed(self, request: Expected, chosen: PlatformImage) -> tuple[Digest, ...]:
        return (
            *(index.descriptor.digest for index in request.graph.indexes),
            chosen.manifest.descriptor.digest,
            chosen.config.descriptor.digest,
            *(layer.digest for layer in chosen.manifest.layers),
        )

    def _is_whole(self, request: LoadRequest, chosen: PlatformImage) -> bool:
        """Tell whether everything of the platform is there and unpacked."""
        needed = self._needed(request, chosen)
        held = self._content(*needed)
        config = held.get(str(chosen.config.descriptor.digest), "")
        return _UNPACKED in config and all(str(digest) in held for digest in needed)

    def _compare(
        self, request: Expected, chosen: PlatformImage, exact: str
    ) -> tuple[tuple[str, str], ...]:
        top = str(request.graph.top.descriptor.digest)
        needed = sorted(str(digest) for digest in set(self._needed(request, chosen)))
        held = sorted(self._content(*self._needed(request, chosen)))
        return (
            self._asker.agree(f"name {exact}", expected=top, found=self._target(exact)),
            self._asker.agree(
                f"content of {chosen.platform}", expected=" ".join(needed), found=" ".join(held)
            ),
        )

    def _nonsense(self, table: list[str]) -> RuntimeLoadError:
        return RuntimeLoadError(
            "what containerd answers cannot be understood",
            where=f"{NAME} names",
            expected=" ".join(_TABLE_COLUMNS),
            found=shown("\n".join(table)),
        )

    def _put_back(self, undo: Undo) -> None:
        """Move names back, then remove those that were not there before: their content goes too."""
        for name, before in undo.names.items():
            current = self._target(name)
            if current == before:
                continue
            if before is None:
                self._asker.ask("remove", name)
            else:
                repository = name.partition("@")[0].rpartition(":")[0]
                self._asker.ask("move", f"{repository}@{before}", name)
        for keeper in undo.brought:
            if self._target(keeper) is not None:
                self._asker.ask("remove", keeper)
