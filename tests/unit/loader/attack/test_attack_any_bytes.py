"""Whatever the bytes: a refusal, or a value that says no more than the one that was spoiled.

Each door gets a few hundred genuine documents with something changed, down to the DER and the JSON
inside of their base64. Warnings are errors here: hostile certificates write no lines of their own.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Iterator
from functools import cache
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from loader.digest import Digest
from loader.errors import RefusedError, UsageError
from loader.model.checkpoint import Checkpoint
from loader.model.cosign import CosignAttestation, CosignSignature
from loader.model.descriptor import Descriptor, MediaType
from loader.model.pem import decode_blocks
from loader.model.records import parse_record
from loader.model.sigstore_bundle import SigstoreBundle
from loader.model.simplesigning import SimpleSigning
from loader.model.statement import Statement
from loader.policy.model import Policy
from loader.trust.keys import PublicKey
from loader.trust.trusted_root import TrustedRoot
from loader.verify.certificate import Leaf, verify_path
from loader.verify.identity import read_signer
from loader.verify.sct import verify_scts
from loader.verify.sigstore import Material, verify_evidence
from loader.verify.timestamp import verify_timestamp
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.signed import DSSE_ENVELOPE
from tests.fakes.sigworld.world import World
from tests.unit.loader.verify.worlds import IMAGE, bundle_of, keyless, managed

ROUNDS = 400
ODD: tuple[Any, ...] = (
    *("", None, 0, -1, 2**62, 2**64, 1.5, True, [], {}, [[]], [None], "\x00", "\u2028", "-1"),
    *("1e3", "0x1", "9" * 19, "=", " AA==", "AA==", "AAAA", "x" * 5000, "4611686018427387904"),
)  # fmt: skip
PIECES = (b"\x00", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\\u0000", b"1e999", b"-0", b'"', b"null")


def spoil(random: Random, raw: bytes) -> bytes:
    spoiled = bytearray(raw)
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(spoiled) or 1)
        match random.randrange(5):
            case 0:
                spoiled[at : at + 1] = bytes([random.randrange(256)])
            case 1:
                del spoiled[at : at + random.choice((1, 2, 8, 50))]
            case 2:
                spoiled[at:at] = random.randbytes(random.choice((1, 2, 9)))
            case 3:
                other, size = random.randrange(len(spoiled) or 1), random.choice((1, 4, 30))
                spoiled[at : at + size] = spoiled[other : other + size]
            case _:
                spoiled[at : at + 1] = random.choice(PIECES)
    return bytes(spoiled)


def places(value: object) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else ()
    for key, item in enumerate(value) if isinstance(value, list) else items:
        yield value, key
        yield from places(item)


def spoil_json(random: Random, document: Any) -> Any:  # noqa: ANN401
    spoiled = copy.deepcopy(document)
    for _ in range(random.choice((1, 1, 2))):
        found = list(places(spoiled))
        if not found:
            break
        holder, key = random.choice(found)
        if isinstance(holder, dict) and random.random() < 0.1:
            del holder[key]
        elif isinstance(holder[key], str) and random.random() < 0.7:
            holder[key] = spoil_text(random, holder[key])
        else:
            holder[key] = copy.deepcopy(random.choice(ODD))
    return spoiled


def spoil_text(random: Random, text: str) -> str:
    inner = parsed(text) if random.random() < 0.7 else None
    if isinstance(inner, dict):
        return json.dumps(spoil_json(random, inner))
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return spoil(random, text.encode()).decode("utf-8", "replace")
    inner = parsed(raw) if random.random() < 0.7 else None
    raw = spoil(random, raw) if inner is None else json.dumps(spoil_json(random, inner)).encode()
    return base64.b64encode(raw).decode()


def parsed(raw: str | bytes) -> object:
    try:
        found: object = json.loads(raw)
    except ValueError:
        return None
    return found


@cache
def world() -> World:
    return World("spoiled")


@cache
def material() -> Material:
    return keyless(world())


def _bundles() -> Callable[[Random], None]:
    made, key = world(), world().managed("key")
    whole = [
        made.sign_image(IMAGE, made.keyless(), log="both", timestamp=True).bundle(),
        made.sign_image(IMAGE, key, log="both", timestamp=True).bundle(),
        made.sign_image(IMAGE, made.keyless()).bundle("0.1", chain=True),
    ]

    def run(random: Random) -> None:
        raw = json.dumps(spoil_json(random, random.choice(whole))).encode()
        evidence = SigstoreBundle.parse(raw, where="bundle")
        verify_evidence(evidence, random.choice((material(), managed(made, key))))

    return run


def _layers() -> Callable[[Random], None]:
    made = world()
    said = statements.statement(IMAGE, statements.SLSA_V1, statements.slsa_v1())
    whole = [
        made.sign_image_legacy(IMAGE, made.keyless(), timestamp=True).layer(),
        made.sign_statement(said, made.keyless(), entry="intoto-0.0.1", timestamp=True).layer(),
    ]

    def run(random: Random) -> None:
        layer = random.choice(whole)
        raw = spoil(random, layer.blob) if random.random() < 0.3 else layer.blob
        annotations = spoil_json(random, dict(layer.annotations))
        descriptor = Descriptor(
            media_type=MediaType(layer.media_type),
            digest=Digest.of(raw),
            size=len(raw),
            annotations={k: v for k, v in annotations.items() if isinstance(v, str)},
        )
        kind = CosignAttestation if layer.media_type == DSSE_ENVELOPE else CosignSignature
        verify_evidence(kind.parse(raw, descriptor, where="layer"), material())

    return run


def _certificates() -> Callable[[Random], None]:
    certificate = world().keyless().certificate
    assert certificate is not None
    der = certificate.public_bytes(Encoding.DER)
    root = material().trusted_root
    assert root is not None
    issuer = root.certificate_authorities[0].chain[0]

    def run(random: Random) -> None:
        # Each check by itself: no authority issued these, so a path would hide the rest.
        leaf = Leaf.parse(spoil(random, der), size_max=1 << 16)
        above = (spoil(random, der), spoil(random, issuer.public_bytes(Encoding.DER)))
        checks: list[Callable[[], object]] = [
            lambda: read_signer(leaf),
            lambda: verify_scts(leaf, issuer, root.ct_logs),
            lambda: verify_path(
                leaf, root.certificate_authorities, untrusted=above, times=(world().at,)
            ),
        ]
        random.choice(checks)()

    return run


def _timestamps() -> Callable[[Random], None]:
    whole = [world().tsa.timestamp(b"m", at=world().at, embed=embed) for embed in (True, False)]
    root = material().trusted_root
    assert root is not None

    def run(random: Random) -> None:
        time = verify_timestamp(
            spoil(random, random.choice(whole)), b"m", root.timestamp_authorities
        )
        assert time is None or time.at == world().at

    return run


def _roots() -> Callable[[Random], None]:
    document = world().trusted_root()
    evidence = bundle_of(
        world().sign_image(IMAGE, world().keyless(), log="both", timestamp=True).bundle()
    )

    def run(random: Random) -> None:
        raw = json.dumps(spoil_json(random, document)).encode()
        if random.random() < 0.2:
            raw = spoil(random, raw)
        verify_evidence(evidence, Material(trusted_root=TrustedRoot.parse(raw, name="root")))

    return run


def _bytes(whole: bytes, read: Callable[[bytes], object]) -> Callable[[], Callable[[Random], None]]:
    def run(random: Random) -> None:
        read(spoil(random, whole))

    return lambda: run


def _documents(
    whole: Any,  # noqa: ANN401
    read: Callable[[bytes], object],
) -> Callable[[], Callable[[Random], None]]:
    def run(random: Random) -> None:
        read(json.dumps(spoil_json(random, whole)).encode())

    return lambda: run


def _record() -> Callable[[Random], None]:
    act = world().sign_image(IMAGE, world().keyless(), log="both")
    bodies = [json.loads(entry.body) for entry in act.entries]
    doors = [_documents(body, lambda raw: parse_record(raw, where="body"))() for body in bodies]
    return lambda random: random.choice(doors)(random)


def _note() -> Callable[[Random], None]:
    act = world().sign_image(IMAGE, world().keyless(), log="v2")
    text = act.entries[0].as_bundle_entry()["inclusionProof"]["checkpoint"]["envelope"]
    return _bytes(
        text.encode(), lambda raw: Checkpoint.parse(raw.decode("utf-8", "replace"), where="note")
    )()


DOORS: dict[str, Callable[[], Callable[[Random], None]]] = {
    "bundles": _bundles,
    "layers": _layers,
    "certificates": _certificates,
    "timestamps": _timestamps,
    "trusted roots": _roots,
    "records": _record,
    "notes": _note,
    "keys": _bytes(
        World("keys").managed("key").public_pem, lambda raw: PublicKey.parse(raw, name="key")
    ),
    "PEM": _bytes(
        World("keys").managed("key").public_pem * 2,
        lambda raw: decode_blocks(raw, where="PEM", count_max=3),
    ),
    "policies": _bytes(
        b'schema = 1\n[[image]]\nmatch = "ghcr.io/org/**"\n[[image.require]]\nclaim = "signature"\n'
        b"trusted-root = \"sigstore\"\ncertificate-identity-regexp = 'https://x\\.y/.*'\n"
        b'certificate-oidc-issuer = "https://issuer"\nannotations = { a = "b" }\nthreshold = 2\n',
        lambda raw: Policy.parse(raw, where="policy.toml"),
    ),
    "statements": _documents(
        statements.statement(IMAGE, statements.SLSA_V1, statements.slsa_v1()),
        lambda raw: Statement.parse(raw, where="statement"),
    ),
    "payloads": _documents(
        json.loads(statements.simple_signing(IMAGE, "ghcr.io/org/app", optional={"a": "b"})),
        lambda raw: SimpleSigning.parse(raw, where="payload"),
    ),
}


@pytest.mark.parametrize("door", DOORS)
def test_spoiled_documents(door: str) -> None:
    run, random, refused = DOORS[door](), Random(door), 0
    for _ in range(ROUNDS):
        try:
            run(random)
        except (RefusedError, UsageError):
            refused += 1
    assert refused > ROUNDS // 8


def test_a_trusted_root_with_a_certificate_of_no_version() -> None:
    document = world().trusted_root()
    for part in ("certificateAuthorities", "timestampAuthorities"):
        spoiled = copy.deepcopy(document)
        holder = spoiled[part][0]["certChain"]["certificates"][0]
        der = base64.b64decode(holder["rawBytes"])
        assert b"\xa0\x03\x02\x01\x02" in der
        for wrong in (
            der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x42", 1),
            der.replace(b"\x06\x03\x55\x04", b"\x6c\x03\x55\x04", 1),
        ):
            holder["rawBytes"] = base64.b64encode(wrong).decode()
            with pytest.raises(RefusedError, match="not a certificate"):
                TrustedRoot.parse(json.dumps(spoiled).encode(), name="root")
