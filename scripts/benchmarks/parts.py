"""What every part of the bench begins with: a folder, a scene, and how figures become rows."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks import image
from scripts.benchmarks.image import BigImage
from scripts.benchmarks.processes import Contender, Measured, Spawner, compare
from scripts.benchmarks.scene import Scene, fresh
from scripts.benchmarks.table import Row
from tests import engines, presence


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What every section needs."""

    folder: Path
    spawner: Spawner
    count: int
    image_size: int
    large_size: int
    say: Callable[[str], None]

    def compare(self, contenders: Sequence[Contender]) -> list[Measured]:
        """Measure contenders in rounds."""
        return compare(self.spawner, contenders, count=self.count, say=self.say)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The scene with its image, in a registry that runs, and the bundle that was packed of it."""

    scene: Scene
    big: BigImage
    bundle: Path


@contextlib.contextmanager
def stage(bench: Bench) -> Iterator[Stage]:
    """Make the image, sign it, put it into a registry, and pack it once."""
    bench.say("making the image")
    layers = fresh(bench.folder / "layers")
    big = image.make(layers, size=bench.image_size)
    with engines.start_docker_registry() as registry:
        scene = Scene(folder=bench.folder, registry=registry.host)
        bench.say("putting it into the registry")
        scene.publish(big)
        bundle = bench.folder / "bundle.tar.zst"
        cache = fresh(bench.folder / "cache")
        bench.spawner.run(scene.pack_command(output=bundle, cache=cache))
        shutil.rmtree(cache)
        yield Stage(scene=scene, big=big, bundle=bundle)


def present(peers: dict[str, Contender]) -> tuple[dict[str, Contender], list[Row]]:
    """Return the peers that are here, and a row for each that is not."""
    here, missing = {}, []
    for program, contender in peers.items():
        why = presence.missing(program)
        if why is None:
            here[program] = contender
        else:
            row = Row(name=contender.name, command=contender.shown, missing=mend(program, why))
            missing.append(row)
    return here, missing


def mend(program: str, why: str) -> str:
    """Return what is not here, and what brings it."""
    return f"{why}; {presence.NEEDS[program].mend}"


def row(
    contender: Contender, measured: Measured, *, base: Measured | None = None, note: str = ""
) -> Row:
    """Return a contender's row; its ratio is to `base`."""
    return Row(
        name=contender.name,
        command=contender.shown,
        seconds=measured.seconds,
        all_seconds=tuple(run.seconds for run in measured.runs),
        ratio=None if base is None else measured.ratio_to(base),
        memory_size=measured.memory_size,
        note=note,
    )


def sized(size: int) -> str:
    """Return a size in words."""
    return f"{size / (1 << 30):.0f} GiB" if size >= 1 << 30 else f"{size / 1_000_000:.0f} MB"
