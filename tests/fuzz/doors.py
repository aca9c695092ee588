"""The doors that a fuzzer knocks at: any bytes give a value or one of our refusals, nothing else.

Each door goes on with what it lets in, as verification would: a bundle is judged, a checkpoint is
compared with its log, a certificate's names, promises and path are read. What is then accepted must
be something that was genuinely signed: otherwise the fuzzer has found a forgery, which is a crash.
"""

from __future__ import annotations

import json
import tarfile
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from loader.digest import Digest
from loader.errors import RefusedError, TrustRootFormatError
from loader.limits import DEFAULT_LIMITS
from loader.model.checkpoint import Checkpoint
from loader.model.growth import LogGrowth
from loader.model.sigstore_bundle import SigstoreBundle
from loader.trust.keys import PublicKey
from loader.trust.notary_pins import NotaryPins, PinnedKeys
from loader.trust.trusted_root import TrustedRoot
from loader.trust.tuf import TrustedSet
from loader.trust.tuf_metadata import parse_metadata
from loader.trust.tuf_words import DelegatorWords
from loader.verify.certificate import Leaf, verify_path
from loader.verify.growth import verify_growth
from loader.verify.identity import read_signer
from loader.verify.keyless import SigstoreKeys
from loader.verify.notary.repository import verify_repository
from loader.verify.note import verify_checkpoint
from loader.verify.sct import verify_scts
from loader.verify.sigstore import Material, verify_evidence
from tests.presence import SHARED

FIXTURES = SHARED / "fixtures"
CERTIFICATE_SIZE_MAX = 64 << 10


class ForgeryError(AssertionError):
    """Something was accepted that nobody signed."""


@cache
def root() -> TrustedRoot:
    path = FIXTURES / "trust" / "trusted_root.json"
    return TrustedRoot.parse(path.read_bytes(), name="fixtures")


@cache
def _materials() -> tuple[Material, ...]:
    key = PublicKey.parse((FIXTURES / "keys" / "acme.pub").read_bytes(), name="acme")
    return Material(trusted_root=root()), Material(trusted_root=root(), key=key)


@cache
def _bundles() -> tuple[bytes, ...]:
    return tuple(p.read_bytes() for p in sorted((FIXTURES / "blobs").glob("*.sigstore.json")))


@cache
def _signed() -> frozenset[Digest]:
    """What the seeds are genuinely about."""
    digests: set[Digest] = set()
    for raw in _bundles():
        for material in _materials():
            try:
                signed = verify_evidence(SigstoreBundle.parse(raw, where="seed"), material)
            except RefusedError:
                continue
            digests |= signed.value.subjects
    return frozenset(digests)


def bundle(raw: bytes) -> None:
    parsed = SigstoreBundle.parse(raw, where="fuzz")
    for material in _materials():
        try:
            signed = verify_evidence(parsed, material).value
        except RefusedError:
            continue
        if not signed.subjects <= _signed():
            raise ForgeryError(sorted(signed.subjects))


def checkpoint(raw: bytes) -> None:
    parsed = Checkpoint.parse(raw.decode("utf-8", errors="replace"), where="fuzz")
    for log in root().logs:
        try:
            verify_checkpoint(parsed, log)
        except RefusedError:
            continue
        if (parsed.size, parsed.root_hash) not in _heads():
            raise ForgeryError(parsed)


@cache
def _heads() -> frozenset[tuple[int, bytes]]:
    notes = (Checkpoint.parse(raw.decode(), where="seed") for raw in seeds("checkpoint"))
    return frozenset((note.size, note.root_hash) for note in notes)


def growth(raw: bytes) -> None:
    found = verify_growth(LogGrowth.parse(raw, where="fuzz"), root().logs).value
    if not {(tree.size, tree.root_hash) for tree in found.continues} <= _heads():
        raise ForgeryError(found)


def certificate(raw: bytes) -> None:
    leaf = Leaf.parse(raw, size_max=CERTIFICATE_SIZE_MAX)
    with suppress(RefusedError):
        read_signer(leaf)
    try:
        at = leaf.certificate.not_valid_before_utc
    except ValueError:
        return
    issuer = verify_path(leaf, root().certificate_authorities, untrusted=(), times=(at,))
    verify_scts(leaf, issuer, root().ct_logs)
    if leaf.certificate.tbs_certificate_bytes not in _issued():
        raise ForgeryError(leaf.certificate)


@cache
def _issued() -> frozenset[bytes]:
    leaves = (Leaf.parse(raw, size_max=CERTIFICATE_SIZE_MAX) for raw in seeds("certificate"))
    return frozenset(leaf.certificate.tbs_certificate_bytes for leaf in leaves)


