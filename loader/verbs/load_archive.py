"""`load-archive`: an archive of `dangerzone-image prepare-archive`, verified first, then loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from loader.verbs import load

if TYPE_CHECKING:
    from loader.source import Opening
    from loader.verbs.call import Call

HELP: Final = "verify an archive of dangerzone-image prepare-archive, then load its image"
declare = load.declare


def run(call: Call) -> int:
    """Unpack, judge, load, commit; or refuse and change nothing."""

    def opening(path: Path) -> Opening:
        from loader.dangerzone.repack import repacked  # noqa: PLC0415

        return repacked(path)

    return load.loaded(call, opening)
