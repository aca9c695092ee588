"""One run of `airlock prepare-archive`: collect a platform, judge it, write the archive."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bundler.collect import Wanted, gathered
from bundler.dangerzone import archive
from bundler.dangerzone.signatures import SignatureFolders
from bundler.pack.plan import evidence_blobs, plan
from bundler.pack.publish import publish
from bundler.preflight import FarSide
from bundler.progress import Collecting, Meter
from bundler.reach import Reach
from bundler.sources import Source
from bundler.store import ContentStore
from loader.errors import UsageError
from loader.graph import read_graph
from loader.limits import DEFAULT_LIMITS
from loader.model.bundle import ImageEntry
from loader.model.descriptor import Descriptor, Platform
from loader.policy.facts import Judgement

_CREATED: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What was written."""

    path: Path
    size: int
    entry: ImageEntry
    judgement: Judgement


def prepare(
    source: Source,
    platform: Platform,
    *,
    policy: Path,
    signatures: SignatureFolders,
    reach: Reach,
    output: Path,
    now: datetime,
    meter: Meter,
) -> Prepared:
    """Write the archive of one image for one platform, if the far side's policy takes it.

    Raises:
        RefusedError: the policy refuses it, or nobody signed the platform's manifest.
        RemoteError: a registry.
        LocalError: this machine.
    """
    far_side = FarSide.open(policy)
    if far_side.asks_of_bundles:
        raise UsageError(
            "this policy asks for a bundle's signature or channel, and this archive has none",
            where=str(policy),
            hint="policies/dangerzone.toml asks for the image's own signatures",
        )
    cancelled = threading.Event()
    store = ContentStore(reach.cache, cancelled=cancelled)
    progress = Collecting(meter)
    wanted = Wanted(
        sources=(source,),
        platforms=(platform,),
        parallel_count=reach.jobs,
        signatures=signatures,
    )
    with (
        reach.registries(cancelled) as registries,
        gathered(wanted, registries, store, progress, cancelled=cancelled) as found,
    ):
        entry = archive.one_platform(found.images[0].entry)
        statement = plan([entry], (), store, created=_CREATED)
        judgement = far_side.judge(statement, (), store, now=now)
        found.layers.begin()
        graph = read_graph(entry, store)
        blobs = archive.parts(graph, _evidence(entry, store))
        with publish(output, size_max=archive.size_max(blobs, entry)) as publication:
            written = archive.write(entry, blobs, found.layers.open, publication.write)
            publication.commit(written)
        progress.end()
    return Prepared(path=output, size=written.size, entry=entry, judgement=judgement)


def _evidence(entry: ImageEntry, store: ContentStore) -> Iterator[Descriptor]:
    for item in entry.evidence:
        yield from evidence_blobs(item, store, limits=DEFAULT_LIMITS)
