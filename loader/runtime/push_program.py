"""`airlock-push` as it is spoken to: one process for a whole run, one question at a time.

A question is a frame of JSON; if it is about an image, the image's documents and blobs follow
(`push_stream`). An answer is a frame of JSON: what was asked, or why not. The program starts when
it is first asked something, which is after the verdict, and goes on after a failure.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from loader.errors import RuntimeAbsentError, RuntimeLoadError, RuntimeMismatchError, shown
from loader.limits import MIB
from loader.runtime.asking import LOAD_SECONDS
from loader.runtime.conversation import Conversation
from loader.runtime.push_stream import PROTOCOL

if TYPE_CHECKING:
    from loader.model.fields import Fields
    from loader.runtime.asking import Asker
    from loader.runtime.launcher import Launcher

SERVE: Final = "serve"
_ANSWER_SIZE_MAX: Final = 4 * MIB
_LOOK_SECONDS: Final = 600
_OTHER_BYTES: Final = "remote.digest"
"""What the program calls bytes that do not have the digest that was asked for."""
_SHOWN_LENGTH: Final = 800


class PushProgram:
    """The program, running or not."""

    __slots__ = ("_asker", "_launcher", "_talk")

    def __init__(self, launcher: Launcher, asker: Asker) -> None:
        self._launcher = launcher
        self._asker = asker
        self._talk: Conversation | None = None

    def close(self) -> None:
        """End it, if it runs."""
        if self._talk is not None:
            with contextlib.suppress(RuntimeLoadError):  # it is over, and nobody asks any more
                self._talk.close()

    def version(self) -> str:
        """Return its version, if it speaks our protocol; no registry is asked.

        Raises:
            RuntimeAbsentError: it does not work here, or speaks another.
        """
        completed = self._asker.run("version")
        if completed.status != 0:
            raise RuntimeAbsentError("airlock-push does not work here", found=completed.stderr)
        with self._asker.understanding(self._asker.said(completed), call="version") as fields:
            version = fields.text("version")
            spoken = fields.integer("protocol") if fields.has("protocol") else 1
        if spoken != PROTOCOL:
            raise RuntimeAbsentError(
                "airlock-push speaks another version of the protocol",
                where=f"airlock-push {version}",
                expected=str(PROTOCOL),
                found=str(spoken),
                hint="airlock-loader and airlock-push belong together: install both of one release",
            )
        return version

    @contextlib.contextmanager
    def asked(
        self, call: str, question: Iterable[bytes], *, slow: bool = False
    ) -> Iterator[Fields]:
        """Ask, and give the answer.

        Args:
            call: what is to be done, for messages.
            question: its frames (`push_stream`).
            slow: whether bytes of layers move, which takes its time.

        Raises:
            RuntimeMismatchError: the registry gives something else under a digest.
            RuntimeLoadError: it cannot, for a reason of the registry's or its own; it ended; or
                what it answers, or the block, makes no sense.
        """
        if self._talk is None or self._talk.is_over:
            self._talk = Conversation.begin(self._launcher, SERVE)
        raw = self._talk.ask(
            question, size_max=_ANSWER_SIZE_MAX, seconds=LOAD_SECONDS if slow else _LOOK_SECONDS
        )
        with self._asker.understanding(raw.decode("utf-8", "replace"), call=call) as fields:
            if fields.has("over"):
                self._talk.end()  # what follows, to put things back, is asked a new one
            if fields.has("problem") and fields.optional_text("code") == _OTHER_BYTES:
                raise RuntimeMismatchError(
                    "the registry does not give back what was verified",
                    where=f"{self._asker.name} {call}",
                    found=_said(fields, "problem"),
                )
            if fields.has("problem"):
                raise RuntimeLoadError(
                    f"{self._asker.name} could not do it",
                    where=f"{self._asker.name} {call}",
                    found=_said(fields, "problem"),
                    hint=_said(fields, "hint"),
                )
            yield fields


def _said(fields: Fields, name: str) -> str:
    """Return text of the program's, which may repeat a registry's, as a terminal survives it."""
    text = fields.optional_text(name, length_max=_ANSWER_SIZE_MAX) or ""
    return shown(text, limit=_SHOWN_LENGTH)[1:-1]
