"""`policy import`: a ClusterImagePolicy of Sigstore's policy-controller in our words."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loader.errors import LocalError, UsageError, shown

if TYPE_CHECKING:
    import argparse

    from bundler.policies.cluster_image_policy import Translation
    from bundler.verbs.call import Call

HELP: Final = "translate a ClusterImagePolicy"
DESCRIPTION: Final = (
    "Translate a ClusterImagePolicy of Sigstore's policy-controller. What cannot be said is named "
    "and, where leaving it out would accept more, a requirement that nobody can meet stands in its "
    "place (exit status 1)."
)
_DIFFERS: Final = 1


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("file", type=Path, metavar="FILE", help="YAML, with one or more policies")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="write the policy here, and inline keys to keys/ beside it (default: standard output)",
    )


def run(call: Call) -> int:
    """Translate, and say what there is to say."""
    from bundler.policies.cluster_image_policy import translate  # noqa: PLC0415  (YAML is slow)
    from bundler.policies.yaml_text import documents  # noqa: PLC0415
    from loader.policy.model import Policy  # noqa: PLC0415

    path: Path = call.arguments.file
    found = translate(list(documents(_read(path), where=str(path))), where=str(path))
    Policy.parse(found.text.encode(), where=f"the translation of {path}")
    output: Path | None = call.arguments.output
    if output is None:
        print(found.text, end="")
        for name, key in found.keys.items():
            print(f"\n# {name}:\n" + "".join(f"# {line}\n" for line in key.splitlines()), end="")
    else:
        _write(found, output)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    for reason in found.untranslated:
        print(f"not translated: {reason}", file=sys.stderr)
    return _DIFFERS if found.untranslated else 0


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read((1 << 20) + 1)
    except OSError as e:
        raise UsageError(
            "the file cannot be read", where=shown(str(path)), found=e.strerror or ""
        ) from e


def _write(found: Translation, output: Path) -> None:
    """Write policy and keys; nothing that is there already is overwritten."""
    files = {output: found.text} | {output.parent / name: key for name, key in found.keys.items()}
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError as e:
            raise UsageError("the file is there already", where=shown(str(path))) from e
        except OSError as e:
            raise LocalError(
                "the file cannot be written", where=shown(str(path)), found=e.strerror or ""
            ) from e
        print(f"wrote {path}", file=sys.stderr)
