"""`airlock pack` as its user runs it: a process of its own against a registry on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes import attach
from tests.fakes.content import ContentStore, encode
from tests.fakes.faults import Fault
from tests.fakes.images import Layer, artifact, hello_image, hello_index
from tests.fakes.registry import FakeRegistry
from tests.fakes.sigworld.world import World
from tests.presence import ROOT

POLICY = """\
schema = 1
[anchor.acme]
trusted-root = "trusted_root.json"
[anchor.release]
key = "release.pub"
[anchor.packer]
key = "packer.pub"
[[image]]
match = "{registry}/acme/*"
[[image.require]]
claim = "signature"
key = "release"
trusted-root = "acme"
[[image.require]]
claim = "bundle-signature"
key = "packer"
"""


@dataclass
class Bench:
    """A folder to pack in, a registry to pack from, and the world that signs."""

    folder: Path
    registry: FakeRegistry
    store: ContentStore
    world: World
    digest: str
    log_proofs: bool = False
    """Whether logs are asked: the world's own are at addresses that nobody has."""

    @property
    def reference(self) -> str:
        return f"{self.registry.host}/acme/app:1.0.0"

    def command(self, *arguments: str, output: str = "bundle.tar.zst") -> list[str]:
        return [
            sys.executable, "-m", "bundler.cli", "pack",
            "--policy", "policy.toml", "--plain-http", self.registry.host,
            "--sign-key", "packer.key", "--cache", "cache", "--output", output,
            *(() if self.log_proofs else ("--no-log-proofs",)), *arguments,
        ]  # fmt: skip

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        home = str(self.folder)
        return {
            "PATH": os.environ["PATH"], "HOME": home, "PYTHONPATH": str(ROOT), **(more or {})
        }  # fmt: skip

    def pack(
        self,
        *arguments: str,
        output: str = "bundle.tar.zst",
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*(arguments or (self.reference,)), output=output),
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.folder,
            env=self.environment(environment),
        )

    def inspect(self, name: str = "bundle.tar.zst") -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "bundler.cli", "inspect", name, "--json"],
            check=True,
            capture_output=True,
            timeout=60,
            cwd=self.folder,
            env=self.environment(),
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def left(self) -> set[str]:
        """What lies in the folder but for what was there and the cache."""
        given = {"policy.toml", "trusted_root.json", "release.pub", "packer.pub", "packer.key"}
        return {path.name for path in self.folder.iterdir()} - given - {"cache"}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    world, store = World(), ContentStore()
    image = hello_index(store, tag="1.0.0")
    release = world.managed("release")
    signed = world.sign_image_legacy(image.digest, release, log="v1")
    attach.attach_tag(image, [signed.layer()])
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "packer.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (tmp_path / "packer.pub").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    (tmp_path / "release.pub").write_bytes(release.public_pem)
    (tmp_path / "trusted_root.json").write_bytes(encode(world.trusted_root()))
    with FakeRegistry({"acme/app": store}) as registry:
        (tmp_path / "policy.toml").write_text(POLICY.format(registry=registry.host))
        yield Bench(tmp_path, registry, store, world, image.digest)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_is_packed_is_said_and_can_be_looked_at(bench: Bench) -> None:
    done = bench.pack(bench.reference, "--channel", "stable", "--sequence", "3", "--expires", "30d")
    assert done.returncode == 0, done.stderr
    assert bench.digest in done.stdout
    assert "linux/amd64, linux/arm64/v8" in done.stdout
    assert "1 signature-tag" in done.stdout
    found = bench.inspect()
    assert found["verified"] is False
    assert (found["channel"], found["sequence"]) == ("stable", 3)
    assert found["created"] == "2026-01-15T12:00:02Z", "the newest signed time inside"
    [image] = found["images"]
    assert image["digest"] == bench.digest
    assert len(image["platforms"]) == 2
    assert bench.left() == {"bundle.tar.zst", "SHA256SUMS", "airlock.lock"}
    sums = (bench.folder / "SHA256SUMS").read_text()
    assert sums == f"{sha256(bench.folder / 'bundle.tar.zst')}  bundle.tar.zst\n"


