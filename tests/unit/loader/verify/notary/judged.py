"""Repositories of the fake world, judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from loader.errors import AirlockError
from loader.limits import DEFAULT_LIMITS, Limits
from loader.trust.memory import RootsSeen
from loader.trust.notary_pins import NotaryPins, PinnedKeys
from loader.verify.notary.facts import ContentTrust
from loader.verify.notary.repository import verify_repository
from tests.fakes.notaryworld import Repository

GUN = "registry.acme.example/acme/app"
LIST = b'{"schemaVersion":2,"manifests":[]}'


def repository(**settings: object) -> Repository:
    """An honest one: v1 in targets, latest in targets/releases and by its signer."""
    found = Repository(gun=GUN, **settings)  # type: ignore[arg-type]
    found.delegate("targets/releases")
    found.delegate("targets/alice")
    found.tag("v1", LIST)
    found.tag("latest", LIST, role="targets/releases", sha512=True)
    found.tag("latest", LIST, role="targets/alice")
    found.publish()
    return found


def pinned(*key_ids: str, gun: str = GUN) -> NotaryPins:
    keys = {gun: PinnedKeys(key_ids=frozenset(key_ids))} if key_ids else {}
    return NotaryPins(name="the test's pins", keys=keys, authorities={})


def judged(
    files: Mapping[str, bytes],
    pins: NotaryPins | Iterable[str],
    *,
    seen: ContentTrust | RootsSeen | None = None,
    gun: str = GUN,
    limits: Limits = DEFAULT_LIMITS,
) -> ContentTrust:
    """The facts, where the repository holds."""
    known = seen.seen if isinstance(seen, ContentTrust) else seen
    return verify_repository(
        files,
        gun=gun,
        pins=pins if isinstance(pins, NotaryPins) else pinned(*pins, gun=gun),
        seen=known,
        remembered=seen.root if isinstance(seen, ContentTrust) else None,
        limits=limits,
    ).value


def refused(
    files: Mapping[str, bytes], pins: NotaryPins | Iterable[str], **settings: object
) -> AirlockError:
    """Why it does not."""
    with pytest.raises(AirlockError) as caught:
        judged(files, pins, **settings)  # type: ignore[arg-type]
    return caught.value
