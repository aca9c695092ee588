"""Promotion of the image with its evidence to another registry, beside `regctl image copy`."""

from __future__ import annotations

import shutil
from typing import Final

from scripts.benchmarks.parts import Bench, Stage, present, row, sized
from scripts.benchmarks.processes import Contender
from scripts.benchmarks.table import Goal, Section
from tests import engines

PROMOTE_RATIO_MAX: Final = 1.0


def promoting(bench: Bench, on: Stage) -> Section:
    """`airlock promote`, which verifies at both ends, beside a copy that verifies nothing."""
    scene, cache = on.scene, bench.folder / "promote-cache"
    with engines.start_docker_registry() as there:

        def prepare() -> None:
            # Both begin with a registry that has nothing.
            shutil.rmtree(there.root / "data", ignore_errors=True)
            shutil.rmtree(cache, ignore_errors=True)

        source, to = scene.reference(), f"{there.host}/rel/app"
        ours = Contender(
            name="airlock promote (verified at both ends)",
            command=[
                "airlock", "promote", source, to, "--tags", "1",
                "--policy", str(scene.anchors / "promote.toml"),
                "--plain-http", scene.registry, "--plain-http", there.host,
                "--cache", str(cache), "--no-progress",
            ],
            prepare=prepare,
        )  # fmt: skip
        peers = {
            "regctl": Contender(
                name="regctl image copy",
                command=[
                    "regctl", "image", "copy", "--referrers", "--digest-tags",
                    "--host", f"reg={scene.registry},tls=disabled",
                    "--host", f"reg={there.host},tls=disabled",
                    source, f"{to}:1",
                ],
                prepare=prepare,
            )
        }  # fmt: skip
        here, missing = present(peers)
        measured = bench.compare([ours, *here.values()])
    base = dict(zip(here, measured[1:], strict=True)).get("regctl")
    rows = [
        row(one, its, base=base) for one, its in zip([ours, *here.values()], measured, strict=True)
    ]
    goal = Goal(
        what="airlock promote, to regctl image copy",
        unit="ratio",
        limit=PROMOTE_RATIO_MAX,
        value=None if base is None else measured[0].ratio_to(base),
        why="no regctl here",
    )
    shutil.rmtree(cache, ignore_errors=True)
    return Section(
        title=f"Promoting from registry to registry ({sized(on.big.packed_size)} of layers)",
        rows=(*rows, *missing),
        goals=(goal,),
    )
