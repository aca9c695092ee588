"""The rows of CASES part 2.1 (A001 to A026) and the bundles that they stand for.

A `#` beside a row says why our code differs from the class that CASES names.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from tests.adversarial.pieces import Record, record
from tests.e2e.statement_attacks import (
    HEAD,
    IDENTITY,
    ISSUER,
    POLICY,
    PREFIX,
    WORKFLOW,
    Base,
    blob,
    named,
    pack,
)
from tests.fakes.images import hello_image
from tests.fakes.sigworld import der, statements
from tests.fakes.sigworld.ca import other_name, uri
from tests.fakes.sigworld.encoding import digest_of
from tests.fakes.sigworld.identity import Identity, workflow
from tests.fakes.sigworld.world import World

KEY_POLICY = HEAD + 'key = "packer"\n'
BOTH = f"""\
any = [{{ {", ".join(WORKFLOW.splitlines())} }}, {{ key = "packer" }}]
threshold = 2
"""
PINNED = POLICY + '\n[bundle]\nchannels = ["stable"]\n'
PINNED_UNSIGNED = PINNED.replace(
    """
[[image.require]]
claim = "bundle-signature"
"""
    + WORKFLOW,
    "",
).replace("[[image]]\n", '[[image]]\nname = "as-packed"\n')
SAN_OID = x509.ObjectIdentifier("2.5.29.17")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table, or one of the several that it stands for."""

    id: str
    make: Callable[[Base], bytes]
    status: int
    code: str
    policy: str = POLICY


# --- who signed the statement ---------------------------------------------------------------------


def unsigned(base: Base) -> bytes:
    records = base.records()
    del records[1]
    return pack(records)


def by_stranger(base: Base) -> bytes:
    world = World("stranger")
    raw = base.statement().raw
    return base.archive(None, world.sign(raw, world.keyless(workflow())).bundle())


def by_unknown_key(base: Base) -> bytes:
    world = base.publisher.world
    return base.archive(None, base.seal(base.statement().raw, world.managed("unknown")))


def by(identity: Identity, **certificate: Any) -> Callable[[Base], bytes]:  # noqa: ANN401
    def make(base: Base) -> bytes:
        signer = base.publisher.world.keyless(identity, **certificate)
        return base.archive(None, base.seal(base.statement().raw, signer))

    return make


def by_san(text: str) -> Callable[[Base], bytes]:
    return by(Identity(san=uri(text), extensions=workflow().extensions))


def by_other_name(text: str) -> Callable[[Base], bytes]:
    return by(Identity(san=other_name(text), extensions=workflow().extensions))


def by_raw_san(text: str) -> Callable[[Base], bytes]:
    """A URI outside ASCII, which no library writes: an IA5String that holds UTF-8."""
    value = der.sequence(der.context(6, text.encode(), constructed=False))
    return by(
        workflow(), sans=[], raw_extensions=[(x509.UnrecognizedExtension(SAN_OID, value), True)]
    )


HOMOGLYPH = IDENTITY.replace("acme", "\uff41cme")  # NFKC makes an `a` of it

SPEAKERS = [
    Row("A001", unsigned, 10, "no-evidence.claim"),  # what is absent was not falsified
    Row("A002-certificate", by_stranger, 11, "signature.unverified"),
    Row("A002-key", by_unknown_key, 11, "signature.unverified", KEY_POLICY),
    Row("A003-one-character", by_san(IDENTITY.replace("acme", "acne")), 12, "identity.mismatch"),
    Row("A003-suffix", by_san(IDENTITY + ".evil"), 12, "identity.mismatch"),
    Row("A003-prefix", by_san("x" + IDENTITY), 12, "identity.mismatch"),
    Row("A004", by(workflow(issuer="https://issuer.example")), 12, "identity.mismatch"),
    Row("A005-case", by_san(IDENTITY.replace("acme", "Acme")), 12, "identity.mismatch"),
    Row("A005-trailing-dot", by_san(IDENTITY + "."), 12, "identity.mismatch"),
    # No URI is written so: a certificate that cannot be read names nobody.
    Row("A005-newline", by_san(IDENTITY + "\n"), 11, "signature.unverified"),
    Row("A005-homoglyph", by_raw_san(HOMOGLYPH), 12, "identity.mismatch"),
    Row("A005-homoglyph-other-name", by_other_name(HOMOGLYPH), 12, "identity.mismatch"),
    Row(
        "A006", by_san("https://evil/?github.com/org/x"), 12, "identity.mismatch",
        HEAD + f"""\
trusted-root = "acme"
certificate-identity-regexp = 'github.com/org/.*'
certificate-oidc-issuer = "{ISSUER}"
""",
    ),
]  # fmt: skip


