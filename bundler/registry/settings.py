"""How to reach registries: what a user may set, and the bounds that hold for every server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loader.limits import KIB, MIB

DOCKER_HUB: Final = "docker.io"
_API_HOSTS: Final[Mapping[str, str]] = {DOCKER_HUB: "registry-1.docker.io"}
"""Where a registry answers whose name in references is not its host's, as in docker itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds and rates; tests shorten them."""

    connect_seconds: float = 10.0
    read_seconds: float = 30.0
    """Silence in which nothing at all arrives."""
    progress_seconds: float = 30.0
    progress_bytes: int = 16 * KIB
    """A body must bring so many bytes in each such span: a drip is as good as silence."""
    attempt_count: int = 5
    """Tries of one request. A blob begins to count anew whenever bytes arrived."""
    pause_seconds: float = 0.5
    """Before the second try; doubled before each further one, with jitter."""
    pause_seconds_max: float = 30.0
    visible_seconds: float = 10.0
    """Between two looks for what was written: some registries show it a moment later."""
    visible_count: int = 3
    """Looks, before it counts as not there."""
    retry_after_seconds_max: float = 60.0
    """What a server may make us wait; asked for more, we give up and say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Sizes and counts that no server may exceed."""

    document_size_max: int = 5 * MIB
    """Bytes of a manifest or of one page of referrers."""
    token_size_max: int = 1 * MIB
    error_size_max: int = 16 * KIB
    """Bytes of an error's body that are looked at for its message."""
    redirect_count_max: int = 5
    page_count_max: int = 64
    tag_page_count_max: int = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """What the command line, the environment and bundle.toml say about registries."""

    plain_http: frozenset[str] = frozenset()
    """Hosts, with their port, that may be spoken to without TLS. None is by itself."""
    ca_files: tuple[Path, ...] = ()
    """PEM files of authorities trusted beside the system's."""
    certificate_folders: tuple[Path, ...] = (
        Path("/etc/docker/certs.d"),
        Path("/etc/containers/certs.d"),
    )
    """Where HOST/*.crt, *.cert and *.key lie (docker's convention)."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The process's environment: proxies, SSL_CERT_FILE, where credentials are."""
    referrers_by_tag: frozenset[str] = frozenset()
    """Hosts whose referrers API is broken beyond what a probe can tell: only tags are asked."""
    timing: Timing = Timing()
    bounds: Bounds = Bounds()
    user_agent: str = "airlock"

    def allows_plain_http(self, host: str) -> bool:
        """Tell whether a host, with its port where it has one, may be spoken to without TLS."""
        return _without_port_80(host) in map(_without_port_80, self.plain_http)


def _without_port_80(host: str) -> str:
    return host.lower().removesuffix(":80")


def api_host(registry: str) -> str:
    """Return the host, with its port where it has one, that answers for a registry."""
    return _API_HOSTS.get(registry, registry)
