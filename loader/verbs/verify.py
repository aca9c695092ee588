"""`verify`: judge a bundle to its last byte, and write nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loader.verbs.call import declare_bundle
from loader.verbs.judged import judged

if TYPE_CHECKING:
    from loader.verbs.call import Call
    from loader.verbs.judged import JudgedRun

HELP: Final = "judge a bundle to its last byte; write nothing"
declare = declare_bundle


def run(call: Call) -> int:
    """Judge a bundle under this host's policy and floors."""

    def go(judging: JudgedRun) -> None:
        judging.cut_off()
        from loader import pipeline  # noqa: PLC0415
        from loader.progress import progress_on  # noqa: PLC0415
        from loader.source import BundleFile  # noqa: PLC0415

        host = judging.open_host()
        progress = progress_on(sys.stderr)
        path: Path = call.arguments.bundle
        pipeline.verify(
            BundleFile.opening(path), host, judging.trace, allow_downgrade=None, progress=progress
        )

    return judged(call, "verify", go)
