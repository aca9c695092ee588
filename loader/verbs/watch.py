"""`watch`: look into a folder, and load the newest acceptable bundle of each channel."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from loader.errors import (
    AirlockError,
    InternalError,
    InterruptedLoadError,
    OutputError,
    UsageError,
)
from loader.verbs.call import NoForce, declare_policy, path
from loader.verbs.saying import bug, print_out, say_error

if TYPE_CHECKING:
    from loader.config import Config, WatchSettings
    from loader.model.strictjson import JsonObject
    from loader.run import Host
    from loader.runtime.targets import Target
    from loader.verbs.call import Call
    from loader.watch.cycle import Event, Task
    from loader.watch.spool import Listing, Spool, SpoolFile

HELP: Final = "look into a folder, and load the newest acceptable bundle of each channel"
SCHEMA: Final = "airlock-watch/1"
_JOURNAL_SECONDS: Final = 5.0
"""How long a journal may take no line before it is held to be gone."""
_PRIORITIES: Final = {"loaded": 5, "refused": 3, "failed": 3, "left": 3, "waiting": 6}
"""Of journald (sd-daemon(3)): 3 an error, 5 a notice, 6 information."""


class _NoDowngrade(argparse.Action):
    """`--allow-downgrade`, which a timer may not give."""

    def __call__(self, *_: object) -> None:
        """Say where it belongs.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "watch never lets anything older in",
            hint="airlock-loader load BUNDLE --allow-downgrade REASON, by somebody who knows why",
        )


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("folder", type=path, metavar="DIR")
    parser.add_argument(
        "--into", metavar="TARGET", help="as for load; else [watch] into of config.toml"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="judge what would be loaded to its last byte; write and load nothing",
    )
    parser.add_argument("--once", action="store_true", help="look once, and end")
    declare_policy(parser)
    parser.add_argument("--json", action="store_true", help="print what came of it as JSON")
    parser.add_argument("--force", action=NoForce, nargs=0, help=argparse.SUPPRESS)
    parser.add_argument("--allow-downgrade", action=_NoDowngrade, nargs="?", help=argparse.SUPPRESS)


def run(call: Call) -> int:
    """Look once, or again and again; return what the last look came to."""
    return look(call, summary=_summary)


def look(call: Call, *, summary: Callable[[Sequence[Event]], str]) -> int:
    """Look as the arguments say; `summary` words the last line of a look."""
    from loader.config import Config  # noqa: PLC0415
    from loader.interrupts import Interrupts  # noqa: PLC0415
    from loader.verbs.judged import open_host  # noqa: PLC0415

    arguments = call.arguments
    config = Config.read(call.places.config)
    target = _target(call, config.watch)
    once: bool = arguments.once or arguments.dry_run
    interrupts = Interrupts.watch()
    status = 0
    began, said = False, ""
    try:
        while True:
            try:
                with interrupts.held():
                    # In the middle of a policy a signal would look like a fault of the policy's.
                    host, _ = open_host(call, variables=config.watch.variables)
                status = one_cycle(call, host, config, target, summary=summary, quiet=not once)
                said = ""
            except InterruptedLoadError:
                raise
            except AirlockError as e:
                # A stick that was taken out, a policy that is just written: the next look may find
                # them. What does not work at first is said to whoever started this.
                if once or not began:
                    raise
                if said != str(e):
                    said = str(e)
                    say_error(e)
            began = True
            if once:
                break
            if _told_to_end(config.watch.interval_seconds):
                return 0
    except InterruptedLoadError as e:
        status = say_error(e)
        # Whoever watches until told to end has done all that was asked.
        return status if once else 0
    interrupts.ignore()
    return status


def _told_to_end(seconds: float) -> bool:
    """Wait for the next look; tell whether a signal ended the wait: nothing is left undone then."""
    try:
        time.sleep(seconds)
    except InterruptedLoadError:
        return True
    return False


def _target(call: Call, settings: WatchSettings) -> Target | None:
    """Return where images go; None where nothing is loaded and nobody said.

    Raises:
        UsageError: nobody said, or it is no target.
    """
    from loader.runtime.targets import parse_target  # noqa: PLC0415

    text: str | None = call.arguments.into or settings.into
    if text is None:
        if call.arguments.dry_run:
            return None
        raise UsageError(
            "where to load into was not said",
            hint='--into docker, or [watch] into = "docker" in config.toml',
        )
    return parse_target(text)


