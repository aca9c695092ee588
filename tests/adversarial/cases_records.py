"""Cases in the records of the tar: names, aliases, duplicates, types, numbers, structure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.adversarial.case import ACCEPT, Case, of_bytes
from tests.adversarial.golden import golden
from tests.adversarial.pieces import BLOCK, END, RECORD, Record, frames, join, record, split

HEX = b"0123456789abcdef" * 4
# Where a record stands: its position among the golden records.
PLACES = {"statement": 0, "signature": 1, "oci-layout": 2, "index.json": 3, "small": 5, "layer": -1}

NAMES: list[tuple[str, bytes]] = [
    ("traversal", b"../../etc/passwd"),
    ("traversal-behind-blobs", b"blobs/sha256/../../../tmp/canary"),
    ("absolute", b"/tmp/canary"),
    ("absolute-index", b"/index.json"),
    ("empty", b""),
    ("dot", b"."),
    ("dot-part", b"./index.json"),
    ("dot-and-empty-part", b".//index.json"),
    ("cleaned-into-index", b"x/../index.json"),
    ("trailing-slash", b"index.json/"),
    ("empty-part", b"blobs//sha256/" + HEX),
    ("dot-blobs", b"./blobs/sha256/" + HEX),
    ("capitals", b"INDEX.JSON"),
    ("trailing-blank", b"index.json "),
    ("trailing-newline", b"index.json\n"),
    ("trailing-dot", b"index.json."),
    ("backslash", b"blobs\\sha256\\" + HEX),
    ("backslash-traversal", b"..\\..\\windows"),
    ("nul-inside", b"index.json\0.sig"),
    ("bell", b"index\a.json"),
    ("terminal-escape", b"\x1b[2Jindex.json"),
    ("bidi-override", "index\u202enosj.".encode()),
    ("homoglyph", "ind\u0435x.json".encode()),
    ("full-width", "\uff49ndex.json".encode()),
    ("decomposed", "index\u0301.json".encode()),
    ("latin-1", b"ind\xe9x.json"),
    ("overlong-utf8", b"\xc0\xae\xc0\xae/x"),
    ("windows-device", b"CON"),
    ("windows-device-json", b"aux.json"),
    ("windows-stream", b"index.json:evil"),
    ("option", b"--to-command=sh"),
    ("format-string", b"%s%n{0}"),
    ("docker-manifest", b"manifest.json"),
    ("docker-repositories", b"repositories"),
    ("hash-too-short", b"blobs/sha256/" + HEX[:63]),
    ("hash-too-long", b"blobs/sha256/" + HEX + b"0"),
    ("hash-in-capitals", b"blobs/sha256/" + HEX.upper()),
    ("hash-not-hex", b"blobs/sha256/" + b"g" * 64),
    ("sha512", b"blobs/sha512/" + HEX + HEX[:20]),
    ("no-hash", b"blobs/sha256/"),
    ("signature-zero", b"airlock.sigstore.0.json"),
    ("signature-zero-padded", b"airlock.sigstore.01.json"),
    ("signature-seventeen", b"airlock.sigstore.17.json"),
    ("signature-without-number", b"airlock.sigstore.json"),
    ("statement-temporary", b"airlock.json.part"),
    ("full-field", b"a" * 100),
]

ALIASES: list[tuple[str, bytes, str]] = [
    ("exact", b"index.json", "tar"),
    ("dot", b"./index.json", "path"),
    ("dot-and-empty", b".//index.json", "path"),
    ("up-and-down", b"x/../index.json", "path"),
    ("slash-behind", b"index.json/", "path"),
    ("slash-before", b"/index.json", "path"),
    ("capitals", b"Index.json", "path"),
    ("backslash", b".\\index.json", "path"),
    ("nul-behind", b"index.json\0x", "path"),
]

TYPES = [
    *(bytes([c]) for c in b"1234567"),
    *(b"\0", b"8", b"9", b"A", b"D", b"K", b"L", b"M", b"N", b"S", b"V", b"X"),
    *(b"g", b"x", b"Z", b" ", b"\xff"),
]

# A size field, and what must be said of it on a member of the given size.
SIZES: list[tuple[str, Callable[[int], bytes], str]] = [
    ("negative-base-256", lambda _: b"\xff" * 12, "tar"),
    ("base-256-for-a-small-size", lambda n: b"\x80" + n.to_bytes(11, "big"), "tar"),
    ("base-256-huge", lambda _: b"\x80" + b"\xff" * 11, "limit"),
    ("base-256-nine-gib", lambda _: b"\x80" + (9 << 30).to_bytes(11, "big"), "digest"),
    ("base-256-with-another-mark", lambda _: b"\x81" + (9 << 30).to_bytes(11, "big"), "tar"),
    ("blanks-before", lambda n: b"%11o\0" % n, "tar"),
    ("blank-behind", lambda n: b"%011o " % n, "tar"),
    ("no-end", lambda n: b"%012o" % n, "tar"),
    ("short", lambda n: b"%o\0" % n, "tar"),
    ("underscore", lambda n: b"00000_%05o\0" % n, "tar"),
    ("plus", lambda n: b"+%010o\0" % n, "tar"),
    ("minus", lambda n: b"-%010o\0" % n, "tar"),
    ("prefix-0o", lambda n: b"0o%09o\0" % n, "tar"),
    ("decimal-digits", lambda _: b"00000000089\0", "tar"),
    ("full-width-digits", lambda _: "\uff11\uff12\uff13".encode(), "tar"),
    ("nul", lambda _: bytes(12), "tar"),
    ("blank", lambda _: b" " * 12, "tar"),
    ("one-more", lambda n: b"%011o\0" % (n + 1), "digest"),
    ("one-less", lambda n: b"%011o\0" % (n - 1), "digest"),
    ("zero", lambda _: b"%011o\0" % 0, "digest"),
    ("largest-octal", lambda _: b"7" * 11 + b"\0", "digest"),
]

FIELDS: list[tuple[str, str, bytes]] = [
    ("mode-executable", "mode", b"0000755\0"),
    ("mode-setuid", "mode", b"0004755\0"),
    ("mode-in-blanks", "mode", b"   644 \0"),
    ("owner", "uid", b"0001750\0"),
    ("group", "gid", b"0001750\0"),
    ("negative-owner", "uid", b"\xff" * 8),
    ("time", "mtime", b"15050000000\0"),
    ("owner-name", "uname", b"root"),
    ("group-name", "gname", b"root"),
    ("link-name", "linkname", b"/etc/passwd"),
    ("device", "devmajor", b"0000000\0"),
    ("device-minor", "devminor", b"0000001\0"),
    ("prefix", "prefix", b"../../etc"),
    ("prefix-blobs", "prefix", b"blobs"),
    ("rest", "rest", b"tar\0"),
    ("ustar", "magic", b"ustar\x0000"),
    ("v7", "magic", b""),
    ("star", "magic", b"ustar\0 \0"),
]

CHECKSUMS: list[tuple[str, Callable[[int], bytes]]] = [
    ("off-by-one", lambda n: b"%06o\0 " % (n + 1)),
    ("blank", lambda _: b" " * 8),
    ("nul", lambda _: bytes(8)),
    ("seven-digits", lambda n: b"%07o\0" % n),
    ("blanks-before", lambda n: b"%6o\0 " % n),
    ("no-blank-behind", lambda n: b"%06o\0\0" % n),
    ("decimal", lambda n: b"%06d\0 " % n),
]


def pax(**fields: str) -> bytes:
    """Return the records of a pax header."""
    out = b""
    for key, value in fields.items():
        body = f" {key}={value}\n".encode()
        length = len(body) + 1
        while len(str(length)) + len(body) != length:
            length = len(str(length)) + len(body)
        out += str(length).encode() + body
    return out


EXTENSIONS: list[tuple[str, bytes, bytes]] = [
    ("pax-path", b"x", pax(path="index.json")),
    ("pax-path-traversal", b"x", pax(path="../../tmp/canary")),
    ("pax-size", b"x", pax(size="0")),
    ("pax-size-words", b"x", pax(size="abc")),
    ("pax-linkpath", b"x", pax(linkpath="/etc/passwd")),
    ("pax-charset", b"x", pax(charset="BINARY")),
    ("pax-path-twice", b"x", pax(path="a") + pax(path="index.json")),
    ("pax-length-too-long", b"x", b"999 path=index.json\n"),
    ("pax-length-huge", b"x", b"9" * 400 + b" path=x\n"),
    ("pax-never-ends", b"x", b"20 path=index.json"),
    ("pax-sparse", b"x", pax(**{"GNU.sparse.major": "1", "GNU.sparse.realsize": "1"})),
    ("pax-global", b"g", pax(path="index.json")),
    ("pax-global-comment", b"g", pax(comment="harmless")),
    ("pax-solaris", b"X", pax(path="index.json")),
    ("long-name", b"L", b"index.json\0"),
    ("long-name-of-200", b"L", b"a" * 200 + b"\0"),
    ("long-name-of-20000", b"L", b"a" * 20_000 + b"\0"),
    ("long-link", b"K", b"/etc/passwd\0"),
]


def records() -> list[Record]:
    return split(golden().archive(form="plain"))


def packed(changed: list[Record]) -> bytes:
    """In frames: a plain archive must begin with the statement's name to be one at all."""
    return frames(join(changed), 4 << 20)


