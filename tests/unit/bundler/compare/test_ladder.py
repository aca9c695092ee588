"""How alike two configs are: what decides what is run, however it is written."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from bundler.compare.ladder import compare_sides
from bundler.compare.side import PlatformImage, Side
from loader.digest import Digest
from loader.errors import JsonError
from loader.model.descriptor import OCI_CONFIG, Descriptor
from loader.model.image import ImageConfig
from loader.model.strictjson import JsonObject

PLAIN: JsonObject = {
    "architecture": "amd64",
    "os": "linux",
    "rootfs": {"type": "layers", "diff_ids": []},
}
EMPTY: JsonObject = {"User": "1000", "Volumes": {}, "ExposedPorts": {}, "Labels": {}}


class Quiet:
    def expect(self, size: int, /) -> None: ...

    def advance(self, size: int, /) -> None: ...


def side(config: JsonObject) -> Side:
    raw = json.dumps(PLAIN | config).encode()
    parsed = ImageConfig.parse(raw, Descriptor.make(OCI_CONFIG, raw), where="config")
    image = PlatformImage(platform=str(parsed.platform), manifest=None, config=parsed, layers=())
    return Side(name="x", digest=Digest.of(raw), platforms=(image,))


def levels(a: JsonObject, b: JsonObject) -> Iterator[str]:
    for semantic in (False, True):
        for one, other in ((a, b), (b, a)):
            [verdict] = compare_sides(side(one), side(other), progress=Quiet(), semantic=semantic)
            yield verdict.level


@pytest.mark.parametrize(
    "more",
    [
        {"Volumes": {"/data": {}}},
        {"ExposedPorts": {"80/tcp": {}}},
        {"ExposedPorts": {"80/tcp": None}},
        {"Labels": {"traefik.enable": ""}},
    ],
)
def test_what_is_in_a_set_counts_though_it_holds_nothing(more: JsonObject) -> None:
    a: JsonObject = {"config": EMPTY | {key: {"other": {}} for key in more if key != "Labels"}}
    b: JsonObject = {"config": EMPTY | more}
    assert set(levels({"config": EMPTY}, b)) == {"different"}
    assert set(levels(a, b)) == {"different"}


def test_what_is_empty_runs_like_what_is_not_there() -> None:
    a: JsonObject = {"config": EMPTY | {"Cmd": None, "Healthcheck": {}}}
    assert set(levels(a, {"config": {"User": "1000"}})) == {"same-content"}


@pytest.mark.parametrize("key", ["Config", "CONFIG", "OS", "RootFS"])
def test_a_key_that_a_runtime_takes_for_another_counts(key: str) -> None:
    """Go's encoding/json does not look at letter case."""
    other: JsonObject = {"config": {"User": "1000"}}
    with_more = other | {key: {"User": "0"}}
    with pytest.raises(JsonError, match="differ only in case"):
        list(levels(other, with_more))


def test_a_config_under_another_case_counts() -> None:
    found = levels({"Config": {"User": "1000"}}, {"Config": {"User": "0"}})
    assert set(found) == {"different"}
    with pytest.raises(JsonError, match="differ only in case"):
        list(levels({"config": {"Cmd": ["a"]}}, {"config": {"Cmd": ["a"], "cmd": None}}))
