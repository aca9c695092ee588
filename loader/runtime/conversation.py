"""A client that stays: started once, asked many times, each time over two pipes of its own.

The launcher starts it from its table, as it starts every client, and ends it when the loader is
gone; it does not look into what is said. So who answers must hold by itself to what the table says:
`airlock-push serve DESTINATION` writes below its destination alone, whatever it is asked.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn, Self

from loader.errors import RuntimeLoadError
from loader.runtime.pipes import PipeClosedError, PipeStalledError, read_frame

if TYPE_CHECKING:
    from loader.runtime.launcher import Launcher


class Conversation:
    """One client while it runs. What goes wrong ends it, and it is over."""

    __slots__ = ("_answers", "_call", "_launcher", "_questions")

    def __init__(self, launcher: Launcher, call: str, *, questions: int, answers: int) -> None:
        self._launcher = launcher
        self._call = call
        self._questions = questions
        self._answers = answers

    @classmethod
    def begin(cls, launcher: Launcher, call: str) -> Self:
        """Start the client.

        Raises:
            RuntimeAbsentError: it cannot be started.
            RuntimeLoadError: the launcher is gone.
        """
        questions, answers = launcher.begin(call)
        return cls(launcher, call, questions=questions, answers=answers)

    @property
    def is_over(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._answers < 0

    def ask(
        self, question: Iterable[bytes | memoryview], *, size_max: int, seconds: float
    ) -> bytes:
        """Say all of a question, and return the answer's frame.

        Args:
            question: chunks. Where the iterable raises, the client is killed before it sees an end
                of its input, and the exception goes on.
            size_max: bytes of an answer; a longer one ends the conversation.
            seconds: how long the answer may take, from the question's end.

        Raises:
            RuntimeLoadError: the client ended, stalled, or took too long; it is dead by then.
        """
        try:
            # Whoever ends early may have said why: the answer is looked for in any case.
            self._launcher.write(self._questions, question, self._call)
            return read_frame(self._answers, size_max=size_max, deadline=time.monotonic() + seconds)
        except PipeClosedError as e:
            self._ended(e)
        except PipeStalledError as e:
            self.close()
            raise RuntimeLoadError(
                "the runtime's client took too long and was stopped",
                where=self._where,
                expected=f"an answer in {seconds:.0f} seconds",
            ) from e
        except BaseException:
            self.close()
            raise

    def end(self) -> None:
        """Let a client that said that it is over come to its end: it may have things to remove."""
        self._let_go()
        with contextlib.suppress(RuntimeLoadError):  # stopped for being slow, or the launcher gone
            self._launcher.finish(self._call)

    def close(self) -> None:
        """End the client, wherever it is."""
        if self.is_over:
            return
        try:
            # Dead before its input closes: it cannot take the break for an end.
            self._launcher.abandon(self._call)
        finally:
            self._let_go()

    def _ended(self, error: Exception) -> NoReturn:
        """Say what came of a client that ended by itself.

        Raises:
            RuntimeLoadError: always.
        """
        self._let_go()
        done = self._launcher.finish(self._call)
        raise RuntimeLoadError(
            "the runtime's client ended in the middle",
            where=self._where,
            found=f"status {done.status}: {done.stderr}",
        ) from error

    def _let_go(self) -> None:
        for end in (self._questions, self._answers):
            with contextlib.suppress(OSError):
                os.close(end)
        self._questions = self._answers = -1

    @property
    def _where(self) -> str:
        return f"{self._launcher.client.name} {self._call}"
