"""What airlock-push takes on standard input: the protocol, and nothing else."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from bundler.push.intake import FRAME_SIZE_MAX, take_in
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
PLAN = {"schema": 1, "image": IMAGE, "mounts": {"sha256:" + "2" * 64: "a/b"}, "current": None}


def frame(document: object) -> bytes:
    raw = json.dumps(document).encode()
    return len(raw).to_bytes(4, "big") + raw


def blob(raw: bytes = BLOB, **changes: Any) -> bytes:  # noqa: ANN401
    said = {"digest": f"sha256:{hashlib.sha256(raw).hexdigest()}", "size": len(raw), **changes}
    return frame(said) + raw


END = frame({"end": True})


def test_a_plan_and_its_blobs(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    stream = io.BytesIO(frame(PLAN) + blob() + blob() + blob(b"") + END)
    plan = take_in(stream, store)
    assert str(plan.image.reference) == "registry.acme.example/acme/app:1"
    assert plan.mounts == {Digest("2" * 64): "a/b"}
    assert plan.current is None
    assert store.path(Digest.parse(DIGEST)).read_bytes() == BLOB


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(frame(PLAN)[:-1], id="half a plan"),
        pytest.param(frame(PLAN), id="no end"),
        pytest.param(frame({**PLAN, "schema": 2}) + END, id="another version"),
        pytest.param(frame({**PLAN, "more": 1}) + END, id="an unknown field"),
        pytest.param(frame({**PLAN, "mounts": {"x": "y"}}) + END, id="a mount of no digest"),
        pytest.param(frame(PLAN) + END + b"x", id="something behind the end"),
        pytest.param(frame(PLAN) + blob()[:-1], id="half a blob"),
        pytest.param(frame(PLAN) + blob(digest="sha256:" + "0" * 64) + END, id="another digest"),
        pytest.param(frame(PLAN) + blob(size=len(BLOB) - 1) + END, id="a wrong size"),
        pytest.param((FRAME_SIZE_MAX + 1).to_bytes(4, "big") + b"x", id="a huge frame"),
        pytest.param(b"\xff\xff\xff\xff", id="a length that lies"),
        pytest.param(frame([1]) + END, id="no object"),
        pytest.param((9).to_bytes(4, "big") + b'{"a":1,"a', id="no JSON"),
    ],
)
def test_anything_else_is_an_error_and_no_blob(tmp_path: Path, raw: bytes) -> None:
    store = ContentStore(tmp_path)
    with pytest.raises(AirlockError):
        take_in(io.BytesIO(raw), store)


@pytest.mark.parametrize("cut", range(0, 400, 13))
def test_a_stream_that_ends_anywhere(tmp_path: Path, cut: int) -> None:
    whole = frame(PLAN) + blob(b"x" * 100) + END
    assert cut < len(whole)
    with pytest.raises(AirlockError):
        take_in(io.BytesIO(whole[:cut]), ContentStore(tmp_path))
