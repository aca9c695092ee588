"""An exception at the entry of every function on the way, and at every call of the libraries that
hash and verify (CASES FI-51, FI-52; V8): never a success, never half a state.

`sys.setprofile` sees each function of ours begin, and each call into a library; what it raises
there is raised by that function. CI takes every so many-th, `make soak` all of them.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature

from tests.conftest import INJECTED
from tests.e2e.injected import SOAK, floors
from tests.e2e.loading import FarSide, Publisher
from tests.e2e.own_process import Finished, run
from tests.fakes.images import Layer
from tests.presence import ROOT

Record = Callable[[str, object], None]
Place = tuple[str, int, str]
"""File, line and name of a function of ours, or a library's: its module, zero and name."""
OURS = str(ROOT / "loader")
HASHES = ("_hashlib", "_sha2", "_sha256")
ENTRIES = 40
CALL_STEP = 12


class _InjectedError(Exception):
    """What no part of the loader can have thought of."""


class Scene:
    """A host with bundle 1 on it, and bundle 2 to be loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        publisher = Publisher()
        for number in (1, 2):
            publisher.bundle(
                folder / f"{number}.tar.zst",
                sequence=number,
                version=f"1.{number}",
                days=number,
                extra=[Layer.noise(20_000, seed=number)],
            )
        self.host = FarSide(publisher.write_host(folder / "live/host"), folder / "live/loaded")
        assert self.load(1).status == 0
        shutil.copytree(folder / "live", folder / "old")
        self.old = floors(self.host), self.host.target()
        assert self.load(2).status == 0
        self.new = floors(self.host), self.host.target()
        self.fresh()

    def fresh(self) -> None:
        shutil.rmtree(self.folder / "live")
        shutil.copytree(self.folder / "old", self.folder / "live")

    def load(self, number: int, before: Callable[[], None] = lambda: None) -> Finished:
        bundle = self.folder / f"{number}.tar.zst"
        into = f"oci:{self.host.loaded}"
        return run(["--root", self.host.root, "load", bundle, "--into", into], before=before)

    def survey(self, wanted: Callable[[FrameType, str, Any], Place | None]) -> list[Place]:
        """Return what a load that goes well comes by, in its order, with repetitions."""
        log = self.folder / "seen"

        def before() -> None:
            file = log.open("w")

            def profile(frame: FrameType, event: str, argument: Any) -> None:  # noqa: ANN401
                place = wanted(frame, event, argument)
                if place is not None:
                    file.write(repr(place) + "\n")
                    file.flush()

            sys.setprofile(profile)

        assert self.load(2, before).status == 0
        self.fresh()
        return [eval(line) for line in log.read_text().splitlines()]

    def meet(
        self,
        wanted: Callable[[FrameType, str, Any], Place | None],
        place: Place,
        error: BaseException,
        nth: int = 1,
    ) -> Finished:
        """Raise at the nth time that a load comes by; check what is left, and that it mends."""

        def before() -> None:
            left = nth

            def profile(frame: FrameType, event: str, argument: Any) -> None:  # noqa: ANN401
                nonlocal left
                if wanted(frame, event, argument) != place:
                    return
                left -= 1
                if left == 0:
                    sys.setprofile(None)
                    raise error

            sys.setprofile(profile)

        ended = self.load(2, before)
        state = floors(self.host), self.host.target()
        if ended.status == 0:
            assert state == self.new, f"{place}: a success that changed nothing\n{ended.err}"
        else:
            # Behind the commit an exception takes nothing back, and says so.
            assert state[0] in {self.old[0], self.new[0]}, f"{place}: {ended.err}"
        again = self.load(2)
        assert again.status == 0, f"{place}: not mended: {again.err}"
        assert (floors(self.host), self.host.target()) == self.new, str(place)
        assert self.host.quarantine() == [], str(place)
        self.fresh()
        return ended


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"))


def entry(frame: FrameType, event: str, argument: object) -> Place | None:
    del argument
    code = frame.f_code
    if event != "call" or not code.co_filename.startswith(OURS):
        return None
    return (code.co_filename[len(OURS) + 1 :], code.co_firstlineno, code.co_qualname)


def library(frame: FrameType, event: str, argument: Any) -> Place | None:  # noqa: ANN401
    del frame
    if event != "c_call":
        return None
    owner = type(getattr(argument, "__self__", None)).__module__ or ""
    module = getattr(argument, "__module__", None) or owner
    if module.startswith("cryptography") or module in HASHES:
        return (module, 0, argument.__qualname__)
    return None


def test_fi_51_an_exception_at_the_entry_of_every_function(
    scene: Scene, record_property: Record
) -> None:
    outside = ("cli.py", "main")  # what it raises at its own entry, Python says
    places = [
        place for place in dict.fromkeys(scene.survey(entry)) if (place[0], place[2]) != outside
    ]
    assert len(places) > 300
    chosen = places if SOAK else places[:: len(places) // ENTRIES]
    ended = {place: scene.meet(entry, place, _InjectedError("injected")) for place in chosen}
    record_property(INJECTED, len(chosen))
    for place, one in ended.items():
        # 20: some fault of this machine stands for what closes a file, or asks for its state.
        assert one.status in {70, 20}, f"{place}: {one.status} {one.err}"
        assert "airlock: error[" in one.err, str(place)


def test_fi_52_a_library_that_fails_is_never_taken_for_a_yes(
    scene: Scene, record_property: Record
) -> None:
    calls = scene.survey(library)
    assert {"verify", "update"} <= {name.rpartition(".")[2] for _, _, name in calls}
    numbered: list[tuple[Place, int]] = []
    for place in dict.fromkeys(calls):
        step = 1 if SOAK or place[2].endswith("verify") else CALL_STEP
        numbered += [(place, nth) for nth in range(1, calls.count(place) + 1, step)]
    for place, nth in numbered:
        says_no = place[2].endswith("verify")
        error = InvalidSignature() if says_no else _InjectedError("injected")
        one = scene.meet(library, place, error, nth)
        assert one.status in ({11, 70, 20} if says_no else {11, 19, 20, 70}), (
            f"{place} {nth}: {one.status} {one.err}"
        )
    record_property(INJECTED, len(numbered))
