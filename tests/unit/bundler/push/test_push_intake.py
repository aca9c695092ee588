"""What airlock-push takes on standard input: the protocol, and nothing else."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from bundler.push.intake import FRAME_SIZE_MAX, Question, next_question, take_in
from bundler.store import ContentStore
from loader.digest import Digest
from loader.errors import AirlockError

BLOB = b"a blob\n" * 1000
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"
IMAGE = {
    "reference": "registry.acme.example/acme/app:1",
    "image": {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": "sha256:" + "1" * 64,
        "size": 7,
    },
    "platforms": [],
    "evidence": [],
}
NAME = "registry.enclave/mirror/registry.acme.example/acme/app:1"
PUSH = {"call": "push", "name": NAME, "image": IMAGE, "current": None}


def frame(document: object) -> bytes:
    raw = json.dumps(document).encode()
    return len(raw).to_bytes(4, "big") + raw


def blob(raw: bytes = BLOB, **changes: Any) -> bytes:  # noqa: ANN401
    said = {"digest": f"sha256:{hashlib.sha256(raw).hexdigest()}", "size": len(raw), **changes}
    return frame(said) + raw


END = frame({"end": True})


def read(raw: bytes, store: ContentStore) -> list[Question]:
    """All questions of a stream, with what follows them taken in."""
    stream, found = io.BytesIO(raw), []
    while (question := next_question(stream)) is not None:
        if question.image is not None:
            take_in(stream, store)
        found.append(question)
    return found


def test_questions_and_their_blobs(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    named = frame({"call": "named", "name": NAME})
    point = frame({"call": "point", "name": NAME, "digest": DIGEST})
    check = frame({"call": "check", "name": NAME, "image": IMAGE, "anew": True})
    raw = named + frame(PUSH) + blob() + blob() + blob(b"") + END + point + check + END
    one, two, three, four = read(raw, store)
    assert (one.call, str(one.name), one.image) == ("named", NAME, None)
    assert str(two.image.reference if two.image else "") == "registry.acme.example/acme/app:1"
    assert two.current is None
    assert three.digest == Digest.parse(DIGEST)
    assert (four.call, four.anew, one.anew) == ("check", True, False)
    assert store.path(Digest.parse(DIGEST)).read_bytes() == BLOB


def test_nothing_is_asked() -> None:
    assert next_question(io.BytesIO(b"")) is None


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(frame(PUSH)[:-1], id="half a question"),
        pytest.param(frame(PUSH)[:3], id="half a length"),
        pytest.param(frame(PUSH), id="no end"),
        pytest.param(frame({**PUSH, "call": "delete"}) + END, id="another call"),
        pytest.param(frame({**PUSH, "name": "no name"}) + END, id="no name"),
        pytest.param(frame({**PUSH, "more": 1}) + END, id="an unknown field"),
        pytest.param(frame({**PUSH, "image": None}) + END, id="a push of nothing"),
        pytest.param(frame({"call": "point", "name": NAME}), id="a tag to nowhere"),
        pytest.param(
            frame({"call": "named", "name": NAME, "image": IMAGE}), id="an image too much"
        ),
        pytest.param(frame(PUSH) + END + b"x", id="something behind the end"),
        pytest.param(frame(PUSH) + blob()[:-1], id="half a blob"),
        pytest.param(frame(PUSH) + blob(digest="sha256:" + "0" * 64) + END, id="another digest"),
        pytest.param(frame(PUSH) + blob(size=len(BLOB) - 1) + END, id="a wrong size"),
        pytest.param((FRAME_SIZE_MAX + 1).to_bytes(4, "big") + b"x", id="a huge frame"),
        pytest.param(b"\xff\xff\xff\xff", id="a length that lies"),
        pytest.param(frame([1]) + END, id="no object"),
        pytest.param((9).to_bytes(4, "big") + b'{"a":1,"a', id="no JSON"),
    ],
)
def test_anything_else_is_an_error_and_no_blob(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(AirlockError):
        read(raw, ContentStore(tmp_path))


@pytest.mark.parametrize("cut", range(1, 400, 13))
def test_a_stream_that_ends_anywhere(tmp_path: Path, cut: int) -> None:
    whole = frame(PUSH) + blob(b"x" * 100) + END
    assert cut < len(whole)
    with pytest.raises(AirlockError):
        read(whole[:cut], ContentStore(tmp_path))
