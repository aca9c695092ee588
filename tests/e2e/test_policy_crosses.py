"""A policy crosses the gap: proposed, signed by several people, packed, looked at, accepted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from loader.digest import Digest
from loader.model.bundle import TrustEntry
from loader.model.descriptor import Descriptor, MediaType
from tests.e2e.loading import POLICY, FarSide, Publisher, Ran
from tests.e2e.test_pack_line import bench
from tests.fakes.content import ContentStore
from tests.fakes.images import hello_image
from tests.presence import ROOT

__all__ = ["bench"]

NEW = POLICY.replace(
    '\n[[image.require]]\nclaim = "bundle-signature"\nkey = "packer"\n', "\n"
).replace("schema = 1", "schema = 1\n\n# 2027")
DIGEST = str(Digest.of(NEW.encode()))


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@dataclass
class People:
    """Those who may change the policy, their keys, and a folder for proposals."""

    folder: Path

    def key(self, name: str) -> Path:
        path = self.folder / f"{name}.key"
        if not path.exists():
            private = ec.generate_private_key(ec.SECP256R1())
            path.write_bytes(
                private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            )
            path.with_suffix(".pub").write_bytes(
                private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            )
        return path

    def propose(self, *names: str, serial: int = 1, text: str = NEW, into: str = "one") -> Path:
        (self.folder / "new.toml").write_text(text)
        keys = [word for name in names for word in ("--sign-key", str(self.key(name)))]
        subprocess.run(
            [
                sys.executable, "-m", "bundler.cli", "policy", "propose",
                str(self.folder / "new.toml"), "--into", str(self.folder / into),
                "--serial", str(serial), "--reason", "a new year", *keys,
            ],
            check=True, capture_output=True, cwd=ROOT,
        )  # fmt: skip
        return self.folder / into


@pytest.fixture
def people(tmp_path: Path) -> People:
    (tmp_path / "people").mkdir()
    return People(tmp_path / "people")


def write_host(publisher: Publisher, people: People, folder: Path) -> FarSide:
    """Make a host that wants two of anna, ben and cleo."""
    host = FarSide(publisher.write_host(folder / "host"), folder / "loaded")
    kept = host.root / "etc/airlock"
    for name in ("anna", "ben", "cleo"):
        people.key(name)
        (kept / f"{name}.pub").write_bytes((people.folder / f"{name}.pub").read_bytes())
    (kept / "config.toml").write_text(
        'schema = 1\n[policy]\nkeys = ["anna.pub", "ben.pub", "cleo.pub"]\nthreshold = 2\n'
    )
    return host


@pytest.fixture
def host(publisher: Publisher, people: People, tmp_path: Path) -> FarSide:
    return write_host(publisher, people, tmp_path)


Pack = Callable[..., Path]


def carry(publisher: Publisher, bundle: Path, folder: Path, *, swap: Sequence[bytes] = ()) -> Path:
    """Pack a proposal's folder as it is, with some of its documents swapped."""
    store = ContentStore()
    raws = [
        (folder / "proposal.json").read_bytes(),
        (folder / "policy.toml").read_bytes(),
        *(path.read_bytes() for path in sorted(folder.glob("*.sigstore.json"))),
    ]
    raws[: len(swap)] = [new or old for new, old in zip(swap, raws, strict=False)]
    blobs = []
    for raw in raws:
        store.add(raw, "application/octet-stream")
        blobs.append(Descriptor.make(MediaType("application/octet-stream"), raw))
    entry = TrustEntry(anchor="policy", kind="policy", blobs=tuple(blobs))
    image = publisher.entry(hello_image(store), tag="1")
    publisher.pack(bundle, store, [image], trust=(entry,))
    return bundle


@pytest.fixture
def pack(publisher: Publisher, tmp_path: Path) -> Pack:
    def packed(folder: Path, *, swap: Sequence[bytes] = (), name: str = "bundle.tar.zst") -> Path:
        return carry(publisher, tmp_path / name, folder, swap=swap)

    return packed


def policy_of(host: FarSide) -> str:
    return (host.root / "etc/airlock/policy.toml").read_text()


def accept(host: FarSide, bundle: Path, digest: str = DIGEST) -> Ran:
    return host.run("policy", "accept", bundle, "--digest", digest)


def test_a_policy_is_looked_at_and_accepted(host: FarSide, people: People, pack: Pack) -> None:
    bundle = pack(people.propose("anna", "cleo"))
    assert "proposes another policy" in host.run("verify", bundle).out
    ran = host.run("policy", "diff", bundle)
    assert ran.status == 0, ran.err
    assert "LOOSER   [[image]] match = 'registry.acme.example/acme/*': does not ask" in ran.out
    assert "signed by   anna.pub" in ran.out
    assert "signed by   cleo.pub" in ran.out
    assert "reason      a new year" in ran.out
    assert policy_of(host) == POLICY
    assert not host.state.exists(), "to look writes nothing"
    assert host.run("policy", "diff", bundle, "--json").verdict["proposed"] == DIGEST

    assert accept(host, bundle, "sha256:" + "0" * 64).status == 14
    assert policy_of(host) == POLICY
    ran = accept(host, bundle)
    assert ran.status == 0, ran.err
    assert policy_of(host) == NEW
    assert (host.root / "etc/airlock/policy.toml.old").read_text() == POLICY
    begun, record = host.records()[-2:]
    assert (begun["verb"], begun["outcome"]) == ("policy-accept", "begun")
    assert (record["verb"], record["outcome"]) == ("policy-accept", "done")
    assert begun["policy"] == record["policy"] == DIGEST
    assert begun["notes"][:1] == record["notes"]
    assert any("looser" in note for note in begun["notes"])
    assert accept(host, bundle).out.startswith("ALREADY THERE")
    assert host.load(bundle).status == 0
    assert host.run("audit", "verify").status == 0


