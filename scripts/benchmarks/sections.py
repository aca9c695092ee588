"""What is measured, section by section: contenders, goals, and what is said where one lacks."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scripts.benchmarks import image
from scripts.benchmarks.image import BigImage
from scripts.benchmarks.processes import Contender, Measured, Spawner, compare, pipe
from scripts.benchmarks.scene import Scene, break_statement_signature, fresh
from scripts.benchmarks.table import Goal, Row, Section, Unit
from tests import engines, presence
from tests.e2e.loading import Publisher
from tests.fakes.images import Layer, Noise

LOAD_RATIO_MAX: Final = 1.10
PACK_RATIO_MAX: Final = 0.6
MEMORY_SIZE_MAX: Final = 120_000_000
REFUSAL_SECONDS_MAX: Final = 1.0
VERSION_SECONDS_MAX: Final = 0.25
SMALL_VERIFY_SECONDS_MAX: Final = 0.5
IMPORT_SECONDS_MAX: Final = 0.15
EVIDENCE_MILLISECONDS_MAX: Final = 5.0
_LARGE_ROOM: Final = 3
"""How many times the large layer must fit on the disk: archive, quarantine, layout."""


@dataclass(frozen=True, slots=True)
class Pattern(Noise):
    """Bytes that do not repeat within a mebibyte, and hardly change from one to the next."""

    def chunks(self) -> Iterator[bytes]:
        """The bytes, a mebibyte at a time."""
        piece = bytearray(next(Noise(1 << 20).chunks()))
        for number in range(self.size >> 20):
            piece[:8] = number.to_bytes(8, "big")
            yield bytes(piece)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What every section needs."""

    folder: Path
    spawner: Spawner
    count: int
    image_size: int
    large_size: int
    say: Callable[[str], None]

    def compare(self, contenders: Sequence[Contender]) -> list[Measured]:
        """Measure contenders in rounds."""
        return compare(self.spawner, contenders, count=self.count, say=self.say)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The scene with its image, in a registry that runs, and the bundle that was packed of it."""

    scene: Scene
    big: BigImage
    bundle: Path


@contextlib.contextmanager
def stage(bench: Bench) -> Iterator[Stage]:
    """Make the image, sign it, put it into a registry, and pack it once."""
    bench.say("making the image")
    layers = fresh(bench.folder / "layers")
    big = image.make(layers, size=bench.image_size)
    with engines.start_docker_registry() as registry:
        scene = Scene(folder=bench.folder, registry=registry.host)
        bench.say("putting it into the registry")
        scene.publish(big)
        bundle = bench.folder / "bundle.tar.zst"
        cache = fresh(bench.folder / "cache")
        bench.spawner.run(scene.pack_command(output=bundle, cache=cache))
        shutil.rmtree(cache)
        yield Stage(scene=scene, big=big, bundle=bundle)


def measure(bench: Bench, parts: Collection[str]) -> Iterator[Section]:
    """Measure the parts that are asked for; those that need the image share it."""
    if "start" in parts:
        yield starting(bench)
    if "memory" in parts:
        yield memory(bench)
    if not {"pack", "load", "refuse"} & set(parts):
        return
    if (why := presence.missing("docker-registry")) is not None:
        goal = Goal(
            what="everything that needs a registry", unit="ratio", limit=1, value=None, why=why
        )
        yield Section(title="Packing, loading, refusing", rows=(), goals=(goal,))
        return
    with stage(bench) as on:
        if "refuse" in parts:
            yield refusing(bench, on)
        if "pack" in parts:
            yield packing(bench, on)
        if "load" in parts:
            yield from loading(bench, on)


# --- packing --------------------------------------------------------------------------------------


def packing(bench: Bench, on: Stage) -> Section:
    """`airlock pack` beside what others fetch the same image with."""
    scene, out = on.scene, bench.folder / "packed"
    reference, cache = scene.reference(), bench.folder / "cache"

    def prepare() -> None:
        fresh(out)
        shutil.rmtree(cache, ignore_errors=True)

    def contender(name: str, *command: str) -> Contender:
        return Contender(name=name, command=command, prepare=prepare)

    peers = {
        "skopeo": contender(
            "skopeo copy", "skopeo", "copy", "--quiet", "--src-tls-verify=false",
            f"docker://{reference}", f"oci-archive:{out}/image.tar",
        ),
        "crane": contender(
            "crane pull", "crane", "pull", "--insecure", reference, f"{out}/image.tar"
        ),
        "regctl": contender(
            "regctl image export", "regctl", "image", "export",
            "--host", f"reg={scene.registry},tls=disabled", reference, f"{out}/image.tar",
        ),
        "cosign": contender("cosign save", "cosign", "save", "--dir", f"{out}/saved", reference),
    }  # fmt: skip
    ours = contender(
        "airlock pack (verified, signed, sealed)",
        *scene.pack_command(output=out / "bundle.tar.zst", cache=cache),
    )
    here, missing = _present(peers)
    measured = bench.compare([ours, *here.values()])
    base = dict(zip(here, measured[1:], strict=True)).get("skopeo")
    rows = [
        _row(one, its, base=base) for one, its in zip([ours, *here.values()], measured, strict=True)
    ]
    goal = Goal(
        what="airlock pack, to skopeo copy",
        unit="ratio",
        limit=PACK_RATIO_MAX,
        value=None if base is None else measured[0].ratio_to(base),
        why="no skopeo here",
    )
    shutil.rmtree(out)
    shutil.rmtree(cache, ignore_errors=True)
    return Section(
        title=f"Packing from a registry on loopback ({_size(on.big.packed_size)} of layers)",
        rows=(*rows, *missing),
        goals=(goal,),
    )


# --- loading --------------------------------------------------------------------------------------


def loading(bench: Bench, on: Stage) -> Iterator[Section]:
    """`airlock-loader load` beside each runtime's own import of the same layers."""
    docker, oci = bench.folder / "docker.tar.zst", bench.folder / "oci.tar.zst"
    image.write_docker_archive(on.big, docker)
    image.write_oci_archive(on.big, oci)
    if (why := presence.missing("docker")) is not None:
        yield _absent("docker", why)
    else:
        with engines.start_docker() as engine:
            client = engine.client.argv
            load = pipe(["zstd", "-dc", str(docker)], [*client, "load", "--quiet"])
            yield _loading(bench, on, "docker", "docker load", load, engine)
    if (why := presence.missing("containerd")) is not None:
        yield _absent("containerd", why)
    else:
        with engines.start_containerd() as containerd:
            load = pipe(
                ["zstd", "-dc", str(oci)],
                [
                    *containerd.client.argv,
                    *("images", "import", "--snapshotter", containerd.snapshotter, "-"),
                ],
            )
            yield _loading(bench, on, "containerd", "ctr images import", load, containerd)
    if (why := presence.missing("podman")) is not None:
        yield _absent("podman", why)
    else:
        with engines.start_podman() as podman:
            load = pipe(["zstd", "-dc", str(oci)], [*podman.client.argv, "load", "--quiet"])
            yield _loading(bench, on, "podman", "podman load", load, podman)
    docker.unlink()
    oci.unlink()