# --- what is signed -------------------------------------------------------------------------------


def rewritten(change: Callable[[bytes], bytes]) -> Callable[[Base], bytes]:
    """Other bytes under the signature of BASE's own."""

    def make(base: Base) -> bytes:
        raw = base.statement().raw
        other = change(raw)
        assert other != raw
        return base.stating(other, base.seal(raw))

    return make


def _reordered(raw: bytes) -> bytes:
    document = json.loads(raw)
    return json.dumps(
        {"schema": document.pop("schema"), **document}, separators=(",", ":")
    ).encode()


def _another_channel(raw: bytes) -> bytes:
    return raw.replace(b'"stable"', b'"nightly"')


def _for_urls(text: str) -> str:
    return text.replace("+", "-").replace("/", "_")


def _evil_images(raw: bytes) -> bytes:
    evil = json.loads(raw)["images"]
    evil[0]["reference"] = f"{PREFIX}/evil:1"
    return raw[:-1] + b',"images":' + json.dumps(evil, separators=(",", ":")).encode() + b"}"


def dsse(base: Base) -> bytes:
    raw = base.statement().raw
    signed = base.publisher.world.sign_statement(
        statements.image_statement(digest_of(raw)), base.signer
    )
    return base.archive(None, signed.bundle())


def respelt(change: Callable[[str], str]) -> Callable[[Base], bytes]:
    """The right signature, in another spelling of base64."""

    def make(base: Base) -> bytes:
        sealed = base.seal(base.statement().raw)
        content, certificate = (
            sealed["messageSignature"],
            sealed["verificationMaterial"]["certificate"],
        )
        before = content["signature"], certificate["rawBytes"]
        content["signature"], certificate["rawBytes"] = map(change, before)
        assert (content["signature"], certificate["rawBytes"]) != before
        return base.archive(None, sealed)

    return make


def of_another_file(base: Base) -> bytes:
    return base.archive(None, base.seal(b"another file"))


def untrusted_then_invalid(base: Base) -> bytes:
    world, raw = World("stranger"), base.statement().raw
    untrusted = world.sign(raw, world.keyless(workflow())).bundle()
    return base.archive(None, untrusted, base.seal(b"another file"))


def twice(base: Base) -> bytes:
    sealed = base.seal(base.statement().raw)
    return base.archive(None, sealed, sealed)


def twice_by_one_identity(base: Base) -> bytes:
    raw = base.statement().raw
    again = base.publisher.world.keyless(workflow())  # another certificate, another key
    return base.archive(None, base.seal(raw), base.seal(raw, again))


def genuine(base: Base) -> bytes:
    return base.archive()


def threshold(value: str) -> str:
    return POLICY + f"threshold = {value}\n"


