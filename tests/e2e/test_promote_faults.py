"""A destination that fails at every request in turn: run again, and it converges (A144, FI-25).

Every request of a whole promotion is made to fail from some point on, in one of six ways; then the
registry is well again. In between no tag may point anywhere before its evidence is there. A reset
comes behind a write that took place, a 500 instead of it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.errors import RemoteError
from tests.e2e.failing import KINDS, ONCE, STEP, fails_from
from tests.e2e.promoting import Release, all_there, make_release, release_tags
from tests.fakes.distribution import Features
from tests.fakes.faults import Fault
from tests.fakes.registry import FakeRegistry


@pytest.mark.parametrize(
    ("kind", "by_tag"), [*((kind, True) for kind in KINDS), ("500", False), ("wrong", False)]
)
def test_fi_25_a_destination_that_fails_from_each_request_on(
    tmp_path: Path, kind: str, *, by_tag: bool
) -> None:
    with FakeRegistry() as source:
        release = make_release(tmp_path, source, platforms=False)
        number = 1 + list(KINDS).index(kind)
        failures = 0
        while True:
            with FakeRegistry(features=Features(referrers=not by_tag)) as destination:
                fault = fails_from(number, kind)
                destination.faults.append(fault)
                failed = _attempt(release, destination)
                tags = release_tags(destination.store("rel/app"))
                if tags:
                    all_there(release, destination.store("rel/app"), by_tag=by_tag)
                if fault.count < number:
                    assert not failed
                    break
                failures += failed
                destination.faults.clear()
                release.promote(destination, timing=ONCE)
                all_there(release, destination.store("rel/app"), by_tag=by_tag)
                assert set(release_tags(destination.store("rel/app"))) == {
                    "1.2.3", "1.2", "1", "latest",
                }  # fmt: skip
            number += STEP
        assert failures >= 5


@pytest.mark.parametrize("kind", ["500", "429", "reset", "truncated"])
def test_one_failure_at_each_request_is_waited_out(tmp_path: Path, kind: str) -> None:
    with FakeRegistry() as source:
        release = make_release(tmp_path, source, platforms=False)
        number = 1 + list(KINDS).index(kind)
        while True:
            with FakeRegistry(features=Features(referrers=False)) as destination:
                fault = Fault(pattern="", on=(number,), **KINDS[kind])  # type: ignore[arg-type]
                destination.faults.append(fault)
                release.promote(destination, timing=ONCE)
                all_there(release, destination.store("rel/app"), by_tag=True)
                if fault.count < number:
                    break
            number += 2 * len(KINDS)


def test_429_is_waited_out_as_long_as_it_says(tmp_path: Path) -> None:
    with FakeRegistry() as source, FakeRegistry() as destination:
        release = make_release(tmp_path, source)
        wait = {"Retry-After": "7200"}
        destination.faults.append(
            Fault(pattern=r"/uploads/", method="POST", on=None, status=429, headers=wait)
        )
        with pytest.raises(RemoteError) as caught:
            release.promote(destination, timing=ONCE)
        assert "7200 seconds" in caught.value.hint


def _attempt(release: Release, destination: FakeRegistry) -> bool:
    try:
        release.promote(destination, timing=ONCE)
    except RemoteError:
        return True
    return False
