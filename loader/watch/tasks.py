"""What a child does: look at the heads of files, or judge one to its end and load it.

Each cuts itself off first, from sockets of every kind: what parses has no way to a daemon but the
launcher's table of calls (T51). What came of it goes to the parent as a report.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from loader import pipeline
from loader.confine import cut_off
from loader.errors import (
    AirlockError,
    InputError,
    PartialInputError,
    UnhealthyError,
)
from loader.interrupts import Interrupts
from loader.model.descriptor import Platform
from loader.progress import Silence
from loader.renewal import remembered
from loader.run import Trace, Wish
from loader.runtime.operator import OperatorCommand
from loader.runtime.sign_command import open_signer
from loader.runtime.targets import Target, host_platform, open_target, target_key
from loader.source import BundleFile
from loader.state.floors import Floors
from loader.state.ledger import Look, look
from loader.watch.answer import Answer, Fault
from loader.watch.glance import Beating, glance
from loader.watch.spool import expect_closed, identity_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from loader.config import Config
    from loader.model.strictjson import JsonObject, JsonValue
    from loader.run import Host
    from loader.runtime.operator import Occasion
    from loader.source import Medium, Opening
    from loader.watch.child import Reporter
    from loader.watch.spool import SpoolFile

Explain = Callable[[Exception], AirlockError]
"""Says what an exception that nobody expected means."""


def look_at(
    files: Sequence[SpoolFile], folder: int, host: Host, explain: Explain, *, target: str | None
) -> Callable[[Reporter], None]:
    """Return the task that reports of one file after the other, in this order."""

    def task(report: Reporter) -> None:
        cut_off(sockets="none")
        try:
            known = look(host.places)
        except AirlockError:
            # Whatever is wrong with the memory is no file's fault; the load says it, or mends it.
            known = Look(floors=Floors())
        trusting = replace(host, trust=remembered(host.trust, known.trust))
        for file in files:
            report.wait_for_word()
            try:
                expect_closed(file, folder)
                seen = glance(
                    file, folder, trusting, known.floors, target=target, beat=report.advanced
                )
            except Exception as e:  # noqa: BLE001 - one file's fault is no other's
                report.say(_failure(e, explain))
            else:
                report.say(Answer(glance=seen).plain())

    return task


def verify_one(
    file: SpoolFile, folder: int, host: Host, explain: Explain
) -> Callable[[Reporter], None]:
    """Return the task that judges a bundle to its last byte, and writes nothing."""

    def task(report: Reporter) -> None:
        cut_off(sockets="none")
        trace = Trace(archive=file.shown)
        try:
            pipeline.verify(
                _opening(file, folder, report),
                host,
                trace,
                allow_downgrade=None,
                progress=Silence(),
            )
        except Exception as e:  # noqa: BLE001 - the parent says it
            report.say(_failure(e, explain))
        else:
            report.say(_success(trace))

    return task


def load_one(
    file: SpoolFile,
    folder: int,
    host: Host,
    explain: Explain,
    *,
    target: Target,
    config: Config,
    environment: Mapping[str, str],
) -> Callable[[Reporter], None]:
    """Return the task that loads a bundle, asks whether it works, and tells the operator's hook."""

    def task(report: Reporter) -> None:
        interrupts = Interrupts.watch()
        trace = Trace(archive=file.shown)
        hook: OperatorCommand | None = None
        with contextlib.ExitStack() as stack:
            try:
                command = OperatorCommand.opened
                health = stack.enter_context(
                    command(config.watch.health, name="health", environment=environment)
                )
                hook = stack.enter_context(
                    command(config.watch.hook, name="hook", environment=environment)
                )
                signer = stack.enter_context(open_signer(config.sign_command, environment))
                runtime = stack.enter_context(open_target(target, environment))
                cut_off(sockets="none")
                wish = Wish(
                    target=target_key(target, environment),
                    platform=None
                    if target.takes_all_platforms
                    else Platform.parse(host_platform()),
                )

                def healthy() -> None:
                    if health is not None and _moved(trace):
                        health.expect_healthy(_document(trace))

                pipeline.load(
                    _opening(file, folder, report),
                    replace(host, signer=signer),
                    runtime,
                    wish,
                    trace,
                    progress=_Read(report),
                    interrupts=interrupts,
                    healthy=healthy,
                )
            except Exception as e:  # noqa: BLE001 - the parent says it
                interrupts.ignore()
                if isinstance(e, UnhealthyError):
                    trace.warnings.extend(_told(hook, "put-back", trace))
                report.say(_failure(e, explain, trace))
                return
            interrupts.ignore()
            if _moved(trace):
                trace.warnings.extend(_told(hook, "loaded", trace))
            report.say(_success(trace))

    return task


class _Read:
    """Tells the parent that the medium was read to its end: a runtime may take its time."""

    __slots__ = ("_report",)

    def __init__(self, report: Reporter) -> None:
        self._report = report

    def begin(self, what: str, size: int) -> None:
        """See `run.Progress`."""

    def advance(self, size: int) -> None:
        """See `run.Progress`."""

    def end(self) -> None:
        """See `run.Progress`."""
        self._report.say({"read": True})


def _opening(file: SpoolFile, folder: int, report: Reporter) -> Opening:
    """Open the very file that was listed, and no other under its name."""

    @contextlib.contextmanager
    def opened(_: Path) -> Iterator[Medium]:
        with BundleFile.open(Path(file.name), folder=folder) as source:
            if source.status.st_nlink > 1:
                raise InputError("the file has several names (hard links)", where=file.shown)
            if identity_of(source.status) != file.identity:
                raise PartialInputError("the file changed since the folder was looked at")
            yield Beating(source, report.advanced)

    def opening(scratch: Path) -> AbstractContextManager[Medium]:
        return opened(scratch)

    return opening


def _moved(trace: Trace) -> bool:
    return any(receipt.what == "loaded" for receipt in trace.receipts)


def _told(hook: OperatorCommand | None, occasion: Occasion, trace: Trace) -> list[str]:
    if hook is None:
        return []
    try:
        hook.run(occasion, _document(trace))
    except AirlockError as e:
        return [str(e)]
    return []


def _document(trace: Trace) -> JsonObject:
    """Return what the operator's commands are told: verified values, and no text of the bundle."""
    statement = trace.statement
    judgement = trace.judgement
    return {
        "schema": "airlock-watch/1",
        "channel": None if statement is None else statement.channel,
        "sequence": None if statement is None else statement.sequence,
        "statement": None if statement is None else str(statement.digest),
        "images": _images(trace) if judgement is not None else [],
    }


def _images(trace: Trace) -> list[JsonValue]:
    judgement = trace.judgement
    return [
        {"name": image.name.reference.tagged, "digest": str(image.entry.image.digest)}
        for image in (() if judgement is None else judgement.images[:1000])
    ]


def _success(trace: Trace) -> JsonObject:
    return Answer(loaded=_moved(trace), warnings=tuple(trace.warnings)).plain()


def _failure(e: Exception, explain: Explain, trace: Trace | None = None) -> JsonObject:
    error = e if isinstance(e, AirlockError) else explain(e)
    fault = Fault(code=error.code, words=str(error), hint=error.hint)
    return Answer(fault=fault, warnings=() if trace is None else tuple(trace.warnings)).plain()
