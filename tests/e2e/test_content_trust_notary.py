"""Docker Content Trust with the real server and client: published, packed, and loaded without it.

Debian's notary and notary-server 0.7; the images come from a fake registry. A name binds a
repository to its registry, so the registry's port is part of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.fakes.content import ContentStore
from tests.fakes.images import Image, Layer, hello_index, image, index
from tests.fakes.notaryworld import certificate
from tests.fakes.registry import FakeRegistry
from tests.fakes.sigworld.keys import Signer
from tests.notary import Notary, start_notary
from tests.presence import ROOT

pytestmark = pytest.mark.engine("notary")
SEVEN = (
    *("linux/amd64", "linux/arm64/v8", "linux/arm/v7", "linux/arm/v6"),
    *("linux/386", "linux/ppc64le", "linux/s390x"),
)
POLICY = """
schema = 1
[anchor.hub]
notary-root = "pins.json"
[[image]]
match = "{registry}/acme/*"
[[image.require]]
claim = "content-trust"
notary-root = "hub"
"""


@dataclass
class Site:
    """A publisher with a registry and a notary server, and a host that pins its root key."""

    folder: Path
    registry: FakeRegistry
    store: ContentStore
    image: Image
    notary: Notary

    @property
    def gun(self) -> str:
        return f"{self.registry.host}/acme/app"

    def run(self, *argv: str | Path, env: dict[str, str] | None = None) -> str:
        done = self.try_run(*argv, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def try_run(
        self, *argv: str | Path, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *map(str, argv)],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "PYTHONPATH": str(ROOT),
                **(env or {}),
            },
        )

    def fetch(self, *arguments: str | Path) -> str:
        server = ("--notary-server", self.notary.url, "--ca-file", self.notary.authority)
        return self.run(
            "bundler.cli", "trust", "fetch", self.gun, *(arguments or server), "-o", "t"
        )

    def pin(self) -> str:
        """Pin the root key that is current, as an operator who compared its id."""
        said = self.fetch()
        line = next(line for line in said.splitlines() if "trust_pinning" in line)
        (self.folder / "pins.json").write_text(line)
        (self.folder / "policy.toml").write_text(POLICY.format(registry=self.registry.host))
        return line

    def pack(self, tag: str, *arguments: str | Path, output: str = "b.tar.zst") -> str:
        return self.run(*self.packing(tag, *arguments, output=output))

    def packing(
        self, tag: str, *arguments: str | Path, output: str = "b.tar.zst"
    ) -> tuple[str | Path, ...]:
        server = ("--notary-server", self.notary.url)
        return (
            *("bundler.cli", "pack", f"{self.gun}:{tag}", "--policy", "policy.toml"),
            *("--plain-http", self.registry.host, "--ca-file", self.notary.authority),
            *("--cache", "cache", "-o", output, *(arguments or server)),
        )

    def load(self, bundle: str = "b.tar.zst") -> subprocess.CompletedProcess[str]:
        return self.try_run(
            *("loader", "--root", "host", "load", bundle, "--into", "oci:images"),
            *("--policy", "policy.toml"),
        )


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    store = ContentStore()
    listed = hello_index(store, tag="1.0.0")
    with (
        FakeRegistry({"acme/app": store}) as registry,
        start_notary(tmp_path / "notary") as notary,
    ):
        made = Site(tmp_path, registry, store, listed, notary)
        notary.client("init", made.gun)
        yield made


def signer(site: Site, name: str, *roles: str) -> None:
    """Give roles to somebody with a key of their own."""
    key = Signer.make(name)
    leaf: x509.Certificate = certificate(key, name)
    (site.folder / f"{name}.crt").write_bytes(leaf.public_bytes(Encoding.PEM))
    (site.folder / f"{name}.pem").write_bytes(key.private_pem)
    site.notary.client("key", "import", site.folder / f"{name}.pem", "--role", roles[0])
    for role in roles:
        site.notary.client(
            "delegation", "add", site.gun, role, site.folder / f"{name}.crt", "--all-paths", "-p"
        )


def test_dc_8_captured_and_verified_after_the_server_is_gone(tmp_path: Path) -> None:
    store = ContentStore()
    top_image = hello_index(store, tag="1.0.0")
    with FakeRegistry({"acme/app": store}) as registry:
        with start_notary(tmp_path / "notary") as notary:
            site = Site(tmp_path, registry, store, top_image, notary)
            notary.client("init", site.gun)
            signer(site, "alice", "targets/releases", "targets/alice")
            top = store.read(top_image.digest)
            notary.add(site.gun, "1.0.0", top, roles="targets/releases,targets/alice")
            site.pin()
            notary.client("list", site.gun)
            said = site.pack("1.0.0")
            assert "targets/releases" in said
        done = site.load()
        assert done.returncode == 0, done.stderr
        assert "ok       name: content-trust" in done.stderr + done.stdout
        # What was fetched is a cache: a server that is gone is not asked again.
        site.pack("1.0.0", "--notary-cache", "t", output="c.tar.zst")
        assert site.load("c.tar.zst").returncode == 0
        # So is what the client itself left behind.
        site.pack("1.0.0", "--notary-cache", notary.folder, output="d.tar.zst")
        shown = site.run(
            "bundler.cli", "trust", "inspect", "b.tar.zst", "--notary-root", "pins.json"
        )
        assert "alice" in shown
        assert "verified: root key" in shown


def test_an_image_where_it_is_kept_is_verified_with_its_content_trust(site: Site) -> None:
    site.notary.add(site.gun, "1.0.0", site.store.read(site.image.digest))
    site.pin()
    for verb in (("verify",), ("policy", "test")):
        said = site.run(
            *("bundler.cli", *verb, f"{site.gun}:1.0.0", "--policy", "policy.toml"),
            *("--plain-http", site.registry.host),
            *("--notary-server", site.notary.url, "--ca-file", site.notary.authority),
            *("--cache", "cache"),
        )
        assert "content-trust by 'hub'" in said
        assert "REFUSED" not in said


def test_dc_8_what_the_policy_would_refuse_is_not_packed(site: Site) -> None:
    site.notary.add(site.gun, "1.0.0", b"other bytes")
    site.pin()
    done = site.try_run(*site.packing("1.0.0"))
    assert done.returncode == 11, done.stderr
    assert "is signed for other bytes by targets" in done.stderr
    assert not (site.folder / "b.tar.zst").exists()


def test_a_tag_without_trust_data(site: Site) -> None:
    site.notary.add(site.gun, "1.0.0", site.store.read(site.image.digest))
    site.pin()
    site.store.tag("2.0.0", site.image.descriptor)
    done = site.try_run(*site.packing("2.0.0"))
    assert done.returncode == 10, done.stderr
    assert "the tag '2.0.0' is not signed" in done.stderr


def test_dc_9_rotated_twice_and_pinned_to_the_first_root(site: Site) -> None:
    top = site.store.read(site.image.digest)
    site.notary.add(site.gun, "1.0.0", top)
    site.pin()
    for _ in range(2):
        site.notary.client("key", "rotate", site.gun, "root")
    site.notary.add(site.gun, "1.0.0", top)
    said = site.fetch()
    assert "root 3" in said
    site.pack("1.0.0")
    done = site.load()
    assert done.returncode == 0, done.stderr
    assert "root 1 to 3" in done.stdout + done.stderr
    # The client's own cache keeps no older roots: no chain leads from the pin, which says so.
    done = site.try_run(*site.packing("1.0.0", "--notary-cache", site.notary.folder))
    assert done.returncode == 15, done.stderr
    (site.folder / "t" / "tuf" / site.gun / "metadata" / "2.root.json").unlink()
    done = site.try_run(*site.packing("1.0.0", "--notary-cache", "t"))
    assert done.returncode == 15
    assert "root 2 is missing" in done.stderr


def test_an_older_bundle_after_a_newer_one(site: Site) -> None:
    top = site.store.read(site.image.digest)
    site.notary.add(site.gun, "1.0.0", top)
    site.pin()
    site.pack("1.0.0", output="old.tar.zst")
    site.notary.add(site.gun, "1.0.1", top)
    site.store.tag("1.0.1", site.image.descriptor)
    site.pack("1.0.1", output="new.tar.zst")
    assert site.load("old.tar.zst").returncode == 0
    assert site.load("new.tar.zst").returncode == 0
    done = site.load("old.tar.zst")
    assert done.returncode == 16, done.stderr
    assert "rollback.notary" in done.stdout + done.stderr
    local = site.try_run(
        "loader", "--root", "host", "verify-local", "--all", "--policy", "policy.toml"
    )
    assert local.returncode == 0, local.stdout + local.stderr
    assert site.load("new.tar.zst").returncode == 0


def test_dc_10_ids_are_those_of_notary(site: Site) -> None:
    signer(site, "bob", "targets/releases")
    listed = site.notary.client("key", "list").split()
    for name in ("bob.crt", "bob.pem"):
        said = site.run("bundler.cli", "trust", "key-id", name)
        assert said.split()[-1] in listed
    shown = site.notary.client("delegation", "list", site.gun)
    assert site.run("bundler.cli", "trust", "key-id", "bob.crt").split()[-1] in shown


def test_dc_5_a_list_of_seven_platforms(site: Site) -> None:
    layer = Layer.of({"hello": b"hello"})
    platforms = [image(site.store, [layer], platform=one) for one in SEVEN]
    seven = index(site.store, platforms, docker=True, tag="7")
    top = site.store.read(seven.digest)
    site.notary.add(site.gun, "7", top)
    one = seven.manifest["manifests"][1]
    site.notary.add(site.gun, "arm64-7", site.store.read(one["digest"]))
    site.store.tag("arm64-7", one)
    site.pin()
    site.pack("7")
    assert site.load().returncode == 0
    site.pack("7", "--notary-server", site.notary.url, "-p", "linux/s390x", output="s.tar.zst")
    done = site.try_run(
        *("loader", "--root", "other", "verify", "s.tar.zst", "--policy", "policy.toml")
    )
    assert done.returncode == 0, done.stderr
    assert "linux/s390x" in done.stdout + done.stderr
    site.pack("arm64-7", output="one.tar.zst")
    assert site.load("one.tar.zst").returncode == 0
