"""`airlock compare`: whatever stands on either side, and what it says beside its verdict."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.loading import Publisher
from tests.e2e.test_compare import APP, _add, built, compare, docker_archive, hostile, run
from tests.fakes import attach
from tests.fakes.content import ContentStore, encode
from tests.fakes.images import (
    Image,
    attestation_manifest,
    hello_image,
    index,
)
from tests.fakes.registry import FakeRegistry
from tests.fakes.sigworld.world import World

KINDS = ["folder", "archive", "dangerzone", "docker", "bundle", "registry"]
PAIRS = list(itertools.combinations_with_replacement(KINDS, 2))


@dataclass
class Everywhere:
    """Two releases, each in every place that an image may be kept."""

    places: dict[tuple[str, str], str]
    registry: FakeRegistry


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everywhere]:
    folder = tmp_path_factory.mktemp("everywhere")
    publisher = Publisher()
    with FakeRegistry() as registry:
        places: dict[tuple[str, str], str] = {}
        for release, app in (("one", APP), ("two", {**APP, "app/data": b"other\n"})):
            store = built(platforms=["linux/amd64"], app=app)
            layout = store.write_layout(folder / release)
            plain = folder / f"{release}.tar"
            dangerzone = folder / f"{release}-dz.tar"
            for path, more in ((plain, {}), (dangerzone, {"dangerzone.json": b"{}"})):
                with tarfile.open(path, "w") as archive:
                    for one in sorted(p for p in layout.rglob("*") if p.is_file()):
                        _add(archive, str(one.relative_to(layout)), one.read_bytes())
                    for name, raw in more.items():
                        _add(archive, name, raw)
            bundle = folder / f"{release}.tar.zst"
            described = store.describe("1")
            listed = store.json(described["digest"])["manifests"]
            whole = Image(
                store=store,
                descriptor=described,
                children=tuple(Image(store=store, descriptor=one) for one in listed),
            )
            publisher.pack(bundle, store, [publisher.entry(whole, tag="1")])
            registry.repositories[f"acme/{release}"] = store
            places |= {
                (release, "folder"): str(layout),
                (release, "archive"): str(plain),
                (release, "dangerzone"): str(dangerzone),
                (release, "docker"): docker_archive(folder / f"{release}-docker.tar", store),
                (release, "bundle"): str(bundle),
                (release, "registry"): registry.reference(f"acme/{release}", "1"),
            }
        yield Everywhere(places, registry)


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_dz_11_every_kind_against_every_kind(
    everywhere: Everywhere, tmp_path: Path, a: str, b: str
) -> None:
    plain = ("--plain-http", everywhere.registry.host)
    places = everywhere.places
    status, said = compare(tmp_path, places["one", a], places["one", b], *plain)
    alike = "same-content" if "docker" in (a, b) else "identical"
    assert (status, said["verdict"]) == ({"identical": 0, "same-content": 3}[alike], alike)
    status, said = compare(tmp_path, places["one", a], places["two", b], *plain)
    assert status == 1
    (platform,) = said["platforms"]
    assert platform["first"]["path"] == [
        "linux/amd64", "layer 3/3 (COPY app /app)", "app/data", "content",
    ]  # fmt: skip
    assert not list((tmp_path / "cache").iterdir())


# --- what decides though names agree --------------------------------------------------------------


def _layout(folder: Path, name: str, *members: tuple[str, bytes | None]) -> str:
    """One image of one layer, whose tar holds these, in this order; None is a hard link to `a`."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for text, content in members:
            member = tarfile.TarInfo(text)
            if content is None:
                member.type, member.linkname = tarfile.LNKTYPE, "a"
                archive.addfile(member)
            else:
                _add(archive, text, content)
    return str(hostile(raw.getvalue()).write_layout(folder / name))


LINK = None


def test_a_name_that_comes_twice_is_compared_twice(tmp_path: Path) -> None:
    """The first `a` is what the link holds for ever, whatever the last one is."""
    a = _layout(tmp_path, "a", ("a", b"good\n"), ("b", LINK), ("a", b"last\n"))
    b = _layout(tmp_path, "b", ("a", b"evil\n"), ("b", LINK), ("a", b"last\n"))
    for options in ((), ("--semantic",)):
        status, said = compare(tmp_path, a, b, *options)
        assert (status, said["verdict"]) == (1, "different")
        first = said["platforms"][0]["first"]
        assert first["path"][2] == ("b" if options else "a")
        assert first["path"][3] == "content"


