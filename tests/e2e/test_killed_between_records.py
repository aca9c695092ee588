"""What changes outside of the ledger is written down before: killed at any call, the host knows.

`policy accept` replaces a file, `prune --yes` removes images and evidence. Whatever of it happened,
a record says that it was begun, floors have not fallen, and running again brings it to its end.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from loader.digest import Digest
from tests.conftest import INJECTED
from tests.e2e.injected import Fault, spread, tracing
from tests.e2e.loading import POLICY, FarSide, Publisher
from tests.e2e.test_fault_injection import Record
from tests.e2e.test_policy_crosses import NEW, People, carry, policy_of, write_host
from tests.forked import Ended, Forker

pytestmark = pytest.mark.engine("strace")
CALLS = ("rename", "renameat", "renameat2", "unlink", "unlinkat", "fsync", "fdatasync")
STEP = 3
NEWER = NEW.replace("2027", "2028")
_CALL = re.compile(r"(\d+) +(\w+)\(")


@dataclass(slots=True)
class Bench:
    """One host that is put back before every fault; always the same path, as ledgers know it."""

    forker: Forker
    live: FarSide
    kept: Path

    @property
    def folder(self) -> Path:
        return self.live.root.parent

    def fresh(self) -> None:
        shutil.rmtree(self.folder)
        shutil.copytree(self.kept, self.folder)

    def run(self, *arguments: str | Path) -> Ended:
        return self.forker.run("--root", self.live.root, *arguments, folder=self.kept.parent)

    def faults(self, *arguments: str | Path) -> list[Fault]:
        """Run it whole, and return a kill at every so many-th call that writes state."""
        log = self.kept.parent / "log"
        with tracing(self.forker, "-o", str(log), "-e", f"trace={','.join(CALLS)}"):
            ended = self.run(*arguments)
        assert ended.status == 0, ended.err
        found = [m for line in log.read_text().splitlines() if (m := _CALL.match(line))]
        counts = {call: sum(m[2] == call for m in found) for call in CALLS}
        assert len({m[1] for m in found}) == 1, "one process writes"
        return [
            Fault(call=call, nth=nth, what="signal=SIGKILL")
            for call, count in counts.items()
            for nth in (spread(range(1, count + 1), STEP) if count else ())
        ]

    def killed(self, fault: Fault, *arguments: str | Path) -> Ended:
        self.fresh()
        inject = f"inject={fault.call}:{fault.what}:when={fault.nth}"
        with tracing(self.forker, "-o", "/dev/null", "-e", f"trace={fault.call}", "-e", inject):
            return self.run(*arguments)


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    with Forker.start(everything=True) as forker:
        yield forker


def _bench(forker: Forker, host: FarSide) -> Bench:
    folder = host.root.parent
    kept = folder.with_name("kept")
    shutil.copytree(folder, kept)
    return Bench(forker, host, kept)


def test_fi_09_a_policy_is_the_old_or_the_new_one_and_no_serial_falls(
    forker: Forker, tmp_path: Path, record_property: Record
) -> None:
    publisher = Publisher()
    (tmp_path / "people").mkdir()
    people = People(tmp_path / "people")
    host = write_host(publisher, people, tmp_path / "live")
    bundles = [
        carry(
            publisher,
            tmp_path / f"{serial}.tar.zst",
            people.propose("anna", "ben", serial=serial, text=text, into=f"proposal{serial}"),
        )
        for serial, text in ((1, NEW), (2, NEWER))
    ]
    digests = [str(Digest.of(text.encode())) for text in (NEW, NEWER)]
    older, newer = (
        ("policy", "accept", bundle, "--digest", digest)
        for bundle, digest in zip(bundles, digests, strict=True)
    )
    publisher.bundle(tmp_path / "0.tar.zst")
    assert host.load(tmp_path / "0.tar.zst").status == 0
    bench = _bench(forker, host)
    faults = bench.faults(*newer)
    between = 0
    for fault in faults:
        ended = bench.killed(fault, *newer)
        assert ended.status < 0 or policy_of(host) == NEWER, f"{fault}: {ended.err}"
        assert policy_of(host) in {POLICY, NEWER}, str(fault)
        begun = host.memory()["logs"]
        between += bool(begun) and ended.status < 0
        if begun or policy_of(host) == NEWER:
            assert bench.run(*older).status == 16, f"{fault}: an older one came in"
            assert bench.run(*newer[:1], "diff", newer[2]).status == 0
            said = bench.run("status").out
            done = host.records()[-2]["outcome"] == "done"
            assert ("UNFINISHED" in said) is not done, f"{fault}: {said}"
        again = bench.run(*newer)
        assert again.status == 0, f"{fault}: {again.err}"
        assert policy_of(host) == NEWER, str(fault)
        assert (host.root / "etc/airlock/policy.toml.old").read_text() == POLICY, str(fault)
        assert bench.run(*older).status == 16, str(fault)
        assert bench.run(*newer).out.startswith("ALREADY THERE"), str(fault)
        last = [r for r in host.records() if r["outcome"] == "done"][-1]
        assert (last["verb"], last["policy"]) == ("policy-accept", digests[1])
        assert bench.run("audit", "verify").status == 0, str(fault)
    record_property(INJECTED, len(faults))
    assert between, "none came between the first record and the last"


def test_fi_08_what_prune_removes_was_written_down_before(
    forker: Forker, tmp_path: Path, record_property: Record
) -> None:
    publisher = Publisher()
    host = FarSide(publisher.write_host(tmp_path / "live/host"), tmp_path / "live/loaded")
    for number in (1, 2):
        bundle = tmp_path / f"{number}.tar.zst"
        publisher.bundle(bundle, sequence=number, version=f"1.{number}", days=number)
        assert host.load(bundle).status == 0
    bench = _bench(forker, host)

    def there() -> set[str]:
        folders = (host.loaded / "blobs/sha256", host.state / "evidence")
        return {f"{folder.name} {path.name}" for folder in folders for path in folder.iterdir()}

    before = there()
    faults = bench.faults("prune", "--yes")
    after = there()
    between = 0
    for fault in faults:
        ended = bench.killed(fault, "prune", "--yes")
        gone = before - there()
        begun = [r for r in host.records() if (r["verb"], r["outcome"]) == ("prune", "begun")]
        if gone:
            [record] = begun
            said = " ".join(record["notes"])
            blobs = {one for one in gone if one.startswith("sha256 ")}
            assert all(one.replace(" ", ":") in said for one in blobs), f"{fault}: {gone}"
            between += ended.status < 0
        again = bench.run("prune", "--yes")
        assert again.status == 0, f"{fault}: {again.err}"
        assert there() == after, str(fault)
        assert "NOTHING TO PRUNE" in bench.run("prune").out, str(fault)
        for verb in (("verify-local", "--all"), ("audit", "verify")):
            assert bench.run(*verb).status == 0, str(fault)
    record_property(INJECTED, len(faults))
    assert between, "none came between the first record and the last"
