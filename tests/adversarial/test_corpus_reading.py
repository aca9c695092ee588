"""The corpus, read by the reader alone and by the walk through the images' documents.

What only a judge or a decompressor can see is in order down here, and must be accepted as such.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from loader.errors import RefusedError
from loader.evidence import expect_closed
from loader.graph import read_graph
from loader.limits import DEFAULT_LIMITS
from tests.adversarial.case import ACCEPT, Case
from tests.adversarial.corpus import corpus
from tests.adversarial.reading import Blobs, read_all

CASES = [case for case in corpus() if case.level != "path"]
SLOW_SIZE = 6 * 1024
"""Files up to this length are also read byte by byte; longer ones in larger odd pieces."""
LARGE_SIZE = 4 * 1024 * 1024
TIME_MAX_SECONDS = 5.0


def verdict(data: bytes, case: Case, *, piece: int = 2**30) -> str:
    """Return the class of the refusal, or `accept`."""
    error = refusal(data, case, piece=piece)
    if error is None:
        return ACCEPT
    assert str(error).isascii()
    assert str(error).isprintable()
    assert error.exit_status == 19
    return error.error_class


def refusal(data: bytes, case: Case, *, piece: int) -> RefusedError | None:
    try:
        read = read_all(data, piece=piece)
        if case.level in {"graph", "deep"}:
            blobs = Blobs(read)
            graphs = [read_graph(entry, blobs) for entry in read.statement.images]
            expect_closed(read.statement, graphs, blobs, limits=DEFAULT_LIMITS)
    except RefusedError as e:
        return e
    return None


def test_the_corpus_is_whole() -> None:
    names = [case.id for case in corpus()]
    assert len(names) == len(set(names))
    assert len(names) >= 350
    assert {case.expect_class for case in corpus()} >= {
        *(ACCEPT, "container", "tar", "path", "limit", "json", "oci", "missing", "digest"),
        *("no-evidence", "signature", "io"),
    }


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_every_case_has_its_verdict_three_ways(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    case.build(path)
    data = path.read_bytes()
    expected = case.expect_class if case.level in {"archive", "graph"} else ACCEPT

    start = time.monotonic()
    assert verdict(data, case) == expected
    assert time.monotonic() - start < TIME_MAX_SECONDS + len(data) / 50e6

    if len(data) > LARGE_SIZE:
        return
    piece = 1 if len(data) <= SLOW_SIZE else 4093
    assert verdict(data, case, piece=piece) == expected

    with_junk = verdict(data + b"junk", case)
    assert with_junk == "container" if expected == ACCEPT else with_junk != ACCEPT
