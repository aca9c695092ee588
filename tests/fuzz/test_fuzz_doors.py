"""The doors without a fuzzer's patience: real seeds, spoilt seeds, and a short real run."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loader.errors import RefusedError
from tests.fuzz import doors
from tests.presence import ROOT

pytestmark = pytest.mark.usefixtures("shared_dir")
SECONDS = 10
_FUZZERS = (Path(sys.executable), ROOT / ".cache/fuzz-venv/bin/python")


def fuzzer() -> Path | None:
    """A Python that has atheris: `make fuzz` makes one."""
    if importlib.util.find_spec("atheris") is not None:
        return _FUZZERS[0]
    return _FUZZERS[1] if (ROOT / ".cache/fuzz-venv/.locked").is_file() else None


@pytest.mark.parametrize("door", doors.DOORS)
def test_seeds_come_through(door: str) -> None:
    found = list(doors.seeds(door))
    assert len(found) >= 5
    opened = 0
    for raw in found:
        try:
            doors.DOORS[door](raw)
            opened += 1
        except RefusedError:
            doors.knock(door, raw)
    # The fuzzer starts inside, not before a closed door; one seed carries a broken digest.
    assert opened >= len(found) - 2


def test_what_was_signed_is_known() -> None:
    assert doors._signed()
    assert doors._heads()
    assert doors._issued()
    assert doors._written()
    assert doors._roots()


@pytest.mark.parametrize("door", doors.DOORS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_spoilt_seeds(door: str, data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from(list(doors.seeds(door)))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
        raw = raw or bytearray(b"\x00")
    doors.knock(door, bytes(raw))


@pytest.mark.parametrize("door", doors.DOORS)
def test_a_forgery_would_be_seen(door: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A door that lets everything in must end the run, or the fuzzer looks for nothing.
    names = {
        "bundle": "_signed", "checkpoint": "_heads", "growth": "_heads", "notary": "_written",
        "tuf": "_roots",
    }  # fmt: skip
    known = names.get(door, "_issued")
    monkeypatch.setattr(doors, known, frozenset)
    with pytest.raises(doors.ForgeryError):
        _all_seeds(door)


def _all_seeds(door: str) -> None:
    for raw in doors.seeds(door):
        doors.knock(door, raw)


@pytest.mark.may_skip("a fuzzer has wheels for few Pythons; CI runs `make fuzz`")
@pytest.mark.skipif(fuzzer() is None, reason="no atheris here; `make fuzz` brings it")
def test_a_short_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(str(fuzzer()), "tests/fuzz/fuzz.py", "bundle", str(tmp_path / "corpus")),
            f"-max_total_time={SECONDS}",
            # Linux hands the peak of this process, a gigabyte after ten thousand tests, on through
            # fork and exec; `make fuzz` has the real bound.
            "-rss_limit_mb=0",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Done " in done.stderr
