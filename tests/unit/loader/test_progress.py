from __future__ import annotations

import io
import sys

import pytest

from loader.progress import Lines, Silence, TerminalBar, progress_on, sized


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (8 << 30, "8.0 GiB")],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert sized(size) == text


def test_what_is_quickly_done_needs_no_words() -> None:
    out, clock = io.StringIO(), Clock()
    lines = Lines(out, clock)
    lines.begin("verifying layers", 100)
    for _ in range(10):
        clock.now += 0.05
        lines.advance(10)
    lines.end()
    assert out.getvalue() == ""


def test_elsewhere_a_line_now_and_then() -> None:
    out, clock = io.StringIO(), Clock()
    lines = Lines(out, clock)
    lines.begin("verifying layers", 40 << 20)
    for _ in range(40):
        clock.now += 1
        lines.advance(1 << 20)
    lines.end()
    said = out.getvalue().splitlines()
    assert len(said) == 4
    assert said[1] == "verifying layers: 11.0 MiB of 40.0 MiB, 1.0 MiB/s, 29 s left"


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    out, clock = Terminal(), Clock()
    bar = TerminalBar(out, clock)
    bar.begin("verifying layers", 10 << 20)
    clock.now = 5
    bar.advance(5 << 20)
    drawn = out.getvalue()
    bar.end()
    bar.end()
    assert "verifying layers" in drawn
    assert out.getvalue().endswith("\x1b[2K"), "the line is cleared"


def test_what_suits() -> None:
    assert isinstance(progress_on(Terminal()), TerminalBar)
    assert isinstance(progress_on(io.StringIO()), Lines)
    assert isinstance(progress_on(None), Silence)
    assert "loader.progress" in sys.modules
