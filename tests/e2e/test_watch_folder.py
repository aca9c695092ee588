"""`watch`: what lies in the folder, from good to hostile (CASES A120 to A135, V14, DZ-13)."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.loading import Publisher
from tests.e2e.watching import Watcher
from tests.fakes.content import ContentStore
from tests.fakes.images import Layer, hello_image
from tests.fakes.sigworld.world import World
from tests.forked import Forker


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    with Forker.start() as forker:
        yield forker


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, publisher: Publisher) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    for number in (9, 10, 11, 12):
        publisher.bundle(
            folder / f"{number}.tar.zst",
            sequence=number,
            version=f"1.{number}",
            days=number,
            extra=[Layer.noise(200_000, seed=number)],
        )
    publisher.bundle(folder / "edge.tar.zst", channel="edge", sequence=1, tag="edge", version="2")
    publisher.bundle(folder / "none.tar.zst", channel=None, sequence=None, tag="none", version="3")
    Publisher(World(name="stranger")).bundle(folder / "stranger.tar.zst", sequence=99)
    return folder


@pytest.fixture
def watcher(tmp_path: Path, forker: Forker, publisher: Publisher) -> Watcher:
    return Watcher.make(forker, publisher, tmp_path)


def old(path: Path) -> None:
    """Make a file one that nobody has touched for a day."""
    day = time.time() - 86_400
    os.utime(path, (day, day))


# --- what is chosen -------------------------------------------------------------------------------


def test_a131_of_several_dropped_together_the_newest_is_loaded_and_no_older_one(
    watcher: Watcher, bundles: Path
) -> None:
    for number in (12, 10, 11):
        shutil.copy(bundles / f"{number}.tar.zst", watcher.spool)
    assert watcher.look().status == 0
    assert watcher.what() == {
        "12.tar.zst": "loaded",
        "11.tar.zst": "older",
        "10.tar.zst": "older",
    }
    assert watcher.outcomes() == [("loaded", 12)]
    # And nothing more, however often somebody looks.
    assert watcher.look().status == 0
    assert set(watcher.what().values()) == {"known", "older"}
    assert watcher.outcomes() == [("loaded", 12)]


def test_each_channel_is_taken_by_itself_and_so_is_a_bundle_without_one(
    watcher: Watcher, bundles: Path
) -> None:
    for name in ("11", "edge", "none"):
        shutil.copy(bundles / f"{name}.tar.zst", watcher.spool)
    assert watcher.look().status == 0
    assert set(watcher.what().values()) == {"loaded"}
    assert {row[0] for row in watcher.host.memory()["channels"]} == {"edge", "stable"}
    assert watcher.look().status == 0
    assert set(watcher.what().values()) == {"known"}


def test_dz_13_the_update_check_proposes_newer_ignores_older_and_knows_the_same(
    watcher: Watcher, bundles: Path
) -> None:
    assert watcher.host.load(bundles / "11.tar.zst").status == 0
    before = watcher.host.untouched(), watcher.host.records()
    shutil.copy(bundles / "11.tar.zst", watcher.spool)
    shutil.copy(bundles / "10.tar.zst", watcher.spool)
    assert watcher.look("--dry-run").status == 0
    assert watcher.what() == {"11.tar.zst": "current", "10.tar.zst": "older"}
    assert "already up to date" in watcher.said[0]["words"]
    shutil.copy(bundles / "12.tar.zst", watcher.spool)
    assert watcher.look("--dry-run").status == 0
    assert watcher.what() == {
        "12.tar.zst": "proposed",
        "11.tar.zst": "older",
        "10.tar.zst": "older",
    }
    assert (watcher.host.untouched(), watcher.host.records()) == before
    assert not (watcher.host.state / "watched.sqlite").exists()


def test_the_update_check_writes_nothing_at_all(watcher: Watcher, bundles: Path) -> None:
    shutil.copy(bundles / "12.tar.zst", watcher.spool)
    assert watcher.look("--dry-run").status == 0
    assert watcher.what() == {"12.tar.zst": "proposed"}
    assert not watcher.host.state.exists()
    assert watcher.host.target() == {}


def test_where_the_newest_is_refused_the_next_older_one_is_taken(
    watcher: Watcher, bundles: Path
) -> None:
    shutil.copy(bundles / "stranger.tar.zst", watcher.spool)  # claims sequence 99
    shutil.copy(bundles / "11.tar.zst", watcher.spool)
    raw = bytearray((bundles / "12.tar.zst").read_bytes())
    raw[-100_000] ^= 1  # a layer of it
    (watcher.spool / "12.tar.zst").write_bytes(raw)
    old(watcher.spool / "12.tar.zst")
    assert watcher.look().status == 19
    assert watcher.what() == {
        "stranger.tar.zst": "refused",
        "12.tar.zst": "refused",
        "11.tar.zst": "loaded",
    }
    assert watcher.code("stranger.tar.zst") == "signature.unverified"
    assert sorted(watcher.outcomes()) == [("loaded", 11), ("refused", 12), ("refused", 99)]
    # A verdict is kept: it is neither judged nor complained of again.
    assert watcher.look().status == 0
    assert set(watcher.what().values()) == {"known"}
    assert len(watcher.outcomes()) == 3


def test_another_policy_judges_again(watcher: Watcher, bundles: Path) -> None:
    shutil.copy(bundles / "stranger.tar.zst", watcher.spool)
    assert watcher.look().status == 11
    assert watcher.look().status == 0
    policy = watcher.host.root / "etc/airlock/policy.toml"
    policy.write_text(policy.read_text() + "\n# reviewed\n")
    assert watcher.look().status == 11
    assert watcher.what() == {"stranger.tar.zst": "refused"}


def test_variables_of_the_policy_stand_in_config_and_the_command_line_wins(
    watcher: Watcher,
) -> None:
    policy = watcher.host.root / "etc/airlock/policy.toml"
    policy.write_text(
        policy.read_text().replace(
            'log = "promise"\n', 'log = "promise"\nannotations = { line = "{line}" }\n'
        )
    )
    store = ContentStore()
    image = hello_image(store, version="1.1")
    entry = watcher.publisher.entry(image, tag="1", annotations={"line": "stable"})
    watcher.publisher.pack(watcher.spool / "1.tar.zst", store, [entry], sequence=1)

    ended = watcher.look()
    assert (ended.status, ended.code) == (2, "usage.policy")
    assert "[watch] vars" in ended.err
    watcher.configure('vars = { line = "testing" }')
    assert watcher.look().status == 14
    assert watcher.look("--dry-run", "--var", "line=stable").status == 0
    assert watcher.what() == {"1.tar.zst": "proposed"}
    watcher.configure('vars = { line = "stable" }')
    assert watcher.look().status == 0
    assert watcher.what() == {"1.tar.zst": "loaded"}, "another value judges again"
    assert watcher.host.records()[-1]["variables"] == [{"name": "line", "value": "stable"}]
    watcher.configure('vars = { line = "stable", lime = "x" }')
    ended = watcher.look()
    assert (ended.status, ended.code) == (2, "usage.policy")
    assert "no rule uses this variable; " in ended.err
    assert "found lime" in ended.err


def test_a102_the_same_number_with_other_contents_is_an_alarm_in_the_ledger(
    watcher: Watcher, bundles: Path, publisher: Publisher
) -> None:
    shutil.copy(bundles / "11.tar.zst", watcher.spool)
    assert watcher.look().status == 0
    publisher.bundle(watcher.spool / "other.tar.zst", sequence=11, version="evil", days=11)
    assert watcher.look().status == 16
    assert watcher.code("other.tar.zst") == "replay.equivocation"
    assert watcher.host.records()[-1]["failure"]["code"] == "replay.equivocation"


def test_upgrade_has_dangerzones_outcomes(watcher: Watcher, bundles: Path) -> None:
    def upgrade(*options: str) -> tuple[int, str]:
        ended = watcher.forker.run(
            *("--root", watcher.host.root, "upgrade", watcher.spool),
            *("--into", f"oci:{watcher.host.loaded}", *options),
            folder=watcher.spool.parent,
        )
        return ended.status, (ended.out.splitlines() or [""])[-1] + ended.code

    assert upgrade() == (0, "nothing to upgrade to")
    shutil.copy(bundles / "11.tar.zst", watcher.spool)
    assert upgrade() == (0, "upgraded")
    assert upgrade() == (0, "already up to date")
    shutil.copy(bundles / "10.tar.zst", watcher.spool)
    assert upgrade() == (0, "already up to date")
    shutil.copy(bundles / "stranger.tar.zst", watcher.spool)
    assert upgrade() == (11, "not upgraded")
    assert upgrade("--force") == (2, "usage.arguments")


# --- what is not whole ----------------------------------------------------------------------------


@pytest.mark.parametrize("part", [0, 100, 3_000, 150_000], ids=str)
def test_fi_41_a_file_that_is_still_copied_waits_and_is_then_loaded(
    part: int, watcher: Watcher, bundles: Path
) -> None:
    raw = (bundles / "11.tar.zst").read_bytes()
    path = watcher.spool / "11.tar.zst"
    path.write_bytes(raw[:part])
    for _ in range(2):
        assert watcher.look().status == 0
        assert watcher.what() == {"11.tar.zst": "waiting"}
        assert watcher.code("11.tar.zst") == "partial-input.growing"
    with path.open("ab") as file:
        file.write(raw[part:])
    assert watcher.look().status == 0
    assert watcher.what() == {"11.tar.zst": "loaded"}


def test_a_half_file_that_nobody_touches_any_more_is_broken(
    watcher: Watcher, bundles: Path
) -> None:
    path = watcher.spool / "11.tar.zst"
    path.write_bytes((bundles / "11.tar.zst").read_bytes()[:150_000])
    old(path)
    assert watcher.look().status == 19
    assert watcher.what() == {"11.tar.zst": "refused"}
    assert watcher.code("11.tar.zst") == "container.truncated"


def test_a_date_in_the_future_makes_nothing_wait_for_ever(watcher: Watcher, bundles: Path) -> None:
    watcher.configure("settle-seconds = 1")
    path = watcher.spool / "11.tar.zst"
    path.write_bytes((bundles / "11.tar.zst").read_bytes()[:150_000])
    later = time.time() + 10 * 365 * 86_400
    os.utime(path, (later, later))
    assert watcher.look().status == 0
    assert watcher.what() == {"11.tar.zst": "waiting"}
    time.sleep(2.1)
    assert watcher.look().status == 19


def test_busy_is_told_apart_from_incomplete_and_from_broken(
    watcher: Watcher, bundles: Path
) -> None:
    path = watcher.spool / "11.tar.zst"
    with path.open("wb") as file:
        file.write((bundles / "11.tar.zst").read_bytes())
        file.flush()
        assert watcher.look().status == 0
        assert watcher.what() == {"11.tar.zst": "waiting"}
        assert watcher.code("11.tar.zst") == "busy.writer"
    assert watcher.look().status == 0
    assert watcher.what() == {"11.tar.zst": "loaded"}


def test_a120_a_file_that_grows_while_it_is_read_gets_no_verdict(
    watcher: Watcher, publisher: Publisher
) -> None:
    path = watcher.spool / "big.tar.zst"
    publisher.bundle(path, sequence=20, days=20, extra=[Layer.noise(60_000_000, seed=20)])
    stop = threading.Event()

    def append() -> None:
        while not stop.is_set():
            with path.open("ab") as file:
                file.write(b"\0" * 100)
            time.sleep(0.001)

    thread = threading.Thread(target=append)
    thread.start()
    try:
        ended = watcher.look()
    finally:
        stop.set()
        thread.join()
    assert ended.status == 0
    assert watcher.what() == {"big.tar.zst": "waiting"}
    assert watcher.host.target() == {}


def test_fi_42_a_file_full_of_zeros_is_refused_and_a_good_copy_is_loaded(
    watcher: Watcher, bundles: Path
) -> None:
    path = watcher.spool / "11.tar.zst"
    path.write_bytes(bytes((bundles / "11.tar.zst").stat().st_size))
    old(path)
    assert watcher.look().status == 19
    shutil.copy(bundles / "11.tar.zst", path)
    assert watcher.look().status == 0
    assert watcher.what() == {"11.tar.zst": "loaded"}


# --- names and kinds ------------------------------------------------------------------------------


def test_a134_eight_gibibytes_that_read_as_zeros_cost_nothing(
    watcher: Watcher, bundles: Path
) -> None:
    path = watcher.spool / "huge.tar.zst"
    with path.open("wb") as file:
        file.truncate(8 << 30)
    old(path)
    shutil.copy(bundles / "9.tar.zst", watcher.spool)
    ended = watcher.look()
    assert (ended.status, watcher.code("huge.tar.zst")) == (19, "container.format"), watcher.said
    assert ended.cpu_seconds < 5
    assert watcher.what()["9.tar.zst"] == "loaded"


def test_a123_what_others_leave_behind_is_passed_by(watcher: Watcher, bundles: Path) -> None:
    good = bundles / "11.tar.zst"
    for name in (
        "a.tar.zst.part", "b.tar.zst~", "c.tar.zst.tmp", "._d.tar.zst", ".e.tar.zst", "~f.tar.zst",
        "NOTES.TXT", "SHA256SUMS", "11.tar.zst.approval.1.sigstore.json",
    ):  # fmt: skip
        shutil.copy(good, watcher.spool / name)
    for folder in (".Trash-1000", "System Volume Information", "folder.tar.zst"):
        (watcher.spool / folder).mkdir()
        shutil.copy(good, watcher.spool / folder / "x.tar.zst")
    assert watcher.look().status == 0
    assert watcher.said == []
    assert not (watcher.host.state / "ledger.sqlite").exists()


def test_t41_a_stick_that_writes_capitals_is_read_all_the_same(
    watcher: Watcher, bundles: Path
) -> None:
    shutil.copy(bundles / "11.tar.zst", watcher.spool / "BUNDLE.TAR.ZST")
    assert watcher.look().status == 0
    assert watcher.what() == {"BUNDLE.TAR.ZST": "loaded"}


NAMES = {
    "255 bytes": "a" * 247 + ".tar.zst",
    "not UTF-8": os.fsdecode(b"\xff\xfe.tar.zst"),
    "newline": "a\nairlock: error[x]: y\n.tar.zst",
    "dash": "--allow-downgrade=x.tar.zst",
    "shell": "$(touch canary).tar.zst",
    "terminal": "\x1b[2J\x1b]0;owned\x07.tar.zst",
    "right to left": "\u202egnp.tar.zst",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a124_whatever_the_name_it_is_loaded_and_said_in_plain_text(
    name: str, watcher: Watcher, bundles: Path
) -> None:
    shutil.copy(bundles / "11.tar.zst", watcher.spool / name)
    ended = watcher.look()
    assert ended.status == 0, ended.err
    assert [one["what"] for one in watcher.said] == ["loaded"]
    for text in (ended.out, ended.err):
        assert all(" " <= c <= "~" or c == "\n" for c in text)
    assert [line for line in ended.err.splitlines() if line.startswith("airlock: error")] == []
    assert not list(watcher.spool.parent.rglob("canary"))
    assert watcher.outcomes() == [("loaded", 11)]


def test_a126_links_lead_nowhere_and_are_never_read(
    watcher: Watcher, bundles: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cr3t-canary\n" * 100)
    (watcher.spool / "symbolic.tar.zst").symlink_to(secret)
    (watcher.spool / "dangling.tar.zst").symlink_to("/nonexistent")
    (watcher.spool / "loop.tar.zst").symlink_to("loop.tar.zst")
    (watcher.spool / "hard.tar.zst").hardlink_to(secret)
    os.mkfifo(watcher.spool / "fifo.tar.zst")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(watcher.spool / "socket.tar.zst"))
        shutil.copy(bundles / "11.tar.zst", watcher.spool)
        ended = watcher.look()
    assert ended.status == 20
    assert watcher.what() == {
        "11.tar.zst": "loaded",
        **dict.fromkeys(
            (f"{kind}.tar.zst" for kind in
             ("symbolic", "dangling", "loop", "hard", "fifo", "socket")),
            "refused",
        ),
    }  # fmt: skip
    assert watcher.code("hard.tar.zst") == "io.input"
    assert "s3cr" not in ended.out + ended.err
    # Once is enough: the next look has nothing to complain of.
    assert watcher.look().status == 0


@pytest.mark.may_skip("root may read everything: CI's other user shows it")
def test_a129_a_file_that_may_not_be_read_is_this_machines_fault(
    watcher: Watcher, bundles: Path
) -> None:
    if not os.geteuid():
        pytest.skip("root reads everything")
    shutil.copy(bundles / "11.tar.zst", watcher.spool)
    shutil.copy(bundles / "12.tar.zst", watcher.spool)
    (watcher.spool / "12.tar.zst").chmod(0)
    assert watcher.look().status == 20
    assert watcher.what() == {"12.tar.zst": "failed", "11.tar.zst": "loaded"}
    (watcher.spool / "12.tar.zst").chmod(0o644)
    assert watcher.look().status == 0


def test_a130_two_copies_of_one_bundle_are_one_load(watcher: Watcher, bundles: Path) -> None:
    shutil.copy(bundles / "11.tar.zst", watcher.spool / "a.tar.zst")
    shutil.copy(bundles / "11.tar.zst", watcher.spool / "b.tar.zst")
    assert watcher.look().status == 0
    assert watcher.what() == {"a.tar.zst": "loaded", "b.tar.zst": "current"}
    assert watcher.outcomes() == [("loaded", 11)]


def test_a125_ten_thousand_files_and_one_good_one(watcher: Watcher, bundles: Path) -> None:
    watcher.configure("settle-seconds = 1")
    for number in range(10_000):
        path = watcher.spool / f"{number}.tar.zst"
        path.write_bytes(b"no bundle at all")
        os.utime(path, (1_000_000_000, 1_000_000_000))
    shutil.copy(bundles / "11.tar.zst", watcher.spool / "good.tar.zst")
    ended = watcher.look()
    assert ended.status == 19
    assert watcher.what()["good.tar.zst"] == "loaded"
    assert len(watcher.said) == 10_001
    assert ended.memory < 256 * 2**20
    assert watcher.outcomes() == [("loaded", 11)], "what is no bundle leaves no record"
    ended = watcher.look()
    assert ended.status == 0
    assert ended.wall_seconds < 15


@pytest.mark.parametrize("how", ["link", "world-writable", "other", "gone", "file"])
def test_a127_a_folder_that_cannot_be_relied_on_is_not_watched(
    how: str, watcher: Watcher, bundles: Path
) -> None:
    shutil.copy(bundles / "11.tar.zst", watcher.spool)
    match how:
        case "link":
            watcher.spool.rename(watcher.spool.with_name("real"))
            watcher.spool.symlink_to("real")
        case "world-writable":
            watcher.spool.chmod(0o777)
        case "other":
            # Nobody but root can give one away; /proc belongs to root, and is not ours otherwise.
            if not os.geteuid():
                os.chown(watcher.spool, 12345, -1)
            else:
                watcher.spool.chmod(0o777)
        case "gone":
            shutil.rmtree(watcher.spool)
        case _:
            shutil.rmtree(watcher.spool)
            watcher.spool.write_bytes(b"")
    ended = watcher.look()
    assert (ended.status, ended.code) == (20, "io.spool")
    assert not watcher.host.state.exists()


def test_a127_with_the_sticky_bit_others_may_drop_files(watcher: Watcher, bundles: Path) -> None:
    watcher.spool.chmod(0o1777)
    shutil.copy(bundles / "11.tar.zst", watcher.spool)
    assert watcher.look().status == 0
    assert watcher.what() == {"11.tar.zst": "loaded"}
    assert stat.S_IMODE((watcher.host.state / "watched.sqlite").stat().st_mode) == 0o600
