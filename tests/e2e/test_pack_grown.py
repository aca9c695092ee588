"""Bundle after bundle in a channel: the packer links what it shipped, the host witnesses it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e import test_pack_line
from tests.e2e.loading import FarSide
from tests.e2e.test_pack_line import Bench, sha256
from tests.fakes import attach
from tests.fakes.images import hello_index
from tests.fakes.rekor_server import FakeRekor

bench = test_pack_line.bench
ROOT = 'trusted-root = "trusted_root.json"\n'


@pytest.fixture
def log(bench: Bench) -> Iterator[FakeRekor]:
    bench.world.rekor1.grow(5)
    bench.log_proofs = True
    with FakeRekor(bench.world.rekor1) as log:
        yield log


@pytest.fixture
def host(bench: Bench) -> FarSide:
    """A host that wants every log witnessed."""
    policy = bench.folder / "policy.toml"
    policy.write_text(policy.read_text().replace(ROOT, ROOT + 'witness = "require"\n'))
    return FarSide(bench.folder / "host", bench.folder / "loaded")


def pack(
    bench: Bench, log: FakeRekor, sequence: int, *arguments: str, channel: str = "stable"
) -> subprocess.CompletedProcess[str]:
    """Publish the next release, and pack it: a tag that moves, as tags do."""
    image = hello_index(bench.store, version=f"1.{sequence}.0", tag="1.0.0")
    at = bench.world.later(days=1)
    signed = bench.world.sign_image_legacy(
        image.digest, bench.world.managed("release"), log="v1", at=at
    )
    attach.attach_tag(image, [signed.layer()])
    return bench.pack(
        *(bench.reference, "--rekor-url", log.url, "--plain-http", log.host),
        *("--channel", channel, "--sequence", str(sequence), *arguments),
        output=f"{sequence}.tar.zst",
    )


def load(bench: Bench, host: FarSide, sequence: int) -> dict[str, object]:
    ran = host.load(
        bench.folder / f"{sequence}.tar.zst", "--policy", str(bench.folder / "policy.toml")
    )
    assert ran.status == 0, ran.err
    [log] = ran.verdict["logs"]
    return {"holds": log["holds"], "from": log["remembered_size"], "to": log["size"]}


def test_every_bundle_links_to_all_before(bench: Bench, log: FakeRekor, host: FarSide) -> None:
    sizes = []
    for sequence in (1, 2, 3):
        done = pack(bench, log, sequence)
        assert done.returncode == 0, done.stderr
        sizes.append(bench.world.rekor1.tree.size)
        before = len(sizes) - 1
        assert f"log       {log.log.origin}: {sizes[-1]} leaves, continues {before}" in done.stdout
        bench.world.rekor1.grow(4)
    assert load(bench, host, 1)["holds"] == "first"
    # The second one never arrived: the third links to what the host remembers all the same.
    assert load(bench, host, 3) == {"holds": "witnessed", "from": sizes[0], "to": sizes[2]}
    heads = json.loads((bench.folder / "airlock.lock").read_text())["heads"]
    assert [int(head["size"]) for head in heads] == sizes


def test_a_lock_says_it_again_and_asks_nobody(bench: Bench, log: FakeRekor, host: FarSide) -> None:
    assert pack(bench, log, 1).returncode == 0
    assert pack(bench, log, 2).returncode == 0
    bench.world.rekor1.grow(7)
    log.paths.clear()
    done = bench.pack("--locked", "airlock.lock", "--cache", "cold", output="again.tar.zst")
    assert done.returncode == 0, done.stderr
    assert log.paths == []
    assert sha256(bench.folder / "again.tar.zst") == sha256(bench.folder / "2.tar.zst")
    assert load(bench, host, 1)["holds"] == "first"
    assert load(bench, host, 2)["holds"] == "witnessed"


def test_a_lost_lock_and_another_channel_begin_anew(
    bench: Bench, log: FakeRekor, host: FarSide
) -> None:
    assert pack(bench, log, 1).returncode == 0
    assert load(bench, host, 1)["holds"] == "first"
    assert pack(bench, log, 2, channel="beta").returncode == 0
    assert load(bench, host, 2)["holds"] == "first", "a channel of its own"
    done = pack(bench, log, 3)
    assert done.returncode == 0, done.stderr
    lost = host.load(bench.folder / "3.tar.zst", "--policy", str(bench.folder / "policy.toml"))
    assert (lost.status, lost.verdict["code"]) == (14, "policy.unwitnessed")
    assert "airlock.lock" in lost.err
    (bench.folder / "airlock.lock").write_text("{")
    note = json.loads(pack(bench, log, 4, "--json").stdout)["notes"]
    assert ["heads of logs are not remembered" in text for text in note] == [True]


def test_a_log_that_forks_is_said_here_and_refused_there(
    bench: Bench, log: FakeRekor, host: FarSide
) -> None:
    assert pack(bench, log, 1).returncode == 0
    assert load(bench, host, 1)["holds"] == "first"
    bench.world.rekor1 = log.log = bench.world.rekor1.fork(bench.world.rekor1.tree.size - 2)
    bench.world.rekor1.grow(9)
    done = pack(bench, log, 2)
    assert done.returncode == 0, done.stderr
    assert "is not linked to that of" in done.stdout
    assert "signature.consistency" in done.stdout
    ran = host.load(bench.folder / "2.tar.zst", "--policy", str(bench.folder / "policy.toml"))
    assert (ran.status, ran.verdict["code"]) == (14, "policy.unwitnessed")


def test_without_asking_there_is_nothing_to_show(bench: Bench, log: FakeRekor) -> None:
    done = pack(bench, log, 1, "--no-log-proofs")
    assert done.returncode == 0, done.stderr
    assert log.paths == []
    found = subprocess.run(
        [sys.executable, "-m", "bundler.cli", "inspect", "1.tar.zst", "--json"],
        check=True, capture_output=True, cwd=bench.folder, env=bench.environment(),
    )  # fmt: skip
    assert "log" not in [item["kind"] for item in json.loads(found.stdout)["trust"]]
