"""Bundles for the loader, made by fakes and the packer's own planner, and a host to load them on.

The publisher's key signs images and its signatures are logged; the packer's key signs statements.
Every run of the loader is a process of its own, in a network namespace with nothing in it where one
may be had.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

from bundler.pack.plan import plan
from bundler.pack.writer import Format, write_archive
from loader.digest import Digest
from loader.model.bundle import (
    BundleStatement,
    EvidenceEntry,
    ImageEntry,
    PlatformManifest,
    TrustEntry,
)
from loader.model.descriptor import Descriptor, MediaType, Platform
from loader.model.reference import Reference
from tests.fakes import attach
from tests.fakes.content import INDEX_TYPES, ContentStore, encode
from tests.fakes.images import Image, Layer, hello_image, hello_index
from tests.fakes.sigworld import supplement
from tests.fakes.sigworld.world import World
from tests.presence import ROOT, missing

REPOSITORY = "registry.acme.example/acme/app"
SIGNED_AT = datetime(2026, 1, 15, 12, tzinfo=UTC)

POLICY = """\
schema = 1

[anchor.acme]
trusted-root = "trusted_root.json"

[anchor.release]
key = "release.pub"

[anchor.packer]
key = "packer.pub"

[[image]]
match = "registry.acme.example/acme/*"

[[image.require]]
claim = "signature"
key = "release"
trusted-root = "acme"
log = "promise"

[[image.require]]
claim = "bundle-signature"
key = "packer"
"""


class _Chunks(io.RawIOBase):
    """A stream's bytes as a file, never more than a chunk of it in memory."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - whatever io gives
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


@dataclass(frozen=True, slots=True)
class Blobs:
    """A store as the planner and the writer ask for it."""

    store: ContentStore

    def read(self, descriptor: Descriptor, *, where: str, size_max: int) -> bytes:
        del where, size_max
        return self.store.read(str(descriptor.digest))

    def open(self, digest: Digest) -> BinaryIO:
        return cast("BinaryIO", io.BufferedReader(_Chunks(self.store.chunks(str(digest)))))


def descriptor_of(image: Mapping[str, Any]) -> Descriptor:
    return Descriptor(
        media_type=MediaType(image["mediaType"]),
        digest=Digest.parse(image["digest"]),
        size=image["size"],
    )


@dataclass
class Publisher:
    """Makes images, signs them, and packs them as the connected side does."""

    world: World = field(default_factory=lambda: World(at=SIGNED_AT))

    def __post_init__(self) -> None:
        self.release = self.world.managed("release")
        self.packer = self.world.managed("packer")

    def write_host(self, root: Path) -> Path:
        """Write policy and anchors below a host's root; return the root."""
        folder = root / "etc/airlock"
        folder.mkdir(parents=True)
        (folder / "policy.toml").write_text(POLICY)
        (folder / "trusted_root.json").write_bytes(encode(self.world.trusted_root()))
        (folder / "release.pub").write_bytes(self.release.public_pem)
        (folder / "packer.pub").write_bytes(self.packer.public_pem)
        return root

    def entry(
        self,
        image: Image,
        *,
        tag: str,
        days: int = 0,
        signed: bool = True,
        proven: bool = False,
        repository: str = REPOSITORY,
        annotations: Mapping[str, str] | None = None,
    ) -> ImageEntry:
        """Sign an image, so many days after the beginning, and say how it is packed.

        `proven` adds the proof behind the log's promise, as `airlock pack` asks for it.
        """
        evidence: tuple[EvidenceEntry, ...] = ()
        if signed:
            signature = self.world.sign_image_legacy(
                image.digest,
                self.release,
                reference=f"{repository}:{tag}",
                annotations=annotations,
                at=SIGNED_AT + timedelta(days=days),
            )
            manifest = attach.attach_tag(image, [signature.layer()])
            evidence = (
                EvidenceEntry(
                    subject=Digest.parse(image.digest),
                    store="signature-tag",
                    manifest=descriptor_of(manifest),
                ),
            )
            if proven:
                blob = signature.layer().blob
                document = supplement.supplement(signature.entries[0], blob)
                added = image.store.add(supplement.written(document), supplement.MEDIA_TYPE)
                evidence += (
                    EvidenceEntry(
                        subject=Digest.of(blob), store="supplement", manifest=descriptor_of(added)
                    ),
                )
        return ImageEntry(
            reference=Reference.parse(f"{repository}:{tag}"),
            image=descriptor_of(image.descriptor),
            platforms=tuple(_platforms(image)),
            evidence=evidence,
        )

    def pack(
        self,
        path: Path,
        store: ContentStore,
        entries: Sequence[ImageEntry],
        *,
        channel: str | None = "stable",
        sequence: int | None = 1,
        expires: datetime | None = None,
        seal: bool = True,
        form: Format = "zstd",
        created: datetime = SIGNED_AT,
        trust: Sequence[TrustEntry] = (),
    ) -> BundleStatement:
        """Write a bundle."""
        blobs = Blobs(store)
        statement = plan(
            entries,
            trust,
            blobs,
            created=created,
            channel=channel,
            sequence=sequence,
            expires=expires,
        )
        signatures = [self.seal(statement)] if seal else []
        with path.open("wb") as file:
            write_archive(statement, signatures, blobs.open, file, format=form)
        return statement

    def seal(self, statement: BundleStatement) -> bytes:
        return encode(self.world.sign(statement.raw, self.packer, log="none").bundle())

    def bundle(
        self,
        path: Path,
        *,
        sequence: int | None = 1,
        version: str = "1.0.0",
        tag: str = "1",
        days: int = 0,
        extra: Sequence[Layer] = (),
        multi: bool = False,
        repository: Mapping[str, bytes] | None = None,
        **options: Any,  # noqa: ANN401
    ) -> BundleStatement:
        """Write the usual bundle: one image, signed, in a sealed archive.

        ``repository`` are the files of a TUF repository, for the anchor `acme`.
        """
        store = ContentStore()
        if repository is not None:
            options["trust"] = [carried(store, repository)]
        image = (
            hello_index(store, version=version)
            if multi
            else hello_image(store, text=f"hello {version}\n", version=version, extra=extra)
        )
        signed = options.pop("signed", True)
        entry = self.entry(image, tag=tag, days=days, signed=signed)
        return self.pack(path, store, [entry], sequence=sequence, **options)