def _loading(
    bench: Bench,
    on: Stage,
    runtime: str,
    verb: str,
    peer: Sequence[str],
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
        Contender(name=f"zstd -dc … | {verb}", command=peer, prepare=prepare),
    ]
    ours, its = bench.compare(contenders)
    prepare()
    limit = LOAD_RATIO_MAX
    return Section(
        title=f"Loading into {runtime} ({_size(on.big.packed_size)} of layers)",
        rows=(_row(contenders[0], ours, base=its), _row(contenders[1], its, base=its)),
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
        rows=(Row(name=runtime, command=command, missing=_mend(runtime, why)),),
        goals=(
            Goal(
                what=f"loading into {runtime}",
                unit="ratio",
                limit=LOAD_RATIO_MAX,
                value=None,
                why=_mend(runtime, why),
            ),
        ),
    )


# --- memory ---------------------------------------------------------------------------------------


def memory(bench: Bench) -> Section:
    """The loader's memory with one layer that is larger than it by far."""
    folder = fresh(bench.folder / "large")
    bundle = folder / "bundle.tar.zst"
    bench.say(f"writing a bundle with a layer of {_size(bench.large_size)}")
    publisher = Publisher()
    publisher.bundle(bundle, extra=[Layer.of({"pattern": Pattern(bench.large_size)}, "none")])
    loader = ["airlock-loader", "--root", str(publisher.write_host(folder / "host"))]
    contenders = [
        Contender(
            name="airlock-loader verify",
            command=[*loader, "verify", str(bundle)],
        )
    ]
    notes: tuple[str, ...] = ()
    if shutil.disk_usage(folder).free > _LARGE_ROOM * bench.large_size:
        into = f"oci:{folder}/loaded"
        contenders.append(
            Contender(
                name="airlock-loader load --into oci:DIR",
                command=[*loader, "load", str(bundle), "--into", into],
            )
        )
    else:
        notes = ("no room here to load it: only verified",)
    # Once is enough: memory hardly varies, and minutes of disk would be lost.
    measured = compare(bench.spawner, contenders, count=1, say=bench.say)
    goals = tuple(
        Goal(
            what=f"memory of {one.name}, a layer of {_size(bench.large_size)}",
            unit="bytes",
            limit=MEMORY_SIZE_MAX,
            value=its.memory_size,
        )
        for one, its in zip(contenders, measured, strict=True)
    )
    rows = tuple(_row(one, its) for one, its in zip(contenders, measured, strict=True))
    archive = _size(bundle.stat().st_size)
    shutil.rmtree(folder)
    return Section(
        title=f"One layer of {_size(bench.large_size)} (the archive: {archive})",
        rows=rows,
        goals=goals,
        notes=notes,
    )


# --- refusals -------------------------------------------------------------------------------------