def replaced(place: str, change: Callable[[Record], Record]) -> Callable[[], bytes]:
    def make() -> bytes:
        found = records()
        found[PLACES[place]] = change(found[PLACES[place]])
        return packed(found)

    return make


def inserted(at: int, extra: Record) -> Callable[[], bytes]:
    def make() -> bytes:
        found = records()
        found.insert(at if at >= 0 else len(found) + 1 + at, extra)
        return packed(found)

    return make


def cases() -> Iterator[Case]:
    yield from _names()
    yield from _duplicates()
    yield from _types()
    yield from _numbers()
    yield from _extensions()
    yield from _order()
    yield from _ends()


def _names() -> Iterator[Case]:
    for place in ("statement", "signature", "index.json", "small", "layer"):
        for name, raw in NAMES:
            # `with_name` pads with NUL, so an embedded NUL stays embedded.
            yield of_bytes(
                f"name-{name}-at-{place}",
                replaced(place, lambda r, raw=raw: r.with_name(raw)),  # type: ignore[misc]
                "path",
                f"the {place} is called {raw[:40]!r}",
            )
    for name, raw, expected in ALIASES:
        alias = record(raw, b'{"schemaVersion":2,"manifests":[]}')
        for where, at in (("before-it", 3), ("behind-it", 4), ("at-the-end", -1)):
            yield of_bytes(
                f"alias-{name}-{where}",
                inserted(at, alias),
                # Where the real one is due, it is the real one's size that is wrong.
                "digest" if (name, at) == ("exact", 3) else expected,
                "a second index.json that another reader would take for the first",
            )