def test_the_same_lock_gives_the_same_bytes_whatever_the_tag_means_then(bench: Bench) -> None:
    assert bench.pack(bench.reference, "--expires", "30d").returncode == 0
    other = hello_index(bench.store, tag="1.0.0", version="2.0.0")
    assert other.digest != bench.digest
    done = bench.pack("--locked", "airlock.lock", "--cache", "cold", output="again.tar.zst")
    assert done.returncode == 0, done.stderr
    assert sha256(bench.folder / "again.tar.zst") == sha256(bench.folder / "bundle.tar.zst")


def test_a_lock_whose_blobs_are_gone_says_so(bench: Bench) -> None:
    assert bench.pack().returncode == 0
    del bench.store.blobs[bench.digest], bench.store.manifests[bench.digest]
    done = bench.pack("--locked", "airlock.lock", "--cache", "cold", output="again.tar.zst")
    assert done.returncode == 19
    assert "no longer has what the lock pins" in done.stderr
    assert not (bench.folder / "again.tar.zst").exists()


def test_the_next_bundle_of_a_channel_follows_the_one_before(bench: Bench) -> None:
    assert bench.pack(bench.reference, "--channel", "stable", "--sequence", "3").returncode == 0
    done = bench.pack(bench.reference, "--after", "bundle.tar.zst", output="next.tar.zst")
    assert done.returncode == 0, done.stderr
    found = bench.inspect("next.tar.zst")
    assert (found["channel"], found["sequence"]) == ("stable", 4)


def test_what_the_far_side_would_refuse_is_not_sealed(bench: Bench) -> None:
    attacker = bench.world.managed("attacker")
    image = hello_index(bench.store, tag="1.0.0", version="6.6.6")
    signed = bench.world.sign_image_legacy(image.digest, attacker, log="v1")
    attach.attach_tag(image, [signed.layer()])
    done = bench.pack()
    assert done.returncode in {11, 12}, done.stderr
    assert "airlock: error[" in done.stderr
    assert bench.left() == set()


def test_every_reason_of_a_refusal_is_named(bench: Bench) -> None:
    policy = bench.folder / "policy.toml"
    policy.write_text(
        policy.read_text()
        + '[[image]]\nmatch = "**"\n'
        + '[[image.require]]\nclaim = "attestation"\ntype = "vsa"\nkey = "release"\n'
        + '[[image.require]]\nclaim = "attestation"\ntype = "openvex"\nkey = "release"\n'
    )
    done = bench.pack()
    assert done.returncode == 10
    _, *reasons = done.stderr.split("\nreason: ")
    assert len(reasons) == 2
    for kind, reason in zip(("vsa", "openvex"), reasons, strict=True):
        first, *more = reason.splitlines()
        assert "there is no evidence for the claim attestation on linux/" in first
        assert more[0].startswith(f"  expected attestation of {kind} by key 'release'")
        assert more[1].startswith("  to mend: pack the image again once it is attested")


def test_no_layer_is_fetched_before_the_verdict(bench: Bench) -> None:
    layers = [
        layer["digest"]
        for platform in bench.store.json(bench.digest)["manifests"]
        for layer in bench.store.json(platform["digest"])["layers"]
    ]
    policy = bench.folder / "policy.toml"
    genuine = policy.read_text()
    policy.write_text(genuine.replace('key = "release.pub"', 'key = "packer.pub"'))
    assert bench.pack().returncode in {11, 12}
    assert not any(bench.registry.seen(f"/blobs/{digest}") for digest in layers)
    policy.write_text(genuine)
    assert bench.pack().returncode == 0
    assert all(bench.registry.seen(f"/blobs/{digest}") for digest in layers)


def test_a_layer_that_cannot_be_had_ends_the_run_with_the_reason(bench: Bench) -> None:
    [platform, *_] = bench.store.json(bench.digest)["manifests"]
    [*_, layer] = bench.store.json(platform["digest"])["layers"]
    pattern = f"/blobs/{layer['digest']}"
    bench.registry.faults.append(Fault(pattern=pattern, on=None, status=403))
    done = bench.pack()
    assert done.returncode == 30, done.stderr
    assert layer["digest"] in done.stderr
    assert "Traceback" not in done.stderr
    assert bench.left() == set()


