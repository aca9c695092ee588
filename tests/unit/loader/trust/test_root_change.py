"""How trust moved on, as a record keeps it and as people read it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.digest import Digest
from loader.errors import FormatError
from loader.model.fields import Fields
from loader.trust.memory import NUMBER_MAX, RoleSeen, RootsSeen
from loader.trust.root_change import LINE_COUNT_MAX, RoleMove, RootChange, role_moves, told
from loader.trust.root_words import who_vouches
from loader.trust.trusted_root import TrustedRoot
from tests.fakes.content import encode
from tests.fakes.sigworld.world import World
from tests.presence import ROOT

ENDS = datetime(2027, 1, 1, tzinfo=UTC)


def change(**settings: Any) -> RootChange:  # noqa: ANN401
    return RootChange(**{"anchor": "acme", "what": "TUF root", "before": 1, "after": 2, **settings})


def words(one: RootChange) -> list[str]:
    return list(one.words())


def test_a_rotation() -> None:
    roles = (
        RoleMove(name="root", before=1, after=2, expires=ENDS),
        RoleMove(name="timestamp", before=4, after=5, expires=ENDS),
        RoleMove(name="release", before=None, after=1),
        RoleMove(name="targets", before=3, after=3),
    )
    one = change(lines=("+ root: a", "! root: 2 signatures are enough, before 1"), roles=roles)
    assert words(one) == [
        "acme: TUF root 1 to 2; timestamp 4 to 5, release 1",
        "  + root: a",
        "  ! root: 2 signatures are enough, before 1",
    ]
    assert list(told(one))[3:] == [
        "  root 1 to 2, until 2027-01-01",
        "  timestamp 4 to 5, until 2027-01-01",
        "  release 1",
        "  targets 3",
    ]


def test_the_same_keys_in_a_newer_root() -> None:
    assert words(change())[1:] == ["  keys and thresholds are as before"]


def test_versions_below_it_alone() -> None:
    one = change(after=1, roles=(RoleMove(name="timestamp", before=1, after=2),))
    assert (one.moved, one.is_rotation) == (True, False)
    assert words(one) == ["acme: TUF root 1; timestamp 1 to 2"]
    assert not change(after=1, roles=(RoleMove(name="timestamp", before=2, after=2),)).moved


def test_what_the_host_had_seen() -> None:
    seen = RootsSeen(roots={1: Digest.of(b"")}, roles={"timestamp": RoleSeen(version=3)})
    moves = role_moves({"timestamp": (4, ENDS), "targets": (1, ENDS)}, seen)
    assert [(one.name, one.before, one.after) for one in moves] == [
        ("timestamp", 3, 4),
        ("targets", None, 1),
    ]


def test_a_record_keeps_what_somebody_reads() -> None:
    """A thousand keys and roles are a few hundred lines, each change the same."""
    many = change(
        lines=tuple(f"+ root: {number}" for number in range(1000)),
        roles=tuple(RoleMove(name=f"r{n}", before=None, after=1) for n in range(1000)),
        warnings=("odd",),
    ).kept()
    assert (len(many.lines), many.lines[-1]) == (LINE_COUNT_MAX + 1, "and 800 more")
    assert len(many.roles) == LINE_COUNT_MAX
    assert RootChange.parse(Fields(many.plain(), "record")) == many


numbers = st.integers(0, NUMBER_MAX)
texts = st.text(min_size=1, max_size=20)
moves = st.builds(RoleMove, name=texts, before=st.none() | numbers, after=numbers)


@given(
    st.builds(
        RootChange,
        anchor=texts,
        what=texts,
        before=numbers,
        after=numbers,
        lines=st.lists(texts, max_size=4).map(tuple),
        roles=st.lists(moves, max_size=4).map(tuple),
    )
)
def test_what_is_written_is_read_again(one: RootChange) -> None:
    kept = one.kept()
    assert RootChange.parse(Fields(kept.plain(), "record")) == kept
    assert (kept.is_rotation, kept.moved) == (one.is_rotation, one.moved)


@pytest.mark.parametrize(
    "broken", [{"before": "-1"}, {"after": "x"}, {"roles": [{"name": "x"}]}, {"lines": 1}]
)
def test_what_no_loader_wrote(broken: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        RootChange.parse(Fields(change().plain() | broken, "record"))


# --- a trusted root -------------------------------------------------------------------------------


def test_who_vouches_in_words() -> None:
    raw = (ROOT / "trust-roots/sigstore/trusted_root.json").read_bytes()
    lines = list(who_vouches(TrustedRoot.parse(raw, name="sigstore")))
    assert any(line.startswith("certificates by https://fulcio.sigstore.dev (") for line in lines)
    [rekor] = [line for line in lines if "logged in https://rekor.sigstore.dev" in line]
    assert rekor == (
        "signatures logged in https://rekor.sigstore.dev (c0d23d6ad406973f), from 2021-01-12"
    )
    retired = [line for line in lines if "ctfe.sigstore.dev/test" in line]
    assert retired == [line for line in retired if " to 20" in line], "a window that has ended"
    assert any(line.startswith("times stamped by ") for line in lines)


def test_names_of_others_stay_text() -> None:
    document = World().trusted_root()
    document["tlogs"][0]["baseUrl"] = "https://x\x1b[2J"
    lines = list(who_vouches(TrustedRoot.parse(encode(document), name="acme")))
    assert not any("\x1b" in line for line in lines)
