"""Wrong signatures are found before the first layer is read."""

from __future__ import annotations

import json
import shutil
from typing import Any, Final

from scripts.benchmarks.parts import Bench, Stage, row
from scripts.benchmarks.processes import Contender, Measured
from scripts.benchmarks.scene import break_statement_signature, fresh
from scripts.benchmarks.table import Goal, Section

REFUSAL_SECONDS_MAX: Final = 1.0


def refusing(bench: Bench, on: Stage) -> Section:
    """Wrong signatures are found before the first layer is read."""
    seal = bench.folder / "wrong-seal.tar.zst"
    break_statement_signature(on.bundle, seal)
    wrong = bench.folder / "wrong-signature.tar.zst"
    scene, cache = on.scene, fresh(bench.folder / "cache")
    scene.publish_wrongly_signed(on.big)
    # Only a packer who asks for no image signature seals this one.
    careless = scene.pack_command(output=wrong, cache=cache, tag="wrong", policy="careless.toml")
    bench.spawner.run(careless)
    shutil.rmtree(cache)
    root, rows, goals = bench.folder / "host", [], []
    for name, path in (("the statement", seal), ("the image", wrong)):
        contender = Contender(
            name=f"wrong signature of {name}",
            command=scene.load_command("verify", str(path), "--json", root=root),
            expect=11,
        )
        [measured] = bench.compare([contender])
        taken, size, layers, code = _read(measured)
        note = f"{code}: read {taken:,} of {size:,} bytes, {layers} of layers"
        rows.append(row(contender, measured, note=note))
        goals += [
            Goal(
                what=f"refusal of a wrong signature of {name}",
                unit="seconds",
                limit=REFUSAL_SECONDS_MAX,
                value=measured.seconds,
            ),
            Goal(
                what=f"bytes of layers read before a wrong signature of {name} is refused",
                unit="bytes",
                limit=0,
                value=layers,
            ),
        ]
        path.unlink()
    return Section(title="Refusing", rows=tuple(rows), goals=tuple(goals))


def _read(measured: Measured) -> tuple[int, int, int, str]:
    """Return bytes read, bytes of the file, bytes of layers read, and the error's code."""
    verdict: dict[str, Any] = json.loads(measured.runs[0].stdout)
    archive = verdict["archive"]
    return archive["bytes_read"], archive["size"], archive["layers_read"], verdict["code"]
