from __future__ import annotations

import contextlib
import time

import pytest

from loader.errors import PolicyFileError
from loader.model.reference import Reference
from loader.policy.patterns import Exact, Glob, Regexp, escape_dots, variables_of

SAN = "https://github.com/org/app/.github/workflows/release.yml@refs/tags/v1.0.0"


@pytest.mark.parametrize(
    ("glob", "name", "expected"),
    [
        ("ghcr.io/org/app", "ghcr.io/org/app", True),
        ("ghcr.io/org/app", "ghcr.io/org/app2", False),
        ("ghcr.io/org/app", "ghcr.io/org/app/sub", False),
        ("ghcr.io/org/*", "ghcr.io/org/app", True),
        ("ghcr.io/org/*", "ghcr.io/org/app/sub", False),
        ("ghcr.io/org/**", "ghcr.io/org/app/sub", True),
        ("ghcr.io/org/**", "ghcr.io/org2/app", False),
        ("ghcr.io/*/app", "ghcr.io/org/app", True),
        ("ghcr.io/*/app", "ghcr.io/org/team/app", False),
        ("ghcr.io/**/app", "ghcr.io/org/team/app", True),
        ("ghcr.io/org/app-*", "ghcr.io/org/app-web", True),
        ("ghcr.io/org/a.p", "ghcr.io/org/axp", False),
        ("localhost:5000/**", "localhost:5000/org/app", True),
        ("**", "any.example/thing/at/all", True),
    ],
)
def test_globs_match_full_names(glob: str, name: str, expected: bool) -> None:  # noqa: FBT001
    pattern = Glob.parse(glob, where="match")
    assert pattern.matches(Reference.parse(f"{name}:1")) is expected


@pytest.mark.parametrize(
    "glob",
    ["app", "*", "ghcr.io/org/app:1.0", "ghcr.io/Org/app", "ghcr.io/o?g/app", "a/***", "a/b c", ""],
)
def test_globs_that_match_no_name_are_refused(glob: str) -> None:
    with pytest.raises(PolicyFileError):
        Glob.parse(glob, where="match")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("ghcr.io/acme/app", "ghcr.io/acme/app", True),
        ("ghcr.io/acme/*", "ghcr.io/acme/app", True),
        ("ghcr.io/acme/*", "ghcr.io/*/app", True),
        ("ghcr.io/acme/*", "ghcr.io/acm/*", False),
        ("ghcr.io/acme/*", "ghcr.io/acme/app/x", False),
        ("ghcr.io/acme/**", "ghcr.io/acme/app/x", True),
        ("ghcr.io/**/x", "ghcr.io/acme/*/y", False),
        ("ghcr.io/**/x", "ghcr.io/acme/*", True),
        ("**", "ghcr.io/acme/*", True),
        ("ghcr.io/a*c/*", "ghcr.io/ab*/d*", True),
        ("ghcr.io/*/*", "ghcr.io/acme", False),
    ],
)
def test_globs_that_some_name_matches_both_of(one: str, other: str, *, expected: bool) -> None:
    first, second = (Glob.parse(text, where="match") for text in (one, other))
    assert first.overlaps(second) is expected
    assert second.overlaps(first) is expected


@pytest.mark.parametrize("text", ["[", "[[:", "[[:a:]", "[^]", "\\Q", "{a", "[\\a"])
def test_variables_are_looked_for_soon(text: str) -> None:
    began = time.monotonic()
    with contextlib.suppress(PolicyFileError):
        variables_of(text * (2048 // len(text)), where="")
    assert time.monotonic() - began < 5
    with pytest.raises(PolicyFileError, match="too long"):
        variables_of(text * 2049, where="")


def test_two_long_globs_are_compared_soon() -> None:
    one, other = ("a/" + "*a" * 120 + end for end in ("b", "c"))
    began = time.monotonic()
    assert not Glob.parse(one, where="").overlaps(Glob.parse(other, where=""))
    assert time.monotonic() - began < 5


def test_globs_run_in_linear_time() -> None:
    started = time.perf_counter()
    pattern = Glob.parse("a.example/" + "*a" * 60, where="match")
    assert not pattern.matches_name("a.example/" + "a" * 200 + "b")
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        (r"https://github\.com/org/.*", "https://evil/?github.com/org/x"),
        (r"https://github\.com/org/.*", "xhttps://github.com/org/x"),
        (r"https://github\.com/org/app", "https://github.com/org/app.evil"),
        (r"https://github\.com/org/[a-z]+", "https://github.com/org/app\n"),
        (r"https://github\.com/org/app$", "https://github.com/org/app\n"),
        (r"https://github\.com/org/app", "https://github.com/ORG/app"),
        (r"(?m)^https://github\.com/org/app$", "evil\nhttps://github.com/org/app"),
        (r"https://github\.com/org/app", "https://github.com/org/ａpp"),  # noqa: RUF001
    ],
)
def test_a_part_is_no_match(pattern: str, value: str) -> None:
    assert not Regexp.parse(pattern, where="x").matches(value)


