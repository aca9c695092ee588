"""One run of `airlock pack`, a straight line: gather, prove, plan, sign, judge, write.

    PackOrder ─gather, prove→ images ─plan→ BundleStatement ─sign, judge→ Judgement ─write→ bundle

Manifests say what layers there are, and no verdict depends on what is in them: layers are fetched
after the verdict, and arrive while the archive is written.

Nothing has the bundle's name before its last byte is on the disk, and nothing is written that the
far side's judge, run here, would refuse; nor what sigstore-python refuses, where it can judge.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from bundler.arriving import Arriving
from bundler.collect import Wanted, gathered
from bundler.dangerzone.signatures import SignatureFolders
from bundler.notary.wanted import CapturedTrust, WantedTrust, expect_there
from bundler.pack.deny_lists import carried_lists
from bundler.pack.lock import Lock
from bundler.pack.locked import gathered_locked
from bundler.pack.logs import Shipped, grown
from bundler.pack.order import PackOrder
from bundler.pack.plan import plan
from bundler.pack.publish import publish, replace_document
from bundler.pack.summary import Packed
from bundler.pack.writer import size_max, write_archive
from bundler.preflight import FarSide
from bundler.progress import Collecting, Meter
from bundler.proposal import packed
from bundler.registry.retry import patient
from bundler.rekor.client import RekorClient
from bundler.rekor.prove import Proven, prove
from bundler.second_opinion import second_opinion
from bundler.sign import Signer
from bundler.store import ContentStore
from bundler.tuf.capture import capture_wanted as capture_wanted_tuf
from loader.model.bundle import BundleStatement, ImageEntry, TrustEntry
from loader.policy.rules import without_image_words
from loader.renewal import renew
from loader.trust.memory import NO_MEMORY
from loader.trust.store import TrustStore
from loader.verify.facts import LogTree


def pack(order: PackOrder, *, meter: Meter, passphrase: Callable[[], bytes]) -> Packed:
    """Pack what is asked for, and return what came of it.

    Raises:
        RefusedError: the far side would refuse it; nothing was written.
        RemoteError: a registry.
        LocalError: this machine.
        UsageError: the order cannot be carried out as it is.
    """
    began = time.monotonic()
    far_side = FarSide.open(order.policy, order.variables)
    shipped = Shipped.before(order)
    signers = [Signer.open(path, passphrase=passphrase) for path in order.sign_keys]
    cancelled = threading.Event()
    store = ContentStore(order.reach.cache, cancelled=cancelled)
    with _gathered(order, store, meter, cancelled) as (found, notes, layers):
        tuf = _repositories(order, found, store, far_side, cancelled)
        known = renew(far_side.trust, tuf, store, NO_MEMORY).trust
        proven = _proven(order, found, store, known, cancelled)
        images = proven.images
        captured = _content_trust(order, images, store, far_side, cancelled)
        proposed = packed(order.proposal, store)
        lists = carried_lists(order.deny_lists, store)
        trust = (*far_side.carried(store), *lists, *tuf, *captured.entries, *proposed)
        statement = _statement(order, images, trust, store)
        signatures = _signatures(statement, signers)
        judgement = far_side.judge(statement, signatures, store, now=order.now)
        growing = grown(order, judgement, shipped, store, cancelled)
        trust = (*trust, *growing.trust)
        at = judgement.reference_time if order.created is None else None
        if at is not None or growing.trust:
            # The bundle's own time is the newest that evidence proves: the same whenever it is
            # packed. Which logs to ask, the judgement says.
            statement = _statement(order, images, trust, store, created=at)
            signatures = _signatures(statement, signers)
            judgement = far_side.judge(statement, signatures, store, now=order.now)
        layers.begin()  # they arrive while somebody else looks at the evidence
        opinion = second_opinion(judgement, store, known)
        size = _write(order, statement, signatures, layers, meter)
    heads = shipped.and_now(growing.heads)
    _write_lock(order, statement, store, growth=growing.documents, heads=heads)
    return Packed(
        judgement=judgement,
        path=order.output,
        size=size,
        signature_count=len(signatures),
        opinion=opinion,
        notes=(
            *without_image_words(far_side.policy.rules, [one.reference for one in images]),
            *notes,
            *proven.notes,
            *captured.notes,
            *shipped.notes,
            *growing.notes,
        ),
        logs=tuple(one.value for one in judgement.grown.logs),
        warnings=(*far_side.policy.warnings, *judgement.list_warnings),
        seconds=time.monotonic() - began,
    )


def _proven(
    order: PackOrder,
    images: tuple[ImageEntry, ...],
    store: ContentStore,
    trust: TrustStore,
    cancelled: threading.Event,
) -> Proven:
    """Complete promises with proofs. A lock has its own: asked again, a log would give others."""
    if order.locked is not None or not order.log_proofs:
        return Proven(images=images)
    client = RekorClient(order.reach.settings, sleep=patient(cancelled))
    try:
        return prove(
            images,
            store,
            trust,
            client,
            base=order.log_url,
            parallel_count=order.reach.jobs,
        )
    finally:
        client.close()


def _repositories(
    order: PackOrder,
    images: tuple[ImageEntry, ...],
    store: ContentStore,
    far_side: FarSide,
    cancelled: threading.Event,
) -> tuple[TrustEntry, ...]:
    """Capture the TUF repositories of the policy's anchors; a lock's are what was packed then."""
    if order.locked is not None:
        return expect_there(order.locked.trust, store, kind="tuf")
    return capture_wanted_tuf(
        far_side.policy,
        far_side.trust,
        images,
        store,
        order.tuf,
        settings=order.reach.settings,
        sleep=patient(cancelled),
    )


def _content_trust(
    order: PackOrder,
    images: tuple[ImageEntry, ...],
    store: ContentStore,
    far_side: FarSide,
    cancelled: threading.Event,
) -> CapturedTrust:
    """Capture the content trust that the policy asks for; a lock's is what was packed then."""
    if order.locked is not None:
        return CapturedTrust(entries=expect_there(order.locked.trust, store, kind="notary"))
    wanted = WantedTrust(
        policy=far_side.policy,
        pins=far_side.trust,
        source=order.content_trust,
        settings=order.reach.settings,
    )
    return wanted.capture(images, store, now=order.now, sleep=patient(cancelled))


