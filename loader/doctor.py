"""What this host has and lacks, before anybody stands there with a stick.

Writes nothing, and reads no archive. Runtimes that are not there are no fault: a host needs one at
most. Everything else that would make a load fail is.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from loader import VERSION
from loader.config import Config
from loader.confine import cut_off
from loader.errors import AirlockError, FormatError, LocalError, MissingError, shown
from loader.limits import KIB
from loader.model import strictjson
from loader.model.fields import Fields, format_instant
from loader.places import Places, expect_private, open_private_folder, read_small_file
from loader.progress import sized
from loader.report import plain
from loader.runtime.clients import check_client
from loader.runtime.targets import open_target, parse_target
from loader.runtime.versions import advice, standing, version_in
from loader.state.evidence import EvidenceStore
from loader.state.history import reading
from loader.state.ledger import look
from loader.state.signing import HostKey, key_id

if TYPE_CHECKING:
    from loader.model.strictjson import JsonObject
    from loader.trust.keys import PublicKey

SCHEMA: Final = "airlock-doctor/1"
RUNTIMES: Final = ("docker", "podman", "containerd")
SPACE_WANTED: Final = 1 << 30
"""Bytes that should be free for quarantine: less holds hardly any image."""
_BUILD_SIZE_MAX: Final = 64 * KIB
Health = Literal["ok", "absent", "warning", "fault"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    health: Health
    words: str


def examine(
    places: Places, *, environment: Mapping[str, str], now: datetime
) -> tuple[Finding, ...]:
    """Look at everything; this process has no network afterwards."""
    runtimes = tuple(_runtime(name, environment) for name in RUNTIMES)
    return (
        Finding(what="loader", health="ok", words=f"{VERSION}, {_made_of()}"),
        _glibc(),
        *runtimes,
        _confinement(),
        _config(places),
        _signing(places),
        _folder("policy", places.policy),
        _folder("anchors", places.anchors),
        *_state(places, now=now),
        _evidence(places),
        *_space(places),
    )


def exit_status(findings: tuple[Finding, ...]) -> int:
    """Return 0 where a bundle can be loaded, 20 where this machine stands in the way."""
    return LocalError("").exit_status if any(f.health == "fault" for f in findings) else 0


def as_text(findings: tuple[Finding, ...]) -> str:
    """Return the findings for people."""
    return "".join(f"{plain(f'{f.health:8} {f.what:12} {f.words}')}\n" for f in findings)


def as_json(findings: tuple[Finding, ...]) -> str:
    """Return the findings for programs."""
    document: JsonObject = {
        "schema": SCHEMA,
        "exit_status": exit_status(findings),
        "findings": [{"what": f.what, "health": f.health, "words": f.words} for f in findings],
    }
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=True) + "\n"


def _built() -> Fields | None:
    """Return what the frozen program says it was built from; None where it is not frozen."""
    if not getattr(sys, "frozen", False):
        return None
    path = Path(sys.executable).resolve().parent / "build.json"
    raw = read_small_file(path, size_max=_BUILD_SIZE_MAX, what="the note of the build")
    return Fields(strictjson.parse_object(raw, what="build.json", size_max=_BUILD_SIZE_MAX), "")


def _made_of() -> str:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return f"{'frozen' if getattr(sys, 'frozen', False) else 'from sources'}, Python {version}"


def _glibc() -> Finding:
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (OSError, ValueError):
        name = ""
    found = name.removeprefix("glibc ")
    try:
        built = _built()
        needed = "" if built is None else built.text("glibc")
    except (LocalError, FormatError) as e:
        return Finding(what="glibc", health="fault", words=str(e))
    if not found:
        return Finding(what="glibc", health="warning", words="this system's C library is another")
    if not needed:
        return Finding(what="glibc", health="ok", words=f"{found}; any that Python runs on will do")
    enough = _numbers(found) >= _numbers(needed)
    return Finding(
        what="glibc",
        health="ok" if enough else "fault",
        words=f"{found} found, {needed} or later needed",
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _runtime(name: str, environment: Mapping[str, str]) -> Finding:
    try:
        with open_target(parse_target(name), environment) as runtime:
            words = runtime.probe()
    except AirlockError as e:
        return Finding(what=name, health="absent", words=str(e))
    version = version_in(words)
    if version is not None and standing(name, version) != "open":
        return Finding(what=name, health="ok", words=words)
    # No fault: a distribution may have mended it under the same number.
    return Finding(what=name, health="warning", words=f"{words}: {advice(name)}")


def _confinement() -> Finding:
    try:
        return Finding(what="cut off", health="ok", words=str(cut_off()))
    except AirlockError as e:
        return Finding(what="cut off", health="fault", words=str(e))


def _folder(what: str, path: Path) -> Finding:
    """Look at what an operator keeps: whoever may write there decides what this host accepts."""
    try:
        for one in (path, *(sorted(path.iterdir()) if path.is_dir() else ())):
            expect_private(one.stat(), where=shown(str(one)))
    except FileNotFoundError:
        return Finding(what=what, health="warning", words=f"there is no {path}")
    except OSError as e:
        return Finding(what=what, health="fault", words=f"{path}: {e.strerror}")
    except LocalError as e:
        return Finding(what=what, health="warning", words=str(e))
    return Finding(what=what, health="ok", words=str(path))


def _config(places: Places) -> Finding:
    try:
        Config.read(places.config)
    except AirlockError as e:
        return Finding(what="config", health="fault", words=str(e))
    there = places.config.exists()
    words = str(places.config) if there else f"no {places.config}: the defaults"
    return Finding(what="config", health="ok", words=words)


def _signing(places: Places) -> Finding:
    """Look at who signs records: the key of this host, or the program that has it."""
    try:
        command = Config.read(places.config).sign_command
        if command is None:
            key, words = _key_file(places)
        else:
            path = check_client(command.command.path)
            key, words = command.key, f"{path} signs records by the key {key_id(command.key)}"
        with reading(places) as ledger:
            ledger.expect_signer(key)
    except AirlockError as e:
        return Finding(what="host key", health="fault", words=str(e))
    return Finding(what="host key", health="ok", words=words)


def _key_file(places: Places) -> tuple[PublicKey | None, str]:
    with contextlib.suppress(FileNotFoundError):
        fd = open_private_folder(places.state, create=False)
        try:
            found = HostKey.read_in(fd, places)
        finally:
            os.close(fd)
        if found is not None:
            return found.key, f"{key_id(found.key)}, which this user alone can read"
    return None, "the first load makes one"


def _state(places: Places, *, now: datetime) -> Iterator[Finding]:
    try:
        seen = look(places)
    except AirlockError as e:
        yield Finding(what="state", health="fault", words=str(e))
        return
    floors = seen.floors
    if not places.ledger.exists():
        yield Finding(
            what="state", health="ok", words=f"nothing was loaded yet; {places.state} will be made"
        )
    else:
        words = (
            f"{places.state}: {len(floors.channels)} channels, {len(floors.names)} names, "
            f"{len(floors.loaded)} images loaded"
        )
        yield Finding(
            what="state",
            health="warning" if seen.note else "ok",
            words=f"{words}; {seen.note}" if seen.note else words,
        )
    clock = f"this clock says {format_instant(now)}"
    if floors.time is None:
        yield Finding(what="clock", health="ok", words=f"{clock}; no verified time is known yet")
        return
    behind = now < floors.time
    yield Finding(
        what="clock",
        health="warning" if behind else "ok",
        words=f"{clock}, the newest verified time is {format_instant(floors.time)}"
        + (": set the clock" if behind else ""),
    )


def _evidence(places: Places) -> Finding:
    """Look at what `verify-local` judges again: used by its digests, and only if ours alone."""
    try:
        with EvidenceStore.open(places.evidence, create=False) as store:
            sizes = store.sizes()
    except MissingError:
        return Finding(what="evidence", health="ok", words="none is kept yet")
    except AirlockError as e:
        return Finding(what="evidence", health="fault", words=str(e))
    words = f"{len(sizes)} pieces, {sized(sum(sizes.values()))}, in {places.evidence}"
    return Finding(what="evidence", health="ok", words=words)


def _space(places: Places) -> Iterator[Finding]:
    """Look at the disk that quarantine is on, or will be."""
    folder = places.quarantine
    while not folder.exists():
        folder = folder.parent
    try:
        status = os.statvfs(folder)
    except OSError as e:
        yield Finding(what="space", health="fault", words=f"{folder}: {e.strerror}")
        return
    free = status.f_bavail * status.f_frsize
    yield Finding(
        what="space",
        health="ok" if free >= SPACE_WANTED else "warning",
        words=f"{sized(free)} free for quarantine in {places.quarantine}",
    )
    yield _quarantine(places, folder)


def _quarantine(places: Places, folder: Path) -> Finding:
    """Look at quarantine, or at the folder that it will be made in."""
    if not os.access(folder, os.W_OK):
        words = f"{folder} cannot be written by this user"
        return Finding(what="quarantine", health="fault", words=words)
    if folder == places.quarantine:
        try:
            os.close(open_private_folder(folder, create=False))
        except (LocalError, FileNotFoundError) as e:
            return Finding(what="quarantine", health="fault", words=str(e))
    return Finding(what="quarantine", health="ok", words=f"{folder} can be written")