def test_order_counts_where_a_name_comes_twice(tmp_path: Path) -> None:
    a = _layout(tmp_path, "a", ("a", b"1\n"), ("b", LINK), ("a", b"2\n"))
    b = _layout(tmp_path, "b", ("a", b"1\n"), ("a", b"2\n"), ("b", LINK))
    status, said = compare(tmp_path, a, b)
    assert status == 1
    first = said["platforms"][0]["first"]
    assert first["path"][-1] == "order"
    assert "comes twice" in first["cause"]


def test_one_that_came_once_more_is_a_difference(tmp_path: Path) -> None:
    a = _layout(tmp_path, "a", ("a", b"1\n"))
    b = _layout(tmp_path, "b", ("a", b"2\n"), ("a", b"1\n"))
    status, said = compare(tmp_path, a, b)
    assert status == 1
    paths = [one["path"][2:] for one in said["platforms"][0]["differences"]]
    assert paths[-2:] == [["a", "content"], ["a (time 2)"]]


# --- compression ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda raw: raw[:4] + b"\x01\x02\x03\x04" + raw[8:], "gzip's header holds a time"),
        (lambda raw: raw[:9] + b"\x0b" + raw[10:], "another system or compressor"),
        (lambda raw: raw[:8] + b"\x04" + raw[9:], "another level"),
    ],
    ids=["time", "system", "level"],
)
def test_a_gzip_header_is_named(
    tmp_path: Path, change: Callable[[bytes], bytes], cause: str
) -> None:
    a = built(platforms=["linux/amd64"])
    b = built(platforms=["linux/amd64"])
    (listed,) = b.json(b.tags["1"])["manifests"]
    manifest = b.json(listed["digest"])
    layer = manifest["layers"][1]
    raw = change(b.read(layer["digest"]))
    manifest["layers"][1] = b.add(raw, layer["mediaType"])
    b.tag("1", b.add_json(manifest, manifest["mediaType"]))
    status, said = compare(
        tmp_path, str(a.write_layout(tmp_path / "a")), str(b.write_layout(tmp_path / "b"))
    )
    assert (status, said["verdict"]) == (3, "same-content")
    found = said["platforms"][0]["differences"][-1]
    assert found["path"][1:] == ["layer 2/3 (RUN apt-get install -y it)", "blob"]
    assert cause in found["cause"]


# --- beside the verdict ---------------------------------------------------------------------------


def test_identical_platforms_below_another_index_are_noted(tmp_path: Path) -> None:
    store = built()
    a = str(store.write_layout(tmp_path / "a"))
    listed = store.json(store.tags["1"])["manifests"]
    children = [Image(store=store, descriptor=one) for one in listed]
    index(store, children, annotations={"org.opencontainers.image.created": "2027"}, tag="1")
    b = str(store.write_layout(tmp_path / "b"))
    done = run(tmp_path, a, b)
    assert done.returncode == 0
    assert "note      their top documents differ" in done.stdout
    assert compare(tmp_path, a, a)[1]["note"] == ""


def test_fewer_platforms_say_what_to_do(tmp_path: Path) -> None:
    a = str(built(platforms=["linux/amd64"]).write_layout(tmp_path / "a"))
    b = str(built().write_layout(tmp_path / "b"))
    done = run(tmp_path, a, b)
    assert done.returncode == 1
    assert "linux/arm64: not there ≠ there" in done.stdout
    assert "--platform" in done.stdout


# --- rebuild hints --------------------------------------------------------------------------------

SLSA = "https://slsa.dev/provenance/v0.2"
PROVENANCE = {
    "builder": {"id": "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1"},
    "buildType": "https://example.org/build",
    "invocation": {
        "configSource": {
            "uri": "git+https://github.com/acme/app@refs/tags/v1",
            "digest": {"sha1": "0123456789012345678901234567890123456789"},
            "entryPoint": ".github/workflows/release.yml",
        },
        "parameters": {"args": {"build-arg:DATE": "20260101; rm -rf /", "target": "x"}},
    },
}


