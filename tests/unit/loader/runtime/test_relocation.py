"""Where images go in the enclave's registry: one place for each source, whatever it is called."""

from __future__ import annotations

import pytest

from loader.errors import OciError, UsageError
from loader.model.reference import Reference
from loader.runtime.relocation import Destination

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("destination", "source", "there"),
    [
        ("r.lan/m", "ghcr.io/org/app:1", "r.lan/m/ghcr.io/org/app:1"),
        ("r.lan:5000", "ghcr.io/org/app:1", "r.lan:5000/ghcr.io/org/app:1"),
        ("r.lan/a/b", "docker.io/library/alpine:3", "r.lan/a/b/docker.io/library/alpine:3"),
        ("r.lan/m", "localhost:5000/x:1", "r.lan/m/localhost_5000/x:1"),
        ("r.lan/m", "[::1]:5000/x:1", "r.lan/m/1_5000/x:1"),
        ("r.lan/m", f"ghcr.io/x@{DIGEST}", f"r.lan/m/ghcr.io/x@{DIGEST}"),
    ],
)
def test_where_an_image_goes(destination: str, source: str, there: str) -> None:
    assert str(Destination.parse(destination).of(Reference.parse(source))) == there


def test_two_sources_never_meet() -> None:
    to = Destination.parse("r.lan/m")
    names = ["ghcr.io/a/b:1", "quay.io/a/b:1", "docker.io/a/b:1", "ghcr.io:443/a/b:1"]
    assert len({str(to.of(Reference.parse(name))) for name in names}) == len(names)


@pytest.mark.parametrize("text", ["", "/x", "UP", "h/UP", "h//x", "h/x/", "h/x:1", "a b", "-h/x"])
def test_what_is_no_destination(text: str) -> None:
    with pytest.raises(UsageError):
        Destination.parse(text)


def test_a_name_that_becomes_too_long() -> None:
    to = Destination.parse("r.lan/" + "a" * 150)
    with pytest.raises(OciError):
        to.of(Reference.parse("ghcr.io/" + "b" * 120 + ":1"))
