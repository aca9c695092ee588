"""BASE of CASES part 2.1, and what somebody with the archive in hand makes of it.

BASE is bundle 10 of the channel `stable`: app-a, app-b, and app-c for two platforms. Each image is
signed by a key; the statement by a workflow's certificate.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from bundler.pack.plan import plan
from bundler.pack.writer import write_archive
from loader.model.bundle import BundleStatement, ImageEntry
from tests.adversarial.pieces import Record, frames, join, record, split
from tests.e2e.loading import SIGNED_AT, Blobs, Publisher
from tests.fakes.content import ContentStore, encode
from tests.fakes.images import hello_image, hello_index
from tests.fakes.sigworld.identity import workflow
from tests.fakes.sigworld.keys import Signer

PREFIX = "registry.acme.example/acme"
IDENTITY = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0"
ISSUER = "https://token.actions.githubusercontent.com"
HEAD = """\
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

[[image.require]]
claim = "bundle-signature"
"""
WORKFLOW = f"""\
trusted-root = "acme"
certificate-identity = "{IDENTITY}"
certificate-oidc-issuer = "{ISSUER}"
"""
POLICY = HEAD + WORKFLOW


@dataclass(slots=True)
class Base:
    """Makes BASE, and its neighbours by sequence: only app-a differs between them."""

    publisher: Publisher
    signer: Signer = field(init=False)
    store: ContentStore = field(default_factory=ContentStore)
    _entries: dict[int, tuple[ImageEntry, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.signer = self.publisher.world.keyless(workflow())

    def entries(self, sequence: int = 10) -> tuple[ImageEntry, ...]:
        if sequence not in self._entries:
            images = {
                "app-a": hello_image(self.store, text=f"a {sequence:03}\n", version="1"),
                "app-b": hello_image(self.store, text="b\n", version="1"),
                "app-c": hello_index(self.store, version="1"),
            }
            self._entries[sequence] = tuple(
                self.publisher.entry(image, tag="1", days=sequence, repository=f"{PREFIX}/{name}")
                for name, image in images.items()
            )
        return self._entries[sequence]

    def statement(
        self,
        sequence: int = 10,
        *,
        entries: tuple[ImageEntry, ...] | None = None,
        channel: str | None = "stable",
    ) -> BundleStatement:
        return plan(
            self.entries(sequence) if entries is None else entries,
            (),
            Blobs(self.store),
            created=SIGNED_AT,
            channel=channel,
            sequence=None if channel is None else sequence,
            expires=None,
        )

    def seal(self, raw: bytes, signer: Signer | None = None) -> dict[str, Any]:
        """Return a signature of these bytes, to be changed at will."""
        return self.publisher.world.sign(raw, signer or self.signer).bundle()

    def archive(
        self, statement: BundleStatement | None = None, *signatures: Mapping[str, Any]
    ) -> bytes:
        """Return the archive of a statement, sealed as it should be unless it is said how."""
        return pack(self.records(statement, *signatures))

    def records(
        self, statement: BundleStatement | None = None, *signatures: Mapping[str, Any]
    ) -> list[Record]:
        statement = statement or self.statement()
        sealed = signatures or (self.seal(statement.raw),)
        out = io.BytesIO()
        blobs = Blobs(self.store)
        write_archive(statement, list(map(encode, sealed)), blobs.open, out, format="plain")
        return split(out.getvalue())

    def resigned(self, raw: bytes, signer: Signer | None = None) -> bytes:
        """Return BASE with other bytes for its statement, signed as they stand."""
        return self.stating(raw, self.seal(raw, signer))

    def stating(self, raw: bytes, *signatures: Mapping[str, Any]) -> bytes:
        """Return BASE with other bytes for its statement and its signatures."""
        front = [record(b"airlock.json", raw)]
        front += [
            record(b"airlock.sigstore.%d.json" % number, encode(one))
            for number, one in enumerate(signatures, 1)
        ]
        return pack([*front, *self.records()[2:]])

    def edited(self, change: Callable[[dict[str, Any]], object]) -> bytes:
        """Return BASE with an edited statement, signed as it stands."""
        document = json.loads(self.statement().raw)
        change(document)
        return self.resigned(canonical(document))


def canonical(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def pack(records: list[Record]) -> bytes:
    return frames(join(records), 4 << 20)


def named(records: list[Record], name: str) -> int:
    """Return where the record of this name stands."""
    [position] = [
        at for at, one in enumerate(records) if one.field("name").rstrip(b"\0") == name.encode()
    ]
    return position


def blob(digest: object) -> str:
    return "blobs/sha256/" + str(digest).removeprefix("sha256:")


def child(value: object, *path: str | int) -> Any:  # noqa: ANN401 - JSON
    for part in path:
        value = cast("Any", value)[part]
    return value
