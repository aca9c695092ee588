"""Many images that share layers, into an enclave's registry: the cost follows what is new."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from scripts.benchmarks.parts import Bench, row
from scripts.benchmarks.processes import Contender, compare
from scripts.benchmarks.scene import fresh
from scripts.benchmarks.table import Goal, Section
from tests import engines, presence
from tests.e2e.loading import Publisher
from tests.fakes.content import ContentStore
from tests.fakes.images import Layer, hello_image

COUNTS: Final = (10, 100)
QUICK_COUNTS: Final = (4, 16)
SHARED_SIZE: Final = 20_000_000
SHARED_COUNT: Final = 3
GROWTH_MAX: Final = 1.1
"""What one of a hundred images may cost beside one of ten; sharing layers, it should be less."""


def pushing(bench: Bench) -> Section:
    """`load --into registry:` of few and of many; once, for it takes its time."""
    why = presence.missing("docker-registry")
    title = "Pushing images that share three layers of 20 MB"
    if why is not None:
        goal = Goal(what="pushing", unit="ratio", limit=GROWTH_MAX, value=None, why=why)
        return Section(title=title, rows=(), goals=(goal,))
    counts = COUNTS if bench.image_size >= SHARED_SIZE * 20 else QUICK_COUNTS
    publisher = Publisher()
    root = publisher.write_host(fresh(bench.folder / "push-host"))
    with engines.start_docker_registry() as registry:
        folder = root / "config" / "airlock"
        folder.mkdir(parents=True)
        (folder / "registries.toml").write_text(
            f'schema = 1\nplain-http = ["{registry.host}"]\n', encoding="utf-8"
        )

        def prepare() -> None:
            shutil.rmtree(registry.root / "data", ignore_errors=True)
            shutil.rmtree(root / "var", ignore_errors=True)

        contenders = [
            Contender(
                name=f"{count} images",
                command=[
                    *("airlock-loader", "--root", str(root), "load"),
                    *(str(_bundle(bench, publisher, count)), "--into"),
                    f"registry:{registry.host}/mirror",
                ],
                environment={"HOME": str(root), "XDG_CONFIG_HOME": str(root / "config")},
                prepare=prepare,
            )
            for count in counts
        ]
        measured = compare(bench.spawner, contenders, count=1, say=bench.say)
    few, many = (one.seconds / count for one, count in zip(measured, counts, strict=True))
    rows = [
        row(one, its, note=f"({its.seconds / count:.2f} s an image)")
        for one, its, count in zip(contenders, measured, counts, strict=True)
    ]
    goal = Goal(
        what=f"an image of {counts[1]}, to an image of {counts[0]}",
        unit="ratio",
        limit=GROWTH_MAX,
        value=many / few,
    )
    return Section(title=title, rows=tuple(rows), goals=(goal,))


def _bundle(bench: Bench, publisher: Publisher, count: int) -> Path:
    store = ContentStore()
    shared = [Layer.noise(SHARED_SIZE, seed=seed) for seed in range(SHARED_COUNT)]
    entries = [
        publisher.entry(
            hello_image(store, version=str(number), extra=shared),
            tag="1",
            repository=f"registry.acme.example/acme/app-{number}",
        )
        for number in range(count)
    ]
    path = bench.folder / f"push-{count}.tar.zst"
    publisher.pack(path, store, entries, sequence=None, channel=None)
    return path
