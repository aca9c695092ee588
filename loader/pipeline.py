"""The line, in the order of its steps: each takes what the one before it established.

    fd → statement → claims → metadata → Authorized → Admitted → Staged → receipts → commit

`verify` goes to the archive's last byte and writes nothing. `load` goes on: runtimes are asked
last, and whatever fails before the commit is undone backwards. Nothing here decides anything; the
steps do, and each can only be given what the one before it returns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loader.archive.metadata import MetadataStore
from loader.archive.reader import ArchiveReader
from loader.delivery import choose, documents, hand_over, stage, undone_if_it_fails
from loader.digest import Digest
from loader.errors import (
    AirlockError,
    FormatError,
    PolicyError,
    RefusedError,
    UnconfirmedCommitError,
)
from loader.judge import judge, judge_statement
from loader.model.bundle import BundleStatement
from loader.policy.facts import Judgement
from loader.renewal import remembered
from loader.stage.area import Area
from loader.state.evidence import EvidenceStore
from loader.state.ledger import Ledger, admit, look
from loader.state.lock import StateFolder

if TYPE_CHECKING:
    from loader.interrupts import Interrupts
    from loader.run import Host, Progress, Trace, Wish
    from loader.runtime.base import Runtime
    from loader.source import Medium, Opening
    from loader.state.floors import Floors
    from loader.state.ledger import AdmittedBundle
    from loader.state.record import Outcome
    from loader.trust.memory import TrustMemory
    from loader.witness import Admitted

SCRATCH: Final = Path("/var/tmp")  # noqa: S108 - for a nameless file that nobody else can open
"""Where `verify` lets small members wait that memory does not hold."""


def verify(
    bundle: Opening, host: Host, trace: Trace, *, allow_downgrade: str | None, progress: Progress
) -> None:
    """Judge a bundle to its last byte. Writes nothing, stages nothing, asks no runtime.

    Raises:
        RefusedError: the bundle is refused.
        LocalError: this machine could not judge it.
    """
    seen = look(host.places)
    trace.warnings.extend(filter(None, [seen.note]))
    with (
        bundle(SCRATCH) as source,
        MetadataStore(SCRATCH, limits=host.limits) as blobs,
        _reading(source, host, trace) as reader,
    ):
        admitted = _admit(
            reader,
            blobs,
            seen.floors,
            host,
            trace,
            memory=seen.trust,
            allow_downgrade=allow_downgrade,
        )
        statement = admitted.value.judgement.statement
        with _counted(statement, trace, progress) as counted:
            for layer in reader.layers(statement):
                for _ in counted(layer):
                    pass
            reader.finish()


def load(
    bundle: Opening,
    host: Host,
    runtime: Runtime,
    wish: Wish,
    trace: Trace,
    *,
    progress: Progress,
    interrupts: Interrupts,
    healthy: Callable[[], None] = lambda: None,
) -> None:
    """Load a bundle: all of it, or nothing. Every attempt leaves one record in the ledger.

    Args:
        bundle: opens the archive, once.
        host: policy, trust, clock, places.
        runtime: who is given the images.
        wish: what was asked for.
        trace: what becomes known on the way.
        progress: told how far the layers are.
        interrupts: the signals that end the run.
        healthy: asked when the runtime has all images, before anything is committed; where it
            raises, every name points again to what it pointed to before.

    Raises:
        RefusedError: the bundle is refused, and nothing changed.
        LocalError: this machine or the runtime failed, and everything is as it was.
    """
    with (
        StateFolder.lock(host.places, verb="load", at=host.now) as folder,
        Ledger.open(folder, at=host.now, loader=host.version, signer=host.signer) as ledger,
    ):
        try:
            _load(bundle, host, runtime, wish, trace, ledger, progress, interrupts, healthy=healthy)
        except UnconfirmedCommitError:
            raise  # its record is there
        except BaseException as e:
            interrupts.ignore()
            outcome: Outcome = "refused" if isinstance(e, RefusedError) else "failed"
            try:
                trace.warnings.extend(ledger.append(trace.failed(host, wish, outcome, e)))
            except AirlockError as unwritten:
                # The verdict stands, whether or not there is room to write it down.
                trace.warnings.append(f"this attempt could not be recorded: {unwritten}")
            raise


def _load(  # noqa: PLR0913 - the line's own values, once
    bundle: Opening,
    host: Host,
    runtime: Runtime,
    wish: Wish,
    trace: Trace,
    ledger: Ledger,
    progress: Progress,
    interrupts: Interrupts,
    *,
    healthy: Callable[[], None],
) -> None:
    with (
        Area.open(host.places.quarantine) as area,
        bundle(area.path) as source,
        MetadataStore(area.path, limits=host.limits) as blobs,
    ):
        try:
            with _reading(source, host, trace) as reader:
                admitted = _admit(
                    reader,
                    blobs,
                    ledger.floors,
                    host,
                    trace,
                    memory=ledger.trust,
                    allow_downgrade=wish.allow_downgrade,
                )
                judgement = admitted.value.judgement
                chosen = choose(judgement, wish.platform)
                with _counted(judgement.statement, trace, progress) as counted:
                    staged = stage(admitted, chosen, reader, blobs, area, layers=counted)
            new = _keep(judgement.statement, blobs, host, trace)
            try:
                with undone_if_it_fails(runtime, ledger, trace, interrupts):
                    hand_over(staged, chosen, runtime, wish, ledger, trace)
                    healthy()
                    with interrupts.held():
                        _commit(admitted, host, wish, ledger, trace)
                        interrupts.ignore()
            except BaseException as e:
                interrupts.ignore()
                if not isinstance(e, UnconfirmedCommitError):
                    # No record names it; where it cannot be removed, `prune` will.
                    with (
                        contextlib.suppress(AirlockError),
                        EvidenceStore.open(host.places.evidence, create=False) as store,
                    ):
                        store.remove(new)
                raise
        except BaseException:
            # What closes behind us is not to be cut short by a second signal.
            interrupts.ignore()
            raise


def _admit(
    reader: ArchiveReader,
    blobs: MetadataStore,
    floors: Floors,
    host: Host,
    trace: Trace,
    *,
    memory: TrustMemory,
    allow_downgrade: str | None,
) -> Admitted[AdmittedBundle]:
    """Read up to the first layer; judge, and admit."""
    policy, limits = host.policy, host.limits
    trace.trust = trust = remembered(host.trust, memory)
    trace.floor = floors.time
    time = trace.time(host)
    sealed = reader.read_statement()
    trace.statement = statement = BundleStatement.parse(sealed.raw, limits=limits)
    trace.signatures = sealed.signatures
    claims = judge_statement(
        statement,
        sealed.signatures,
        policy=policy,
        trust=trust,
        now=time.at,
        by=time.words,
        limits=limits,
    )
    reader.read_metadata(statement, blobs)
    authorized = judge(
        statement,
        claims,
        blobs,
        policy=policy,
        trust=trust,
        now=time.at,
        memory=memory,
        limits=limits,
    )
    trace.judgement = authorized.value
    for change in authorized.value.learned.changes:
        trace.warnings.extend(f"{change.anchor}: {warning}" for warning in change.warnings)
    admitted = admit(
        authorized,
        floors,
        now=host.now,
        clock=policy.clock,
        ages=lambda at: trace.ages(host, at),
        witness=trace.witnessed_logs(host),
        allow_downgrade=allow_downgrade,
        least=host.least,
    )
    trace.admission = admitted.value.admission
    trace.warnings.extend(trace.admission.warnings)
    return admitted


def _keep(
    statement: BundleStatement, blobs: MetadataStore, host: Host, trace: Trace
) -> tuple[Digest, ...]:
    """Keep what the verdict rested on, one piece in memory at a time, before a runtime is asked.

    All small members, also those that no requirement asked for: a later policy may.
    """
    document = documents(statement, blobs)
    members = [member.digest for member in statement.metadata]

    def kept() -> Iterator[tuple[Digest, bytes]]:
        yield statement.digest, statement.raw
        yield from ((Digest.of(raw), raw) for raw in trace.signatures)
        for digest in members:
            raw = document(digest)
            if raw is not None:
                yield digest, raw

    with EvidenceStore.open(host.places.evidence, create=True) as store:
        return store.keep(kept())


def _commit(
    admitted: Admitted[AdmittedBundle], host: Host, wish: Wish, ledger: Ledger, trace: Trace
) -> None:
    """Record what was loaded, and raise the floors: the last thing that happens."""
    done = all(receipt.what == "already-there" for receipt in trace.receipts)
    loaded = {
        (wish.target, receipt.reference.tagged): receipt.digest
        for receipt in trace.receipts
        # What somebody else brought stays somebody else's.
        if receipt.what == "loaded"
        or receipt.digest in ledger.owned(wish.target, receipt.reference.tagged)
    }
    attempt = trace.attempt(host, wish, "already-there" if done else "loaded")
    floors = admitted.value.admission.floors
    learned = admitted.value.judgement.learned
    trace.warnings.extend(
        ledger.append(attempt, floors=floors, loaded=loaded, trust_files=learned.files)
    )


@contextlib.contextmanager
def _reading(source: Medium, host: Host, trace: Trace) -> Iterator[ArchiveReader]:
    """Read an open archive; what looks broken while somebody still writes it is not held broken.

    Raises:
        PartialInputError: the file changed since it was opened.
        AirlockError: whatever reading and judging raise.
    """
    trace.size = source.size
    try:
        yield ArchiveReader(source, limits=host.limits)
    except PolicyError as e:
        if isinstance(e.judgement, Judgement):
            trace.judgement = e.judgement
        raise
    except FormatError as e:
        try:
            source.expect_whole()
        except AirlockError as partial:
            raise partial from e
        raise
    finally:
        trace.bytes_read = source.position


@contextlib.contextmanager
def _counted(
    statement: BundleStatement, trace: Trace, progress: Progress
) -> Iterator[Callable[[Iterable[memoryview]], Iterator[memoryview]]]:
    """Tell how far the layers are."""

    def counted(chunks: Iterable[memoryview]) -> Iterator[memoryview]:
        for chunk in chunks:
            trace.layers_read += len(chunk)
            progress.advance(len(chunk))
            yield chunk

    progress.begin("verifying layers", sum(member.size for member in statement.layers))
    try:
        yield counted
    finally:
        progress.end()
