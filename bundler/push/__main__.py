"""`airlock-push`: started by the loader, after its verdict, with one call a run; answers in JSON.

Nothing here is for people, though they may read it: `airlock-push version`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bundler.push.run import Session
from bundler.push.settings import PushSettings
from loader import VERSION
from loader.digest import Digest
from loader.errors import AirlockError, UsageError, shown
from loader.model.reference import Reference
from loader.model.strictjson import JsonObject

_INTERNAL: Final = 70
_USAGE: Final = "named|look|push|check|remove NAME, point NAME DIGEST, version"


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer one call, and return its exit status (docs/errors.md)."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        print(json.dumps(_answer(words)))
    except AirlockError as e:
        print(f"airlock-push: error[{e.code}]: {e}", file=sys.stderr)
        if e.hint:
            print(f"hint: {e.hint}", file=sys.stderr)
        return e.exit_status
    except Exception:  # noqa: BLE001  (a bug is still a refusal)
        traceback.print_exc()
        return _INTERNAL
    return 0


def _answer(words: Sequence[str]) -> JsonObject:
    call = words[0] if words else ""
    if call == "version" and len(words) == 1:
        return {"version": VERSION}
    counts = {"named": 2, "look": 2, "push": 2, "check": 2, "remove": 2, "point": 3}
    if counts.get(call) != len(words):
        raise UsageError("not a call", expected=_USAGE, found=shown(" ".join(words)))
    name = Reference.parse(words[1], where=call)
    settings = PushSettings.read(os.environ)
    with (
        tempfile.TemporaryDirectory(prefix="airlock-push-") as folder,
        Session.open(settings, Path(folder)) as session,
    ):
        if call == "named":
            return session.named(name)
        if call == "remove":
            return session.remove(name)
        if call == "point":
            return session.point(name, Digest.parse(words[2], where=call))
        with_image = {"look": session.look, "push": session.push, "check": session.check}
        return with_image[call](name, sys.stdin.buffer)


if __name__ == "__main__":
    sys.exit(main())
