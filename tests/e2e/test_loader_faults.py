"""Signals, kills and failing disks: afterwards the old or the whole new state, and a way on."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.injected import SOAK
from tests.e2e.loading import FarSide, Publisher
from tests.fakes.images import Layer
from tests.fakes.sigworld.world import World
from tests.presence import ROOT

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "PYTHONPATH": str(ROOT),
    "PYTHONDONTWRITEBYTECODE": "1",
}

RACES = 100 if SOAK else 0
"""Pairs that start together, beside the triples that always do."""


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, publisher: Publisher) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    for number in (1, 2):
        layer = Layer.noise(200_000, seed=number)
        publisher.bundle(
            folder / f"{number}.tar.zst",
            sequence=number,
            version=f"1.{number}",
            days=number,
            extra=[layer],
        )
    publisher.bundle(
        folder / "large.tar.zst", sequence=3, days=3, extra=[Layer.noise(300_000_000, seed=3)]
    )
    return folder


@pytest.fixture
def host(tmp_path: Path, publisher: Publisher) -> FarSide:
    return FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
def test_fi_10_a_signal_ends_the_run_cleanly(
    number: signal.Signals,
    twice: bool,  # noqa: FBT001 - a column of the table
    host: FarSide,
    bundles: Path,
) -> None:
    assert host.load(bundles / "1.tar.zst").status == 0
    before = host.untouched()
    command = host.command("load", bundles / "large.tar.zst", "--into", f"oci:{host.loaded}")
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=ENVIRONMENT,
    ) as process:
        while not any((host.state / "quarantine").glob("run-*/*")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(number)
        if twice:
            process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 20, err
    assert f"error[interrupted.signal]: stopped by a signal; found {number.name}" in err
    assert "NOT DONE (interrupted.signal" in out
    assert host.untouched() == before
    assert host.records()[-1]["failure"]["code"] == "interrupted.signal"


def test_fi_03_a_killed_run_leaves_nothing_that_the_next_does_not_remove(
    host: FarSide, bundles: Path
) -> None:
    assert host.load(bundles / "1.tar.zst").status == 0
    memory, target = host.memory(), host.target()
    with subprocess.Popen(
        host.command("load", bundles / "large.tar.zst", "--into", f"oci:{host.loaded}"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env=ENVIRONMENT,
    ) as process:
        while not any((host.state / "quarantine").glob("run-*/*")):
            time.sleep(0.01)
        process.kill()
    assert host.quarantine() != []
    assert (host.memory(), host.target()) == (memory, target)
    assert host.load(bundles / "2.tar.zst").status == 0
    assert host.quarantine() == []


def _injected(host: FarSide, bundle: Path, inject: str) -> tuple[int, str]:
    """Load under strace that injects a fault; return the exit status and the class of the error."""
    done = subprocess.run(
        [
            "strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={inject.partition(':')[0]}",
            "-e", f"inject={inject}",
            *host.command("load", bundle, "--into", f"oci:{host.loaded}", isolated=False),
        ],
        check=False, capture_output=True, text=True, timeout=120, cwd=ROOT, env=ENVIRONMENT,
    )  # fmt: skip
    found = re.search(r"error\[([a-z-]+)\.", done.stderr)
    return done.returncode, found[1] if found else ""


def _count(host: FarSide, bundle: Path, call: str) -> int:
    """How often a load makes a system call."""
    log = host.root / "count"
    subprocess.run(
        [
            "strace", "-f", "-qq", "-o", log, "-e", f"trace={call}",
            *host.command("load", bundle, "--into", f"oci:{host.loaded}", isolated=False),
        ],
        check=True, capture_output=True, timeout=120, cwd=ROOT, env=ENVIRONMENT,
    )  # fmt: skip
    return len([line for line in log.read_text().splitlines() if f"{call}(" in line])


@pytest.mark.engine("strace")
@pytest.mark.parametrize(
    "call", ["fsync", "fdatasync", "rename", "renameat", "pwrite64", "unlink", "flock"]
)
def test_fi_01_killed_at_any_call_it_is_the_old_or_the_whole_new_state(
    call: str, tmp_path: Path, publisher: Publisher, bundles: Path
) -> None:
    def fresh(name: str) -> FarSide:
        host = FarSide(publisher.write_host(tmp_path / name), tmp_path / f"{name}-loaded")
        assert host.load(bundles / "1.tar.zst").status == 0
        return host

    golden = fresh("golden")
    old = golden.memory()["channels"], golden.memory()["names"]
    total = _count(golden, bundles / "2.tar.zst", call)
    new = golden.memory()["channels"], golden.memory()["names"]
    assert old != new
    killed = 0
    for nth in range(1, total + 1, max(1, total // 4)):
        host = fresh(f"{call}-{nth}")
        status, _ = _injected(host, bundles / "2.tar.zst", f"{call}:signal=SIGKILL:when={nth}")
        killed += status in {-9, 137}
        memory = host.memory()
        assert (memory["channels"], memory["names"]) in (old, new), f"{call} {nth}"
        assert host.verify(bundles / "2.tar.zst").status == 0, f"{call} {nth}"
        ran = host.load(bundles / "2.tar.zst")
        assert ran.status == 0, f"{call} {nth}: {ran.err}"
        assert (host.memory()["channels"], host.memory()["names"]) == new
        assert host.target() == golden.target()
        assert host.quarantine() == []
        assert host.load(bundles / "1.tar.zst").status == 16
    assert killed or not total


@pytest.mark.engine("strace")
@pytest.mark.parametrize(
    ("inject", "classes"),
    [
        ("write:error=ENOSPC:when={}", {"nospace"}),
        ("write:error=EDQUOT:when={}", {"nospace"}),
        ("pwrite64:error=ENOSPC:when={}", {"nospace"}),
        ("pwrite64:error=EIO:when={}", {"state"}),
        ("fsync:error=EIO:when={}", {"state", "io", "runtime"}),
        ("fdatasync:error=EIO:when={}", {"state"}),
        ("mkdirat:error=EROFS:when={}", {"readonly"}),
        ("renameat:error=EIO:when={}", {"state", "io", "runtime"}),
    ],
)
def test_fi_13_a_disk_that_fails_changes_nothing_that_a_rerun_does_not_mend(
    inject: str, classes: set[str], host: FarSide, bundles: Path
) -> None:
    assert host.load(bundles / "1.tar.zst").status == 0
    old = host.memory()
    call = inject.partition(":")[0]
    for nth in (1, 2, 3, 5, 8):
        status, error_class = _injected(host, bundles / "2.tar.zst", inject.format(nth))
        memory = host.memory()
        if status == 0:
            # The fault hit a call behind the commit, or there were not so many.
            assert memory["channels"][0][1] == 2
            break
        assert status in {20, 21}, f"{call} {nth}"
        assert error_class in classes, f"{call} {nth}"
        assert memory["channels"] == old["channels"]
        assert memory["loaded"] == old["loaded"]
        assert host.quarantine() == []
    ran = host.load(bundles / "2.tar.zst")
    assert ran.status == 0, ran.err
    assert host.memory()["channels"][0][1] == 2


@pytest.mark.engine("strace")
def test_fi_15_a_medium_that_fails_is_no_fault_of_the_bundle(host: FarSide, bundles: Path) -> None:
    assert host.load(bundles / "1.tar.zst").status == 0
    before, bundle = host.untouched(), bundles / "2.tar.zst"
    log = host.root / "log"
    for nth in (1, 2, 3):
        done = subprocess.run(
            [
                "strace", "-f", "-qq", "-o", log, "-P", str(bundle),
                "-e", "trace=read", "-e", f"inject=read:error=EIO:when={nth}",
                *host.command(
                    "load", bundle, "--into", f"oci:{host.loaded}", "--json", isolated=False
                ),
            ],
            check=False, capture_output=True, text=True, timeout=120, cwd=ROOT, env=ENVIRONMENT,
        )  # fmt: skip
        assert done.returncode == 20
        assert re.search(
            r"error\[io\.input\]: the medium cannot be read; at '.*', byte \d+", done.stderr
        )
        assert host.untouched() == before
    assert host.load(bundle).status == 0


@pytest.mark.parametrize(
    ("what", "limit"),
    [
        (resource.RLIMIT_NOFILE, 16),
        (resource.RLIMIT_NOFILE, 24),
        (resource.RLIMIT_AS, 150_000_000),
        (resource.RLIMIT_AS, 300_000_000),
        (resource.RLIMIT_FSIZE, 100_000),
        (resource.RLIMIT_FSIZE, 1000),
    ],
    ids=["16 files", "24 files", "150 MB", "300 MB", "100 kB a file", "1 kB a file"],
)
def test_a185_under_a_limit_it_works_or_says_so(
    what: int, limit: int, host: FarSide, bundles: Path
) -> None:
    assert host.load(bundles / "1.tar.zst").status == 0
    before = host.untouched()

    def narrow() -> None:
        resource.setrlimit(what, (limit, limit))

    ran = host.run(
        "load", bundles / "2.tar.zst", "--into", f"oci:{host.loaded}",
        isolated=False, preexec_fn=narrow,
    )  # fmt: skip
    if ran.status == 0:
        assert host.memory()["channels"][0][1] == 2
    else:
        assert ran.status in {20, 21}, ran.err
        assert host.memory() == before[0]
    ran = host.load(bundles / "2.tar.zst")
    assert ran.status == 0, ran.err
    assert host.quarantine() == []


def test_fi_30_of_two_at_once_one_loads(host: FarSide, bundles: Path) -> None:
    for number in (1, 2):
        command = host.command(
            "load", bundles / f"{number}.tar.zst", "--into", f"oci:{host.loaded}"
        )
        both = [
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=ENVIRONMENT
            )
            for _ in range(3)
        ]
        errors = [process.communicate(timeout=60)[1].decode() for process in both]
        statuses = sorted(process.returncode for process in both)
        assert statuses[0] == 0
        assert set(statuses) <= {0, 20}
        assert all("busy.lock" in error for error in errors if error)
        outcomes = [record["outcome"] for record in host.records()]
        assert outcomes.count("loaded") == number
    again = host.command("load", bundles / "2.tar.zst", "--into", f"oci:{host.loaded}")
    for _ in range(RACES):
        racing = [
            subprocess.Popen(
                again,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=ROOT,
                env=ENVIRONMENT,
            )
            for _ in range(2)
        ]
        assert {process.wait(60) for process in racing} <= {0, 20}
    assert [record["outcome"] for record in host.records()].count("loaded") == 2
    assert host.quarantine() == []


def test_fi_31_of_two_bundles_at_once_the_newer_stays(host: FarSide, bundles: Path) -> None:
    waiting = {1, 2}
    while waiting:
        running = {
            number: subprocess.Popen(
                host.command("load", bundles / f"{number}.tar.zst", "--into", f"oci:{host.loaded}"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=ROOT,
                env=ENVIRONMENT,
            )
            for number in waiting
        }
        for number, process in running.items():
            assert process.wait(60) in {0, 16, 20}
            if process.returncode != 20:
                waiting.discard(number)
    assert host.memory()["channels"][0][1] == 2


@pytest.mark.engine("netns")
def test_fi_14_a_full_disk_is_said_first_and_hides_no_verdict(
    host: FarSide, bundles: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.tar.zst"
    Publisher(World(name="stranger")).bundle(bad, sequence=9)
    state = host.state
    state.mkdir(parents=True)
    load = " ".join(
        host.command("load", "$1", "--into", f"oci:{host.loaded}", "--json", isolated=False)
    )
    script = f"""
        mount -t tmpfs -o size=80m,mode=0700 tmpfs {state} || exit 99
        run() {{ {load} > {tmp_path}/$2.json 2> {tmp_path}/$2.err; echo $2 $?; }}
        run {bundles}/1.tar.zst good
        run {bundles}/large.tar.zst large
        head -c 100M /dev/zero > {state}/fill 2> /dev/null
        run {bad} refused
        run {bundles}/2.tar.zst full
        rm {state}/fill
        run {bundles}/2.tar.zst better
    """
    done = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script],
        check=True, capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT, timeout=120,
    )  # fmt: skip
    statuses = dict(line.split() for line in done.stdout.splitlines())
    verdicts = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in statuses}
    assert statuses == {"good": "0", "large": "20", "refused": "11", "full": "20", "better": "0"}
    for name in ("large", "full"):
        assert verdicts[name]["class"] == "nospace"
        assert verdicts[name]["archive"]["layers_read"] == 0, "said before the first layer"
    assert verdicts["refused"]["code"] == "signature.unverified"
    assert any("could not be recorded" in warning for warning in verdicts["refused"]["warnings"])
