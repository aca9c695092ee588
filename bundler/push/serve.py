"""Question and answer, until the loader has no more: one process for a whole run.

A question that cannot be answered is answered with why, and the next one begins with new
connections. Only a question that is none, that breaks off, or that there is no room for, ends it
all: nobody knows then where the next one begins. The answer says so, as `over`.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import BinaryIO, Final

from bundler.push.intake import Question, next_question, take_in
from bundler.push.run import Memory, Session
from bundler.push.settings import PushSettings
from bundler.store import ContentStore
from loader.errors import AirlockError, UsageError
from loader.model.strictjson import JsonObject

_LENGTH_SIZE: Final = 4


def serve(destination: str, questions: BinaryIO, answers: BinaryIO, settings: PushSettings) -> None:
    """Answer every question.

    Args:
        destination: `HOST[:PORT][/PREFIX]`; nothing outside of it is looked at or written to,
            whatever is asked. Whoever starts this program says it before a bundle is opened.
        questions: where they come from.
        answers: where they go.
        settings: how registries are reached.

    Raises:
        AirlockError: what was read last is no question; that was answered, too.
    """
    memory = Memory()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="airlock-push-")))
        sessions = _Sessions(settings, memory)
        stack.callback(sessions.close)
        while True:
            try:
                asked = next_question(questions)
                if asked is None:
                    return
                with tempfile.TemporaryDirectory(dir=scratch) as folder:
                    store = ContentStore(Path(folder))
                    if asked.image is not None:
                        take_in(questions, store)
                    said = _said(sessions, destination, asked, store)
            except AirlockError as e:
                _write(answers, {**_problem(e), "over": True})
                raise
            _write(answers, said)


class _Sessions:
    """The session that answers: the same one until it fails."""

    def __init__(self, settings: PushSettings, memory: Memory) -> None:
        self._settings = settings
        self._memory = memory
        self._opened: AbstractContextManager[Session] | None = None
        self._session: Session | None = None

    def current(self) -> Session:
        """Return the one that works, or a new one."""
        if self._session is None:
            self._opened = Session.open(self._settings, self._memory)
            self._session = self._opened.__enter__()
        return self._session

    def close(self) -> None:
        """End it: its threads are done, its connections closed."""
        if self._opened is not None:
            self._opened.__exit__(None, None, None)
        self._opened = self._session = None


def _said(
    sessions: _Sessions, destination: str, asked: Question, store: ContentStore
) -> JsonObject:
    try:
        if not f"{asked.name.registry}/{asked.name.repository}".startswith(f"{destination}/"):
            raise UsageError(
                "a name outside of the destination that was opened",
                where=asked.call,
                expected=f"below {destination}/",
                found=str(asked.name),
            )
        return sessions.current().answer(asked, store)
    except AirlockError as e:
        sessions.close()
        return _problem(e)


def _problem(error: AirlockError) -> JsonObject:
    return {
        "problem": f"error[{error.code}]: {error}",
        "code": error.code,
        "hint": error.hint or None,
    }


def _write(answers: BinaryIO, document: JsonObject) -> None:
    raw = json.dumps(document).encode()
    answers.write(len(raw).to_bytes(_LENGTH_SIZE, "big") + raw)
    answers.flush()
