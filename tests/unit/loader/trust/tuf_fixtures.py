"""TUF repositories of ../shared, under the names that a bundle gives their files."""

from __future__ import annotations

import json
import re
import tarfile
from datetime import datetime
from pathlib import Path
from typing import Any

from loader.trust.trusted_root import TrustedRoot
from loader.trust.tuf_pin import TufPin
from loader.trust.tuf_replay import Replayed, replay
from loader.verify.keyless import SigstoreKeys
from tests.fakes.tuf_repository import CarriedFiles
from tests.presence import SHARED

FIXTURES = SHARED / "fixtures"
REAL = SHARED / "real"
_VERSIONED = re.compile(r"[0-9]+\.(?!root\.json)(.*)")
_HASHED = re.compile(r"[0-9a-f]{64}\.(.*)")


def cases() -> list[dict[str, Any]]:
    if not (FIXTURES / "fixtures.json").exists():
        return []
    found: list[dict[str, Any]] = json.loads((FIXTURES / "fixtures.json").read_text())["tuf"]
    return found


def unpacked(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {
            member.name.removeprefix("./"): archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in archive
            if member.isfile()
        }


def as_carried(tree: dict[str, bytes]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path, raw in tree.items():
        folder, _, name = path.rpartition("/")
        if path.startswith("targets/"):
            match = _HASHED.fullmatch(name)
            found[f"{folder}/{match.group(1) if match else name}"] = raw
        elif name != "root.json":
            match = _VERSIONED.fullmatch(name)
            found[match.group(1) if match else name] = raw
    return found


def read_tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def replayed(case: dict[str, Any]) -> Replayed:
    root = TrustedRoot.parse((FIXTURES / case["trusted_root"]).read_bytes(), name="acme")
    keys = SigstoreKeys(trusted_root=root)
    pin = TufPin(root=(FIXTURES / case["pinned_root"]).read_bytes())
    seen, kept = None, None
    if case["client_state"]:
        state = as_carried(unpacked(FIXTURES / case["client_state"]))
        before = replay(CarriedFiles(state), pin, name="acme", keys=keys)
        seen, kept = before.remembered({})
    carried = as_carried(unpacked(FIXTURES / case["repository"]))
    return replay(CarriedFiles(carried), pin, name="acme", seen=seen, kept=kept, keys=keys)


def expired(found: Replayed, at: datetime | None = None) -> set[str]:
    """The roles that had expired when somebody signed the newest of them, or at a given time."""
    reference = at or found.signed_at
    assert reference is not None
    return {role.name for role in found.roles.values() if role.expires < reference}
