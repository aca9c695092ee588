"""The loader's line from a file to an image in a layout, each run a process without network."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.loading import REPOSITORY, SIGNED_AT, FarSide, Publisher
from tests.fakes.content import ContentStore
from tests.fakes.images import Layer, hello_image


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def host(tmp_path: Path, publisher: Publisher) -> FarSide:
    return FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, publisher: Publisher) -> Path:
    """Three releases, a week apart, and a second bundle 2 with other contents."""
    folder = tmp_path_factory.mktemp("bundles")
    for number in (1, 2, 3):
        publisher.bundle(
            folder / f"{number}.tar.zst",
            sequence=number,
            version=f"1.0.{number}",
            days=7 * number,
            extra=[Layer.noise(100_000, seed=number)],
        )
    publisher.bundle(folder / "2-other.tar.zst", sequence=2, version="6.6.6", days=14)
    return folder


def test_verify_says_who_and_writes_nothing(host: FarSide, bundles: Path) -> None:
    before = sorted(host.root.rglob("*"))
    ran = host.verify(bundles / "1.tar.zst")
    assert (ran.status, ran.err) == (0, "")
    verdict = ran.verdict
    assert verdict["schema"] == "airlock-verdict/1"
    assert verdict["verdict"] == "accept"
    [image] = verdict["images"]
    assert image["name"]["how"] == "bundle-signature"
    assert [claim["holds"] for claim in image["claims"]] == ["met", "met"]
    [signature] = [claim for claim in image["claims"] if claim["claim"] == "signature"]
    assert "release" in signature["who"][0]
    assert signature["at"] == ["2026-01-22T12:00:00Z"]
    assert verdict["archive"]["bytes_read"] == (bundles / "1.tar.zst").stat().st_size
    assert "seccomp: sockets are AF_UNIX only" in verdict["confinement"]
    assert sorted(host.root.rglob("*")) == before
    assert not host.loaded.exists()


def test_load_puts_the_image_into_the_layout_and_remembers(host: FarSide, bundles: Path) -> None:
    ran = host.load(bundles / "1.tar.zst")
    assert (ran.status, ran.err) == (0, "")
    [image] = ran.verdict["images"]
    assert image["loaded"]["what"] == "loaded"
    index = json.loads((host.loaded / "index.json").read_bytes())
    [entry] = index["manifests"]
    assert entry["digest"] == image["image"]
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == f"{REPOSITORY}:1"
    memory = host.memory()
    assert memory["channels"][0][:2] == ("stable", 1)
    assert memory["names"] == [(f"{REPOSITORY}:1", image["image"], "2026-01-22T12:00:00Z")]
    assert memory["loaded"] == [(f"oci:{host.loaded}", f"{REPOSITORY}:1", image["image"])]
    assert memory["times"] == [("newest verified time", "2026-01-22T12:00:00Z")]
    assert memory["intents"] == []
    assert host.quarantine() == []
    begun, record = host.records()
    assert begun["verb"] == "begin"
    assert record["outcome"] == "loaded"
    assert record["images"][0]["name"] == f"{REPOSITORY}:1"
    assert record["images"][0]["evidence"]
    assert [anchor["name"] for anchor in record["anchors"]] == ["release", "acme", "packer"]


def test_the_same_bundle_again_is_verified_and_left_alone(host: FarSide, bundles: Path) -> None:
    assert host.load(bundles / "1.tar.zst").status == 0
    target, memory = host.target(), host.memory()
    ran = host.load(bundles / "1.tar.zst")
    assert ran.status == 0
    assert ran.verdict["repeat"] is True
    assert ran.verdict["images"][0]["loaded"]["what"] == "already-there"
    assert (host.target(), host.memory()) == (target, memory)
    assert host.records()[-1]["outcome"] == "already-there"
    shutil.rmtree(host.loaded)
    assert host.load(bundles / "1.tar.zst").status == 0
    assert host.target() == target, "what somebody removed comes back"


def test_releases_go_forward(host: FarSide, bundles: Path) -> None:
    for number in (1, 2, 3):
        assert host.load(bundles / f"{number}.tar.zst").status == 0
    assert host.memory()["channels"][0][1] == 3
    [entry] = json.loads((host.loaded / "index.json").read_bytes())["manifests"]
    assert entry["digest"] == host.memory()["names"][0][1]


def test_nothing_goes_back_without_a_reason(host: FarSide, bundles: Path) -> None:
    assert host.load(bundles / "2.tar.zst").status == 0
    before, count = host.untouched(), len(host.records())
    for bundle, code in (
        ("1.tar.zst", "rollback.sequence"),
        ("2-other.tar.zst", "replay.equivocation"),
    ):
        for ran in (host.verify(bundles / bundle), host.load(bundles / bundle)):
            assert ran.status == 16
            assert ran.verdict["code"] == code
            assert ran.verdict["verdict"] == "reject"
    assert host.untouched() == before
    assert [r["failure"]["code"] for r in host.records()[count:]] == [
        "rollback.sequence",
        "replay.equivocation",
    ]


def test_a_reason_lets_it_back_is_shown_and_kept_and_lowers_nothing(
    host: FarSide, bundles: Path
) -> None:
    assert host.load(bundles / "2.tar.zst").status == 0
    floors = {table: host.memory()[table] for table in ("channels", "names", "times")}
    ran = host.load(bundles / "1.tar.zst", "--allow-downgrade", "2 does not start")
    assert ran.status == 0
    assert ran.verdict["downgrade"]["reason"] == "2 does not start"
    assert len(ran.verdict["downgrade"]["what"]) == 2
    assert host.records()[-1]["downgrade"] == "2 does not start"
    assert {table: host.memory()[table] for table in floors} == floors
    assert host.load(bundles / "1.tar.zst").status == 16
    assert host.load(bundles / "2-other.tar.zst", "--allow-downgrade", "I want it").status == 16


def test_a_name_goes_back_in_no_higher_sequence(
    host: FarSide, bundles: Path, tmp_path: Path, publisher: Publisher
) -> None:
    assert host.load(bundles / "2.tar.zst").status == 0
    before = host.untouched()
    publisher.bundle(tmp_path / "x.tar.zst", sequence=9, version="0.9", days=1)
    ran = host.load(tmp_path / "x.tar.zst")
    assert (ran.status, ran.verdict["code"]) == (16, "rollback.name")
    assert host.untouched() == before
    publisher.bundle(tmp_path / "y.tar.zst", sequence=9, version="0.9", days=1, tag="0.9")
    assert host.load(tmp_path / "y.tar.zst").status == 0, "another tag is another name"


def test_a_refused_bundle_on_a_new_host_leaves_one_line(host: FarSide, tmp_path: Path) -> None:
    Publisher().bundle(tmp_path / "x.tar.zst", signed=False)
    ran = host.load(tmp_path / "x.tar.zst")
    assert (ran.status, ran.verdict["code"]) == (10, "no-evidence.claim")
    assert not host.loaded.exists()
    assert host.quarantine() == []
    assert [record["outcome"] for record in host.records()] == ["begun", "refused"]
    assert host.memory()["channels"] == host.memory()["names"] == []


def test_platforms(host: FarSide, tmp_path: Path, publisher: Publisher) -> None:
    publisher.bundle(tmp_path / "x.tar.zst", multi=True)
    ran = host.load(tmp_path / "x.tar.zst", "--platform", "linux/s390x")
    assert (ran.status, ran.verdict["code"]) == (19, "oci.platform")
    assert not host.loaded.exists()
    ran = host.load(tmp_path / "x.tar.zst", "--platform", "linux/arm64")
    assert ran.status == 0
    one = len(host.target())
    ran = host.load(tmp_path / "x.tar.zst")
    assert ran.status == 0
    assert len(host.target()) > one


def test_many_images_of_one_bundle_come_together(
    host: FarSide, tmp_path: Path, publisher: Publisher
) -> None:
    store = ContentStore()
    entries = [
        publisher.entry(hello_image(store, text=f"{n}\n"), tag=str(n), days=n) for n in range(5)
    ]
    publisher.pack(tmp_path / "x.tar.zst", store, entries)
    ran = host.load(tmp_path / "x.tar.zst")
    assert ran.status == 0
    assert len(json.loads((host.loaded / "index.json").read_bytes())["manifests"]) == 5
    assert host.memory()["times"][0][1] == "2026-01-19T12:00:00Z"


def test_a_plain_archive_is_judged_the_same(
    host: FarSide, tmp_path: Path, publisher: Publisher
) -> None:
    entries = [publisher.entry(hello_image(store := ContentStore()), tag="1")]
    publisher.pack(tmp_path / "x.tar", store, entries, form="plain")
    publisher.pack(tmp_path / "x.tar.zst", store, entries)
    assert host.load(tmp_path / "x.tar").status == 0
    ran = host.load(tmp_path / "x.tar.zst")
    assert ran.verdict["repeat"] is True


def test_an_expired_bundle_is_refused_by_the_later_of_clock_and_floor(
    host: FarSide, tmp_path: Path, publisher: Publisher
) -> None:
    soon = SIGNED_AT + timedelta(days=3)
    publisher.bundle(tmp_path / "x.tar.zst", expires=soon)
    ran = host.load(tmp_path / "x.tar.zst")
    assert (ran.status, ran.verdict["code"]) == (18, "expired.bundle")
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    publisher.bundle(tmp_path / "y.tar.zst", expires=later)
    assert host.load(tmp_path / "y.tar.zst").status == 0


def test_text_for_people(host: FarSide, bundles: Path) -> None:
    ran = host.run("load", bundles / "1.tar.zst", "--into", f"oci:{host.loaded}", "--explain")
    assert ran.status == 0
    assert f"{REPOSITORY}:1  sha256:" in ran.out
    assert "  ok       name: bundle-signature" in ran.out
    assert "  ok       signature by key 'release'" in ran.out
    assert "    seen     signature (simple signing) (signature-tag" in ran.out
    assert f"  loaded in oci:{host.loaded}" in ran.out
    assert "LOADED: 1 image; " in ran.out.splitlines()[-1]
    assert ran.err == ""


def test_a108_a_state_folder_is_not_bound_to_its_host(
    host: FarSide, bundles: Path, publisher: Publisher, tmp_path: Path
) -> None:
    """Documented (docs/threat-model.md): another host's memory is a memory, and nothing falls."""
    assert host.load(bundles / "2.tar.zst").status == 0
    other = FarSide(publisher.write_host(tmp_path / "other"), tmp_path / "elsewhere")
    shutil.copytree(host.state, other.state)
    ran = other.load(bundles / "1.tar.zst")
    assert (ran.status, ran.verdict["code"]) == (16, "rollback.sequence")
    assert other.load(bundles / "2.tar.zst").status == 0


