"""`airlock-push`: started by the loader, after its verdict, once a run; it answers in JSON.

Nothing here is for people, though they may read it: `airlock-push version`.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import sys
from collections.abc import Sequence
from typing import Final

from bundler.push.intake import PROTOCOL
from loader import VERSION
from loader.errors import AirlockError, UsageError, shown

_INTERNAL: Final = 70
_GC_THRESHOLD: Final = 50_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer until nothing more is asked, and return the exit status (docs/errors.md)."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        _run(words)
    except AirlockError as e:
        print(f"airlock-push: error[{e.code}]: {e}", file=sys.stderr)
        if e.hint:
            print(f"hint: {e.hint}", file=sys.stderr)
        return e.exit_status
    except Exception:  # noqa: BLE001  (a bug is still a refusal)
        import traceback  # noqa: PLC0415

        traceback.print_exc()
        return _INTERNAL
    return 0


def _run(words: Sequence[str]) -> None:
    match words:
        case ["version"]:
            print(json.dumps({"version": VERSION, "protocol": PROTOCOL}))
        case ["serve", destination]:
            # Behind `version`, which is asked first and needs none of it.
            from bundler.push.serve import serve  # noqa: PLC0415
            from bundler.push.settings import PushSettings  # noqa: PLC0415

            gc.set_threshold(_GC_THRESHOLD)  # see `bundler.cli`
            atexit.register(gc.freeze)
            settings = PushSettings.read(os.environ)
            serve(destination, sys.stdin.buffer, sys.stdout.buffer, settings)
        case _:
            raise UsageError(
                "not a call",
                expected="serve HOST[/PREFIX], or version",
                found=shown(" ".join(words)),
            )


if __name__ == "__main__":
    sys.exit(main())
