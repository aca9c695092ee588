"""The host's own key: who wrote a record, said so that a later look can tell.

By default an Ed25519 key in a file of the state folder, made on the first run and readable by its
owner alone. Where `config.toml` names a `sign-command`, a token or TPM holds the key, and only its
public half is here. Whoever is root can use either: the key tells a record that this host wrote
from one that was put there by somebody who could write the file and not use the key
(docs/threat-model.md says what it cannot tell).
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final, Protocol, final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from loader.digest import Digest
from loader.errors import (
    StateError,
    StateKeyError,
    StatePermissionError,
    VerificationError,
    shown,
)
from loader.limits import KIB
from loader.places import Places, expect_private, state_error
from loader.trust.keys import PublicKey
from loader.verify.message import Message
from loader.verify.signature import verify_signature

if TYPE_CHECKING:
    from loader.state.lock import StateFolder

KEY_NAME: Final = "host.key"
LOST_HINT: Final = (
    "put the key back from a backup, or let `state recover` make a new one, which it writes down"
)
_SIZE_MAX: Final = 16 * KIB
_READABLE_BY_OTHERS: Final = stat.S_IRGRP | stat.S_IROTH
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class Signer(Protocol):
    """Whoever can sign for this host."""

    @property
    def key(self) -> PublicKey:
        """The public half."""

    def sign(self, raw: bytes) -> bytes:
        """Return a signature over these bytes.

        Raises:
            LocalError: there is none to be had.
        """


def key_id(key: PublicKey) -> Digest:
    """Return what a record calls a key: SHA-256 of its SubjectPublicKeyInfo."""
    return Digest(key.fingerprint)


def signed_by(key: PublicKey, signature: bytes, raw: bytes, *, where: str) -> None:
    """Check the host's signature over a record.

    Raises:
        StateError: it is not by this key over these bytes.
    """
    try:
        verify_signature(key, signature, Message.of(raw), what="the host's signature")
    except VerificationError as e:
        raise StateError(
            "a record does not carry the host's signature", where=where, expected=e.expected
        ) from e


@final
class HostKey:
    """The key in the state folder."""

    __slots__ = ("_private", "key")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.key = PublicKey.of(private.public_key(), name="the host's key")

    def sign(self, raw: bytes) -> bytes:
        """See `Signer`."""
        return self._private.sign(raw)

    @classmethod
    def read(cls, folder: StateFolder) -> HostKey | None:
        """Return the key, or None where there is none.

        Raises:
            StatePermissionError: somebody else could have written it.
            StateKeyError: it is damaged, or of another kind.
        """
        return cls.read_in(folder.fd, folder.places)

    @classmethod
    def read_in(cls, folder: int, places: Places) -> HostKey | None:
        """As `read`, for somebody who only looks and holds no lock."""
        where = shown(str(places.state / KEY_NAME))
        try:
            fd = os.open(KEY_NAME, _READ, dir_fd=folder)
        except FileNotFoundError:
            return None
        except OSError as e:
            raise state_error(e, what="the host's key cannot be opened", where=where) from e
        try:
            with os.fdopen(fd, "rb") as file:
                status = os.fstat(fd)
                expect_private(status, where=where)
                if stat.S_IMODE(status.st_mode) & _READABLE_BY_OTHERS:
                    raise StatePermissionError(
                        "others may read the host's key",
                        where=where,
                        expected="mode 0600",
                        found=f"mode {stat.S_IMODE(status.st_mode):04o}",
                        hint="whoever read it can sign records: let `state recover` make a new one",
                    )
                raw = file.read(_SIZE_MAX)
        except OSError as e:
            raise state_error(e, what="the host's key cannot be read", where=where) from e
        try:
            private = load_pem_private_key(raw, password=None)
        except (ValueError, TypeError) as e:
            raise StateKeyError(
                "the host's key is damaged", where=where, found=shown(str(e)), hint=LOST_HINT
            ) from e
        if not isinstance(private, Ed25519PrivateKey):
            raise StateKeyError(
                "the host's key is of another kind",
                where=where,
                expected="Ed25519",
                hint=LOST_HINT,
            )
        return cls(private)

    @classmethod
    def make(cls, folder: StateFolder) -> HostKey:
        """Make a key and write it, durably, before anything is signed with it.

        Raises:
            LocalError: it cannot be written.
        """
        private = Ed25519PrivateKey.generate()
        raw = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        draft = f"{KEY_NAME}.new"
        try:
            fd = os.open(draft, _WRITE, 0o600, dir_fd=folder.fd)
            with os.fdopen(fd, "wb") as file:
                os.fchmod(fd, 0o600)
                file.write(raw)
                file.flush()
                os.fsync(fd)
            os.rename(draft, KEY_NAME, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
            os.fsync(folder.fd)
        except OSError as e:
            where = shown(str(folder.places.state / KEY_NAME))
            raise state_error(e, what="the host's key cannot be written", where=where) from e
        return cls(private)
