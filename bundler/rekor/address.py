"""The address of a log, as a user writes it."""

from __future__ import annotations

from urllib.parse import urlsplit

from loader.errors import UsageError, shown


def parse_base(text: str, *, where: str) -> str:
    """Return the address of a log that a user wrote.

    Raises:
        UsageError: it is none.
    """
    try:
        parts = urlsplit(text)
        named = parts.hostname and parts.port != 0 and "@" not in parts.netloc
        if parts.scheme in {"http", "https"} and named and not parts.query and not parts.fragment:
            return text.rstrip("/")
    except ValueError:  # a port that is none, half an IPv6 address
        pass
    raise UsageError(
        "not the address of a log", where=where, expected="https://HOST", found=shown(text)
    )
