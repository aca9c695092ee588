"""Cases in the statement: its JSON, numbers and contradictions. Each is signed as it stands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tests.adversarial.case import Case, of_bytes
from tests.adversarial.golden import KEY, WORLD, dumps, golden
from tests.adversarial.pieces import frames, join, record, split


def archive_with(statement: bytes) -> bytes:
    """Return the golden archive with another statement, signed by the same key."""
    found = split(golden().archive())
    signature = dumps(WORLD.sign(statement, KEY, log="none").bundle())
    found[0:2] = [
        record(b"airlock.json", statement),
        record(b"airlock.sigstore.1.json", signature),
    ]
    return frames(join(found), 4 << 20)


def canonical(document: dict[str, Any]) -> bytes:
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=True
    ).encode("utf-8", "surrogatepass")


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[], bytes]:
    def make() -> bytes:
        document = json.loads(golden().statement.raw)
        change(document)
        return archive_with(canonical(document))

    return make


def rewritten(change: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    return lambda: archive_with(change(golden().statement.raw))


def swap(old: bytes, new: bytes) -> Callable[[], bytes]:
    def change(raw: bytes) -> bytes:
        assert raw.count(old) >= 1
        return raw.replace(old, new, 1)

    return rewritten(change)


def cases() -> Iterator[Case]:
    yield from _json()
    yield from _values()
    yield from _counts()


def _json() -> Iterator[Case]:
    deep = b"[" * 100_000 + b"]" * 100_000
    for name, make, expected in (
        ("equal-keys", swap(b'"schema":1', b'"schema":1,"schema":1'), "json"),
        ("equal-keys-of-other-values", swap(b'"schema":1', b'"schema":2,"schema":1'), "json"),
        ("keys-that-differ-in-case", swap(b'"schema":1', b'"Schema":2,"schema":1'), "json"),
        ("equal-keys-deep", swap(b'"image":{', b'"image":{"size":1,'), "json"),
        ("escaped-key", swap(b'"schema":1', b'"sch\\u0065ma":1'), "json"),
        ("long-s-key", swap(b'"schema":1', '"\u017fchema":2,"schema":1'.encode()), "json"),
        ("byte-order-mark", rewritten(lambda r: b"\xef\xbb\xbf" + r), "json"),
        ("utf-16", rewritten(lambda r: r.decode().encode("utf-16")), "json"),
        ("utf-16-without-mark", rewritten(lambda r: r.decode().encode("utf-16-le")), "json"),
        ("utf-32", rewritten(lambda r: r.decode().encode("utf-32")), "json"),
        ("latin-1", swap(b'"stable"', b'"st\xe4ble"'), "json"),
        ("overlong-utf8", swap(b'"stable"', b'"st\xc1\xa1ble"'), "json"),
        ("half-a-surrogate", swap(b'"stable"', b'"\\ud800"'), "json"),
        ("raw-surrogate", swap(b'"stable"', b'"\xed\xa0\x80"'), "json"),
        ("nan", swap(b'"sequence":7', b'"sequence":NaN'), "json"),
        ("infinity", swap(b'"sequence":7', b'"sequence":-Infinity'), "json"),
        ("1e999", swap(b'"sequence":7', b'"sequence":1e999'), "json"),
        ("fraction", swap(b'"sequence":7', b'"sequence":7.0'), "json"),
        ("exponent", swap(b'"sequence":7', b'"sequence":7e0'), "json"),
        ("negative-zero", swap(b'"sequence":7', b'"sequence":-0'), "json"),
        ("leading-zero", swap(b'"sequence":7', b'"sequence":07'), "json"),
        ("plus", swap(b'"sequence":7', b'"sequence":+7'), "json"),
        ("20-digits", swap(b'"sequence":7', b'"sequence":' + b"1" * 20), "limit"),
        ("a-million-digits", swap(b'"sequence":7', b'"sequence":' + b"9" * 10**6), "limit"),
        ("depth-100000", swap(b'"channel":"stable"', b'"channel":' + deep), "limit"),
        ("depth-65", swap(b'"stable"', b"[" * 65 + b"]" * 65), "limit"),
        ("unclosed-100000", rewritten(lambda _: b"[" * 100_000), "limit"),
        ("trailing-newline", rewritten(lambda r: r + b"\n"), "json"),
        ("trailing-object", rewritten(lambda r: r + b"{}"), "json"),
        ("trailing-nul", rewritten(lambda r: r + b"\0"), "json"),
        ("blank-inside", swap(b'"schema":1', b'"schema": 1'), "json"),
        ("keys-unsorted", rewritten(_unsorted), "json"),
        ("escaped-letter", swap(b'"stable"', b'"st\\u0061ble"'), "json"),
        ("comment", swap(b'"schema":1', b'/**/"schema":1'), "json"),
        ("single-quotes", swap(b'"stable"', b"'stable'"), "json"),
        ("trailing-comma", swap(b'"schema":1,', b'"schema":1,,'), "json"),
        ("a-list", rewritten(lambda r: b"[" + r + b"]"), "json"),
        ("text", rewritten(lambda _: b'"airlock"'), "json"),
        ("null", rewritten(lambda _: b"null"), "json"),
        ("nothing", rewritten(lambda _: b""), "json"),
        ("empty-object", rewritten(lambda _: b"{}"), "json"),
        ("cut", rewritten(lambda r: r[: len(r) // 2]), "json"),
    ):
        yield of_bytes(f"statement-{name}", make, expected, "not the one way to write it")


def _unsorted(raw: bytes) -> bytes:
    document = json.loads(raw)
    return dumps({"schema": document.pop("schema"), **document})


def _values() -> Iterator[Case]:
    def image(key: str, value: object, at: int = 0) -> Callable[[], bytes]:
        return edited(lambda d: d["images"][at].__setitem__(key, value))

    def descriptor(key: str, value: object) -> Callable[[], bytes]:
        return edited(lambda d: d["images"][0]["image"].__setitem__(key, value))

    def top(key: str, value: object) -> Callable[[], bytes]:
        return edited(lambda d: d.__setitem__(key, value))

    def member(key: str, value: object, at: int = 5) -> Callable[[], bytes]:
        return edited(lambda d: d["members"][at].__setitem__(key, value))

    def gone(*path: str | int) -> Callable[[], bytes]:
        def change(document: Any) -> None:  # noqa: ANN401
            for part in path[:-1]:
                document = document[part]
            del document[path[-1]]

        return edited(change)

    huge = hashlib.sha512(b"").hexdigest()
    for name, make, expected in (
        ("version-99", top("schema", 99), "container"),
        ("version-0", top("schema", 0), "container"),
        ("version-text", top("schema", "1"), "container"),
        ("version-true", top("schema", bool(1)), "container"),
        ("version-gone", gone("schema"), "json"),
        ("critical-field", top("crit", ["x"]), "json"),
        ("unknown-field", top("comment", ""), "json"),
        ("unknown-field-in-image", image("extra", 1), "json"),
        ("unknown-field-in-descriptor", descriptor("annotations", {}), "json"),
        ("urls-in-descriptor", descriptor("urls", ["http://127.0.0.1/"]), "json"),
        ("data-in-descriptor", descriptor("data", "e30="), "json"),
        ("base", top("base", {"digest": "sha256:" + "0" * 64}), "container"),
        ("sequence-2-to-63", top("sequence", 2**63), "json"),
        ("sequence-negative", top("sequence", -1), "json"),
        ("sequence-text", top("sequence", "11"), "json"),
        ("sequence-null", top("sequence", None), "json"),
        ("sequence-gone", gone("sequence"), "json"),
        ("channel-capital", top("channel", "Stable"), "container"),
        ("channel-blank", top("channel", "stable "), "container"),
        ("channel-homoglyph", top("channel", "st\u0430ble"), "container"),
        ("channel-empty", top("channel", ""), "json"),
        ("channel-list", top("channel", ["stable"]), "json"),
        ("created-null", top("created", None), "json"),
        ("created-number", top("created", 1_700_000_000), "json"),
        ("created-leap-second", top("created", "2016-12-31T23:59:60Z"), "json"),
        ("created-february-30", top("created", "2026-02-30T00:00:00Z"), "json"),
        ("expires-zone", top("expires", "2999-01-01T00:00:00+01:00"), "json"),
        ("images-object", top("images", {}), "json"),
        ("images-of-null", top("images", [None]), "json"),
        ("image-null", image("image", None), "json"),
        ("reference-traversal", image("reference", "../x"), "oci"),
        ("reference-option", image("reference", "--flag"), "oci"),
        ("reference-blank", image("reference", "a b"), "oci"),
        ("reference-capitals", image("reference", "A/UPPER"), "oci"),
        ("reference-of-300", image("reference", "a.b/" + "c" * 300 + ":d"), "oci"),
        ("reference-of-5000", image("reference", "a.b/" + "c" * 5000), "limit"),
        ("reference-port", image("reference", "host:99999/x:y"), "oci"),
        ("reference-newline", image("reference", "a.b/c:d\n"), "oci"),
        ("reference-other-digest", image("reference", "a.b/c@sha256:" + "0" * 64), "oci"),
        ("reference-other", image("reference", "registry.example/org/app:2.0"), "container"),
        ("digest-sha512", descriptor("digest", f"sha512:{huge}"), "oci"),
        ("digest-md5", descriptor("digest", "md5:" + "0" * 32), "oci"),
        ("digest-traversal", descriptor("digest", "sha256:../../../x"), "oci"),
        ("digest-capitals", descriptor("digest", "sha256:" + "A" * 64), "oci"),
        ("digest-short", descriptor("digest", "sha256:abc"), "oci"),
        ("digest-newline", descriptor("digest", "sha256:" + "0" * 64 + "\n"), "oci"),
        ("digest-empty", descriptor("digest", ""), "json"),
        ("digest-list", descriptor("digest", ["sha256"]), "json"),
        ("size-negative", descriptor("size", -1), "json"),
        ("size-2-to-53", descriptor("size", 2**53), "json"),
        ("size-2-to-63", descriptor("size", 2**63 - 1), "json"),
        ("size-true", descriptor("size", bool(1)), "json"),
        ("size-null", descriptor("size", None), "json"),
        ("size-other", descriptor("size", 1), "container"),
        ("media-type-junk", descriptor("mediaType", "\x1b[2J"), "oci"),
        ("media-type-empty", descriptor("mediaType", ""), "json"),
        ("store-unknown", edited(lambda d: _evidence(d).update(store="x")), "container"),
        ("anchor-traversal", edited(lambda d: d["trust"][0].update(anchor="../x")), "container"),
        ("kind-unknown", edited(lambda d: d["trust"][0].update(kind="x")), "container"),
        ("member-traversal", member("name", "blobs/sha256/../../x"), "path"),
        ("member-absolute", member("name", "/etc/passwd"), "path"),
        ("member-docker-manifest", member("name", "manifest.json"), "path"),
        ("member-of-another-digest", member("name", "blobs/sha256/" + "0" * 64), "path"),
        ("member-digest-other", member("sha256", "0" * 64), "path"),
        ("member-digest-junk", member("sha256", "x"), "oci"),
        ("member-size-2-to-53", member("size", 2**53), "json"),
        ("member-size-off-by-one", edited(_off_by_one), "digest"),
        ("member-unknown-field", member("mode", 420), "json"),
        ("layout-size", member("size", 29, 0), "container"),
        ("layout-index-digest", member("sha256", "0" * 64, 1), "container"),
        ("members-out-of-order", edited(_out_of_order), "tar"),
        ("member-announced-twice", edited(_twice), "path"),
        ("member-not-there", edited(_one_more), "missing"),
        ("member-not-announced", edited(_one_less), "tar"),
        ("totals-wrong", edited(lambda d: d["totals"]["layers"].update(size=1)), "container"),
        ("totals-count", edited(lambda d: d["totals"]["layers"].update(count=1)), "container"),
        ("totals-boundary-moved", edited(_boundary), "container"),
        ("totals-null", top("totals", None), "json"),
    ):  # fmt: skip
        yield of_bytes(f"statement-{name}", make, expected, "signed, and still wrong")

    fewer = replace(golden(), images=golden().images[:1]).statement.raw
    yield of_bytes(
        "statement-of-fewer-images", lambda: archive_with(fewer), "digest", "index.json differs"
    )


def _off_by_one(document: dict[str, Any]) -> None:
    document["members"][5]["size"] += 1
    document["totals"]["metadata"]["size"] += 1


def _evidence(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["images"][0]["evidence"][0]
    return found


def _out_of_order(document: dict[str, Any]) -> None:
    document["members"].insert(5, document["members"].pop(6))


def _twice(document: dict[str, Any]) -> None:
    member = document["members"][-1]
    document["members"].append(member)
    _add(document, member["size"])


def _one_more(document: dict[str, Any]) -> None:
    digest = "0" * 64
    document["members"].append({"name": f"blobs/sha256/{digest}", "sha256": digest, "size": 5})
    _add(document, 5)


def _one_less(document: dict[str, Any]) -> None:
    member = document["members"].pop()
    document["totals"]["layers"]["count"] -= 1
    document["totals"]["layers"]["size"] -= member["size"]


def _boundary(document: dict[str, Any]) -> None:
    document["totals"]["metadata"]["count"] += 1
    document["totals"]["layers"]["count"] -= 1


def _add(document: dict[str, Any], size: int) -> None:
    document["totals"]["layers"]["count"] += 1
    document["totals"]["layers"]["size"] += size


def _members(count: int) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for number in range(count):
            digest = hashlib.sha256(number.to_bytes(4, "big")).hexdigest()
            name = f"blobs/sha256/{digest}"
            document["members"].append({"name": name, "sha256": digest, "size": 0})
        document["totals"]["layers"]["count"] += count

    return change


def _member(size: int, *, small: bool) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        digest = "0" * 64
        member = {"name": f"blobs/sha256/{digest}", "sha256": digest, "size": size}
        at = document["totals"]["metadata"]["count"] if small else len(document["members"])
        document["members"].insert(at, member)
        total = document["totals"]["metadata" if small else "layers"]
        total["count"] += 1
        total["size"] += size

    return change


def _more_images(count: int) -> Callable[[dict[str, Any]], None]:
    return lambda d: d.update(images=d["images"][:1] * count)


def _more_evidence(count: int) -> Callable[[dict[str, Any]], None]:
    return lambda d: d["images"][0].update(evidence=d["images"][0]["evidence"] * count)


def _more_platforms(count: int) -> Callable[[dict[str, Any]], None]:
    return lambda d: d["images"][0].update(platforms=d["images"][0]["platforms"] * count)


def _more_trust(count: int) -> Callable[[dict[str, Any]], None]:
    return lambda d: d.update(trust=d["trust"] * count)


def _counts() -> Iterator[Case]:
    for name, change, expected in (
        ("members-100000-not-there", _members(100_000), "missing"),
        ("members-195000", _members(195_000), "limit"),
        ("images-10001", _more_images(10_001), "limit"),
        ("evidence-10001", _more_evidence(10_001), "limit"),
        ("evidence-100000", _more_evidence(100_000), "limit"),
        ("platforms-1000", _more_platforms(500), "limit"),
        ("trust-1025", _more_trust(1025), "limit"),
        ("small-member-over-32-mib", _member((32 << 20) + 1, small=True), "limit"),
        ("small-members-over-2-gib", _member(2**31, small=True), "limit"),
        ("layer-of-8-pib", _member(2**53 - 1 - 10**6, small=False), "missing"),
    ):
        yield of_bytes(f"count-{name}", edited(change), expected, "counts and sizes")