def test_an_image_without_evidence_is_not_sealed(bench: Bench) -> None:
    hello_index(bench.store, tag="2.0.0", version="2.0.0")
    done = bench.pack(f"{bench.registry.host}/acme/app:2.0.0")
    assert done.returncode == 10, done.stderr
    assert bench.left() == set()


def test_a_registry_that_cannot_be_asked_for_evidence_is_no_registry_without_it(
    bench: Bench,
) -> None:
    bench.registry.faults.append(Fault(pattern=r"/manifests/sha256-.*\.sig", on=None, status=500))
    done = bench.pack()
    assert done.returncode == 30, done.stderr
    assert bench.left() == set()


def test_plain_is_an_uncompressed_tar(bench: Bench) -> None:
    done = bench.pack(bench.reference, "--plain", output="bundle.tar")
    assert done.returncode == 0, done.stderr
    listed = subprocess.run(
        ["tar", "-tf", "bundle.tar"], check=True, capture_output=True, text=True, cwd=bench.folder
    )
    assert listed.stdout.splitlines()[0] == "airlock.json"
    assert bench.inspect("bundle.tar")["images"]


def test_one_platform_is_kept_and_the_index_stays_whole(bench: Bench) -> None:
    done = bench.pack(bench.reference, "--platform", "linux/arm64")
    assert done.returncode == 0, done.stderr
    [image] = bench.inspect()["images"]
    assert image["digest"] == bench.digest
    assert [kept["platform"] for kept in image["platforms"]] == ["linux/arm64/v8"]


def test_a_rule_that_names_a_key_file_packs_too(bench: Bench) -> None:
    (bench.folder / "keys").mkdir()
    (bench.folder / "keys" / "Release 1.pub").write_bytes(
        (bench.folder / "release.pub").read_bytes()
    )
    policy = (bench.folder / "policy.toml").read_text()
    (bench.folder / "policy.toml").write_text(
        policy.replace('key = "release"', 'key = "keys/Release 1.pub"')
    )
    done = bench.pack()
    assert done.returncode == 0, done.stderr
    anchors = {entry["anchor"] for entry in bench.inspect()["trust"]}
    assert anchors == {"acme", "packer", "Release-1.pub"}


def test_lists_and_files_say_the_same_as_arguments(bench: Bench) -> None:
    (bench.folder / "images.txt").write_text(f"# what we need\n\n{bench.reference}\n")
    (bench.folder / "bundle.toml").write_text(
        f'schema = 1\nimages-from = ["images.txt"]\nchannel = "stable"\nsequence = 9\n'
        f'[registry]\nplain-http = ["{bench.registry.host}"]\n'
    )
    done = bench.pack("--images", "images.txt")
    assert done.returncode == 0, done.stderr
    assert bench.pack("--file", "bundle.toml", output="toml.tar.zst").returncode == 0
    assert bench.inspect()["images"] == bench.inspect("toml.tar.zst")["images"]
    assert bench.inspect("toml.tar.zst")["sequence"] == 9


def test_any_artifact_travels_as_it_is(bench: Bench) -> None:
    kind = "application/vnd.cncf.helm.config.v1+json"
    chart = artifact(bench.store, kind, [(b"a chart", "application/gzip")], tag="chart-1")
    signed = bench.world.sign_image_legacy(chart.digest, bench.world.managed("release"), log="v1")
    attach.attach_tag(chart, [signed.layer()])
    done = bench.pack(f"{bench.registry.host}/acme/app:chart-1")
    assert done.returncode == 0, done.stderr
    assert "an artifact" in done.stdout


