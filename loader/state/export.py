"""The ledger as JSON lines, and back: what an auditor carries away, and verifies elsewhere.

The first line says what it is and holds the public keys; each line behind it is one record with its
very bytes as a string, because hash and signature cover bytes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loader.errors import AirlockError, FormatError, InputError, StateError, shown
from loader.limits import MIB, STATE_LIMITS
from loader.model import strictjson
from loader.model.fields import Fields
from loader.state.history import Row
from loader.state.record import RECORD_SIZE_MAX
from loader.state.signed_rows import read_base64
from loader.state.signing import key_id
from loader.trust.keys import PublicKey

if TYPE_CHECKING:
    from loader.digest import Digest
    from loader.model.strictjson import JsonObject
    from loader.state.history import Reading

SCHEMA: Final = "airlock-ledger/1"
LINE_SIZE_MAX: Final = 2 * RECORD_SIZE_MAX + MIB
"""Bytes of a line: each quote of a record is written as two characters."""
_KEY_COUNT_MAX: Final = 1000


def export_lines(ledger: Reading) -> Iterator[str]:
    """Yield the lines, the oldest record first, without their ends.

    Raises:
        StateError: SQLite cannot read on.
    """
    keys = [base64.b64encode(key.spki).decode("ascii") for key in ledger.keys().values()]
    yield _line({"schema": SCHEMA, "keys": [*keys]})
    for row in ledger.rows():
        yield _line(
            {
                "number": row.number,
                "hash": row.hash,
                "record": row.record.decode("utf-8", "surrogatepass"),
                "key": row.key,
                "signature": row.signature,
            }
        )


def _line(document: JsonObject) -> str:
    return json.dumps(document, ensure_ascii=True, sort_keys=True, separators=(",", ":"))


class Export:
    """An export that is read again, a line at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.where = shown(str(path))
        try:
            self._file = path.open("rb")
        except OSError as e:
            raise InputError(
                "an export cannot be opened", where=self.where, found=e.strerror or ""
            ) from e

    def keys(self) -> dict[Digest, PublicKey]:
        """Read the first line, and return the keys that it names; they vouch for nothing.

        Raises:
            StateError: it is another file.
        """
        fields = self._fields(self._next())
        if fields is None or fields.optional_text("schema") != SCHEMA:
            raise StateError("not an export of a ledger", where=self.where, expected=SCHEMA)
        try:
            texts = fields.items("keys", count_max=_KEY_COUNT_MAX)
            found = [
                PublicKey.from_der(read_base64(text, where=self.where), name="a key of the export")
                for text in texts
            ]
        except AirlockError as e:
            raise StateError("a key of an export is damaged", where=self.where, found=str(e)) from e
        return {key_id(key): key for key in found}

    def rows(self) -> Iterator[Row]:
        """Yield the records.

        Raises:
            StateError: a line is none.
        """
        while (line := self._next()) is not None:
            fields = self._fields(line)
            if fields is None:
                return
            try:
                row = _row(fields)
            except FormatError as e:
                raise StateError(
                    "a line of an export is no record", where=self.where, found=str(e)
                ) from e
            yield row

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _next(self) -> bytes | None:
        line = self._file.readline(LINE_SIZE_MAX + 1)
        if len(line) > LINE_SIZE_MAX:
            raise StateError("a line of an export is too long", where=self.where)
        return line or None

    def _fields(self, line: bytes | None) -> Fields | None:
        if line is None:
            return None
        try:
            return Fields(
                strictjson.parse_object(
                    line.rstrip(b"\n"),
                    what="a line of an export",
                    size_max=LINE_SIZE_MAX,
                    limits=STATE_LIMITS,
                ),
                "",
            )
        except FormatError as e:
            raise StateError("not an export of a ledger", where=self.where, found=str(e)) from e


def _row(fields: Fields) -> Row:
    record = fields.text("record", length_max=LINE_SIZE_MAX)
    return Row(
        number=fields.integer("number"),
        hash=fields.text("hash"),
        record=record.encode("utf-8", "surrogatepass"),
        key=fields.optional_text("key"),
        signature=fields.optional_text("signature", length_max=MIB),
    )