SIGNED = [
    # A statement is written in one way only: another spelling is no statement, whoever signed it.
    Row("A007-whitespace", rewritten(lambda r: r.replace(b":", b": ", 1)), 19, "json.syntax"),
    Row("A007-key-order", rewritten(_reordered), 19, "json.syntax"),
    Row("A007-canonical", rewritten(_another_channel), 11, "signature.unverified"),
    Row("A008", rewritten(_evil_images), 19, "json.syntax"),
    Row("A019", of_another_file, 11, "signature.unverified"),
    Row("A020-dsse", dsse, 11, "signature.unverified"),
    Row("A020-base64url", respelt(_for_urls), 11, "signature.unverified"),
    Row("A020-whitespace", respelt(lambda t: t[:40] + "\n" + t[40:]), 11, "signature.unverified"),
    Row("A021", untrusted_then_invalid, 11, "signature.unverified"),
    # Each signature is right by itself: what is missing is a second person, and policy asks for it.
    Row("A022", twice, 14, "policy.threshold", HEAD + BOTH),
    Row("A022-one-identity", twice_by_one_identity, 14, "policy.threshold", HEAD + BOTH),
    # The policy is the operator's own file: it is refused as one, before the bundle is opened.
    Row("A023-0", genuine, 2, "usage.policy", threshold("0")),
    Row("A023-negative", genuine, 2, "usage.policy", threshold("-1")),
    Row("A023-2-to-31", genuine, 2, "usage.policy", threshold("2147483648")),
    Row("A023-text", genuine, 2, "usage.policy", threshold('"2"')),
]  # fmt: skip


# --- statement and archive ------------------------------------------------------------------------


def app_a(base: Base, sequence: int = 10) -> str:
    return blob(base.entries(sequence)[0].image.digest)


def content_of_another(base: Base) -> bytes:
    """app-a's manifest, of the same length, from bundle 11: signed, but not what is stated."""
    records, other = base.records(), base.records(base.statement(11))
    at, there = named(records, app_a(base)), named(other, app_a(base, 11))
    records[at] = records[at].with_body(other[there].body)
    return pack(records)


def another_under_its_own_name(base: Base) -> bytes:
    records, other = base.records(), base.records(base.statement(11))
    records[named(records, app_a(base))] = other[named(other, app_a(base, 11))]
    return pack(records)


def without(at: int) -> Callable[[Base], bytes]:
    def make(base: Base) -> bytes:
        records = base.records()
        del records[at]
        return pack(records)

    return make


def with_one_more(at: int | None) -> Callable[[Base], bytes]:
    """A blob that nobody announced: bundle 11's signature of app-a, which verifies."""

    def make(base: Base) -> bytes:
        records, other = base.records(), base.records(base.statement(11))
        known = {one.field("name") for one in records}
        extra = next(one for one in other[3:] if one.field("name") not in known)
        records.insert(len(records) if at is None else at, extra)
        return pack(records)

    return make


def swapped(one: int, other: int) -> Callable[[Base], bytes]:
    def make(base: Base) -> bytes:
        records = base.records()
        records[one], records[other] = records[other], records[one]
        return pack(records)

    return make


def off_by(count: int, *, at: int, total: str) -> Callable[[Base], bytes]:
    def change(document: dict[str, Any]) -> None:
        document["members"][at]["size"] += count
        document["totals"][total]["size"] += count

    return lambda base: base.edited(change)


def statement_of_11(base: Base) -> bytes:
    return pack([*base.records(base.statement(11))[:2], *base.records()[2:]])


def _bodies_of_9(base: Base, *, renamed: bool) -> bytes:
    records, old = base.records(), base.records(base.statement(9))
    names = {one.field("name") for one in records}
    theirs = iter([one for one in old[4:] if one.field("name") not in names])
    kept = {one.field("name") for one in old}
    mixed: list[Record] = []
    for one in records:
        if one.field("name").startswith(b"blobs/") and one.field("name") not in kept:
            taken = next(theirs)
            content = taken.body[: int(taken.field("size")[:11], 8)]
            mixed.append(record(one.field("name").rstrip(b"\0"), content) if renamed else taken)
        else:
            mixed.append(one)
    return pack(mixed)


def app_a_of_9(base: Base) -> bytes:
    return _bodies_of_9(base, renamed=False)


