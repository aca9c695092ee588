"""A Notary v1 repository that signs anything: honest by default, every default can be spoilt.

Its own canonical JSON and key ids, after docker/go and theupdateframework/notary. Deterministic but
for RSA-PSS. `Repository.publish` signs what has changed as the client and the server would;
`Repository.sign` signs any document with any keys, and `files` is a plain dict to be spoilt.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.fakes.sigworld.keys import Signer

Json = dict[str, Any]
AT = datetime(2026, 1, 15, 12, tzinfo=UTC)
ROLES = ("root", "targets", "snapshot", "timestamp")
LIFETIMES = {
    "root": timedelta(days=3650),
    "targets": timedelta(days=1095),
    "snapshot": timedelta(days=1095),
    "timestamp": timedelta(days=14),
}


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def canonical(value: object) -> bytes:
    """docker/go's canonical JSON: sorted keys, two escapes, integers."""
    if isinstance(value, dict):
        items = sorted(value.items(), key=lambda item: item[0].encode())
        return b"{" + b",".join(canonical(k) + b":" + canonical(v) for k, v in items) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(canonical, value)) + b"]"
    if isinstance(value, str):
        return b'"' + value.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return json.dumps(value).encode()


def instant(at: datetime) -> str:
    """As Go writes it, with nanoseconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key and how the metadata writes it."""

    signer: Signer
    kind: str
    public: bytes

    @classmethod
    def bare(cls, name: str, kind: str = "P-256") -> Key:
        signer = Signer.make(name, kind)
        if kind == "Ed25519":
            raw = signer.public.public_bytes(Encoding.Raw, PublicFormat.Raw)
            return cls(signer=signer, kind="ed25519", public=raw)
        family = "rsa" if kind.startswith("RSA") else "ecdsa"
        return cls(signer=signer, kind=family, public=signer.spki)

    @classmethod
    def certified(
        cls,
        name: str,
        common_name: str,
        kind: str = "P-256",
        *,
        issuers: Sequence[Authority] = (),
        **changes: Any,  # noqa: ANN401  (see `certificate`)
    ) -> Key:
        """The key inside a certificate, self-signed or with the chain of its issuers."""
        signer = Signer.make(name, kind)
        issuer = issuers[0] if issuers else None
        leaf = certificate(signer, common_name, issuer=issuer, **changes)
        chain = [leaf, *(one.certificate for one in issuers)]
        pem = b"".join(one.public_bytes(Encoding.PEM) for one in chain)
        family = "rsa" if kind.startswith("RSA") else "ecdsa"
        return cls(signer=signer, kind=f"{family}-x509", public=pem)

    @property
    def json(self) -> Json:
        return {"keytype": self.kind, "keyval": {"private": None, "public": b64(self.public)}}

    @property
    def key_id(self) -> str:
        return hashlib.sha256(canonical(self.json)).hexdigest()

    @property
    def canonical_id(self) -> str:
        return Key.bare(self.signer.name, self.signer.kind).key_id

    @property
    def method(self) -> str:
        return {"ecdsa": "ecdsa", "rsa": "rsapss", "ed25519": "eddsa"}[self.kind.split("-")[0]]

    def sign(self, message: bytes, method: str = "") -> bytes:
        key = self.signer.key
        match key:
            case ec.EllipticCurvePrivateKey():
                rule = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
                r, s = decode_dss_signature(key.sign(message, rule))
                size = (key.curve.key_size + 7) // 8
                return r.to_bytes(size, "big") + s.to_bytes(size, "big")
            case rsa.RSAPrivateKey() if (method or self.method) == "rsapkcs1v15":
                return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
            case rsa.RSAPrivateKey():
                pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
                return key.sign(message, pss, hashes.SHA256())
            case ed25519.Ed25519PrivateKey():
                return key.sign(message)

    def signature(self, signed: Json, method: str = "") -> Json:
        value = self.sign(canonical(signed), method)
        return {"keyid": self.key_id, "method": method or self.method, "sig": b64(value)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Something that issues certificates for root keys."""

    signer: Signer
    certificate: x509.Certificate

    @classmethod
    def make(
        cls,
        name: str,
        *,
        issuer: Authority | None = None,
        **changes: Any,  # noqa: ANN401  (see `certificate`)
    ) -> Authority:
        signer = Signer.make(name)
        changes.setdefault("authority", True)
        return cls(signer=signer, certificate=certificate(signer, name, issuer=issuer, **changes))

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def certificate(
    signer: Signer,
    common_name: str,
    *,
    issuer: Authority | None = None,
    authority: bool = False,
    path_length: int | None = None,
    may_issue: bool = True,
    at: datetime = AT,
    days: int = 3650,
) -> x509.Certificate:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    by = signer if issuer is None else issuer.signer
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(common_name))
        .issuer_name(named(common_name) if issuer is None else issuer.certificate.subject)
        .public_key(signer.public)
        .serial_number(int.from_bytes(hashlib.sha256(common_name.encode()).digest()[:8], "big") + 1)
        .not_valid_before(at - timedelta(days=1))
        .not_valid_after(at + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=path_length), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not authority,
                key_cert_sign=authority and may_issue,
                crl_sign=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if not authority:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
        builder = builder.add_extension(usage, critical=False)
    return builder.sign(by.key, hashes.SHA256())


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """A role below another one, with its keys, paths and targets."""

    name: str
    keys: tuple[Key, ...]
    paths: tuple[str, ...] = ("",)
    threshold: int = 1
    published: bool = True


@dataclass(slots=True, kw_only=True)
class Repository:
    """A repository and everything its publisher and server hold."""

    gun: str
    name: str = "acme"
    at: datetime = AT
    root_keys: tuple[Key, ...] = ()
    keys: dict[str, tuple[Key, ...]] = field(default_factory=dict)
    thresholds: dict[str, int] = field(default_factory=dict)
    targets: dict[str, dict[str, Json]] = field(default_factory=dict)
    delegations: dict[str, Delegation] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    lifetimes: dict[str, timedelta] = field(default_factory=lambda: dict(LIFETIMES))
    files: dict[str, bytes] = field(default_factory=dict)
    old_root_keys: tuple[Key, ...] = ()
    change: Callable[[str, Json], None] | None = None
    """Called with each role's name and what is about to be signed for it."""

    def __post_init__(self) -> None:
        self.root_keys = self.root_keys or (
            Key.certified(f"{self.name}-root-{self.gun}", self.gun),
        )
        for role in ROLES[1:]:
            self.keys.setdefault(role, (Key.bare(f"{self.name}-{role}-{self.gun}"),))

    def tag(self, name: str, raw: bytes, *, role: str = "targets", sha512: bool = False) -> None:
        """Say of a tag which bytes it has."""
        found = {"sha256": b64(hashlib.sha256(raw).digest())}
        if sha512:
            found["sha512"] = b64(hashlib.sha512(raw).digest())
        self.targets.setdefault(role, {})[name] = {"hashes": found, "length": len(raw)}

    def delegate(
        self,
        name: str,
        *keys: Key,
        **settings: Any,  # noqa: ANN401  (see `Delegation`)
    ) -> Delegation:
        """Let somebody else sign tags."""
        keys = keys or (Key.certified(f"{self.name}-{name}", name),)
        self.delegations[name] = Delegation(name=name, keys=keys, **settings)
        return self.delegations[name]

    def rotate_root(self, *keys: Key) -> None:
        """Give the repository other root keys; the next root is signed by both."""
        self.old_root_keys = self.root_keys
        number = self.versions.get("root", 0) + 1
        self.root_keys = keys or (Key.certified(f"{self.name}-root-{self.gun}-{number}", self.gun),)

    def publish(self, *roles: str) -> dict[str, bytes]:
        """Sign these roles anew, or all, and the snapshot and timestamp over them."""
        if "root" in roles or "root" not in self.files or self.old_root_keys:
            self._publish_root()
        names = ["targets", *(d.name for d in self.delegations.values() if d.published)]
        for name in names:
            if not roles or name in roles or name not in self.files:
                self._write(name, self._targets(name), self._keys_of(name))
        for name in [n for n in self.files if n.startswith("targets/") and n not in names]:
            del self.files[name]
        self.publish_snapshot()
        return dict(self.files)

    def publish_snapshot(self) -> None:
        """Sign a snapshot of the files as they are, and a timestamp over it."""
        listed = [n for n in self.files if n == "root" or n.split("/")[0] == "targets"]
        meta = {name: fingerprint(self.files[name]) for name in listed}
        self._write("snapshot", {"_type": "Snapshot", "meta": meta}, self.keys["snapshot"])
        self.publish_timestamp()

    def publish_timestamp(self) -> None:
        """Sign a timestamp over the snapshot as it is."""
        meta = {"snapshot": fingerprint(self.files["snapshot"])}
        self._write("timestamp", {"_type": "Timestamp", "meta": meta}, self.keys["timestamp"])

    def copy(self) -> Repository:
        """The same repository, to be led another way."""
        return copy.deepcopy(self)

    @property
    def root_ids(self) -> list[str]:
        return [key.key_id for key in self.root_keys]

    def _publish_root(self) -> None:
        roles = {"root": self.root_keys, **self.keys}
        signed: Json = {
            "_type": "Root",
            "consistent_snapshot": False,
            "keys": {key.key_id: key.json for keys in roles.values() for key in keys},
            "roles": {
                name: {
                    "keyids": [key.key_id for key in keys],
                    "threshold": self.thresholds.get(name, 1),
                }
                for name, keys in roles.items()
            },
        }
        self._write("root", signed, (*self.root_keys, *self.old_root_keys))
        self.old_root_keys = ()
        self.files[f"{self.versions['root']}.root"] = self.files["root"]

    def _targets(self, name: str) -> Json:
        below = [d for d in self.delegations.values() if d.name.rpartition("/")[0] == name]
        return {
            "_type": "Targets",
            "targets": dict(self.targets.get(name, {})),
            "delegations": {
                "keys": {key.key_id: key.json for d in below for key in d.keys},
                "roles": [
                    {
                        "name": d.name,
                        "keyids": [key.key_id for key in d.keys],
                        "paths": list(d.paths),
                        "threshold": d.threshold,
                    }
                    for d in below
                ],
            },
        }

    def _keys_of(self, name: str) -> tuple[Key, ...]:
        return self.keys[name] if name in self.keys else self.delegations[name].keys

    def _write(self, name: str, signed: Json, keys: Iterable[Key]) -> None:
        self.versions[name] = self.versions.get(name, 0) + 1
        lifetime = self.lifetimes.get(name) or self.lifetimes[name.partition("/")[0]]
        document = {
            **signed,
            "version": self.versions[name],
            "expires": instant(self.at + lifetime),
        }
        if self.change is not None:
            self.change(name, document)
        self.files[name] = sign(document, keys)


def fingerprint(raw: bytes) -> Json:
    """What a snapshot says of a file."""
    found = {"sha256": hashlib.sha256(raw).digest(), "sha512": hashlib.sha512(raw).digest()}
    return {"hashes": {name: b64(value) for name, value in found.items()}, "length": len(raw)}


def sign(signed: Json, keys: Iterable[Key], *, method: str = "") -> bytes:
    """A document that these keys sign, as Go writes it."""
    signatures = [key.signature(signed, method) for key in keys]
    return json.dumps({"signed": signed, "signatures": signatures}, separators=(",", ":")).encode()


def changed(raw: bytes, change: Callable[[Json], None]) -> bytes:
    """The same document after a change, its signatures kept."""
    document = json.loads(raw)
    change(document)
    return json.dumps(document, separators=(",", ":")).encode()


__all__ = [
    "AT",
    "Authority",
    "Delegation",
    "Key",
    "Repository",
    "canonical",
    "changed",
    "fingerprint",
    "replace",
    "sign",
]