def test_a109_when_a_bundle_says_it_was_made_decides_nothing(
    host: FarSide, publisher: Publisher, tmp_path: Path
) -> None:
    """Its packer says so, and may be wrong: the sequence orders bundles, evidence orders images."""
    for sequence, days in ((1, 2), (2, 1)):
        path, store = tmp_path / f"{sequence}.tar.zst", ContentStore()
        image = hello_image(store, text=f"{sequence}\n", version=f"1.{sequence}.0")
        entry = publisher.entry(image, tag=str(sequence), days=days)
        created = SIGNED_AT + timedelta(days=days)
        publisher.pack(path, store, [entry], sequence=sequence, created=created)
        ran = host.load(path)
        assert ran.status == 0, ran.err
        assert ran.verdict["statement"]["created"] == f"2026-01-{15 + days}T12:00:00Z"


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "tr_TR.UTF-8", "TZ": "Asia/Kathmandu"},
        {"PYTHONHASHSEED": "1", "COLUMNS": "1", "NO_COLOR": "1"},
        {"AIRLOCK_INSECURE": "1", "COSIGN_EXPERIMENTAL": "1", "SIGSTORE_ROOT_FILE": "/dev/null"},
        {"HOME": "/nonexistent", "XDG_STATE_HOME": "/nonexistent", "HTTP_PROXY": "http://x:1"},
    ],
    ids=",".join,
)
def test_the_verdict_is_the_same_bytes_everywhere(
    environment: dict[str, str], host: FarSide, bundles: Path, tmp_path: Path
) -> None:
    """A184: C, Turkish, no locale; a terminal of one column; no colour."""

    def verdict(**options: object) -> str:
        ran = host.run("verify", bundles / "1.tar.zst", "--json", **options)  # type: ignore[arg-type]
        assert ran.status == 0
        document = ran.verdict
        document["time"].pop("clock")
        document["time"].pop("used")  # the clock's, too
        for anchor in document["anchors"]:
            anchor.pop("age_seconds"), anchor.pop("past_seconds")  # by the clock
        return json.dumps(document)

    assert verdict(environment=environment, cwd=tmp_path, umask=0o077) == verdict()


def test_files_in_the_working_directory_are_not_loaded(
    host: FarSide, bundles: Path, tmp_path: Path
) -> None:
    program = shutil.which("airlock-loader", path=str(Path(__file__).parents[2] / ".venv/bin"))
    if program is None:
        pytest.skip("airlock-loader is not installed (make venv)")
    for name in ("json.py", "sitecustomize.py", "sqlite3.py", "hashlib.py", "pyproject.toml"):
        (tmp_path / name).write_text("raise SystemExit('loaded from the working directory')\n")
    installed = FarSide(host.root, host.loaded, program=(program,))
    ran = installed.run(
        "verify", bundles / "1.tar.zst", cwd=tmp_path, environment={"PYTHONPATH": ""}
    )
    assert ran.status == 0, ran.err