def refusing(bench: Bench, on: Stage) -> Section:
    """Wrong signatures are found before the first layer is read."""
    seal = bench.folder / "wrong-seal.tar.zst"
    break_statement_signature(on.bundle, seal)
    wrong = bench.folder / "wrong-signature.tar.zst"
    scene, cache = on.scene, fresh(bench.folder / "cache")
    scene.publish_wrongly_signed(on.big)
    # Only a packer who asks for no image signature seals this one.
    careless = scene.pack_command(output=wrong, cache=cache, tag="wrong", policy="careless.toml")
    bench.spawner.run(careless)
    shutil.rmtree(cache)
    root, rows, goals = bench.folder / "host", [], []
    for name, path in (("the statement", seal), ("the image", wrong)):
        contender = Contender(
            name=f"wrong signature of {name}",
            command=scene.load_command("verify", str(path), "--json", root=root),
            expect=11,
        )
        [measured] = bench.compare([contender])
        taken, size, layers, code = _read(measured)
        note = f"{code}: read {taken:,} of {size:,} bytes, {layers} of layers"
        rows.append(_row(contender, measured, note=note))
        goals += [
            Goal(
                what=f"refusal of a wrong signature of {name}",
                unit="seconds",
                limit=REFUSAL_SECONDS_MAX,
                value=measured.seconds,
            ),
            Goal(
                what=f"bytes of layers read before a wrong signature of {name} is refused",
                unit="bytes",
                limit=0,
                value=layers,
            ),
        ]
        path.unlink()
    return Section(title="Refusing", rows=tuple(rows), goals=tuple(goals))


def _read(measured: Measured) -> tuple[int, int, int, str]:
    """Return bytes read, bytes of the file, bytes of layers read, and the error's code."""
    verdict: dict[str, Any] = json.loads(measured.runs[0].stdout)
    archive = verdict["archive"]
    return archive["bytes_read"], archive["size"], archive["layers_read"], verdict["code"]


# --- starting -------------------------------------------------------------------------------------


def starting(bench: Bench) -> Section:
    """The frozen loader, and what the verification core costs."""
    folder = fresh(bench.folder / "small")
    bundle = folder / "bundle.tar.zst"
    publisher = Publisher()
    publisher.bundle(bundle)
    root = publisher.write_host(folder / "host")
    rows: list[Row] = []
    goals: list[Goal] = []
    frozen = presence.FROZEN
    why = presence.missing("frozen")
    if why is not None:
        bench.say(f"{why}: building")
        subprocess.run(["make", "--silent", "frozen"], cwd=presence.ROOT, check=True)
    for name, limit, command in (
        ("frozen: --version", VERSION_SECONDS_MAX, [str(frozen), "--version"]),
        (
            "frozen: verify a small bundle",
            SMALL_VERIFY_SECONDS_MAX,
            [str(frozen), "--root", str(root), "verify", str(bundle)],
        ),
    ):
        contender = Contender(name=name, command=command)
        [measured] = bench.compare([contender])
        rows.append(_row(contender, measured))
        goals.append(Goal(what=name, unit="seconds", limit=limit, value=measured.seconds))
    rows_of_core, goals_of_core = _core(bench)
    shutil.rmtree(folder)
    return Section(title="Starting", rows=(*rows, *rows_of_core), goals=(*goals, *goals_of_core))


def _core(bench: Bench) -> tuple[list[Row], list[Goal]]:
    """What `core.py` says in processes of its own."""
    rows, goals = [], []
    python = str(presence.ROOT / ".venv/bin/python")
    for what, limit in (("import", IMPORT_SECONDS_MAX), ("evidence", EVIDENCE_MILLISECONDS_MAX)):
        command = [python, "-m", "scripts.benchmarks.core", what]
        contender = Contender(
            name=f"verification core: {what}",
            command=command,
            environment={"PYTHONPATH": str(presence.ROOT)},
        )
        [measured] = bench.compare([contender])
        said = [json.loads(run.stdout) for run in measured.runs]
        for kind in said[0]:
            values = sorted(one[kind] for one in said)
            value = values[len(values) // 2]
            unit: Unit = "seconds" if what == "import" else "milliseconds"
            goals.append(Goal(what=kind, unit=unit, limit=limit, value=value))
        rows.append(_row(contender, measured, note="(the whole process)"))
    return rows, goals


# --- words ----------------------------------------------------------------------------------------


def _present(peers: dict[str, Contender]) -> tuple[dict[str, Contender], list[Row]]:
    here, missing = {}, []
    for program, contender in peers.items():
        why = presence.missing(program)
        if why is None:
            here[program] = contender
        else:
            row = Row(name=contender.name, command=contender.shown, missing=_mend(program, why))
            missing.append(row)
    return here, missing


def _mend(program: str, why: str) -> str:
    return f"{why}; {presence.NEEDS[program].mend}"


def _row(
    contender: Contender, measured: Measured, *, base: Measured | None = None, note: str = ""
) -> Row:
    return Row(
        name=contender.name,
        command=contender.shown,
        seconds=measured.seconds,
        all_seconds=tuple(run.seconds for run in measured.runs),
        ratio=None if base is None else measured.ratio_to(base),
        memory_size=measured.memory_size,
        note=note,
    )


def _size(size: int) -> str:
    return f"{size / (1 << 30):.0f} GiB" if size >= 1 << 30 else f"{size / 1_000_000:.0f} MB"
