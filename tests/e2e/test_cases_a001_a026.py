"""CASES part 2.1, row by row: attacks on the statement, through the whole loader (A001 to A026).

Every row is one run of the loader's own entry point in a process that cuts itself off, on a host
that loaded an older bundle before. Invariants of CASES 1.1 hold for each: exit status and full
code, nothing in the target (I1), no floor moved and one record (I2), one line and at most a hint
(I3), no other file anywhere (I5), clean text (I7), and BASE loads on that host right afterwards
(I8).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.loading import FarSide, Publisher
from tests.e2e.statement_attacks import POLICY, Base
from tests.e2e.statement_cases import PINNED, ROWS, Row, stating
from tests.forked import Ended, Forker


@pytest.fixture(scope="module")
def base() -> Base:
    return Base(Publisher())


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    with Forker.start() as forker:
        yield forker


@dataclass(frozen=True, slots=True)
class Far:
    """A host with an empty working folder, which is also where temporary files would be."""

    host: FarSide
    work: Path
    forker: Forker

    def load(self, bundle: Path, policy: Path | None = None) -> Ended:
        named = () if policy is None else ("--policy", str(policy))
        target = f"oci:{self.host.loaded}"
        return self.forker.run(
            *("--root", self.host.root, "load", bundle, "--json", "--into", target, *named),
            folder=self.work,
        )

    def files(self) -> set[str]:
        """Everything that lies anywhere, but for a database's journal."""
        found = self.host.root.parent.rglob("*")
        return {str(path) for path in found if not path.name.endswith("-journal")}


@pytest.fixture(scope="module")
def seasoned(base: Base, forker: Forker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a host looks like that loaded bundle 8 before; it belongs at `at` beside it."""
    folder = tmp_path_factory.mktemp("seasoned")
    at = folder / "at"
    base.publisher.write_host(at / "host")
    (at / "host/etc/airlock/policy.toml").write_text(POLICY)
    (at / "work").mkdir()
    bundle = folder / "bundle"
    bundle.write_bytes(base.archive(base.statement(8)))
    ended = _far(at, forker).load(bundle)
    assert ended.status == 0, ended.err
    return at.rename(folder / "kept")


@pytest.fixture
def far(seasoned: Path, forker: Forker) -> Iterator[Far]:
    """A fresh copy of it, at the path where the ledger knows its own images."""
    at = seasoned.with_name("at")
    shutil.copytree(seasoned, at)
    yield _far(at, forker)
    shutil.rmtree(at)


def _far(folder: Path, forker: Forker) -> Far:
    return Far(FarSide(folder / "host", folder / "loaded"), folder / "work", forker)


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_row(row: Row, base: Base, far: Far, tmp_path: Path) -> None:
    policy = far.host.root / "etc/airlock/row.toml"
    policy.write_text(row.policy)
    bundle, good = tmp_path / "bundle", tmp_path / "good"
    bundle.write_bytes(row.make(base))
    good.write_bytes(base.archive())
    before, files, count = far.host.untouched(), far.files(), len(far.host.records())

    ended = far.load(bundle, policy)

    assert (ended.status, ended.code) == (row.status, row.code), ended.err
    assert ended.verdict["code"] == row.code
    assert ended.verdict["verdict"] == ("error" if row.status == 2 else "reject")
    _, *hints = ended.err.splitlines()
    assert len(hints) <= 1
    assert all(line.startswith("hint: ") for line in hints)
    assert all(line.isprintable() for line in (ended.err + ended.out).splitlines())
    assert far.host.untouched() == before
    assert far.files() == files
    records = far.host.records()[count:]
    if row.status == 2:
        assert records == [], "nothing was attempted"
    else:
        assert [(one["outcome"], one["failure"]["code"]) for one in records] == [
            ("refused", row.code)
        ]

    after = far.load(good)
    assert (after.status, after.err) == (0, ""), "good after bad"
    assert far.host.memory()["channels"][0][1] == 10


def test_a016_a_bundle_of_the_hosts_own_channel_is_taken(
    base: Base, far: Far, tmp_path: Path
) -> None:
    policy, bundle = far.host.root / "etc/airlock/pinned.toml", tmp_path / "bundle"
    policy.write_text(PINNED)
    bundle.write_bytes(base.archive())
    ended = far.load(bundle, policy)
    assert (ended.status, ended.err) == (0, "")


def test_a017_a_newer_version_is_told_what_reads_it(base: Base, far: Far, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    for version, said in ((99, True), (0, False)):
        bundle.write_bytes(stating(schema=version)(base))
        assert ("\nhint: a newer loader is needed\n" in far.load(bundle).err) is said


def test_every_row_is_here() -> None:
    rows = {row.id.partition("-")[0] for row in ROWS}
    assert rows == {f"A{number:03}" for number in range(1, 27)}
    assert len({row.id for row in ROWS}) == len(ROWS)
