"""What the writer writes, the reader reads: all of it, and nothing else."""

from __future__ import annotations

import pytest

from bundler.pack.writer import Format
from tests.adversarial.golden import golden
from tests.adversarial.reading import read_all

FORMATS: tuple[Format, ...] = ("plain", "zstd")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("piece", [1, 7, 511, 4096, 2**30])
def test_everything_comes_back_whatever_the_medium_gives_at_once(form: Format, piece: int) -> None:
    bundle = golden()
    data = bundle.archive(form=form)

    read = read_all(data, piece=piece)

    assert read.format == form
    assert read.statement == bundle.statement
    assert read.signatures == bundle.signatures
    assert dict(read.blobs) == {
        f"blobs/sha256/{digest.hex}": raw for digest, raw in bundle.blobs.items()
    }
    assert [name for name, _ in read.blobs] == [m.name for m in bundle.statement.members[2:]]
    assert read.bytes_read == len(data)


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_statement_gives_the_same_bytes(form: Format) -> None:
    assert golden().archive(form=form) == golden().archive(form=form)