def _statement(digest: str) -> bytes:
    return encode(
        {
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": SLSA,
            "subject": [{"name": "app", "digest": {"sha256": digest.removeprefix("sha256:")}}],
            "predicate": PROVENANCE,
        }
    )


def _hints(said: dict[str, Any], side: str) -> dict[str, dict[str, str]]:
    return {one["what"]: one for one in said["rebuild"][side]}


def test_dangerzones_date_and_labels_are_hints(tmp_path: Path) -> None:
    labels = {
        "org.opencontainers.image.source": "https://github.com/acme/app",
        "org.opencontainers.image.revision": "c0ffee",
    }
    notes = {"rocks.dangerzone.debian_archive_date": "20260105"}
    b = built(platforms=["linux/amd64"], labels=labels, annotations=notes)
    here = str(b.write_layout(tmp_path / "b"))
    status, said = compare(tmp_path, here, here, "--rebuild-hints")
    assert status == 0
    found = _hints(said, "b")
    assert found["source"]["value"] == "https://github.com/acme/app"
    assert found["commit"]["value"] == "c0ffee"
    assert found["date"]["argument"] == "--build-arg SOURCE_DATE_EPOCH=1767571200"
    assert found["created"]["argument"] == "--build-arg SOURCE_DATE_EPOCH=1767225600"
    assert compare(tmp_path, here, here)[1]["rebuild"] is None
    text = run(tmp_path, here, here, "--rebuild-hints").stdout
    assert "rebuild a not verified" in text
    assert "annotation, linux/amd64, rocks.dangerzone.debian_archive_date" in text


@pytest.mark.parametrize("how", ["buildkit", "attestation tag", "bundle referrer"])
@pytest.mark.parametrize("where", ["layout", "registry"])
def test_provenance_is_a_hint_whoever_signed_it(tmp_path: Path, how: str, where: str) -> None:
    store = ContentStore()
    one = hello_image(store)
    more = []
    if how == "buildkit":
        more = [attestation_manifest(store, one, [(_statement(one.digest), SLSA)])]
    whole = index(store, [one], attestations=more, tag="1")
    if how != "buildkit":
        world = World()
        signed = world.sign_statement(_statement(one.digest), world.managed("other"))
        if how == "attestation tag":
            attach.attach_tag(one, [signed.layer()], "att")
        else:
            attach.attach_bundle(one, signed.bundle(), fallback="full")
    assert whole.children
    with FakeRegistry({"acme/app": store}) as registry:
        here = (
            str(store.write_layout(tmp_path / "layout"))
            if where == "layout"
            else registry.reference("acme/app", "1")
        )
        options = ("--rebuild-hints", "--plain-http", registry.host)
        _, said = compare(tmp_path, f"{here}#1" if where == "layout" else here, here, *options)
    found = _hints(said, "a")
    assert found["commit"]["value"] == "0123456789012345678901234567890123456789"
    assert found["source"]["value"] == "https://github.com/acme/app"
    assert found["workflow"]["value"] == ".github/workflows/release.yml"
    assert found["argument"]["argument"] == "--build-arg 'DATE=20260101; rm -rf /'"


def test_a_bundle_tells_its_provenance_too(everywhere: Everywhere, tmp_path: Path) -> None:
    bundle = everywhere.places["one", "bundle"]
    status, said = compare(tmp_path, bundle, bundle, "--rebuild-hints")
    assert status == 0
    assert _hints(said, "a")["created"]["value"] == "2026-01-01T00:00:00Z"


def test_what_an_image_says_of_itself_reaches_no_terminal_as_it_is(tmp_path: Path) -> None:
    labels = {
        "org.opencontainers.image.source": "\x1b[2J\nverdict   identical",
        "a.date": "x" * 999,
    }
    store = built(platforms=["linux/amd64"], labels=labels)
    here = str(store.write_layout(tmp_path / "a"))
    text = run(tmp_path, here, here, "--rebuild-hints").stdout
    assert "\x1b" not in text
    assert text.count("\nverdict ") == 1
    assert max(map(len, text.splitlines())) < 400


def test_json_says_what_the_text_says(tmp_path: Path) -> None:
    here = str(built().write_layout(tmp_path / "a"))
    document = json.loads(run(tmp_path, here, here, "--json").stdout)
    assert sorted(document) == [
        "a", "b", "note", "platforms", "rebuild", "schema", "verdict",
    ]  # fmt: skip
