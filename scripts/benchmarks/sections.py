"""All that is measured, part by part."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from scripts.benchmarks.judging import judging
from scripts.benchmarks.loading import RUNTIMES, loading
from scripts.benchmarks.memory import memory
from scripts.benchmarks.packing import packing
from scripts.benchmarks.parts import Bench, stage
from scripts.benchmarks.promoting import promoting
from scripts.benchmarks.pushing import pushing
from scripts.benchmarks.refusing import refusing
from scripts.benchmarks.starting import starting
from scripts.benchmarks.table import Goal, Section
from tests import presence


def measure(bench: Bench, parts: Collection[str]) -> Iterator[Section]:
    """Measure the parts that are asked for; those that need the image share it."""
    if "start" in parts:
        yield starting(bench)
    if "judge" in parts:
        yield judging(bench)
    if "memory" in parts:
        yield memory(bench)
    if "push" in parts:
        yield pushing(bench)
    if not {"pack", "promote", "refuse", *RUNTIMES} & set(parts):
        return
    if (why := presence.missing("docker-registry")) is not None:
        goal = Goal(
            what="everything that needs a registry", unit="ratio", limit=1, value=None, why=why
        )
        yield Section(title="Packing, loading, refusing", rows=(), goals=(goal,))
        return
    with stage(bench) as on:
        if "refuse" in parts:
            yield refusing(bench, on)
        if "pack" in parts:
            yield packing(bench, on)
        if "promote" in parts:
            yield promoting(bench, on)
        yield from loading(bench, on, parts)
