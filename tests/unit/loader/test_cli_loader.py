"""The command line's edges: what it refuses and imports, where it writes. Verdicts: tests/e2e."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from loader import VERSION
from loader.errors import InternalError, LocalError, MemoryLimitError, NoSpaceError
from loader.verbs import saying
from tests.presence import ROOT

ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "loader", *arguments],
        check=False,
        text=True,
        timeout=60,
        cwd=ROOT,
        **{"capture_output": True, "env": ENVIRONMENT, **options},
    )


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"airlock-loader {VERSION}\n", "")


@pytest.mark.parametrize("arguments", [["--version"], ["load", "--force", "x"], ["--help"]])
def test_what_needs_no_bundle_loads_no_cryptography(arguments: list[str]) -> None:
    program = (
        "import sys; from loader.cli import main\n"
        f"try: main({arguments!r})\nexcept SystemExit: pass\n"
        "print(sorted(m for m in sys.modules if '.' not in m), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=ENVIRONMENT,
        cwd=ROOT,
    )
    loaded = set(re.findall(r"'(\w+)'", done.stderr.splitlines()[-1]))
    assert "loader" in loaded
    assert not loaded & {"cryptography", "tuf", "rich", "sqlite3", "ctypes", "backports", "re2"}
    assert not loaded & {"socket", "ssl", "http", "asyncio"}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["frobnicate"],
        ["verify"],
        ["load", "x"],
        ["load", "x", "--into", "nowhere"],
        ["load", "x", "--into", "oci:"],
        ["load", "x", "--into", "oci:y", "--platform", "amd64"],
        ["load", "x", "--into", "oci:y", "--force"],
        ["load", "x", "--into", "oci:y", "--unknown"],
        ["load", "x", "--int", "oci:y"],
        ["verify", "x", "--policy"],
        ["verify", ""],
        ["verify", "x", "\x1b[31m\n"],
    ],
    ids=str,
)
def test_a_command_that_cannot_be_understood_is_usage(arguments: list[str], tmp_path: Path) -> None:
    done = run("--root", str(tmp_path), *arguments)
    assert done.returncode == 2
    first, *rest = done.stderr.splitlines()
    assert re.match(r"airlock: error\[usage\.[a-z]+\]: ", first)
    assert all(line.startswith("hint: ") for line in rest)
    assert "\x1b" not in done.stderr + done.stdout
    assert list(tmp_path.iterdir()) == []


def test_verify_bundle_is_the_conformance_suites_client(tmp_path: Path) -> None:
    assert run("verify-bundle", "--bundle", str(tmp_path / "x")).returncode == 2
    bundle = tmp_path / "bundle.json"
    bundle.write_text("{}")
    options = ["--certificate-identity", "x", "--certificate-oidc-issuer", "y"]
    done = run("verify-bundle", "--bundle", str(bundle), *options, "sha256:" + "0" * 64)
    assert done.returncode == 19
    assert "verify-bundle" in run("--help").stdout


def test_force_names_the_way_that_there_is() -> None:
    assert "--allow-downgrade" in run("load", "x", "--into", "oci:y", "--force").stderr


def test_a_missing_policy_is_said_before_anything_is_opened(tmp_path: Path) -> None:
    done = run("--root", str(tmp_path), "verify", "nowhere.tar.zst")
    assert done.returncode == 20
    assert "the policy cannot be opened" in done.stderr
    assert str(tmp_path / "etc/airlock/policy.toml") in done.stderr


def test_nobody_to_hear_the_verdict_is_an_error_before_anything_is_done(tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m loader --root {tmp_path} doctor >&-"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert done.returncode == 20
    assert "standard output is closed" in done.stderr


def test_closed_files_are_not_taken_by_what_is_opened_next(tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m loader --root {tmp_path} doctor --json <&- 2>&-"
    done = subprocess.run(
        ["bash", "-c", command], stdout=subprocess.PIPE, text=True, check=False, env=ENVIRONMENT
    )
    assert json.loads(done.stdout)["schema"] == "airlock-doctor/1"


def test_errors_that_nobody_hears_do_not_follow_the_verdict(tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m loader --root {tmp_path} verify nowhere --json 2>&-"
    done = subprocess.run(
        ["bash", "-c", command], stdout=subprocess.PIPE, text=True, check=False, env=ENVIRONMENT
    )
    assert done.returncode == 20
    assert json.loads(done.stdout)["code"] == "io.input"


@pytest.mark.parametrize("sink", ["/dev/full", "|true"])
def test_a_verdict_that_nobody_got_is_no_success(sink: str, tmp_path: Path) -> None:
    command = f"{sys.executable} -m loader --root {tmp_path} doctor"
    if sink == "|true":
        # Long after the reader is gone.
        command = f"({command}; echo status=$? >&2) | (exec <&-; sleep 3)"
    else:
        command = f"{command} > {sink}; echo status=$? >&2"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert "status=20" in done.stderr
    assert "error[io.output]" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (MemoryError(), MemoryLimitError, 20),
        (OSError(24, "Too many open files", "/x"), LocalError, 20),
        (OSError(28, "No space left on device"), NoSpaceError, 20),
        (KeyError("x\x1b"), InternalError, 70),
        (RecursionError("deep"), InternalError, 70),
    ],
)
def test_whatever_was_not_expected_is_a_refusal(
    error: Exception, kind: type[Exception], status: int
) -> None:
    found = saying.bug(error)
    assert type(found) is kind
    assert found.exit_status == status
    assert "\x1b" not in str(found)


def test_a_bug_says_where_in_lines_that_a_terminal_survives(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken() -> None:
        raise ValueError("\x1b[31m\nairlock: error[none]: all is well")

    with pytest.raises(ValueError, match="all is well") as caught:
        broken()
    assert saying.say_error(saying.bug(caught.value)) == 70
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert len([line for line in said.splitlines() if line.startswith("airlock: error")]) == 1
    assert "in broken" in said


def test_doctor_tells_without_touching(tmp_path: Path) -> None:
    done = run("--root", str(tmp_path), "doctor")
    assert done.returncode == 0
    for what in ("glibc", "docker", "podman", "containerd", "cut off", "state", "clock", "space"):
        assert re.search(rf"^(ok|absent|warning) +{what} ", done.stdout, re.MULTILINE), what
    assert list(tmp_path.iterdir()) == []


def test_doctor_finds_the_fault(tmp_path: Path) -> None:
    state = tmp_path / "var/lib/airlock"
    state.mkdir(parents=True)
    state.chmod(0o777)
    done = run("--root", str(tmp_path), "doctor", "--json")
    assert done.returncode == 20
    document = json.loads(done.stdout)
    assert document["exit_status"] == 20
    faults = {f["what"]: f["words"] for f in document["findings"] if f["health"] == "fault"}
    assert set(faults) == {"host key", "state"}
    assert all("others may write" in words for words in faults.values())


def test_targets_that_are_not_the_same_are_told_apart(tmp_path: Path) -> None:
    from loader.runtime.targets import parse_target, target_key  # noqa: PLC0415

    def key(text: str, **environment: str) -> str:
        return target_key(parse_target(text), environment)

    (tmp_path / "link").symlink_to(tmp_path)
    assert key(f"oci:{tmp_path}/link/x") == key(f"oci:{tmp_path}/x") == f"oci:{tmp_path}/x"
    keys = {
        key("docker"),
        key("docker", DOCKER_HOST="unix:///x"),
        key("podman"),
        key("containerd"),
        key("containerd:k8s.io"),
        key("containerd", CONTAINERD_ADDRESS="/x"),
    }
    assert len(keys) == 6
    assert key("containerd:k8s.io") == key("containerd", CONTAINERD_NAMESPACE="k8s.io")
