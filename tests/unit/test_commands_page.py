"""docs/commands.md: its reference is the parsers', and every command it shows can be typed."""

from __future__ import annotations

import importlib.util
import re
import shlex
from types import ModuleType

import pytest

from bundler.cli import command_line as connected
from loader.cli import command_line as offline
from tests.presence import ROOT

PAGE = (ROOT / "docs" / "commands.md").read_text()
BY_HAND = PAGE.partition("<!-- from here on made")[0]
SHOWN = re.findall(r"`((?:airlock|airlock-loader) [^`]+)` \|$", BY_HAND, re.MULTILINE)


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("commands", ROOT / "scripts" / "commands.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_parsers_say() -> None:
    assert script().page(PAGE) == PAGE, "make commands"


def test_there_are_commands_to_try() -> None:
    assert len(SHOWN) >= 15


@pytest.mark.parametrize("line", SHOWN)
def test_every_command_that_is_shown_is_understood(line: str) -> None:
    program, *words = shlex.split(line)
    parser = {"airlock": connected, "airlock-loader": offline}[program]()
    assert parser.parse_args(words).run


def test_every_verb_says_what_it_is_for() -> None:
    for program, command_line in (("airlock", connected), ("airlock-loader", offline)):
        for words, help_, _ in script().verbs(command_line(), program):
            assert help_, words
