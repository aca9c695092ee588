"""DSSE envelopes (secure-systems-lab/dsse 1.0.2): a payload, its type, and signatures over both.

What is signed is not the JSON but its pre-authentication encoding, which no two (type, payload)
pairs share. The key ids in an envelope are not signed, and so are not even kept.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from loader.errors import JsonFieldError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.fields import Fields

if TYPE_CHECKING:
    from loader.limits import Limits

_URL_SAFE: Final = str.maketrans("-_", "+/")
IN_TOTO_TYPE: Final = re.compile(r"application/vnd\.in-toto(?:\.[a-z0-9-]{1,64})?\+json", re.ASCII)
"""Payload types of in-toto statements; the middle part names a predicate (in-toto 1.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload with at least one signature over it."""

    payload_type: str
    payload: bytes
    signatures: tuple[bytes, ...]

    @classmethod
    def from_fields(cls, fields: Fields, *, limits: Limits = DEFAULT_LIMITS) -> Envelope:
        """Return the envelope that an object of a document writes.

        Raises:
            JsonFieldError, LimitError: it is malformed.
        """
        size_max = limits.evidence_size_max
        signatures = tuple(
            _signature(item, limits=limits)
            for item in fields.each("signatures", count_max=limits.envelope_signature_count_max)
        )
        if not signatures:
            raise JsonFieldError("an envelope nobody signed", where=fields.at("signatures"))
        return cls(
            payload_type=fields.text("payloadType", length_max=255),
            payload=decode_loose_base64(
                fields.text("payload", length_max=2 * size_max), where=fields.at("payload")
            ),
            signatures=signatures,
        )

    @classmethod
    def parse(cls, raw: bytes, *, where: str, limits: Limits = DEFAULT_LIMITS) -> Envelope:
        """Return the envelope that these bytes write; unknown fields are ignored, as DSSE asks.

        Raises:
            JsonError, LimitError: it is malformed.
        """
        document = strictjson.parse_object(
            raw, what="a DSSE envelope", size_max=limits.evidence_size_max, limits=limits
        )
        return cls.from_fields(Fields(document, where), limits=limits)

    @property
    def pae_parts(self) -> tuple[bytes, bytes]:
        """What the signatures are over, in two parts (dsse protocol.md, "Signature Definition")."""
        kind = self.payload_type.encode()
        return b"DSSEv1 %d %s %d " % (len(kind), kind, len(self.payload)), self.payload


def _signature(fields: Fields, *, limits: Limits) -> bytes:
    text = fields.text("sig", length_max=2 * limits.signature_size_max)
    return decode_loose_base64(text, where=fields.at("sig"))


def decode_loose_base64(text: str, *, where: str) -> bytes:
    """Return the bytes that padded base64 writes in either alphabet, the standard or the URL's.

    DSSE leaves the alphabet to the writer. Megabytes are usual here: no regular expression.

    Raises:
        JsonFieldError: anything else: both alphabets in one text, white space, missing padding,
            bits behind the end.
    """
    if "-" in text or "_" in text:
        if "+" in text or "/" in text:
            raise JsonFieldError("base64 in two alphabets", where=where, found=shown(text[:60]))
        text = text.translate(_URL_SAFE)
    try:
        raw = text.encode("ascii")
        decoded = binascii.a2b_base64(raw, strict_mode=True)
        # The one thing that the strict mode lets pass: bits behind the end, in the last four signs.
        canonical = binascii.b2a_base64(binascii.a2b_base64(raw[-4:]), newline=False) == raw[-4:]
    except (binascii.Error, UnicodeEncodeError) as e:
        raise JsonFieldError("not base64", where=where, found=shown(text[:60])) from e
    if not canonical:
        raise JsonFieldError("not canonical base64", where=where, found=shown(text[-60:]))
    return decoded
