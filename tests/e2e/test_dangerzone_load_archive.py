"""`load-archive`: what Dangerzone's prepare-archive writes, verified first (DZ-2, DZ-5)."""

from __future__ import annotations

import copy
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.dangerzone_archives import NAME, Maintainer, members, prepare, save
from tests.e2e.loading import FarSide
from tests.fakes.content import ContentStore
from tests.fakes.images import hello_image
from tests.fakes.registry import FakeRegistry
from tests.fakes.sigworld.world import World
from tests.forked import Ended, Forker
from tests.presence import ROOT, TOOLS


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    with Forker.start() as forker:
        yield forker


@pytest.fixture(scope="module")
def maintainer() -> Maintainer:
    return Maintainer()


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory, maintainer: Maintainer) -> Path:
    folder = tmp_path_factory.mktemp("archives")
    for name, multi in (("one", False), ("two", False), ("multi", True)):
        image = maintainer.image(name, multi=multi)
        prepare(save(image, folder / name), folder / f"{name}.tar")
    return folder


@pytest.fixture
def host(tmp_path: Path, maintainer: Maintainer) -> FarSide:
    return maintainer.host(tmp_path)


Load = Callable[..., Ended]


@pytest.fixture
def load(forker: Forker, host: FarSide, tmp_path: Path) -> Load:
    def call(archive: Path, *options: str, into: str = "") -> Ended:
        return forker.run(
            *("--root", host.root, "load-archive", archive),
            *("--into", into or f"oci:{host.loaded}", "--json", *options),
            folder=tmp_path,
        )

    return call


@pytest.mark.parametrize("name", ["one", "multi"])
def test_dz_2_an_archive_is_loaded_under_the_name_that_its_signature_says(
    name: str, load: Load, host: FarSide, archives: Path
) -> None:
    ended = load(archives / f"{name}.tar")
    assert ended.status == 0, ended.err
    [image] = ended.verdict["images"]
    assert image["name"]["name"] == NAME
    assert image["loaded"]["what"] == "loaded"
    [entry] = json.loads((host.loaded / "index.json").read_text())["manifests"]
    assert entry["digest"] == image["image"]
    # Signatures travel in the ledger's evidence, not into the runtime.
    assert host.records()[-1]["images"][0]["evidence"]
    assert host.quarantine() == []
    assert load(archives / f"{name}.tar").verdict["images"][0]["loaded"]["what"] == "already-there"


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_every_format_that_tarfile_had_by_default_is_read(
    form: int, load: Load, maintainer: Maintainer, tmp_path: Path
) -> None:
    saved = save(maintainer.image(f"format {form}"), tmp_path / "saved")
    assert load(prepare(saved, tmp_path / "a.tar", format=form)).status == 0


