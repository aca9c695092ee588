"""The power is cut while the ledger is written (FI-39, V5, V6): old or new, never in between.

What a whole load does to ledger, journal, second copy and key is written down by strace, once, and
then lost in every combination that a disk may lose it in. From each the loader must find its way by
itself.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loader.errors import AirlockError, StateError
from loader.places import Places
from loader.state.database import CUT_OFF
from loader.state.floors import Floors
from loader.state.ledger import Ledger, look
from loader.state.lock import StateFolder
from tests.conftest import INJECTED
from tests.e2e.crashing_disk import CALLS, History
from tests.e2e.injected import SOAK, Rig, roomy_folder

Record = Callable[[str, object], None]
pytestmark = pytest.mark.engine("strace")
AT = datetime(2026, 6, 1, tzinfo=UTC)
AT_EACH_CUT = 512 if SOAK else 16
"""Combinations at each place where the power may be cut; all of them where there are no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A load's history, and the sequence that stands before and after it."""

    history: History
    before: int
    after: int


@pytest.fixture(scope="module")
def cuts() -> Iterator[Mapping[str, Cut]]:
    """The first load of a new host, and the next one of a host that has a memory."""
    with tempfile.TemporaryDirectory(dir=roomy_folder()) as folder, Rig.make(Path(folder)) as rig:
        host = rig.fresh()
        shutil.rmtree(host.state)
        first = traced(rig, 1)
        second = traced(rig, 2)
        yield {
            "first": Cut(history=first, before=0, after=1),
            "next": Cut(history=second, before=1, after=2),
        }


def traced(rig: Rig, number: int) -> History:
    """Load, and return what that did to the files of the memory."""
    host, log = rig.live, rig.folder / f"log-{number}"
    before = {
        path.name: path.read_bytes()
        for path in (host.state.iterdir() if host.state.exists() else ())
        if path.is_file()
    }
    with rig.tracing("-o", str(log), "-y", "-xx", "-s", "10000000", "-e", f"trace={CALLS}"):
        assert rig.load(host, number).status == 0
    return History.read(log, host.state, before=before)


def standing(folder: Path, image: Mapping[str, bytes]) -> int:
    """Start a host on what is left; return the sequence that it goes on from.

    Raises:
        AirlockError: it does not go on by itself.
    """
    places = Places.under(folder)
    shutil.rmtree(folder, ignore_errors=True)
    places.state.mkdir(parents=True, mode=0o700)
    for name, raw in image.items():
        path = places.state / name
        path.write_bytes(raw)
        path.chmod(0o600)
    seen: Floors | None = None
    try:
        seen = look(places).floors
    except StateError as e:
        # Where there is no copy yet, only a writer can tell; what to do is said.
        if "floors" in image or e.hint != CUT_OFF:
            raise
    with (
        StateFolder.lock(places, verb="load", at=AT) as state,
        Ledger.open(state, at=AT, loader="0") as ledger,
    ):
        stands = ledger.floors
    assert look(places).floors == stands
    # Whoever only looked was told what then stands.
    assert seen is None or seen.channels == stands.channels
    channel = stands.channels.get("stable")
    return 0 if channel is None else channel.sequence


@pytest.mark.parametrize("name", ["first", "next"])
def test_fi_39_whatever_the_disk_lost_it_is_the_old_or_the_new(
    name: str, cuts: Mapping[str, Cut], record_property: Record
) -> None:
    cut = cuts[name]
    changes = cut.history.changes
    assert sum(change.kind == "sync" for change in changes) >= 4
    assert {"write", "create", "unlink", "rename"} <= {change.kind for change in changes}
    folder = Path(tempfile.mkdtemp(dir=roomy_folder()))
    seen: set[int] = set()
    count = 0
    try:
        for place in range(len(changes) + 1):
            for image in cut.history.images(place, seed=place, at_most=AT_EACH_CUT):
                count += 1
                last = (
                    f"{changes[place - 1].kind} {changes[place - 1].name}" if place else "nothing"
                )
                try:
                    found = standing(folder, image)
                except AirlockError as e:
                    files = {file: len(raw) for file, raw in image.items()}
                    pytest.fail(f"cut {place}, behind {last}: {files}: {e}")
                assert found in {cut.before, cut.after}
                seen.add(found)
                if place == len(changes):
                    assert found == cut.after, "what was said to be done is done"
    finally:
        shutil.rmtree(folder)
    record_property(INJECTED, count)
    assert seen == {cut.before, cut.after}
    assert count > (5000 if SOAK else 300), count