def carried(store: ContentStore, files: Mapping[str, bytes]) -> TrustEntry:
    """The files of a TUF repository as a bundle for the anchor `acme` carries them."""
    for raw in files.values():
        store.add(raw, "application/json")
    return TrustEntry(
        anchor="acme",
        kind="tuf",
        blobs=tuple(Descriptor.make("application/json", raw) for raw in files.values()),
        repository="acme",
        names=tuple(files),
    )


def _platforms(image: Image) -> Iterator[PlatformManifest]:
    single = image.descriptor["mediaType"] not in INDEX_TYPES
    for one in (image,) if single else image.children:
        platform = one.descriptor["platform"]
        yield PlatformManifest(
            platform=Platform(
                os=platform["os"],
                architecture=platform["architecture"],
                variant=platform.get("variant", ""),
            ),
            manifest=descriptor_of(one.descriptor),
        )


# --- the host -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run of the loader came to."""

    status: int
    out: str
    err: str

    @property
    def verdict(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def error(self) -> str:
        """The one line that says what is wrong."""
        [line] = [line for line in self.err.splitlines() if line.startswith("airlock: error[")]
        return line


@dataclass(slots=True)
class FarSide:
    """An air-gapped host: its places, a layout to load into, and the loader."""

    root: Path
    loaded: Path
    program: tuple[str, ...] = (sys.executable, "-m", "loader")

    def command(self, *arguments: str | Path, isolated: bool = True) -> list[str]:
        front = ["unshare", "-rn"] if isolated and missing("netns") is None else []
        return [*front, *self.program, "--root", str(self.root), *map(str, arguments)]

    def run(
        self,
        *arguments: str | Path,
        isolated: bool = True,
        environment: Mapping[str, str] | None = None,
        **options: Any,  # noqa: ANN401
    ) -> Ran:
        done = subprocess.run(
            self.command(*arguments, isolated=isolated),
            check=False,
            capture_output=True,
            text=True,
            timeout=options.pop("timeout", 120),
            cwd=options.pop("cwd", ROOT),
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **(environment or {})},
            **options,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def verify(self, bundle: Path, *options: str) -> Ran:
        return self.run("verify", bundle, "--json", *options)

    def load(self, bundle: Path, *options: str) -> Ran:
        return self.run("load", bundle, "--json", "--into", f"oci:{self.loaded}", *options)

    # What must not change ---------------------------------------------------------------------

    @property
    def state(self) -> Path:
        return self.root / "var/lib/airlock"

    def target(self) -> dict[str, str]:
        """Everything in the layout, by digest."""
        return _tree(self.loaded)

    def memory(self) -> dict[str, list[tuple[object, ...]]]:
        """The ledger's floors, table by table; empty where there is no ledger."""
        ledger = self.state / "ledger.sqlite"
        if not ledger.exists():
            return {}
        with tempfile.TemporaryDirectory() as folder:
            # A copy: a run that was killed may have left a journal, and looking plays it back.
            for path in self.state.glob("ledger.sqlite*"):
                shutil.copy(path, folder)
            with contextlib.closing(sqlite3.connect(Path(folder, "ledger.sqlite"))) as db:
                return {
                    table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
                    for table in (
                        "channels",
                        "names",
                        "loaded",
                        "logs",
                        "times",
                        "intents",
                        "trust",
                    )
                }

    def records(self) -> list[dict[str, Any]]:
        """All of the ledger's records."""
        with contextlib.closing(sqlite3.connect(self.state / "ledger.sqlite")) as db:
            rows = db.execute("SELECT record FROM records ORDER BY number").fetchall()
        return [json.loads(row[0]) for row in rows]

    def quarantine(self) -> list[str]:
        folder = self.state / "quarantine"
        return [path.name for path in folder.iterdir()] if folder.exists() else []

    def untouched(self) -> tuple[object, ...]:
        """What a refusal leaves as it was: floors, target, quarantine."""
        return self.memory(), self.target(), self.quarantine()


def _tree(folder: Path) -> dict[str, str]:
    if not folder.exists():
        return {}
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
