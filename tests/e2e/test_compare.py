"""DZ-11: `airlock compare` as its user runs it: every input, every rung, the first difference."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard

from bundler.cli import main
from tests.fakes.content import (
    OCI_MANIFEST,
    ContentStore,
    Stream,
    digest_of,
    encode,
)
from tests.fakes.images import Files, Image, Layer, Member, image, index
from tests.fakes.registry import FakeRegistry
from tests.presence import ROOT

LINES = ["FROM base", "RUN apt-get install -y it", "COPY app /app"]
BASE: Files = {"etc/": Member(kind=tarfile.DIRTYPE, mode=0o755), "etc/os-release": b"ID=fake\n"}
SECOND: Files = {
    "var/lib/dpkg/status": b"Package: it\n",
    "usr/bin/it": Member(b"#!/bin/sh\n", mode=0o755),
}
APP: Files = {"app/main": Member(b"main\n", mode=0o755), "app/data": b"data\n"}


def built(
    *,
    base: Files = BASE,
    second: Files = SECOND,
    app: Files = APP,
    platforms: Sequence[str] = ("linux/amd64", "linux/arm64"),
    level: int = 6,
    plain: bool = False,
    **settings: Any,  # noqa: ANN401
) -> ContentStore:
    """A layout's content: one image of three layers, for some platforms."""
    store = ContentStore()
    made: list[Image] = []
    for platform in platforms:
        layers = [
            Layer.of(files, "none" if plain else "gzip", level=level)
            for files in (base, second, app)
        ]
        made.append(image(store, layers, platform=platform, lines=LINES, **settings))
    index(store, made, tag="1")
    return store


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, ContentStore], str]:
    def layout(name: str, store: ContentStore) -> str:
        return str(store.write_layout(tmp_path / name))

    return layout


def compare(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Compare in this process, which is quick, and return status and document."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(["compare", *arguments, "--json", "--cache", str(folder / "cache")])
    assert out.getvalue(), err.getvalue()
    return status, json.loads(out.getvalue())


def run(folder: Path, *arguments: str, verb: str = "compare") -> subprocess.CompletedProcess[str]:
    """Compare as a user does, in a process of its own."""
    cache = ("--cache", str(folder / "cache")) if verb == "compare" else ()
    return subprocess.run(
        [sys.executable, "-m", "bundler.cli", verb, *arguments, *cache],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT)},
    )


Write = Callable[[str, ContentStore], str]


def test_dz_11_identical_layouts(tmp_path: Path, write: Write) -> None:
    status, said = compare(tmp_path, write("a", built()), write("b", built()))
    assert (status, said["verdict"]) == (0, "identical")
    assert [one["platform"] for one in said["platforms"]] == ["linux/amd64", "linux/arm64"]
    assert not list((tmp_path / "cache").iterdir())


def test_dz_11_only_an_mtime(tmp_path: Path, write: Write) -> None:
    later = {**SECOND, "usr/bin/it": Member(b"#!/bin/sh\n", mode=0o755, mtime=1_700_000_000)}
    status, said = compare(tmp_path, write("a", built()), write("b", built(second=later)))
    assert (status, said["verdict"]) == (3, "same-files")
    first = said["platforms"][0]["first"]
    assert first["path"] == [
        "linux/amd64", "layer 2/3 (RUN apt-get install -y it)", "usr/bin/it", "mtime",
    ]  # fmt: skip
    assert (first["a"], first["b"]) == ("0", "1700000000")
    assert "SOURCE_DATE_EPOCH" in first["cause"]


def test_dz_11_a_changed_byte_is_named_down_to_the_file(tmp_path: Path, write: Write) -> None:
    other = {**SECOND, "var/lib/dpkg/status": b"Package: at\n"}
    a, b = write("a", built()), write("b", built(second=other))
    done = run(tmp_path, a, b)
    assert done.returncode == 1
    place = "linux/amd64 › layer 2/3 (RUN apt-get install -y it) › var/lib/dpkg/status › content"  # noqa: RUF001
    assert place in done.stdout
    assert digest_of(b"Package: it\n").removeprefix("sha256:") in done.stdout
    assert digest_of(b"Package: at\n").removeprefix("sha256:") in done.stdout
    assert "likely: other packages" in done.stdout
    assert done.stdout.splitlines()[-1] == "verdict   different"