def app_a_of_9_renamed(base: Base) -> bytes:
    return _bodies_of_9(base, renamed=True)


BINDING = [
    Row("A009", content_of_another, 19, "digest.mismatch"),
    Row("A009-own-name", another_under_its_own_name, 19, "tar.order"),
    Row("A010-document", without(6), 19, "missing.member"),
    Row("A010-layer", without(-1), 19, "missing.member"),
    # The reader knows of every member what comes next: one more is out of order before it is odd.
    Row("A011-between", with_one_more(6), 19, "tar.order"),
    Row("A011-last", with_one_more(None), 19, "tar.order"),
    Row("A012-documents", swapped(5, 6), 19, "tar.order"),
    Row("A012-layers", swapped(-1, -2), 19, "tar.order"),
    Row("A013-larger", off_by(1, at=5, total="metadata"), 19, "digest.mismatch"),
    Row("A013-smaller", off_by(-1, at=5, total="metadata"), 19, "digest.mismatch"),
    # Seen before the layer is there: its image says another size.
    Row("A013-layer", off_by(1, at=-1, total="layers"), 19, "oci.format"),
    Row("A014", statement_of_11, 19, "digest.mismatch"),
    Row("A015", app_a_of_9, 19, "tar.order"),
    Row("A015-renamed", app_a_of_9_renamed, 19, "digest.mismatch"),
]


# --- what the statement says ----------------------------------------------------------------------


def stating(**changes: object) -> Callable[[Base], bytes]:
    return lambda base: base.edited(lambda document: document.update(changes))


def channelless(base: Base) -> bytes:
    return base.archive(base.statement(channel=None))


def versionless(base: Base) -> bytes:
    return base.edited(lambda document: document.pop("schema"))


def no_images(base: Base) -> bytes:
    return base.archive(base.statement(entries=()))


def one_name_twice(base: Base) -> bytes:
    entries = [
        base.publisher.entry(hello_image(base.store, text=text), tag="1", repository=f"{PREFIX}/x")
        for text in ("one\n", "two\n")
    ]
    return base.archive(base.statement(entries=tuple(entries)))


def called(reference: str) -> Callable[[Base], bytes]:
    return lambda base: base.edited(
        lambda document: document["images"][0].update(reference=reference)
    )


SAID = [
    # No version of ours: that is the container's fault, whatever policy would say of the rest.
    Row("A016", stating(channel="nightly"), 14, "policy.channel", PINNED),
    Row("A016-none", channelless, 14, "policy.channel", PINNED),
    Row("A016-unsigned", genuine, 14, "policy.channel", PINNED_UNSIGNED),
    Row("A017-99", stating(schema=99), 19, "container.version"),
    Row("A017-0", stating(schema=0), 19, "container.version"),
    Row("A017-text", stating(schema="1"), 19, "container.version"),
    Row("A017-missing", versionless, 19, "json.field"),
    Row("A018", stating(crit=["x"]), 19, "json.field"),  # every unknown field is critical
    Row("A024", no_images, 14, "policy.empty"),
    Row("A025", one_name_twice, 14, "policy.name-twice"),
    # A name that is none is malformed before policy is asked about it.
    Row("A026-traversal", called("../x"), 19, "oci.format"),
    Row("A026-option", called("--flag"), 19, "oci.format"),
    Row("A026-blank", called("a b"), 19, "oci.format"),
    Row("A026-capitals", called("A/UPPER"), 19, "oci.format"),
    Row("A026-of-300", called("a.b/" + "c" * 300 + ":d"), 19, "oci.format"),
    Row("A026-port", called("host:99999/x"), 19, "oci.format"),
    Row("A026-digest", called("x@sha256:" + "0" * 64), 19, "oci.format"),
    Row("A026-newline", called(f"{PREFIX}/app-a:1\n"), 19, "oci.format"),
]
ROWS = [*SPEAKERS, *SIGNED, *BINDING, *SAID]