def test_a_literal_is_compared_letter_by_letter() -> None:
    exact = Exact(text=SAN)
    assert exact.matches(SAN)
    for other in (SAN + ".", SAN + "\n", SAN.upper(), "x" + SAN, SAN[:-1]):
        assert not exact.matches(other)


@pytest.mark.parametrize("text", [".*", ".+", "^.*$", "(?s).*", ".*@?.*", "[^x]*|.*", "()|.*"])
def test_patterns_that_everybody_matches_are_refused(text: str) -> None:
    with pytest.raises(PolicyFileError, match="everybody"):
        Regexp.parse(text, where="x")


@pytest.mark.parametrize("text", ["(", r"(?=x)x", r"(a)\1", "a{2000}", "[z-a]"])
def test_what_is_not_re2_is_refused(text: str) -> None:
    with pytest.raises(PolicyFileError, match="RE2"):
        Regexp.parse(text, where="x")


def test_catastrophic_patterns_are_harmless() -> None:
    pattern = Regexp.parse("(a+)+b", where="x")
    started = time.perf_counter()
    assert not pattern.matches("a" * 100_000)
    assert time.perf_counter() - started < 1


def test_a_pattern_that_ends_with_a_slash_comes_with_the_one_to_write() -> None:
    with pytest.raises(PolicyFileError) as caught:
        Regexp.parse("^https://github.com/org/", where="x")
    assert caught.value.hint == "write '^https://github.com/org/.*'"


@pytest.mark.parametrize(
    ("pattern", "advice"),
    [
        ("github.com/org/app", "write 'https://github.com/org/app.*'"),
        ("^https://github.com/org", "write '^https://github.com/org.*'"),
        (
            "https://github.com/org/app|x.example",
            "write '(?:https://github.com/org/app|x.example).*'",
        ),
        ("github.com/other", ""),
        ("org/app", "only a part of the identity matches, and the whole must"),
    ],
)
def test_what_cosign_would_accept_comes_with_the_pattern_to_write(
    pattern: str, advice: str
) -> None:
    found = Regexp.parse(pattern, where="x").instead(SAN)
    assert found.endswith(advice)
    assert bool(found) is bool(advice)


def test_a_stranger_is_never_part_of_the_advice() -> None:
    pattern = Regexp.parse("github.com/org/.*", where="x")
    assert "evil" not in pattern.instead("https://evil/?github.com/org/x")


@pytest.mark.parametrize(
    ("pattern", "literal"),
    [
        ("https://github.com/org/.*", r"https://github\.com/org/.*"),
        (r"https://github\.com/org/.*", r"https://github\.com/org/.*"),
        ("v[0-9.]+.[0-9]+", r"v[0-9.]+\.[0-9]+"),
        ("a.+b.?c.{2}", "a.+b.?c.{2}"),
    ],
)
def test_lone_dots_are_pointed_out(pattern: str, literal: str) -> None:
    assert escape_dots(pattern) == literal
    warnings = Regexp.parse(pattern, where="here").warnings(where="here")
    assert any(literal in warning for warning in warnings) is (literal != pattern)


def test_a_pattern_for_all_of_a_forge_is_pointed_out() -> None:
    pattern = Regexp.parse(r"https://github\.com/.*", where="x")
    assert "every repository on github.com" in pattern.warnings(where="x")[0]
