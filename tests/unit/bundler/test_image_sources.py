"""What may be written to name images: references, layouts, images.txt, bundle.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.bundle_file import BundleFile
from bundler.errors import SourceError
from bundler.sources import LayoutImage, RegistryImage, parse_list, parse_source
from loader.digest import Digest
from loader.model.descriptor import Platform

DIGEST = "sha256:" + "ab" * 32
LIST = Path("/lists/images.txt")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20"),
        ("org/app", "docker.io/org/app:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("index.docker.io/org/app:1", "docker.io/org/app:1"),
        ("registry-1.docker.io/alpine", "docker.io/library/alpine:latest"),
        ("ghcr.io/org/app", "ghcr.io/org/app:latest"),
        ("localhost/app:1", "localhost/app:1"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("registry:5000/app", "registry:5000/app:latest"),
        ("[::1]:5000/app:1", "[::1]:5000/app:1"),
        (f"alpine@{DIGEST}", f"docker.io/library/alpine@{DIGEST}"),
        (f"ghcr.io/org/app:1@{DIGEST}", f"ghcr.io/org/app:1@{DIGEST}"),
    ],
)
def test_references_are_spelled_out_as_docker_does(text: str, expected: str) -> None:
    source = parse_source(text)
    assert isinstance(source, RegistryImage)
    assert str(source.reference) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Alpine",
        "alpine:",
        "alpine@",
        "alpine@sha256:abc",
        f"alpine@{DIGEST.upper()}",
        "https://ghcr.io/org/app",
        "ghcr.io/org/app:1:2",
        "ghcr.io//app",
        "../app",
        "app name",
        "oci:",
        "oci::1",
        "oci-archive:",
        f"oci:dir@{DIGEST}0",
        "bad name=oci:dir",
        "UPPER=oci:dir",
        "docker-daemon:alpine:latest",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_source(text, where="here")
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("text", "kind", "path", "wanted", "reference"),
    [
        ("oci:dir", "oci", "/base/dir", None, None),
        ("oci:/abs/dir:1.0", "oci", "/abs/dir", "1.0", None),
        ("oci:dir:ghcr.io/org/app:1", "oci", "/base/dir", "ghcr.io/org/app:1", None),
        (f"oci:dir@{DIGEST}", "oci", "/base/dir", Digest.parse(DIGEST), None),
        ("oci-archive:a b.tar:1", "oci-archive", "/base/a b.tar", "1", None),
        ("ghcr.io/o/a:1=oci:d:1", "oci", "/base/d", "1", "ghcr.io/o/a:1"),
        (
            "app=oci-archive:d.tar",
            "oci-archive",
            "/base/d.tar",
            None,
            "docker.io/library/app:latest",
        ),
    ],
)
def test_layouts(text: str, kind: str, path: str, wanted: object, reference: str | None) -> None:
    source = parse_source(text, directory=Path("/base"))
    assert isinstance(source, LayoutImage)
    assert (source.kind, str(source.path), source.wanted) == (kind, path, wanted)
    assert (None if source.reference is None else str(source.reference)) == reference


def test_a_list_has_comments_blank_lines_and_any_line_ends() -> None:
    raw = (
        b"# all of it\r\n\r\n  ghcr.io/org/app:1  # the app\r\n"
        b"\tapp:2\n\nregistry:5000/x#y\nghcr.io/org/app:1"
    )
    with pytest.raises(SourceError) as caught:
        parse_list(raw, path=LIST)
    assert caught.value.where == "/lists/images.txt:6"  # no comment without a space before it
    found = parse_list(raw.replace(b"#y", b""), path=LIST)
    assert [str(source) for source in found] == [
        "ghcr.io/org/app:1",
        "docker.io/library/app:2",
        "registry:5000/x:latest",
    ]


def test_layouts_in_a_list_are_beside_it() -> None:
    (source,) = parse_list(b"oci:build/app", path=LIST)
    assert isinstance(source, LayoutImage)
    assert source.path == Path("/lists/build/app")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"# nothing\n",
        b"\xef\xbb\xbfalpine\n",
        b"a\x00l\x00",
        b"\xff\xfea\x00",
        b"alpine\xff\n",
        b"alpine\x1b[2J\n",
        b"alpine\rubuntu\n",
        b"#" * (2 << 20),
    ],
)
def test_what_is_no_list_is_refused(raw: bytes) -> None:
    with pytest.raises(SourceError):
        parse_list(raw, path=LIST)


FULL = b"""
schema = 1
images = ["alpine:3", "oci:build/app"]
images-from = ["more.txt"]
platforms = ["linux/amd64", "linux/arm64/v8"]
policy = "policy.toml"
channel = "stable"
sequence = 7
expires = "30d"
output = "out/app.tar.zst"
[registry]
plain-http = ["127.0.0.1:5000"]
ca-files = ["ca.pem"]
referrers-by-tag = ["old.example"]
"""
FILE = Path("/work/bundle.toml")


def test_a_bundle_file_says_it_all() -> None:
    found = BundleFile.parse(FULL, path=FILE)
    assert [str(source) for source in found.images] == [
        "docker.io/library/alpine:3",
        "oci:/work/build/app",
    ]
    assert found.images_from == (Path("/work/more.txt"),)
    assert found.platforms == (Platform.parse("linux/amd64"), Platform.parse("linux/arm64/v8"))
    assert found.policy == Path("/work/policy.toml")
    assert (found.channel, found.sequence, found.expires) == ("stable", 7, "30d")
    assert found.output == Path("/work/out/app.tar.zst")
    assert found.plain_http == ("127.0.0.1:5000",)
    assert found.ca_files == (Path("/work/ca.pem"),)
    assert found.referrers_by_tag == ("old.example",)


def test_what_a_bundle_file_does_not_say_is_none() -> None:
    found = BundleFile.parse(b"schema = 1", path=FILE)
    assert (found.images, found.policy, found.channel, found.sequence) == ((), None, None, None)


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        (b"schema = 1\nimage = []", "images?"),
        (b"schema = 1\nplatform = []", "platforms?"),
        (b"schema = 1\n[registry]\nplain_http = []", "plain-http?"),
        (b"schema = 1\nimages = 'alpine'", ""),
        (b"schema = 1\nimages = [1]", ""),
        (b"schema = 1\nimages = ['Not A Reference']", ""),
        (b"schema = 1\nplatforms = ['amd64']", ""),
        (b"schema = 1\nsequence = 0", ""),
        (b"schema = 1\nsequence = true", ""),
        (b"schema = 1\nsequence = '1'", ""),
        (b"schema = 1\nsequence = 9007199254740993", ""),
        (b"schema = 1\nexpires = '30 days'", ""),
        (b"schema = 1\npolicy = ''", ""),
        (b"schema = 1\nregistry = []", ""),
        (b"schema = 2", ""),
        (b"images = []", ""),
        (b"schema = 1\nschema = 1", ""),
        (b"\xff", ""),
        (b"x = " + b"[" * 5000, ""),
        (b"#" * (2 << 20), ""),
    ],
)
def test_a_bundle_file_that_means_nothing_is_refused(raw: bytes, hint: str) -> None:
    with pytest.raises(SourceError) as caught:
        BundleFile.parse(raw, path=FILE)
    assert hint in caught.value.hint
    assert str(FILE) in caught.value.where
