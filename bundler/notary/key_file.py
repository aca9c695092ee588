"""The ids of a key in a file: a certificate, a public key, or a private one that is not encrypted.

The canonical id is that of the bare key: the name of docker's private key files, and what signers'
keys are shown by. A certificate has an id of its own besides: what metadata and pins call it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

from loader.errors import UnsupportedKeyError, UsageError
from loader.limits import KIB
from loader.trust.keys import PublicKey
from loader.trust.notary_ids import bare_key_id, certificate_key_id

SIZE_MAX: Final = 64 * KIB
_BEGIN: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_HEADERS: Final = re.compile(
    rb"(-----BEGIN [A-Z0-9 ]+-----\r?\n)(?:[A-Za-z-]+: ?[^\r\n]*\r?\n)+\r?\n?"
)
_UNREADABLE: Final = (ValueError, TypeError, UnsupportedAlgorithm, UnsupportedKeyError)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyIds:
    """What a key is called."""

    tuf_id: str
    """As it is written in the file."""
    canonical_id: str
    """Of the bare key."""
    fingerprint: str
    """SHA-256 of its SubjectPublicKeyInfo, as everything else here shows keys."""


def key_ids_of(path: Path) -> KeyIds:
    """Return the ids of the key in a file.

    Raises:
        UsageError: it cannot be read, or holds no key that Notary would take.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(SIZE_MAX + 1)
    except OSError as e:
        raise UsageError("a key cannot be read", where=str(path), found=e.strerror or "") from e
    if len(raw) > SIZE_MAX:
        raise UsageError("a file too large to be a key", where=str(path))
    label = _BEGIN.search(raw)
    kind = "" if label is None else label.group(1).decode("ascii")
    if "ENCRYPTED" in kind or b"ENCRYPTED" in raw[:SIZE_MAX].partition(b"\n\n")[0]:
        raise UsageError(
            "a private key that is encrypted",
            where=str(path),
            hint="its file's name is the canonical id: ~/.docker/trust/private/ID.key",
        )
    try:
        return _ids(_HEADERS.sub(rb"\1", raw), kind)
    except _UNREADABLE as e:
        raise UsageError(
            "no key that Notary takes",
            where=str(path),
            expected="a certificate, a public key, or a private one without a passphrase, in PEM",
        ) from e


def _ids(raw: bytes, kind: str) -> KeyIds:
    written = ""
    if kind == "CERTIFICATE":
        chain = tuple(x509.load_pem_x509_certificates(raw))
        bare = PublicKey.of(chain[0].public_key(), name=kind)
        written = certificate_key_id(chain)
    elif kind.endswith("PRIVATE KEY"):
        private = load_pem_private_key(raw, None)
        bare = PublicKey.of(private.public_key(), name=kind)
    elif kind:
        bare = PublicKey.of(load_pem_public_key(raw), name=kind)
    else:
        bare = PublicKey.of(load_der_public_key(raw), name="DER")
    canonical = bare_key_id(bare)
    return KeyIds(tuf_id=written or canonical, canonical_id=canonical, fingerprint=bare.fingerprint)
