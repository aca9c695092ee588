"""PEM: base64 between two lines that say of what (RFC 7468, strict about everything but line ends).

Only the decoded bytes are ever compared: two writings of one certificate are the same certificate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from loader.errors import JsonFieldError, shown
from loader.model.fields import decode_base64

CERTIFICATE: Final = "CERTIFICATE"
PUBLIC_KEY: Final = "PUBLIC KEY"

_BLOCK: Final = re.compile(
    rb"\s*-----BEGIN ([A-Z0-9 ]{1,40})-----\r?\n([A-Za-z0-9+/=\r\n]{1,100000})-----END \1-----\s*"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PemBlock:
    """One block: what it says that it is, and its bytes."""

    label: str
    der: bytes


def decode_blocks(raw: bytes, *, where: str, count_max: int) -> tuple[PemBlock, ...]:
    """Return the blocks of a text that is nothing else.

    Raises:
        JsonFieldError: there is none, too many of them, or something beside them.
    """
    blocks: list[PemBlock] = []
    position = 0
    while position < len(raw):
        match = _BLOCK.match(raw, position)
        if match is None or len(blocks) == count_max:
            raise JsonFieldError(
                "not PEM", where=where, found=shown(bytes(raw[position : position + 60]))
            )
        text = match.group(2).translate(None, b"\r\n").decode("ascii")
        blocks.append(
            PemBlock(label=match.group(1).decode("ascii"), der=decode_base64(text, where=where))
        )
        position = match.end()
    if not blocks:
        raise JsonFieldError("not PEM", where=where, found="nothing")
    return tuple(blocks)


def decode_block(raw: bytes, *labels: str, where: str) -> PemBlock:
    """Return the one block of a text, which is one of these.

    Raises:
        JsonFieldError: it is not PEM, holds several blocks, or something else.
    """
    block = decode_blocks(raw, where=where, count_max=1)[0]
    if block.label not in labels:
        raise JsonFieldError(
            "PEM of something else", where=where, expected=" or ".join(labels), found=block.label
        )
    return block
