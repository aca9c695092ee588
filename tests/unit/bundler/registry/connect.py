"""A client for the fake registry: short time-outs, no waits, only the credentials given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from bundler.registry.client import Repository
from bundler.registry.credential_helper import HelperPrograms
from bundler.registry.credentials import Credentials
from bundler.registry.oras_client import RegistryClient
from bundler.registry.settings import RegistrySettings, Timing
from loader.model.reference import Reference
from tests.fakes.registry import FakeRegistry

QUICK = Timing(
    connect_seconds=2,
    read_seconds=2,
    progress_seconds=1,
    progress_bytes=1024,
    attempt_count=3,
    pause_seconds=0.001,
    pause_seconds_max=0.002,
)


def settings(*registries: FakeRegistry, **changes: object) -> RegistrySettings:
    """Settings that allow plain HTTP to these registries alone."""
    made = RegistrySettings(
        plain_http=frozenset(one.host for one in registries if one.url.startswith("http:")),
        certificate_folders=(),
        timing=QUICK,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@contextlib.contextmanager
def client(
    chosen: RegistrySettings,
    environment: Mapping[str, str] | None = None,
    slept: list[float] | None = None,
) -> Iterator[RegistryClient]:
    """A client that records its pauses instead of waiting."""
    known = environment or {}
    found = RegistryClient(
        chosen,
        Credentials(known, helper=HelperPrograms(environment=known)),
        sleep=(slept if slept is not None else []).append,
    )
    try:
        yield found
    finally:
        found.close()


@contextlib.contextmanager
def repository(
    registry: FakeRegistry, name: str = "acme/app", **changes: object
) -> Iterator[Repository]:
    """One repository of a fake registry, asked anonymously."""
    with client(settings(registry, **changes)) as found:
        yield found.repository(Reference.parse(registry.reference(name, "1.0.0")))


def docker_config(folder: Path, text: str) -> dict[str, str]:
    """An environment in which this is the user's docker configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(text)
    return {"DOCKER_CONFIG": str(folder), "HOME": str(folder / "home")}