def test_dz_11_a_docker_archive_of_the_same_image(tmp_path: Path, write: Write) -> None:
    store = built(platforms=["linux/amd64"])
    archive = docker_archive(tmp_path / "image.tar", store)
    status, said = compare(tmp_path, write("a", store), archive)
    assert (status, said["verdict"]) == (3, "same-content")
    # ... and one whose layer is another, though its config still claims the old one.
    other = built(platforms=["linux/amd64"], second={**SECOND, "usr/bin/it": b"evil\n"})
    lying = docker_archive(tmp_path / "lying.tar", store, layers_of=other)
    done = run(tmp_path, str(tmp_path / "a"), lying)
    assert done.returncode == 19
    assert "not the one that its image's config names" in done.stderr


def docker_archive(
    path: Path, store: ContentStore, *, layers_of: ContentStore | None = None
) -> str:
    """What `docker save` of docker 24 wrote: plain tars, one of them a link to the other."""
    manifest = _only(store)
    theirs = _only(layers_of or store)
    config = store.read(manifest["config"]["digest"])
    names: list[str] = []
    with tarfile.open(path, "w") as archive:
        for position, layer in enumerate(theirs["layers"]):
            raw = gzip.decompress((layers_of or store).read(layer["digest"]))
            names.append(f"{position:064x}/layer.tar")
            _add(archive, f"{position:064x}/real.tar", raw)
            link = tarfile.TarInfo(names[-1])
            link.type, link.linkname = tarfile.SYMTYPE, "real.tar"
            archive.addfile(link)
        _add(archive, "config.json", config)
        listed = [{"Config": "config.json", "RepoTags": ["acme/app:1"], "Layers": names}]
        _add(archive, "manifest.json", encode(listed))
    return str(path)


def _only(store: ContentStore) -> dict[str, Any]:
    (listed,) = store.json(store.tags["1"])["manifests"]
    return store.json(listed["digest"])


