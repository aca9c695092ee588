"""A host that remembers what logs showed it, from load to load, with a log that grows and forks."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from loader.model.bundle import TrustEntry
from tests.e2e.loading import POLICY, FarSide, Publisher, Ran, descriptor_of
from tests.fakes.content import ContentStore
from tests.fakes.images import hello_image
from tests.fakes.sigworld import growth
from tests.fakes.sigworld.rekor import RekorV1

ROOT = 'trusted-root = "trusted_root.json"\n'


class Channel:
    """A host, and whoever packs for it: bundle after bundle, each with a newer image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.publisher = Publisher()
        self.host = FarSide(self.publisher.write_host(folder / "host"), folder / "loaded")
        self.sequence = 0

    @property
    def log(self) -> RekorV1:
        return self.publisher.world.rekor1

    def require(self) -> None:
        """Let the policy want a witness."""
        policy = self.host.root / "etc/airlock/policy.toml"
        policy.write_text(POLICY.replace(ROOT, ROOT + 'witness = "require"\n'))

    def pack(
        self,
        trees: Sequence[int] | None = None,
        *,
        proven: bool = True,
        documents: Sequence[bytes] = (),
        channel: str = "stable",
    ) -> Path:
        """Sign and log another image; `trees` are the sizes that the newest tree is linked to."""
        self.sequence += 1
        store = ContentStore()
        image = hello_image(store, text=f"{self.sequence}\n", version=f"1.{self.sequence}.0")
        entry = self.publisher.entry(image, tag="1", days=self.sequence, proven=proven)
        made = list(documents)
        if trees is not None:
            made.append(growth.written(growth.growth(self.log, trees)))
        blobs = [store.add(raw, growth.MEDIA_TYPE) for raw in made]
        carried = TrustEntry(anchor="acme", kind="log", blobs=tuple(map(descriptor_of, blobs)))
        path = self.folder / f"{self.sequence}.tar.zst"
        self.publisher.pack(
            path,
            store,
            [entry],
            channel=channel,
            sequence=self.sequence,
            trust=(carried,) if blobs else (),
        )
        return path

    def remembered(self) -> dict[str, int]:
        """The size of the tree that the host keeps, by channel."""
        with contextlib.closing(sqlite3.connect(self.host.state / "ledger.sqlite")) as db:
            rows = db.execute("SELECT name, seen FROM trust WHERE kind = 'log'").fetchall()
        return {name.split(":")[1]: int(json.loads(seen)["size"]) for name, seen in rows}


@pytest.fixture
def channel(tmp_path: Path) -> Channel:
    return Channel(tmp_path)


def log_of(ran: Ran) -> dict[str, Any]:
    [log] = ran.verdict["logs"]
    found: dict[str, Any] = log
    return found


def test_a_log_that_grows_is_witnessed(channel: Channel) -> None:
    channel.require()
    first = channel.host.load(channel.pack())
    assert first.status == 0, first.err
    assert log_of(first)["holds"] == "first"
    size = channel.log.tree.size
    assert channel.remembered() == {"stable": size}
    channel.log.grow(20)
    ran = channel.host.load(channel.pack([size, channel.log.tree.size]))
    assert ran.status == 0, ran.err
    log = log_of(ran)
    assert (log["holds"], log["remembered_size"]) == ("witnessed", size)
    assert channel.remembered() == {"stable": channel.log.tree.size}
    notes = channel.host.records()[-1]["notes"]
    assert any(text.startswith("time ") and "this host's clock" in text for text in notes)
    assert any("anchor acme: " in text and "days old" in text for text in notes)
    assert any("witnessed" in text for text in notes)
    words = channel.host.run("verify", channel.folder / "2.tar.zst").out
    assert f"  log        {channel.log.origin}: witnessed, {channel.log.tree.size} leaves" in words


def test_a_bundle_that_was_skipped_breaks_nothing(channel: Channel) -> None:
    """The packer links every head that it shipped, not only the last one."""
    channel.require()
    assert channel.host.load(channel.pack()).status == 0
    size = channel.log.tree.size
    channel.pack([size])
    skipped = channel.log.tree.size
    ran = channel.host.load(channel.pack([size, skipped, skipped + 1]))
    assert (ran.status, log_of(ran)["holds"]) == (0, "witnessed")


def test_without_a_proof_it_is_said_and_the_memory_stays(channel: Channel) -> None:
    assert channel.host.load(channel.pack()).status == 0
    size = channel.log.tree.size
    ran = channel.host.load(channel.pack())
    assert ran.status == 0, ran.err
    assert log_of(ran)["holds"] == "unwitnessed"
    [warning] = ran.verdict["warnings"]
    assert f"not witnessed, {size + 1} leaves: no proof from the tree of {size} leaves" in warning
    assert channel.remembered() == {"stable": size}
    linked = channel.host.load(channel.pack([size, channel.log.tree.size + 1]))
    assert log_of(linked)["holds"] == "witnessed", "the next bundle links to what stayed"


def test_policy_may_want_a_witness(channel: Channel) -> None:
    channel.require()
    assert channel.host.load(channel.pack()).status == 0
    size = channel.log.tree.size
    before = channel.host.untouched(), channel.remembered()
    alone = channel.pack()
    ran = channel.host.load(alone)
    assert (ran.status, ran.verdict["code"]) == (14, "policy.unwitnessed")
    assert f"expected a proof from the tree of {size} leaves" in ran.err
    promised = channel.host.load(channel.pack(proven=False))
    assert (promised.status, promised.verdict["code"]) == (14, "policy.unwitnessed")
    assert (channel.host.untouched(), channel.remembered()) == before
    reason = channel.host.load(alone, "--allow-downgrade", "the packer's lock was lost")
    assert reason.status == 0, reason.err
    assert "the packer's lock was lost" in reason.verdict["downgrade"]["reason"]
    assert channel.remembered() == {"stable": size + 1}


