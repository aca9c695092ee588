"""A Notary server, asked for all files of a repository and its roots' history (FORMATS §5.6).

    GET {server}/v2/{GUN}/_trust/tuf/timestamp.json
    GET {server}/v2/{GUN}/_trust/tuf/{role}.{sha256}.json    by the hash that the file above lists
    GET {server}/v2/{GUN}/_trust/tuf/{N}.root.json           every older root

Through the same door as registries: tokens for reading alone, bounded in time and size, the user's
logins and authorities. Hashes are compared, so that what is sealed is one state of the repository
and not halves of two; signatures are the judge's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from bundler.errors import RemoteNotFoundError, RemoteProtocolError
from bundler.notary.captured import Captured
from bundler.registry.credentials import Credentials
from bundler.registry.door import NOT_FOUND, OK, Door
from bundler.registry.http import Http, place_of
from bundler.registry.oras_client import OrasAuthenticator
from bundler.registry.retry import Retry
from bundler.registry.settings import DOCKER_HUB, RegistrySettings
from loader.errors import FormatError, UsageError, shown
from loader.limits import DEFAULT_LIMITS, Limits
from loader.model.notary import Fingerprint, parse_root, parse_snapshot, parse_timestamp
from loader.model.notary_roles import ROOT, SNAPSHOT, TIMESTAMP

SERVER_VARIABLE: Final = "DOCKER_CONTENT_TRUST_SERVER"
_HUB_SERVER: Final = "https://notary.docker.io"


def server_of(gun: str, named: str | None, settings: RegistrySettings) -> str:
    """Return the address of a repository's server: as named, or where docker would ask.

    docker asks the address in DOCKER_CONTENT_TRUST_SERVER, for Docker Hub its own service, and for
    every other registry the registry's host; here without TLS if the registry is spoken to so.

    Raises:
        UsageError: not an address of a server.
    """
    registry = gun.partition("/")[0]
    address = named or settings.environment.get(SERVER_VARIABLE) or ""
    if not address:
        scheme = "http" if settings.allows_plain_http(registry) else "https"
        address = _HUB_SERVER if registry == DOCKER_HUB else f"{scheme}://{registry}"
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path.strip("/"):
        raise UsageError(
            "not the address of a Notary server",
            expected="https://HOST[:PORT]",
            found=shown(address),
        )
    return f"{parts.scheme}://{parts.netloc}"


class NotaryServers:
    """Asks Notary servers; one session for all."""

    def __init__(
        self,
        settings: RegistrySettings,
        credentials: Credentials,
        *,
        sleep: Callable[[float], None],
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._http = Http(settings)
        self._retry = Retry(timing=settings.timing, sleep=sleep)
        self._limits = limits

    def close(self) -> None:
        """Cut what is being read, and close every connection."""
        self._http.close()

    def capture(self, server: str, gun: str) -> Captured:
        """Return all files of a repository as they are now, and every older root.

        Raises:
            RemoteNotFoundError: the server has no such repository.
            RemoteError: it cannot be asked, or what it gives does not fit together.
        """
        host = urlsplit(server).netloc
        if server.startswith("http:") and not self._settings.allows_plain_http(host):
            raise UsageError(
                "plain HTTP, which was not allowed for this host",
                where=server,
                hint=f"--plain-http {shown(host)} allows it",
            )
        registry, settings = gun.partition("/")[0], self._settings
        if server.startswith("https:"):
            # What was said of another server on the same host is not said of this one.
            settings = replace(settings, plain_http=settings.plain_http - {host})
        authenticator = OrasAuthenticator(registry, self._credentials, self._http, settings)
        door = Door(host, gun, http=self._http, authenticator=authenticator, settings=settings)
        return _Repository(door, self._retry, self._limits, gun=gun).capture()


class _Repository:
    """One repository of one server, as far as it was fetched."""

    def __init__(self, door: Door, retry: Retry, limits: Limits, *, gun: str) -> None:
        self._door = door
        self._retry = retry
        self._limits = limits
        self._gun = gun
        self._size_left = limits.notary_repository_size_max

    def capture(self) -> Captured:
        limits = self._limits
        stamp = self._get(TIMESTAMP, size_max=limits.notary_timestamp_size_max)
        if stamp is None:
            raise RemoteNotFoundError(
                "the server has no trust data for this repository",
                where=f"{self._door.base}/_trust/tuf/",
            )
        files = {TIMESTAMP: stamp}
        try:
            listed = parse_timestamp(stamp, limits=limits).content.snapshot
            files[SNAPSHOT] = self._listed(SNAPSHOT, listed)
            roles = parse_snapshot(files[SNAPSHOT], limits=limits).content.files
            for role, fingerprint in sorted(roles.items()):
                files[role] = self._listed(role, fingerprint)
            newest = parse_root(files[ROOT], where=ROOT, limits=limits).version
        except FormatError as e:
            raise RemoteProtocolError(
                f"the server's trust data cannot be understood: {e.message}",
                where=e.where,
                expected=e.expected,
                found=e.found,
            ) from e
        files[f"{newest}.{ROOT}"] = files[ROOT]
        notes: list[str] = []
        for version in range(newest - 1, max(0, newest - limits.notary_root_count_max), -1):
            raw = self._get(f"{version}.{ROOT}", size_max=limits.notary_root_size_max)
            if raw is None:
                notes.append(
                    f"the server has no root {version}: no chain leads from it, or an older one"
                )
                break
            files[f"{version}.{ROOT}"] = raw
        return Captured(
            gun=self._gun, files=files, origin=place_of(self._door.base), notes=tuple(notes)
        )

    def _listed(self, role: str, fingerprint: Fingerprint) -> bytes:
        """Return the file with this hash; a server keeps it also once there is a newer one."""
        raw = self._get(f"{role}.{fingerprint.sha256.hex()}", size_max=fingerprint.length)
        differs = "nothing" if raw is None else fingerprint.differs(raw)
        if raw is None or differs:
            raise RemoteProtocolError(
                f"the server's {role} is not the one that it lists",
                where=f"{self._door.base}/_trust/tuf/",
                found=differs,
            )
        return raw

    def _get(self, name: str, *, size_max: int) -> bytes | None:
        url = f"{self._door.base}/_trust/tuf/{name}.json"
        bound = min(size_max, self._size_left)
        raw = self._retry.run(lambda: self._ask(url, name, bound))
        self._size_left -= 0 if raw is None else len(raw)
        return raw

    def _ask(self, url: str, name: str, size_max: int) -> bytes | None:
        with self._door.get(url, {"Accept": "application/json"}, elsewhere=False) as answer:
            if answer.status == NOT_FOUND:
                return None
            self._door.expect(answer, OK)
            return answer.read(size_max=size_max, what=f"{name}.json")
