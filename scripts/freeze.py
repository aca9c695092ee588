"""Build a frozen program, list what is in it, and pack it: the same sources give the same bytes.

Run by `make frozen`, for each program in a virtual environment that holds its lock alone:
requirements/freeze.txt for airlock-loader, requirements/freeze-push.txt for airlock-push.

    freeze.py PROGRAM               build dist/PROGRAM/, pack it, write its line of SHA256SUMS
    freeze.py PROGRAM --write-list  the same, and keep its list of modules in tests/architecture/
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
# The program, and what the list of its modules is called.
LISTS = {"airlock-loader": "frozen-modules.txt", "airlock-push": "frozen-push-modules.txt"}
NAME = next((word for word in sys.argv[1:] if word in LISTS), "airlock-loader")
FOLDER = DIST / NAME
PROGRAM = FOLDER / NAME
MODULES = ROOT / "build" / LISTS[NAME]
KEPT_MODULES = ROOT / "tests" / "architecture" / LISTS[NAME]

OURS = {"loader", "bundler"}

# What a program is started with to say its version.
START = "--version" if NAME == "airlock-loader" else "version"

# 1980-01-01, the oldest time that every archive format can write.
EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "315532800"))


def build() -> None:
    """Run PyInstaller with everything that would vary from run to run held still."""
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": str(EPOCH),
        "AIRLOCK_FREEZE": NAME,
    }
    subprocess.run(
        [
            *(sys.executable, "-m", "PyInstaller", "--noconfirm", "--clean", "--log-level", "WARN"),
            *("--distpath", str(DIST), "--workpath", str(ROOT / "build" / NAME)),
            str(ROOT / "build-frozen.spec"),
        ],
        cwd=ROOT,
        env=environment,
        check=True,
    )


def shared_objects() -> list[Path]:
    """Every ELF file of the folder."""
    found = []
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    found.append(path)
    return found


def strip_interpreter() -> None:
    """Drop debugging symbols from the interpreter's own libraries, three quarters of their size.

    The wheels' libraries stay as their authors shipped them: they are stripped already, and some
    were laid out by tools that a second pass breaks.
    """
    own = [
        path
        for path in shared_objects()
        if path.name.startswith("libpython") or path.parent.name == "lib-dynload"
    ]
    subprocess.run(["strip", "--strip-unneeded", *map(str, own)], check=True)


def add_data(*, version: str, glibc: str) -> None:
    """Put what is data beside the program: anchors, units, the licence, what it was built from."""
    if NAME == "airlock-loader":
        shutil.copytree(ROOT / "trust-roots", FOLDER / "trust-roots")
        # Where operators look for them, and where the packages do: one copy.
        (FOLDER / "_internal" / "trust-roots").symlink_to("../trust-roots")
        # Behind the gap there is no other place to get them from.
        shutil.copytree(ROOT / "packaging", FOLDER / "packaging")
    shutil.copy(ROOT / "LICENSE", FOLDER / "LICENSE")
    built = {
        "version": version,
        "python": platform.python_version(),
        "glibc": glibc,
        "built-in": built_in(),
    }
    (FOLDER / "build.json").write_text(json.dumps(built, sort_keys=True) + "\n", encoding="utf-8")


def needed_glibc() -> str:
    """The oldest glibc that has every symbol version that any file of the folder asks for."""
    newest = (0, 0)
    for path in shared_objects():
        symbols = subprocess.run(
            ["objdump", "-T", str(path)], check=True, capture_output=True, text=True
        ).stdout
        for major, minor in re.findall(r"\*UND\*.*\bGLIBC_(\d+)\.(\d+)", symbols):
            newest = max(newest, (int(major), int(minor)))
    return f"{newest[0]}.{newest[1]}"


def built_in() -> list[str]:
    """Name what the interpreter itself brings of networks, where its builder compiled it in."""
    return sorted({"_socket", "_ssl"} & set(sys.builtin_module_names))


def modules() -> list[str]:
    """Name every Python module inside, read from the product and not from what built it."""
    from PyInstaller.archive.readers import CArchiveReader  # noqa: PLC0415 (only the freeze lock has it)

    names: set[str] = set()
    archive = CArchiveReader(str(PROGRAM))
    for name, entry in archive.toc.items():
        if entry[4] == "z":
            names |= set(archive.open_embedded_archive(name).toc)
        elif entry[4] in {"m", "s"}:
            names.add(f"start-up:{name}")
    internal = FOLDER / "_internal"
    with zipfile.ZipFile(internal / "base_library.zip") as library:
        for member in library.namelist():
            if member.endswith(".pyc"):
                names.add(member.removesuffix(".pyc").removesuffix("/__init__").replace("/", "."))
    for path in shared_objects():
        relative = path.relative_to(internal) if internal in path.parents else path
        module = re.fullmatch(r"(.+?)(\.cpython-[^.]+|\.abi3)?\.so", relative.as_posix())
        if module and not relative.name.startswith("lib"):
            names.add(re.sub(r"^python3\.\d+/lib-dynload/", "", module[1]).replace("/", "."))
        elif path != PROGRAM:
            names.add(f"library:{re.sub(r'[.]so.*', '', relative.name)}")
    return sorted(names)


def pack(*, version: str) -> Path:
    """Pack the folder: members sorted, no owner, one time."""
    path = DIST / f"{NAME}-{version}-linux-{platform.machine()}.tar.gz"

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = EPOCH
        member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
        return member

    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for member in [FOLDER, *sorted(FOLDER.rglob("*"))]:
            name = member.relative_to(DIST).as_posix()
            archive.add(member, arcname=name, recursive=False, filter=plain)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    sums = DIST / "SHA256SUMS"
    others = sums.read_text(encoding="utf-8").splitlines() if sums.exists() else []
    lines = [line for line in others if not line.partition("  ")[2].startswith(f"{NAME}-")]
    sums.write_text("\n".join(sorted([*lines, f"{digest}  {path.name}"])) + "\n", encoding="utf-8")
    return path


def start_seconds() -> float:
    """Start the program five times; the median. A program that does not start ends the build."""
    taken = []
    for _ in range(5):
        begin = time.monotonic()
        subprocess.run([str(PROGRAM), START], check=True, stdout=subprocess.DEVNULL)
        taken.append(time.monotonic() - begin)
    return sorted(taken)[2]


def main() -> int:
    """Build, list, pack, and say what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("program", choices=LISTS)
    parser.add_argument("--write-list", action="store_true", help="keep the list of modules")
    arguments = parser.parse_args()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "version"
    ]
    build()
    strip_interpreter()
    glibc = needed_glibc()
    add_data(version=version, glibc=glibc)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    within = ", ".join(built_in()) or "nothing of networks"
    listed = f"# CPython {python}, built in: {within}\n" + "".join(
        f"{name}\n" for name in modules()
    )
    MODULES.write_text(listed, encoding="utf-8")
    if arguments.write_list:
        # Our own modules are compared with the tree itself.
        foreign = [line for line in listed.splitlines() if line.partition(".")[0] not in OURS]
        KEPT_MODULES.write_text("\n".join(foreign) + "\n", encoding="utf-8")
    seconds = start_seconds()
    archive = pack(version=version)
    unpacked = sum(p.stat().st_size for p in FOLDER.rglob("*") if not p.is_symlink())
    print(f"{archive.relative_to(ROOT)}: {archive.stat().st_size / 1e6:.1f} MB packed,")
    print(f"  {unpacked / 1e6:.1f} MB unpacked, CPython {platform.python_version()},")
    if built_in():
        print(f"  {', '.join(built_in())} is compiled into this Python: forbidden to import;")
    print(f"  needs glibc {glibc} or later; to say its version takes {seconds:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
