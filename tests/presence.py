"""What this machine has of what some tests need, and the one command that brings the rest.

A test says what it needs: ``@pytest.mark.engine("docker", "strace")``. Only names listed here are
known; a misspelt one is an error, never a silent skip. Nothing here imports the code under test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / ".cache" / "bin"
TRILLIAN_TABLES = TOOLS / "trillian-postgresql.sql"
FROZEN = ROOT / "dist" / "airlock-loader" / "airlock-loader"
FROZEN_PUSH = ROOT / "dist" / "airlock-push" / "airlock-push"
SCHEMAS = ROOT / ".cache" / "schemas"
SCHEMA_COUNT = 2
SHARED = Path(os.environ.get("AIRLOCK_SHARED", ROOT.parent / "shared"))

REQUIRE_ALL = os.environ.get("AIRLOCK_REQUIRE", "") == "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Something a test cannot do without: programs, perhaps root, perhaps a deeper look."""

    programs: tuple[str, ...] = ()
    root: bool = False
    look: Callable[[], str | None] | None = None
    mend: str = "make engines"


def _no_network_namespace() -> str | None:
    probe = subprocess.run(
        ["unshare", "--net", "--map-root-user", "true"],
        check=False,
        capture_output=True,
        timeout=20,
    )
    return None if probe.returncode == 0 else "this user may not make a network namespace"


def _no_frozen() -> str | None:
    anchors = [path for path in (ROOT / "trust-roots").rglob("*") if path.is_file()]
    return _not_built(FROZEN, lock="freeze.txt", sources=anchors)


def _no_frozen_push() -> str | None:
    ours = [
        path for name in ("push", "registry") for path in (ROOT / "bundler" / name).rglob("*.py")
    ]
    return _not_built(FROZEN_PUSH, lock="freeze-push.txt", sources=ours)


def _not_built(program: Path, *, lock: str, sources: list[Path]) -> str | None:
    if not os.access(program, os.X_OK):
        return f"no {program.relative_to(ROOT)}"
    built_at = program.stat().st_mtime
    sources = [
        *(ROOT / "loader").rglob("*.py"),
        *sources,
        *(ROOT / name for name in ("build-frozen.spec", f"requirements/{lock}")),
    ]
    newer = [path for path in sources if path.stat().st_mtime > built_at]
    return f"older than {newer[0].relative_to(ROOT)}" if newer else None


def _no_shared() -> str | None:
    return None if (SHARED / "fixtures").is_dir() else f"no fixtures under {SHARED}"


def _no_trillian_tables() -> str | None:
    return None if TRILLIAN_TABLES.is_file() else f"no {TRILLIAN_TABLES.relative_to(ROOT)}"


def _no_schemas() -> str | None:
    found = {path.name for path in SCHEMAS.glob("*.yaml")} if SCHEMAS.is_dir() else set()
    return None if len(found) == SCHEMA_COUNT else f"no {SCHEMAS.relative_to(ROOT)}"


NEEDS: dict[str, Need] = {
    "bare-debian": Need(programs=("debootstrap",), root=True),
    "containerd": Need(programs=("containerd", "ctr", "runc"), root=True),
    "cosign": Need(programs=("cosign",)),
    "cosign2": Need(programs=("cosign2",)),
    "crane": Need(programs=("crane",)),
    "docker": Need(programs=("dockerd", "docker", "containerd", "runc"), root=True),
    "docker-registry": Need(programs=("docker-registry",)),
    "faketime": Need(programs=("faketime",)),
    "frozen": Need(look=_no_frozen, mend="make frozen"),
    "frozen-push": Need(look=_no_frozen_push, mend="make frozen"),
    "fusefat": Need(programs=("fusefat", "mformat", "mcopy", "fusermount"), root=True),
    "netns": Need(
        programs=("unshare",), look=_no_network_namespace, mend="run as root, or allow namespaces"
    ),
    "notary": Need(programs=("notary", "notary-server")),
    "olareg": Need(programs=("olareg",)),
    "podman": Need(programs=("podman", "runc"), root=True),
    "regctl": Need(programs=("regctl",)),
    "schemas": Need(look=_no_schemas),
    "rekor": Need(
        programs=(
            *("rekor-server", "trillian_log_server", "trillian_log_signer"),
            *("initdb", "postgres", "psql", "setpriv"),
        ),
        look=_no_trillian_tables,
    ),
    "shared": Need(look=_no_shared, mend="put shared/ beside the checkout, or set AIRLOCK_SHARED"),
    "skopeo": Need(programs=("skopeo",)),
    "strace": Need(programs=("strace",)),
    "systemd-analyze": Need(programs=("systemd-analyze",)),
    "umoci": Need(programs=("umoci",)),
    "zstd": Need(programs=("zstd",)),
}


def find_tools() -> None:
    """Put what ``make engines`` built first on PATH; sbin, and servers, last."""
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    front = [str(TOOLS)] if str(TOOLS) not in path else []
    # Debian keeps PostgreSQL's own programs apart, by version.
    servers = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))
    back = [d for d in ("/usr/sbin", "/sbin", *servers) if d not in path]
    os.environ["PATH"] = os.pathsep.join([*front, *path, *back])


@cache
def missing(name: str) -> str | None:
    """Say what of this need is not here, or None when it is all here."""
    need = NEEDS[name]
    if not sys.platform.startswith("linux"):
        return "not Linux"
    for program in need.programs:
        if shutil.which(program) is None:
            return f"no {program} on PATH"
    if need.root and os.geteuid() != 0:
        return "needs root"
    return need.look() if need.look is not None else None
