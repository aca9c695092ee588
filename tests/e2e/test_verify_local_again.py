"""What a load was decided by besides the bundle is in its record, and `verify-local` uses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.loading import POLICY, REPOSITORY, FarSide, Publisher
from tests.e2e.watching import Watcher
from tests.fakes.content import ContentStore
from tests.fakes.images import hello_image
from tests.forked import Forker

NAME = f"{REPOSITORY}:1"
SITED = POLICY.replace('log = "promise"\n', 'log = "promise"\nannotations = { site = "{site}" }\n')
EXCEPTED = """
[[image.require]]
claim = "sbom"
key = "release"
trusted-root = "acme"
type = "spdx"

[[exception]]
image = "registry.acme.example/acme/*"
claim = "sbom"
reason = "the vendor sends none, ACME-12"
until = 2999-01-01
"""


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def bundle(publisher: Publisher, tmp_path: Path) -> Path:
    """An image that was signed for one site."""
    store = ContentStore()
    image = hello_image(store, text="1\n", version="1")
    entry = publisher.entry(image, tag="1", annotations={"site": "north"})
    publisher.pack(tmp_path / "bundle.tar.zst", store, [entry])
    return tmp_path / "bundle.tar.zst"


def _host(publisher: Publisher, folder: Path, policy: str) -> FarSide:
    host = FarSide(publisher.write_host(folder / "host"), folder / "loaded")
    _rule(host, policy)
    return host


def _rule(host: FarSide, policy: str) -> None:
    (host.root / "etc/airlock/policy.toml").write_text(policy)


def test_variables_of_a_load_are_recorded_and_used_again(
    publisher: Publisher, bundle: Path, tmp_path: Path
) -> None:
    host = _host(publisher, tmp_path, SITED)
    assert host.load(bundle, "--var", "site=south").status == 14, "signed for another site"
    assert host.load(bundle, "--var", "site=north").status == 0
    values = [record["variables"] for record in host.records()[1:]]
    assert values == [[{"name": "site", "value": one}] for one in ("south", "north")]
    again = host.run("verify-local", "--all")
    assert again.status == 0, again.err
    # What is said now stands above what was said then.
    assert host.run("verify-local", "--all", "--var", "site=south").status == 14
    assert host.run("verify-local", "--all", "--var", "typo=north").status == 2


def test_variables_that_todays_policy_does_not_use_or_that_nobody_gave(
    publisher: Publisher, bundle: Path, tmp_path: Path
) -> None:
    host = _host(publisher, tmp_path, SITED)
    assert host.load(bundle, "--var", "site=north").status == 0
    _rule(host, POLICY)
    assert host.run("verify-local", "--all").status == 0
    _rule(host, SITED.replace("{site}", "{place}"))
    ran = host.run("verify-local", NAME)
    assert ran.status == 2, ran.out
    assert "--var place=VALUE" in ran.err
    assert host.run("verify-local", NAME, "--var", "place=north").status == 0


def test_watch_takes_variables_and_judges_anew_under_others(
    publisher: Publisher, bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    with Forker.start() as forker:
        watcher = Watcher.make(forker, publisher, folder)
        _rule(watcher.host, SITED)
        (watcher.spool / "bundle.tar.zst").write_bytes(bundle.read_bytes())
        assert watcher.look().status == 2
        watcher.look("--var", "site=south")
        assert watcher.what() == {"bundle.tar.zst": "refused"}
        watcher.look("--var", "site=south")
        assert watcher.what() == {"bundle.tar.zst": "known"}
        ended = watcher.look("--var", "site=north")
        assert watcher.what() == {"bundle.tar.zst": "loaded"}, ended.err


def test_an_exception_that_was_used_is_in_the_record_and_shown_ever_after(
    publisher: Publisher, bundle: Path, tmp_path: Path
) -> None:
    host = _host(publisher, tmp_path, POLICY + EXCEPTED)
    assert host.load(bundle).status == 0
    [_, record] = host.records()
    [words] = record["exceptions"]
    assert NAME in words
    assert "let through until 2999-01-01: the vendor sends none, ACME-12" in words
    for verb in (("history",), ("why", NAME)):
        said = host.run(*verb).out
        assert said.count("EXCEPTION") == 1, said
        assert "ACME-12" in said
    again = host.run("verify-local", "--all")
    assert again.status == 0, again.err
    for said in (again.out, host.run("status").out):
        [line] = [one for one in said.splitlines() if "EXCEPTED " in one]
        assert words in line
    [image] = host.run("verify-local", "--all", "--json").verdict["images"]
    assert image["exceptions"] == [words]
    _rule(host, POLICY + EXCEPTED.replace("2999", "2020"))
    assert host.run("verify-local", "--all").status == 10, "it holds no longer"


def test_all_finds_an_image_that_policy_denied_later(
    publisher: Publisher, bundle: Path, tmp_path: Path
) -> None:
    host = _host(publisher, tmp_path, POLICY)
    assert host.load(bundle).status == 0
    before = host.target()
    digest = host.records()[1]["images"][0]["image"]
    _rule(host, POLICY + f'\n[[deny]]\ndigest = "{digest}"\nreason = "CVE-2026-1"\n')
    ran = host.run("verify-local", "--all", "--json")
    assert ran.status == 17, ran.err
    [image] = ran.verdict["images"]
    assert (image["policy"], image["runtime"]) == ("refused", "same")
    assert host.target() == before, "it says so, and removes nothing"
