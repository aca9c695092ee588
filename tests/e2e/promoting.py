"""A signed release in one registry, and how it is promoted to another: in this process, quickly."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

from bundler.cli import command_line
from bundler.progress import meter
from bundler.promote.order import PromoteOrder
from bundler.promote.run import promote
from bundler.promote.summary import Promoted
from bundler.registry.settings import Timing
from tests.e2e.collecting import QUICK
from tests.fakes import attach
from tests.fakes.content import ContentStore, Json, encode
from tests.fakes.images import Image, hello_image, hello_index
from tests.fakes.registry import FakeRegistry
from tests.fakes.sigworld.keys import Signer
from tests.fakes.sigworld.world import World

POLICY = """\
schema = 1
[anchor.acme]
trusted-root = "trusted_root.json"
[anchor.release]
key = "release.pub"
[[image]]
match = "**"
name = "as-packed"
[[image.require]]
claim = "signature"
key = "release"
trusted-root = "acme"
"""
VERY_QUICK = replace(QUICK, visible_seconds=0.001)


@dataclass
class Release:
    """A signed image with evidence in every form, in a registry."""

    folder: Path
    registry: FakeRegistry
    image: Image
    world: World
    signer: Signer

    @property
    def reference(self) -> str:
        return self.registry.reference("acme/app", "1.0.0")

    @property
    def index(self) -> Json:
        return self.image.store.json(self.image.digest)

    def log_in(self, *registries: FakeRegistry) -> None:
        """Keep a login for these registries, as `docker login` does."""
        entry = {"auth": base64.b64encode(b"robot:secret").decode()}
        (self.folder / ".docker").mkdir(exist_ok=True)
        (self.folder / ".docker" / "config.json").write_bytes(
            encode({"auths": {one.host: entry for one in registries}})
        )

    def promote(
        self,
        destination: FakeRegistry | str,
        *arguments: str,
        timing: Timing = VERY_QUICK,
        repository: str = "rel/app",
        source: str = "",
    ) -> Promoted:
        """Promote the release, or what is under `source`, to a repository of a registry."""
        host = destination if isinstance(destination, str) else destination.host
        options = command_line().parse_args(
            [
                "promote", source or self.reference, f"{host}/{repository}",
                "--policy", str(self.folder / "policy.toml"),
                "--cache", str(self.folder / "cache"),
                "--plain-http", self.registry.host, "--plain-http", host,
                *(("--plain-http", source.partition("/")[0]) if source else ()),
                *(arguments or ("--semver", "1.2.3")),
            ]
        )  # fmt: skip
        order = PromoteOrder.make(
            options, environment={"HOME": str(self.folder)}, now=self.world.later(hours=1)
        )
        settings = replace(order.reach.settings, certificate_folders=(), timing=timing)
        order = replace(order, reach=replace(order.reach, settings=settings))
        return promote(order, meter=meter(StringIO()))


def make_release(folder: Path, registry: FakeRegistry, *, platforms: bool = True) -> Release:
    """Sign an image in every form: one of cosign's tags, and referrers of index and platforms."""
    world, store = World(), registry.store("acme/app")
    image = (hello_index if platforms else hello_image)(store, tag="1.0.0")
    signer = world.managed("release")
    legacy = world.sign_image_legacy(image.digest, signer, log="v1")
    attach.attach_tag(image, [legacy.layer()])
    for subject in (image, *image.children):
        bundle = world.sign_image(subject.digest, signer)
        attach.attach_bundle(subject, bundle.bundle(), fallback="bare")
    (folder / "release.pub").write_bytes(signer.public_pem)
    (folder / "trusted_root.json").write_bytes(encode(world.trusted_root()))
    (folder / "policy.toml").write_text(POLICY)
    return Release(folder, registry, image, world, signer)


def all_there(release: Release, store: ContentStore, *, by_tag: bool) -> None:
    """Check that a repository holds the image and all of its evidence, byte for byte."""
    theirs = release.image.store
    for digest in theirs.manifests:
        if theirs.json(digest).get("manifests") and digest != release.image.digest:
            continue  # a list of referrers is written anew
        assert store.read(digest) == theirs.read(digest)
        for blob in _blobs(theirs.json(digest)):
            assert store.read(blob) == theirs.read(blob)
    hexadecimal = release.image.digest.removeprefix("sha256:")
    assert store.tags[f"sha256-{hexadecimal}.sig"] == theirs.tags[f"sha256-{hexadecimal}.sig"]
    for subject in (release.image, *release.image.children):
        wanted = {one["digest"] for one in theirs.referrers(subject.digest)}
        assert wanted
        if by_tag:
            listed = store.json(store.tags[subject.digest.replace(":", "-")])["manifests"]
            assert {one["digest"] for one in listed} == wanted
            assert all(one["artifactType"] == attach.BUNDLE_TYPE for one in listed)
            assert all("dev.sigstore.bundle.predicateType" in one["annotations"] for one in listed)
        else:
            assert {one["digest"] for one in store.referrers(subject.digest)} == wanted


def _blobs(document: Json) -> list[str]:
    found = [one["digest"] for one in document.get("layers", [])]
    return [*found, document["config"]["digest"]] if "config" in document else found


def release_tags(store: ContentStore) -> dict[str, str]:
    """The tags that people pull by."""
    return {tag: digest for tag, digest in store.tags.items() if not tag.startswith("sha256-")}


def snapshot(store: ContentStore) -> str:
    """All of a repository, to compare with later."""
    return json.dumps([sorted(store.blobs), sorted(store.manifests.items()), store.tags])
