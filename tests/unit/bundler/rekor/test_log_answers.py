"""Any bytes as a log's answer: a value, or a refusal."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from bundler.rekor.client import parse_answer
from loader.errors import FormatError
from tests.fakes.rekor_server import answer
from tests.fakes.sigworld.world import World

FEW = settings(max_examples=150, deadline=None)
ENTRY = World().sign(b"payload", World().managed("release")).entries[0]
[GOOD] = answer(ENTRY).values()
VALUE: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just([]) | st.just({})
)


def test_an_honest_answer() -> None:
    found = parse_answer(json.dumps({"uuid": GOOD}).encode(), where="test")
    assert (found.log_id, found.log_index) == (ENTRY.log.log_id, ENTRY.log_index)
    assert found.body == ENTRY.body
    assert found.proof == ENTRY.inclusion_proof(ENTRY.log.tree.size)


@FEW
@given(st.binary(max_size=400))
def test_any_bytes(raw: bytes) -> None:
    with contextlib.suppress(FormatError):
        parse_answer(raw, where="test")


@FEW
@given(st.sampled_from(sorted(GOOD)), VALUE)
def test_any_value_in_any_field(name: str, value: object) -> None:
    raw = json.dumps({"uuid": {**GOOD, name: value}}).encode()
    with contextlib.suppress(FormatError):
        parse_answer(raw, where="test")


@FEW
@given(st.sampled_from(sorted(GOOD["verification"]["inclusionProof"])), VALUE)
def test_any_value_in_any_field_of_the_proof(name: str, value: object) -> None:
    proof = {**GOOD["verification"]["inclusionProof"], name: value}
    raw = json.dumps({"uuid": {**GOOD, "verification": {"inclusionProof": proof}}}).encode()
    with contextlib.suppress(FormatError):
        parse_answer(raw, where="test")
