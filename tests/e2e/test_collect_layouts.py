"""Collecting from OCI layouts: what every tool leaves there is found, what is not there is said."""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.errors import SourceError
from loader.errors import (
    AirlockError,
    DigestError,
    InputError,
    LimitError,
    MissingError,
    OciError,
    PathError,
    RefusedError,
    TarError,
    TruncatedError,
)
from tests.e2e.collecting import gather
from tests.fakes import attach, images
from tests.fakes.content import ContentStore, LayoutStyle

NAME = "registry.acme.example/acme/app:1.0.0"
SUBJECT = "sha256:ee1e562fe9d22a5ace3f581517a907733bcf4fb2f45a7ccfa551774d69f918c1"
SIX_REFERRERS = ["referrer"] * 6


def unpacked(shared: Path, name: str, folder: Path) -> Path:
    with tarfile.open(shared / "fixtures" / "layouts" / f"{name}.tar.gz") as archive:
        # Debian 12's Python has no filters yet; later ones want one to be named.
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, filter="data")
        else:
            archive.extractall(folder)
    return folder


@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
@pytest.mark.parametrize(
    ("flavour", "stores"),
    [
        ("flavour-regctl", SIX_REFERRERS),
        ("flavour-oras-go", SIX_REFERRERS),
        ("flavour-olareg-store", SIX_REFERRERS),
        ("flavour-cosign-save-legacy", ["signature-tag"]),
        ("kl-all", SIX_REFERRERS),
        ("kl-legacy-att", ["attestation-tag"]),
        ("kp-legacy-referrer", ["referrer"]),
        # These tools leave the evidence behind, and what nothing refers to is not in a layout.
        ("flavour-cosign-save-bundle", []),
        ("flavour-crane-pull", []),
        ("flavour-regctl-export", []),
        ("flavour-skopeo-oci", []),
    ],
)
def test_every_flavour_of_layout_gives_what_it_holds(
    shared_dir: Path, tmp_path: Path, flavour: str, stores: list[str], kind: str
) -> None:
    layout = unpacked(shared_dir, flavour, tmp_path / "layout")
    if kind == "oci-archive":
        layout = archived(layout, tmp_path / "layout.tar")
    (one,), store = gather([f"{NAME}={kind}:{layout}"], tmp_path / "cache")
    assert [item.store for item in one.entry.evidence] == stores
    assert {str(item.subject) for item in one.entry.evidence} <= {SUBJECT}
    assert str(one.entry.image.digest) == SUBJECT
    assert one.notes == ()
    for descriptor in (*one.graph.metadata, *one.graph.layers):
        assert store.holds(descriptor)


def test_docker_save_is_no_layout(shared_dir: Path, tmp_path: Path) -> None:
    layout = unpacked(shared_dir, "flavour-docker-archive", tmp_path / "layout")
    with pytest.raises(SourceError) as caught:
        gather([f"{NAME}=oci:{layout}"], tmp_path / "cache")
    assert "skopeo" in caught.value.hint


def test_every_layout_of_the_fixtures_is_collected_or_refused(
    shared_dir: Path, tmp_path: Path
) -> None:
    """Bad signatures are the judge's; blobs that are not what they should be end here."""
    refused: set[str] = set()
    names = sorted(
        path.name.removesuffix(".tar.gz")
        for path in (shared_dir / "fixtures" / "layouts").glob("*.tar.gz")
    )
    for name in names:
        layout = unpacked(shared_dir, name, tmp_path / name)
        try:
            (one,), store = gather([f"{NAME}=oci:{layout}"], tmp_path / "caches" / name)
        except (RefusedError, SourceError):
            refused.add(name)
            continue
        assert all(store.holds(d) for d in (*one.graph.metadata, *one.graph.layers))
    assert refused == {name for name in names if name.startswith("n-blob-")} | {
        "flavour-docker-archive"
    }


# --- made here ------------------------------------------------------------------------------------


def archived(layout: Path, path: Path, *, format: int = tarfile.GNU_FORMAT) -> Path:  # noqa: A002
    with tarfile.open(path, "w", format=format) as archive:
        for name in sorted(layout.rglob("*")):
            archive.add(name, name.relative_to(layout).as_posix(), recursive=False)
    return path


def made(folder: Path, *, style: LayoutStyle = "tags") -> tuple[Path, images.Image]:
    store = ContentStore()
    image = images.hello_index(store)
    attach.attach_bundle(image, b"{}", fallback="full")
    return store.write_layout(folder, style=style), image


def test_an_archive_is_as_good_as_a_folder(tmp_path: Path) -> None:
    layout, image = made(tmp_path / "layout")
    for format_ in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
        path = archived(layout, tmp_path / f"{format_}.tar", format=format_)
        (one,), _ = gather([f"{NAME}=oci-archive:{path}:1.0.0"], tmp_path / "cache")
        assert str(one.entry.image.digest) == image.digest
        assert len(one.entry.evidence) == 1