@pytest.mark.engine("cosign", "cosign2")
@pytest.mark.parametrize("tool", ["cosign", "cosign2"])
@pytest.mark.parametrize("multi", [False, True], ids=["one platform", "index"])
def test_dz_5_what_cosign_itself_saves_is_read(
    tool: str,
    multi: bool,  # noqa: FBT001 - a column of the table
    load: Load,
    maintainer: Maintainer,
    tmp_path: Path,
) -> None:
    image = maintainer.image(f"saved by {tool}", multi=multi)
    with FakeRegistry({"acme/app": image.store}) as registry:
        done = subprocess.run(
            [tool, "save", registry.reference("acme/app", image.digest), "--dir", tmp_path / "s"],
            check=False, capture_output=True, text=True, timeout=60,
            env={"PATH": f"{TOOLS}:{os.environ['PATH']}", "HOME": str(tmp_path)},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ended = load(prepare(tmp_path / "s", tmp_path / "a.tar"))
    assert ended.status == 0, ended.err
    assert ended.verdict["images"][0]["image"] == image.digest


def test_dz_4_a_lower_log_index_is_refused_and_never_forced(
    load: Load, host: FarSide, archives: Path
) -> None:
    assert load(archives / "two.tar").status == 0
    before = host.untouched()
    ended = load(archives / "one.tar")
    assert (ended.status, ended.code) == (16, "rollback.log-index")
    assert host.untouched() == before
    ended = load(archives / "one.tar", "--force")
    assert (ended.status, ended.code) == (2, "usage.arguments")
    assert "--allow-downgrade" in ended.err
    assert host.untouched() == before
    assert load(archives / "one.tar", "--allow-downgrade", "rehearsal").status == 0
    assert host.records()[-1]["downgrade"] == "rehearsal"


def test_what_another_key_signed_is_refused_and_no_runtime_is_asked(
    load: Load, host: FarSide, tmp_path: Path
) -> None:
    stranger = Maintainer(World(name="stranger"))
    archive = prepare(save(stranger.image(), tmp_path / "saved"), tmp_path / "a.tar")
    ended = load(archive)
    assert ended.status in {11, 12}, ended.err
    assert host.target() == {}
    assert host.memory()["loaded"] == []


def test_a_signature_for_another_repository_is_refused(
    load: Load, host: FarSide, maintainer: Maintainer, tmp_path: Path
) -> None:
    image = hello_image(ContentStore(), text="other", version="1")
    maintainer.sign(image, reference="ghcr.io/somebody/else")
    ended = load(prepare(save(image, tmp_path / "saved"), tmp_path / "a.tar"))
    assert (ended.status, ended.code) == (14, "policy.no-rule")
    assert host.target() == {}


# --- hostile archives -----------------------------------------------------------------------------

Members = list[tuple[tarfile.TarInfo, bytes]]


def _named(found: Members, name: str) -> int:
    return next(i for i, (info, _) in enumerate(found) if info.name == name)


def _json(found: Members, name: str, change: Callable[[dict[str, object]], None]) -> None:
    at = _named(found, name)
    document = json.loads(found[at][1])
    change(document)
    found[at] = (found[at][0], json.dumps(document).encode())


def _index_of_another(found: Members) -> None:
    def change(document: dict[str, object]) -> None:
        document["manifests"][0]["digest"] = "sha256:" + "0" * 64  # type: ignore[index]

    _json(found, "./index.json", change)


def _both_of_another(found: Members) -> None:
    for name in ("./index.json", "./dangerzone.json"):

        def change(document: dict[str, object]) -> None:
            document["manifests"][0]["digest"] = "sha256:" + "0" * 64  # type: ignore[index]

        _json(found, name, change)


def _annotated(found: Members) -> None:
    _json(found, "./index.json", lambda d: d.update(annotations={"x": "y"}))


def _two_images(found: Members) -> None:
    for name in ("./index.json", "./dangerzone.json"):

        def change(document: dict[str, object]) -> None:
            manifests = document["manifests"]
            assert isinstance(manifests, list)
            manifests.append(copy.deepcopy(manifests[0]))

        _json(found, name, change)


def _unknown_kind(found: Members) -> None:
    def change(document: dict[str, object]) -> None:
        document["manifests"][1]["annotations"]["kind"] = "dev.example/other"  # type: ignore[index]

    _json(found, "./dangerzone.json", change)


def _no_signatures(found: Members) -> None:
    def change(document: dict[str, object]) -> None:
        document["manifests"] = document["manifests"][:1]  # type: ignore[index]

    _json(found, "./dangerzone.json", change)


def _without(name: str) -> Callable[[Members], None]:
    def change(found: Members) -> None:
        found.pop(_named(found, name))

    return change


def _blob_changed(found: Members) -> None:
    at = max(range(len(found)), key=lambda i: len(found[i][1]))
    raw = bytearray(found[at][1])
    raw[len(raw) // 2] ^= 1
    found[at] = (found[at][0], bytes(raw))


def _blob_gone(found: Members) -> None:
    found.pop(max(range(len(found)), key=lambda i: len(found[i][1])))


def _twice(found: Members) -> None:
    found.append(copy.deepcopy(found[_named(found, "./index.json")]))


def _alias(found: Members) -> None:
    info, raw = copy.deepcopy(found[_named(found, "./index.json")])
    info.name = "index.json"
    found.append((info, raw))


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[Members], None]:
    def change(found: Members) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        found.insert(0, (info, b"x" if kind == tarfile.REGTYPE else b""))

    return change


def _pax(**keys: str) -> Callable[[Members], None]:
    def change(found: Members) -> None:
        found[_named(found, "./index.json")][0].pax_headers = keys

    return change


def _huge_index(found: Members) -> None:
    at = _named(found, "./index.json")
    found[at] = (found[at][0], b" " * 6_000_000 + found[at][1])


def _duplicate_key(found: Members) -> None:
    at = _named(found, "./dangerzone.json")
    found[at] = (found[at][0], found[at][1][:-1] + b',"manifests":[]}')


HOSTILE: dict[str, tuple[Callable[[Members], None], str]] = {
    "index.json names another image": (_index_of_another, "container.format"),
    "both indexes name an image that is not there": (_both_of_another, "missing.member"),
    "index.json says more": (_annotated, "container.format"),
    "two images": (_two_images, "container.format"),
    "an unknown kind": (_unknown_kind, "container.format"),
    "no signatures": (_no_signatures, "missing.member"),
    "no dangerzone.json": (_without("./dangerzone.json"), "missing.member"),
    "no index.json": (_without("./index.json"), "missing.member"),
    "no oci-layout": (_without("./oci-layout"), "missing.member"),
    "a changed layer": (_blob_changed, "digest.mismatch"),
    "a layer gone": (_blob_gone, "missing.member"),
    "a member twice": (_twice, "path.name"),
    "a member under an alias": (_alias, "path.name"),
    "a path out": (_member("../../etc/passwd"), "path.name"),
    "an absolute path": (_member("/etc/passwd"), "path.name"),
    "another file": (_member("./manifest.json"), "path.name"),
    "a symbolic link": (_member("./index.json", tarfile.SYMTYPE, "/etc/shadow"), "tar.header"),
    "a hard link": (_member("./index.json", tarfile.LNKTYPE, "/etc/shadow"), "tar.header"),
    "a device": (_member("./index.json", tarfile.BLKTYPE), "tar.header"),
    "a FIFO": (_member("./index.json", tarfile.FIFOTYPE), "tar.header"),
    "a long name": (_member("./" + "a" * 200), "tar.header"),
    "a pax path": (_pax(path="./oci-layout"), "tar.header"),
    "a pax size": (_pax(size="3"), "tar.header"),
    "a pax sparse map": (_pax(**{"GNU.sparse.major": "1"}), "tar.header"),
    "a pax comment": (_pax(comment="x" * 100), "tar.header"),
    "an index of six megabytes": (_huge_index, "limit.exceeded"),
    "a key twice": (_duplicate_key, "json.syntax"),
}


@pytest.mark.parametrize("change,code", HOSTILE.values(), ids=HOSTILE)  # noqa: PT006
def test_dz_5_a_tampered_archive_is_refused_before_any_runtime(
    change: Callable[[Members], None],
    code: str,
    load: Load,
    host: FarSide,
    archives: Path,
    tmp_path: Path,
) -> None:
    found = members(archives / "one.tar")
    change(found)
    bad = tmp_path / "bad.tar"
    with tarfile.open(bad, "w") as tar:
        for info, raw in found:
            info.size = len(raw) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(raw) if info.isreg() else None)
    ended = load(bad)
    assert (ended.status, ended.code) == (19, code), ended.err
    assert host.target() == {}
    assert host.quarantine() == []
    assert [one["outcome"] for one in host.records()] == ["begun", "refused"]
    assert load(archives / "one.tar").status == 0, "good after bad"


