"""How long a large bundle is judged: all of its evidence, none of its layers."""

from __future__ import annotations

import json
from typing import Final

from scripts.benchmarks.parts import Bench, row
from scripts.benchmarks.processes import Contender, compare
from scripts.benchmarks.table import Goal, Section
from tests import presence

IMAGE_COUNT: Final = 1000
SECONDS_MAX: Final = 20.0


def judging(bench: Bench) -> Section:
    """What `judge.py` says in a process of its own; once, for it takes its time."""
    contender = Contender(
        name="judging a thousand images",
        command=[
            *(str(presence.ROOT / ".venv/bin/python"), "-m", "scripts.benchmarks.judge"),
            str(IMAGE_COUNT),
        ],
        environment={"PYTHONPATH": str(presence.ROOT)},
    )
    [measured] = compare(bench.spawner, [contender], count=1, say=bench.say)
    said = json.loads(measured.runs[0].stdout)
    note = (
        f"(of that {said['making_seconds']:.0f} s for making them; "
        f"judging took {said['cpu_seconds']:.1f} s of CPU)"
    )
    goal = Goal(
        what=f"judging {said['images']} images with 5 pieces of evidence each",
        unit="seconds",
        limit=SECONDS_MAX,
        value=said["seconds"],
    )
    deciding = Contender(
        name="deciding once all is verified",
        command=[str(presence.ROOT / ".venv/bin/python"), "-m", "scripts.benchmarks.deciding"],
        environment={"PYTHONPATH": str(presence.ROOT)},
    )
    [decided] = compare(bench.spawner, [deciding], count=1, say=bench.say)
    median = json.loads(decided.runs[0].stdout)
    decision = Goal(
        what="deciding 12 requirements over 40 verified attestations",
        unit="seconds",
        limit=median["limit"],
        value=median["seconds"],
    )
    return Section(
        title="Judging",
        rows=(
            row(contender, measured, note=note),
            row(deciding, decided, note="(all of it for making and verifying the evidence)"),
        ),
        goals=(goal, decision),
    )
