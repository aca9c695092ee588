"""What issue 3 names as bad input, through `airlock pack` as its user runs it.

A download that ends early, a registry that lies about a digest, a tag that moves between two
requests, a full disk: one clear line, and nothing under the final name or beside it. Ctrl-C is in
test_pack_line; docs/threat-model.md lists them all.
"""

from __future__ import annotations

import subprocess

import pytest

from tests.e2e import test_pack_line
from tests.e2e.test_pack_line import Bench
from tests.fakes import attach
from tests.fakes.faults import Fault
from tests.fakes.images import Layer, hello_image, hello_index

bench = test_pack_line.bench


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Return the code in the one line that says what is wrong."""
    [line] = [one for one in done.stderr.splitlines() if one.startswith("airlock: error[")]
    assert "Traceback" not in done.stderr
    return line.removeprefix("airlock: error[").partition("]")[0]


def layer_of(bench: Bench) -> str:
    [child, *_] = bench.store.json(bench.digest)["manifests"]
    digest: str = bench.store.json(child["digest"])["layers"][0]["digest"]
    return digest


def expect_failed(bench: Bench, done: subprocess.CompletedProcess[str], *codes: str) -> None:
    assert (done.returncode, said(done)) in [(30, code) for code in codes], done.stderr
    assert bench.left() == set()
    bench.registry.faults.clear()
    assert bench.pack().returncode == 0, "good after bad"


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("what", ["manifest", "layer"])
def test_a_download_that_always_ends_early_is_said(bench: Bench, what: str, *, reset: bool) -> None:
    place = rf"/manifests/{bench.digest}|/manifests/1\.0\.0$"
    if what == "layer":
        place = f"/blobs/{layer_of(bench)}"
    bench.registry.faults.append(Fault(pattern=place, on=None, truncate=7, reset=reset))
    expect_failed(bench, bench.pack(), "remote.truncated", "remote.unreachable")


@pytest.mark.parametrize("header", [False, True], ids=["without a header", "with the header"])
@pytest.mark.parametrize("what", ["index", "manifest", "layer"])
def test_a_registry_that_lies_about_a_digest_is_found_out(
    bench: Bench, what: str, *, header: bool
) -> None:
    [child, *_] = bench.store.json(bench.digest)["manifests"]
    digest = {"index": bench.digest, "manifest": child["digest"], "layer": layer_of(bench)}[what]
    raw = bytearray(bench.store.read(digest))
    raw[-3] ^= 1
    bench.registry.faults.append(
        Fault(
            pattern=f"/(manifests|blobs)/{digest}", on=None, body=bytes(raw),
            headers={"Docker-Content-Digest": digest} if header else {},
            without=() if header else ("Docker-Content-Digest",),
        )
    )  # fmt: skip
    reference = f"{bench.registry.host}/acme/app@{bench.digest}"
    expect_failed(bench, bench.pack(reference), "remote.digest")


def test_a_tag_that_moves_between_two_requests_is_packed_as_it_was_first(bench: Bench) -> None:
    def move() -> None:
        other = hello_index(bench.store, tag="1.0.0", version="6.6.6")
        signed = bench.world.sign_image_legacy(
            other.digest, bench.world.managed("release"), log="v1"
        )
        attach.attach_tag(other, [signed.layer()])

    bench.registry.faults.append(Fault(pattern=r"/manifests/1\.0\.0$", after=move))
    done = bench.pack()
    assert done.returncode == 0, done.stderr
    [image] = bench.inspect()["images"]
    assert image["digest"] == bench.digest
    assert len(bench.registry.seen(r"/manifests/1\.0\.0$")) == 1, "it is asked once"


@pytest.mark.engine("netns")
@pytest.mark.parametrize("place", ["cache", "out"])
def test_a_full_disk_is_said_and_nothing_is_half_written(bench: Bench, place: str) -> None:
    """A real file system of 2 MiB, below the cache or where the bundle belongs."""
    image = hello_image(bench.store, tag="9.0.0", extra=[Layer.noise(4_000_000)])
    signed = bench.world.sign_image_legacy(image.digest, bench.world.managed("release"), log="v1")
    attach.attach_tag(image, [signed.layer()])
    folder = bench.folder / place
    folder.mkdir(exist_ok=True)
    command = bench.command(f"{bench.registry.host}/acme/app:9.0.0", output="out/bundle.tar.zst")
    (bench.folder / "out").mkdir(exist_ok=True)
    script = 'mount -t tmpfs -o size=2m,mode=0700 tmpfs "$0" && "$@"; echo $?; ls -A out'
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script, str(folder), *command],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=bench.folder,
        env=bench.environment(),
    )
    status, *left = done.stdout.split()
    assert (status, left) == ("20", []), done.stdout + done.stderr
    assert said(done) == "nospace.disk"
    assert bench.left() <= {"out"}
