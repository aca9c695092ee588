"""Bundles of many names, refused and accepted: what the ledger keeps of each."""

from __future__ import annotations

from pathlib import Path

from loader.run import REFUSED_IMAGE_COUNT_MAX
from tests.e2e.loading import REPOSITORY, FarSide, Publisher
from tests.fakes.content import ContentStore
from tests.fakes.images import hello_image


def test_a_refused_bundle_of_many_names_leaves_a_short_line(tmp_path: Path) -> None:
    publisher = Publisher()
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    image = hello_image(store := ContentStore())
    names = [publisher.entry(image, tag=f"n{n}", signed=False) for n in range(300)]
    publisher.pack(tmp_path / "x.tar.zst", store, names)
    ran = host.load(tmp_path / "x.tar.zst")
    assert (ran.status, ran.verdict["code"]) == (10, "no-evidence.claim")
    assert len(ran.verdict["images"]) == 300, "whoever stands there is told everything"
    record = host.records()[-1]
    assert [i["name"] for i in record["images"]] == [
        f"{REPOSITORY}:n{n}" for n in range(REFUSED_IMAGE_COUNT_MAX)
    ]
    assert "200 more images are not listed" in record["warnings"]


def test_tags_that_differ_only_in_case_are_loaded_and_remembered(tmp_path: Path) -> None:
    publisher = Publisher()
    host = FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    store = ContentStore()
    tags = ("RC1", "rc1")
    names = [publisher.entry(hello_image(store, text=tag), tag=tag) for tag in tags]
    publisher.pack(tmp_path / "x.tar.zst", store, names)
    assert host.load(tmp_path / "x.tar.zst").status == 0
    assert [row[0] for row in host.memory()["names"]] == [f"{REPOSITORY}:{tag}" for tag in tags]
    ran = host.load(tmp_path / "x.tar.zst")
    assert ran.status == 0, ran.err
    assert ran.verdict["repeat"] is True
