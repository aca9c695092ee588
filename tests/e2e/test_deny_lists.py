"""`airlock deny add`, `pack --deny-list`, and a host that never forgets what it was told (T36)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e import test_pack_line
from tests.e2e.loading import FarSide
from tests.e2e.test_pack_line import Bench
from tests.fakes import attach
from tests.fakes.images import hello_index

bench = test_pack_line.bench
FILES = ("policy.toml", "trusted_root.json", "release.pub", "packer.pub")


def deny(bench: Bench, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "bundler.cli", "deny", "add", "--sign-key", "packer.key"),
            *("--output", "deny.json", *options),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=bench.folder,
        env=bench.environment(),
    )


def allow_lists(bench: Bench) -> None:
    policy = bench.folder / "policy.toml"
    policy.write_text(policy.read_text() + '\n[deny-list]\nkey = "packer"\n')


def host_of(bench: Bench, root: Path) -> FarSide:
    folder = root / "etc/airlock"
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copy(bench.folder / name, folder)
    return FarSide(root, root / "loaded")


def test_t36_a_list_is_signed_carried_applied_and_remembered(bench: Bench, tmp_path: Path) -> None:
    allow_lists(bench)
    second = hello_index(bench.store, version="2.0.0", tag="2.0.0")
    signed = bench.world.sign_image_legacy(second.digest, bench.world.managed("release"), log="v1")
    attach.attach_tag(second, [signed.layer()])
    done = deny(bench, "--digest", second.digest, "--reason", "CVE-2026-1")
    assert done.returncode == 0, done.stderr
    assert second.digest in done.stdout
    assert "CVE-2026-1" in done.stdout

    # The very bundle that brings the news would be refused, here already.
    other = bench.reference.replace(":1.0.0", ":2.0.0")
    refused = bench.pack(other, "--deny-list", "deny.json")
    assert refused.returncode == 17, refused.stderr
    assert "denied.listed" in refused.stderr

    first = bench.pack(bench.reference, "--deny-list", "deny.json")
    assert first.returncode == 0, first.stderr
    carried = [entry["kind"] for entry in bench.inspect()["trust"]]
    assert carried.count("deny-list") == 1
    without = bench.pack(other, output="second.tar.zst")
    assert without.returncode == 0, without.stderr

    fresh = host_of(bench, tmp_path / "fresh")
    assert fresh.load(bench.folder / "second.tar.zst").status == 0
    host = host_of(bench, tmp_path / "told")
    # Looking alone remembers nothing.
    assert host.verify(bench.folder / "bundle.tar.zst").status == 0
    assert host.verify(bench.folder / "second.tar.zst").status == 0
    assert host.load(bench.folder / "bundle.tar.zst").status == 0
    for again in (host.verify, host.load):
        ran = again(bench.folder / "second.tar.zst")
        assert ran.status == 17, ran.err

    # An image that is there already, and that news arrive about.
    assert fresh.run("verify-local", "--all").status == 0
    assert fresh.load(bench.folder / "bundle.tar.zst").status == 0
    ran = fresh.run("verify-local", "--all", "--json")
    assert ran.status == 17, ran.err
    assert {one["name"]: one["policy"] for one in ran.verdict["images"]} == {
        bench.reference: "accepted",
        other: "refused",
    }
    assert json.loads((bench.folder / "deny.json").read_bytes())["dsseEnvelope"]


def test_what_a_list_cannot_say_is_usage(bench: Bench) -> None:
    for options in (
        (),
        ("--digest", "sha256:1"),
        ("--identity", "a", "--digest", f"sha256:{'0' * 64}"),
        ("--issuer", "https://x", "--before", "2026-01-01"),
        ("--before", "tomorrow"),
        ("--key", "nowhere.pub"),
        ("--before", "2026-01-01", "--image", "*"),
    ):
        done = deny(bench, *options, "--reason", "x")
        assert done.returncode == 2, (options, done.stdout, done.stderr)
        assert not (bench.folder / "deny.json").exists()
    assert deny(bench, "--key", "release.pub", "--reason", "x").returncode == 0
    assert deny(bench, "--key", "release.pub", "--reason", "x").returncode == 2  # it is there


def test_a_file_that_is_no_list_is_not_packed(bench: Bench) -> None:
    (bench.folder / "deny.json").write_text("{}")
    assert bench.pack(bench.reference, "--deny-list", "deny.json").returncode == 2
    assert bench.pack(bench.reference, "--deny-list", "nowhere").returncode == 2
