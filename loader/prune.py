"""`prune`: what loads brought and nothing needs any more: a plan first, then what of it came to be.

Two kinds of things go. In a runtime, what the records say that a load brought, once the name that
it came for points elsewhere and no other name leads to it: a runtime is asked, and what somebody
else named or uses stays. On this host's own disk, evidence that no image which is held rests on.
What no record says that we brought is never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from loader.errors import AirlockError
from loader.model.bundle import BundleStatement
from loader.recheck import held_images
from loader.runtime.base import Discarded

if TYPE_CHECKING:
    from loader.digest import Digest
    from loader.limits import Limits
    from loader.recheck import Held
    from loader.runtime.base import Runtime
    from loader.state.evidence import EvidenceStore
    from loader.state.record import Record

_GOOD: Final = frozenset({"loaded", "already-there"})


@dataclass(frozen=True, slots=True, kw_only=True)
class InRuntime:
    """What became, or would become, of what was brought into one target."""

    target: str
    items: tuple[Discarded, ...]
    problem: AirlockError | None = None
    """Why the runtime could not be asked; then nothing of it was touched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Kept evidence that no image which is held rests on."""

    digests: tuple[Digest, ...]
    size: int
    """Bytes."""
    kept: int
    """How many pieces stay."""
    problem: AirlockError | None = None
    """Why it cannot be told what is needed; then all of it stays."""


def superseded(records: Iterable[Record]) -> dict[str, tuple[str, ...]]:
    """Return by target what was brought for images that are not under their names any more.

    Args:
        records: the ledger's, the newest first.
    """
    good = [record for record in records if record.attempt.outcome in _GOOD]
    needed: dict[str, set[str]] = {}
    for held in held_images(good):
        needed.setdefault(held.target, set()).update(_needs(held))
    gone: dict[str, dict[str, None]] = {}
    for record in good:
        target = record.attempt.target
        for image in record.attempt.images:
            for item in image.brought:
                if item not in needed[target]:
                    gone.setdefault(target, {})[item] = None
    return {target: tuple(items) for target, items in gone.items()}


def _needs(held: Held) -> set[str]:
    """Return every word by which a runtime may know what is under a name now."""
    image = held.image
    values = {word for _, value in image.read_back for word in value.split()}
    repository = image.name.rpartition(":")[0]
    return {
        *image.brought,
        *values,
        str(image.image),
        *(str(digest) for digest in image.manifests),
        f"{repository}@{image.image}",
    }


def discard(
    items: Mapping[str, tuple[str, ...]],
    runtimes: Mapping[str, Runtime | AirlockError],
    *,
    really: bool,
) -> tuple[InRuntime, ...]:
    """Ask each runtime what of it is there and may go; remove it where that is meant."""
    return tuple(
        _discard(target, wanted, runtimes[target], really=really)
        for target, wanted in sorted(items.items())
    )


def _discard(
    target: str, items: tuple[str, ...], runtime: Runtime | AirlockError, *, really: bool
) -> InRuntime:
    if isinstance(runtime, AirlockError):
        return InRuntime(target=target, items=(), problem=runtime)
    try:
        return InRuntime(target=target, items=runtime.discard(items, really=really))
    except AirlockError as e:
        return InRuntime(target=target, items=(), problem=e)


def unneeded_evidence(
    records: Iterable[Record], store: EvidenceStore, *, limits: Limits
) -> Evidence:
    """Return what no image that is held rests on. Where that cannot be told, nothing."""
    there = store.sizes()
    needed: set[Digest] = set()
    done: set[Digest] = set()
    try:
        for held in held_images(records):
            attempt = held.record.attempt
            if attempt.statement is None or attempt.statement in done:
                continue
            done.add(attempt.statement)
            needed |= {attempt.statement, *attempt.signatures}
            if attempt.statement not in there:
                continue  # nothing of it can be judged again; it was lost before
            raw = store.bytes_of(attempt.statement, size_max=limits.statement_size_max)
            statement = BundleStatement.parse(raw, limits=limits)
            needed |= {member.digest for member in statement.metadata}
    except AirlockError as e:
        return Evidence(digests=(), size=0, kept=len(there), problem=e)
    gone = tuple(sorted(there.keys() - needed))
    return Evidence(
        digests=gone, size=sum(there[digest] for digest in gone), kept=len(there) - len(gone)
    )
