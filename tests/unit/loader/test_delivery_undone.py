"""What several images changed is put back to the last of them, and what could not be is said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from loader.delivery import undone_if_it_fails
from loader.digest import Digest
from loader.errors import (
    AirlockError,
    DigestError,
    RuntimeLoadError,
    RuntimeUndoError,
    UnconfirmedCommitError,
)
from loader.interrupts import Interrupts
from loader.model.reference import Reference
from loader.run import Trace
from loader.runtime.base import Receipt, Runtime
from loader.state.ledger import Ledger

INTENDED = (("docker", "x", "y"),)


def receipt(number: int) -> Receipt:
    return Receipt(
        runtime="docker",
        reference=Reference.parse(f"registry.example/org/app:{number}"),
        digest=Digest.of(b"%d" % number),
        what="loaded",
        read_back=(),
    )


class Remembering:
    """A runtime and a ledger, in as far as undoing asks them."""

    name = "docker"

    def __init__(self, problems: dict[str, Exception]) -> None:
        self.problems = problems
        self.undone: list[str] = []
        self.withdrawn: list[object] = []
        self.head = SimpleNamespace(number=1)

    def undo(self, receipt: Receipt) -> None:
        self.undone.append(receipt.reference.tag)
        if receipt.reference.tag in self.problems:
            raise self.problems[receipt.reference.tag]

    def withdraw(self, intended: object) -> None:
        self.withdrawn.append(intended)


def fail(failure: BaseException, problems: dict[str, Exception]) -> tuple[Remembering, Trace]:
    world = Remembering(problems)
    trace = Trace(receipts=[receipt(n) for n in (1, 2, 3)], intended=INTENDED)
    runtime, ledger = cast("Runtime", world), cast("Ledger", world)
    with undone_if_it_fails(runtime, ledger, trace, Interrupts()):
        raise failure
    return world, trace


def test_all_is_put_back_last_first(monkeypatch: pytest.MonkeyPatch) -> None:
    worlds: list[Remembering] = []
    monkeypatch.setattr(Remembering, "withdraw", lambda self, _: worlds.append(self))
    with pytest.raises(DigestError):
        fail(DigestError("changed"), {})
    assert [world.undone for world in worlds] == [["3", "2", "1"]]


@pytest.mark.parametrize(
    "problem", [RuntimeLoadError("gone"), OSError(5, "I/O error"), ValueError("a bug")]
)
@pytest.mark.parametrize("failure", [DigestError("changed"), RuntimeLoadError("no"), OSError(5)])
def test_one_that_cannot_be_put_back_is_said_and_stops_no_other(
    failure: Exception, problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    undo = Remembering.undo

    def watched(self: Remembering, receipt: Receipt) -> None:
        asked.append(receipt.reference.tag)
        undo(self, receipt)

    monkeypatch.setattr(Remembering, "undo", watched)
    monkeypatch.setattr(Remembering, "withdraw", lambda *_: pytest.fail("not all is as it was"))
    with pytest.raises(RuntimeUndoError, match="app:2") as caught:
        fail(failure, {"2": problem})
    assert asked == ["3", "2", "1"]
    assert caught.value.__cause__ is failure
    assert caught.value.exit_status == 21
    assert isinstance(caught.value, AirlockError)


@pytest.mark.parametrize("failure", [ValueError("a bug"), RuntimeLoadError("no")])
def test_fi_51_what_is_recorded_is_not_undone(failure: Exception) -> None:
    """A bug behind the ledger's commit once took back what the host then remembered."""
    world = Remembering({})
    trace = Trace(receipts=[receipt(1)], intended=INTENDED)
    runtime, ledger = cast("Runtime", world), cast("Ledger", world)

    def recorded_and_then() -> None:
        with undone_if_it_fails(runtime, ledger, trace, Interrupts()):
            world.head.number += 1
            raise failure

    with pytest.raises(UnconfirmedCommitError) as caught:
        recorded_and_then()
    assert caught.value.__cause__ is failure
    assert (world.undone, world.withdrawn) == ([], [])
