"""What lies in the frozen airlock-push, read from the product that `make frozen` left in dist/."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests import presence
from tests.architecture import tree

KEPT = tree.ROOT / "tests" / "architecture" / "frozen-push-modules.txt"
# Of ours it has the half that writes, and of the loader values alone.
OURS = {
    "bundler", "bundler.errors", "bundler.push", "bundler.registry", "bundler.store",
    "bundler.straight", "loader", "loader.digest", "loader.errors", "loader.graph",
    "loader.limits", "loader.model",
}  # fmt: skip

pytestmark = pytest.mark.engine("frozen-push")


def _listed(text: str) -> tuple[str, set[str]]:
    head, _, rest = text.partition("\n")
    return head, set(rest.split())


@pytest.fixture(scope="module")
def inside() -> tuple[str, set[str]]:
    """The list that `make frozen` read from the product."""
    path = tree.ROOT / "build" / "frozen-push-modules.txt"
    return _listed(path.read_text(encoding="utf-8"))


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in tree.SHIPPED


def test_it_holds_what_writes_to_registries_and_nothing_that_judges(
    inside: tuple[str, set[str]],
) -> None:
    ours = {name for name in inside[1] if _is_ours(name)}
    packages = {".".join(name.split(".")[:2]) for name in ours}
    assert packages <= OURS, "more of ours than it needs"
    assert "bundler.push.run" in ours


def test_what_is_not_ours_is_what_the_list_keeps(inside: tuple[str, set[str]]) -> None:
    kept_python, kept = _listed(KEPT.read_text(encoding="utf-8"))
    python, found = inside
    found = {name for name in found if not _is_ours(name)}
    if python != kept_python:  # another Python has other modules of its own
        found, kept = (
            {n for n in names if n.partition(".")[0] not in sys.stdlib_module_names}
            for names in (found, kept)
        )
        found, kept = ({n for n in x if not n.startswith("library:")} for x in (found, kept))
    assert found - kept == set(), "new: `make lists`"
    assert kept - found == set(), "gone: `make lists`"


def test_it_says_its_version_without_environment() -> None:
    ran = subprocess.run(
        [str(presence.FROZEN_PUSH), "version"],
        check=True,
        capture_output=True,
        text=True,
        env={},
        timeout=20,
    )
    assert set(json.loads(ran.stdout)) == {"version", "protocol"}
    assert ran.stderr == ""