def one_cycle(
    call: Call,
    host: Host,
    config: Config,
    target: Target | None,
    *,
    summary: Callable[[Sequence[Event]], str],
    quiet: bool = False,
) -> int:
    """Look into the folder once; say a line for each file; return the exit status."""
    from loader.watch.spool import Spool  # noqa: PLC0415

    arguments = call.arguments
    journal = _Journal(call)
    events: list[Event] = []
    status = 0
    with Spool.open(arguments.folder, file_systems=config.watch.file_systems) as spool:
        listing = spool.list()
        if listing.more:
            journal.say(3, f"{arguments.folder}: more files than one look takes; the rest waits")
        for event in _events(call, config, target, host, spool, listing):
            events.append(event)
            status = status or event.status
            if event.what != "known" and event.is_news:
                code = f" [{event.code}]" if event.code else ""
                words = f"{event.name}: {event.what}{code}: {event.words}"
                journal.say(_PRIORITIES.get(event.what, 6), words)
    if arguments.json:
        print_out(json.dumps(_document(events, status), sort_keys=True, indent=2) + "\n")
    elif not quiet or any(event.what in {"loaded", "refused", "failed"} for event in events):
        journal.say(6, summary(events))
    if journal.lost is not None:
        said = say_error(journal.lost)
        status = status or said
    return status


def _events(
    call: Call,
    config: Config,
    target: Target | None,
    host: Host,
    spool: Spool,
    listing: Listing,
) -> Iterator[Event]:
    from loader.runtime.targets import target_key  # noqa: PLC0415
    from loader.state.watched import Watched  # noqa: PLC0415
    from loader.watch import tasks  # noqa: PLC0415
    from loader.watch.cycle import Cycle, Tasks  # noqa: PLC0415

    key = None if target is None else target_key(target, call.environment)

    def take(file: SpoolFile) -> Task:
        if call.arguments.dry_run or target is None:
            return tasks.verify_one(file, spool.fd, host, _explained)
        return tasks.load_one(
            file,
            spool.fd,
            host,
            _explained,
            target=target,
            config=config,
            environment=call.environment,
        )

    with contextlib.ExitStack() as stack:
        memory = None
        if key is not None and not call.arguments.dry_run:
            under = _under(host, key)
            memory = stack.enter_context(Watched.open(call.places, at=host.now, under=under))
        cycle = Cycle(
            listing=listing,
            tasks=Tasks(
                look=lambda files: tasks.look_at(files, spool.fd, host, _explained, target=key),
                take=take,
                verb="verify" if memory is None else "load",
            ),
            settings=config.watch,
            memory=memory,
            now=host.now,
        )
        yield from cycle.run()


def _under(host: Host, target: str) -> str:
    """Return what a remembered verdict stands under: under anything else, it does not."""
    from loader.digest import Digest  # noqa: PLC0415

    anchors = " ".join(f"{one.name}={one.file_digest}" for one in host.trust.anchors)
    variables = " ".join(f"{name}={value}" for name, value in host.policy.variables)
    text = f"{host.version}\n{host.policy.digest}\n{anchors}\n{target}"
    if variables:
        text += f"\n{variables}"
    return str(Digest.of(text.encode("utf-8", "surrogateescape")))


def _explained(e: Exception) -> AirlockError:
    """Say what nobody expected means; where it is a bug, with all that a report of it needs."""
    error = bug(e)
    if isinstance(error, InternalError):
        say_error(error)
    return error


class _Journal:
    """Where the lines go. Whether anybody hears them decides nothing (CASES FI-45).

    A journal that is gone, or takes nothing, costs its lines and one wait; the files are looked at
    all the same, and the look ends with that fault where it has no other.
    """

    def __init__(self, call: Call) -> None:
        self._json: bool = call.arguments.json
        self._under_systemd = "JOURNAL_STREAM" in call.environment
        self.lost: OutputError | None = None

    def say(self, priority: int, text: str) -> None:
        """Say a line; under systemd with the priority in front (sd-daemon(3))."""
        from loader.report import plain  # noqa: PLC0415

        front = f"<{priority}>" if self._under_systemd else ""
        line = f"{front}{plain(text)}\n"
        if self._json:
            with contextlib.suppress(OSError):
                sys.stderr.write(line)
                sys.stderr.flush()
        elif self.lost is None:
            try:
                print_out(line, patience=_JOURNAL_SECONDS)
            except OutputError as e:
                self.lost = e


def _summary(events: Sequence[Event]) -> str:
    counts = Counter("known" if event.what == "known" else event.what for event in events)
    words = {
        "loaded": "loaded",
        "proposed": "would be loaded",
        "current": "already up to date",
        "older": "older",
        "waiting": "not whole yet",
        "refused": "refused",
        "failed": "failed",
        "left": "left alone",
        "known": "as before",
    }
    said = [f"{counts[what]} {word}" for what, word in words.items() if counts[what]]
    return ", ".join(said) or "nothing to load"


def _document(events: Sequence[Event], status: int) -> JsonObject:
    return {
        "schema": SCHEMA,
        "exit_status": status,
        "files": [
            {
                "name": event.name,
                "what": event.what,
                "code": event.code or None,
                "words": event.words,
                "glance": None if event.glance is None else event.glance.plain(),
            }
            for event in events
        ],
    }