def test_a_load_accepts_no_policy_by_itself(host: FarSide, people: People, pack: Pack) -> None:
    bundle = pack(people.propose("anna", "ben", "cleo"))
    assert host.load(bundle).status == 0
    assert policy_of(host) == POLICY


@pytest.mark.parametrize(
    "names", [("anna",), ("anna", "anna"), ("anna", "mallory"), ("mallory", "eve")]
)
def test_too_few_of_the_pinned_keys(
    host: FarSide, people: People, pack: Pack, names: tuple[str, ...]
) -> None:
    bundle = pack(people.propose(*names))
    for ran in (host.run("policy", "diff", bundle), accept(host, bundle)):
        assert ran.status == 14
        assert "error[policy.proposal]" in ran.error
    assert policy_of(host) == POLICY
    assert host.records()[-1]["outcome"] == "refused"


def test_another_policy_beside_the_signed_proposal(
    host: FarSide, people: People, pack: Pack
) -> None:
    folder = people.propose("anna", "ben")
    bundle = pack(folder, swap=(b"", POLICY.encode()))
    ran = host.run("policy", "diff", bundle)
    assert ran.status == 19
    assert accept(host, bundle).status == 19
    assert policy_of(host) == POLICY


def test_signatures_over_another_proposal(host: FarSide, people: People, pack: Pack) -> None:
    people.propose("anna", "ben", into="one")
    other = people.propose("mallory", serial=2, text=NEW + "\n# more\n", into="two")
    for path in (people.folder / "one").glob("*.sigstore.json"):
        (other / path.name).write_bytes(path.read_bytes())
    ran = host.run("policy", "diff", pack(other))
    assert ran.status == 14


def test_an_older_proposal_is_not_accepted_again(host: FarSide, people: People, pack: Pack) -> None:
    newer = NEW.replace("2027", "2028")
    old = pack(people.propose("anna", "ben", serial=1, into="one"), name="1.tar.zst")
    new = pack(people.propose("anna", "ben", serial=2, text=newer, into="two"), name="2.tar.zst")
    same = pack(people.propose("anna", "ben", serial=2, into="three"), name="3.tar.zst")
    assert accept(host, new, str(Digest.of(newer.encode()))).status == 0
    ran = accept(host, old)
    assert (ran.status, "error[rollback.sequence]" in ran.error) == (16, True)
    ran = accept(host, same)
    assert (ran.status, "error[replay." in ran.error) == (16, True)
    assert policy_of(host) == newer


def test_a_policy_that_this_host_cannot_use(host: FarSide, people: People, pack: Pack) -> None:
    """With its anchors nowhere, the host could accept nothing any more, nor be told why."""
    text = NEW.replace('key = "release.pub"', 'key = "absent.pub"')
    bundle = pack(people.propose("anna", "ben", text=text))
    ran = accept(host, bundle, str(Digest.of(text.encode())))
    assert ran.status == 2
    assert policy_of(host) == POLICY
    assert host.records()[-1]["outcome"] == "failed"
    assert host.memory()["logs"] == [], "no serial rises by it"


def test_a_folder_that_cannot_be_written_begins_nothing(
    host: FarSide, people: People, pack: Pack
) -> None:
    bundle = pack(people.propose("anna", "ben"))
    (host.root / "etc/airlock/policy.toml.new").mkdir()
    ran = accept(host, bundle)
    assert ran.status == 20, ran.err
    assert policy_of(host) == POLICY
    assert [record["outcome"] for record in host.records()] == ["begun", "failed"]
    assert host.memory()["logs"] == []
    (host.root / "etc/airlock/policy.toml.new").rmdir()
    assert accept(host, bundle).status == 0


def test_a_host_without_policy_keys_takes_none(host: FarSide, people: People, pack: Pack) -> None:
    (host.root / "etc/airlock/config.toml").unlink()
    ran = host.run("policy", "diff", pack(people.propose("anna", "ben")))
    assert ran.status == 14
    assert "nobody may propose a policy to this host" in ran.error


def test_a_bundle_that_proposes_nothing(
    host: FarSide, publisher: Publisher, tmp_path: Path
) -> None:
    publisher.bundle(tmp_path / "bundle.tar.zst")
    ran = host.run("policy", "diff", tmp_path / "bundle.tar.zst")
    assert ran.status == 14
    assert "error[policy.no-proposal]" in ran.error


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b'{"policy":"x","reason":"r","schema":"airlock-policy-proposal/1","serial":0}',
        b'{"a":1}' + b" " * 20_000,
        b"\xff",
    ],
)
def test_what_is_no_proposal(host: FarSide, people: People, pack: Pack, raw: bytes) -> None:
    ran = host.run("policy", "diff", pack(people.propose("anna", "ben"), swap=(raw,)))
    assert ran.status == 19
