"""The content trust that a policy asks for, captured for the images of one bundle."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from bundler.errors import RemoteNotFoundError
from bundler.notary.captured import Captured, read_cache
from bundler.notary.inspect import warnings_of
from bundler.notary.server import NotaryServers, server_of
from bundler.notary.sources import verify
from bundler.preflight import FarSide
from bundler.reach import Reach
from bundler.registry.credential_helper import HelperPrograms
from bundler.registry.credentials import Credentials
from bundler.registry.settings import RegistrySettings
from bundler.store import ContentStore
from loader.errors import AirlockError, DigestError, MissingError, UsageError
from loader.limits import DEFAULT_LIMITS
from loader.model.bundle import ImageEntry, TrustEntry
from loader.policy.claims.content_trust import ContentTrustClaim, gun_of
from loader.policy.model import Policy
from loader.trust.anchors import label_of
from loader.trust.store import TrustStore


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


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedTrust:
    """What a policy asks for, and where it is taken from."""

    policy: Policy
    pins: TrustStore
    source: TrustSource
    settings: RegistrySettings

    @classmethod
    def of(cls, far_side: FarSide, options: Namespace, reach: Reach) -> WantedTrust:
        """Return what a verb's options and its policy come to (`declare_notary`)."""
        return cls(
            policy=far_side.policy,
            pins=far_side.trust,
            source=TrustSource(server=options.notary_server, cache=options.notary_cache),
            settings=reach.settings,
        )

    def capture(
        self,
        images: Sequence[ImageEntry],
        store: ContentStore,
        *,
        now: datetime,
        sleep: Callable[[float], None],
    ) -> CapturedTrust:
        """Capture every repository that a rule for one of these images asks for.

        A repository without trust data is no failure here: the judge says what is missing.

        Args:
            images: those of the bundle.
            store: where the files are put.
            now: what expires within six months of it is said.
            sleep: waits between tries.

        Raises:
            RemoteError: a server cannot be asked, or contradicts itself.
            UsageError: the cache does not hold a repository.
        """
        wanted = _wanted(self.policy, images)
        if not wanted:
            return CapturedTrust()
        environment = self.settings.environment
        credentials = Credentials(environment, helper=HelperPrograms(environment=environment))
        servers = NotaryServers(self.settings, credentials, sleep=sleep)
        captured: dict[str, Captured] = {}
        notes: list[str] = []
        try:
            for gun in sorted({gun for _, gun in wanted}):
                try:
                    captured[gun] = _captured(gun, self.source, servers, self.settings)
                except RemoteNotFoundError as e:
                    notes.append(f"{gun}: {e}")
                    continue
                notes += (f"{gun}: {note}" for note in captured[gun].notes)
        finally:
            servers.close()
        found = [(anchor, captured[gun]) for anchor, gun in sorted(wanted) if gun in captured]
        for anchor, one in found:
            notes += (f"{one.gun}: {line}" for line in self._ending(anchor, one, now=now))
        return CapturedTrust(
            entries=tuple(one.carried(label_of(anchor), store) for anchor, one in found),
            notes=tuple(dict.fromkeys(notes)),
        )

    def _ending(self, anchor: str, captured: Captured, *, now: datetime) -> tuple[str, ...]:
        """Return what has expired or soon will; what does not hold is for the judge to say."""
        try:
            trust = verify(captured, self.pins.notary_pins(anchor))
        except AirlockError:
            return ()
        return tuple(warnings_of(trust, now=now))


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
    gun: str, source: TrustSource, servers: NotaryServers, settings: RegistrySettings
) -> Captured:
    if source.cache is not None:
        return read_cache(source.cache, gun)
    return servers.capture(server_of(gun, source.server, settings), gun)