@pytest.mark.parametrize("cut", [0, 1, 511, 512, 5_000, 40_000, -10_240, -1])
def test_a_cut_archive_is_refused(
    cut: int, load: Load, host: FarSide, archives: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.tar"
    bad.write_bytes((archives / "one.tar").read_bytes()[:cut])
    ended = load(bad)
    assert ended.status == 19, ended.err
    assert host.target() == {}


@pytest.mark.parametrize("more", [b"\0" * 10_239 + b"x", b"x" * 512, b"\x1f\x8b" + b"\0" * 510])
def test_bytes_behind_the_end_are_refused(
    more: bytes, load: Load, host: FarSide, archives: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.tar"
    bad.write_bytes((archives / "one.tar").read_bytes() + more)
    assert load(bad).status == 19
    assert host.target() == {}


def test_every_byte_of_the_headers_flipped_is_refused_or_means_nothing(
    load: Load, host: FarSide, archives: Path, tmp_path: Path
) -> None:
    """Owners, modes and times mean nothing: an archive that differs in these alone is the same."""
    raw = (archives / "one.tar").read_bytes()
    with tarfile.open(archives / "one.tar") as tar:
        headers = [info.offset_data - 512 for info in tar if info.isreg()]
    refused = 0
    for at in range(headers[0], headers[0] + 512, 7):
        bad = tmp_path / "bad.tar"
        bad.write_bytes(raw[:at] + bytes([raw[at] ^ 0x01]) + raw[at + 1 :])
        ended = load(bad)
        assert ended.status == 19, f"byte {at - headers[0]}"  # its checksum is wrong by then
        refused += 1
    assert refused > 70
    assert host.target() == {}


def test_a_bundle_of_ours_is_told_what_loads_it(load: Load, host: FarSide, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        info = tarfile.TarInfo("./oci-layout")
        raw = b'{"imageLayoutVersion":"1.0.0"}'
        info.size = len(raw)
        tar.addfile(info, io.BytesIO(raw))
    ended = load(tmp_path / "other.tar")
    assert (ended.status, ended.code) == (19, "missing.member")
    assert "airlock-loader load" in ended.err
    assert host.target() == {}


def test_dz_2_the_runtime_is_asked_once_for_what_is_good_and_never_for_what_is_not(
    forker: Forker, host: FarSide, archives: Path, tmp_path: Path
) -> None:
    """A stand-in for podman is never started before the verdict; nothing is given the archive."""
    raw = bytearray((archives / "one.tar").read_bytes())
    with tarfile.open(archives / "one.tar") as tar:
        [signature] = [
            info
            for info in tar
            if info.isreg()
            and info.size
            and b"critical" in raw[info.offset_data : info.offset_data + info.size]
        ]
    raw[signature.offset_data + 20] ^= 1
    bad = tmp_path / "bad.tar"
    bad.write_bytes(raw)
    trace = tmp_path / "trace"
    done = subprocess.run(
        [
            "strace", "-f", "-qq", "-o", str(trace), "-e", "trace=execve,openat",
            *host.command("load-archive", bad, "--into", f"oci:{host.loaded}", isolated=False),
        ],
        check=False, capture_output=True, text=True, cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 19, done.stderr
    lines = trace.read_text().splitlines()
    assert len([line for line in lines if "execve(" in line]) == 1
    opened = [line for line in lines if str(bad) in line and "openat" in line]
    assert len(opened) == 1, "opened once"
    assert "O_RDONLY|O_NOFOLLOW" in opened[0].replace("O_NOCTTY|", "").replace("O_NONBLOCK|", "")
    assert host.target() == {}
    del forker
