"""The shipped units under a systemd that is really process 1, on a bare Debian with containerd.

In namespaces of its own: no network, its own processes, its own root. What is dropped into the
folder is noticed by the path unit, loaded by the hardened service, and said in the journal.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.e2e.loading import Publisher
from tests.fakes.sigworld.world import World
from tests.presence import FROZEN, ROOT

DRIVER = r"""
set -u
await() { for _ in $(seq 300); do eval "$1" && return; sleep 0.2; done; echo "in vain: $1"; }
records() { airlock-loader history 2>/dev/null | grep -c ' load: '; }
exited() { systemctl show airlock-watch.service -p ActiveState -p ExecMainStatus | tr '\n' ' '; }
await 'systemctl -q is-active airlock-watch.path'
await 'ctr version >/dev/null 2>&1'
echo "active $(systemctl is-active airlock-watch.path airlock-watch.timer | tr '\n' ' ')"
cd /var/spool/airlock && cp /bundles/1.tar.zst 1.part && mv 1.part 1.tar.zst
await '[ $(records) = 1 ] && [[ "$(exited)" = *inactive* ]]'
echo "first $(exited)"
cp /bundles/2.tar.zst /bundles/stranger.tar.zst /var/spool/airlock/
await '[ $(records) = 3 ] && [[ "$(exited)" = *failed* ]]'
echo "second $(exited)"
ctr run --rm --snapshotter native registry.acme.example/acme/app:1 one
journalctl -u airlock-watch -o cat --no-pager
systemctl --no-block poweroff --force
"""
# A root of its own, not a chroot: systemd wants to be process 1 of a whole system.
BOOT = r"""
mount --make-rprivate /
mount --rbind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs -o mode=0755 run run
mount -t tmpfs tmp tmp
mkdir -p old
pivot_root . old
cd /
umount -l /old
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --unit=boot.target --log-target=console
"""
UNITS = {
    "driver.service": """
[Service]
Type=oneshot
ExecStart=/bin/bash /driver.sh
StandardOutput=file:/said
StandardError=file:/said
""",
    "boot.target": """
[Unit]
Wants=systemd-journald.service containerd.service airlock-watch.path airlock-watch.timer
Wants=driver.service
""",
}


@pytest.mark.engine("bare-debian", "frozen")
@pytest.mark.may_skip("the bare system comes from Debian's mirror, once")
def test_a_file_that_is_dropped_is_loaded_by_the_shipped_units() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "scripts/first_hour.py", "--system"],
        check=False, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    if made.returncode:
        pytest.skip(f"no bare Debian: {made.stderr[-300:]}")
    # Below /var/tmp: a root that is a tmpfs's own has no room for a Debian.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        system = Path(name, "system")
        system.mkdir()
        subprocess.run(["tar", "-C", system, "-xf", made.stdout.strip()], check=True)
        installed(system)
        (system / "driver.sh").write_text(DRIVER)
        for unit, text in UNITS.items():
            (system / "etc/systemd/system" / unit).write_text(text)
        booted = subprocess.run(
            [
                "unshare", "--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child",
                "bash", "-ec", BOOT, "bash", system,
            ],
            check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=240,
        )  # fmt: skip
        path = system / "said"
        said = path.read_text() if path.exists() else f"it did not boot: {booted.stdout}"
    assert "active active active" in said, said
    assert re.search(r"^first .*ExecMainStatus=0 ", said, re.MULTILINE), said
    assert re.search(r"^second .*ExecMainStatus=11 ", said, re.MULTILINE), said
    lines = said.splitlines()
    assert "hello 1.2" in lines, said
    assert "1.tar.zst: loaded: channel stable sequence 1" in lines, said
    assert "2.tar.zst: loaded: channel stable sequence 2" in lines, said
    assert any(line.startswith("stranger.tar.zst: refused [signature.") for line in lines), said


def installed(system: Path) -> None:
    """Install the packed loader as docs/watch.md says, with a policy and three bundles at hand."""
    publisher = Publisher()
    policy = publisher.write_host(system / "host") / "etc/airlock"
    shutil.copytree(policy, system / "etc/airlock")
    (system / "etc/airlock/config.toml").write_text('schema = 1\n[watch]\ninto = "containerd"\n')
    shutil.copytree(FROZEN.parent, system / "opt/airlock-loader", symlinks=True)
    (system / "usr/bin/airlock-loader").symlink_to("/opt/airlock-loader/airlock-loader")
    for unit in (system / "opt/airlock-loader/packaging/systemd").glob("*.*"):
        if unit.is_file():
            shutil.copy(unit, system / "etc/systemd/system")
    bundles = system / "bundles"
    bundles.mkdir()
    for number in (1, 2):
        publisher.bundle(
            bundles / f"{number}.tar.zst", sequence=number, version=f"1.{number}", days=number
        )
    Publisher(World(name="stranger")).bundle(bundles / "stranger.tar.zst", sequence=99)
