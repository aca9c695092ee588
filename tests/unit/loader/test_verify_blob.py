"""`airlock-loader verify-blob`: the shared blobs, the options, and hostile files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loader.blob import HELD_MAX, BlobRequest, verify_blob
from loader.errors import AirlockError
from loader.places import Places
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.identity import workflow
from tests.fakes.sigworld.world import World
from tests.presence import ROOT, SHARED

FIXTURES = SHARED / "fixtures"
SAN = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0"
ISSUER = "https://token.actions.githubusercontent.com"
SIGNER = {"certificate-identity": SAN, "certificate-oidc-issuer": ISSUER}
CONTENT = b"the release\n"
LINE = re.MULTILINE


def _blobs() -> list[dict[str, Any]]:
    path = FIXTURES / "fixtures.json"
    blobs: list[dict[str, Any]] = json.loads(path.read_bytes())["blobs"] if path.is_file() else []
    return blobs


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loader", "verify-blob", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
    )


def shared_options(verify: dict[str, Any]) -> Iterator[str | Path]:
    if "key" in verify:
        yield from ("--key", FIXTURES / verify["key"])
    else:
        yield from ("--certificate-identity", verify["identity"])
        yield from ("--certificate-oidc-issuer", verify["issuer"])
    if verify["require_tlog"] or verify["require_timestamp"] or "identity" in verify:
        yield from ("--trusted-root", FIXTURES / verify["trusted_root"])
        yield from ("--log", "promise" if verify["require_tlog"] else "none")
        yield from ("--timestamps", str(int(verify["require_timestamp"])))


@pytest.mark.usefixtures("shared_dir")
@pytest.mark.parametrize("blob", _blobs(), ids=lambda b: b["id"])
def test_the_shared_blobs(blob: dict[str, Any]) -> None:
    bundle = FIXTURES / blob["bundle"]
    done = run(FIXTURES / blob["blob"], "--bundle", bundle, *shared_options(blob["verify"]))
    if blob["expect"] == "pass":
        assert (done.returncode, done.stderr) == (0, ""), blob["why"]
        assert done.stdout.splitlines()[-1].startswith("VERIFIED: bundle v0.")
    else:
        assert done.returncode in {11, 12, 14, 19}, blob["why"]
        assert done.stdout == ""
        assert re.match(r"airlock: error\[[a-z.-]+\]: ", done.stderr)


@pytest.fixture
def world() -> World:
    return World("acme")


@pytest.fixture
def folder(world: World, tmp_path: Path) -> Path:
    (tmp_path / "root.json").write_text(json.dumps(world.trusted_root()))
    (tmp_path / "file").write_bytes(CONTENT)
    signed = world.sign(CONTENT, world.keyless())
    (tmp_path / "bundle").write_text(json.dumps(signed.bundle()))
    return tmp_path


def judge(folder: Path, **who: Any) -> str:  # noqa: ANN401
    """The code of the refusal, empty where there is none."""
    named = {name.replace("_", "-"): value for name, value in who.items()}
    request = BlobRequest(file=folder / "file", bundle=folder / "bundle", who=named)
    try:
        verify_blob(request, Places.under(folder / "host"))
    except AirlockError as e:
        return e.code
    return ""


def keyless(folder: Path, **who: Any) -> str:  # noqa: ANN401
    return judge(folder, **{"trusted-root": str(folder / "root.json"), **SIGNER, **who})


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({}, ""),
        ({"certificate-identity": SAN[:-1]}, "identity.mismatch"),
        ({"certificate-oidc-issuer": ISSUER + "/"}, "identity.mismatch"),
        ({"certificate-extension": {"runner-environment": "github-hosted"}}, ""),
        ({"certificate-extension": {"runner-environment": "self-hosted"}}, "identity.mismatch"),
        ({"certificate-extension": {"runner": "self-hosted"}}, "usage.arguments"),
        ({"log": "proof"}, ""),
        ({"timestamps": 1}, "policy.condition"),
        ({"sct": 2}, "policy.condition"),
        ({"sct": 99}, "usage.arguments"),
        ({"key": "x.pub"}, "usage.arguments"),
        ({"trusted-root": "nowhere"}, "trustroot.missing"),
        ({"trusted-root": "./nowhere.json"}, "usage.anchor"),
        ({"trusted-root": "sigstore"}, "signature.no-time"),
    ],
    ids=str,
)
def test_every_option_means_what_it_means_in_a_policy(
    folder: Path, changed: dict[str, Any], code: str
) -> None:
    assert keyless(folder, **changed) == code


def test_patterns_match_the_whole(folder: Path) -> None:
    who = {
        "trusted-root": str(folder / "root.json"),
        "certificate-oidc-issuer-regexp": r"https://token\.actions\..*",
    }
    whole = r"https://github\.com/acme/app/.*"
    assert judge(folder, **who, **{"certificate-identity-regexp": whole}) == ""
    part = r"github\.com/acme/app"
    assert judge(folder, **who, **{"certificate-identity-regexp": part}) == "identity.mismatch"
    assert judge(folder, **who, **{"certificate-identity-regexp": ".*"}) == "usage.arguments"


def test_a_name_is_never_looked_for_in_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever hands over a stick chooses what lies beside the file.
    planted = folder / "anchors" / "acme" / "trusted_root.json"
    planted.parent.mkdir(parents=True)
    planted.write_bytes((folder / "root.json").read_bytes())
    monkeypatch.chdir(folder)
    assert keyless(folder, **{"trusted-root": "acme"}) == "trustroot.missing"
    pinned = Places.under(folder / "host").anchors / "acme" / "trusted_root.json"
    pinned.parent.mkdir(parents=True)
    pinned.write_bytes(planted.read_bytes())
    assert keyless(folder, **{"trusted-root": "acme"}) == ""


def test_a_statement_about_the_file(world: World, folder: Path) -> None:
    def attest(content: bytes) -> None:
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        signed = world.sign_image(digest, world.keyless())
        (folder / "bundle").write_text(json.dumps(signed.bundle()))

    attest(CONTENT)
    assert keyless(folder) == ""
    attest(CONTENT + b"\n")
    assert keyless(folder) == "signature.subject"


@pytest.mark.parametrize("size", [0, HELD_MAX, HELD_MAX + 1])
@pytest.mark.parametrize("kind", ["P-256", "Ed25519"])
def test_files_of_every_size(world: World, folder: Path, size: int, kind: str) -> None:
    content = bytes(size)
    (folder / "file").write_bytes(content)
    signer = world.managed(kind=kind)
    (folder / "key.pub").write_bytes(signer.public_pem)
    signed = world.sign(content, signer, log="none")
    (folder / "bundle").write_text(json.dumps(signed.bundle()))
    # Ed25519 signs the bytes themselves, and what is too large is not held.
    refused = kind == "Ed25519" and size > HELD_MAX
    assert judge(folder, key=str(folder / "key.pub")) == ("signature.mismatch" if refused else "")


def test_another_file(folder: Path) -> None:
    (folder / "file").write_bytes(CONTENT + b"x")
    assert keyless(folder) == "signature.digest"


def test_whose_source_the_file_is_of(world: World, folder: Path) -> None:
    called = "acme/ci/.github/workflows/build.yml@refs/tags/v3"
    signer = world.keyless(workflow("evil/app", called=called))
    (folder / "bundle").write_text(json.dumps(world.sign(CONTENT, signer).bundle()))
    who = {"certificate-identity": f"https://github.com/{called}"}
    assert keyless(folder, **who) == ""
    source = {"certificate-extension": {"source-repository-uri": "https://github.com/acme/app"}}
    assert keyless(folder, **who, **source) == "identity.mismatch"


@pytest.mark.parametrize("which", ["file", "bundle"])
@pytest.mark.parametrize("what", ["absent", "folder", "fifo", "device"])
def test_what_is_no_file_hangs_nobody(folder: Path, which: str, what: str) -> None:
    path = folder / which
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    assert keyless(folder) == "io.input"


def test_a_bundle_that_is_too_large_or_no_bundle(folder: Path) -> None:
    (folder / "bundle").write_bytes(b"[" * 100_000)
    assert keyless(folder).partition(".")[0] in {"json", "limit"}
    with (folder / "bundle").open("wb") as file:
        file.truncate(HELD_MAX + 1)
    assert keyless(folder) == "io.input"


def test_the_verdict_in_words_and_as_json(folder: Path) -> None:
    options: list[str | Path] = [folder / "file", "--bundle", folder / "bundle"]
    options += ["--trusted-root", folder / "root.json"]
    for name, value in SIGNER.items():
        options += [f"--{name}", value]
    done = run(*options)
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout
    assert f"signed by  {SAN} (issuer {ISSUER})" in said
    assert re.search(r"^  at +2026-01-15T12:00:02Z, says the log 'https://rekor1", said, LINE)
    assert re.search(r"^  log +'https://rekor1\S+, index \d+: promised and proof", said, LINE)
    done = run(*options, "--json")
    document = json.loads(done.stdout)
    assert (document["schema"], document["verdict"]) == ("airlock-blob/1", "accept")
    assert document["signed"]["signer"]["identity"] == SAN
    assert "seccomp: sockets are AF_UNIX only" in document["confinement"]
    (folder / "file").write_bytes(b"another")
    done = run(*options, "--json")
    document = json.loads(done.stdout)
    assert (document["verdict"], document["code"]) == ("reject", "signature.digest")
    assert (done.returncode, document["exit_status"], document["signed"]) == (11, 11, None)
    assert done.stderr.startswith("airlock: error[signature.digest]: ")


def test_what_others_wrote_is_reduced_to_plain_text(world: World, folder: Path) -> None:
    statement = statements.image_statement("sha256:" + "0" * 64)
    statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(CONTENT).hexdigest()
    statement["predicateType"] = "https://\x1b[31mevil\u202e"
    signed = world.sign_statement(statement, world.keyless())
    (folder / "bundle").write_text(json.dumps(signed.bundle()))
    options: list[str | Path] = ["--trusted-root", folder / "root.json"]
    for name, value in SIGNER.items():
        options += [f"--{name}", value]
    done = run(folder / "file", "--bundle", folder / "bundle", *options)
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout + done.stderr


def test_options_that_are_missing_are_usage(folder: Path) -> None:
    assert run(folder / "file").returncode == 2
    done = run(folder / "file", "--bundle", folder / "bundle")
    assert done.returncode == 2
    assert "nobody is named" in done.stderr
    done = run(folder / "file", "--bundle", folder / "bundle", "--certificate-identity", "x")
    assert '`trusted-root = "sigstore"`' in done.stderr
