"""The corpus on a host that already holds something, by the whole `load` line into a layout.

Every case is one run of the loader's own entry point, in a process of its own that really cuts
itself off. Whatever is refused leaves floors, target, quarantine, working directory and temporary
folder as they were, and one record that says why; what is in order is loaded.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from loader.errors import STATUS_BY_CLASS
from loader.model.bundle import EvidenceEntry, ImageEntry, PlatformManifest
from loader.model.descriptor import Platform
from loader.model.reference import Reference
from tests.adversarial.case import ACCEPT, Case
from tests.adversarial.corpus import corpus, write_policy
from tests.adversarial.golden import Builder, Bundle
from tests.e2e.loading import FarSide
from tests.forked import Ended, Forker
from tests.presence import FROZEN

CASES = list(corpus())
BY_CLASS: dict[str, list[Case]] = {}
for one in CASES:
    BY_CLASS.setdefault(one.expect_class, []).append(one)
SPREAD = [case for cases in BY_CLASS.values() for case in cases[:: -(-len(cases) // 4)]]
"""Up to four of every verdict, far apart: for the frozen program, which has to be started anew."""
EXPECTED = {
    # Who judges before the first layer sees first what no image needs, or what one needs in vain.
    "statement-member-not-there": "container",
    "statement-member-not-announced": "missing",
    "count-members-100000-not-there": "container",
    "count-layer-of-8-pib": "container",
    # How a layer is packed is told from its bytes, as runtimes do; the diff_id is then right.
    "layer-plain-called-gzip": ACCEPT,
    "layer-gzip-called-plain": ACCEPT,
    "layer-gzip-called-zstd": ACCEPT,
}
"""Where the whole loader rightly says something else than a reader, or a judge, by itself."""
SEED = "registry.example/org/seed"
TIME_MAX_SECONDS = 5.0
MEMORY_MAX = 256 * 1024 * 1024
SHM = Path("/dev/shm")
SHM_FREE_MIN = 1 << 30


@dataclass(slots=True)
class Tally:
    """What all runs came to."""

    verdicts: Counter[str] = field(default_factory=Counter)
    cpu_seconds: float = 0.0
    slowest: tuple[float, str] = (0.0, "")
    largest: tuple[int, str] = (0, "")

    def add(self, case: Case, ended: Ended) -> None:
        self.verdicts["refused" if ended.status else "loaded"] += 1
        self.cpu_seconds += ended.cpu_seconds
        self.slowest = max(self.slowest, (ended.cpu_seconds, case.id))
        self.largest = max(self.largest, (ended.memory, case.id))

    def __str__(self) -> str:
        return (
            f"{self.verdicts.total()} archives through the whole loader, {dict(self.verdicts)}: "
            f"{self.cpu_seconds:.0f} s of processor time; the slowest {self.slowest[0]:.2f} s "
            f"({self.slowest[1]}), the largest {self.largest[0] / 1e6:.0f} MB ({self.largest[1]})"
        )


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    with Forker.start() as forker:
        yield forker


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for one case, in memory where there is room.

    A thousand runs, each of which waits for the disk a dozen times, are minutes of nothing but
    waiting; and what they leave would fill a small disk.
    """
    roomy = SHM.is_dir() and shutil.disk_usage(SHM).free > SHM_FREE_MIN
    with tempfile.TemporaryDirectory(dir=SHM if roomy else tmp_path) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    tally = Tally()
    yield tally
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{tally}")


def _seed() -> Bundle:
    builder = Builder()
    image = builder.image("linux/amd64", {"seed": b"was here before\n"})
    signature = builder.signature(image, SEED)
    entry = ImageEntry(
        reference=Reference.parse(f"{SEED}:1"),
        image=image,
        platforms=(PlatformManifest(platform=Platform.parse("linux/amd64"), manifest=image),),
        evidence=(EvidenceEntry(subject=image.digest, store="signature-tag", manifest=signature),),
    )
    return Bundle(
        images=(entry,),
        trust=(),
        metadata=tuple(sorted(builder.metadata, key=lambda d: d.digest)),
        layers=tuple(builder.layers),
        blobs=builder.blobs,
    )


