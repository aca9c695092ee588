"""The packed program itself, in a process without network, environment, or Python beside it."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.loading import REPOSITORY, FarSide, Publisher
from tests.fakes.images import Layer
from tests.presence import FROZEN
from tests.unit.loader.verify.test_conformance_suite import REASONS, SUITE
from tests.unit.loader.verify.test_conformance_suite import arguments as suite_arguments

pytestmark = pytest.mark.engine("frozen")
CONFORMANCE = (
    *("happy-path-v0.1", "happy-path-v0.3", "happy-path-intoto-in-dsse-v3"),
    *("intoto-with-custom-trust-root", "managed-key-happy-path", "rekor2-dsse-happy-path"),
    *("rekor2-timestamp-without-embedded-cert", "set-invalid-signature_fail"),
    *("inclusion-proof-corrupted-hash_fail", "managed-key-wrong-key_fail"),
    *("rekor2-no-timestamp_fail", "bundle-malformed-json_fail"),
)


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def host(tmp_path: Path, publisher: Publisher) -> FarSide:
    root = publisher.write_host(tmp_path / "host")
    return FarSide(root, tmp_path / "loaded", program=(str(FROZEN),))


def test_the_frozen_program_does_the_main_job(
    host: FarSide, publisher: Publisher, tmp_path: Path
) -> None:
    one, two = tmp_path / "1.tar.zst", tmp_path / "2.tar.zst"
    publisher.bundle(one, sequence=1, days=1, multi=True)
    publisher.bundle(two, sequence=2, days=2, multi=True)
    environment = {"PYTHONPATH": "/nonexistent", "PYTHONSTARTUP": "/nonexistent"}
    ran = host.run("verify", one, "--json", environment=environment)
    assert (ran.status, ran.err) == (0, "")
    assert "seccomp: sockets are AF_UNIX only" in ran.verdict["confinement"]
    assert host.load(two).status == 0
    [entry] = json.loads((host.loaded / "index.json").read_bytes())["manifests"]
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == f"{REPOSITORY}:1"
    before = host.untouched()
    assert host.load(one).status == 16
    spoiled = tmp_path / "3.tar.zst"
    raw = bytearray(two.read_bytes())
    raw[-len(raw) // 8] ^= 1
    spoiled.write_bytes(raw)
    assert host.load(spoiled).status == 19
    assert host.untouched() == before


def test_the_frozen_program_verifies_a_file(
    host: FarSide, publisher: Publisher, tmp_path: Path
) -> None:
    world = publisher.world
    file, bundle, root = tmp_path / "file", tmp_path / "bundle", tmp_path / "root.json"
    file.write_bytes(b"the release")
    bundle.write_text(json.dumps(world.sign(b"the release", world.keyless()).bundle()))
    root.write_text(json.dumps(world.trusted_root()))
    options = ["--bundle", str(bundle), "--trusted-root", str(root)]
    options += ["--certificate-identity-regexp", r"https://github\.com/acme/app/.*"]
    options += ["--certificate-oidc-issuer", "https://token.actions.githubusercontent.com"]
    ran = host.run("verify-blob", file, *options, "--json")
    assert (ran.status, ran.err) == (0, "")
    assert "seccomp: sockets are AF_UNIX only" in ran.verdict["confinement"]
    file.write_bytes(b"another release")
    assert host.run("verify-blob", file, *options).status == 11


@pytest.mark.engine("netns")
@pytest.mark.usefixtures("shared_dir")
@pytest.mark.parametrize("name", CONFORMANCE)
def test_the_frozen_program_speaks_the_conformance_protocol(name: str) -> None:
    # All 140 run in tests/unit; here one of each format and log, and of each kind of refusal.
    case = SUITE / name
    artifact = case / "artifact" if (case / "artifact").exists() else SUITE / "a.txt"
    done = subprocess.run(
        ["unshare", "-rn", FROZEN, "verify-bundle", *suite_arguments(case), artifact],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={},
    )
    if name.endswith("_fail"):
        assert done.returncode not in {0, 1, 70}
        assert done.stderr.startswith(f"error[{REASONS[name]}]: ")
    else:
        assert (done.returncode, done.stderr) == (0, "")


def test_the_frozen_doctor_knows_which_glibc_it_needs(host: FarSide) -> None:
    ran = host.run("doctor")
    assert ran.status == 0, ran.out
    assert re.search(r"^ok +glibc +[\d.]+ found, 2\.\d+ or later needed$", ran.out, re.MULTILINE)
    assert "frozen, Python" in ran.out


@pytest.mark.engine("strace")
def test_the_frozen_program_makes_no_network_socket(
    host: FarSide, publisher: Publisher, tmp_path: Path
) -> None:
    bundle, log = tmp_path / "1.tar.zst", tmp_path / "strace"
    publisher.bundle(bundle, extra=[Layer.noise(100_000)])
    command = host.command("load", bundle, "--into", f"oci:{host.loaded}", isolated=False)
    subprocess.run(
        ["strace", "-f", "-e", "trace=%network", "-o", log, *command],
        check=True,
        capture_output=True,
        timeout=60,
    )
    tried = [line for line in log.read_text().splitlines() if re.search(r"AF_(?!UNIX)", line)]
    assert any("AF_INET, " in line for line in tried), "the deliberate attempt was not seen"
    assert all("EPERM" in line for line in tried), tried


def test_it_is_quick(host: FarSide, publisher: Publisher, tmp_path: Path) -> None:
    # The figures are the bench's; here only that nothing takes seconds.
    bundle = tmp_path / "1.tar.zst"
    publisher.bundle(bundle)
    for arguments in (("--version",), ("verify", str(bundle))):
        times = []
        for _ in range(3):
            began = time.monotonic()
            assert host.run(*arguments, isolated=False).status == 0
            times.append(time.monotonic() - began)
        print(arguments[0], f"{min(times):.2f} s")
        assert min(times) < 2.5
