"""`make bench`: speed and memory of whole processes, side by side with the peers, as ratios.

Everything is made on the fly below `.cache/` and taken away again. Contenders run in turn, in
rounds; a ratio is the median over the rounds. Exit status 1 if a goal is missed, 2 if a command
does not do what it is measured for.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.benchmarks.image import MB  # noqa: E402
from scripts.benchmarks.loading import RUNTIMES  # noqa: E402
from scripts.benchmarks.parts import Bench  # noqa: E402
from scripts.benchmarks.processes import CommandError, Spawner  # noqa: E402
from scripts.benchmarks.sections import measure  # noqa: E402
from scripts.benchmarks.table import Results  # noqa: E402
from tests import engines, presence  # noqa: E402

CACHE: Final = ROOT / ".cache"
PARTS: Final = ("start", "judge", "memory", "refuse", "pack", "promote", "push", *RUNTIMES)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    arguments = _parser().parse_args(argv)
    parts = arguments.only or PARTS
    # The commands are shown as people type them, and are those of this tree.
    os.environ["PATH"] = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    presence.find_tools()
    # As installed: what is started is compiled already, whatever this shell asks Python for.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for package in ("bundler", "loader"):
        compileall.compile_dir(ROOT / package, quiet=1)
    CACHE.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=CACHE))
    os.environ["XDG_CACHE_HOME"] = str(folder / "xdg")
    broken = ""
    results = Results(at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", machine=_machine())
    # As soon as it is known: all of it takes a long time.
    show = _nothing if arguments.json else _print
    show(results.heading())
    # Whoever ends it also wants its daemons and gigabytes gone.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        with Spawner(folder) as spawner:
            bench = Bench(
                folder=folder,
                spawner=spawner,
                count=arguments.runs or (1 if arguments.quick else 5),
                image_size=(100 if arguments.quick else 600) * MB,
                large_size=(1 if arguments.quick else 8) << 30,
                say=_say,
            )
            for section in measure(bench, parts):
                results.sections.append(section)
                show(str(section))
    except (CommandError, engines.EngineError) as e:
        # What was measured before is told nevertheless.
        broken = f"bench: {e}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if arguments.json:
        print(json.dumps(results.as_json(), indent=2))
    show(results.ending())
    if broken:
        print(broken, file=sys.stderr)
        return 2
    unwanted = {"missed", "not measured"} if presence.REQUIRE_ALL else {"missed"}
    return 1 if any(goal.verdict in unwanted for goal in results.goals) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, metavar="N", help="rounds (default: 5)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one round, with 100 MB and 1 GiB: not the goals' sizes",
    )
    parser.add_argument("--only", action="append", choices=PARTS, help="this part (again for more)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _machine() -> str:
    return (
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def _print(text: str) -> None:
    print(text, flush=True)


def _end(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def _nothing(_: str) -> None:
    """Show nothing."""


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