def test_a_forked_log_is_refused(channel: Channel) -> None:
    """It shows this host another history than before: its own signatures prove it."""
    assert channel.host.load(channel.pack()).status == 0
    size = channel.log.tree.size
    before = channel.host.untouched(), channel.remembered()
    honest = channel.log
    for documents in (False, True):
        # The same size as before, with other leaves: the evidence itself, or a proof from it.
        channel.publisher.world.rekor1 = honest.fork(size - 2)
        trees = [size, size + 1] if documents else None
        if documents:
            channel.log.grow(1)
        path = channel.pack(trees)
        for more in ((), ("--allow-downgrade", "let it in")):
            ran = channel.host.load(path, *more)
            assert (ran.status, ran.verdict["code"]) == (11, "signature.log-fork"), ran.err
            assert "two histories" in ran.err
        verified = channel.host.verify(path)
        assert verified.status == 11
    assert (channel.host.untouched(), channel.remembered()) == before


def test_a_fork_behind_the_remembered_tree_cannot_be_linked(channel: Channel) -> None:
    channel.require()
    assert channel.host.load(channel.pack()).status == 0
    size = channel.log.tree.size
    honest = growth.growth(channel.log, [size])
    channel.publisher.world.rekor1 = channel.log.fork(size - 2)
    channel.log.grow(5)
    lying = growth.growth(channel.log, [size])
    lying["trees"][0]["rootHash"] = honest["trees"][0]["rootHash"]
    before = channel.remembered()
    ran = channel.host.load(channel.pack(documents=[growth.written(lying)]))
    assert (ran.status, ran.verdict["code"]) == (14, "policy.unwitnessed"), ran.err
    assert channel.remembered() == before


@pytest.mark.parametrize("required", [True, False])
def test_another_tree_of_the_same_key_is_new_and_that_is_said(
    channel: Channel,
    required: bool,  # noqa: FBT001
) -> None:
    """What docs/threat-model.md does not promise: a shard, or a thief of the key, begins one."""
    if required:
        channel.require()
    assert channel.host.load(channel.pack()).status == 0
    remembered = channel.remembered()
    known = channel.log.tree.size
    other = channel.log.fork(2)
    other.tree_id += 1
    channel.publisher.world.rekor1 = other
    ran = channel.host.load(channel.pack())
    assert ran.status == 0, ran.err
    [log] = [one for one in ran.verdict["logs"] if one["origin"] == other.origin]
    assert (log["holds"], log["beside"], log["size"]) == ("first", 1, other.tree.size)
    said = f"seen for the first time, {other.tree.size} leaves, beside 1 other tree of the same key"
    assert [said in warning for warning in ran.verdict["warnings"]] == [True]
    assert said in channel.host.records()[-1]["notes"][-1]
    assert len(channel.host.memory()["trust"]) == 2, "both trees are remembered from now on"
    assert known in {*remembered.values()}
    assert channel.host.verify(channel.pack([other.tree.size])).status == 0


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{}", "growth of a log of acme"),
        (b"[" * 5000, "growth of a log of acme"),
        (b"x" * 5_000_000, "growth of a log of acme"),
    ],
    ids=["nothing", "deep", "huge"],
)
def test_what_shows_nothing_is_said(channel: Channel, raw: bytes, words: str) -> None:
    """It may as well have been left away: the bundle is judged as it would be without it."""
    path = channel.pack(documents=[raw])
    ran = channel.host.load(path)
    if len(raw) > 4 << 20:
        assert (ran.status, ran.verdict["class"]) == (19, "limit")
        return
    assert ran.status == 0, ran.err
    assert [words in text for text in ran.verdict["warnings"]] == [True]
    assert log_of(ran)["holds"] == "first"


def test_one_document_is_looked_at_once_and_many_are_a_limit(channel: Channel) -> None:
    raw = growth.written(growth.growth(channel.log, [2]))
    ran = channel.host.load(channel.pack(documents=[raw] * 200))
    assert ran.status == 0, ran.err
    many = [growth.written(growth.growth(channel.log, [n % 5 + 1], schema=n)) for n in range(65)]
    refused = channel.host.load(channel.pack(documents=many))
    assert (refused.status, refused.verdict["class"]) == (19, "limit")


def test_a_refused_bundle_is_not_remembered(channel: Channel) -> None:
    assert channel.host.load(channel.pack()).status == 0
    size = channel.log.tree.size
    path = channel.pack([size])
    raw = bytearray(path.read_bytes())
    raw[-len(raw) // 8] ^= 1
    path.write_bytes(raw)
    assert channel.host.load(path).status == 19
    assert channel.remembered() == {"stable": size}
    assert channel.host.verify(channel.pack([size])).status == 0
    assert channel.remembered() == {"stable": size}, "verify writes nothing"


def test_channels_keep_heads_of_their_own(channel: Channel) -> None:
    assert channel.host.load(channel.pack()).status == 0
    one = channel.log.tree.size
    ran = channel.host.load(channel.pack(channel="beta"))
    assert log_of(ran)["holds"] == "first"
    assert channel.remembered() == {"stable": one, "beta": one + 1}
