"""Memory does not grow with the bundle: a layer of a gibibyte, made while it is packed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.loading import FarSide, Publisher
from tests.fakes.images import Layer, Noise
from tests.presence import ROOT

SIZE = int(os.environ.get("AIRLOCK_TEST_LAYER_GIB", "1")) << 30
"""`AIRLOCK_TEST_LAYER_GIB=8` for the figure that the bench prints."""
MEMORY_MAX = 120 * 1000 * 1000

_MEASURE = """
import os, sys, subprocess
pid = os.spawnvp(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(pid, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Publisher, Path]:
    publisher = Publisher()
    path = tmp_path_factory.mktemp("large") / "bundle.tar.zst"
    # Zeros compress to nothing: the archive is small, the layer is not.
    layer = Layer.of({"zeros": Noise(SIZE, zeros=True)}, "none")
    publisher.bundle(path, extra=[layer])
    return publisher, path


@pytest.mark.parametrize("verb", ["verify", "load"])
def test_v4_memory_stays_below_120_mb(
    verb: str, large: tuple[Publisher, Path], tmp_path: Path
) -> None:
    publisher, path = large
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    further = ["--into", f"oci:{host.loaded}"] if verb == "load" else []
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *host.command(verb, path, *further, isolated=False)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )
    status, memory = map(int, done.stderr.splitlines()[-1].split())
    assert status == 0, done.stderr
    print(f"{verb}: {SIZE >> 30} GiB layer, {memory / 1e6:.0f} MB")
    assert memory < MEMORY_MAX
    if verb == "load":
        blobs = host.loaded / "blobs/sha256"
        assert max(blob.stat().st_size for blob in blobs.iterdir()) > SIZE
    assert host.quarantine() == []
