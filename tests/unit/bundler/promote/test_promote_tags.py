"""CT-8: which tags a release gets, and which of them move; a table."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bundler.errors import SourceError, VersionTakenError
from bundler.promote.tags import PRESETS, decide, parse_version, wishes
from loader.digest import Digest

OURS = Digest("a" * 64)
OTHER = Digest("b" * 64)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def tags(version: str, preset: str = "semver") -> list[str]:
    return [
        wish.tag for wish in wishes(PRESETS[preset], version=parse_version(version), commit=COMMIT)
    ]


@pytest.mark.parametrize(
    ("version", "preset", "expected"),
    [
        ("v1.2.3", "semver", ["1.2.3", "1.2", "1", "latest"]),
        ("1.2.3", "semver", ["1.2.3", "1.2", "1", "latest"]),
        ("1.2.3-rc.1", "semver", ["1.2.3-rc.1"]),
        ("0.4.1", "semver", ["0.4.1", "0.4", "latest"]),
        ("v1.2.3", "complytime", ["v1.2.3", f"sha-{COMMIT}", "sha-0123456", "1.2", "1"]),
        ("1.2.3-rc.1", "complytime", ["v1.2.3-rc.1", f"sha-{COMMIT}", "sha-0123456"]),
        ("1.5.0", "metadata-action", ["1.5.0", "1.5", "latest"]),
    ],
)
def test_ct_8_tags_of_a_version(version: str, preset: str, expected: list[str]) -> None:
    assert tags(version, preset) == expected


@pytest.mark.parametrize(
    "text",
    [
        "1.2.3+b1",
        "v1.2.3+b1",
        "1.2",
        "1",
        "latest",
        "01.2.3",
        "1.2.3.4",
        "vv1.2.3",
        "",
        "\uff11.2.3",
    ],
)
def test_ct_8_what_is_no_version_for_a_tag(text: str) -> None:
    with pytest.raises(SourceError):
        parse_version(text)


@pytest.mark.parametrize("template", ["{commit}", "{commit7}", "{nothing}", "a b", "", "x" * 129])
def test_a_tag_that_cannot_be_written(template: str) -> None:
    with pytest.raises(SourceError):
        wishes([template], version=parse_version("1.2.3"), commit="not a commit")


def plan(
    version: str,
    present: Mapping[str, Digest | None],
    said: dict[str, str] | None = None,
    movable: frozenset[str] = frozenset(),
    preset: str = "semver",
) -> dict[str, str]:
    parsed = parse_version(version)
    asked = wishes(PRESETS[preset], version=parsed, commit=COMMIT)
    steps = decide(
        asked, digest=OURS, version=parsed, present=present, said=said or {}, movable=movable
    )
    assert [step.tag for step in steps] == [wish.tag for wish in asked]
    return {step.tag: step.doing for step in steps}


def test_ct_8_a_first_release_sets_all() -> None:
    assert plan("1.2.3", {}) == dict.fromkeys(["1.2.3", "1.2", "1", "latest"], "set")


def test_ct_8_a_backport_leaves_what_is_ahead_of_it() -> None:
    present = {"1.3.0": None, "1.2.8": None, "1.2": OTHER, "1": OTHER, "latest": OTHER}
    assert plan("1.2.9", present, {"1.2": "1.2.8", "1": "1.3.0", "latest": "1.3.0"}) == {
        "1.2.9": "set",
        "1.2": "move",
        "1": "left",
        "latest": "left",
    }


def test_ct_8_a_backport_to_an_old_major() -> None:
    present = {"v2.0.0": None, "1.9.0": None, "1": OTHER, "1.9": OTHER, "latest": OTHER}
    said = {"1.9": "1.9.0", "1": "1.9.0", "latest": "v2.0.0"}
    assert plan("1.9.1", present, said) == {
        "1.9.1": "set",
        "1.9": "move",
        "1": "move",
        "latest": "left",
    }


def test_ct_8_pre_releases_hold_nothing_back() -> None:
    present = {"2.0.0-rc.1": None, "1.2.2": None, "1": OTHER}
    assert plan("1.2.3", present, {"1": "1.2.2"})["1"] == "move"
    assert plan("1.2.3", present, {"1": "1.2.2"})["latest"] == "set"


def test_ct_8_the_same_release_again_writes_nothing() -> None:
    present = dict.fromkeys(["1.2.3", "1.2", "1", "latest"], OURS)
    assert set(plan("1.2.3", present).values()) == {"there"}


@pytest.mark.parametrize("taken", ["1.2.3"])
def test_ct_8_a_version_of_another_image_is_taken(taken: str) -> None:
    with pytest.raises(VersionTakenError):
        plan("1.2.3", {taken: OTHER})
    with pytest.raises(VersionTakenError):
        plan("1.2.3", {"sha-0123456": OTHER}, preset="complytime")


def test_a_moving_tag_of_an_unknown_version_moves_only_when_told() -> None:
    with pytest.raises(VersionTakenError):
        plan("1.2.3", {"latest": OTHER})
    assert plan("1.2.3", {"latest": OTHER}, movable=frozenset({"latest"}))["latest"] == "move"


def test_the_images_own_word_holds_a_tag_back_too() -> None:
    assert plan("1.2.3", {"latest": OTHER}, {"latest": "1.9.0"})["latest"] == "left"


def test_being_told_to_move_does_not_take_a_tag_from_a_later_release() -> None:
    found = plan("1.2.3", {"1.3.0": None, "1": OTHER}, movable=frozenset({"1"}))
    assert found["1"] == "left"


def test_a_lower_version_of_ten_is_no_higher_than_nine() -> None:
    assert plan("1.10.0", {"1.9.0": None, "1": OTHER}, {"1": "1.9.0"})["1"] == "move"