def _add(archive: tarfile.TarFile, name: str, raw: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(raw)
    archive.addfile(member, io.BytesIO(raw))


def test_other_compression_is_the_same_content(tmp_path: Path, write: Write) -> None:
    a = write("a", built())
    for name, other in (("level", built(level=1)), ("plain", built(plain=True))):
        status, said = compare(tmp_path, a, write(name, other))
        assert (status, said["verdict"]) == (3, "same-content")
        last = said["platforms"][0]["differences"][-1]
        assert last["path"][1].startswith("layer ")
        assert "compressed otherwise" in last["cause"]


def test_annotations_are_the_same_content(tmp_path: Path, write: Write) -> None:
    status, said = compare(
        tmp_path, write("a", built()), write("b", built(annotations={"note": "\x1b[31m"}))
    )
    assert (status, said["verdict"]) == (3, "same-content")
    first = said["platforms"][0]["first"]
    assert first["path"][1:] == ["manifest", "annotations", "note"]
    assert "\x1b" not in first["b"]


def test_zstd_layers_are_read(tmp_path: Path, write: Write) -> None:
    a, b = built(platforms=["linux/amd64"]), built(platforms=["linux/amd64"])
    manifest = _only(b)
    packer = zstandard.ZstdCompressor()
    layers = []
    for layer in manifest["layers"]:
        raw = packer.compress(gzip.decompress(b.read(layer["digest"])))
        layers.append(b.add(raw, "application/vnd.oci.image.layer.v1.tar+zstd"))
    made = b.add_json({**manifest, "layers": layers}, OCI_MANIFEST)
    b.tag("1", made)
    status, said = compare(tmp_path, write("a", a), write("b", b))
    assert (status, said["verdict"]) == (3, "same-content")


@pytest.mark.parametrize(
    ("changed", "path", "verdict"),
    [
        ({"entrypoint": ["/evil"]}, ["config", "config", "Entrypoint", "0"], "different"),
        ({"labels": {"a": "b"}}, ["config", "config", "Labels", "a"], "different"),
        ({"created": "2027-01-01T00:00:00Z"}, ["config", "created"], "same-files"),
    ],
)
def test_what_is_run_counts_though_the_layers_agree(
    tmp_path: Path, write: Write, changed: Mapping[str, Any], path: list[str], verdict: str
) -> None:
    status, said = compare(tmp_path, write("a", built()), write("b", built(**changed)))
    assert said["verdict"] == verdict
    assert said["platforms"][0]["first"]["path"][1:] == path
    assert status == {"different": 1, "same-files": 3}[verdict]


@pytest.mark.parametrize(
    ("name", "member", "what", "cause"),
    [
        ("usr/bin/it", Member(b"#!/bin/sh\n", mode=0o4755), "mode", ""),
        ("usr/bin/it", Member(kind=tarfile.SYMTYPE, link="/bin/sh"), "kind", ""),
        ("usr/lib/a.pyc", Member(b"x"), None, "mtime"),
        ("usr/.wh.old", Member(b""), None, "whiteout"),
        ("etc/machine-id", Member(b"x"), None, "random"),
    ],
)
def test_kinds_of_differences_and_their_likely_causes(
    tmp_path: Path, write: Write, name: str, member: Member, what: str | None, cause: str
) -> None:
    status, said = compare(
        tmp_path, write("a", built()), write("b", built(second={**SECOND, name: member}))
    )
    assert status == 1
    first = said["platforms"][0]["first"]
    assert first["path"][2] == name
    assert first["path"][3:] == ([] if what is None else [what])
    assert cause in first["cause"]


def test_a_shadow_file_of_another_day(tmp_path: Path, write: Write) -> None:
    def of(day: int) -> ContentStore:
        return built(second={**SECOND, "etc/shadow": f"root:*:{day}:0:::::\n".encode()})

    _, said = compare(tmp_path, write("a", of(20000)), write("b", of(20001)))
    assert "day of the build" in said["platforms"][0]["first"]["cause"]
    other = built(second={**SECOND, "etc/shadow": b"root:secret:20000:0:::::\n"})
    _, said = compare(tmp_path, str(tmp_path / "a"), write("c", other))
    assert said["platforms"][0]["first"]["cause"] == ""


def test_order_alone_is_the_same_files(tmp_path: Path, write: Write) -> None:
    turned = dict(reversed(list(APP.items())))
    status, said = compare(tmp_path, write("a", built()), write("b", built(app=turned)))
    assert (status, said["verdict"]) == (3, "same-files")
    assert said["platforms"][0]["first"]["path"][-1] == "order"


def test_a_platform_that_only_one_has(tmp_path: Path, write: Write) -> None:
    a, b = write("a", built()), write("b", built(platforms=["linux/amd64"]))
    status, said = compare(tmp_path, a, b)
    assert status == 1
    assert said["platforms"][1]["first"]["path"] == ["linux/arm64"]
    status, said = compare(tmp_path, a, b, "--platform", "linux/amd64")
    assert (status, said["verdict"]) == (0, "identical")


def test_semantic_compares_what_a_container_sees(tmp_path: Path, write: Write) -> None:
    """The same files in two layers instead of three, one of them deleted on the way."""
    a = write("a", built(platforms=["linux/amd64"]))
    store = ContentStore()
    layers = [
        Layer.of({**BASE, **SECOND, "app/gone": b"x"}),
        Layer.of({**APP, "app/.wh.gone": b""}),
    ]
    index(store, [image(store, layers, created="2030-01-01T00:00:00Z")], tag="1")
    b = write("b", store)
    assert compare(tmp_path, a, b)[0] == 1
    status, said = compare(tmp_path, a, b, "--semantic")
    assert (status, said["verdict"]) == (3, "same-files")
    store = built(platforms=["linux/amd64"], app={**APP, "app/data": b"other\n"})
    status, said = compare(tmp_path, a, write("c", store), "--semantic")
    assert status == 1
    assert said["platforms"][0]["first"]["path"] == ["linux/amd64", "files", "app/data", "content"]


def test_explain_lists_all_of_it(tmp_path: Path, write: Write) -> None:
    other = {**APP, "app/data": b"x", "app/more": b"y"}
    a, b = write("a", built()), write("b", built(app=other))
    short, long = run(tmp_path, a, b), run(tmp_path, a, b, "--explain")
    assert "more: --explain lists them" in short.stdout
    assert "app/data" in short.stdout
    assert "app/more" not in short.stdout
    assert long.stdout.count("app/more") == 2


def test_a_registry_against_a_layout(tmp_path: Path, write: Write) -> None:
    store = built()
    other = built(app={**APP, "app/data": b"x"})
    with FakeRegistry({"acme/app": store, "acme/other": other}) as registry:
        plain = ("--plain-http", registry.host)
        a = write("a", store)
        status, _ = compare(tmp_path, a, registry.reference("acme/app", "1"), *plain)
        assert status == 0
        assert registry.seen("/blobs/") == registry.seen("/blobs/", "GET")
        layers = {one["digest"] for one in _layers(store)}
        assert not [r for r in registry.requests if r.path.rpartition("/")[2] in layers]
        status, said = compare(tmp_path, a, registry.reference("acme/other", "1"), *plain)
        assert status == 1
        assert said["platforms"][0]["first"]["path"][2:] == ["app/data", "content"]


def _layers(store: ContentStore) -> list[dict[str, Any]]:
    listed = store.json(store.tags["1"])["manifests"]
    return [layer for one in listed for layer in store.json(one["digest"])["layers"]]


def test_an_archive_of_a_layout_and_a_dangerzone_archive(tmp_path: Path, write: Write) -> None:
    store = built(platforms=["linux/amd64"])
    folder = Path(write("a", store))
    for name, more in (("oci.tar", {}), ("dangerzone.tar", {"dangerzone.json": b"{}"})):
        with tarfile.open(tmp_path / name, "w") as archive:
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                _add(archive, f"./{path.relative_to(folder)}", path.read_bytes())
            for extra, raw in more.items():
                _add(archive, f"./{extra}", raw)
        status, said = compare(tmp_path, str(folder), str(tmp_path / name))
        assert (status, said["verdict"]) == (0, "identical")


# --- hostile layers -------------------------------------------------------------------------------


def hostile(raw: bytes) -> ContentStore:
    """An image whose only layer is these bytes, whatever they are; its config tells the truth."""
    store = ContentStore()
    diff_id = digest_of(raw)
    layer = Layer(
        blob=Stream(make=lambda: iter((raw,)), size=len(raw), digest=diff_id),
        diff_id=diff_id,
        compression="none",
    )
    index(store, [image(store, [layer])], tag="1")
    return store


def _tar(**fields: Any) -> bytes:  # noqa: ANN401
    info = tarfile.TarInfo(fields.pop("name", "x"))
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT)


