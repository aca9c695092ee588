"""Signed notes and checkpoints (C2SP signed-note, tlog-checkpoint, tlog-cosignature), written."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tests.fakes.sigworld.encoding import b64, sha256
from tests.fakes.sigworld.keys import Signer

_ED25519 = b"\x01"
_COSIGNATURE = b"\x04"


def note_key_id(name: str, raw_public_key: bytes, algorithm: bytes = _ED25519) -> bytes:
    """The whole key id of a note signer, 32 bytes; lines carry its first four."""
    return sha256(name.encode() + b"\n" + algorithm + raw_public_key)


def raw_public(signer: Signer) -> bytes:
    """The 32 bytes of an Ed25519 public key."""
    return signer.spki[-32:]


def body(origin: str, size: int, root_hash: bytes, extra: Sequence[str] = ()) -> str:
    """The text of a checkpoint that gets signed, up to and including its last newline."""
    return "".join(f"{line}\n" for line in (origin, str(size), b64(root_hash), *extra))


def signature_line(name: str, hint: bytes, signature: bytes) -> str:
    """One signature line with its newline."""
    return f"\u2014 {name} {b64(hint + signature)}\n"


def join(text: str, lines: Sequence[str]) -> str:
    """A signed note: text, blank line, signature lines."""
    return f"{text}\n{''.join(lines)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """A cosigner of checkpoints that no verifier here has to know."""

    name: str
    signer: Signer

    @classmethod
    def make(cls, name: str = "witness.example/w1") -> Witness:
        """The witness of that name."""
        return cls(name=name, signer=Signer.make(name, "Ed25519"))

    def cosign(self, text: str, at: datetime) -> str:
        """A cosignature/v1 line over a checkpoint's text."""
        seconds = int(at.timestamp())
        signature = self.signer.sign(f"cosignature/v1\ntime {seconds}\n{text}".encode())
        hint = note_key_id(self.name, raw_public(self.signer), _COSIGNATURE)[:4]
        return signature_line(self.name, hint, struct.pack(">Q", seconds) + signature)
