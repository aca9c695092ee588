"""`audit verify`: whether the ledger is what this host wrote, record by record from its first.

An edited record has another hash; one that was removed, added or moved breaks the chain behind it;
one that was written anew with all that follow carries no signature by the host's key. A tail that
was cut off leaves a chain that is whole: the second copy of the floors names the record that is
missing. Where the copy was put back as well, only a head that somebody noted elsewhere tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import rfc8785

from loader.digest import Digest
from loader.errors import AirlockError, StateError
from loader.state import signed_rows
from loader.state.record import NO_RECORD, Record, parse_record
from loader.state.signing import signed_by

if TYPE_CHECKING:
    from loader.state.history import Reading, Row
    from loader.trust.keys import PublicKey

FINDING_COUNT_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as this host wrote it."""

    record: int | None
    """The record that it is about; None where it is about the file, or about what is missing."""
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """The head of the chain as somebody noted it elsewhere."""

    number: int
    hash: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was found."""

    count: int
    begun: datetime | None
    ended: datetime | None
    signed: Mapping[Digest, int]
    """How many records each key signed."""
    unsigned: int
    """Records from before this host had a key."""
    head: Noted | None
    findings: tuple[Finding, ...]


class _Chain:
    """Follows the chain from its first record."""

    def __init__(self, keys: Mapping[Digest, PublicKey], noted: Noted | None) -> None:
        self._keys = keys
        self._noted = noted
        self._hash = NO_RECORD
        self.count = 0
        self.begun: datetime | None = None
        self.last: Record | None = None
        self.signed: dict[Digest, int] = {}
        self.unsigned = 0
        self.findings: list[Finding] = []

    def find(self, record: int | None, words: str) -> None:
        if len(self.findings) < FINDING_COUNT_MAX:
            self.findings.append(Finding(record=record, words=words))

    def follow(self, row: Row) -> None:
        number, found = row.number, Digest.of(row.record)
        if number != self.count:
            missing = str(self.count)
            if number > self.count + 1:
                missing = f"{self.count} to {number - 1}"
            self.find(self.count, f"record {missing} is missing")
        noted = self._noted
        if noted is not None and number == noted.number and found != noted.hash:
            self.find(number, f"its hash is not the one that was noted: {noted.hash}")
        if row.hash != str(found):
            self.find(number, f"its bytes were changed: its hash is {found}, {row.hash!r} is noted")
        try:
            record = Record.parse(row.record, where=f"record {number}")
            canonical = rfc8785.dumps(parse_record(row.record)) == row.record
        except AirlockError as e:
            self.find(number, str(e))
            self._go_on(number, found)
            return
        if record.number != number:
            self.find(number, f"it was written as record {record.number}")
        if record.previous != self._hash and number == self.count:
            self.find(number, "it does not follow the record before it")
        if not canonical:
            self.find(number, "it is not canonical JSON")
        self._signature(row, record)
        self.begun = self.begun or record.attempt.at
        self.last = record
        self._go_on(number, found)

    def _go_on(self, number: int, found: Digest) -> None:
        self._hash = found
        self.count = number + 1

    def _signature(self, row: Row, record: Record) -> None:
        if record.key is None:
            if self.signed:
                self.find(row.number, "it is not signed, and the ones before it are")
            self.unsigned += 1
            return
        key = self._keys.get(record.key)
        if key is None:
            self.find(row.number, f"it is signed by a key that is not this host's: {record.key}")
            return
        where = f"record {row.number}"
        try:
            signature = signed_rows.read_base64(row.signature, where=where)
            signed_by(key, signature, row.record, where=where)
        except StateError as e:
            self.find(row.number, e.message)
            return
        self.signed[record.key] = self.signed.get(record.key, 0) + 1

    def result(self) -> Audit:
        last = self.last
        if self._noted is not None and self.count <= self._noted.number:
            self.find(None, f"record {self._noted.number} was noted, and the ledger ends before it")
        return Audit(
            count=self.count,
            begun=self.begun,
            ended=None if last is None else last.attempt.at,
            signed=self.signed,
            unsigned=self.unsigned,
            head=None if not self.count else Noted(number=self.count - 1, hash=self._hash),
            findings=tuple(self.findings),
        )


def audit(
    ledger: Reading,
    *,
    keys: Mapping[Digest, PublicKey] | None = None,
    noted: Noted | None = None,
) -> Audit:
    """Look at every record of this host's ledger, its floors and their second copy.

    Args:
        ledger: opened by `history.reading`.
        keys: the host's, as somebody noted them elsewhere; None takes those of the ledger.
        noted: a head of the chain that was noted elsewhere.

    Raises:
        StateError: SQLite cannot read on.
    """
    chain = _Chain(ledger.keys() if keys is None else keys, noted)
    damage = ledger.damage()
    if damage is not None:
        chain.find(None, f"the file is damaged: {damage}")
    for row in ledger.rows():
        chain.follow(row)
    _compare_floors(ledger, chain)
    return chain.result()


def audit_rows(
    rows: Iterable[Row], keys: Mapping[Digest, PublicKey], *, noted: Noted | None = None
) -> Audit:
    """Look at every record of an export: chain and signatures; floors stay on their host.

    Raises:
        AirlockError: the export cannot be read on.
    """
    chain = _Chain(keys, noted)
    for row in rows:
        chain.follow(row)
    return chain.result()


def _compare_floors(ledger: Reading, chain: _Chain) -> None:
    copy, last = ledger.copy, chain.last
    if last is None:
        return
    floors = ledger.floors()
    if last.floors != floors.digest:
        chain.find(last.number, "the floors are not those that the last record names")
    if copy is None:
        if last.number > 0:
            chain.find(None, "the second copy of the floors is gone")
        return
    if copy.number > last.number:
        missing = str(copy.number)
        if copy.number > last.number + 1:
            missing = f"{last.number + 1} to {copy.number}"
        chain.find(
            last.number + 1,
            f"record {missing} is missing from the end: the second copy of the floors names "
            f"record {copy.number}",
        )
    elif copy.number == last.number and copy.record != last.hash:
        chain.find(last.number, f"the second copy of the floors names another one: {copy.record}")
    fits = floors == copy.floors if copy.number == last.number else floors.covers(copy.floors)
    if not fits:
        chain.find(None, "the floors are not those of the second copy")
