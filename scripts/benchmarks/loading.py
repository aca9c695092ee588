"""Loading into each runtime, beside its own import of the same layers."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from scripts.benchmarks import image
from scripts.benchmarks.memory import MEMORY_SIZE_MAX
from scripts.benchmarks.parts import Bench, Stage, mend, row, sized
from scripts.benchmarks.processes import Contender, pipe
from scripts.benchmarks.table import Goal, Row, Section
from tests import engines, presence

LOAD_RATIO_MAX: Final = 1.10


RUNTIMES: Final = ("docker", "containerd", "podman")


def loading(bench: Bench, on: Stage, runtimes: Collection[str]) -> Iterator[Section]:
    """`airlock-loader load` beside each runtime's own import of the same layers."""
    for runtime in RUNTIMES:
        if runtime not in runtimes:
            continue
        if (why := presence.missing(runtime)) is not None:
            yield _absent(runtime, why)
            continue
        archive = bench.folder / "peer.tar.zst"
        match runtime:
            case "docker":
                image.write_docker_archive(on.big, archive)
                with engines.start_docker() as docker:
                    load = [*docker.client.argv, "load", "--quiet"]
                    yield _loading(bench, on, runtime, "docker load", archive, load, docker)
            case "containerd":
                image.write_oci_archive(on.big, archive)
                with engines.start_containerd() as containerd:
                    snapshotter = ("--snapshotter", containerd.snapshotter)
                    load = [*containerd.client.argv, "images", "import", *snapshotter, "-"]
                    verb = "ctr images import"
                    yield _loading(bench, on, runtime, verb, archive, load, containerd)
            case _:
                image.write_oci_archive(on.big, archive)
                with engines.start_podman() as podman:
                    load = [*podman.client.argv, "load", "--quiet"]
                    yield _loading(bench, on, runtime, "podman load", archive, load, podman)
        archive.unlink()


def _loading(
    bench: Bench,
    on: Stage,
    runtime: str,
    verb: str,
    archive: Path,
    load: Sequence[str],
    engine: engines.Docker | engines.Containerd | engines.Podman,
) -> Section:
    root = bench.folder / "host"

    def prepare() -> None:
        engine.clear()
        shutil.rmtree(root, ignore_errors=True)

    command = on.scene.load_command("load", str(on.bundle), "--into", runtime, root=root)
    contenders = [
        Contender(
            name=f"airlock-loader load --into {runtime}",
            command=command,
            environment=engine.environment,
            prepare=prepare,
        ),
        Contender(
            name=f"zstd -dc … | {verb}",
            command=pipe(["zstd", "-dc", str(archive)], load),
            prepare=prepare,
        ),
    ]
    ours, its = bench.compare(contenders)
    prepare()
    limit = LOAD_RATIO_MAX
    return Section(
        title=f"Loading into {runtime} ({sized(on.big.packed_size)} of layers)",
        rows=(row(contenders[0], ours, base=its), row(contenders[1], its, base=its)),
        goals=(
            Goal(
                what=f"loading into {runtime}, to {verb}",
                unit="ratio",
                limit=limit,
                value=ours.ratio_to(its),
            ),
            Goal(
                what=f"memory of the loader, into {runtime}",
                unit="bytes",
                limit=MEMORY_SIZE_MAX,
                value=ours.memory_size,
            ),
        ),
    )


def _absent(runtime: str, why: str) -> Section:
    command = f"airlock-loader load … --into {runtime}"
    return Section(
        title=f"Loading into {runtime}",
        rows=(Row(name=runtime, command=command, missing=mend(runtime, why)),),
        goals=(
            Goal(
                what=f"loading into {runtime}",
                unit="ratio",
                limit=LOAD_RATIO_MAX,
                value=None,
                why=mend(runtime, why),
            ),
        ),
    )
