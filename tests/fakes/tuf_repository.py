"""A TUF repository that signs itself: roles, delegations, rotation, Sigstore identities as keys.

Everything is plain dicts until it is signed, so a test can spoil what is signed as well as what was
signed. ``files`` are what a bundle carries; ``served`` is what a web server would have
(consistent snapshots), ``git`` the working tree of tuf-on-ci.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.fakes.sigworld.encoding import Json, hex_digest
from tests.fakes.sigworld.identity import Identity
from tests.fakes.sigworld.keys import Signer
from tests.fakes.sigworld.world import World

FAR = datetime(2036, 1, 1, tzinfo=UTC)
TOP = ("root", "timestamp", "snapshot", "targets")


def canonical(value: object) -> bytes:
    """OLPC canonical JSON: what TUF signs."""
    match value:
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'.encode()
        case bool() | None:
            return {True: b"true", False: b"false", None: b"null"}[value]
        case int():
            return str(value).encode()
        case list():
            return b"[" + b",".join(canonical(item) for item in value) + b"]"
        case dict():
            pairs = (canonical(key) + b":" + canonical(value[key]) for key in sorted(value))
            return b"{" + b",".join(pairs) + b"}"
        case _:
            raise TypeError(value)


def instant(at: datetime) -> str:
    """An expiry date as TUF writes it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, kw_only=True)
class TufKey:
    """A key of a role: what metadata says of it, and how it signs."""

    plain: Json
    sign: Callable[[bytes], Json] = field(compare=False)
    """Returns the fields of a signature beside its key id."""
    keyid: str = ""

    @property
    def id(self) -> str:
        """Its own digest, or what it was called."""
        return self.keyid or hex_digest(canonical(self.plain))


