"""Promises of a real Rekor, completed: cosign 2 signs, rekor-server logs, `airlock pack` asks it.

The fixture `kp-legacy-rekor1` was made the same way against a log that is gone; its key and tree
cannot come back. So its kind is made anew here, by the same cosign, against a log that runs; the
fixture itself is packed against that log, which knows nothing of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_collect_engines import push
from tests.engines import Registry
from tests.fakes import images
from tests.fakes.content import ContentStore
from tests.presence import ROOT
from tests.rekor import HOSTNAME, Rekor

pytestmark = pytest.mark.engine("rekor", "cosign2", "olareg", "regctl")

POLICY = """\
schema = 1
[anchor.log]
trusted-root = "trusted_root.json"
[anchor.release]
key = "cosign.pub"
[[image]]
match = "{match}"
name = "as-packed"
[[image.require]]
claim = "signature"
key = "release"
trusted-root = "log"
log = "{log}"
"""


@dataclass(frozen=True, slots=True)
class Bench:
    """A folder to pack in, a registry, and the log."""

    folder: Path
    registry: Registry
    log: Rekor
    image: images.Image

    @property
    def reference(self) -> str:
        return f"{self.registry.host}/acme/app:1.0.0"

    def run(self, *argv: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(ROOT), **more
        }  # fmt: skip
        return subprocess.run(
            list(map(str, argv)),
            check=False, capture_output=True, text=True, timeout=120, cwd=self.folder, env=env,
        )  # fmt: skip

    def sign(self) -> None:
        """Sign the image as `cosign sign` 2 does: a tag, and the log's promise beside it."""
        done = self.run(
            *("cosign2", "sign", "-y", "--key", "cosign.key", "--rekor-url", self.log.url),
            f"{self.registry.host}/acme/app@{self.image.digest}",
            COSIGN_PASSWORD="",
            SIGSTORE_REKOR_PUBLIC_KEY=str(self.log.public_key),
        )
        assert done.returncode == 0, done.stderr

    def pack(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(
            *(sys.executable, "-m", "bundler.cli", "pack", "--policy", "policy.toml"),
            *("--plain-http", self.registry.host, "--plain-http", self.log.host),
            *("--cache", "cache", "--output", "bundle.tar.zst"),
            *(arguments or (self.reference,)),
        )

    def verify(self) -> subprocess.CompletedProcess[str]:
        return self.run(
            *(sys.executable, "-m", "loader", "--root", "host", "verify", "bundle.tar.zst"),
            *("--policy", "policy.toml", "--json"),
        )

    def write_policy(self, log: str, *, match: str | None = None) -> None:
        text = POLICY.format(match=match or f"{self.registry.host}/acme/*", log=log)
        (self.folder / "policy.toml").write_text(text)


@pytest.fixture
def bench(tmp_path: Path, olareg: Registry, rekor: Rekor) -> Bench:
    store = ContentStore()
    # Another image each time: the log refuses what it holds already, and tags may move.
    image = images.hello_index(store, version=tmp_path.name)
    push(store.write_layout(tmp_path / "layout"), olareg, tmp_path)
    (tmp_path / "trusted_root.json").write_bytes(rekor.trusted_root())
    made = Bench(tmp_path, olareg, rekor, image)
    done = made.run("cosign2", "generate-key-pair", COSIGN_PASSWORD="")
    assert done.returncode == 0, done.stderr
    made.write_policy("proof")
    return made


def evidence(bench: Bench) -> list[dict[str, Any]]:
    done = bench.run(sys.executable, "-m", "bundler.cli", "inspect", "bundle.tar.zst", "--json")
    assert done.returncode == 0, done.stderr
    [image] = json.loads(done.stdout)["images"]
    found: list[dict[str, Any]] = image["evidence"]
    return found


def test_a_promise_of_a_real_log_is_proven(bench: Bench) -> None:
    """cosign 2 keeps the promise alone; the log that runs proves it; the far side wants proof."""
    bench.sign()
    done = bench.pack()
    assert done.returncode == 0, done.stderr
    assert "1 signature-tag, 1 supplement" in done.stdout
    assert [item["store"] for item in evidence(bench)] == ["signature-tag", "supplement"]
    verified = bench.verify()
    assert verified.returncode == 0, verified.stderr
    [image] = json.loads(verified.stdout)["images"]
    assert [one["store"] for one in image["considered"]] == ["signature-tag"], "no complaint"
    [claim] = image["claims"]
    assert claim["holds"] == "met"
    [place] = claim["logs"]
    assert place["log"] == bench.log.log_id.hex()
    assert bench.log.ask(f"/api/v1/log/entries?logIndex={place['log_index']}")


def test_without_the_proof_of_a_real_log_nothing_is_sealed(bench: Bench) -> None:
    bench.sign()
    done = bench.pack(bench.reference, "--no-log-proofs")
    assert done.returncode == 14, done.stderr
    assert "error[policy.condition]" in done.stderr
    bench.write_policy("promise")
    assert bench.pack(bench.reference, "--no-log-proofs").returncode == 0, "the promise holds"


@pytest.mark.engine("shared")
def test_a_log_that_does_not_know_an_entry_proves_nothing(bench: Bench, shared_dir: Path) -> None:
    """`kp-legacy-rekor1` was promised by another log; this one has other entries, or none there."""
    bench.sign()
    with tarfile.open(shared_dir / "fixtures/layouts/kp-legacy-rekor1.tar.gz") as archive:
        archive.extractall(bench.folder / "fixture", filter="data")
    [layout] = (path.parent for path in (bench.folder / "fixture").rglob("oci-layout"))
    for source, name in (
        ("trust/trusted_root.json", "trusted_root.json"),
        ("keys/acme.pub", "cosign.pub"),
    ):
        (bench.folder / name).write_bytes((shared_dir / "fixtures" / source).read_bytes())
    wanted = (f"registry.acme.example/acme/app:1.0.0=oci:{layout}:1.0.0", "--rekor-url")
    bench.write_policy("promise", match="registry.acme.example/acme/*")
    done = bench.pack(*wanted, bench.log.url)
    assert done.returncode == 0, done.stderr
    assert "a promise stays without proof: remote." in done.stdout + done.stderr
    assert "supplement" not in [item["store"] for item in evidence(bench)]
    bench.write_policy("proof", match="registry.acme.example/acme/*")
    assert bench.pack(*wanted, bench.log.url).returncode == 14


def test_a_real_log_is_witnessed_from_bundle_to_bundle(bench: Bench) -> None:
    """Checkpoints and consistency proofs of rekor-server itself, and a host that compares them."""
    policy = bench.folder / "policy.toml"
    root = 'trusted-root = "trusted_root.json"\n'
    policy.write_text(policy.read_text().replace(root, root + 'witness = "require"\n'))
    sizes: list[int] = []
    for sequence in (1, 2, 3):
        bench.sign()
        placed = ("--channel", "stable", "--sequence", str(sequence))
        done = bench.pack(bench.reference, *placed, "--json")
        assert done.returncode == 0, done.stderr
        [log] = json.loads(done.stdout)["logs"]
        assert log["origin"].startswith(f"{HOSTNAME} - ")
        assert set(sizes) <= set(log["continues"]), "each head that was shipped before"
        sizes.append(log["size"])
        loaded = bench.run(
            *(sys.executable, "-m", "loader", "--root", "host", "load", "bundle.tar.zst"),
            *("--policy", "policy.toml", "--json", "--into", "oci:loaded"),
        )
        assert loaded.returncode == 0, loaded.stderr
        [seen] = json.loads(loaded.stdout)["logs"]
        assert seen["holds"] == ("first" if sequence == 1 else "witnessed")
        assert seen["size"] == sizes[-1]
    assert sizes == sorted(set(sizes)), "the log grew from bundle to bundle"
