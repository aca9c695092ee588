"""Ctrl-C while a layer comes: over at once, and what came is there for the next run."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.collecting import gather
from tests.fakes import images
from tests.fakes.content import ContentStore
from tests.fakes.faults import Fault
from tests.fakes.registry import FakeRegistry
from tests.presence import ROOT

SCRIPT = """
import sys
from pathlib import Path
from tests.e2e.collecting import gather
from bundler.registry.settings import Timing
gather([sys.argv[1]], Path(sys.argv[2]), plain_http=[sys.argv[3]], timing=Timing())
"""


def wait_for(path: Path, size: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):  # one that is whole is renamed just then
            if any(one.stat().st_size >= size for one in path.glob("*.part")):
                return
        time.sleep(0.02)
    pytest.fail("no download began")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"drip": 0.01, "drip_size": 1 << 14}, id="while bytes come"),
        pytest.param({"truncate": 1 << 20, "drip": 0.0, "delay": 0.0}, id="between two tries"),
    ],
)
def test_ctrl_c_ends_at_once_and_the_next_run_goes_on(
    tmp_path: Path, fault: dict[str, float]
) -> None:
    store = ContentStore()
    made = images.image(store, [images.Layer.noise(8 << 20)], tag="1.0.0")
    layer = made.manifest["layers"][0]["digest"]
    slow = Fault(pattern=f"/blobs/{layer}", on=None, **fault)  # type: ignore[arg-type]
    with FakeRegistry({"acme/app": store}, faults=[slow]) as registry:
        reference = registry.reference("acme/app", "1.0.0")
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, reference, tmp_path, registry.host],
            cwd=ROOT,
            stderr=subprocess.PIPE,
        )
        wait_for(tmp_path / "partial", 1 << 16)
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
        assert time.monotonic() - begin < 5
        assert b"KeyboardInterrupt" in said
        (part,) = [one for one in (tmp_path / "partial").iterdir() if one.stat().st_size]
        kept = part.stat().st_size
        registry.faults.clear()
        registry.requests.clear()
        (one,), content = gather([reference], tmp_path, plain_http=[registry.host])
        (again,) = registry.seen(f"/blobs/{layer}")
    assert again.headers["range"] == f"bytes={kept}-"
    assert content.holds(one.graph.layers[0])