def test_an_image_may_be_chosen_by_name_by_digest_or_be_the_only_one(tmp_path: Path) -> None:
    layout, image = made(tmp_path / "layout")
    for suffix in ("", ":1.0.0", f"@{image.digest}"):
        (one,), _ = gather([f"{NAME}=oci:{layout}{suffix}"], tmp_path / "cache")
        assert str(one.entry.image.digest) == image.digest
    for suffix in (":2.0.0", "@sha256:" + "0" * 64):
        with pytest.raises(SourceError):
            gather([f"{NAME}=oci:{layout}{suffix}"], tmp_path / "cache")


def test_several_images_want_a_name(tmp_path: Path) -> None:
    store = ContentStore()
    for version in ("1.0.0", "2.0.0"):
        images.hello_index(store, version=version, tag=version)
    layout = store.write_layout(tmp_path / "layout")
    with pytest.raises(SourceError) as caught:
        gather([f"{NAME}=oci:{layout}"], tmp_path / "cache")
    assert "1.0.0" in caught.value.expected
    assert "2.0.0" in caught.value.expected


def test_a_full_name_in_the_layout_is_enough(tmp_path: Path) -> None:
    store = ContentStore()
    images.hello_index(store, tag="ghcr.io/org/app:3")
    layout = store.write_layout(tmp_path / "layout")
    for source in (f"oci:{layout}", f"oci:{layout}:ghcr.io/org/app:3"):
        (one,), _ = gather([source], tmp_path / "cache")
        assert str(one.entry.reference) == "ghcr.io/org/app:3"


def test_a_tag_alone_is_no_name(tmp_path: Path) -> None:
    layout, _ = made(tmp_path / "layout")
    with pytest.raises(SourceError) as caught:
        gather([f"oci:{layout}:1.0.0"], tmp_path / "cache")
    assert "registry.example/app:1.0.0=oci:" in caught.value.hint


def test_a_platform_of_a_layout(tmp_path: Path) -> None:
    layout, image = made(tmp_path / "layout")
    # A sparse layout: what is not asked for need not be there.
    (layout / "blobs" / "sha256" / image.children[0].digest[7:]).unlink()
    (one,), _ = gather([f"{NAME}=oci:{layout}"], tmp_path / "cache", platforms=["linux/arm64"])
    assert [str(kept.platform) for kept in one.entry.platforms] == ["linux/arm64/v8"]


Break = Callable[[Path, images.Image], None]


def blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")


def layer_of(image: images.Image) -> str:
    return str(image.children[0].manifest["layers"][0]["digest"])


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def edit(layout: Path, change: Callable[[dict[str, object]], None]) -> None:
    index = json.loads((layout / "index.json").read_bytes())
    change(index)
    (layout / "index.json").write_text(json.dumps(index))


def link(layout: Path, image: images.Image) -> None:
    path = blob(layout, layer_of(image))
    path.rename(layout / "aside")
    path.symlink_to(layout / "aside")


def pipe(layout: Path, image: images.Image) -> None:
    path = blob(layout, layer_of(image))
    path.unlink()
    os.mkfifo(path)


def name_twice(layout: Path, image: images.Image) -> None:
    child = {**image.children[0].descriptor}
    child["annotations"] = {
        "org.opencontainers.image.ref.name": f"sha256-{image.digest.removeprefix('sha256:')}"
    }
    edit(layout, lambda index: index["manifests"].append(child))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        pytest.param(
            lambda layout, image: flip(blob(layout, layer_of(image))), DigestError, id="layer"
        ),
        pytest.param(
            lambda layout, image: flip(blob(layout, image.digest)), DigestError, id="index"
        ),
        pytest.param(
            lambda layout, image: flip(blob(layout, image.children[0].digest)),
            DigestError,
            id="manifest",
        ),
        pytest.param(
            lambda layout, image: os.truncate(blob(layout, layer_of(image)), 3),
            DigestError,
            id="shortened",
        ),
        pytest.param(
            lambda layout, image: blob(layout, layer_of(image)).unlink(), MissingError, id="gone"
        ),
        pytest.param(
            lambda layout, image: blob(layout, image.digest).unlink(), MissingError, id="no image"
        ),
        pytest.param(link, InputError, id="a link"),
        pytest.param(pipe, InputError, id="a pipe"),
        pytest.param(name_twice, OciError, id="a name for two things"),
        pytest.param(
            lambda layout, _: (layout / "index.json").write_text("{"), RefusedError, id="no JSON"
        ),
        pytest.param(
            lambda layout, _: (layout / "index.json").unlink(), SourceError, id="no index.json"
        ),
        pytest.param(
            lambda layout, _: (layout / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}'),
            OciError,
            id="another version",
        ),
        pytest.param(
            lambda layout, _: (layout / "index.json").write_bytes(b" " * (6 << 20)),
            LimitError,
            id="too large",
        ),
    ],
)
def test_a_damaged_layout_is_refused(
    tmp_path: Path, damage: Break, expected: type[AirlockError]
) -> None:
    layout, image = made(tmp_path / "layout")
    damage(layout, image)
    with pytest.raises(expected) as caught:
        gather([f"{NAME}=oci:{layout}:1.0.0"], tmp_path / "cache")
    assert caught.value.exit_status != 30  # nothing remote about it


