"""Write the reference of all verbs into docs/commands.md, from the parsers of both programs.

    commands.py           write it
    commands.py --check   say whether it is up to date

What stands above the marker is written by hand, and stays.
"""

# ruff: noqa: SLF001 - argparse has no other way to ask a parser what it knows

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bundler.cli import command_line as connected  # noqa: E402 (after the path)
from loader.cli import command_line as offline  # noqa: E402

PAGE = ROOT / "docs" / "commands.md"
MARKER = "<!-- from here on made by `make commands` from the parsers: do not edit -->\n"
PROGRAMS = {"airlock": connected, "airlock-loader": offline}

Row = tuple[str, str]


def verbs(
    parser: argparse.ArgumentParser, name: str
) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Yield every verb that does something: its words, its help, its parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {one.dest: one.help or "" for one in action._choices_actions}
            for word, below in action.choices.items():
                inner = list(verbs(below, f"{name} {word}"))
                yield from inner or [(f"{name} {word}", helps.get(word, ""), below)]


def rows(group: argparse._ArgumentGroup) -> list[Row]:
    """Return the options of a group: how each is written, and what it means."""
    found: list[Row] = []
    for action in group._group_actions:
        if action.help == argparse.SUPPRESS or not action.option_strings:
            continue
        if isinstance(action, argparse._HelpAction):
            continue
        value = value_of(action)
        flags = ", ".join(f"`{flag}{value}`" for flag in action.option_strings)
        words = " ".join((action.help or "").split()).replace("|", r"\|")
        found.append((flags.replace("|", r"\|"), f"{words}{' (required)' * action.required}"))
    return found


def value_of(action: argparse.Action) -> str:
    """Return what follows a flag."""
    if action.nargs == 0:
        return ""
    metavar = action.metavar if isinstance(action.metavar, str) else None
    if metavar is None:
        choices = [] if action.choices is None else [str(one) for one in action.choices]
        metavar = "|".join(choices) or action.dest.upper()
    return f"[={metavar}]" if action.nargs == "?" else f" {metavar}"


def positionals(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the words that a verb takes besides its options."""
    for action in parser._actions:
        if action.option_strings or isinstance(action, argparse._SubParsersAction):
            continue
        name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
        many = {"*": f"[{name} ...]", "+": f"{name} ...", "?": f"[{name}]"}
        yield many.get(str(action.nargs), name)


def section(
    words: str, help_: str, parser: argparse.ArgumentParser, seen: dict[tuple[Row, ...], str]
) -> Iterator[str]:
    """Yield the lines about one verb; options that an earlier verb has as well are named once."""
    yield f"### {words}"
    yield ""
    description = " ".join((parser.description or help_).split())
    yield description[:1].upper() + description[1:].removesuffix(".") + "."
    yield ""
    options = any(rows(group) for group in parser._action_groups)
    yield f"    {' '.join((words, *positionals(parser)))}{' [options]' * options}"
    for group in parser._action_groups:
        found = tuple(rows(group))
        if not found:
            continue
        shared = group.title not in {"options", "positional arguments"}
        title = f": {group.title}" if shared else ""
        yield ""
        if shared and found in seen:
            first = seen[found]
            anchor = first.replace(" ", "-")
            yield f"Besides, {group.title}: as [`{first}`](#{anchor})."
            continue
        if shared:
            seen[found] = words
        yield f"| option{title} | meaning |"
        yield "|---|---|"
        for flags, meaning in found:
            yield f"| {flags} | {meaning} |"
    yield ""


def reference() -> str:
    """Return the part of the page that is made from the parsers."""
    lines: list[str] = []
    for program, command_line in PROGRAMS.items():
        parser = command_line()
        found = list(verbs(parser, program))
        lines += [f"## {program}", "", "| verb | what it does |", "|---|---|"]
        lines += [
            f"| [`{words}`](#{words.replace(' ', '-')}) | {' '.join(help_.split())} |"
            for words, help_, _ in found
        ]
        general = [row for group in parser._action_groups for row in rows(group)]
        lines += ["", "Before the verb:", "", "| option | meaning |", "|---|---|"]
        lines += [f"| {flags} | {meaning} |" for flags, meaning in general]
        lines.append("")
        seen: dict[tuple[Row, ...], str] = {}
        for words, help_, below in found:
            lines += section(words, help_, below, seen)
    return "\n".join(lines).rstrip() + "\n"


def page(before: str) -> str:
    """Return the page: what was written by hand, and the reference."""
    head = before.partition(MARKER)[0].rstrip()
    return f"{head}\n\n{MARKER}\n{reference()}"


def main() -> int:
    """Write, or with --check compare; 1 where they differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if out of date")
    arguments = parser.parse_args()
    before = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    text = page(before)
    if text == before:
        return 0
    print(f"{PAGE.relative_to(ROOT)}: {'out of date' if arguments.check else 'written'}")
    if not arguments.check:
        PAGE.write_text(text, encoding="utf-8")
    return 1 if arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
