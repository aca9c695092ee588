"""Any bytes as a supplement: a value that is written in just this way, or a refusal."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.errors import RefusedError
from loader.model.supplement import Supplement
from tests.fakes.sigworld.supplement import supplement, written
from tests.fakes.sigworld.world import World

FEW = settings(max_examples=150, deadline=None)
_SIGNED = World().sign(b"payload", World().managed("release"))
GOOD = supplement(_SIGNED.entries[0], b"payload")
VALUE: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just([]) | st.just({})
)


def test_what_is_written_is_read_and_written_again() -> None:
    read = Supplement.parse(written(GOOD), where="test")
    made = Supplement.make(
        subject=read.subject,
        log_id=read.log_id,
        log_index=read.log_index,
        proof=GOOD["inclusionProof"],
    )
    assert made == read
    assert made.raw == written(GOOD)


@FEW
@given(st.binary(max_size=400))
def test_any_bytes(raw: bytes) -> None:
    with contextlib.suppress(RefusedError):
        assert Supplement.parse(raw, where="test").raw == raw


@FEW
@given(st.sampled_from(sorted(GOOD)), VALUE)
def test_any_value_in_any_field(name: str, value: object) -> None:
    raw = json.dumps({**GOOD, name: value}).encode()
    with contextlib.suppress(RefusedError):
        assert Supplement.parse(raw, where="test").raw == raw


@FEW
@given(st.sampled_from(sorted(GOOD["inclusionProof"])), VALUE)
def test_any_value_in_any_field_of_the_proof(name: str, value: object) -> None:
    proof = {**GOOD["inclusionProof"], name: value}
    raw = json.dumps({**GOOD, "inclusionProof": proof}).encode()
    with contextlib.suppress(RefusedError):
        assert Supplement.parse(raw, where="test").raw == raw


@pytest.mark.parametrize("name", sorted(GOOD))
def test_no_field_may_be_missing(name: str) -> None:
    document = {key: value for key, value in GOOD.items() if key != name}
    if name == "logIndex":  # protobuf leaves a zero out; it is of no promise then
        assert Supplement.parse(written(document), where="test").log_index == 0
        return
    with pytest.raises(RefusedError):
        Supplement.parse(written(document), where="test")
