"""What changes from one policy to another, in words, and in which direction."""

from __future__ import annotations

import pytest

from loader.policy.change import changes
from loader.policy.model import Policy

OLD = """\
schema = 1
[anchor.release]
key = "release.pub"
[bundle]
channels = ["stable"]
[time]
clock = "strict"
[[image]]
match = "registry.example/org/*"
[[image.require]]
claim = "signature"
key = "release"
[[image.require]]
claim = "bundle-signature"
key = "release"
"""


def compared(new: str, old: str = OLD) -> list[tuple[str, str]]:
    one, other = (Policy.parse(text.encode(), where="p") for text in (old, new))
    return [(change.direction, change.words) for change in changes(one, other)]


def test_the_same_meaning_is_no_change() -> None:
    assert compared(OLD) == []
    assert compared("# a comment\n" + OLD) == []


MORE = OLD + '\n[[image]]\nmatch = "**"\n[[image.require]]\nclaim = "signature"\nkey = "release"\n'
LESS = OLD.replace('[[image.require]]\nclaim = "bundle-signature"\nkey = "release"\n', "")


@pytest.mark.parametrize(
    ("old", "new", "direction", "words"),
    [
        (OLD, MORE, "looser", "a new block; it lets images in"),
        (MORE, OLD, "changed", "no such block any more"),
        (OLD, LESS, "looser", "does not ask any more for bundle-signature by key 'release'"),
        (LESS, OLD, "tighter", "asks for bundle-signature by key 'release'"),
        (OLD, OLD.replace('"strict"', '"warn"'), "looser", "time.clock"),
        (OLD.replace('"strict"', '"warn"'), OLD, "tighter", "time.clock"),
        (OLD, OLD.replace('["stable"]', '["stable", "edge"]'), "looser", "added '\"edge\"'"),
        (OLD.replace('["stable"]', '["stable", "edge"]'), OLD, "tighter", "removed '\"edge\"'"),
        (OLD, OLD.replace('[bundle]\nchannels = ["stable"]\n', ""), "looser", "bundle.channels"),
        (OLD.replace('[bundle]\nchannels = ["stable"]\n', ""), OLD, "tighter", "bundle.channels"),
        (OLD, OLD + '[deny-list]\nkey = "release"\n', "tighter", "[deny-list]"),
        (OLD + '[deny-list]\nkey = "release"\n', OLD, "looser", "[deny-list]"),
        (OLD, OLD.replace("release.pub", "other.pub"), "changed", "anchor.release.key"),
        (OLD, OLD.replace("org/*", "org/**"), "looser", "org/**"),
        (
            OLD,
            OLD.replace('org/*"', 'org/*"\nrollback = "none"'),
            "changed",
            "rollback",
        ),
    ],
)
def test_each_change_is_said_with_its_direction(
    old: str, new: str, direction: str, words: str
) -> None:
    found = compared(new, old)
    assert any(one == direction and words in said for one, said in found), found


def test_what_is_looser_is_said_first() -> None:
    directions = [direction for direction, _ in compared(MORE.replace('"strict"', '"warn"'))]
    assert directions.index("changed") == directions.count("looser") >= 2
