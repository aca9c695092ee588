"""`airlock pack --tuf` and the loader behind it: a root pinned once, a release that TUF records."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.loading import FarSide
from tests.fakes import attach
from tests.fakes.content import ContentStore, encode
from tests.fakes.images import hello_index
from tests.fakes.registry import FakeRegistry
from tests.fakes.sigworld.identity import person, workflow
from tests.fakes.sigworld.world import World
from tests.fakes.tuf_repository import TufRepository, identity_key
from tests.presence import ROOT

POLICY = """\
schema = 1
[anchor.acme]
tuf-root = "acme.root.json"
trusted-root = "vouching"
[anchor.vouching]
trusted-root = "vouching.json"
[[image]]
match = "{host}/acme/*"
[[image.require]]
claim = "signature"
trusted-root = "acme"
certificate-identity = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0"
certificate-oidc-issuer = "https://token.actions.githubusercontent.com"
[[image.require]]
claim = "tuf-target"
tuf-root = "acme"
path = "releases/v{{tag}}.json"
repository-pointer = "/image"
"""


@dataclass
class Bench:
    folder: Path
    registry: FakeRegistry
    repository: TufRepository
    digest: str

    @property
    def reference(self) -> str:
        return f"{self.registry.host}/acme/app:1.0.0"

    def record(self, digest: str) -> None:
        document = {"image": f"{self.registry.host}/acme/app", "digest": digest}
        self.repository.target(
            "releases/v1.0.0.json", json.dumps(document).encode(), role="release"
        )
        self.write()

    def write(self) -> None:
        for name, raw in self.repository.publish().git().items():
            path = self.folder / "tuf" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)

    def pack(
        self, *options: str, output: str = "bundle.tar.zst"
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable, "-m", "bundler.cli", "pack", "--policy", "policy.toml",
                "--plain-http", self.registry.host, "--cache", "cache", "--output", output,
                "--no-log-proofs", *options, self.reference,
            ],
            check=False, capture_output=True, text=True, timeout=120, cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def host(self) -> FarSide:
        root = self.folder / "host"
        (root / "etc/airlock").mkdir(parents=True)
        for name in ("policy.toml", "acme.root.json", "vouching.json"):
            (root / "etc/airlock" / name).write_bytes((self.folder / name).read_bytes())
        return FarSide(root, self.folder / "loaded")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A TUF repository that a person signs with an identity, as tuf-on-ci has it."""
    world, voucher, store = World(), World("vouching"), ContentStore()
    image = hello_index(store, tag="1.0.0")
    attach.attach_bundle(
        image, world.sign_image(image.digest, world.keyless(workflow())).bundle(), fallback="bare"
    )
    maintainer = identity_key(voucher, person("maintainer@acme.example"))
    online = identity_key(
        voucher, workflow("acme/tuf", file="online-sign.yml", ref="refs/heads/main")
    )
    repository = TufRepository(
        keys={
            "root": [maintainer],
            "targets": [maintainer],
            "snapshot": [online],
            "timestamp": [online],
        }
    )
    repository.delegate("release", ["releases/*"], [maintainer])
    repository.target("trusted_root.json", encode(world.trusted_root()))
    (tmp_path / "acme.root.json").write_bytes(repository.roots[1])
    (tmp_path / "vouching.json").write_bytes(encode(voucher.trusted_root()))
    with FakeRegistry({"acme/app": store}) as registry:
        (tmp_path / "policy.toml").write_text(POLICY.format(host=registry.host))
        found = Bench(tmp_path, registry, repository, image.digest)
        found.record(image.digest)
        yield found


def test_from_the_repository_to_the_host(bench: Bench) -> None:
    packed = bench.pack("--tuf", "acme=tuf")
    assert packed.returncode == 0, packed.stderr
    host = bench.host()
    loaded = host.load(bench.folder / "bundle.tar.zst")
    assert loaded.status == 0, loaded.err
    [image] = loaded.verdict["images"]
    assert image["name"]["how"] == "tuf-target"
    assert [claim["holds"] for claim in image["claims"]] == ["met", "met"]
    [repository] = loaded.verdict["repositories"]
    assert {role["name"] for role in repository["roles"]} == {
        "root", "timestamp", "snapshot", "targets", "release",
    }  # fmt: skip
    assert repository["signed"] is not None
    shown = host.run("trust", "show", "acme")
    assert shown.out.count("acme: t") == 1
    assert "maintainer@acme.example (https://github.com/login/oauth) @somebody" in shown.out
    # The root moves on, and the host with it: what was packed before is older now.
    bench.repository.new_root()
    bench.write()
    again = bench.pack("--tuf", "acme=tuf", output="second.tar.zst")
    assert again.returncode == 0, again.stderr
    said = host.run("verify", bench.folder / "second.tar.zst").out
    assert said.count("  anchor     acme: ") == 1, "a root and what it brings are one anchor"
    second = host.load(bench.folder / "second.tar.zst")
    assert second.status == 0, second.err
    [moved] = host.records()[-1]["trust"]
    assert {"name": "release", "before": "1", "after": "2"} in moved["roles"]
    older = host.verify(bench.folder / "bundle.tar.zst")
    assert older.error.startswith("airlock: error[trustroot.rollback]: ")


def test_what_the_far_side_would_refuse_is_not_sealed(bench: Bench) -> None:
    bench.record("sha256:" + "0" * 64)
    packed = bench.pack("--tuf", "acme=tuf")
    assert packed.returncode == 14
    assert not (bench.folder / "bundle.tar.zst").exists()


def test_an_anchor_that_is_nothing_but_a_root_needs_a_source(bench: Bench) -> None:
    packed = bench.pack()
    assert packed.returncode == 2
    assert "--tuf acme=URL" in packed.stderr


def test_a_source_for_an_anchor_that_is_not_there(bench: Bench) -> None:
    packed = bench.pack("--tuf", "acme=tuf", "--tuf", "other=tuf")
    assert packed.returncode == 2
    assert "--tuf other=" in packed.stderr


def test_fetched_first_and_packed_from_there(bench: Bench) -> None:
    fetched = subprocess.run(
        [
            sys.executable, "-m", "bundler.cli", "trust", "fetch", "--tuf", "tuf",
            "--root", "acme.root.json", "--trusted-root", "./vouching.json",
            "--target", "trusted_root.json", "--target", "releases/v1.0.0.json", "-o", "carried",
        ],
        check=False, capture_output=True, text=True, timeout=120, cwd=bench.folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(bench.folder), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert fetched.returncode == 0, fetched.stderr
    assert "release 1, until 2036-01-01T00:00:00Z" in fetched.stdout
    packed = bench.pack("--tuf", "acme=carried")
    assert packed.returncode == 0, packed.stderr
    host = bench.host()
    imported = host.run("trust", "import", bench.folder / "carried", "--anchor", "acme")
    assert imported.status == 0, imported.err
    assert host.load(bench.folder / "bundle.tar.zst").status == 0
