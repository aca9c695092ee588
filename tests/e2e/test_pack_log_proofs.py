"""`airlock pack` completes promises: the log on loopback, the bundle, its lock, the far side."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e import test_pack_line
from tests.e2e.test_pack_line import Bench, sha256
from tests.fakes import attach
from tests.fakes.images import hello_index
from tests.fakes.rekor_server import FakeRekor

bench = test_pack_line.bench


@pytest.fixture
def log(bench: Bench) -> Iterator[FakeRekor]:
    bench.world.rekor1.grow(5)
    bench.log_proofs = True
    with FakeRekor(bench.world.rekor1) as log:
        yield log


@pytest.fixture
def wants_proof(bench: Bench) -> Bench:
    """The bench's policy, wanting a proof for the image's signature."""
    path = bench.folder / "policy.toml"
    text = path.read_text()
    path.write_text(
        text.replace('trusted-root = "acme"\n', 'trusted-root = "acme"\nlog = "proof"\n')
    )
    assert path.read_text() != text
    return bench


def asking(bench: Bench, log: FakeRekor) -> tuple[str, ...]:
    return (bench.reference, "--rekor-url", log.url, "--plain-http", log.host)


def stores(bench: Bench, name: str = "bundle.tar.zst") -> list[str]:
    [image] = bench.inspect(name)["images"]
    return [item["store"] for item in image["evidence"]]


def test_a_proof_is_asked_for_and_counts(wants_proof: Bench, log: FakeRekor) -> None:
    bench = wants_proof
    done = bench.pack(*asking(bench, log))
    assert done.returncode == 0, done.stderr
    assert "1 signature-tag, 1 supplement" in done.stdout
    assert stores(bench) == ["signature-tag", "supplement"]
    assert len(log.asked) == 1
    verified = subprocess.run(
        [sys.executable, "-m", "loader", "--root", "host", "verify", "bundle.tar.zst",
         "--policy", "policy.toml", "--json"],
        check=False, capture_output=True, text=True, timeout=60,
        cwd=bench.folder, env=bench.environment(),
    )  # fmt: skip
    assert verified.returncode == 0, verified.stderr
    [image] = json.loads(verified.stdout)["images"]
    assert [one["store"] for one in image["considered"]] == ["signature-tag"], "no complaint"


def test_without_a_proof_the_far_side_would_refuse(wants_proof: Bench, log: FakeRekor) -> None:
    bench = wants_proof
    done = bench.pack(*asking(bench, log), "--no-log-proofs")
    assert done.returncode == 14, done.stderr
    assert "error[policy.condition]" in done.stderr
    assert log.asked == []
    assert bench.left() == set()


def test_a_log_that_cannot_be_asked_is_said(bench: Bench, log: FakeRekor) -> None:
    log.status = 500
    done = bench.pack(*asking(bench, log), "--json")
    assert done.returncode == 0, done.stderr
    [note] = json.loads(done.stdout)["notes"]
    assert "https://rekor1.acme.example: a promise stays without proof: remote.unavailable" in note
    assert stores(bench) == ["signature-tag"]


def test_a_log_that_lies_makes_no_bundle_where_a_proof_is_wanted(
    wants_proof: Bench, log: FakeRekor
) -> None:
    bench = wants_proof
    log.lie = lambda said, _: json.dumps(said).replace('"treeSize": 11', '"treeSize": 10').encode()
    done = bench.pack(*asking(bench, log))
    assert done.returncode == 14, done.stderr
    assert bench.left() == set()


def test_a_lock_holds_its_proofs_and_asks_nobody(wants_proof: Bench, log: FakeRekor) -> None:
    bench = wants_proof
    assert bench.pack(*asking(bench, log)).returncode == 0
    bench.world.rekor1.grow(7)  # the log would give another proof now
    log.asked.clear()
    done = bench.pack("--locked", "airlock.lock", "--cache", "cold", output="again.tar.zst")
    assert done.returncode == 0, done.stderr
    assert log.asked == []
    assert sha256(bench.folder / "again.tar.zst") == sha256(bench.folder / "bundle.tar.zst")


def test_a_lock_without_its_proofs_says_so(wants_proof: Bench, log: FakeRekor) -> None:
    bench = wants_proof
    assert bench.pack(*asking(bench, log)).returncode == 0
    path = bench.folder / "airlock.lock"
    document = json.loads(path.read_text())
    del document["supplements"]
    path.write_text(json.dumps(document))
    done = bench.pack("--locked", "airlock.lock", "--cache", "cold", output="again.tar.zst")
    assert done.returncode == 19, done.stderr
    assert "does not hold it" in done.stderr


def test_a_bundle_toml_says_where_to_ask(bench: Bench, log: FakeRekor) -> None:
    (bench.folder / "bundle.toml").write_text(
        f'schema = 1\nimages = ["{bench.reference}"]\n'
        f'[registry]\nplain-http = ["{bench.registry.host}", "{log.host}"]\n'
        f'[log]\nrekor-url = "{log.url}"\n'
    )
    assert bench.pack("--file", "bundle.toml").returncode == 0
    assert stores(bench) == ["signature-tag", "supplement"]
    text = (bench.folder / "bundle.toml").read_text()
    (bench.folder / "bundle.toml").write_text(text + "proofs = false\n")
    assert bench.pack("--file", "bundle.toml", output="bare.tar.zst").returncode == 0
    assert stores(bench, "bare.tar.zst") == ["signature-tag"]


@pytest.mark.parametrize("line", ['rekor-url = "ftp://x"', "proofs = 1", 'rekor = "x"'])
def test_a_bundle_toml_that_means_nothing(bench: Bench, line: str) -> None:
    (bench.folder / "bundle.toml").write_text(f"schema = 1\n[log]\n{line}\n")
    assert bench.pack("--file", "bundle.toml").returncode == 2


def test_an_image_with_many_signatures(wants_proof: Bench, log: FakeRekor) -> None:
    """Others' promises are completed as well; one proof each."""
    bench = wants_proof
    image = hello_index(bench.store, tag="1.0.0")
    signers = [bench.world.managed(name) for name in ("release", "second", "third")]
    attach.attach_tag(
        image,
        [bench.world.sign_image_legacy(image.digest, one, log="v1").layer() for one in signers],
    )
    done = bench.pack(*asking(bench, log))
    assert done.returncode == 0, done.stderr
    assert stores(bench) == ["signature-tag", "supplement", "supplement", "supplement"]
