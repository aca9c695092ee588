"""Write docs/errors.md from the error classes, and remember every code that ever was.

    errors.py           write docs/errors.md; add new codes to tests/architecture/error-codes.txt
    errors.py --check   say whether both are up to date

A code is a promise to scripts and auditors: one that is gone from the classes stays in the list,
and tests/architecture fails until it is back.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from loader.errors import STATUS_BY_CLASS, AirlockError  # noqa: E402 (after the path)

PAGE = ROOT / "docs" / "errors.md"
KEPT = ROOT / "tests" / "architecture" / "error-codes.txt"

MEANING = {
    0: "done; everything that was asked holds, also where it was there already",
    1: "`compare`, `diff`, drift: they differ",
    2: "usage: arguments, policy or configuration cannot be understood",
    3: "`compare`: same content or same files, other bytes",
    10: "no evidence where policy asks for some",
    11: "evidence is there and does not verify",
    12: "evidence verifies, but nobody whom the policy names said it",
    14: "policy refuses: contents, conflict, age of a scan, threshold, a name nobody vouches for",
    15: "a trust root is missing, stale, or not the pinned one",
    16: "older than what the host already accepted",
    17: "denied by a deny list",
    18: 'expired; a clock behind the floor under `clock = "strict"`',
    19: "the bundle is malformed, incomplete, altered or over a limit",
    20: "this machine: space, permission, state, lock, interrupted, input not whole yet",
    21: "the runtime refused or disagreed, and was put back as it was",
    30: "a registry, log or TUF repository (connected side)",
    70: "a bug in Airlock; still a refusal",
}
RETRY = "busy, io, nospace, interrupted, partial-input"

HEAD = f"""\
# Errors and exit statuses

Made by `make errors` from `loader/errors.py` and `bundler/errors.py`; do not edit.

A failure prints one line on standard error: what is wrong, where, what was expected, what was
found, and what to do next. `--json` carries the same in fields, with the full code. The part of a
code before the dot decides the exit status. When several checks would fail, the first in the order
of verification decides. A retry is worth it only where a code begins with one of:
{RETRY}.

Codes are stable: none is renamed, none is used again for something else.
"""


def classes() -> list[type[AirlockError]]:
    """Every error class of both sides, in the order in which they are written down."""
    for module in ("loader.errors", "bundler.errors"):
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as e:
            if e.name is None or not module.startswith(e.name):
                raise

    def below(base: type[AirlockError]) -> Iterator[type[AirlockError]]:
        yield base
        for cls in base.__subclasses__():
            yield from below(cls)

    return list(dict.fromkeys(below(AirlockError)))


def page(known: list[type[AirlockError]]) -> str:
    """Return docs/errors.md."""
    lines = [
        HEAD,
        "## Exit statuses",
        "",
        "| status | meaning | codes begin with |",
        "|---|---|---|",
    ]
    for status, meaning in MEANING.items():
        firsts = [name for name, number in STATUS_BY_CLASS.items() if number == status]
        lines.append(f"| {status} | {meaning} | {', '.join(f'`{name}`' for name in firsts)} |")
    for status, meaning in MEANING.items():
        rows = [cls for cls in known if STATUS_BY_CLASS[cls.code.partition(".")[0]] == status]
        if not rows:
            continue
        lines += ["", f"## {status}: {meaning}", "", "| code | meaning | class |", "|---|---|---|"]
        for cls in sorted(rows, key=lambda cls: cls.code):
            said = (cls.__doc__ or "").strip().partition("\n")[0]
            side = cls.__module__.partition(".")[0]
            lines.append(f"| `{cls.code}` | {said} | `{side}`: {cls.__name__} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write, or with --check compare; 1 where they differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if out of date")
    arguments = parser.parse_args()
    known = classes()
    kept = set(KEPT.read_text(encoding="utf-8").split()) if KEPT.exists() else set()
    codes = "".join(f"{code}\n" for code in sorted(kept | {cls.code for cls in known}))
    current = True
    for path, text in ((PAGE, page(known)), (KEPT, codes)):
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        current = False
        print(f"{path.relative_to(ROOT)}: {'out of date' if arguments.check else 'written'}")
        if not arguments.check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return 1 if arguments.check and not current else 0


if __name__ == "__main__":
    sys.exit(main())
