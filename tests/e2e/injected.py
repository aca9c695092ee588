"""Faults that strace puts into a load, at each system call from the opening of the archive on.

The loader is forked from a process that has imported all of it, so that a run is a tenth of a
second; strace attaches to that process for one run and goes again. After each fault the host has
the old or the whole new state, and running again brings the new one, with nothing left.

Bundle 2 moves everything forward that a load can move: images, names, the channel, time, and the
trust by which it is judged. Its TUF root is a newer one, that the old root's keys signed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.e2e.loading import POLICY, FarSide, Publisher, carried
from tests.fakes.content import ContentStore, encode
from tests.fakes.images import Layer, hello_image
from tests.fakes.tuf_repository import TufRepository
from tests.forked import Ended, Forker

SOAK = os.environ.get("AIRLOCK_SOAK") == "1"
"""`make soak`: every fault there is, not every so many-th."""
_CALL = re.compile(r"(\d+) +(\w+)\(")
_QUIET = frozenset({"exit", "exit_group", "rt_sigreturn", "restart_syscall"})
_CHANGING = frozenset({
    "write", "pwrite64", "fsync", "fdatasync", "ftruncate",
    "rename", "renameat", "unlink", "unlinkat", "linkat",
})  # fmt: skip
IMAGES = 2
SHM = Path("/dev/shm")


def roomy_folder() -> Path | None:
    """Return where a disk costs nothing, if there is room; None leaves it the usual place."""
    return SHM if SHM.is_dir() and shutil.disk_usage(SHM).free > 512 << 20 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens at one system call of a run."""

    call: str
    nth: int
    what: str
    """As strace writes it: `signal=SIGKILL`, `error=ENOSPC`."""

    def __str__(self) -> str:
        return f"{self.what} at {self.call} {self.nth}"