@cache
def _notary() -> tuple[dict[str, bytes], str, NotaryPins]:
    """A repository with delegations that notary 0.7 wrote, and its pin."""
    cases = json.loads((FIXTURES / "fixtures.json").read_text())["notary"]
    case = next(one for one in cases if one["id"] == "delegation-2")
    with tarfile.open(FIXTURES / case["metadata"]) as tar:
        opened = ((member.name, tar.extractfile(member)) for member in tar)
        files = {n.removesuffix(".json"): file.read() for n, file in opened if file is not None}
    keys = PinnedKeys(key_ids=frozenset(case["pinned_root_keyids"]))
    return files, case["gun"], NotaryPins(name="seed", keys={case["gun"]: keys}, authorities={})


def notary(raw: bytes) -> None:
    files, gun, pins = _notary()
    refused: RefusedError | None = None
    for name in files:
        try:
            verify_repository(files | {name: raw}, gun=gun, pins=pins)
        except RefusedError as e:
            refused = e
            continue
        if json.dumps(json.loads(raw)["signed"], sort_keys=True) not in _written():
            raise ForgeryError(name)
        return
    if refused is not None:
        raise refused


@cache
def _written() -> frozenset[str]:
    """What the repository's signers signed."""
    documents = (json.loads(raw)["signed"] for raw in seeds("notary"))
    return frozenset(json.dumps(document, sort_keys=True) for document in documents)


def tuf(raw: bytes) -> None:
    """Metadata of any role; a root in words, and as the next one after the fixtures' first."""
    bounds = {"name": "fuzz", "size_max": len(raw), "limits": DEFAULT_LIMITS}
    with suppress(TrustRootFormatError):
        parse_metadata(raw, Timestamp, **bounds)  # type: ignore[arg-type]
        return
    with suppress(TrustRootFormatError):
        parse_metadata(raw, Snapshot, **bounds)  # type: ignore[arg-type]
        return
    with suppress(TrustRootFormatError):
        parse_metadata(raw, Targets, **bounds)  # type: ignore[arg-type]
        return
    payload = parse_metadata(
        raw, Root, name="fuzz", size_max=len(raw), limits=DEFAULT_LIMITS
    ).payload
    tuple(DelegatorWords.parse(raw, name="fuzz").lines())
    first = next(seeds("tuf"))
    if raw != first:
        trusted = TrustedSet(first, name="fuzz", keys=SigstoreKeys(trusted_root=root()))
        trusted.update_root(raw)
        if payload not in _roots():
            raise ForgeryError(payload)


@cache
def _tuf_seeds() -> tuple[bytes, ...]:
    with tarfile.open(FIXTURES / "tuf" / "good-v3.tar.gz") as archive:
        names = sorted(n for n in archive.getnames() if n.endswith(".json") and "metadata" in n)
        files = [archive.extractfile(name) for name in names]
        return tuple(file.read() for file in files if file is not None)


@cache
def _roots() -> frozenset[bytes]:
    """What the fixtures' roots say."""
    found = set()
    for raw in _tuf_seeds():
        with suppress(RefusedError):
            found.add(
                parse_metadata(
                    raw, Root, name="seed", size_max=len(raw), limits=DEFAULT_LIMITS
                ).payload
            )
    return frozenset(found)


DOORS: dict[str, Callable[[bytes], None]] = {
    "bundle": bundle,
    "checkpoint": checkpoint,
    "certificate": certificate,
    "growth": growth,
    "tuf": tuf,
    "notary": notary,
}


def knock(door: str, raw: bytes) -> None:
    """Any bytes: a value, or a refusal. Whatever else is raised is a bug."""
    try:
        DOORS[door](raw)
    except RefusedError:
        return


def seeds(door: str) -> Iterator[bytes]:
    """Real input of one door, taken from what real tools made."""
    if door == "tuf":
        yield from _tuf_seeds()
        return
    yield from _notary()[0].values() if door == "notary" else _of_bundles(door)


def _of_bundles(door: str) -> Iterator[bytes]:
    for raw in _bundles():
        document = json.loads(raw)
        material = document["verificationMaterial"]
        match door:
            case "bundle":
                yield raw
            case "checkpoint":
                for entry in material.get("tlogEntries", ()):
                    note = entry.get("inclusionProof", {}).get("checkpoint", {}).get("envelope")
                    if note:
                        yield note.encode()
            case "growth":
                for entry in material.get("tlogEntries", ()):
                    note = entry.get("inclusionProof", {}).get("checkpoint", {}).get("envelope")
                    if note:
                        log_id = b64decode(entry["logId"]["keyId"])
                        yield LogGrowth.make(log_id=log_id, checkpoint=note, trees=()).raw
            case _:
                if "certificate" in material:
                    yield b64decode(material["certificate"]["rawBytes"])
