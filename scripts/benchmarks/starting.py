"""How fast the frozen loader starts, and what the verification core costs."""

from __future__ import annotations

import json
import shutil
import subprocess
from statistics import median
from typing import Final

from scripts.benchmarks.parts import Bench, row
from scripts.benchmarks.processes import Contender, Measured
from scripts.benchmarks.scene import fresh
from scripts.benchmarks.table import Goal, Row, Section, Unit
from tests import presence
from tests.e2e.loading import Publisher

VERSION_SECONDS_MAX: Final = 0.25
SMALL_VERIFY_SECONDS_MAX: Final = 0.5
IMPORT_SECONDS_MAX: Final = 0.15
EVIDENCE_MILLISECONDS_MAX: Final = 5.0


def starting(bench: Bench) -> Section:
    """The frozen loader, and what the verification core costs."""
    folder = fresh(bench.folder / "small")
    bundle = folder / "bundle.tar.zst"
    publisher = Publisher()
    publisher.bundle(bundle)
    root = publisher.write_host(folder / "host")
    rows: list[Row] = []
    goals: list[Goal] = []
    frozen = presence.FROZEN
    why = presence.missing("frozen")
    if why is not None:
        bench.say(f"{why}: building")
        subprocess.run(["make", "--silent", "frozen"], cwd=presence.ROOT, check=True)
    for name, limit, command in (
        ("frozen: --version", VERSION_SECONDS_MAX, [str(frozen), "--version"]),
        (
            "frozen: verify a small bundle",
            SMALL_VERIFY_SECONDS_MAX,
            [str(frozen), "--root", str(root), "verify", str(bundle)],
        ),
    ):
        contender = Contender(name=name, command=command)
        [measured] = bench.compare([contender])
        rows.append(row(contender, measured))
        goals.append(Goal(what=name, unit="seconds", limit=limit, value=measured.seconds))
    rows_of_core, goals_of_core = _core(bench)
    shutil.rmtree(folder)
    return Section(title="Starting", rows=(*rows, *rows_of_core), goals=(*goals, *goals_of_core))


def _core(bench: Bench) -> tuple[list[Row], list[Goal]]:
    """What `core.py` says in processes of its own."""
    rows, goals = [], []
    for what, limit in (("import", IMPORT_SECONDS_MAX), ("evidence", EVIDENCE_MILLISECONDS_MAX)):
        contender, measured, said = _said(bench, what)
        for kind, value in said.items():
            unit: Unit = "seconds" if what == "import" else "milliseconds"
            goals.append(Goal(what=kind, unit=unit, limit=limit, value=value))
        rows.append(row(contender, measured, note="(the whole process)"))
    contender, measured, said = _said(bench, "judge")
    [(kind, value)] = said.items()
    rows.append(row(contender, measured, note=f"({kind}: {value:.2f} s of processor time)"))
    return rows, goals


def _said(bench: Bench, what: str) -> tuple[Contender, Measured, dict[str, float]]:
    """Run `core.py` for one thing; return medians of what it said."""
    contender = Contender(
        name=f"verification core: {what}",
        command=[str(presence.ROOT / ".venv/bin/python"), "-m", "scripts.benchmarks.core", what],
        environment={"PYTHONPATH": str(presence.ROOT)},
    )
    [measured] = bench.compare([contender])
    said = [json.loads(run.stdout) for run in measured.runs]
    return contender, measured, {kind: median(one[kind] for one in said) for kind in said[0]}
