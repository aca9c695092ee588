"""The statement: one way to write it, and nothing in it that contradicts the rest of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.digest import Digest
from loader.errors import LimitError, RefusedError, UnsupportedVersionError
from loader.limits import DEFAULT_LIMITS
from loader.model.bundle import BundleStatement, ImageEntry, layout_index
from loader.model.descriptor import OCI_MANIFEST, Descriptor
from loader.model.reference import Reference
from tests.adversarial.golden import golden

Change = Callable[[dict[str, Any]], None]


def changed(change: Change) -> bytes:
    document = json.loads(golden().statement.raw)
    change(document)
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=True
    ).encode("utf-8", "surrogatepass")


def put(*path: str | int, value: object) -> Change:
    def change(document: dict[str, Any]) -> None:
        target: Any = document
        for part in path[:-1]:
            target = target[part]
        target[path[-1]] = value

    return change


def drop(*path: str | int) -> Change:
    def change(document: dict[str, Any]) -> None:
        target: Any = document
        for part in path[:-1]:
            target = target[part]
        del target[path[-1]]

    return change


def test_it_comes_back_from_its_own_bytes_as_it_was() -> None:
    statement = golden().statement
    parsed = BundleStatement.parse(statement.raw)
    assert parsed == statement
    assert parsed.digest == Digest.of(statement.raw)
    assert parsed.members == parsed.metadata + parsed.layers
    assert [m.name for m in parsed.metadata[:2]] == ["oci-layout", "index.json"]


def test_its_bytes_are_what_another_writer_of_canonical_json_writes() -> None:
    raw = golden().statement.raw
    assert rfc8785.dumps(json.loads(raw)) == raw


def test_instants_are_written_in_utc_and_whole_seconds() -> None:
    at = datetime(2026, 11, 21, 3, 30, 0, 999, tzinfo=timezone(timedelta(hours=1)))
    statement = replace(golden(), created=at, expires=at).statement
    assert statement.created == statement.expires == datetime(2026, 11, 21, 2, 30, tzinfo=UTC)


def test_a_bundle_without_a_channel_has_no_sequence() -> None:
    statement = replace(golden(), channel=None, sequence=None).statement
    assert (statement.channel, statement.sequence) == (None, None)


@pytest.mark.parametrize(
    ("channel", "sequence"),
    [("stable", None), (None, 1), ("stable", 0), ("stable", 2**53), ("Stable", 1), ("a b", 1)],
)
def test_channel_and_sequence_go_together(channel: str | None, sequence: int | None) -> None:
    with pytest.raises(RefusedError):
        _ = replace(golden(), channel=channel, sequence=sequence).statement


REFUSED: list[tuple[str, Change, str]] = [
    ("a field more", put("crit", value=["x"]), "json.field"),
    ("a field less", drop("expires"), "json.syntax"),
    ("no schema", drop("schema"), "json.field"),
    ("a later schema", put("schema", value=99), "container.version"),
    ("schema zero", put("schema", value=0), "container.version"),
    ("schema as text", put("schema", value="1"), "container.version"),
    ("schema as a boolean", put("schema", value=True), "container.version"),
    ("a base", put("base", value={"digest": "x"}), "container.version"),
    ("sequence of a fraction", put("sequence", value=7.0), "json.syntax"),
    ("sequence as text", put("sequence", value="7"), "json.field"),
    ("sequence null", put("sequence", value=None), "json.field"),
    ("sequence gone", drop("sequence"), "json.field"),
    ("sequence negative", put("sequence", value=-1), "json.field"),
    ("sequence beyond JSON", put("sequence", value=2**53), "json.field"),
    ("sequence of 20 digits", put("sequence", value=10**20), "limit.exceeded"),
    ("a channel in capitals", put("channel", value="Stable"), "container.format"),
    ("a channel with a homoglyph", put("channel", value="st\u0430ble"), "container.format"),
    ("a channel with a blank", put("channel", value="stable "), "container.format"),
    ("a channel of 65 letters", put("channel", value="a" * 65), "limit.exceeded"),
    ("created in words", put("created", value="yesterday"), "json.field"),
    ("created with an offset", put("created", value="2026-11-21T02:30:00+00:00"), "json.field"),
    ("created on no day", put("created", value="2026-02-30T00:00:00Z"), "json.field"),
    (
        "created in full-width digits",
        put("created", value="\uff12026-11-21T02:30:00Z"),
        "json.field",
    ),
    ("created in the year 1", put("created", value="0001-01-01T00:00:00Z"), "json.syntax"),
    ("a short reference", put("images", 0, "reference", value="app"), "oci.format"),
    ("a reference without a tag", put("images", 0, "reference", value="a.b/app"), "oci.format"),
    ("a path as reference", put("images", 0, "reference", value="../x"), "oci.format"),
    ("an option as reference", put("images", 0, "reference", value="--flag"), "oci.format"),
    ("a reference with a newline", put("images", 0, "reference", value="a.b/c:d\n"), "oci.format"),
    ("another reference", put("images", 0, "reference", value="a.b/c:d"), "container.format"),
    (
        "a reference of another digest",
        put("images", 0, "reference", value="a.b/c@sha256:" + "0" * 64),
        "oci.format",
    ),
    (
        "an image without its size",
        drop("images", 0, "image", "size"),
        "json.field",
    ),
    ("a size beyond JSON", put("images", 0, "image", "size", value=2**53), "json.field"),
    ("the largest integer", put("images", 0, "image", "size", value=2**63 - 1), "json.field"),
    ("urls in an image", put("images", 0, "image", "urls", value=["http://x"]), "json.field"),
    ("no media type", put("images", 0, "image", "mediaType", value="x"), "oci.format"),
    ("sha512", put("images", 0, "image", "digest", value="sha512:" + "0" * 128), "oci.format"),
    (
        "a digest in capitals",
        put("images", 0, "image", "digest", value="sha256:" + "A" * 64),
        "oci.format",
    ),
    (
        "a platform of one part",
        put("images", 0, "platforms", 0, "platform", value="linux"),
        "oci.format",
    ),
    (
        "a platform with a slash behind it",
        put("images", 0, "platforms", 0, "platform", value="linux/amd64/"),
        "json.syntax",
    ),
    (
        "an unknown store",
        put("images", 0, "evidence", 0, "store", value="elsewhere"),
        "container.format",
    ),
    ("a hostile anchor", put("trust", 0, "anchor", value="../../etc"), "container.format"),
    ("an unknown kind of trust", put("trust", 0, "kind", value="hope"), "container.format"),
    (
        "a key with a repository's name",
        put("trust", 0, "repository", value="registry.acme.example/acme/app"),
        "json.field",
    ),
    ("a repository without a name", put("trust", 0, "kind", value="notary"), "json.field"),
    ("members as an object", put("members", value={}), "json.field"),
    ("no members", put("members", value=[]), "json.field"),
    (
        "a member named by a path",
        put("members", 3, "name", value="blobs/sha256/../../etc/passwd"),
        "path.name",
    ),
    ("a member with another's name", put("members", 3, "name", value="airlock.json"), "path.name"),
    (
        "a member's digest in other letters",
        put("members", 3, "sha256", value="\u00e9" * 64),
        "oci.format",
    ),
    ("a member's size beyond JSON", put("members", 3, "size", value=2**53), "json.field"),
    ("a member's size off by one", put("members", 3, "size", value=1), "container.format"),
    ("totals that do not add up", put("totals", "layers", "size", value=1), "container.format"),
    ("a count beyond the members", put("totals", "metadata", "count", value=99), "json.field"),
    ("another layout", put("members", 0, "size", value=31), "container.format"),
]


@pytest.mark.parametrize(
    ("change", "code"), [c[1:] for c in REFUSED], ids=[c[0].replace(" ", "-") for c in REFUSED]
)
def test_a_statement_that_says_anything_else_is_refused(change: Change, code: str) -> None:
    """A103 the sequences, A105 the channels."""
    with pytest.raises(RefusedError) as refused:
        BundleStatement.parse(changed(change))
    assert refused.value.code == code


def test_a_member_announced_twice_is_refused() -> None:
    def twice(document: dict[str, Any]) -> None:
        member = document["members"][-1]
        document["members"].append(member)
        document["totals"]["layers"]["count"] += 1
        document["totals"]["layers"]["size"] += member["size"]

    with pytest.raises(RefusedError) as refused:
        BundleStatement.parse(changed(twice))
    assert refused.value.code == "path.name"


@pytest.mark.parametrize("name", ["oci-layout", "index.json"])
def test_what_tools_read_first_stands_first(name: str) -> None:
    def move(document: dict[str, Any]) -> None:
        members = document["members"]
        members.append(members.pop([m["name"] for m in members].index(name)))

    with pytest.raises(RefusedError):
        BundleStatement.parse(changed(move))


def test_the_layout_index_follows_from_the_statement() -> None:
    def other_order(document: dict[str, Any]) -> None:
        document["images"].reverse()

    with pytest.raises(RefusedError) as refused:
        BundleStatement.parse(changed(other_order))
    assert refused.value.code == "container.format"


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda raw: raw + b"\n",
        lambda raw: b" " + raw,
        lambda raw: raw.replace(b'"base":null', b'"base": null'),
        lambda raw: raw.replace(b'"stable"', b'"st\\u0061ble"'),
        lambda raw: raw.replace(b'"schema":1', b'"schema":1,"schema":1'),
        lambda raw: raw.replace(b'"schema":1', b'"Schema":1,"schema":1'),
        lambda raw: b"\xef\xbb\xbf" + raw,
        lambda raw: raw.decode().encode("utf-16"),
        lambda raw: b"[" + raw + b"]",
        lambda raw: raw[:-1],
        lambda raw: raw[:0],
        lambda raw: raw[:0] + b"null",
        lambda raw: b"[" * 100_000 + raw,
        lambda raw: raw.replace(b'"sequence":7', b'"sequence":7e0'),
        lambda raw: raw.replace(b'"sequence":7', b'"sequence":NaN'),
        lambda raw: raw.replace(b'"sequence":7', b'"sequence":-0'),
        lambda raw: raw.replace(b'"sequence":7', b'"sequence":' + b"9" * 5000),
    ],
)
def test_the_same_in_other_bytes_is_refused(rewrite: Callable[[bytes], bytes]) -> None:
    raw = golden().statement.raw
    assert rewrite(raw) != raw
    with pytest.raises(RefusedError):
        BundleStatement.parse(rewrite(raw))


def test_every_byte_counts() -> None:
    """No flipped bit leaves a statement that means the same."""
    bundle = golden()
    raw, statement = bundle.statement.raw, bundle.statement
    for at in range(len(raw)):
        flipped = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        try:
            parsed = BundleStatement.parse(flipped)
        except RefusedError:
            continue
        assert replace(parsed, raw=raw) != statement


def test_a_later_version_is_told_from_nonsense() -> None:
    with pytest.raises(UnsupportedVersionError, match="does not know") as refused:
        BundleStatement.parse(changed(put("schema", value=2)))
    assert "newer" in refused.value.hint
    with pytest.raises(UnsupportedVersionError) as refused:
        BundleStatement.parse(changed(put("schema", value=0)))
    assert refused.value.hint == ""


def test_a_size_that_canonical_json_cannot_write_is_never_made() -> None:
    huge = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b""), size=2**60)
    bundle = golden()
    entry = replace(bundle.images[0], image=huge)
    with pytest.raises(LimitError):
        _ = replace(bundle, images=(entry,)).statement
    with pytest.raises(LimitError):
        _ = replace(bundle, layers=(huge,)).statement


def test_one_manifest_stands_once_in_the_layout_index() -> None:
    bundle = golden()
    first = bundle.images[0]
    found_twice = replace(first, evidence=first.evidence * 2)
    assert layout_index([found_twice]) == layout_index([first])
    on_itself = replace(first.evidence[0], manifest=first.image)
    of_index = replace(first.evidence[0], store="buildkit")
    plain = replace(first, evidence=())
    assert layout_index([replace(first, evidence=(on_itself, of_index))]) == layout_index([plain])


def test_counts_are_bounded() -> None:
    raw = golden().statement.raw
    with pytest.raises(LimitError):
        BundleStatement.parse(raw, limits=replace(DEFAULT_LIMITS, member_count_max=3))
    with pytest.raises(LimitError):
        BundleStatement.parse(raw, limits=replace(DEFAULT_LIMITS, image_count_max=1))
    with pytest.raises(LimitError):
        BundleStatement.parse(raw, limits=replace(DEFAULT_LIMITS, statement_size_max=len(raw) - 1))


blobs = st.builds(
    lambda raw: Descriptor.make("application/octet-stream", raw), st.binary(max_size=20)
)


@given(
    channel=st.none() | st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,9}[a-z0-9]\Z"),
    sequence=st.integers(1, 2**53 - 1),
    created=st.datetimes(datetime(1000, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    tags=st.lists(st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9._-]{0,20}\Z"), max_size=4),
    metadata=st.lists(blobs, max_size=5, unique_by=lambda d: d.digest),
    count=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_what_is_made_is_read_back(
    channel: str | None,
    sequence: int,
    created: datetime,
    tags: list[str],
    metadata: list[Descriptor],
    count: int,
) -> None:
    manifest = Descriptor.make(OCI_MANIFEST, b"{}")
    images = [
        ImageEntry(
            reference=Reference(registry="a.b", repository="c", tag=tag),
            image=manifest,
            platforms=(),
            evidence=(),
        )
        for tag in tags
    ]
    made = BundleStatement.make(
        created=created,
        channel=channel,
        sequence=None if channel is None else sequence,
        expires=None,
        images=images,
        trust=[],
        metadata=metadata[:count],
        layers=metadata[count:],
    )
    assert BundleStatement.parse(made.raw) == made
    assert made.created == created.replace(microsecond=0)
    assert [m.digest for m in made.members[2:]] == [d.digest for d in metadata]


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_statement_or_refused(raw: bytes) -> None:
    with contextlib.suppress(RefusedError):
        BundleStatement.parse(raw)


def repository(**changed: object) -> Change:
    """Make of the first trust material a repository of one file."""

    def change(document: dict[str, Any]) -> None:
        document["trust"][0] |= {
            "kind": "notary",
            "repository": "registry.acme.example:5000/acme/app",
            "names": ["root.json"],
        } | changed

    return change


def test_the_files_of_a_repository_have_names() -> None:
    entry = BundleStatement.parse(changed(repository())).trust[0]
    assert (entry.repository, entry.names) == (
        "registry.acme.example:5000/acme/app",
        ("root.json",),
    )
    assert "names" not in golden().statement.trust[0].plain()


@pytest.mark.parametrize(
    "hostile",
    [
        {"names": ["../root.json"]},
        {"names": ["targets/../../etc/passwd"]},
        {"names": ["/root.json"]},
        {"names": ["targets//releases.json"]},
        {"names": ["root\0.json"]},
        {"names": ["%2e%2e/root.json"]},
        {"names": [""]},
        {"names": [1]},
        {"names": []},
        {"names": ["root.json", "root.json"]},
        {"names": ["r" * 265]},
        {"repository": "../etc"},
        {"repository": "a b"},
        {"repository": "x" * 256},
    ],
    ids=str,
)
def test_a089_a_hostile_name_of_a_file_is_refused(hostile: dict[str, Any]) -> None:
    with pytest.raises(RefusedError):
        BundleStatement.parse(changed(repository(**hostile)))
