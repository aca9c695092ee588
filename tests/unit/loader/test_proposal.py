"""A proposal counts by k of n pinned keys over its very bytes, each once, and never goes back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bundler.pack.plan import plan
from bundler.pack.writer import write_archive
from loader.config import Config, PolicyKeys
from loader.digest import Digest
from loader.errors import (
    ConfigFileError,
    DigestError,
    FormatError,
    NoProposalError,
    ProposalError,
    ReplayError,
    RollbackError,
)
from loader.model.bundle import TrustEntry
from loader.model.descriptor import Descriptor, MediaType
from loader.model.proposal import Proposal
from loader.proposal import SERIAL, Carried, expect_newer, held_against, read_carried
from loader.state.floors import Floors
from loader.trust.keys import PublicKey
from tests.e2e.loading import POLICY, SIGNED_AT, Blobs
from tests.fakes.content import ContentStore, encode
from tests.fakes.sigworld.world import World

WORLD = World(at=SIGNED_AT)
PEOPLE = {name: WORLD.managed(name) for name in ("anna", "ben", "cleo", "mallory")}
PINNED = ("anna", "ben", "cleo")
RAW = POLICY.encode()


def key(name: str) -> PublicKey:
    return PublicKey.parse(PEOPLE[name].public_pem, name=f"{name}.pub")


def proposal(serial: int = 1) -> Proposal:
    return Proposal.make(serial=serial, policy=RAW, reason="a new year")


def signature(name: str, message: bytes) -> bytes:
    return encode(WORLD.sign(message, PEOPLE[name], log="none").bundle())


def carried(*names: str, over: Proposal | None = None, serial: int = 1) -> Carried:
    one = proposal(serial)
    message = (over or one).raw
    return Carried(
        proposal=one,
        raw=RAW,
        signatures=tuple(signature(name, message) for name in names),
        statement=Digest.of(b"statement"),
    )


def pinned(threshold: int = 2) -> PolicyKeys:
    return PolicyKeys(keys=tuple(key(name) for name in PINNED), threshold=threshold)


@pytest.mark.parametrize("names", [("anna", "ben"), ("cleo", "anna"), ("anna", "mallory", "ben")])
def test_enough_of_the_pinned_keys(names: tuple[str, ...]) -> None:
    found = held_against(carried(*names), pinned())
    assert {one.name for one in found.signers} == {f"{n}.pub" for n in names if n != "mallory"}
    assert found.policy.raw == RAW


@pytest.mark.parametrize("names", [(), ("anna",), ("anna", "mallory"), ("mallory", "mallory")])
def test_too_few_keys(names: tuple[str, ...]) -> None:
    with pytest.raises(ProposalError, match="too few") as refused:
        held_against(carried(*names), pinned())
    assert refused.value.expected == "2 of 3"


def test_one_key_counts_once_however_often_it_signs() -> None:
    """Several files are not several people."""
    [raw] = carried("anna").signatures
    written = (raw, *(json.dumps(json.loads(raw), indent=number).encode() for number in (1, 2)))
    assert len(set(written)) == 3
    one = replace(carried(), signatures=written)
    with pytest.raises(ProposalError, match="too few"):
        held_against(one, pinned())
    assert len(held_against(one, pinned(threshold=1)).signers) == 1


def test_signatures_over_another_proposal_count_nothing() -> None:
    with pytest.raises(ProposalError, match="too few"):
        held_against(carried("anna", "ben", over=proposal(serial=2)), pinned())


@pytest.mark.parametrize("spoiled", [b"", b"{}", b"\xff", b"[" * 10_000])
def test_what_is_no_signature_hides_no_other(spoiled: bytes) -> None:
    one = carried("anna", "ben")
    held_against(replace(one, signatures=(spoiled, *one.signatures)), pinned())
    with pytest.raises(ProposalError):
        held_against(replace(one, signatures=(spoiled, one.signatures[0])), pinned())


def test_nobody_is_pinned() -> None:
    with pytest.raises(ProposalError, match="nobody may propose"):
        held_against(carried("anna", "ben"), None)


def test_a_serial_never_goes_back() -> None:
    floors = Floors(logs={SERIAL: 5})
    current, other = Digest.of(RAW), Digest.of(b"other")

    def one(serial: int, *held: Digest | None) -> None:
        expect_newer(held_against(carried("anna", "ben", serial=serial), pinned()), floors, held)

    for held in ((current,), (other,), (other, current), (other, None)):
        one(6, *held)
        with pytest.raises(RollbackError):
            one(4, *held)
    one(5, current)  # it is in place
    one(5, other, current)  # it was begun
    for held in ((other,), (other, None)):
        with pytest.raises(ReplayError):
            one(5, *held)


def test_the_first_proposal_of_a_host_may_have_any_serial() -> None:
    one = held_against(carried("anna", "ben", serial=9), pinned())
    expect_newer(one, Floors(), {Digest.of(b"other")})


# --- as it lies in a bundle -----------------------------------------------------------------------


def bundle(path: Path, *entries: tuple[bytes, ...]) -> Path:
    store = ContentStore()
    trust = []
    for raws in entries:
        blobs = []
        for raw in raws:
            store.add(raw, "application/octet-stream")
            blobs.append(Descriptor.make(MediaType("application/octet-stream"), raw))
        trust.append(TrustEntry(anchor="policy", kind="policy", blobs=tuple(blobs)))
    held = Blobs(store)
    statement = plan([], trust, held, created=SIGNED_AT, channel=None, sequence=None, expires=None)
    with path.open("wb") as file:
        write_archive(statement, [], held.open, file)
    return path


def test_what_a_bundle_carries_is_given_as_it_is(tmp_path: Path) -> None:
    one = carried("anna", "ben")
    path = bundle(tmp_path / "b.tar.zst", (one.proposal.raw, RAW, *one.signatures))
    found = read_carried(path, tmp_path)
    assert replace(found, statement=one.statement) == one


def test_another_policy_beside_the_proposal(tmp_path: Path) -> None:
    one = carried("anna", "ben")
    path = bundle(tmp_path / "b.tar.zst", (one.proposal.raw, RAW + b"#", *one.signatures))
    with pytest.raises(DigestError, match="another one than it names"):
        read_carried(path, tmp_path)


def test_a_bundle_proposes_one_policy_or_none(tmp_path: Path) -> None:
    one = carried("anna", "ben")
    whole = (one.proposal.raw, RAW, *one.signatures)
    with pytest.raises(FormatError):
        read_carried(bundle(tmp_path / "two.tar.zst", whole, (*whole, b"more")), tmp_path)
    with pytest.raises(FormatError):
        read_carried(bundle(tmp_path / "few.tar.zst", whole[:1]), tmp_path)
    many = (*whole, *(f"signature {number}".encode() for number in range(65)))
    with pytest.raises(FormatError, match="one policy"):
        read_carried(bundle(tmp_path / "many.tar.zst", many), tmp_path)
    with pytest.raises(NoProposalError):
        read_carried(bundle(tmp_path / "none.tar.zst"), tmp_path)


def test_a_key_is_one_key_however_it_is_written(tmp_path: Path) -> None:
    """Two writings of one key would let one person be two."""
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    for name, encoding in (("a.pub", Encoding.PEM), ("b.pub", Encoding.DER)):
        raw = public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / name).write_bytes(raw)
    text = b'schema = 1\n[policy]\nkeys = ["a.pub", "b.pub"]\nthreshold = 2\n'
    with pytest.raises(ConfigFileError, match="one key under two names"):
        Config.parse(text, where="config.toml", folder=tmp_path)
    # The same SubjectPublicKeyInfo with the compressed point, and lengths to match.
    whole = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    point = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    head = whole[2 : whole.index(b"\x03\x42\x00")] + b"\x03" + bytes([len(point) + 1]) + b"\x00"
    (tmp_path / "b.pub").write_bytes(b"\x30" + bytes([len(head) + len(point)]) + head + point)
    with pytest.raises(ConfigFileError):
        Config.parse(text, where="config.toml", folder=tmp_path)