@dataclass(frozen=True, slots=True)
class Seeded:
    """A host that loaded one image, to be copied for each case."""

    folder: Path
    untouched: tuple[object, ...]
    target: set[str]

    def copy(self, folder: Path) -> FarSide:
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        return _host(folder)


def _host(folder: Path) -> FarSide:
    return FarSide(folder / "host", folder / "loaded")


@pytest.fixture(scope="module")
def seeded(forker: Forker, tmp_path_factory: pytest.TempPathFactory) -> Seeded:
    folder = tmp_path_factory.mktemp("seeded")
    anchors = folder / "host/etc/airlock"
    anchors.mkdir(parents=True)
    write_policy(anchors)
    (folder / "work").mkdir()
    host = _host(folder)
    bundle = folder / "bundle"
    bundle.write_bytes(_seed().archive())
    ended = forker.run(*_command(host, bundle), folder=folder / "work")
    assert ended.status == 0, ended.err
    bundle.unlink()
    return Seeded(folder, host.untouched(), set(host.target()))


def _command(host: FarSide, bundle: Path) -> tuple[str, ...]:
    command = host.command("load", bundle, "--into", f"oci:{host.loaded}", isolated=False)
    return tuple(command[len(host.program) :])


def _files(folder: Path) -> set[str]:
    """Everything that lies below a folder, but for a database's journal."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if not path.name.endswith("-journal")
    }


def _expect(
    case: Case, host: FarSide, seeded: Seeded, before: set[str], status: int, err: str
) -> None:
    """Check what a run left behind, and how it ended."""
    expected = EXPECTED.get(case.id, case.expect_class)
    if expected == ACCEPT:
        assert (status, err) == (0, "")
        assert host.records()[-1]["outcome"] == "loaded"
        assert seeded.target < set(host.target())
        assert host.quarantine() == []
        return
    said = [line for line in err.splitlines() if line.startswith("airlock: error[")]
    assert len(said) == 1, err
    assert said[0].startswith(f"airlock: error[{expected}."), err
    assert len(err.splitlines()) <= 2, err
    assert err.replace("\n", "").isprintable()
    assert err.isascii()
    assert status == STATUS_BY_CLASS[expected]
    assert host.untouched() == seeded.untouched
    assert _files(host.root.parent) == before, "something was left behind"
    *_, seed, record = host.records()
    assert seed["outcome"] == "loaded", "one attempt, one record"
    outcome = "failed" if expected == "io" else "refused"
    assert record["outcome"] == outcome
    assert f"airlock: error[{record['failure']['code']}]: " in said[0]


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_the_whole_loader_says_what_the_corpus_expects(
    case: Case, forker: Forker, seeded: Seeded, tally: Tally, folder: Path
) -> None:
    host = seeded.copy(folder)
    bundle = folder / "bundle"
    case.build(bundle)
    before = _files(folder)
    ended = forker.run(*_command(host, bundle), folder=folder / "work")
    tally.add(case, ended)
    _expect(case, host, seeded, before, ended.status, ended.err)
    assert ended.cpu_seconds < TIME_MAX_SECONDS
    assert ended.memory < MEMORY_MAX


@pytest.mark.engine("frozen")
@pytest.mark.parametrize("case", SPREAD, ids=[case.id for case in SPREAD])
def test_the_frozen_loader_says_the_same(case: Case, seeded: Seeded, folder: Path) -> None:
    host = replace(seeded.copy(folder), program=(str(FROZEN),))
    bundle = folder / "bundle"
    case.build(bundle)
    before = _files(folder)
    ran = host.run("load", bundle, "--into", f"oci:{host.loaded}", cwd=folder / "work")
    _expect(case, host, seeded, before, ran.status, ran.err)
