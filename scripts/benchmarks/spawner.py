"""Runs one command at a time; tells how long it took and how much memory it had at most.

A process of its own, and a small one: Linux hands a process's peak memory on through fork and exec,
so that what a large parent has would be a floor under every figure. Orders come as lines of JSON on
standard input, figures go out as lines of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any, NoReturn


def main() -> None:
    """Carry out orders until there are no more."""
    for line in sys.stdin:
        print(json.dumps(_carry_out(json.loads(line))), flush=True)


def _carry_out(order: dict[str, Any]) -> dict[str, float | int]:
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(order)

    def too_slow(*_: object) -> None:
        os.killpg(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, too_slow)
    signal.alarm(order["timeout_seconds"])
    # The usage of a child that was waited for covers those that it has waited for itself.
    _, status, usage = os.wait4(child, 0)
    seconds = time.monotonic() - began
    signal.alarm(0)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "memory_size": usage.ru_maxrss * 1024,
    }


def _become(order: dict[str, Any]) -> NoReturn:
    try:
        os.setsid()
        os.chdir(order["folder"])
        for number, path in enumerate((os.devnull, order["stdout"], order["stderr"])):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY
            os.dup2(os.open(path, flags, 0o600), number)
        os.closerange(3, 64)
        os.execvpe(  # noqa: S606 - a command of the bench's own
            order["argv"][0], order["argv"], order["environment"]
        )
    finally:
        os._exit(127)


if __name__ == "__main__":
    main()
