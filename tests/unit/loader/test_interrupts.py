from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from loader.errors import InterruptedLoadError
from loader.interrupts import SIGNALS, Interrupts


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_an_error_with_its_name(number: signal.Signals) -> None:
    Interrupts.watch()
    with pytest.raises(InterruptedLoadError) as error:
        send(number)
    assert error.value.found == number.name
    assert error.value.exit_status == 20


def test_a_second_signal_does_not_cut_the_cleaning_short() -> None:
    Interrupts.watch()
    cleaned = False
    try:
        send()
    except InterruptedLoadError:
        send(signal.SIGINT)
        send()
        cleaned = True
    assert cleaned


def test_a_held_signal_comes_afterwards() -> None:
    interrupts = Interrupts.watch()
    done = False
    with pytest.raises(InterruptedLoadError), interrupts.held():  # noqa: PT012 - the order counts
        send()
        done = True
    assert done


def test_a_signal_behind_the_commit_is_none() -> None:
    interrupts = Interrupts.watch()
    with interrupts.held():
        send()
        interrupts.ignore()
    send()


def test_an_error_inside_goes_before_a_held_signal() -> None:
    interrupts = Interrupts.watch()
    with pytest.raises(ValueError, match="inside"), interrupts.held():  # noqa: PT012
        send()
        raise ValueError("inside")
