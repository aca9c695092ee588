"""The keys of TUF roles: which of them signed, each counted once.

    ordinary keys       verified by securesystemslib over `cryptography`
    Sigstore identities keytype `sigstore-oidc`, scheme `Fulcio` (tuf-on-ci): a signature is a whole
                        Sigstore bundle, judged by a `KeyVerifier` that the caller brings along;
                        securesystemslib would go to the network for it

A key is what verifies, not what it is called: one key under two ids counts once, and a key id need
not be a digest of anything (TAP 12; tuf-on-ci's first repositories call theirs "abcd").
"""

from __future__ import annotations

import base64
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, Self

import rfc8785
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from securesystemslib.exceptions import (
    FormatError,
    UnsupportedLibraryError,
    UnverifiedSignatureError,
    VerificationError,
)
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import KEY_FOR_TYPE_AND_SCHEME, Key, Signature, SSlibKey
from tuf.api.metadata import Role

from loader.digest import Digest
from loader.errors import RefusedError, TrustSignatureError, shown

_KEYTYPE: Final = ("sigstore-oidc", "Fulcio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who signs as a Sigstore identity: exactly this one, vouched for by exactly this issuer."""

    identity: str
    issuer: str

    def __str__(self) -> str:
        return f"{self.identity} ({self.issuer})"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeylessSignature:
    """A Sigstore bundle that holds: what it signs in bytes, and when that was seen."""

    signature: bytes
    times: tuple[datetime, ...]


class KeyVerifier(Protocol):
    """Whoever can judge a Sigstore bundle: `loader.verify.keyless`, under one trusted root."""

    def verify(self, identity: Identity, bundle: bytes, message: bytes) -> KeylessSignature:
        """Return what is known of a signature by this identity over these very bytes.

        Raises:
            VerificationError: it does not hold, or is somebody else's.
            FormatError: it is no bundle.
        """


class IdentityKey(Key):
    """A Sigstore identity in the place of a key; `count` alone judges what it signed."""

    @classmethod
    def from_dict(cls, keyid: str, key_dict: dict[str, object]) -> Self:
        """Return the key of an object; `ValueError` or `KeyError` where it is none."""
        keytype, scheme, keyval = cls._from_dict(key_dict)
        key = cls(keyid, keytype, scheme, keyval, key_dict)
        _ = key.identity
        return key

    @property
    def identity(self) -> Identity:
        """The identity; `ValueError` where it is none."""
        identity, issuer = self.keyval.get("identity"), self.keyval.get("issuer")
        if not (isinstance(identity, str) and isinstance(issuer, str) and identity and issuer):
            raise ValueError("an identity without name or issuer")
        return Identity(identity=identity, issuer=issuer)

    def to_dict(self) -> dict[str, object]:
        """Return it as `from_dict` reads it."""
        return self._to_dict()

    def verify_signature(self, signature: Signature, data: bytes) -> None:  # noqa: ARG002
        """Refuse: an identity's signature is not for a library to judge."""
        raise VerificationError("a Sigstore identity is judged by a KeyVerifier")


def accept_identities() -> None:
    """Let `tuf.api` read keys that are Sigstore identities; it leaves that to its users."""
    KEY_FOR_TYPE_AND_SCHEME[_KEYTYPE] = IdentityKey


def fingerprint(key: Key) -> str:
    """Return what tells a key from all others, however it is called or written.

    It is read as `SSlibKey` reads it to verify: PEM may have text before it, and hexadecimal digits
    may have spaces between them. What cannot be read verifies nothing, under whatever name.
    """
    if isinstance(key, IdentityKey):
        said = key.identity
        plain = rfc8785.dumps([*_KEYTYPE, said.issuer, said.identity])
        return Digest.of(plain).hex
    public = key.keyval.get("public")
    text = public if isinstance(public, str) else ""
    try:
        if key.keytype == "ed25519":
            text = bytes.fromhex(text).hex()
        else:
            pem = load_pem_public_key(text.encode("utf-8"))
            return Digest.of(pem.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hex
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass
    return Digest.of(f"{key.keytype} {text.lower()}".encode()).hex


def is_named_by_content(keyid: str, key: Key) -> bool:
    """Tell whether a key's id is the hash of what is written of it (TUF §4.2, KEYID).

    Of all of it, or of what makes it a key (keytype, scheme, keyval): tools do either. Real
    repositories have ids that are neither (Sigstore's root 11, early tuf-on-ci), so it is said and
    nothing more: a signature counts for the key, by its fingerprint, whatever its id is.
    """
    whole = key.to_dict()
    plain = {name: whole[name] for name in ("keytype", "scheme", "keyval")}
    return any(
        Digest.of((encode_canonical(written) or "").encode("utf-8")).hex == keyid
        for written in (whole, plain)
    )


def describe(key: Key) -> str:
    """Return a key in words: an identity, or its kind and fingerprint; and whose it is said to be.

    Whose it is, is what the repository's own tool writes beside it (tuf-on-ci); nobody vouches.
    """
    words = (
        str(key.identity)
        if isinstance(key, IdentityKey)
        else f"{key.scheme} {fingerprint(key)[:16]}"
    )
    owner = key.unrecognized_fields.get("x-tuf-on-ci-keyowner")
    return f"{words} {owner}" if isinstance(owner, str) else words


@dataclass(frozen=True, slots=True, kw_only=True)
class Signers:
    """Those whose signatures count: enough of them."""

    fingerprints: tuple[str, ...]
    times: tuple[datetime, ...]
    """Verified times of signatures by identities; other keys' signatures have none."""


def count(
    role: Role,
    keys: Mapping[str, Key],
    payload: bytes,
    signatures: Mapping[str, Signature],
    *,
    verifier: KeyVerifier | None,
    where: str,
) -> Signers:
    """Return who signed these bytes for a role, if it is enough (TUF §4.2.1, threshold).

    Raises:
        TrustSignatureError: too few; each key's reason is in `found`.
    """
    signed: dict[str, tuple[datetime, ...]] = {}
    problems: list[str] = []
    for keyid in role.keyids:
        key, signature = keys.get(keyid), signatures.get(keyid)
        if key is None or signature is None:
            continue
        try:
            times = _verify(key, signature, payload, verifier=verifier)
        except RefusedError as e:
            problems.append(f"{shown(keyid)[1:9]}: {e.message}")
            continue
        signed.setdefault(fingerprint(key), times)
    if len(signed) < role.threshold:
        raise TrustSignatureError(
            "trust material without enough signatures",
            where=where,
            expected=f"signatures by {role.threshold} of {len(_distinct(role, keys))} keys",
            found="; ".join([f"{len(signed)} that hold", *problems[:3]]),
        )
    return Signers(
        fingerprints=tuple(sorted(signed)),
        times=tuple(at for times in signed.values() for at in times),
    )


def still_enough(role: Role, keys: Mapping[str, Key], signers: Sequence[str]) -> bool:
    """Tell whether those who signed once would be enough under this role, too."""
    return len(_distinct(role, keys) & set(signers)) >= role.threshold


def _distinct(role: Role, keys: Mapping[str, Key]) -> set[str]:
    return {fingerprint(keys[keyid]) for keyid in role.keyids if keyid in keys}


def _verify(
    key: Key, signature: Signature, payload: bytes, *, verifier: KeyVerifier | None
) -> tuple[datetime, ...]:
    """Verify one signature.

    Raises:
        RefusedError: it does not hold.
    """
    match key:
        case IdentityKey():
            if verifier is None:
                raise TrustSignatureError("a Sigstore identity, and nothing to judge it by")
            return _verify_keyless(key, signature, payload, verifier)
        case SSlibKey():
            _verify_plain(key, signature, payload)
            return ()
        case _:
            raise TrustSignatureError("a kind of key that is not accepted")


def _verify_plain(key: SSlibKey, signature: Signature, payload: bytes) -> None:
    try:
        with warnings.catch_warnings():
            # Sigstore's older roots write the deprecated name of a key type.
            warnings.simplefilter("ignore", DeprecationWarning)
            key.verify_signature(signature, payload)
    except UnverifiedSignatureError as e:
        cause = e.__cause__
        raise TrustSignatureError(
            "the key cannot be used" if isinstance(e, VerificationError) else "does not hold",
            found=shown(str(cause or e)),
        ) from e
    except (UnsupportedLibraryError, FormatError, ValueError, TypeError) as e:
        raise TrustSignatureError("the signature cannot be read", found=shown(str(e))) from e


def _verify_keyless(
    key: IdentityKey, signature: Signature, payload: bytes, verifier: KeyVerifier
) -> tuple[datetime, ...]:
    bundle = signature.unrecognized_fields.get("bundle")
    if not isinstance(bundle, dict):
        raise TrustSignatureError("a signature by an identity without its Sigstore bundle")
    try:
        raw = rfc8785.dumps(bundle)
    except rfc8785.CanonicalizationError as e:
        raise TrustSignatureError("not a Sigstore bundle", found=shown(str(e))) from e
    known = verifier.verify(key.identity, raw, payload)
    # `sig` repeats the bundle's signature, in hex (2023), base64 (since), or not at all.
    written = (known.signature.hex(), base64.b64encode(known.signature).decode("ascii"))
    if signature.signature not in {"", *written}:
        raise TrustSignatureError("a signature that is not the one in its Sigstore bundle")
    return known.times
