"""A registry with one image, and `airlock` in this process: what tests of verbs begin with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bundler.cli import main
from tests.fakes import attach
from tests.fakes.content import ContentStore, encode
from tests.fakes.images import Image, hello_index
from tests.fakes.registry import FakeRegistry
from tests.fakes.sigworld.world import World

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
IDENTITY = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0"
ISSUER = "https://token.actions.githubusercontent.com"
WHO = ("--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a run of `airlock` came to."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:  # noqa: ANN401 - whatever JSON a verb prints
        return json.loads(self.out)


@dataclass
class Desk:
    """A folder with anchors, a registry with `acme/app`, and whoever types."""

    folder: Path
    capture: pytest.CaptureFixture[str]
    registry: FakeRegistry
    store: ContentStore
    image: Image
    world: World = field(default_factory=World)

    @property
    def name(self) -> str:
        return f"{self.registry.host}/acme/app"

    @property
    def tagged(self) -> str:
        return f"{self.name}:1.0.0"

    @property
    def by_digest(self) -> str:
        return f"{self.name}@{self.image.digest}"

    def run(self, *arguments: str) -> Ran:
        """Run a verb as it is typed; files that are named lie in the folder."""
        self.capture.readouterr()
        try:
            status = main(list(arguments), clock=lambda: NOW)
        except SystemExit as e:  # argparse
            status = e.code if isinstance(e.code, int) else 1
        said = self.capture.readouterr()
        return Ran(status=status, out=said.out, err=said.err)

    def ask(self, verb: str | Sequence[str], *arguments: str) -> Ran:
        """Run a verb that reaches registries."""
        words = [verb] if isinstance(verb, str) else list(verb)
        return self.run(
            *words, *arguments,
            "--plain-http", self.registry.host, "--cache", str(self.folder / "cache"),
        )  # fmt: skip

    def verify(self, *arguments: str, root: bool = True) -> Ran:
        trusted = ("--trusted-root", str(self.folder / "trusted_root.json")) if root else ()
        return self.ask("verify", *arguments, *trusted)

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


@contextmanager
def desk(folder: Path, capture: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    """Give a desk whose image nobody has signed yet."""
    store = ContentStore()
    image = hello_index(store, tag="1.0.0")
    with FakeRegistry({"acme/app": store}) as registry:
        made = Desk(folder, capture, registry, store, image)
        made.write("trusted_root.json", encode(made.world.trusted_root()))
        made.write("release.pub", made.world.managed("release").public_pem)
        yield made


def sign_keyless(desk: Desk, *, log: str = "v1") -> None:
    """Sign as cosign 3 does in a workflow: a bundle that refers to the image."""
    signed = desk.world.sign_image(desk.image.digest, desk.world.keyless(), log=log)
    attach.attach_bundle(desk.image, signed.bundle(), fallback="full")


def sign_by_key(desk: Desk, *, log: str = "v1", **annotations: str) -> None:
    """Sign as cosign 2 does with a key: a layer under the `.sig` tag."""
    signed = desk.world.sign_image_legacy(
        desk.image.digest,
        desk.world.managed("release"),
        reference=desk.name,
        annotations=annotations or None,
        log=log,
    )
    attach.attach_tag(desk.image, [signed.layer()])
