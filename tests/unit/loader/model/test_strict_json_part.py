"""A document read in part is the same document: what is kept, and all that is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.errors import FormatError, JsonError, LimitError
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.strictjson import JsonObject

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(max_size=6).filter(str.isprintable),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcdef"), inner, max_size=4)
    ),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.sampled_from(["a", "b", "part"]), VALUES, max_size=3)


def part(raw: bytes, keep: frozenset[str] | None = frozenset("ab")) -> JsonObject:
    return strictjson.parse_with_part(
        raw, what="a document", size_max=1 << 20, member="part", keep=keep
    )


def whole(raw: bytes) -> JsonObject:
    return strictjson.parse_object(
        raw, what="a document", size_max=1 << 20, keys="exact", numbers="any"
    )


def pruned(value: object, keep: frozenset[str]) -> object:
    if isinstance(value, dict):
        return {key: pruned(item, keep) for key, item in value.items() if key in keep}
    if isinstance(value, list):
        return [pruned(item, keep) for item in value]
    return value


@given(DOCUMENTS, st.sampled_from([None, 1, 4]))
def test_what_is_kept_is_what_stands_there(document: JsonObject, indent: int | None) -> None:
    raw = json.dumps(document, indent=indent).encode()
    assert part(raw, None) == whole(raw) == document
    keep = frozenset("ab")
    expected = dict(document)
    if "part" in expected:
        expected["part"] = pruned(expected["part"], keep)  # type: ignore[assignment]
    assert part(raw, keep) == expected


@given(DOCUMENTS, st.integers(0, 200), st.sampled_from(['"', "}", "]", ",", "1", "\\", "e", ""]))
def test_what_one_refuses_the_other_refuses(document: JsonObject, at: int, what: str) -> None:
    text = json.dumps(document)
    changed = (text[: at % len(text)] + what + text[at % len(text) + 1 :]).encode()
    try:
        expected = whole(changed)
    except FormatError:
        with pytest.raises(FormatError):
            part(changed, None)
        with pytest.raises(FormatError):
            part(changed)
    else:
        assert part(changed, None) == expected


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b'"part"',
        b"{",
        b"{}{}",
        b"{} x",
        b"\xef\xbb\xbf{}",
        b"\xff{}",
        b'{"part"}',
        b'{"part":}',
        b'{"part":1,}',
        b"{part:1}",
        b'{"part":1 "a":2}',
        b'{"a":1,"a":2}',
        b'{"part":{"x":1,"x":2}}',
        b'{"part":{"a":NaN}}',
        b'{"part":{"x":Infinity}}',
        b'{"part":{"x":1e999}}',
        b'{"part":[-0]}',
        b'{"part":{"a":"\\ud800"}}',
        b'{"part":{"x":"\n"}}',
    ],
)
def test_a_document_that_is_none(raw: bytes) -> None:
    with pytest.raises(JsonError):
        part(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"part":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"part":{"a":' + b"[" * 70 + b"]" * 70 + b"}}",
        b'{"part":{"x":12345678901234567890}}',
        b'{"part":[' + b"1," * 1_000_001 + b"1]}",
        b"{}" + b" " * (1 << 20),
    ],
)
def test_a_document_beyond_the_limits(raw: bytes) -> None:
    with pytest.raises(LimitError):
        strictjson.parse_with_part(
            raw,
            what="a document",
            size_max=max(len(raw), 1 << 20) if not raw.startswith(b"{}") else 1 << 20,
            member="part",
            keep=frozenset("a"),
        )


def test_what_is_kept_is_counted_and_what_is_dropped_is_not() -> None:
    limits = replace(DEFAULT_LIMITS, json_kept_count_max=10)
    many = b",".join(b'{"x":1,"y":{"z":2}}' for _ in range(1000))
    kept = b",".join(b'{"a":1,"x":2}' for _ in range(11))
    for raw, fits in ((many, True), (kept, False)):
        document = b'{"part":[' + raw + b"]}"
        if fits:
            read = strictjson.parse_with_part(
                document,
                what="d",
                size_max=1 << 20,
                member="part",
                keep=frozenset("a"),
                limits=limits,
            )
            assert read["part"] == [{}] * 1000
        else:
            with pytest.raises(LimitError, match="says too much"):
                strictjson.parse_with_part(
                    document,
                    what="d",
                    size_max=1 << 20,
                    member="part",
                    keep=frozenset("a"),
                    limits=limits,
                )
