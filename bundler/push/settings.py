"""How this host's registries are reached: `registries.toml`, beside the loader's other files.

    schema = 1
    plain-http = ["registry.enclave:5000"]
    ca-files = ["/etc/airlock/enclave-ca.pem"]
    certs-d = ["/etc/docker/certs.d", "/etc/containers/certs.d"]
    referrers-by-tag = []
    repair-referrers-tag = false

Looked for in `$XDG_CONFIG_HOME/airlock` (`~/.config/airlock`), then in `/etc/airlock`; the first
that is there counts. Without one, TLS with the system's authorities and those in `certs.d` is used.
Logins are in docker's and podman's own files (docs/registries.md).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bundler.errors import SourceError
from bundler.registry.settings import RegistrySettings
from loader.errors import UsageError

NAME: Final = "registries.toml"
_SYSTEM: Final = Path("/etc/airlock")
_SIZE_MAX: Final = 1 << 20
_LISTS: Final = ("plain-http", "ca-files", "certs-d", "referrers-by-tag")


@dataclass(frozen=True, slots=True, kw_only=True)
class PushSettings:
    """What the file says."""

    registry: RegistrySettings
    repair_referrers_tag: bool

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> PushSettings:
        """Read the first file that is there.

        Raises:
            UsageError: it cannot be read or understood.
        """
        for folder in _folders(environment):
            path = folder / NAME
            try:
                with path.open("rb") as file:
                    raw = file.read(_SIZE_MAX)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as e:
                raise UsageError(
                    "a settings file cannot be read", where=str(path), found=e.strerror or ""
                ) from e
            return cls._parse(raw, path, environment)
        return cls(
            registry=RegistrySettings(environment=environment, user_agent="airlock-push"),
            repair_referrers_tag=False,
        )

    @classmethod
    def _parse(cls, raw: bytes, path: Path, environment: Mapping[str, str]) -> PushSettings:
        try:
            document = tomllib.loads(raw.decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise SourceError("not TOML", where=str(path), found=str(e)) from e
        unknown = document.keys() - {"schema", "repair-referrers-tag", *_LISTS}
        repair = document.get("repair-referrers-tag", False)
        lists = {name: document.get(name, []) for name in _LISTS}
        whole = all(
            isinstance(value, list) and all(isinstance(item, str) for item in value)
            for value in lists.values()
        )
        if unknown or document.get("schema") != 1 or not isinstance(repair, bool) or not whole:
            raise SourceError(
                "not understood",
                where=str(path),
                expected=f"schema = 1, repair-referrers-tag, {', '.join(_LISTS)}",
                found=", ".join(sorted(unknown)) or "a value of another kind",
            )
        return cls(
            registry=RegistrySettings(
                plain_http=frozenset(lists["plain-http"]),
                ca_files=tuple(path.parent / name for name in lists["ca-files"]),
                certificate_folders=tuple(path.parent / name for name in lists["certs-d"])
                or RegistrySettings().certificate_folders,
                referrers_by_tag=frozenset(lists["referrers-by-tag"]),
                environment=environment,
                user_agent="airlock-push",
            ),
            repair_referrers_tag=repair,
        )


def _folders(environment: Mapping[str, str]) -> tuple[Path, ...]:
    home = environment.get("HOME")
    own = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    return (*((Path(own) / "airlock",) if own else ()), _SYSTEM)
