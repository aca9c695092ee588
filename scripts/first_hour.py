"""Walk through docs/first-hour.md as a new operator would, and compare with what it says.

On a bare Debian 12 (`debootstrap --variant=minbase`, with containerd and runc), in a network
namespace with nothing in it: the packed loader comes on a FAT stick, and at the end a container
runs from an image that came on it. Every line of the document that begins with `$` is typed; what
follows it there must be what is seen, but for digests, times and sizes.

    scripts/first_hour.py              compares; ends with 1 where they differ
    scripts/first_hour.py --verdicts   compares what a command came to, not how it is worded
    scripts/first_hour.py --write      writes what was seen into the document
    scripts/first_hour.py --system     only makes the bare system, from Debian's mirror

Root only: it makes a system, mounts, and starts a containerd of its own.
"""

from __future__ import annotations

import difflib
import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.e2e.loading import Publisher  # noqa: E402 - the tests' world is no installed package

DOCUMENT = ROOT / "docs/first-hour.md"
SYSTEM = ROOT / ".cache/bare-debian12.tar"
SUITE = "bookworm"
PACKAGES = "containerd,runc,systemd,udev"
"""systemd is for tests/e2e/test_watch_systemd.py; nobody starts it in the first hour."""
WIDTH = 116
_MARK = "\x1e"
_VERDICT = re.compile(
    r"VERIFIED|LOADED|REFUSED|AS IT WAS|WHOLE|hello|exit status|\d+ (loaded|older|would)|.*: OK$"
    r"|[\w.-]+\.tar\.zst: |registry\.|airlock: |.*error"
)
_SESSION = r"""
set -u
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
containerd >/var/log/containerd.log 2>&1 &
for _ in $(seq 300); do ctr version >/dev/null 2>&1 && break; sleep 0.1; done
cd /media/stick
"""


def blocks(text: str) -> list[list[tuple[str, list[str]]]]:
    """Return the commands of each console block, each with the lines that follow it."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        commands: list[tuple[str, list[str]]] = []
        for line in block.splitlines():
            if line.startswith("$ "):
                commands.append((line[2:], []))
            else:
                commands[-1][1].append(line)
        found.append(commands)
    return found


def bare_system() -> Path:
    """Return a bare Debian 12 as an archive; the first time it is made."""
    SYSTEM.parent.mkdir(exist_ok=True)
    with SYSTEM.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not SYSTEM.exists():
            _make_system()
    return SYSTEM


def _make_system() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, folder],
            check=True, stdout=sys.stderr,
        )  # fmt: skip
        shutil.rmtree(Path(folder, "var/cache/apt/archives"))
        part = SYSTEM.with_suffix(".part")
        subprocess.run(["tar", "-C", folder, "-cf", part, "."], check=True)
        part.rename(SYSTEM)


def stick(image: Path, files: list[Path]) -> None:
    """Make a FAT stick with these files and the label AIRLOCK."""
    with image.open("wb") as file:
        file.truncate(128 << 20)
    disk, paths = str(image), map(str, files)
    for command in (
        ["mformat", "-i", disk, "-F", "-v", "AIRLOCK", "::"],
        ["mcopy", "-i", disk, *paths, "::"],
    ):
        subprocess.run(command, check=True, capture_output=True)


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[None]:
    """Mount a stick: through FUSE, since not every kernel has a FAT driver."""
    at.mkdir(parents=True, exist_ok=True)
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        ["fusefat", "-o", "ro", "-f", image, at], stdout=quiet, stderr=quiet
    ) as process:
        deadline = time.monotonic() + 10
        while not at.is_mount():
            if time.monotonic() > deadline:
                raise RuntimeError("fusefat mounts nothing")
            time.sleep(0.01)
        try:
            yield
        finally:
            subprocess.run(["fusermount", "-u", "-z", at], check=False)
            process.terminate()


def sticks(folder: Path) -> tuple[Path, Path]:
    """Make what the connected side brings: the first stick, and the one of a week later."""
    publisher = Publisher()
    publisher.bundle(folder / "app-1.tar.zst", sequence=1, version="1.0", days=1)
    publisher.bundle(folder / "app-2.tar.zst", sequence=2, version="1.1", days=8)
    policy = publisher.write_host(folder / "host") / "etc/airlock"
    with tarfile.open(folder / "host-policy.tar.gz", "w:gz") as tar:
        for path in sorted(policy.iterdir()):
            tar.add(path, arcname=path.name)
    [packed] = (ROOT / "dist").glob("airlock-loader-*.tar.gz")
    files = [packed, folder / "host-policy.tar.gz", folder / "app-1.tar.zst"]
    sums = folder / "SHA256SUMS"
    sums.write_text(
        "".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in files)
    )
    stick(folder / "first.img", [sums, *files])
    stick(folder / "second.img", [folder / "app-2.tar.zst"])
    return folder / "first.img", folder / "second.img"


def walk(commands: list[str]) -> list[list[str]]:
    """Type the commands, one after the other, in one shell; return what is seen of each."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name, ExitStack() as stack:
        folder = Path(name)
        system = folder / "system"
        system.mkdir()
        subprocess.run(["tar", "-C", system, "-xf", bare_system()], check=True)
        first, second = sticks(folder)
        stack.enter_context(mounted(first, system / "media/stick"))
        stack.enter_context(mounted(second, system / "media/stick-2"))
        typed = "".join(f"printf '{_MARK}'\n{command}\n" for command in commands)
        (system / "first-hour.sh").write_text(f"{_SESSION}{typed}printf '{_MARK}'\nkill %1\n")
        # A root of its own, not a chroot: runc pivots, which a chroot forbids.
        inside = (
            f"mount --make-rprivate / && mount --rbind {system} {system} && cd {system} && "
            "mount -t proc proc proc && mount --rbind /sys sys && mount --rbind /dev dev && "
            "mount -t tmpfs -o mode=0755 run run && mkdir -p old && pivot_root . old && "
            "exec chroot . /bin/bash -c 'umount -l /old; rmdir /old; . /first-hour.sh'"
        )
        done = subprocess.run(
            ["unshare", "--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child",
             "bash", "-c", inside],
            check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=300, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )  # fmt: skip
    parts = done.stdout.decode(errors="replace").split(_MARK)
    if len(parts) != len(commands) + 2:
        raise RuntimeError(f"it ended early:\n{done.stdout.decode(errors='replace')}")
    return [[cut(line) for line in part.splitlines()] for part in parts[1:-1]]


