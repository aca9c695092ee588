"""Which proxy the environment names for a URL (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, ...).

Read from a mapping instead of through `requests`, which would read `~/.netrc` along with it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit


def proxies_for(url: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what `requests` wants to be told: the proxy for this URL's scheme, or nothing.

    Loopback is never asked of a proxy, as in Go's programs: it would be another machine's.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if _is_loopback(host) or _is_excepted(host, port, _variable("no_proxy", environment)):
        return {}
    proxy = _variable(f"{parts.scheme}_proxy", environment) or _variable("all_proxy", environment)
    if not proxy:
        return {}
    return {parts.scheme: proxy if "://" in proxy else f"http://{proxy}"}


def _variable(name: str, environment: Mapping[str, str]) -> str:
    return (environment.get(name) or environment.get(name.upper()) or "").strip()


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_excepted(host: str, port: int | None, excepted: str) -> bool:
    address = _address(host)
    for item in filter(None, (part.strip().lower() for part in excepted.split(","))):
        if item == "*":
            return True
        if address is not None and "/" in item:
            try:
                if address in ipaddress.ip_network(item, strict=False):
                    return True
            except ValueError:
                pass
            continue
        name, colon, wanted_port = item.rpartition(":")
        if colon and wanted_port.isdecimal() and _address(item) is None:
            if port != int(wanted_port):
                continue
            item = name  # noqa: PLW2901  # what is left of it
        bare = item.removeprefix("*").removeprefix(".")
        if host == bare or (address is None and host.endswith(f".{bare}")):
            return True
    return False