@contextmanager
def tracing(forker: Forker, *options: str) -> Iterator[None]:
    """Have strace look at, or meddle with, whatever is forked meanwhile."""
    command = ["strace", "-f", "-p", str(forker.pid), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        assert "attached" in said, said
        try:
            yield
        finally:
            tracer.send_signal(signal.SIGTERM)
            tracer.stderr.read()
            tracer.wait(10)


@dataclass(slots=True)
class Rig:
    """A host with bundle 1 on it, bundle 2 to be loaded, and both states as they should be."""

    forker: Forker
    folder: Path
    publisher: Publisher
    calls: dict[str, list[int]]
    """Which calls there are from the opening of bundle 2 on: by name, their numbers in the run."""
    changes: dict[str, list[int]]
    """Those of them that change a file, from the first one on that changes the ledger."""
    live: FarSide
    """Always the same path, by which a ledger knows it."""
    old: FarSide
    new: FarSide

    @classmethod
    @contextmanager
    def make(cls, folder: Path) -> Iterator[Self]:
        publisher = Publisher()
        repository = TufRepository()
        repository.target("trusted_root.json", encode(publisher.world.trusted_root()))
        repository.publish()
        pin = repository.roots[1]
        for number in (1, 2):
            store = ContentStore()
            trust = [carried(store, repository.files)]
            repository.rotate("root")
            repository.publish()
            entries = [
                publisher.entry(
                    hello_image(
                        store,
                        text=f"{number} {one}\n",
                        version=f"1.{number}",
                        extra=[Layer.noise(20_000, seed=10 * number + one)],
                    ),
                    tag=f"app{one}",
                    days=number,
                )
                for one in range(IMAGES)
            ]
            path = folder / f"{number}.tar.zst"
            publisher.pack(path, store, entries, sequence=number, trust=trust)
        with Forker.start(everything=True) as forker:
            live = FarSide(publisher.write_host(folder / "live/host"), folder / "live/loaded")
            settings = live.root / "etc/airlock"
            (settings / "policy.toml").write_text(
                POLICY.replace('trusted-root = "trusted_root.json"', 'tuf-root = "root.json"')
            )
            (settings / "root.json").write_bytes(pin)
            rig = cls(forker, folder, publisher, {}, {}, live, live, live)
            assert rig.load(live, 1).status == 0
            rig.old = rig._kept("old")
            rig.calls, rig.changes = rig.traced(2)
            rig.new = rig._kept("new")
            assert [roots(rig.old), roots(rig.new)] == [{1}, {1, 2}], "trust moves with it"
            yield rig

    def _kept(self, name: str) -> FarSide:
        """Keep what the host is now."""
        shutil.copytree(self.folder / "live", self.folder / name)
        return FarSide(self.folder / name / "host", self.folder / name / "loaded")

    def fresh(self) -> FarSide:
        """Return the host that has bundle 1."""
        shutil.rmtree(self.folder / "live")
        shutil.copytree(self.folder / "old", self.folder / "live")
        return self.live

    def load(self, host: FarSide, number: int) -> Ended:
        return self.forker.run(
            *("--root", host.root, "load", self.folder / f"{number}.tar.zst"),
            *("--into", f"oci:{host.loaded}"),
            folder=self.folder,
        )

    @contextmanager
    def tracing(self, *options: str) -> Iterator[None]:
        """Have strace look at, or meddle with, whatever is run meanwhile."""
        with tracing(self.forker, *options):
            yield

    def traced(
        self, number: int, *, status: int = 0
    ) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
        """Load a bundle on the live host; return its system calls from its opening on.

        And those of them that change a file, from the first one on that changes the ledger.
        """
        log = self.folder / "log"
        with self.tracing("-y", "-o", str(log)):
            assert self.load(self.live, number).status == status
        lines = [match for line in log.read_text().splitlines() if (match := _CALL.match(line))]
        name = f"{number}.tar.zst"
        opened = next(i for i, m in enumerate(lines) if m[2] == "openat" and name in m.string)
        run = lines[opened][1]
        seen: dict[str, int] = {}
        found: dict[str, list[int]] = {}
        changes: dict[str, list[int]] = {}
        moved = False
        for i, match in enumerate(lines):
            call = match[2]
            if match[1] != run or call in _QUIET:
                continue
            seen[call] = seen.get(call, 0) + 1
            if i < opened:
                continue
            found.setdefault(call, []).append(seen[call])
            moved = moved or (call in _CHANGING and "/ledger.sqlite" in match.string)
            if moved and call in _CHANGING:
                changes.setdefault(call, []).append(seen[call])
        return found, changes

    @contextmanager
    def injecting(self, fault: Fault) -> Iterator[None]:
        """Have strace do this to whatever is run meanwhile."""
        inject = f"inject={fault.call}:{fault.what}:when={fault.nth}"
        with self.tracing("-o", "/dev/null", "-e", f"trace={fault.call}", "-e", inject):
            yield

    # One fault ------------------------------------------------------------------------------------

    def meet(self, fault: Fault) -> Ended:
        """Run into a fault; check what is left, and that running again makes it good."""
        host = self.fresh()
        with self.injecting(fault):
            ended = self.load(host, 2)
        if "SIGKILL" in fault.what:
            assert ended.status in {-signal.SIGKILL, 0}, f"{fault}: {ended.err}"
        else:
            assert ended.status in {0, 20, 21}, f"{fault}: {ended.status} {ended.err}"
            assert "Traceback" not in ended.err, f"{fault}: {ended.err}"
        assert self.standing(host) in {"old", "new"}, f"{fault}: {ended.err}"
        if ended.status > 0:
            # An error may come behind the commit, but nothing that was refused is half done.
            assert host.quarantine() == [] or "quarantine" in ended.err or _disk(fault), str(fault)
        again = self.load(host, 2)
        assert again.status == 0, f"{fault}: not mended: {again.err}"
        assert self.standing(host) == "new", str(fault)
        left = set(host.target().items()) ^ set(self.new.target().items())
        assert left == set(), f"{fault}: {ended.err}{again.out}"
        assert host.quarantine() == [], str(fault)
        assert floors(host) == floors(self.new), str(fault)
        return ended

    def standing(self, host: FarSide) -> str:
        """Tell which state a host is in: `old`, `new`, or what of both does not fit together."""
        memory = {floors(self.old): "old", floors(self.new): "new"}.get(floors(host), "neither")
        named = _named(host)
        if named is None:
            return "names lead to what is not there"
        target = {_named(self.old): "old", _named(self.new): "new"}.get(named, "between")
        # Names are moved one by one, and the floors come last: between is not yet new, and the
        # floors say old; never the other way round.
        if memory == "new" and target != "new":
            return f"floors new, names {target}"
        return memory


def _disk(fault: Fault) -> bool:
    """Tell whether the disk refuses to have anything removed or listed, too."""
    return fault.call in {"unlink", "unlinkat", "getdents64", "openat", "newfstatat", "rmdir"}


def floors(host: FarSide) -> str:
    """What a host remembers, without what it was about to do."""
    return json.dumps({k: v for k, v in host.memory().items() if k != "intents"}, default=str)


def roots(host: FarSide) -> set[int]:
    """The versions of the TUF roots that a host has followed."""
    [seen] = [str(row[2]) for row in host.memory()["trust"] if row[0] == "tuf"]
    return set(map(int, json.loads(seen)["roots"]))


def _named(host: FarSide) -> str | None:
    """What the layout's names lead to; None where a blob is missing or another."""
    blobs = host.loaded / "blobs/sha256"
    names: dict[str, str] = {}
    for entry in json.loads((host.loaded / "index.json").read_text())["manifests"]:
        names[entry["annotations"]["org.opencontainers.image.ref.name"]] = entry["digest"]
        manifest = _blob(blobs, entry["digest"])
        if manifest is None:
            return None
        document = json.loads(manifest)
        for part in (document["config"], *document["layers"]):
            if _blob(blobs, part["digest"]) is None:
                return None
    return json.dumps(names, sort_keys=True)


def _blob(blobs: Path, digest: str) -> bytes | None:
    path = blobs / digest[7:]
    raw = path.read_bytes() if path.exists() else b""
    return raw if hashlib.sha256(raw).hexdigest() == digest[7:] else None


def spread(numbers: Sequence[int], step: int) -> list[int]:
    """Every so many-th, the first and the last among them; all of them in a soak."""
    if SOAK or step == 1:
        return list(numbers)
    return sorted({*numbers[::step], numbers[-1]})
