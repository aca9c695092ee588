"""Read an archive from a file or any source, keeping nothing: what the memory tests measure."""

from __future__ import annotations

import tempfile
from collections import deque
from pathlib import Path

from loader.archive.metadata import MetadataStore
from loader.archive.reader import ArchiveReader, Source
from loader.errors import RefusedError
from loader.model.bundle import BundleStatement


def read_source(source: Source) -> str:
    """Return the refusal's code, or `accept`."""
    with tempfile.TemporaryDirectory() as folder, MetadataStore(Path(folder)) as store:
        reader = ArchiveReader(source)
        try:
            statement = BundleStatement.parse(reader.read_statement().raw)
            reader.read_metadata(statement, store)
            for layer in reader.layers(statement):
                deque(layer, maxlen=0)
            reader.finish()
        except RefusedError as e:
            return e.code
    return "accept"


def read_file(path: str) -> str:
    """Return the refusal's code, or `accept`."""
    with Path(path).open("rb", buffering=0) as file:
        return read_source(file)


def memory_peak() -> int:
    """Return the most memory this process ever held; `ru_maxrss` would count its parent's."""
    status = Path("/proc/self/status").read_text()
    row = next(row for row in status.splitlines() if row.startswith("VmHWM:"))
    return int(row.split()[1]) * 1024
