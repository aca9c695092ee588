"""Collecting from fakes and layouts: the pieces that each of these tests puts together anew."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bundler.collect import CollectedImage, Wanted, collect
from bundler.dangerzone.signatures import NO_SIGNATURES, SignatureFolders
from bundler.registry.credential_helper import HelperPrograms
from bundler.registry.credentials import Credentials
from bundler.registry.oras_client import RegistryClient
from bundler.registry.retry import patient
from bundler.registry.settings import RegistrySettings, Timing
from bundler.sources import parse_source
from bundler.store import ContentStore
from loader.limits import DEFAULT_LIMITS, Limits
from loader.model.descriptor import Platform

QUICK = Timing(
    connect_seconds=2,
    read_seconds=2,
    progress_seconds=1,
    progress_bytes=1024,
    attempt_count=3,
    pause_seconds=0.001,
    pause_seconds_max=0.002,
)


@dataclass(slots=True)
class Told:
    """What a collection said of its progress."""

    expected: int = 0
    advanced: int = 0
    said: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def expect(self, size: int) -> None:
        with self.lock:
            self.expected += size

    def advance(self, size: int) -> None:
        with self.lock:
            self.advanced += size

    def say(self, text: str) -> None:
        with self.lock:
            self.said.append(text)


def gather(
    sources: Sequence[str],
    cache: Path,
    *,
    plain_http: Sequence[str] = (),
    platforms: Sequence[str] = (),
    told: Told | None = None,
    limits: Limits = DEFAULT_LIMITS,
    timing: Timing = QUICK,
    environment: Mapping[str, str] | None = None,
    parallel_count: int = 4,
    signatures_in: SignatureFolders = NO_SIGNATURES,
    **settings: object,
) -> tuple[tuple[CollectedImage, ...], ContentStore]:
    """Collect these sources into a store under `cache`."""
    cancelled = threading.Event()
    store = ContentStore(cache, cancelled=cancelled)
    known = environment or {}
    client = RegistryClient(
        RegistrySettings(
            plain_http=frozenset(plain_http),
            certificate_folders=(),
            timing=timing,
            environment=known,
            **settings,  # type: ignore[arg-type]
        ),
        Credentials(known, helper=HelperPrograms(environment=known)),
        sleep=patient(cancelled),
    )
    wanted = Wanted(
        sources=tuple(parse_source(text) for text in sources),
        platforms=tuple(Platform.parse(text) for text in platforms),
        limits=limits,
        parallel_count=parallel_count,
        signatures=signatures_in,
    )
    try:
        return collect(wanted, client, store, told or Told(), cancelled=cancelled), store
    finally:
        client.close()