# --- hostile archives -----------------------------------------------------------------------------


def member(name: str, raw: bytes = b"", **fields: object) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(raw)
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT) + raw + bytes(-len(raw) % 512)


END = bytes(1024)
LAYOUT = member("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(b"", TruncatedError, id="empty"),
        pytest.param(b"\x1f\x8b" + bytes(600), TarError, id="compressed"),
        pytest.param(LAYOUT, TruncatedError, id="no end"),
        pytest.param(LAYOUT[:600], TruncatedError, id="cut in a header"),
        pytest.param(member("index.json", b"x" * 600)[:700], TruncatedError, id="cut in a member"),
        pytest.param(LAYOUT + LAYOUT + END, PathError, id="twice"),
        pytest.param(member("../oci-layout") + END, PathError, id="parent"),
        pytest.param(member("/oci-layout") + END, PathError, id="absolute"),
        pytest.param(member("blobs/sha256/" + "A" * 64) + END, PathError, id="upper case"),
        pytest.param(member("etc/passwd") + END, PathError, id="another file"),
        pytest.param(member("etc", type=b"5") + END, PathError, id="another folder"),
        pytest.param(
            member("index.json", type=tarfile.SYMTYPE, linkname="x") + END, TarError, id="symlink"
        ),
        pytest.param(
            member("index.json", type=tarfile.LNKTYPE, linkname="x") + END, TarError, id="hard link"
        ),
        pytest.param(member("index.json", type=tarfile.FIFOTYPE) + END, TarError, id="pipe"),
        pytest.param(member("index.json", type=b"S") + END, TarError, id="sparse"),
        pytest.param(
            member("x", b"x" * 100, type=tarfile.GNUTYPE_LONGNAME) + END, TarError, id="long name"
        ),
        pytest.param(
            member("x", b"23 path=blobs/sha256/x\n", type=b"x") + END, TarError, id="pax path"
        ),
        pytest.param(member("x", b"12 size=999\n", type=b"x") + END, TarError, id="pax size"),
        pytest.param(member("x", b"99 mtime=1\n", type=b"x") + END, TarError, id="pax length"),
        pytest.param(member("x", b"nonsense", type=b"x") + END, TarError, id="pax nonsense"),
        pytest.param(member("x", b" " * 70_000, type=b"x") + END, TarError, id="pax too large"),
        pytest.param(b"\0" + LAYOUT[1:512] + END, TarError, id="checksum"),
        pytest.param(LAYOUT[:124] + b"-0000000001\0" + LAYOUT[136:] + END, TarError, id="size"),
    ],
)
def test_archives_outside_the_profile_are_refused(
    tmp_path: Path, raw: bytes, expected: type[RefusedError]
) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(raw)
    with pytest.raises(expected):
        gather([f"{NAME}=oci-archive:{path}"], tmp_path / "cache")


def test_a_size_beyond_the_file_is_refused_before_it_is_used(tmp_path: Path) -> None:
    info = tarfile.TarInfo("index.json")
    info.size = 1 << 60
    path = tmp_path / "x.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + END)
    with pytest.raises(TruncatedError):
        gather([f"{NAME}=oci-archive:{path}"], tmp_path / "cache")


def test_every_truncation_of_an_archive_is_refused(tmp_path: Path) -> None:
    layout, _ = made(tmp_path / "layout")
    whole = archived(layout, tmp_path / "whole.tar").read_bytes()
    end = len(whole.rstrip(b"\0"))
    path = tmp_path / "cut.tar"
    for size in range(0, end, 997):
        path.write_bytes(whole[:size])
        with pytest.raises(RefusedError):
            gather([f"{NAME}=oci-archive:{path}:1.0.0"], tmp_path / "cache")


@pytest.mark.parametrize("what", ["absent", "folder", "pipe"])
def test_what_is_no_file_is_an_error_at_once(tmp_path: Path, what: str) -> None:
    path = tmp_path / "x.tar"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            gather([f"{NAME}=oci-archive:{path}"], tmp_path / "cache")
        except AirlockError as e:
            failed.append(e)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(5)
    assert [type(error) for error in failed] == [InputError]


def test_tars_that_other_tools_write_have_folders_and_dots(tmp_path: Path) -> None:
    layout, image = made(tmp_path / "layout")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(layout, ".", recursive=True)
    path = tmp_path / "dots.tar"
    path.write_bytes(out.getvalue())
    (one,), _ = gather([f"{NAME}=oci-archive:{path}"], tmp_path / "cache")
    assert str(one.entry.image.digest) == image.digest
