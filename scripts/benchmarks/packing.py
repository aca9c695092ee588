"""Packing from a registry on loopback, beside what others fetch the same image with."""

from __future__ import annotations

import shutil
from typing import Final

from scripts.benchmarks.parts import Bench, Stage, present, row, sized
from scripts.benchmarks.processes import Contender
from scripts.benchmarks.scene import fresh
from scripts.benchmarks.table import Goal, Section

PACK_RATIO_MAX: Final = 0.6


def packing(bench: Bench, on: Stage) -> Section:
    """`airlock pack` beside what others fetch the same image with."""
    scene, out = on.scene, bench.folder / "packed"
    reference, cache = scene.reference(), bench.folder / "cache"

    def prepare() -> None:
        fresh(out)
        shutil.rmtree(cache, ignore_errors=True)

    def contender(name: str, *command: str) -> Contender:
        return Contender(name=name, command=command, prepare=prepare)

    peers = {
        "skopeo": contender(
            "skopeo copy", "skopeo", "copy", "--quiet", "--src-tls-verify=false",
            f"docker://{reference}", f"oci-archive:{out}/image.tar",
        ),
        "crane": contender(
            "crane pull", "crane", "pull", "--insecure", reference, f"{out}/image.tar"
        ),
        "regctl": contender(
            "regctl image export", "regctl", "image", "export",
            "--host", f"reg={scene.registry},tls=disabled", reference, f"{out}/image.tar",
        ),
        "cosign": contender("cosign save", "cosign", "save", "--dir", f"{out}/saved", reference),
    }  # fmt: skip
    ours = contender(
        "airlock pack (verified, signed, sealed)",
        *scene.pack_command(output=out / "bundle.tar.zst", cache=cache),
    )
    here, missing = present(peers)
    measured = bench.compare([ours, *here.values()])
    base = dict(zip(here, measured[1:], strict=True)).get("skopeo")
    rows = [
        row(one, its, base=base) for one, its in zip([ours, *here.values()], measured, strict=True)
    ]
    goal = Goal(
        what="airlock pack, to skopeo copy",
        unit="ratio",
        limit=PACK_RATIO_MAX,
        value=None if base is None else measured[0].ratio_to(base),
        why="no skopeo here",
    )
    shutil.rmtree(out)
    shutil.rmtree(cache, ignore_errors=True)
    return Section(
        title=f"Packing from a registry on loopback ({sized(on.big.packed_size)} of layers)",
        rows=(*rows, *missing),
        goals=(goal,),
    )
