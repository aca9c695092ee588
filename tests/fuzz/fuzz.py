"""Fuzz one door with atheris: `fuzz.py DOOR CORPUS_FOLDER [options of libFuzzer]`.

`make fuzz SECONDS=60` runs each door for a while. A crash is written to the corpus' parent folder
and ends the run with a status that is not 0; `fuzz.py DOOR FILE` runs that input again.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
with atheris.instrument_imports(include=["loader"]):
    from tests.fuzz.doors import DOORS, knock, seeds

SECONDS_FOR_ONE = 5
MEMORY_MB = 1024


def main() -> None:
    door, target, *options = sys.argv[1:]
    if door not in DOORS:
        raise SystemExit(f"one of: {', '.join(DOORS)}")
    path = Path(target)
    if not path.is_file():
        path.mkdir(parents=True, exist_ok=True)
        for number, raw in enumerate(seeds(door)):
            (path / f"seed-{number}").write_bytes(raw)
        options.append(f"-artifact_prefix={path.parent}/{door}-")
    bounds = [f"-timeout={SECONDS_FOR_ONE}", f"-rss_limit_mb={MEMORY_MB}", "-max_len=65536"]
    atheris.Setup([sys.argv[0], *bounds, *options, target], lambda raw: knock(door, raw))
    atheris.Fuzz()


main()
