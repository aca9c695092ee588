"""`registry:HOST/PREFIX`, through `airlock-push`: a program of ours that speaks to registries.

This process has no network and never had one that it used: it hands verified blobs to a child that
the launcher starts after the verdict, and compares what that child read back from the registry with
what it expected. Images go below a prefix with their whole source name (`relocation`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loader.errors import RuntimeMismatchError
from loader.runtime.asking import Asker, put_back_unless_done
from loader.runtime.base import Discarded, Receipt, Undo, expect_named, settle_name
from loader.runtime.calls import Call, Client
from loader.runtime.clients import check_client, clean_environment, find_client, temporary_folder
from loader.runtime.push_program import SERVE, PushProgram
from loader.runtime.push_stream import looked_for, parcel_of, pushed, question

if TYPE_CHECKING:
    from loader.digest import Digest
    from loader.model.fields import Fields
    from loader.model.reference import Reference
    from loader.runtime.base import Expected, LoadRequest
    from loader.runtime.launcher import Launcher
    from loader.runtime.push_stream import Parcel
    from loader.runtime.relocation import Destination
    from loader.witness import Staged

NAME: Final = "registry"
PROGRAM: Final = "airlock-push"
_COUNT_MAX: Final = 100_000
_SCRATCH: Final = "/var/tmp"  # noqa: S108 - for a private folder of our own
_INHERITED: Final = (
    "ALL_PROXY", "DOCKER_CONFIG", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "REGISTRY_AUTH_FILE",
    "SSL_CERT_DIR", "SSL_CERT_FILE", "all_proxy", "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip
"""What decides how registries are reached, as for every other client of them."""


def push_client(
    environment: Mapping[str, str], destination: Destination, *, client: Path | None = None
) -> Client:
    """Return `airlock-push`: the one beside this loader, else the system's.

    It has the operator's logins to every registry. The destination is on its command line, which
    was fixed before any bundle was opened: whoever takes over a loader can have it write below
    there, and nowhere else (T51).

    Raises:
        RuntimeAbsentError: there is none.
        RuntimeLoadError: others may change it.
    """
    here = Path(sys.executable).parent
    beside = (here / PROGRAM, here.parent / PROGRAM / PROGRAM)
    found = next((path for path in beside if path.is_file()), None)
    if client is None and found is None:
        path = find_client(PROGRAM)
    else:
        path = check_client(client or found or here)
    return Client(
        name=PROGRAM,
        path=path,
        prefix=(),
        environment=clean_environment(environment, *_INHERITED),
        calls={
            "version": Call(arguments=("version",), seconds=60),
            SERVE: Call(arguments=(SERVE, str(destination)), stays=True, seconds=60),
        },
        scratch=temporary_folder(environment) or Path(_SCRATCH),
    )


class Registry:
    """One registry, and a prefix in it."""

    __slots__ = ("_asker", "_checked_layers", "_destination", "_program", "_read_back")

    def __init__(self, launcher: Launcher, destination: Destination) -> None:
        self._asker = Asker(launcher)
        self._program = PushProgram(launcher, self._asker)
        self._destination = destination
        self._read_back: set[str] = set()
        """Digests that were read back in this run: elsewhere they are asked with their size."""
        self._checked_layers: set[tuple[Digest, Digest]] = set()
        """Layers that were compared with a diff_id in this run."""

    @property
    def name(self) -> str:
        """The word on the command line."""
        return NAME

    def close(self) -> None:
        """Let go of the client."""
        self._program.close()
        self._asker.close()

    def probe(self) -> str:
        """Return the client's version; the registry itself is asked after the verdict."""
        return f"airlock-push {self._program.version()} to {self._destination}"

    def load(self, image: Staged[LoadRequest]) -> Receipt:
        """Push what is missing, compare what was read back; see `Runtime.load`."""
        request = image.value
        name = self._destination.of(request.reference)
        parcel = parcel_of(request, request.blobs)
        current, missing, whole = self._look(name, parcel)
        settle_name(request, current=current, wanted=str(parcel.top), runtime=str(name))
        named = current == str(parcel.top) or not name.tag
        if whole and named:
            return self._receipt(request, name, parcel, self._checked(name, parcel), None)
        names = {} if named else {str(name): current}
        undo = Undo(names=names)
        with put_back_unless_done(lambda: self._put_back(undo, parcel.top), runtime=NAME):
            stream = pushed(
                name,
                parcel,
                request,
                request.blobs,
                missing=missing,
                current=current,
                checked=self._checked_layers,
            )
            with self._program.asked("push", stream, slow=True) as fields:
                read_back = self._agreed(fields, name, parcel)
        return self._receipt(request, name, parcel, read_back, undo)

    def compare(self, image: Expected) -> tuple[tuple[str, str], ...]:
        """Read everything back from the registry; see `Runtime.compare`."""
        name = self._destination.of(image.reference)
        parcel = parcel_of(image, None)
        if name.tag:
            current = self._current(name)
            expect_named(current, name=str(name), runtime=NAME)
            # Where somebody moved it, what it pointed to may be collected already.
            self._asker.agree(f"name {name}", expected=str(parcel.top), found=current)
        return self._checked(name, parcel, anew=True)

    def discard(self, items: Sequence[str], *, really: bool) -> tuple[Discarded, ...]:
        """Keep all: a registry collects by itself what no tag leads to. See `Runtime.discard`."""
        del really
        why = "a registry's own garbage collection removes what no tag leads to"
        return tuple(Discarded(item=item, what="kept", why=why) for item in items)

    def undo(self, receipt: Receipt) -> None:
        """Put tags back; blobs that nobody names stay. See `Runtime.undo`."""
        self._put_back(receipt.undo, receipt.digest)

    # --- asking -------------------------------------------------------------------------------

    def _look(self, name: Reference, parcel: Parcel) -> tuple[str | None, frozenset[str], bool]:
        with self._program.asked("look", looked_for("look", name, parcel)) as fields:
            missing = fields.items("missing", count_max=_COUNT_MAX)
            return (
                fields.optional_text("current"),
                frozenset(str(item) for item in missing),
                fields.value("whole") is True,
            )

    def _current(self, name: Reference | str) -> str | None:
        with self._program.asked("named", question("named", name)) as fields:
            return fields.optional_text("current")

    def _checked(
        self, name: Reference, parcel: Parcel, *, anew: bool = False
    ) -> tuple[tuple[str, str], ...]:
        stream = looked_for("check", name, parcel, anew=anew)
        with self._program.asked("check", stream, slow=True) as fields:
            return self._agreed(fields, name, parcel, anew=anew)

    def _agreed(
        self, fields: Fields, name: Reference, parcel: Parcel, *, anew: bool = False
    ) -> tuple[tuple[str, str], ...]:
        """Compare what was read back with what must be there.

        Raises:
            RuntimeMismatchError: something is not, or the tag points elsewhere.
        """
        found = {str(item) for item in fields.items("read_back", count_max=_COUNT_MAX)}
        asked = {str(item) for item in fields.items("asked", count_max=_COUNT_MAX)}
        current = fields.optional_text("current")
        before = frozenset() if anew else asked & self._read_back
        lacking = sorted({str(digest) for digest in parcel.wanted} - found - before)
        if lacking:
            raise RuntimeMismatchError(
                "the registry does not give back what was verified",
                where=str(name),
                expected=lacking[0],
                found=f"{len(lacking)} of {len(parcel.wanted)} blobs and manifests missing",
            )
        self._read_back |= found
        facts = [("blobs and manifests", f"{len(parcel.wanted)}, each with its digest")]
        if name.tag:
            facts.append(self._asker.agree(f"name {name}", expected=str(parcel.top), found=current))
        return tuple(facts)

    @staticmethod
    def _receipt(
        request: LoadRequest,
        name: Reference,
        parcel: Parcel,
        read_back: tuple[tuple[str, str], ...],
        undo: Undo | None,
    ) -> Receipt:
        before = None if undo is None else undo.names.get(str(name))
        notes = [f"in the registry as {name}"]
        if before is not None:
            notes.append(f"{name} pointed to {before} before")
        return Receipt(
            runtime=NAME,
            reference=request.reference,
            digest=parcel.top,
            what="already-there" if undo is None else "loaded",
            read_back=read_back,
            notes=tuple(notes),
            undo=Undo() if undo is None else undo,
        )

    def _put_back(self, undo: Undo, ours: Digest) -> None:
        """Point tags to where they pointed, or take them away; what somebody else set stays.

        Raises:
            RuntimeLoadError: the registry failed, or takes no tag away.
        """
        for name, before in undo.names.items():
            if self._current(name) != str(ours):
                continue
            asked = (
                question("remove", name)
                if before is None
                else question("point", name, digest=before)
            )
            with self._program.asked("remove" if before is None else "point", asked):
                pass
