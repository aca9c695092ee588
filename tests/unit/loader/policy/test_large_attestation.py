"""An SBOM of twenty megabytes is judged like any other, within the memory that is promised."""

from __future__ import annotations

import os
from pathlib import Path

from tests.fakes.sigworld import statements
from tests.unit.loader.policy.claiming import BY_KEY, attest, facts, require
from tests.unit.loader.policy.scene import AS_PACKED, Scene

GROWTH_MAX = 200 << 20
"""Beside what a process has that judges anything at all."""
PACKAGES = 20_000


def test_a_large_sbom_is_counted_and_let_go_of(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    packages = [{"name": f"p{n}", "SPDXID": f"S{n}", "x": "y" * 700} for n in range(PACKAGES)]
    attest(scene, statements.SPDX, statements.spdx() | {"packages": packages}, by=scene.release)
    del packages
    assert max(len(raw) for raw in scene.store.blobs.values() if isinstance(raw, bytes)) > 18e6
    text = AS_PACKED + require("sbom", 'type = "spdx"', f"min-components = {PACKAGES}", who=BY_KEY)
    statement = scene.statement()
    # A forked child begins with what this process holds, from whatever tests ran before.
    before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    child = os.fork()
    if child == 0:
        try:
            found = facts(scene.run(text, statement=statement))["components"]
            os._exit(0 if found == str(PACKAGES) else 1)
        finally:
            os._exit(2)
    _, status, usage = os.wait4(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert usage.ru_maxrss * 1024 - before < GROWTH_MAX