@contextmanager
def _gathered(
    order: PackOrder, store: ContentStore, meter: Meter, cancelled: threading.Event
) -> Iterator[tuple[tuple[ImageEntry, ...], tuple[str, ...], Arriving]]:
    """Give the images, what there is to say about them, and their layers, which begin to arrive."""
    shown_by = Collecting(meter)
    try:
        with order.reach.registries(cancelled) as registries:
            if order.locked is not None:
                with gathered_locked(
                    order.locked,
                    registries,
                    store,
                    shown_by,
                    parallel_count=order.reach.jobs,
                    cancelled=cancelled,
                ) as layers:
                    yield order.locked.images, (), layers
                return
            wanted = Wanted(
                sources=order.sources,
                platforms=order.platforms,
                parallel_count=order.reach.jobs,
                signatures=SignatureFolders.read(*order.signatures),
            )
            with gathered(wanted, registries, store, shown_by, cancelled=cancelled) as found:
                notes = tuple(
                    f"{image.entry.reference}: {note}"
                    for image in found.images
                    for note in image.notes
                )
                yield tuple(image.entry for image in found.images), notes, found.layers
    except BaseException:
        cancelled.set()
        raise
    finally:
        shown_by.end()


def _statement(
    order: PackOrder,
    images: Sequence[ImageEntry],
    trust: Sequence[TrustEntry],
    store: ContentStore,
    *,
    created: datetime | None = None,
) -> BundleStatement:
    at = created or order.created or order.now
    since = order.created or order.now
    expires = None if order.lifetime is None else since + order.lifetime
    if order.locked is not None:
        at, expires = order.locked.created, order.locked.expires
    return plan(
        images,
        trust,
        store,
        created=at,
        channel=order.channel,
        sequence=order.sequence,
        expires=expires,
    )


def _signatures(statement: BundleStatement, signers: Sequence[Signer]) -> tuple[bytes, ...]:
    return tuple(signer.sign(statement.raw) for signer in signers)


def _write(
    order: PackOrder,
    statement: BundleStatement,
    signatures: tuple[bytes, ...],
    layers: Arriving,
    meter: Meter,
) -> int:
    most = size_max(statement, signatures, format=order.format)
    phase = meter.phase("write")
    phase.expect(size_max(statement, signatures, format="plain"))
    with publish(order.output, size_max=most) as publication:
        written = write_archive(
            statement,
            signatures,
            layers.open,
            publication,
            format=order.format,
            progress=phase,
        )
        publication.commit(written)
    phase.end()
    return written.size


def _write_lock(
    order: PackOrder,
    statement: BundleStatement,
    store: ContentStore,
    *,
    growth: Sequence[bytes],
    heads: Sequence[LogTree],
) -> None:
    supplements = {
        item.manifest.digest: item.manifest
        for image in statement.images
        for item in image.evidence
        if item.store == "supplement"
    }
    lock = Lock.of(
        statement,
        supplements=[
            store.read(one, where="supplement", size_max=one.size) for one in supplements.values()
        ],
        growth=growth,
        heads=heads,
    )
    replace_document(order.lock, lock.write())