def cut(line: str) -> str:
    """Return a line as the document has it."""
    return line.rstrip() if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."


def alike(line: str) -> str:
    """Return a line without what is another one each time."""
    for pattern, instead in (
        (r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12,64}(?=\.\.\.|\b)", "DIGEST"),
        (r"\d{4}-\d\d-\d\d(T[\d:]+Z)?", "TIME"),
        (r"[A-Z][a-z]{2} +\d+ +(\d{4}|\d\d:\d\d)", "TIME"),
        (r"\d+(\.\d+)? [KMGT]?i?B\b", "SIZE"),
        (r"\d+ days? old", "N days old"),
        (r"containerd \d\S*", "containerd VERSION"),
        (r"\b\d{3,}\b", "N"),
        (r"[0-9a-f]+\.\.\.$", "DIGEST"),
        (r" +", " "),
        (r"\.\.\.$", ""),
    ):
        line = re.sub(pattern, instead, line)
    return line.strip()


def verdicts(lines: list[str]) -> list[str]:
    """Return the lines that say what a command came to."""
    return [line for line in lines if _VERDICT.match(line)]


def main() -> int:
    """Walk, and compare or write."""
    if sys.argv[1:] == ["--system"]:
        print(bare_system())
        return 0
    only = verdicts if sys.argv[1:] == ["--verdicts"] else list[str]
    text = DOCUMENT.read_text()
    before = blocks(text)
    flat = [command for block in before for command, _ in block]
    began = time.monotonic()
    seen = iter(walk(flat))
    after = [[(command, next(seen)) for command, _ in block] for block in before]
    said = f"{len(flat)} commands on a bare Debian in {time.monotonic() - began:.0f} s"
    if sys.argv[1:] == ["--write"]:
        written = iter(after)
        DOCUMENT.write_text(
            re.sub(
                r"^```console\n.*?^```$",
                lambda _: "```console\n" + "".join(
                    f"$ {command}\n" + "".join(f"{line}\n" for line in lines)
                    for command, lines in next(written)
                ) + "```",
                text, flags=re.MULTILINE | re.DOTALL,
            )
        )  # fmt: skip
        print(f"written: {said}")
        return 0
    found = [
        line
        for one, other in zip(before, after, strict=True)
        for (command, expected), (_, lines) in zip(one, other, strict=True)
        for line in difflib.unified_diff(
            [alike(text) for text in only(expected)], [alike(text) for text in only(lines)],
            "docs/first-hour.md", "seen", f"$ {command}", lineterm="", n=1,
        )
    ]  # fmt: skip
    print("\n".join([*found, f"{'differs' if found else 'as it says'}: {said}"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