def plain_key(name: str, kind: str = "P-256", *, keyid: str = "") -> TufKey:
    """An ordinary key pair of that name."""
    signer = Signer.make(f"tuf/{name}", kind)
    if kind == "Ed25519":
        raw = signer.public.public_bytes_raw()  # type: ignore[union-attr]
        plain = {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": raw.hex()}}
    else:
        plain = {
            "keytype": "ecdsa",
            "scheme": "ecdsa-sha2-nistp256",
            "keyval": {"public": signer.public_pem.decode()},
        }
    return TufKey(plain=plain, sign=lambda data: {"sig": signer.sign(data).hex()}, keyid=keyid)


def identity_key(
    world: World,
    identity: Identity,
    *,
    keyid: str = "",
    sig: str = "",
    **options: Any,  # noqa: ANN401
) -> TufKey:
    """A Sigstore identity; ``sig`` is ``hex``, ``base64`` or empty, as tuf-on-ci wrote it.

    ``options`` go to ``World.sign``: ``log="none"`` leaves the log's entry away.
    """
    version = options.pop("version", "0.3")
    plain = {
        "keytype": "sigstore-oidc",
        "scheme": "Fulcio",
        "keyval": {"identity": identity.san.value, "issuer": identity.extensions[8]},
        "x-tuf-on-ci-keyowner": "@somebody",
    }

    def sign(data: bytes) -> Json:
        signed = world.sign(data, world.keyless(identity), **options)
        bundle = signed.bundle(version)
        text = {"hex": signed.signature.hex(), "base64": bundle["messageSignature"]["signature"]}
        return {"sig": text.get(sig, sig), "bundle": bundle}

    return TufKey(plain=plain, sign=sign, keyid=keyid)


def signed(document: Json, keys: Sequence[TufKey]) -> bytes:
    """Metadata over this document, with one signature of each key."""
    payload = canonical(document)
    signatures = [{"keyid": key.id, **key.sign(payload)} for key in keys]
    return json.dumps({"signatures": signatures, "signed": document}, indent=1).encode()


class TufRepository:
    """One repository. Change what you like, then ``publish``."""

    def __init__(
        self, name: str = "acme", *, expires: datetime = FAR, keys: Mapping[str, Any] | None = None
    ) -> None:
        self.name = name
        self.expires = dict.fromkeys(TOP, expires)
        self.keys: dict[str, list[TufKey]] = {
            role: [plain_key(f"{name}/{role}")] for role in TOP
        } | {role: list(given) for role, given in (keys or {}).items()}
        self.threshold: dict[str, int] = dict.fromkeys(TOP, 1)
        self.versions: dict[str, int] = dict.fromkeys(TOP, 0)
        self.targets: dict[str, dict[str, bytes]] = {"targets": {}}
        self.delegations: dict[str, list[Json]] = {}
        self.roots: dict[int, bytes] = {}
        self.meta: dict[str, bytes] = {}
        self.hashed = False
        """Whether snapshot and timestamp name lengths and hashes."""
        self._root_keys: list[TufKey] = []
        self.new_root()

    # What it says ----------------------------------------------------------------------------

    def target(self, path: str, content: bytes, *, role: str = "targets") -> None:
        """List a target in a role."""
        self.targets.setdefault(role, {})[path] = content

    def delegate(
        self,
        role: str,
        paths: Sequence[str],
        keys: Sequence[TufKey],
        *,
        threshold: int = 1,
        terminating: bool = False,
        by: str = "targets",
    ) -> None:
        """Delegate paths from one targets role to another."""
        self.keys[role], self.threshold[role] = list(keys), threshold
        self.versions.setdefault(role, 0)
        self.targets.setdefault(role, {})
        self.expires.setdefault(role, self.expires["targets"])
        self.delegations.setdefault(by, []).append(
            {"name": role, "paths": list(paths), "terminating": terminating}
        )

    def root_document(self) -> Json:
        """The next root, before it is signed."""
        return {
            "_type": "root",
            "spec_version": "1.0.31",
            "version": self.versions["root"] + 1,
            "expires": instant(self.expires["root"]),
            "consistent_snapshot": True,
            "keys": {key.id: key.plain for role in TOP for key in self.keys[role]},
            "roles": {
                role: {
                    "keyids": [key.id for key in self.keys[role]],
                    "threshold": self.threshold[role],
                }
                for role in TOP
            },
            "x-tuf-on-ci-expiry-period": 365,
        }

    def new_root(
        self, *, by: Sequence[TufKey] | None = None, document: Json | None = None
    ) -> bytes:
        """Publish a root, signed by the keys before and the new ones, or ``by`` others."""
        document = document or self.root_document()
        if by is None:
            by = list({key.id: key for key in (*self._root_keys, *self.keys["root"])}.values())
        raw = signed(document, by)
        self.versions["root"] += 1
        self.roots[self.versions["root"]] = raw
        self._root_keys = list(self.keys["root"])
        return raw

    def rotate(self, *roles: str, suffix: str = "new") -> None:
        """Give roles new keys, in a new root."""
        for role in roles:
            self.keys[role] = [plain_key(f"{self.name}/{role}/{suffix}")]
        self.new_root()

    def targets_document(self, role: str) -> Json:
        """The next metadata of a targets role, before it is signed."""
        document: Json = {
            "_type": "targets",
            "spec_version": "1.0.31",
            "version": self.versions[role] + 1,
            "expires": instant(self.expires[role]),
            "targets": {
                path: {"length": len(raw), "hashes": {"sha256": hex_digest(raw)}}
                for path, raw in self.targets[role].items()
            },
        }
        if role in self.delegations:
            below = self.delegations[role]
            document["delegations"] = {
                "keys": {key.id: key.plain for one in below for key in self.keys[one["name"]]},
                "roles": [
                    one
                    | {
                        "keyids": [key.id for key in self.keys[one["name"]]],
                        "threshold": self.threshold[one["name"]],
                    }
                    for one in below
                ],
            }
        return document

    def _info(self, role: str) -> Json:
        raw = self.meta[role]
        extra = {"length": len(raw), "hashes": {"sha256": hex_digest(raw)}} if self.hashed else {}
        return {"version": self.versions[role], **extra}

    def snapshot_document(self) -> Json:
        """The next snapshot, before it is signed."""
        return {
            "_type": "snapshot",
            "spec_version": "1.0.31",
            "version": self.versions["snapshot"] + 1,
            "expires": instant(self.expires["snapshot"]),
            "meta": {f"{role}.json": self._info(role) for role in self.targets},
        }

    def timestamp_document(self) -> Json:
        """The next timestamp, before it is signed."""
        return {
            "_type": "timestamp",
            "spec_version": "1.0.31",
            "version": self.versions["timestamp"] + 1,
            "expires": instant(self.expires["timestamp"]),
            "meta": {"snapshot.json": self._info("snapshot")},
        }

    def write(
        self, role: str, document: Json | None = None, by: Sequence[TufKey] | None = None
    ) -> bytes:
        """Sign the next metadata of a role (not root) and keep it."""
        if document is None:
            document = {
                "snapshot": self.snapshot_document,
                "timestamp": self.timestamp_document,
            }.get(role, lambda: self.targets_document(role))()
        self.versions[role] = document["version"]
        self.meta[role] = signed(document, self.keys[role] if by is None else by)
        return self.meta[role]

    def publish(self) -> TufRepository:
        """Sign everything anew, from the targets to the timestamp."""
        for role in self.targets:
            self.write(role)
        self.write("snapshot")
        self.write("timestamp")
        return self

    # What others see ---------------------------------------------------------------------------

    @property
    def files(self) -> dict[str, bytes]:
        """Everything, under the names that a bundle gives it."""
        return (
            {f"{version}.root.json": raw for version, raw in self.roots.items()}
            | {f"{role}.json": raw for role, raw in self.meta.items()}
            | {
                f"targets/{path}": raw
                for listed in self.targets.values()
                for path, raw in listed.items()
            }
        )

    def served(self) -> dict[str, bytes]:
        """What a web server has, by path: consistent snapshots, targets behind their hash."""
        found = {f"metadata/{version}.root.json": raw for version, raw in self.roots.items()}
        for role, raw in self.meta.items():
            prefix = "" if role == "timestamp" else f"{self.versions[role]}."
            found[f"metadata/{prefix}{role}.json"] = raw
        for listed in self.targets.values():
            for path, raw in listed.items():
                folder, slash, name = path.rpartition("/")
                found[f"targets/{folder}{slash}{hex_digest(raw)}.{name}"] = raw
        return found

    def git(self) -> dict[str, bytes]:
        """The working tree of tuf-on-ci, by path."""
        newest = max(self.roots)
        return (
            {f"metadata/root_history/{number}.root.json": raw for number, raw in self.roots.items()}
            | {"metadata/root.json": self.roots[newest]}
            | {f"metadata/{role}.json": raw for role, raw in self.meta.items()}
            | {
                f"targets/{path}": raw
                for listed in self.targets.values()
                for path, raw in listed.items()
            }
        )  # fmt: skip

    def copy(self) -> TufRepository:
        """The same repository, to be changed apart from this one."""
        return copy.deepcopy(self)


@dataclass(frozen=True)
class CarriedFiles:
    """The files of a repository as whoever replays it is given them."""

    carried: Mapping[str, bytes]

    @property
    def names(self) -> Sequence[str]:
        """What there is."""
        return list(self.carried)

    def read(self, name: str, *, size_max: int) -> bytes:
        """One of them, whatever its size: the reader behind it has its own limits."""
        del size_max
        return self.carried[name]