def test_json_is_for_scripts(bench: Bench) -> None:
    done = bench.pack(bench.reference, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["schema"] == "airlock-pack/1"
    assert said["bundle"] == bench.inspect()["digest"]
    assert said["size"] == (bench.folder / "bundle.tar.zst").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "nothing to pack"),
        (("ghcr.io/acme/app:1", "--sequence", "3"), "a channel"),
        (("ghcr.io/acme/app:1", "--expires", "soon"), "not a duration"),
        (("ghcr.io/acme/app:1", "--jobs", "0"), "downloads at a time"),
        (("ghcr.io/acme/app:1", "--platform", "linux"), "not a platform"),
        (("UPPER/case:1",), "not an image reference"),
        (("ghcr.io/acme/app:1", "--locked", "missing.lock"), "cannot be read"),
        (("ghcr.io/acme/app:1", "--after", "policy.toml"), "not a bundle"),
    ],
)
def test_arguments_that_mean_nothing_are_refused_before_any_request(
    bench: Bench, arguments: tuple[str, ...], says: str
) -> None:
    done = subprocess.run(
        bench.command(*arguments), check=False, capture_output=True, text=True, timeout=60,
        cwd=bench.folder, env=bench.environment(),
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert not bench.registry.requests
    assert bench.left() == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_any_moment_leaves_nothing_under_the_final_name(
    bench: Bench, number: signal.Signals
) -> None:
    bench.registry.faults.append(Fault(pattern="/blobs/", on=None, delay=0.2))
    for wait in (0.3, 0.8, 1.4):
        process = subprocess.Popen(
            bench.command(bench.reference), cwd=bench.folder, env=bench.environment(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(wait)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
        if process.returncode == 0:
            break
        # Before Python has set its handlers, a signal simply ends it.
        assert process.returncode in {20, -number}, said
        # Python itself complains where a signal meets it while it starts a thread or imports.
        assert "Traceback" not in said or wait == 0.3 or "Exception ignored in" in said, said
        if "bundle.tar.zst" in bench.left():
            # All was done, and Python was about to end.
            assert bench.inspect()["images"]
            break
        assert bench.left() == set()
    bench.registry.faults.clear()
    assert bench.pack().returncode == 0, "good after bad"


def test_an_interrupted_download_goes_on_where_it_stopped(bench: Bench) -> None:
    image = hello_image(bench.store, tag="3.0.0", extra=[Layer.noise(3_000_000)])
    signed = bench.world.sign_image_legacy(image.digest, bench.world.managed("release"), log="v1")
    attach.attach_tag(image, [signed.layer()])
    reference = f"{bench.registry.host}/acme/app:3.0.0"
    layer = bench.store.json(image.digest)["layers"][1]["digest"]
    bench.registry.faults += [
        Fault(pattern=f"/blobs/{layer}", truncate=1_000_000),
        Fault(pattern=f"/blobs/{layer}", on=None, status=503),
    ]
    process = subprocess.Popen(
        bench.command(reference), cwd=bench.folder, env=bench.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    partial = bench.folder / "cache" / "partial"
    while time.monotonic() < deadline:
        if any(path.stat().st_size == 1_000_000 for path in partial.glob("*.part")):
            break
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=30)
    # Nobody could tidy up; what is left was never called a bundle, and is written over.
    assert bench.left() == {"bundle.tar.zst.part"}
    bench.registry.faults.clear()
    bench.registry.requests.clear()
    assert bench.pack(reference).returncode == 0
    [asked] = bench.registry.seen(f"/blobs/{layer}")
    assert asked.headers["range"] == "bytes=1000000-"


def test_a_registry_without_ranges_sends_from_the_beginning_behind_a_break(bench: Bench) -> None:
    image = hello_image(bench.store, tag="3.0.0", extra=[Layer.noise(6_000_000)])
    signed = bench.world.sign_image_legacy(image.digest, bench.world.managed("release"), log="v1")
    attach.attach_tag(image, [signed.layer()])
    layer = bench.store.json(image.digest)["layers"][1]["digest"]
    bench.registry.features.ranges = False
    bench.registry.faults.append(Fault(pattern=f"/blobs/{layer}", truncate=4_000_000))
    done = bench.pack(f"{bench.registry.host}/acme/app:3.0.0")
    assert done.returncode == 0, done.stderr
    assert len(bench.registry.seen(f"/blobs/{layer}")) == 2
