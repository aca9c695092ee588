"""What a packer shows of how logs grew: honest ones, and such that lie or say nothing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundler.registry.settings import RegistrySettings
from bundler.rekor.client import RekorClient, parse_note, parse_path, parse_trees
from bundler.rekor.grow import Grown, grow
from bundler.store import ContentStore
from loader.errors import FormatError
from loader.model.growth import LogGrowth
from loader.trust.trusted_root import Log, TrustedRoot
from loader.verify.facts import LogTree
from loader.verify.growth import verify_growth
from tests.fakes.content import encode
from tests.fakes.rekor_server import FakeRekor, trees
from tests.fakes.sigworld import rekor
from tests.fakes.sigworld.world import World
from tests.unit.bundler.registry.connect import QUICK


class Stage:
    """A world with logs that grew, a store, and a client."""

    def __init__(self, folder: Path) -> None:
        self.world = World()
        self.world.rekor1.grow(30)
        self.world.rekor2.grow(300)
        self.store = ContentStore(folder / "store")

    def tree(self, size: int, log: rekor.Log | None = None) -> LogTree:
        log = log or self.world.rekor1
        return LogTree(
            log=log.log_id.hex(),
            origin=log.origin,
            size=size,
            root_hash=log.tree.head(size),
        )

    def logs(self) -> tuple[Log, ...]:
        return TrustedRoot.parse(encode(self.world.trusted_root()), name="acme").logs

    @contextlib.contextmanager
    def client(self, *hosts: str) -> Iterator[RekorClient]:
        settings = RegistrySettings(
            plain_http=frozenset(hosts), certificate_folders=(), timing=QUICK
        )
        client = RekorClient(settings, sleep=lambda _: None)
        try:
            yield client
        finally:
            client.close()

    def grow(
        self, server: FakeRekor, wanted: Sequence[LogTree], shipped: Sequence[LogTree] = ()
    ) -> Grown:
        with self.client(server.host) as client:
            return grow(
                wanted,
                shipped,
                [(log, "acme") for log in self.logs()],
                self.store,
                client,
                base=server.url,
                parallel_count=2,
            )


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_evidence_and_what_was_shipped_are_linked(stage: Stage) -> None:
    log = stage.world.rekor1
    wanted, shipped = [stage.tree(20), stage.tree(12)], [stage.tree(7), stage.tree(15)]
    with FakeRekor(log) as server:
        found = stage.grow(server, wanted, shipped)
    assert found.notes == ()
    [entry] = found.trust
    assert (entry.anchor, entry.kind) == ("acme", "log")
    [blob] = entry.blobs
    raw = stage.store.read(blob, where="test", size_max=1 << 20)
    seen = verify_growth(LogGrowth.parse(raw, where="test"), stage.logs()).value
    assert found.heads == (seen.newest,)
    assert seen.newest == stage.tree(log.tree.size)
    assert {tree.size for tree in seen.continues} == {7, 12, 15, 20, log.tree.size}


def test_the_newest_tree_itself_needs_no_proof(stage: Stage) -> None:
    with FakeRekor(stage.world.rekor1) as server:
        found = stage.grow(server, [stage.tree(stage.world.rekor1.tree.size)])
    assert [path for path in server.paths if "proof" in path] == []
    assert len(found.logs[0].continues) == 1


def test_a_tree_that_a_log_closed_is_asked_for_by_its_number(stage: Stage) -> None:
    growing = rekor.RekorV1(stage.world.rekor1.host, tree_id=2)
    growing.grow(3)
    with FakeRekor(growing, closed=[stage.world.rekor1]) as server:
        found = stage.grow(server, [stage.tree(9)])
    assert [tree.size for tree in sorted(found.logs[0].continues)] == [
        9,
        stage.world.rekor1.tree.size,
    ]
    assert any(f"treeID={stage.world.rekor1.tree_id}" in path for path in server.paths)


def test_a_log_in_tiles_is_asked_at_its_own_address(stage: Stage) -> None:
    """Rekor v2 calls itself by its host: no proofs to ask for; they are made of tiles."""
    log = rekor.RekorV2("127.0.0.1")
    log.grow(300)
    with FakeRekor(log) as server, stage.client(server.host) as client:
        document = stage.world.trusted_root(logs=[log])
        document["tlogs"][0]["baseUrl"] = server.url
        [known] = TrustedRoot.parse(encode(document), name="acme").logs
        found = grow(
            [stage.tree(100, log), stage.tree(257, log)],
            [stage.tree(5, log)],
            [(known, "acme")],
            stage.store,
            client,
            base="https://nobody.example",
            parallel_count=2,
        )
    assert found.notes == ()
    assert {tree.size for tree in found.logs[0].continues} == {5, 100, 257, log.tree.size}


Lie = Callable[[Stage], rekor.Log]
LIES: dict[str, tuple[Lie, str]] = {
    "it forked before that tree": (lambda s: s.world.rekor1.fork(10), "signature.consistency"),
    "its key is another": (
        lambda s: rekor.RekorV1("other.example", tree_id=s.world.rekor1.tree_id),
        "the log has no such tree",
    ),
    "it has shrunk": (lambda s: shrunk(s.world.rekor1, 15), "a smaller tree"),
}


def shrunk(log: rekor.RekorV1, size: int) -> rekor.RekorV1:
    other = rekor.RekorV1(log.host, tree_id=log.tree_id)
    other.tree = type(other.tree)()
    for body in log.tree.leaves[:size]:
        other.tree.append(body)
    return other


@pytest.mark.parametrize("case", LIES)
def test_a_log_that_lies_is_said_and_links_nothing(stage: Stage, case: str) -> None:
    lie, words = LIES[case]
    liar = lie(stage)
    if "forked" in case:
        liar.grow(40)
    with FakeRekor(liar) as server:
        found = stage.grow(server, [stage.tree(20)])
    [note] = found.notes
    assert words in note
    assert stage.world.rekor1.origin in note
    linked = {tree for log in found.logs for tree in log.continues}
    assert stage.tree(20) not in linked


def test_a_checkpoint_that_the_log_did_not_sign(stage: Stage) -> None:
    """Somebody in between answers for the log, and has not its key."""
    between = rekor.RekorV1(stage.world.rekor1.host)
    between.signer = stage.world.managed("between")
    between.grow(50)
    with FakeRekor(between) as server:
        found = stage.grow(server, [stage.tree(20)])
    assert found.trust == ()
    assert "the log's newest checkpoint does not hold" in found.notes[0]


@pytest.mark.parametrize("status", [404, 429, 500, 302])
def test_a_log_that_cannot_be_asked_is_said(stage: Stage, status: int) -> None:
    with FakeRekor(stage.world.rekor1, status=status) as server:
        found = stage.grow(server, [stage.tree(20)])
    assert found.trust == ()
    assert "the far side will not see how it grew: remote." in found.notes[0]


def test_a_log_that_nobody_pinned_is_not_asked(stage: Stage) -> None:
    stranger = rekor.RekorV1("stranger.example")
    with FakeRekor(stranger) as server:
        found = stage.grow(server, [stage.tree(3, stranger)])
    assert (found.trust, server.paths) == ((), [])


VALUE: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just([]) | st.just({})
)
GOOD = trees(World().rekor1, closed=[World("old").rekor1])


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(raw: bytes) -> None:
    for parse in (parse_trees, parse_path, parse_note):
        with contextlib.suppress(FormatError):
            parse(raw, where="test")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(GOOD)), VALUE)
def test_any_value_in_any_field(name: str, value: object) -> None:
    with contextlib.suppress(FormatError):
        parse_trees(json.dumps({**GOOD, name: value}).encode(), where="test")
    with contextlib.suppress(FormatError):
        parse_path(json.dumps({"hashes": value}).encode(), where="test")