BOMB = zstandard.ZstdCompressor(level=19).compress(bytes(64 << 20))
CASES = {
    "no tar": b"rubbish" * 100,
    "half a header": _tar()[:300],
    "a size beyond the end": _tar(size=1 << 40),
    "an unknown kind": _tar(type=b"Z"),
    "sparse": _tar(type=tarfile.GNUTYPE_SPARSE),
    "a long name without end": _tar(type=tarfile.GNUTYPE_LONGNAME, size=1 << 30),
    "a pax record that lies": _tar(type=tarfile.XHDTYPE, size=10)
    + b"99 path=x\n".ljust(512, b"\0"),
    "a pax size that is no number": _tar(type=tarfile.XHDTYPE, size=11)
    + b"11 size=1x\n".ljust(512, b"\0")
    + _tar(),
    "a wrong checksum": _tar()[:148] + b"0000000\0" + _tar()[156:],
    "truncated gzip": gzip.compress(_tar() + bytes(1024))[:-9],
    "broken gzip": b"\x1f\x8b\x08" + b"\xff" * 100,
    "truncated zstd": BOMB[:-5],
}


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_layer_is_refused(tmp_path: Path, write: Write, case: str) -> None:
    a = write("a", built(platforms=["linux/amd64"]))
    done = run(tmp_path, a, write("b", hostile(CASES[case])), "--semantic")
    assert done.returncode == 19, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 3
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.tar", "x/y"], "no such file"),
        (["./nothing", "x/y"], "no such file"),
        (["oci:a#2", "a"], "no such image"),
        (["a#sha256:" + "0" * 64, "a"], "no such image"),
        (["text", "a"], "'text', byte 0"),
        (["layer.tar", "a"], "a tar that holds no image"),
        (["a", "a", "--platform", "linux"], "--platform"),
        (["a", "a", "--platform", "linux/s390x"], "none of the platforms"),
    ],
)
def test_what_cannot_be_compared_is_said(
    tmp_path: Path, write: Write, arguments: list[str], words: str
) -> None:
    write("a", built())
    (tmp_path / "text").write_bytes(b"hello" * 1000)
    (tmp_path / "layer.tar").write_bytes(_tar() + bytes(1024))
    done = run(tmp_path, *arguments)
    assert done.returncode in {2, 19}
    assert words in done.stderr
    assert "Traceback" not in done.stderr
