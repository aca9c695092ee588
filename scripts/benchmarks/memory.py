"""The loader's memory with one layer that is larger than it by far."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from scripts.benchmarks.parts import Bench, row, sized
from scripts.benchmarks.processes import Contender, compare
from scripts.benchmarks.scene import fresh
from scripts.benchmarks.table import Goal, Section
from tests.e2e.loading import Publisher
from tests.fakes.images import Layer, Noise

MEMORY_SIZE_MAX: Final = 120_000_000
_LARGE_ROOM: Final = 3
"""How many times the large layer must fit on the disk: archive, quarantine, layout."""


@dataclass(frozen=True, slots=True)
class Pattern(Noise):
    """Bytes that do not repeat within a mebibyte, and hardly change from one to the next."""

    def chunks(self) -> Iterator[bytes]:
        """The bytes, a mebibyte at a time."""
        piece = bytearray(next(Noise(1 << 20).chunks()))
        for number in range(self.size >> 20):
            piece[:8] = number.to_bytes(8, "big")
            yield bytes(piece)


def memory(bench: Bench) -> Section:
    """The loader's memory with one layer that is larger than it by far."""
    folder = fresh(bench.folder / "large")
    bundle = folder / "bundle.tar.zst"
    bench.say(f"writing a bundle with a layer of {sized(bench.large_size)}")
    publisher = Publisher()
    publisher.bundle(bundle, extra=[Layer.of({"pattern": Pattern(bench.large_size)}, "none")])
    loader = ["airlock-loader", "--root", str(publisher.write_host(folder / "host"))]
    contenders = [
        Contender(
            name="airlock-loader verify",
            command=[*loader, "verify", str(bundle)],
        )
    ]
    notes: tuple[str, ...] = ()
    if shutil.disk_usage(folder).free > _LARGE_ROOM * bench.large_size:
        into = f"oci:{folder}/loaded"
        contenders.append(
            Contender(
                name="airlock-loader load --into oci:DIR",
                command=[*loader, "load", str(bundle), "--into", into],
            )
        )
    else:
        notes = ("no room here to load it: only verified",)
    # Once is enough: memory hardly varies, and minutes of disk would be lost.
    measured = compare(bench.spawner, contenders, count=1, say=bench.say)
    goals = tuple(
        Goal(
            what=f"memory of {one.name}, a layer of {sized(bench.large_size)}",
            unit="bytes",
            limit=MEMORY_SIZE_MAX,
            value=its.memory_size,
        )
        for one, its in zip(contenders, measured, strict=True)
    )
    rows = tuple(row(one, its) for one, its in zip(contenders, measured, strict=True))
    archive = sized(bundle.stat().st_size)
    shutil.rmtree(folder)
    return Section(
        title=f"One layer of {sized(bench.large_size)} (the archive: {archive})",
        rows=rows,
        goals=goals,
        notes=notes,
    )
