"""`airlock pack` asks sigstore-python before it seals, where there is something to ask."""

from __future__ import annotations

import json

from tests.e2e import test_pack_line
from tests.e2e.test_pack_line import Bench
from tests.fakes import attach
from tests.fakes.content import encode
from tests.fakes.images import hello_index

bench = test_pack_line.bench

KEYLESS = """\
trusted-root = "acme"
certificate-identity = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0"
certificate-oidc-issuer = "https://token.actions.githubusercontent.com"
"""


def keyless(bench: Bench) -> None:
    """Have the image signed by a workflow, and the policy want that."""
    path = bench.folder / "policy.toml"
    text = path.read_text()
    path.write_text(text.replace('key = "release"\ntrusted-root = "acme"\n', KEYLESS))
    assert path.read_text() != text
    image = hello_index(bench.store, tag="1.0.0")
    signed = bench.world.sign_image(image.digest, bench.world.keyless())
    attach.attach_bundle(image, encode(signed.bundle()))


def test_it_agrees_and_that_is_said(bench: Bench) -> None:
    keyless(bench)
    done = bench.pack(bench.reference, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["second_opinion"] == {"agreed": 1, "cannot_judge": {}}


def test_it_needs_no_home_and_no_network(bench: Bench) -> None:
    """It gets the trusted root that we judged by; it never looks for one of its own."""
    keyless(bench)
    done = bench.pack(bench.reference, environment={"HOME": "/nonexistent"})
    assert done.returncode == 0, done.stderr
    assert "second opinion (sigstore-python): 1 agreed" in done.stdout
    assert not (bench.folder / ".local").exists()
    assert not (bench.folder / ".cache").exists()


def test_where_there_is_nothing_to_ask_it_is_not_even_loaded(bench: Bench) -> None:
    done = bench.pack(bench.reference, environment={"PYTHONPROFILEIMPORTTIME": "1"})
    assert done.returncode == 0, done.stderr
    assert "0 agreed, 1 it cannot judge: it knows no cosign annotations" in done.stdout
    assert "bundler.second_opinion" in done.stderr, "the list of what was imported"
    assert "sigstore.verify" not in done.stderr
