"""What must not come in, through the command line: nothing loaded, left behind, or learned."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.model.bundle import BundleStatement
from tests.e2e.loading import POLICY, REPOSITORY, FarSide, Publisher, Ran
from tests.fakes.content import ContentStore, encode
from tests.fakes.images import Layer, hello_image
from tests.fakes.sigworld.world import World


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, publisher: Publisher) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "good.tar.zst"
    publisher.bundle(path, sequence=5, days=5, extra=[Layer.noise(300_000, seed=1)])
    return path


@pytest.fixture(scope="module")
def seasoned(tmp_path_factory: pytest.TempPathFactory, publisher: Publisher, good: Path) -> FarSide:
    """A host that loaded something before; every refusal must leave it so."""
    folder = tmp_path_factory.mktemp("host")
    host = FarSide(publisher.write_host(folder / "host"), folder / "loaded")
    assert host.load(good).status == 0
    return host


def expect_refused(host: FarSide, bundle: Path, status: int, code: str) -> Ran:
    """Refuse it, by verify and by load, and leave everything as it was but for one record."""
    before, count = host.untouched(), len(host.records())
    verified = host.verify(bundle)
    assert len(host.records()) == count, "verify wrote something"
    ran = host.load(bundle)
    for one in (verified, ran):
        assert (one.status, one.verdict["code"]) == (status, code), one.err
        assert one.verdict["verdict"] == "reject"
        assert one.error.startswith(f"airlock: error[{code}]: ")
        assert "\x1b" not in one.out + one.err
        assert "Traceback" not in one.err
    assert host.untouched() == before
    [record] = host.records()[count:]
    assert (record["outcome"], record["failure"]["code"]) == ("refused", code)
    return ran


def _unsigned_image(publisher: Publisher, path: Path) -> None:
    publisher.bundle(path, sequence=6, signed=False)


def _unsealed(publisher: Publisher, path: Path) -> None:
    publisher.bundle(path, sequence=6, seal=False)


def _sealed_by_a_stranger(publisher: Publisher, path: Path) -> None:
    stranger = Publisher(World(name="stranger"))
    stranger.release = publisher.release
    stranger.bundle(path, sequence=6)


def _sealed_for_another_statement(publisher: Publisher, path: Path) -> None:
    other = publisher.bundle(path, sequence=7)

    class Swapped(Publisher):
        def seal(self, statement: BundleStatement) -> bytes:
            return super().seal(other if statement is not other else statement)

    Swapped(publisher.world).bundle(path, sequence=6)


def _image_of_a_stranger(publisher: Publisher, path: Path) -> None:
    mixed = Publisher(publisher.world)
    mixed.release = publisher.world.managed("stranger")
    mixed.bundle(path, sequence=6)


def _unlogged_signature(publisher: Publisher, path: Path) -> None:
    other = Publisher(World(name="other"))  # its log is not in the host's trusted root
    other.release, other.packer = publisher.release, publisher.packer
    other.bundle(path, sequence=6)


def _another_repository(publisher: Publisher, path: Path) -> None:
    store = ContentStore()
    entry = publisher.entry(
        hello_image(store), tag="1", repository="registry.acme.example/other/app"
    )
    publisher.pack(path, store, [entry], sequence=6)


def _no_images(publisher: Publisher, path: Path) -> None:
    publisher.pack(path, ContentStore(), [], sequence=6)


def _one_name_twice(publisher: Publisher, path: Path) -> None:
    store = ContentStore()
    images = [hello_image(store, text=text) for text in ("one\n", "two\n")]
    entries = [publisher.entry(image, tag="1") for image in images]
    publisher.pack(path, store, entries, sequence=6)


@pytest.mark.parametrize(
    ("make", "status", "code"),
    [
        (_unsigned_image, 10, "no-evidence.claim"),
        (_unsealed, 10, "no-evidence.claim"),
        (_sealed_by_a_stranger, 11, "signature.unverified"),
        (_sealed_for_another_statement, 11, "signature.unverified"),
        (_image_of_a_stranger, 11, "signature.unverified"),
        (_unlogged_signature, 14, "policy.condition"),
        (_another_repository, 14, "policy.no-rule"),
        (_no_images, 14, "policy.empty"),
        (_one_name_twice, 14, "policy.name-twice"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)).lstrip("_"),
)
def test_what_policy_does_not_allow(
    make: Callable[[Publisher, Path], None],
    status: int,
    code: str,
    seasoned: FarSide,
    publisher: Publisher,
    tmp_path: Path,
) -> None:
    bundle = tmp_path / "x.tar.zst"
    make(publisher, bundle)
    ran = expect_refused(seasoned, bundle, status, code)
    assert ran.verdict["archive"]["layers_read"] == 0, "refused before the first layer"


def _cut(raw: bytes) -> bytes:
    return raw[:-200]


def _cut_in_half(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def _longer(raw: bytes) -> bytes:
    return raw + b"\0"


def _flipped_layer(raw: bytes) -> bytes:
    spoiled = bytearray(raw)
    spoiled[len(raw) // 2] ^= 1
    return bytes(spoiled)


def _flipped_statement(raw: bytes) -> bytes:
    spoiled = bytearray(raw)
    spoiled[100] ^= 1
    return bytes(spoiled)


def _empty(raw: bytes) -> bytes:
    del raw
    return b""


def _zeros(raw: bytes) -> bytes:
    return bytes(len(raw))


@pytest.mark.parametrize(
    ("spoil", "codes"),
    [
        (_cut, {"container.truncated"}),
        (_cut_in_half, {"container.truncated"}),
        (_longer, {"container.trailing", "container.zstd"}),
        (_flipped_layer, {"digest.mismatch", "container.zstd"}),
        (_flipped_statement, {"container.zstd", "json.syntax", "json.field"}),
        (_empty, {"container.truncated", "container.format", "container.zstd"}),
        (_zeros, {"container.format", "container.zstd", "tar.header", "missing.member"}),
    ],
    ids=lambda value: getattr(value, "__name__", "").lstrip("_"),
)
def test_a_broken_archive(
    spoil: Callable[[bytes], bytes], codes: set[str], seasoned: FarSide, good: Path, tmp_path: Path
) -> None:
    """A132 so far: a part of an archive by itself is one that was cut."""
    bundle = tmp_path / "x.tar.zst"
    bundle.write_bytes(spoil(good.read_bytes()))
    code = seasoned.verify(bundle).verdict["code"]
    assert code in codes
    expect_refused(seasoned, bundle, 19, code)
    assert seasoned.load(good).status == 0, "good after bad"


def test_a134_a_file_that_shows_8_gib_and_reads_zeros(seasoned: FarSide, tmp_path: Path) -> None:
    """A134: as a copy that was unplugged leaves it; said by its first bytes, not after 8 GiB."""
    bundle = tmp_path / "x.tar.zst"
    with bundle.open("wb") as file:
        file.truncate(8 << 30)
    started = time.monotonic()
    ran = expect_refused(seasoned, bundle, 19, seasoned.verify(bundle).verdict["code"])
    assert ran.verdict["class"] in {"container", "tar"}
    assert ran.verdict["archive"]["bytes_read"] < 1 << 20
    assert time.monotonic() - started < 20


def test_a_file_that_is_still_copied_is_not_held_broken(
    seasoned: FarSide, good: Path, tmp_path: Path
) -> None:
    # A120, FI-41: somebody appends while it is read. The loader comes to the end of what is there.
    bundle, raw = tmp_path / "x.tar.zst", good.read_bytes()
    bundle.write_bytes(raw[: len(raw) // 2])
    stop = threading.Event()

    def append() -> None:
        with bundle.open("ab", buffering=0) as file:
            for position in range(len(raw) // 2, len(raw) - 1000):
                if stop.is_set():
                    return
                file.write(raw[position : position + 1])
                time.sleep(0.001)

    writer = threading.Thread(target=append)
    writer.start()
    try:
        ran = seasoned.load(bundle)
    finally:
        stop.set()
        writer.join()
    assert (ran.status, ran.verdict["code"]) == (20, "partial-input.growing")
    assert ran.verdict["verdict"] == "error"
    bundle.write_bytes(raw)
    assert seasoned.load(bundle).status == 0


def _folder(path: Path, good: Path) -> None:
    del good
    path.mkdir()


def _fifo(path: Path, good: Path) -> None:
    del good
    os.mkfifo(path)


def _link(path: Path, good: Path) -> None:
    path.symlink_to(good)


def _absent(path: Path, good: Path) -> None:
    del path, good


@pytest.mark.parametrize("make", [_folder, _fifo, _link, _absent])
def test_what_is_no_regular_file_is_not_read(
    make: Callable[[Path, Path], None], seasoned: FarSide, good: Path, tmp_path: Path
) -> None:
    before = seasoned.untouched()
    make(tmp_path / "x", good)
    ran = seasoned.load(tmp_path / "x")
    assert (ran.status, ran.verdict["code"]) == (20, "io.input")
    assert ran.verdict["archive"]["bytes_read"] == 0
    assert seasoned.untouched() == before


def test_standard_input_is_refused_with_a_reason(seasoned: FarSide, good: Path) -> None:
    with good.open("rb") as file:
        ran = seasoned.run("load", "-", "--into", f"oci:{seasoned.loaded}", stdin=file)
    assert ran.status == 20
    assert "standard input" in ran.error


@pytest.mark.parametrize(
    "name", ["%s%n{}", "[red]x[-red]", "a\x1b[31m\nb", "-dash", "$(touch canary)", "x" * 250]
)
def test_a_file_may_be_called_anything(
    name: str, seasoned: FarSide, good: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / name
    bundle.write_bytes(good.read_bytes())
    ran = seasoned.run("verify", "--", f"{bundle}", cwd=tmp_path)
    assert ran.status == 0
    assert "\x1b" not in ran.out
    assert all(line.isprintable() for line in ran.out.splitlines())
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_a_policy_that_cannot_be_understood_is_usage(
    seasoned: FarSide, good: Path, tmp_path: Path
) -> None:
    before = seasoned.untouched()
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY.replace("claim =", "clam =", 1))
    ran = seasoned.load(good, "--policy", str(policy))
    assert ran.status == 2
    assert re.search(r"usage\.policy", ran.error)
    assert seasoned.untouched() == before


def test_a_damaged_memory_stops_everything(
    publisher: Publisher, good: Path, tmp_path: Path
) -> None:
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    assert host.load(good).status == 0
    (host.state / "floors").unlink()
    target = host.target()
    for ran in (host.verify(good), host.load(good)):
        assert (ran.status, ran.verdict["code"]) == (20, "state.missing")
        assert ran.verdict["archive"]["bytes_read"] == 0
    assert host.target() == target


def test_a_second_loader_hears_of_the_first(
    publisher: Publisher, good: Path, tmp_path: Path
) -> None:
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    host.state.mkdir(parents=True, mode=0o700)
    with subprocess.Popen(
        ["flock", "-x", str(host.state), "-c", "echo locked; read x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        ran = host.load(good)
        assert (ran.status, ran.verdict["code"]) == (20, "busy.lock")
        assert host.verify(good).status == 0, "who only looks waits for nobody"
        holder.communicate(b"\n")
    assert host.load(good).status == 0


def test_a_layout_that_holds_somebody_elses_image_under_the_name_keeps_it(
    publisher: Publisher, good: Path, tmp_path: Path
) -> None:
    theirs = FarSide(publisher.write_host(tmp_path / "host1"), tmp_path / "loaded")
    ours = FarSide(publisher.write_host(tmp_path / "host2"), tmp_path / "loaded")
    publisher.bundle(tmp_path / "x.tar.zst", version="theirs", days=9)
    assert theirs.load(tmp_path / "x.tar.zst").status == 0
    before = ours.target()
    ran = ours.load(good)
    assert (ran.status, ran.verdict["code"]) == (21, "runtime.tag-taken")
    assert ours.target() == before
    assert ours.memory()["channels"] == ours.memory()["loaded"] == []
    assert ours.records()[-1]["outcome"] == "failed"
    policy = tmp_path / "host2/etc/airlock/policy.toml"
    match = f'match = "{REPOSITORY.rpartition("/")[0]}/*"\n'
    policy.write_text(POLICY.replace(match, match + 'tags = "any"\n'))
    assert ours.load(good).status == 0


def test_one_image_of_several_that_cannot_be_loaded_takes_the_others_back(
    publisher: Publisher, tmp_path: Path
) -> None:
    theirs = FarSide(publisher.write_host(tmp_path / "host1"), tmp_path / "loaded")
    ours = FarSide(publisher.write_host(tmp_path / "host2"), tmp_path / "loaded")
    publisher.bundle(tmp_path / "x.tar.zst", version="theirs", tag="3", days=9)
    assert theirs.load(tmp_path / "x.tar.zst").status == 0
    before = ours.target()
    store = ContentStore()
    entries = [publisher.entry(hello_image(store, text=f"{n}\n"), tag=str(n)) for n in range(1, 5)]
    publisher.pack(tmp_path / "y.tar.zst", store, entries)
    ran = ours.load(tmp_path / "y.tar.zst")
    assert (ran.status, ran.verdict["code"]) == (21, "runtime.tag-taken")
    assert ours.target() == before, "images 1 and 2 had been written, and 3 was taken"
    assert ours.memory()["names"] == []
    assert all(image["what"] == "" for image in ours.records()[-1]["images"])


def test_a_log_that_nobody_trusts_is_not_read_from_the_bundle(
    publisher: Publisher, tmp_path: Path
) -> None:
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    anchors = tmp_path / "host/etc/airlock/trusted_root.json"
    anchors.write_bytes(encode(World(name="other").trusted_root()))
    publisher.bundle(tmp_path / "x.tar.zst")
    ran = host.load(tmp_path / "x.tar.zst")
    assert (ran.status, ran.verdict["code"]) == (14, "policy.condition")
