"""A170, A180 to A188: what stands around a run never decides it, and never spoils state."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.loading import FarSide, Publisher
from tests.fakes.content import ContentStore
from tests.fakes.images import hello_image
from tests.presence import ROOT


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture(scope="module")
def bundle(publisher: Publisher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "bundle.tar.zst"
    publisher.bundle(path)
    return path


@pytest.fixture
def host(publisher: Publisher, tmp_path: Path) -> FarSide:
    return FarSide(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")


def test_a170_a_note_of_a_dead_holder_holds_nobody_up(host: FarSide, bundle: Path) -> None:
    assert host.load(bundle).status == 0
    note = host.root / "run/airlock.lock"
    note.parent.mkdir(parents=True, exist_ok=True)
    for text in (
        "pid 1, load, since 1970-01-01T00:00:00Z",
        "pid 999999 of another host",
        "\0" * 99,
    ):
        note.write_text(text)
        assert host.load(bundle).status == 0


HOSTILE = {
    "PYTHONSTARTUP": "/nonexistent",
    "PYTHONOPTIMIZE": "2",
    "SSLKEYLOGFILE": "/nonexistent/keys",
    "TMPDIR": "/nonexistent",
    "TUF_ROOT": "/nonexistent",
    "SIGSTORE_REKOR_PUBLIC_KEY": "/dev/null",
    "COSIGN_REPOSITORY": "evil.example",
    "AIRLOCK_POLICY": "/dev/null",
    "AIRLOCK_STATE": "/tmp",
    "HTTPS_PROXY": "http://evil.example",
    "XDG_STATE_HOME": "/tmp",
    "XDG_CONFIG_HOME": "/tmp",
    "HOME": "/nonexistent",
    "LC_ALL": "tr_TR.UTF-8",
}


@pytest.mark.parametrize("verb", ["load", "verify-local", "status", "history", "audit", "prune"])
def test_a181_the_environment_changes_nothing(host: FarSide, bundle: Path, verb: str) -> None:
    """A169, A181: nothing in it relaxes a check or moves the memory."""
    assert host.load(bundle).status == 0
    arguments: dict[str, tuple[str | Path, ...]] = {
        "load": ("load", bundle, "--into", f"oci:{host.loaded}"),
        "verify-local": ("verify-local", "--all"),
        "status": ("status",),
        "history": ("history",),
        "audit": ("audit", "verify"),
        "prune": ("prune",),
    }
    assert host.run(*arguments[verb], environment=HOSTILE).status == 0


def test_a180_modules_beside_the_archive_are_not_loaded(
    host: FarSide, bundle: Path, tmp_path: Path
) -> None:
    """A180: the medium is often the working directory."""
    medium = tmp_path / "medium"
    medium.mkdir()
    for name in ("json", "sqlite3", "sitecustomize", "hashlib", "loader", "rfc8785"):
        (medium / f"{name}.py").write_text("open('/nonexistent/canary', 'w')\nraise SystemExit(99)")
    (medium / "pyproject.toml").write_text("[tool.airlock]\nverify = false\n")
    (medium / ".in_totorc").write_text("[in-toto settings]\n")
    for verb in (("verify", bundle), ("load", bundle, "--into", f"oci:{host.loaded}"), ("status",)):
        # `-m` would put the working directory first; the installed command does not.
        program = ("-c", "import sys; from loader.cli import main; sys.exit(main())")
        done = subprocess.run(
            [host.program[0], "-P", *program, "--root", str(host.root), *map(str, verb)],
            check=False, capture_output=True, text=True, cwd=medium, timeout=120,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "limit", ["ulimit -n 16", "ulimit -f 1", "ulimit -t 1", "ulimit -v 307200"]
)
def test_a185_limits_spoil_no_memory(host: FarSide, bundle: Path, limit: str) -> None:
    """A185: it may fail, with what it fails by said, and the next run goes on."""
    command = host.command("load", bundle, "--into", f"oci:{host.loaded}", isolated=False)
    done = subprocess.run(
        ["bash", "-c", f'{limit}; exec "$@"', "bash", *command],
        check=False, capture_output=True, text=True, cwd=ROOT, timeout=120,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    if done.returncode:
        assert host.target() == {}
    assert host.load(bundle).status == 0, done.stderr
    assert host.run("audit", "verify").status == 0
    assert host.quarantine() == []


@pytest.mark.parametrize("verb", ["status", "history", "audit", "verify-local", "prune"])
@pytest.mark.parametrize("how", [">&-", ">/dev/full", "| true"])
def test_a183_who_is_not_heard_does_not_say_all_is_well(
    host: FarSide, bundle: Path, verb: str, how: str
) -> None:
    assert host.load(bundle).status == 0
    words = {
        "audit": ["audit", "verify"], "verify-local": ["verify-local", "--all"],
        "prune": ["prune", "--yes"],
    }.get(verb, [verb])  # fmt: skip
    command = host.command(*words, isolated=False)
    script = f'set -o pipefail; "$@" {how}'
    done = subprocess.run(
        ["bash", "-c", script, "bash", *command],
        check=False, capture_output=True, text=True, cwd=ROOT, timeout=120,
        stdin=subprocess.DEVNULL, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    if how != "| true":  # a short answer fits the pipe before anybody leaves
        assert done.returncode == 20
        assert "error[io.output]" in done.stderr
    assert "Traceback" not in done.stderr
    assert host.run("audit", "verify").status == 0


@pytest.mark.parametrize(
    "name", ["%s %n", "{0} {x}", "[red]x", "\\N{BELL}", "a\nb", "\x1b[31m", "--policy"]
)
def test_a188_a_path_is_only_a_path(host: FarSide, bundle: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.tar.zst"
    path.write_bytes(bundle.read_bytes())
    assert host.load(path).status == 0
    for verb in ("history", "status"):
        out = host.run(verb).out
        assert all(" " <= character <= "~" or character == "\n" for character in out)
    shown = ascii(name)[1:-1]
    assert shown in host.run("history").out


def test_a186_many_findings_are_bounded_and_valid(
    host: FarSide, publisher: Publisher, tmp_path: Path
) -> None:
    store = ContentStore()
    image = hello_image(store)
    entries = [publisher.entry(image, tag=str(number), signed=False) for number in range(300)]
    path = tmp_path / "many.tar.zst"
    publisher.pack(path, store, entries)
    assert host.load(path).status == 10
    document = host.run("history", "--json").verdict
    [refused] = [one["record"] for one in document["records"] if one["record"]["verb"] == "load"]
    assert len(refused["images"]) <= 100


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **more}


def test_a182_a_temporary_folder_that_is_not_there(host: FarSide, bundle: Path) -> None:
    done = subprocess.run(
        host.command("load", bundle, "--into", f"oci:{host.loaded}", isolated=False),
        check=False, capture_output=True, text=True, cwd="/", timeout=120,
        env=_environment({"TMPDIR": "/nonexistent/x"}),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


TEMPORARY = {
    "noexec": "mount -t tmpfs -o noexec tmpfs $1",
    "full": "mount -t tmpfs -o size=16k tmpfs $1; head -c 1M /dev/zero > $1/fill 2> /dev/null",
    "not writable": "mount -t tmpfs -o ro tmpfs $1",
}


@pytest.mark.engine("netns")
@pytest.mark.parametrize("how", TEMPORARY)
def test_a182_a_temporary_folder_that_is_of_no_use(
    how: str, host: FarSide, bundle: Path, tmp_path: Path
) -> None:
    """A load needs its quarantine, and neither /tmp nor /var/tmp."""
    (tmp_path / "bundle.tar.zst").write_bytes(bundle.read_bytes())
    there = FarSide(Path("/mnt/host"), Path("/mnt/loaded"))
    load = there.command("load", "/mnt/bundle.tar.zst", "--into", "oci:/mnt/loaded", isolated=False)
    verify = there.command("verify", "/mnt/bundle.tar.zst", isolated=False)
    script = f"""
        spoil() {{ {TEMPORARY[how]}; }}
        mount --bind {tmp_path} /mnt && spoil /tmp && spoil /var/tmp
        {" ".join(load)} && {" ".join(verify)}
    """
    done = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script],
        check=False, capture_output=True, text=True, cwd=ROOT, timeout=120, env=_environment({}),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert host.target()


@pytest.mark.engine("netns")
def test_a182_a_user_whom_no_table_knows(host: FarSide, bundle: Path, tmp_path: Path) -> None:
    """Without HOME: below `--root` it works; without one it is said, and nothing is made up."""
    if os.geteuid():
        pytest.skip("needs root")
    path = tmp_path / "bundle.tar.zst"
    path.write_bytes(bundle.read_bytes())
    load = ["load", str(path), "--into", f"oci:{host.loaded}"]
    user = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"]
    for folder in (tmp_path, *tmp_path.rglob("*"), *tmp_path.parents[:3]):
        if tmp_path in (folder, *folder.parents):
            os.chown(folder, 54321, 54321)
        elif folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o011)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*user, *host.program, *words],
            check=False, capture_output=True, text=True, cwd="/", timeout=120,
            env=_environment({}),
        )  # fmt: skip

    done = run("--root", str(host.root), *load)
    assert done.returncode == 0, done.stderr
    assert host.target()
    done = run(*load)
    assert done.returncode in {2, 20}, done.stderr
    assert "Traceback" not in done.stderr
    assert "54321" in done.stderr
