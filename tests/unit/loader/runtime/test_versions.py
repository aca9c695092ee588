"""T50: a runtime that is too old for hostile images is named, with what it lacks."""

from __future__ import annotations

import pytest

from loader.runtime.versions import KNOWN, advice, standing, version_in


@pytest.mark.parametrize(
    ("words", "version"),
    [
        ("docker 20.10.24, overlay2, x86_64", (20, 10, 24)),
        ("podman 4.3.1", (4, 3, 1)),
        ("containerd 1.6.20~ds1", (1, 6, 20)),
        ("containerd v2.3.2", (2, 3, 2)),
        ("docker 29.6.1-rc.1", (29, 6, 1)),
        ("podman 6.0", (6, 0)),
        ("podman dev", None),
        ("", None),
    ],
)
def test_what_a_runtime_says_it_is(words: str, version: tuple[int, ...] | None) -> None:
    assert version_in(words) == version


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("docker", (20, 10, 24), "open"),
        ("docker", (29, 6, 0), "open"),
        ("docker", (29, 6, 1), "mended"),
        ("docker", (30, 0), "mended"),
        ("podman", (4, 3, 1), "open"),
        ("podman", (5, 8, 4), "mended"),
        ("podman", (6, 0, 0), "mended"),
        ("containerd", (1, 6, 99), "open"),
        ("containerd", (1, 7, 32), "open"),
        ("containerd", (1, 7, 33), "mended"),
        ("containerd", (2, 0, 9), "open"),
        ("containerd", (2, 0, 10), "mended"),
        ("containerd", (2, 2, 4), "open"),
        ("containerd", (2, 2, 5), "mended"),
        ("containerd", (2, 3, 1), "open"),
        ("containerd", (2, 4, 0), "mended"),
        ("registry", (1, 0), "unknown"),
    ],
)
def test_each_release_line_was_mended_by_itself(
    name: str, version: tuple[int, ...], expected: str
) -> None:
    assert standing(name, version) == expected


@pytest.mark.parametrize("name", KNOWN)
def test_the_advice_names_the_fault_and_every_way_out(name: str) -> None:
    mended = KNOWN[name]
    assert list(mended.since) == sorted(mended.since)
    words = advice(name)
    assert "CVE-" in words
    for version in mended.since:
        assert standing(name, version) == "mended"
        assert ".".join(map(str, version)) in words
