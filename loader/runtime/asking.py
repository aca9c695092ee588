"""What docker, podman and containerd have in common: asking a client, and putting things back."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from loader.errors import (
    AirlockError,
    FormatError,
    RuntimeLoadError,
    RuntimeMismatchError,
    RuntimeUndoError,
)
from loader.limits import MIB
from loader.model import strictjson
from loader.model.fields import Fields
from loader.runtime.base import Discarded

if TYPE_CHECKING:
    from loader.runtime.launcher import Completed, Launcher

ANSWER_SIZE_MAX: Final = 4 * MIB
"""Bytes of a client's answer: ten thousand images' IDs are 720 KB."""
_IMAGE_ID: Final = re.compile(r"\bsha256:[0-9a-f]{64}\b", re.ASCII)
LOAD_SECONDS: Final = 7200
"""How long a runtime may unpack after the last byte was sent: 40 GB at 10 MB/s fit."""


class Asker:
    """A client behind its launcher. An answer that makes no sense is a failure, never a no."""

    __slots__ = ("_launcher", "_name")

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._name = launcher.client.name

    @property
    def name(self) -> str:
        """The runtime's name."""
        return self._name

    def close(self) -> None:
        """End the launcher."""
        self._launcher.close()

    def run(
        self, call: str, *operands: str, stdin: Iterable[bytes | memoryview] | None = None
    ) -> Completed:
        """Run the client, whatever comes of it; see `Launcher.run`."""
        return self._launcher.run(call, *operands, stdin=stdin)

    def ask(self, call: str, *operands: str) -> str:
        """Run the client and return what it says.

        Raises:
            RuntimeLoadError: it failed.
        """
        return self.said(self.run(call, *operands))

    def said(self, completed: Completed) -> str:
        """Return what a client said that ended well.

        Raises:
            RuntimeLoadError: it did not.
        """
        if completed.status != 0:
            raise self.failed(completed)
        return completed.stdout.decode("utf-8", "replace")

    def failed(self, completed: Completed) -> RuntimeLoadError:
        """Return the error that a client's failure is."""
        return RuntimeLoadError(
            f"{self._name} refused",
            where=f"{self._name} {completed.call}",
            expected="status 0",
            found=f"status {completed.status}: {completed.stderr}",
        )

    @contextlib.contextmanager
    def understanding(self, answer: str, *, call: str) -> Iterator[Fields]:
        """Give a client's answer in JSON.

        Raises:
            RuntimeLoadError: it is not an object in strict JSON, or the block cannot use it.
        """
        try:
            document = strictjson.parse_object(
                answer.encode(),
                what=f"what {self._name} answers",
                size_max=ANSWER_SIZE_MAX,
                keys="exact",
                numbers="any",
            )
            yield Fields(document, "")
        except FormatError as e:
            raise RuntimeLoadError(
                f"what {self._name} answers cannot be understood",
                where=f"{self._name} {call}",
                found=str(e),
            ) from e

    def load(
        self, archive: Iterable[bytes | memoryview], *, wanted: str, remove: str = "remove"
    ) -> None:
        """Stream an image in. Where the runtime brings another than that, the other one is removed.

        Args:
            archive: the stream.
            wanted: the ID of the image that it holds.
            remove: the client's call that removes an image by its ID.

        Raises:
            RuntimeLoadError: the client failed.
        """
        before = self._ids(self.ask("ids"))
        completed = self.run("load", stdin=archive)
        strays = self._ids(completed.stdout.decode("utf-8", "replace")) - before - {wanted}
        if strays:
            for stray in strays & self._ids(self.ask("ids")):
                self.ask(remove, stray)
        self.said(completed)

    def discard(
        self, items: Sequence[str], names_of: Callable[[str], Sequence[str] | None], *, really: bool
    ) -> Iterator[Discarded]:
        """Remove images by their ID, those that have no name; see `Runtime.discard`.

        Args:
            items: image IDs.
            names_of: gives an image's names; None where it is not there.
            really: whether to remove.
        """
        for item in items:
            names = names_of(item)
            if names is None:
                yield Discarded(item=item, what="gone")
            elif names:
                yield Discarded(item=item, what="kept", why=f"it is named {names[0]}")
            elif not really:
                yield Discarded(item=item, what="to-remove")
            else:
                done = self.run("remove", item)
                if done.status == 0:
                    yield Discarded(item=item, what="removed")
                else:
                    yield Discarded(item=item, what="kept", why=done.stderr)

    @staticmethod
    def _ids(answer: str) -> set[str]:
        return set(_IMAGE_ID.findall(answer))

    def agree(self, what: str, *, expected: str, found: str | None) -> tuple[str, str]:
        """Return a fact that the runtime and verified data agree about.

        Raises:
            RuntimeMismatchError: they do not.
        """
        if found != expected:
            raise RuntimeMismatchError(
                f"{self._name} has something else now than what was verified",
                where=what,
                expected=expected,
                found="nothing" if found is None else found,
            )
        return what, expected


@contextlib.contextmanager
def put_back_unless_done(put_back: Callable[[], None], *, runtime: str) -> Iterator[None]:
    """Put things back when the block does not end well, also when somebody interrupts it.

    Raises:
        RuntimeUndoError: they could not be put back.
    """
    try:
        yield
    except BaseException as error:
        try:
            put_back()
        except AirlockError as second:
            raise RuntimeUndoError(
                f"{runtime} could not be put back as it was: {second}",
                where=runtime,
                found=str(error),
                hint="look at the runtime's images before the next attempt",
            ) from error
        raise
