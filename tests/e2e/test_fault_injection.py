"""At each system call of a load, something fails (CASES part 3): the old or the whole new state.

`make soak` injects every fault; CI every third to eighth, at least five hundred in all, and the
count stands at the end of the run. From the first change of the ledger on, CI kills at every call
that changes a file, too: there trust, floors and names move forward.
"""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import INJECTED
from tests.e2e.injected import SOAK, Fault, Rig, roomy_folder, spread
from tests.e2e.loading import Publisher
from tests.fakes.images import Layer
from tests.fakes.sigworld.world import World

Record = Callable[[str, object], None]
pytestmark = pytest.mark.engine("strace")

WRITES = ("write", "pwrite64", "openat", "mkdir", "mkdirat", "renameat", "fsync", "fdatasync")
ERRORS: dict[str, tuple[str, tuple[str, ...], int]] = {
    "fi_13_enospc": ("ENOSPC", WRITES, 5),
    "fi_20_edquot": ("EDQUOT", ("write", "pwrite64"), 6),
    "fi_15_eio_reading": ("EIO", ("read", "pread64", "lseek", "getdents64"), 3),
    "fi_16_eio_syncing": ("EIO", ("fsync", "fdatasync"), 1),
    "fi_17_eio_writing": ("EIO", ("write", "pwrite64", "close"), 5),
    "fi_18_erofs": ("EROFS", ("openat", "mkdir", "mkdirat", "renameat", "unlink", "unlinkat"), 5),
    "fi_19_emfile": ("EMFILE", ("openat",), 4),
    "fi_19_enfile": ("ENFILE", ("openat",), 8),
    "fi_21_eintr": ("EINTR", ("read", "write", "openat", "pread64", "pwrite64"), 8),
    "fi_22_eacces": ("EACCES", ("renameat", "unlink", "unlinkat", "openat"), 6),
    "fi_23_enodev": ("ENODEV", ("read", "pread64"), 3),
}
KILL_STEP = 4
REFUSED_STEP = 8
KILL_GROUPS = 6
"""Tests that share the kills, so that both processors have some."""


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with tempfile.TemporaryDirectory(dir=roomy_folder()) as folder, Rig.make(Path(folder)) as rig:
        yield rig


def kills(rig: Rig, group: int) -> list[Fault]:
    """Every fourth call; every one that changes a file, once the ledger was changed (A091)."""
    found = [
        Fault(call=call, nth=nth, what="signal=SIGKILL")
        for call, numbers in sorted(rig.calls.items())
        for nth in sorted({*spread(numbers, KILL_STEP), *rig.changes.get(call, ())})
    ]
    return found[group::KILL_GROUPS]


def errors(rig: Rig, name: str) -> list[Fault]:
    error, calls, step = ERRORS[name]
    return [
        Fault(call=call, nth=nth, what=f"error={error}")
        for call in calls
        for nth in spread(rig.calls.get(call, []), step)
        if rig.calls.get(call)
    ]


@pytest.mark.parametrize("group", range(KILL_GROUPS))
def test_fi_01_killed_at_any_call(group: int, rig: Rig, record_property: Record) -> None:
    """FI-03 to FI-08 are among them: while it reads, behind the verdict, between two images, before
    and around the commit.

    A091: what moves, trust among it, is old or new as a whole, and the next load is judged so. The
    bundle that is loaded brings a newer TUF root; see `Rig`.
    """
    faults = kills(rig, group)
    killed = sum(rig.meet(fault).status < 0 for fault in faults)
    record_property(INJECTED, len(faults))
    assert killed > len(faults) * 0.9, "the kill came too late to be one"


def test_fi_02_killed_while_it_refuses(rig: Rig, record_property: Record) -> None:
    """What was to be refused is refused by the next run; nothing but its record is left of it."""
    Publisher(World(name="stranger")).bundle(
        rig.folder / "9.tar.zst", sequence=9, extra=[Layer.noise(20_000, seed=9)]
    )
    rig.fresh()
    calls, _ = rig.traced(9, status=11)
    faults = [
        Fault(call=call, nth=nth, what="signal=SIGKILL")
        for call, numbers in sorted(calls.items())
        for nth in spread(numbers, REFUSED_STEP)
    ]
    for fault in faults:
        host = rig.fresh()
        with rig.injecting(fault):
            ended = rig.load(host, 9)
        assert ended.status in {-signal.SIGKILL, 11}, f"{fault}: {ended.err}"
        assert rig.standing(host) == "old", str(fault)
        assert host.target() == rig.old.target(), str(fault)
        again = rig.load(host, 9)
        assert again.status == 11, f"{fault}: {again.err}"
        assert host.quarantine() == [], str(fault)
        assert (rig.standing(host), host.target()) == ("old", rig.old.target()), str(fault)
    record_property(INJECTED, len(faults))


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_at_any_call(name: str, rig: Rig, record_property: Record) -> None:
    faults = errors(rig, name)
    assert faults
    ended = [rig.meet(fault).status for fault in faults]
    record_property(INJECTED, len(faults))
    if name == "fi_21_eintr":
        assert set(ended) == {0}, "an interrupted call is made again"
    elif name != "fi_17_eio_writing":
        assert set(ended) != {0}, "no error was noticed"


def test_there_are_five_hundred_of_them(rig: Rig) -> None:
    planned = sum(len(kills(rig, group)) for group in range(KILL_GROUPS))
    planned += sum(len(errors(rig, name)) for name in ERRORS)
    assert planned >= (1000 if SOAK else 500), planned
