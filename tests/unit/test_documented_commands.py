"""Every command in README.md and docs/ is understood by the programs, as it is typed there."""

from __future__ import annotations

import argparse
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.cli import command_line as connected
from loader.cli import command_line as offline
from tests.presence import ROOT

PROGRAMS = {"airlock": connected, "airlock-loader": offline}
MADE = "<!-- from here on made by"
"""What stands behind it is made from the parsers."""
_FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
_INDENTED = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
_ENDS = frozenset({"|", ">", "2>", ">>", "&&", "||", ";"})


def _blocks(text: str) -> Iterator[str]:
    for language, body in _FENCE.findall(text):
        if language in {"sh", "shell", "bash", "console"}:
            yield body
    for block in _INDENTED.findall(_FENCE.sub("", text)):
        yield re.sub(r"^    ", "", block, flags=re.MULTILINE)


def _typed(path: Path) -> Iterator[list[str]]:
    text = path.read_text(encoding="utf-8").partition(MADE)[0]
    for block in _blocks(text):
        for line in block.replace("\\\n", " ").splitlines():
            words = line.strip().removeprefix("$ ").removeprefix("# ").removeprefix("sudo ")
            if words.partition(" ")[0] in PROGRAMS:
                lexer = shlex.shlex(words, posix=True, punctuation_chars="|&;<>")
                lexer.whitespace_split = True
                found = list(lexer)
                end = next((n for n, word in enumerate(found) if word in _ENDS), len(found))
                yield found[:end]


def _named(path: Path) -> Iterator[tuple[str, ...]]:
    """Yield the verbs that prose speaks of: `airlock policy init`."""
    text = path.read_text(encoding="utf-8").partition(MADE)[0]
    for span in re.findall(r"`(airlock(?:-loader)? [^`]+)`", _FENCE.sub("", text)):
        program, *words = span.split()
        verbs = itertools.takewhile(re.compile(r"[a-z][a-z-]*").fullmatch, words)
        yield program, *verbs


def _known(parser: argparse.ArgumentParser, words: tuple[str, ...]) -> bool:
    """Whether the words are verbs as far as there are verbs; behind them may be operands."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not below or not words:
        return True
    choice = below[0].choices.get(words[0])
    return choice is not None and _known(choice, words[1:])


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = [(page.relative_to(ROOT).as_posix(), words) for page in PAGES for words in _typed(page)]


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=[f"{page}: {' '.join(words)}" for page, words in COMMANDS]
)
def test_it_is_understood(page: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    program, *arguments = words
    parsed = False
    try:
        PROGRAMS[program]().parse_args([word for word in arguments if word != "…"])
        parsed = True
    except SystemExit as e:
        parsed = not e.code
    assert parsed, f"{page}: {capsys.readouterr().err}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_verbs_that_prose_names_are_there(page: Path) -> None:
    spoken = {program: make() for program, make in PROGRAMS.items()}
    unknown = [words for words in _named(page) if not _known(spoken[words[0]], words[1:])]
    assert unknown == []


def test_there_are_commands_in_the_readme() -> None:
    assert {words[0] for page, words in COMMANDS if page == "README.md"} == set(PROGRAMS)
