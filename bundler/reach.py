"""How a run reaches registries, and where it keeps what it fetched: what the verbs share."""

from __future__ import annotations

import threading
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from bundler.registry.credential_helper import HelperPrograms
from bundler.registry.credentials import Credentials
from bundler.registry.oras_client import RegistryClient
from bundler.registry.retry import patient
from bundler.registry.settings import RegistrySettings
from loader.errors import UsageError

JOBS_MAX: Final = 32
"""More requests at a time only earn a registry's rate limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The options of `declare_registries`, understood."""

    settings: RegistrySettings
    jobs: int
    cache: Path

    @classmethod
    def make(
        cls,
        options: Namespace,
        *,
        environment: Mapping[str, str],
        plain_http: Iterable[str] = (),
        ca_files: Iterable[Path] = (),
        referrers_by_tag: Iterable[str] = (),
    ) -> Self:
        """Return what the command line says, together with what a file said before it.

        Raises:
            UsageError: no number of jobs that anybody could want.
        """
        if not 1 <= options.jobs <= JOBS_MAX:
            raise UsageError(
                "too few or too many downloads at a time", expected=f"--jobs 1 to {JOBS_MAX}"
            )
        return cls(
            settings=RegistrySettings(
                plain_http=frozenset((*options.plain_http, *plain_http)),
                ca_files=(*options.ca_file, *ca_files),
                referrers_by_tag=frozenset((*options.referrers_by_tag, *referrers_by_tag)),
                environment=environment,
            ),
            jobs=options.jobs,
            cache=options.cache or _cache(environment),
        )

    @contextmanager
    def registries(self, cancelled: threading.Event) -> Iterator[RegistryClient]:
        """Give registries with the user's own logins, until the end of the block."""
        environment = self.settings.environment
        credentials = Credentials(environment, helper=HelperPrograms(environment=environment))
        client = RegistryClient(self.settings, credentials, sleep=patient(cancelled))
        try:
            yield client
        finally:
            client.close()


def _cache(environment: Mapping[str, str]) -> Path:
    base = environment.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "airlock"
