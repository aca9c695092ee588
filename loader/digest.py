"""Digests: parsed once, then trusted to be `sha256:` and 64 lower-case hexadecimal digits.

A path, a lookup key or a message is only ever built from a `Digest`, never from text
(CVE-2024-3727).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from loader.errors import OciError, shown

_DIGEST_PATTERN: Final = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A SHA-256 digest as OCI writes it (image-spec 1.1, descriptor.md, "Digests")."""

    hex: str
    """64 lower-case hexadecimal digits."""

    def __post_init__(self) -> None:
        if len(self.hex) != 64 or not set(self.hex) <= set("0123456789abcdef"):  # noqa: PLR2004
            raise OciError("not a SHA-256 digest", found=shown(self.hex))

    @classmethod
    def parse(cls, text: str, *, where: str = "") -> Digest:
        """Return the digest that `text` writes.

        Raises:
            OciError: another algorithm, upper case, another length, or anything around it.
        """
        match = _DIGEST_PATTERN.fullmatch(text)
        if match is None:
            raise OciError(
                "not a digest",
                where=where,
                expected="sha256: and 64 lower-case hexadecimal digits",
                found=shown(text),
            )
        return cls(match.group(1))

    @classmethod
    def of(cls, raw: bytes) -> Digest:
        """Return the digest of these bytes."""
        return cls(hashlib.sha256(raw).hexdigest())

    @property
    def raw(self) -> bytes:
        """The 32 bytes."""
        return bytes.fromhex(self.hex)

    @property
    def short(self) -> str:
        """Twelve digits, for people."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"sha256:{self.hex}"