def _duplicates() -> Iterator[Case]:
    for place in ("statement", "signature", "oci-layout", "index.json", "small", "layer"):
        at = PLACES[place]
        original = records()[at]
        behind = at + 1 if at >= 0 else -1
        other = original.with_body(bytes(b ^ 1 for b in original.body[:8]) + original.body[8:])
        upper = original.with_name(original.field("name").upper())
        for name, extra, expected in (
            ("same-bytes", original, "tar"),
            ("other-bytes", other, "tar"),
            ("other-case", upper, "path"),
        ):
            yield of_bytes(
                f"duplicate-{place}-{name}",
                inserted(behind, extra),
                expected,
                f"the {place} stands twice",
            )
        yield of_bytes(
            f"duplicate-{place}-at-the-end", inserted(-1, original), "tar", f"{place} twice"
        )


def _types() -> Iterator[Case]:
    for place in ("statement", "oci-layout", "small", "layer"):
        for kind in TYPES:
            yield of_bytes(
                f"type-{kind.hex()}-at-{place}",
                replaced(place, lambda r, kind=kind: r.with_field("type", kind)),  # type: ignore[misc]
                "tar",
                f"the {place} has type {kind!r}",
            )


def _numbers() -> Iterator[Case]:
    for place in ("small", "layer"):
        for name, write, expected in SIZES:

            def size(r: Record, write: Callable[[int], bytes] = write) -> Record:
                return r.with_field("size", write(int(r.field("size")[:11], 8)))

            yield of_bytes(f"size-{name}-at-{place}", replaced(place, size), expected, name)
        for name, field, value in FIELDS:
            yield of_bytes(
                f"field-{name}-at-{place}",
                replaced(
                    place,
                    lambda r, field=field, value=value: r.with_field(field, value),  # type: ignore[misc]
                ),
                "tar",
                f"{field} is {value!r}",
            )
        for name, write in CHECKSUMS:

            def checksum(r: Record, write: Callable[[int], bytes] = write) -> Record:
                return r.with_field("checksum", write(int(r.field("checksum")[:6], 8)))

            yield of_bytes(f"checksum-{name}-at-{place}", replaced(place, checksum), "tar", name)
    for place, size_max in (("statement", 32 << 20), ("signature", 1 << 20)):
        for name, write, expected in (
            ("over-the-limit", lambda n: b"%011o\0" % n, "limit"),
            ("largest-octal", lambda _: b"7" * 11 + b"\0", "limit"),
            ("nine-gib", lambda _: b"\x80" + (9 << 30).to_bytes(11, "big"), "limit"),
            ("beyond-the-file", lambda n: b"%011o\0" % (n - 1), "container"),
        ):
            yield of_bytes(
                f"size-{name}-at-{place}",
                replaced(
                    place,
                    lambda r, write=write, n=size_max: r.with_field("size", write(n + 1)),  # type: ignore[misc]
                ),
                expected,
                f"the {place} says that it is that long",
            )


