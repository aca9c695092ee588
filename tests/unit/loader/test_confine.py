"""Cutting off is for the rest of a process's life, so every case here is a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.presence import ROOT, missing

NOBODY = 65534


def run(
    code: str, *, user: int | None = None, python: str = "", **keyword: object
) -> dict[str, object]:
    """Run code behind `cut_off()`; it fills `found`."""
    # Nobody may look neither into a root's Python nor into a checkout that root made.
    python = python or (sys.executable if user is None else "/usr/bin/python3")
    with readable_loader() as folder:
        return _run(code, python, folder, user=user, **keyword)


@contextlib.contextmanager
def readable_loader() -> Iterator[Path]:
    """What the confinement needs, where everybody may read it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "loader").mkdir(mode=0o755)
        for module in ("__init__", "confine", "errors"):
            shutil.copy(ROOT / "loader" / f"{module}.py", folder / "loader")
        yield folder


def _run(
    code: str, python: str, folder: Path, *, user: int | None, **keyword: object
) -> dict[str, object]:
    program = (
        "import json, sys\n"
        f"sys.path.insert(0, {str(folder)!r})\n"
        "from loader.confine import cut_off\n"
        "from loader.errors import ConfinementError\n"
        "found = {}\n" + textwrap.dedent(code) + "\nprint(json.dumps(found))\n"
    )
    done = subprocess.run(
        [python, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        user=user,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        **keyword,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


TRY_FAMILIES = """
    import socket
    before = socket.socket(socket.AF_INET); before.close()
    found["how"] = cut_off().how
    for name in ("AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_UNIX"):
        try:
            socket.socket(getattr(socket, name), socket.SOCK_DGRAM).close()
            found[name] = "made"
        except OSError as e:
            found[name] = e.errno
    try:
        for s in socket.socketpair(): s.close()
        found["pair"] = "made"
    except OSError as e:
        found["pair"] = e.errno
"""


def test_only_unix_sockets_are_left() -> None:
    found = run(TRY_FAMILIES)
    assert found["AF_UNIX"] == found["pair"] == "made"
    for name in ("AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK"):
        assert found[name] == 1, name
    assert "seccomp: sockets are AF_UNIX only" in found["how"]  # type: ignore[operator]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
@pytest.mark.may_skip("the suite is not always run as root")
def test_it_holds_without_root_and_keeps_the_owner_of_files() -> None:
    found = run(
        TRY_FAMILIES + "    import os\n    found['user'] = os.geteuid()\n"
        "    found['owner'] = os.stat('/proc/self').st_uid\n",
        user=NOBODY,
    )
    assert found["AF_INET"] == 1
    assert found["user"] == found["owner"] == NOBODY


@pytest.mark.skipif(missing("netns") is not None, reason="needs unprivileged user namespaces")
@pytest.mark.may_skip("needs unprivileged user namespaces")
def test_a_namespace_that_nobody_may_map_users_into_is_done_without() -> None:
    """As on Ubuntu since 23.10: unshare() succeeds, and writing uid_map does not."""
    found = run(
        f"""
    import os, subprocess
    if "INSIDE" not in os.environ:
        # A /proc that cannot be written fails at the same place.
        script = 'mount --bind /proc /proc && mount -o remount,ro,bind /proc && exec "$@"'
        os.environ["INSIDE"] = "1"
        outer = ["unshare", "-rm", "sh", "-ec", script, "sh"]
        if os.geteuid() == 0:
            outer = ["unshare", "-m", "sh", "-ec", script, "sh", "setpriv", "--reuid={NOBODY}",
                     "--regid={NOBODY}", "--clear-groups"]
        else:
            outer += ["unshare", "--user", f"--map-user={{os.geteuid()}}"]
        os.execvp(outer[0], [*outer, *open("/proc/self/cmdline").read().split(chr(0))[:-1]])
    found["before"] = os.geteuid()
    """
        + TRY_FAMILIES
        + "    found['after'] = os.geteuid()\n",
        python="/usr/bin/python3",
    )
    assert found["after"] == found["before"] != 0
    assert found["AF_INET"] == 1
    assert found["how"] == ["seccomp: sockets are AF_UNIX only", "no new privileges"]


def test_children_cannot_leave_either() -> None:
    found = run("""
        cut_off()
        import subprocess, sys
        child = "import socket; socket.socket(socket.AF_INET)"
        found["child"] = subprocess.run([sys.executable, "-c", child], stderr=-3).returncode
    """)
    assert found["child"] == 1


def test_ways_around_socket_are_closed() -> None:
    found = run("""
        import ctypes, os, platform
        cut_off()
        libc = ctypes.CDLL(None, use_errno=True)
        same = dict(pidfd_getfd=438, io_uring=425)
        calls = {"x86_64": dict(ptrace=101, setns=308, vm_writev=311, **same),
                 "aarch64": dict(ptrace=117, setns=268, vm_writev=271, **same)}
        for name, number in calls[platform.machine()].items():
            ctypes.set_errno(0)
            got = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(0)] * 6)
            found[name] = (got, ctypes.get_errno())
    """)
    assert found == {name: [-1, 1] for name in found}
    assert len(found) == 5


def test_another_architectures_calls_end_the_process() -> None:
    # The 32-bit entry of x86-64 has other numbers: `int 0x80` with socketcall would pass a filter
    # that looks at numbers alone. x32 numbers are caught the same way.
    program = f"""
import ctypes, sys, platform
sys.path.insert(0, {str(ROOT)!r})
from loader.confine import cut_off
cut_off()
if platform.machine() != "x86_64":
    import os, signal
    os.kill(os.getpid(), signal.SIGSYS)
ctypes.CDLL(None).syscall(ctypes.c_long(0x40000000 + 41), 2, 1, 0)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=60)
    assert done.returncode == -31


def test_an_inherited_network_socket_is_refused() -> None:
    import socket  # noqa: PLC0415

    listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        found = run(
            """
            try:
                cut_off()
                found["code"] = None
            except ConfinementError as e:
                found["code"] = e.code
            """,
            pass_fds=[listener.fileno()],
        )
    assert found["code"] == "io.confinement"
    one, other = socket.socketpair()
    with one, other:
        assert run("found['how'] = cut_off().how", pass_fds=[one.fileno()])["how"]


def test_a_filter_that_does_not_hold_is_noticed() -> None:
    found = run("""
        import loader.confine as confine
        confine._install_filter = lambda *a, **k: None
        try:
            cut_off()
        except ConfinementError as e:
            found["error"] = [e.code, e.found, e.exit_status]
    """)
    assert found["error"] == ["io.confinement", "a socket", 20]


def test_a_machine_without_a_table_reads_nothing() -> None:
    found = run("""
        import platform
        platform.machine = lambda: "riscv64"
        try:
            cut_off()
        except ConfinementError as e:
            found["error"] = str(e)
    """)
    assert "riscv64" in str(found["error"])


@pytest.mark.engine("strace")
def test_the_attempt_is_seen_from_outside_and_refused(tmp_path: Path) -> None:
    log = tmp_path / "strace"
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from loader.confine import cut_off; cut_off()"
    )
    subprocess.run(
        ["strace", "-f", "-e", "trace=socket", "-o", log, sys.executable, "-c", program],
        check=True,
        timeout=60,
    )
    lines = [line for line in log.read_text().splitlines() if "socket(AF_" in line]
    assert any("AF_INET, " in line for line in lines), "the control was not even tried"
    assert all("EPERM" in line for line in lines), lines
