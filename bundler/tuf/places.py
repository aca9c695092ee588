"""The places that TUF repositories are captured from: a web server, or a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from bundler.errors import (
    RemoteError,
    RemoteProtocolError,
    RemoteUnavailableError,
)
from bundler.registry.http import Http, place_of
from bundler.registry.retry import Retry
from bundler.registry.settings import RegistrySettings
from loader.errors import LimitError, UsageError, shown

_OK: Final = 200
_ABSENT: Final = frozenset({403, 404})
"""Object stores answer 403 for what is not there; python-tuf takes both for the end, too."""
_BUSY: Final = frozenset({429, 500, 502, 503, 504})
_CACHE_DEPTH: Final = ("*/timestamp.json", "*/*/timestamp.json", "*/*/*/timestamp.json")


class Web:
    """A repository on a web server."""

    def __init__(
        self, url: str, settings: RegistrySettings, *, sleep: Callable[[float], None]
    ) -> None:
        """Begin with its address.

        Raises:
            UsageError: it is none, or of plain HTTP that was not allowed.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.query:
            raise UsageError("not the address of a TUF repository", found=shown(url))
        if parts.scheme == "http" and not settings.allows_plain_http(parts.netloc):
            raise UsageError(
                "plain HTTP, which was not allowed for this host",
                where=shown(url),
                hint=f"--plain-http {shown(parts.netloc)} allows it",
            )
        self._base = url.rstrip("/")
        self._http = Http(settings)
        self._retry = Retry(timing=settings.timing, sleep=sleep)

    @property
    def origin(self) -> str:
        """Its address."""
        return place_of(self._base)

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def read(self, path: str, *, size_max: int) -> bytes | None:
        """Return a file, or None where the server has none.

        Raises:
            RemoteError: it cannot be asked.
        """
        url = f"{self._base}/{quote(path)}"
        return self._retry.run(lambda: self._get(url, size_max))

    def _get(self, url: str, size_max: int) -> bytes | None:
        with self._http.get(url, {"Accept": "*/*"}) as answer:
            if answer.status in _ABSENT:
                return None
            if answer.status != _OK:
                raise _refused(place_of(url), answer.status)
            return answer.read(size_max=size_max, what="a file of a TUF repository")


def _refused(place: str, status: int) -> RemoteError:
    if status in _BUSY:
        return RemoteUnavailableError(
            "the TUF repository cannot answer now", where=place, found=str(status)
        )
    return RemoteProtocolError(
        "the TUF repository gives no answer", where=place, found=f"status {status}"
    )


class Folder:
    """A repository in a folder: tuf-on-ci's, a published one, or a client's cache."""

    def __init__(self, path: Path) -> None:
        """Begin with the folder, or the one repository somewhere below it (`~/.sigstore`).

        Raises:
            UsageError: there is none, or more than one.
        """
        if not path.is_dir():
            raise UsageError("no folder of a TUF repository", where=str(path))
        self._folder = path
        if not any(
            (path / name).is_file() for name in ("timestamp.json", "metadata/timestamp.json")
        ):
            below = [found for depth in _CACHE_DEPTH for found in sorted(path.glob(depth))]
            if len(below) != 1:
                raise UsageError(
                    "not one TUF repository in this folder",
                    where=str(path),
                    expected="timestamp.json, or metadata/timestamp.json",
                    found=", ".join(str(one.parent) for one in below[:3]) or "none",
                )
            self._folder = below[0].parent

    @property
    def origin(self) -> str:
        """Its path."""
        return str(self._folder)

    def close(self) -> None:
        """Nothing is open."""

    def read(self, path: str, *, size_max: int) -> bytes | None:
        """Return a file, or None where there is none.

        Raises:
            LimitError: it is larger.
            UsageError: it cannot be read.
        """
        if any(part in {"", ".", ".."} for part in path.split("/")):
            return None  # asked for by metadata that is not verified
        place = self._folder / path
        try:
            if not place.is_file():
                return None
            with place.open("rb") as file:
                raw = file.read(size_max + 1)
        except OSError as e:
            raise UsageError(
                "a file of a TUF repository cannot be read",
                where=str(place),
                found=e.strerror or "",
            ) from e
        if len(raw) > size_max:
            raise LimitError("a file of a TUF repository is too large", where=str(place))
        return raw
