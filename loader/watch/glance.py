"""What a file says it is, from its head alone: enough to choose, never enough to accept.

Runs in a child without any socket. The statement's signatures are judged where policy asks for
them, so that nobody moves to the front by writing a high number; everything else, and all of this
again, is judged when the bundle is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias

from loader.archive.reader import ArchiveReader
from loader.errors import (
    AirlockError,
    FormatError,
    PartialInputError,
    PolicyError,
    TrustRootError,
)
from loader.judge import judge_statement
from loader.model.bundle import BundleStatement
from loader.model.fields import format_instant
from loader.source import BundleFile
from loader.watch.spool import identity_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from loader.model.fields import Fields
    from loader.model.strictjson import JsonObject
    from loader.run import Host
    from loader.state.floors import Floors
    from loader.watch.spool import SpoolFile

Standing: TypeAlias = Literal["newer", "same", "older"]
_STANDINGS: Final[dict[str, Standing]] = {"newer": "newer", "same": "same", "older": "older"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """What a file says it is."""

    statement: str
    channel: str | None
    sequence: int
    """Zero where there is no channel."""
    created: str
    standing: Standing
    """Beside what this host accepted in its channel."""
    refused: str
    """Why its statement alone is refused already; empty where it is not."""

    def plain(self) -> JsonObject:
        """Return it as a report."""
        return {
            "statement": self.statement,
            "channel": self.channel,
            "sequence": self.sequence,
            "created": self.created,
            "standing": self.standing,
            "refused": self.refused or None,
        }

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Return what a child reported.

        Raises:
            JsonError: it is no such report.
        """
        standing = fields.text("standing")
        return cls(
            statement=fields.text("statement"),
            channel=fields.optional_text("channel"),
            sequence=fields.integer("sequence"),
            created=fields.text("created"),
            standing=_STANDINGS.get(standing, "newer"),
            refused=fields.optional_text("refused") or "",
        )

    @property
    def words(self) -> str:
        """Channel and sequence, or the statement's digest."""
        if self.channel is None:
            return f"bundle {self.statement[:19]}"
        return f"channel {self.channel} sequence {self.sequence}"


def glance(
    file: SpoolFile,
    folder: int,
    host: Host,
    floors: Floors,
    *,
    target: str | None,
    beat: Callable[[int], None],
) -> Glance:
    """Read a bundle's statement, and judge what can be judged by it.

    Args:
        file: as it was listed.
        folder: the open folder.
        host: policy, trust and clock.
        floors: what this host accepted.
        target: the runtime that is asked for, as the ledger keys it; None where it does not matter.
        beat: told of every byte the medium gives.

    Raises:
        FormatError: it is no bundle.
        PartialInputError: it changed since it was listed, or while it was read.
        InputError: the medium fails.
    """
    with BundleFile.open(Path(file.name), folder=folder) as source:
        if identity_of(source.status) != file.identity:
            raise PartialInputError("the file changed since the folder was looked at")
        try:
            sealed = ArchiveReader(Beating(source, beat), limits=host.limits).read_statement()
            statement = BundleStatement.parse(sealed.raw, limits=host.limits)
        except FormatError as e:
            try:
                source.expect_whole()
            except AirlockError as partial:
                raise partial from e
            raise
    refused = ""
    try:
        judge_statement(
            statement,
            sealed.signatures,
            policy=host.policy,
            trust=host.trust,
            now=max(host.now, floors.time or host.now),
            limits=host.limits,
        )
    except (PolicyError, TrustRootError) as e:
        refused = e.code
    return Glance(
        statement=str(statement.digest),
        channel=statement.channel,
        sequence=statement.sequence or 0,
        created=format_instant(statement.created),
        standing=_standing(statement, floors, target),
        refused=refused,
    )


def _standing(statement: BundleStatement, floors: Floors, target: str | None) -> Standing:
    names = [entry.reference.tagged for entry in statement.images]
    here = target is None or all((target, name) in floors.loaded for name in names)
    if statement.channel is None or statement.sequence is None:
        same = all(
            name in floors.names and floors.names[name].image == entry.image.digest
            for name, entry in zip(names, statement.images, strict=True)
        )
        return "same" if same and here else "newer"
    floor = floors.channels.get(statement.channel)
    if floor is None or statement.sequence > floor.sequence:
        return "newer"
    if statement.sequence < floor.sequence:
        return "older"
    # The same number with other contents is an alarm, which the load raises and the ledger keeps.
    return "same" if floor.statement == statement.digest and here else "newer"


class Beating:
    """A medium that gives a sign of life as it is read."""

    __slots__ = ("_beat", "_source")

    def __init__(self, source: BundleFile, beat: Callable[[int], None]) -> None:
        self._source = source
        self._beat = beat

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    @property
    def size(self) -> int:
        """See `BundleFile`."""
        return self._source.size

    @property
    def position(self) -> int:
        """See `BundleFile`."""
        return self._source.position

    def read(self, size: int, /) -> bytes:
        """See `BundleFile`."""
        data = self._source.read(size)
        self._beat(len(data))
        return data

    def expect_whole(self) -> None:
        """See `BundleFile`."""
        self._source.expect_whole()
