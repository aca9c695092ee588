"""`bundle.toml`: what a pack is made of, written down once (docs/registries.md).

    schema = 1
    images = ["ghcr.io/org/app:1.2", "oci:build/app:1.2"]
    images-from = ["images.txt"]
    platforms = ["linux/amd64"]
    policy = "policy.toml"
    channel = "stable"
    sequence = 7
    expires = "30d"
    output = "app.tar.zst"

    [registry]
    plain-http = ["127.0.0.1:5000"]
    ca-files = ["company-ca.pem"]
    referrers-by-tag = ["registry.example"]

    [log]
    rekor-url = "https://rekor.example"
    proofs = true

Keys that are not known are refused: a misspelt one would silently mean nothing. Paths are relative
to the file.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bundler.errors import SourceError
from bundler.rekor.address import parse_base
from bundler.sources import LIST_SIZE_MAX, Source, parse_source
from loader.errors import FormatError, shown
from loader.model.bundle import SEQUENCE_MAX
from loader.model.descriptor import Platform

_SCHEMA: Final = 1
_KEYS: Final = (
    "schema",
    "images",
    "images-from",
    "platforms",
    "policy",
    "channel",
    "sequence",
    "expires",
    "output",
    "registry",
    "log",
)
_REGISTRY_KEYS: Final = ("plain-http", "ca-files", "referrers-by-tag")
_LOG_KEYS: Final = ("rekor-url", "proofs")
_EXPIRES: Final = re.compile(r"[1-9][0-9]{0,3}[hdwy]", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFile:
    """What the file says; None and empty where it says nothing."""

    images: tuple[Source, ...]
    images_from: tuple[Path, ...]
    platforms: tuple[Platform, ...]
    policy: Path | None
    channel: str | None
    sequence: int | None
    expires: str | None
    """Hours, days, weeks or years after the bundle's creation: `36h`, `30d`, `4w`, `1y`."""
    output: Path | None
    plain_http: tuple[str, ...]
    ca_files: tuple[Path, ...]
    referrers_by_tag: tuple[str, ...]
    log_url: str | None
    log_proofs: bool

    @classmethod
    def parse(cls, raw: bytes, *, path: Path) -> BundleFile:
        """Return what these bytes of `path` say.

        Raises:
            SourceError: not TOML, an unknown key, or a value of another type.
        """
        if len(raw) > LIST_SIZE_MAX:
            raise SourceError("a bundle.toml is too large", where=str(path))
        try:
            document = tomllib.loads(raw.decode("utf-8"))
        except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as e:
            raise SourceError("not TOML", where=str(path), found=shown(str(e))) from e
        table = _Table(document, str(path))
        table.only(_KEYS)
        if table.integer("schema") != _SCHEMA:
            raise SourceError("another schema", where=f"{path} schema", expected=str(_SCHEMA))
        registry = table.table("registry")
        registry.only(_REGISTRY_KEYS)
        log = table.table("log")
        log.only(_LOG_KEYS)
        log_url = log.text("rekor-url")
        folder = path.parent
        return cls(
            images=tuple(
                parse_source(text, where=f"{path} images[{position}]", directory=folder)
                for position, text in enumerate(table.texts("images"))
            ),
            images_from=tuple(folder / text for text in table.texts("images-from")),
            platforms=_platforms(table),
            policy=table.path("policy", folder),
            channel=table.text("channel"),
            sequence=table.integer("sequence", maximum=SEQUENCE_MAX),
            expires=table.text("expires", pattern=_EXPIRES),
            output=table.path("output", folder),
            plain_http=tuple(registry.texts("plain-http")),
            ca_files=tuple(folder / text for text in registry.texts("ca-files")),
            referrers_by_tag=tuple(registry.texts("referrers-by-tag")),
            log_url=None if log_url is None else parse_base(log_url, where=log.at("rekor-url")),
            log_proofs=log.truth("proofs", default=True),
        )


def _platforms(table: _Table) -> tuple[Platform, ...]:
    try:
        return tuple(Platform.parse(text) for text in table.texts("platforms"))
    except FormatError as e:
        raise SourceError(e.message, where=table.at("platforms"), found=e.found) from e


class _Table:
    """A TOML table, with where it stands."""

    def __init__(self, values: Mapping[str, object], where: str) -> None:
        self._values = values
        self._where = where

    def at(self, key: str) -> str:
        return f"{self._where} {key}"

    def only(self, known: Iterable[str]) -> None:
        names = list(known)
        for key in self._values:
            if key not in names:
                close = difflib.get_close_matches(key, names, n=1)
                raise SourceError(
                    "unknown key",
                    where=self.at(shown(key)),
                    expected=", ".join(names),
                    hint=f"{close[0]}?" if close else "",
                )

    def table(self, key: str) -> _Table:
        value = self._values.get(key, {})
        if not isinstance(value, dict):
            raise self._wrong(key, "a table")
        return _Table(value, self.at(key))

    def text(self, key: str, *, pattern: re.Pattern[str] | None = None) -> str | None:
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value:
            raise self._wrong(key, "a string")
        if pattern is not None and pattern.fullmatch(value) is None:
            raise self._wrong(key, pattern.pattern)
        return value

    def path(self, key: str, folder: Path) -> Path | None:
        text = self.text(key)
        return None if text is None else folder / text

    def integer(self, key: str, *, maximum: int = 1) -> int | None:
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= maximum:
            raise self._wrong(key, f"an integer from 1 to {maximum}")
        return value

    def truth(self, key: str, *, default: bool) -> bool:
        value = self._values.get(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def texts(self, key: str) -> list[str]:
        value = self._values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(key, "a list of strings")
        return value

    def _wrong(self, key: str, expected: str) -> SourceError:
        return SourceError(
            "a value of another kind",
            where=self.at(key),
            expected=expected,
            found=shown(self._values[key], limit=60),
        )
