"""The content trust that a policy asks for, captured for the images of one bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bundler.errors import RemoteNotFoundError
from bundler.notary.captured import Captured, read_cache
from bundler.notary.server import NotaryServers, server_of
from bundler.registry.credential_helper import HelperPrograms
from bundler.registry.credentials import Credentials
from bundler.registry.settings import RegistrySettings
from bundler.store import ContentStore
from loader.errors import DigestError, MissingError, UsageError
from loader.limits import DEFAULT_LIMITS
from loader.model.bundle import ImageEntry, TrustEntry
from loader.policy.claims.content_trust import ContentTrustClaim, gun_of
from loader.policy.model import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustSource:
    """Where content trust is taken from; nothing named: where docker would ask."""

    server: str | None = None
    cache: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedTrust:
    """What the statement says of it, and what is missing."""

    entries: tuple[TrustEntry, ...] = ()
    notes: tuple[str, ...] = ()


def capture_wanted(
    policy: Policy,
    images: Sequence[ImageEntry],
    store: ContentStore,
    source: TrustSource,
    *,
    label_of: Callable[[str], str],
    settings: RegistrySettings,
    sleep: Callable[[float], None],
) -> CapturedTrust:
    """Capture every repository that a rule for one of these images asks for, each once an anchor.

    A repository without trust data is no failure here: the judge says what is missing.

    Args:
        policy: of the far side.
        images: of the bundle.
        store: where the files are put.
        source: where they are from.
        label_of: an anchor's name as a statement has it.
        settings: how servers are reached.
        sleep: waits between tries.

    Raises:
        RemoteError: a server cannot be asked, or contradicts itself.
        UsageError: the cache does not hold a repository.
    """
    wanted = _wanted(policy, images)
    if not wanted:
        return CapturedTrust()
    credentials = Credentials(
        settings.environment, helper=HelperPrograms(environment=settings.environment)
    )
    servers = NotaryServers(settings, credentials, sleep=sleep)
    captured: dict[str, Captured] = {}
    notes: list[str] = []
    try:
        for gun in sorted({gun for _, gun in wanted}):
            try:
                captured[gun] = _captured(gun, source, servers, settings.environment)
            except RemoteNotFoundError as e:
                notes.append(f"{gun}: {e}")
                continue
            notes += (f"{gun}: {note}" for note in captured[gun].notes)
    finally:
        servers.close()
    return CapturedTrust(
        entries=tuple(
            captured[gun].carried(label_of(anchor), store)
            for anchor, gun in sorted(wanted)
            if gun in captured
        ),
        notes=tuple(notes),
    )


def expect_there(
    entries: Sequence[TrustEntry], store: ContentStore, *, kind: Literal["tuf", "notary"]
) -> tuple[TrustEntry, ...]:
    """Return the repositories of a lock, whose very files are still in the store.

    A server gives the files of today; a lock means those that were packed.

    Raises:
        UsageError: some are not.
    """
    kept = tuple(entry for entry in entries if entry.kind == kind)
    for entry in kept:
        for blob in entry.blobs:
            try:
                store.read(
                    blob,
                    where=entry.repository,
                    size_max=DEFAULT_LIMITS.notary_repository_size_max,
                )
            except (MissingError, DigestError) as e:
                raise UsageError(
                    "trust metadata that the lock pins is not in the cache any more",
                    where=entry.repository,
                    expected=str(blob.digest),
                    hint="pack without --locked: a server only gives what is current",
                ) from e
    return kept


def _wanted(policy: Policy, images: Sequence[ImageEntry]) -> set[tuple[str, str]]:
    return {
        (claim.notary_root, gun_of(image.reference))
        for image in images
        for claim in policy.rules_for(image.reference).on_images
        if isinstance(claim, ContentTrustClaim)
    }


def _captured(
    gun: str, source: TrustSource, servers: NotaryServers, environment: Mapping[str, str]
) -> Captured:
    if source.cache is not None:
        return read_cache(source.cache, gun)
    return servers.capture(server_of(gun, source.server, environment), gun)