def _extensions() -> Iterator[Case]:
    for name, kind, body in EXTENSIONS:
        extra = record(b"././@LongLink" if kind in b"KL" else b"PaxHeaders.0/x", body, kind=kind)
        for where, at in (("first", 0), ("before-a-blob", 5), ("before-a-layer", -2)):
            yield of_bytes(f"extension-{name}-{where}", inserted(at, extra), "tar", name)


def _order() -> Iterator[Case]:
    count = len(records())
    names = [r.field("name").rstrip(b"\0").decode() for r in records()]
    for at in range(count):
        expected = "tar" if at == 0 else ACCEPT if at == 1 else "missing"

        def without(at: int = at) -> bytes:
            found = records()
            del found[at]
            return packed(found)

        yield of_bytes(f"missing-{at:02}", without, expected, f"{names[at][:30]} is missing")
    for one in range(count - 1):

        def swapped(one: int = one) -> bytes:
            found = records()
            found[one], found[one + 1] = found[one + 1], found[one]
            return packed(found)

        yield of_bytes(f"swapped-{one:02}", swapped, "tar", f"{names[one][:30]} comes one later")

    def layer_first() -> bytes:
        found = records()
        found.insert(4, found.pop())
        return packed(found)

    yield of_bytes("layer-before-small", layer_first, "tar", "the last layer comes first")

    def signatures(*numbers: int) -> Callable[[], bytes]:
        def make() -> bytes:
            found = records()
            signature = found.pop(1)
            found[1:1] = [signature.with_name(b"airlock.sigstore.%d.json" % n) for n in numbers]
            return packed(found)

        return make

    yield of_bytes("signatures-sixteen", signatures(*range(1, 17)), ACCEPT, "as many as may be")
    for name, numbers in (
        ("reversed", (2, 1)),
        ("gap", (1, 3)),
        ("from-two", (2,)),
        ("twice-one", (1, 1)),
    ):
        yield of_bytes(f"signatures-{name}", signatures(*numbers), "tar", f"numbers {numbers}")

    def late_signature() -> bytes:
        found = records()
        found.insert(3, found.pop(1))
        return packed(found)

    yield of_bytes("signature-behind-oci-layout", late_signature, "tar", "out of its place")


def _ends() -> Iterator[Case]:
    def ending(end: bytes) -> Callable[[], bytes]:
        return lambda: join(records(), end=end)

    size = len(join(records(), end=b""))
    padding = bytes(-(size + 1024) % RECORD)
    for name, end, expected, why in (
        ("none", b"", "container", "no end blocks"),
        ("one-block", bytes(BLOCK), "container", "one zero block"),
        ("no-padding", END if padding else END[:-1], "container", "not a whole record"),
        ("one-more-byte", END + padding + b"\0", "container", "a zero byte behind"),
        ("one-more-block", END + padding + bytes(BLOCK), "container", "a zero block behind"),
        ("one-more-record", END + padding + bytes(RECORD), "container", "a zero record behind"),
        ("byte-in-second-block", bytes(BLOCK) + b"x" + bytes(511) + padding, "container", "x"),
        ("byte-in-padding", END + padding[:-1] + b"x", "container", "padding is not zero"),
        ("junk-behind", END + padding + b"junk", "container", "junk behind"),
    ):
        yield of_bytes(f"end-{name}", ending(end), expected, why)
        yield of_bytes(
            f"end-{name}-packed",
            lambda end=end: frames(join(records(), end=end), 4 << 20),  # type: ignore[misc]
            expected,
            why,
        )
    yield of_bytes("end-second-tar", lambda: join(records()) * 2, "container", "two archives")
    yield of_bytes(
        "end-second-bundle",
        lambda: golden().archive(form="zstd") * 2,
        "container",
        "two bundles in one file",
    )
    zero = Record(header=bytes(BLOCK))
    for at in (1, 4, 8):
        for blocks in (1, 2, 20):
            yield of_bytes(
                f"zero-blocks-{blocks}-before-{at:02}",
                inserted(at, zero.with_body(bytes((blocks - 1) * BLOCK))),
                "missing",
                "tarfile takes this for the end and hides the rest",
            )
    for place in ("statement", "small", "layer"):
        yield of_bytes(
            f"padding-at-{place}",
            replaced(place, lambda r: r.with_body(r.body[:-1] + b"x")),
            "tar",
            "the zeros that fill the last block are not zeros",
        )
        yield of_bytes(
            f"content-at-{place}",
            replaced(place, lambda r: r.with_body(b"#" + r.body[1:])),
            "json" if place == "statement" else "digest",
            "the first byte is another",
        )
    whole = len(join(records()))
    for at in range(0, whole, BLOCK):
        yield of_bytes(
            f"cut-at-{at:05}",
            lambda at=at: join(records())[:at],  # type: ignore[misc]
            "container",
            "cut at a block",
        )
