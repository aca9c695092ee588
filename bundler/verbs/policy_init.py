"""`policy init`: a policy proposed from the evidence that an image has, for a person to read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bundler.verbs.call import declare_registries
from loader.errors import LocalError, UsageError, shown

if TYPE_CHECKING:
    import argparse

    from bundler.verbs.call import Call

HELP: Final = "propose a policy from the evidence that an image has"
DESCRIPTION: Final = (
    "Look at all evidence of an image, and propose a policy that asks for just that: by exactly "
    "those who made it. It is for a person to read and sign off."
)


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument(
        "--key",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a public key to try evidence under (again for more)",
    )
    parser.add_argument(
        "--trusted-root",
        action="append",
        default=[],
        metavar="FILE|NAME",
        help="a trusted root to try besides sigstore and github (again for more)",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write it here (default: standard output)"
    )
    parser.add_argument("--no-progress", action="store_true", help="no bars")
    declare_registries(parser)


def run(call: Call) -> int:
    """Collect, find out who made what, and write the proposal."""
    from bundler.checking.subject import opened  # noqa: PLC0415  (what only a run needs)
    from bundler.policies.propose import Known, propose  # noqa: PLC0415
    from bundler.progress import calm_meter  # noqa: PLC0415
    from bundler.reach import Reach  # noqa: PLC0415

    options, now = call.arguments, call.clock()
    output: Path | None = options.output
    folder = Path() if output is None else output.parent
    if output is not None and output.exists():
        raise UsageError("the file is there already", where=shown(str(output)))
    known = Known.open(
        roots=[_named(text, folder) for text in options.trusted_root],
        keys=[_relative(path, folder) for path in options.key],
        folder=folder,
    )
    with (
        calm_meter(sys.stderr, bars=False if options.no_progress else None) as shown_by,
        opened(
            options.image,
            Reach.make(options, environment=call.environment),
            now=now,
            meter=shown_by,
        ) as subject,
    ):
        text = propose(subject, known, folder=folder, now=now)
    if output is None:
        print(text, end="")
        return 0
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as e:
        raise LocalError(
            "the file cannot be written", where=shown(str(output)), found=e.strerror or ""
        ) from e
    print(f"wrote {output}: read it, and sign it off", file=sys.stderr)
    return 0


def _named(text: str, folder: Path) -> str:
    """Return an anchor's name as it is, and a file as the policy's folder has it."""
    path = Path(text)
    return _relative(path, folder) if path.is_file() else text


def _relative(path: Path, folder: Path) -> str:
    """Return a file's path as the policy writes it; a bare name would be an anchor's."""
    try:
        inside = path.absolute().relative_to(folder.absolute())
    except ValueError:
        return str(path.absolute())
    return str(inside) if inside.suffix in {".pub", ".pem", ".json", ".jsonl"} else f"./{inside}"
