"""Whose name and password go to a registry: docker's and podman's own files and helpers.

Looked at in this order, the first entry wins (as skopeo does):

    $REGISTRY_AUTH_FILE                        alone, if set
    $XDG_RUNTIME_DIR/containers/auth.json
    $XDG_CONFIG_HOME/containers/auth.json      ~/.config where unset
    $DOCKER_CONFIG/config.json                 ~/.docker where unset

Within a file: `credHelpers` for the host, then `auths` (for the repository, then its parents, then
the host), then `credsStore`. `~/.netrc` and other programs' variables are never read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from bundler.errors import CredentialError
from bundler.registry.settings import DOCKER_HUB
from loader.errors import FormatError, shown
from loader.limits import MIB
from loader.model import strictjson
from loader.model.fields import Fields, decode_base64

_FILE_SIZE_MAX: Final = 1 * MIB
_ENTRY_COUNT_MAX: Final = 10_000
_HUB_KEYS: Final = (
    "https://index.docker.io/v1/",
    "index.docker.io",
    "registry-1.docker.io",
    DOCKER_HUB,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What proves who we are; none of it is ever shown."""

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    """A refresh token: exchanged for an access token at the registry's token service."""
    registry_token: str = field(default="", repr=False)
    """A bearer token for the registry itself."""
    source: str = ""
    """The file or helper it is from."""


class Helper(Protocol):
    """A `docker-credential-NAME` program."""

    def __call__(self, name: str, server: str, /) -> Credential | None:
        """Return what it keeps for a server, or None where it keeps nothing."""


class Credentials:
    """All credential files of a user, read once."""

    def __init__(self, environment: Mapping[str, str], *, helper: Helper) -> None:
        self._files = tuple(_files(environment))
        self._explicit = bool(environment.get("REGISTRY_AUTH_FILE"))
        self._helper = helper
        self._lock = threading.Lock()
        self._read: tuple[_File, ...] | None = None
        self._asked: dict[tuple[str, str], Credential | None] = {}

    def for_registry(self, registry: str, repository: str) -> Credential | None:
        """Return what to show to this registry for this repository, or None: anonymous.

        Raises:
            CredentialError: a file or helper cannot be understood. Going on anonymously instead
            would look like missing permission, or missing evidence.
        """
        with self._lock:
            key = registry, repository
            if key not in self._asked:
                self._asked[key] = self._find(registry, repository)
            return self._asked[key]

    def _find(self, registry: str, repository: str) -> Credential | None:
        if self._read is None:
            self._read = tuple(
                file
                for path in self._files
                if (file := _read(path, required=self._explicit)) is not None
            )
        hosts = _HUB_KEYS if registry == DOCKER_HUB else (registry,)
        for file in self._read:
            for host in hosts:
                if host in file.helpers:
                    found = self._helper(file.helpers[host], host)
                    if found is not None:
                        return found
            for key in _keys(hosts, repository):
                if key in file.entries:
                    return file.entries[key]
            if file.store:
                found = self._helper(file.store, hosts[0])
                if found is not None:
                    return found
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    entries: Mapping[str, Credential]
    helpers: Mapping[str, str]
    store: str


def _files(environment: Mapping[str, str]) -> Iterator[Path]:
    explicit = environment.get("REGISTRY_AUTH_FILE")
    if explicit:
        yield Path(explicit)
        return
    home = environment.get("HOME")
    runtime = environment.get("XDG_RUNTIME_DIR")
    if runtime:
        yield Path(runtime) / "containers" / "auth.json"
    config = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    if config:
        yield Path(config) / "containers" / "auth.json"
    docker = environment.get("DOCKER_CONFIG") or (f"{home}/.docker" if home else "")
    if docker:
        yield Path(docker) / "config.json"


def _keys(hosts: tuple[str, ...], repository: str) -> Iterator[str]:
    """Yield what entries may be called: `host/org/app`, `host/org`, `host`, most exact first."""
    parts = repository.split("/")
    for count in range(len(parts), 0, -1):
        for host in hosts:
            if "/" not in host:
                yield "/".join((host, *parts[:count]))
    yield from hosts


def _normal(key: str) -> str:
    """Return an entry's name without what docker once wrote around a host: `https://HOST/v1/`."""
    if "://" not in key:
        return key
    parts = urlsplit(key)
    path = parts.path.removesuffix("/")
    return parts.netloc + ("" if path in {"/v1", "/v2"} else path)


def _read(path: Path, *, required: bool) -> _File | None:
    try:
        with path.open("rb") as file:
            raw = file.read(_FILE_SIZE_MAX + 1)
    except (FileNotFoundError, NotADirectoryError) as e:
        if not required:
            return None
        raise CredentialError("the credential file is not there", where=str(path)) from e
    except OSError as e:
        raise CredentialError(
            "a credential file cannot be read", where=str(path), found=e.strerror or ""
        ) from e
    if not raw.strip():
        return None
    try:
        return _parse(raw, path)
    except FormatError as e:
        # Neither the file's text nor what is in it: only where it went wrong.
        raise CredentialError(
            "a credential file cannot be understood",
            where=f"{path} {e.where}".strip(),
            found=e.message,
        ) from e


def _parse(raw: bytes, path: Path) -> _File:
    document = strictjson.parse_object(
        raw, what="the file", size_max=_FILE_SIZE_MAX, keys="exact", numbers="any"
    )
    fields = Fields(document, "")
    entries: dict[str, Credential] = {}
    auths = fields.optional_fields("auths")
    if auths is not None:
        for name in list(auths.object)[:_ENTRY_COUNT_MAX]:
            found = _entry(auths.fields(name), source=str(path))
            if found is not None:
                entries.setdefault(name if name in _HUB_KEYS else _normal(name), found)
    return _File(
        entries=entries,
        helpers=fields.text_map("credHelpers", count_max=_ENTRY_COUNT_MAX),
        store=fields.optional_text("credsStore") or "",
    )


def _entry(fields: Fields, *, source: str) -> Credential | None:
    user, password = _text(fields, "username"), _text(fields, "password")
    encoded = _text(fields, "auth")
    if encoded:
        try:
            text = decode_base64(encoded, where=fields.at("auth")).decode("utf-8")
        except (FormatError, UnicodeDecodeError):
            raise CredentialError(
                "an entry is not base64 of user:password", where=f"{source} {fields.at('auth')}"
            ) from None  # its message quotes the text
        user, _, password = text.partition(":")
        password = password.rstrip("\0")
    identity, registry = _text(fields, "identitytoken"), _text(fields, "registrytoken")
    if not (user or identity or registry):
        return None
    return Credential(
        user=user,
        password=password,
        identity_token=identity,
        registry_token=registry,
        source=source,
    )


def _text(fields: Fields, name: str) -> str:
    value = fields.object.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CredentialError("not a string", where=shown(fields.at(name)))
    return value
