"""A registry that fails from some request on, in six ways: for all that writes to one."""

from __future__ import annotations

import os
from dataclasses import replace

from tests.e2e.promoting import VERY_QUICK
from tests.fakes.faults import Fault

ONCE = replace(VERY_QUICK, attempt_count=2, read_seconds=0.3, progress_seconds=0.3, visible_count=2)
KINDS: dict[str, dict[str, object]] = {
    "500": {"status": 500, "swallow": True},
    "429": {"status": 429, "swallow": True, "headers": {"Retry-After": "0"}},
    "reset": {"reset": True},
    "slow": {"delay": 1.0, "swallow": True},
    "truncated": {"truncate": 3},
    "wrong": {"body": b'{"wrong":1}', "headers": {"Docker-Content-Digest": "sha256:" + "0" * 64}},
}
STEP = 1 if os.environ.get("AIRLOCK_SOAK") else len(KINDS)
"""Each request fails in one way, or, when there is an hour, in each."""


def fails_from(number: int, kind: str) -> Fault:
    return Fault(pattern="", on=range(number, 10_000), **KINDS[kind])  # type: ignore[arg-type]
