"""V5: whatever happens to a host, in whatever order, its floors never fall.

Loads, replays, imported log indexes; kills in the middle of a transaction and between ledger and
second copy; damage, older files put back, clocks, other loaders; and `state recover` wherever the
host refuses to go on. The model knows what was accepted.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from loader.digest import Digest
from loader.errors import BusyError, LocalError, RollbackError, StateError, StateLostError
from loader.places import Places
from loader.state.admission import Candidate, CandidateName, consider
from loader.state.floors import Floors
from loader.state.ledger import Ledger, look
from loader.state.lock import StateFolder
from loader.state.record import Attempt
from loader.state.recover import diagnose, recover

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
CHANNELS = ("stable", "edge")
SEQUENCES = st.integers(1, 6)
FILES = ("ledger.sqlite", "floors", "host.key")


SIGNER, LOG = "key:release", "log"


def _name(channel: str) -> str:
    return f"registry.example/{channel}:1"


def candidate(channel: str, sequence: int) -> Candidate:
    at = BEGAN + timedelta(days=sequence)
    image = Digest.of(f"image {channel} {sequence}".encode())
    return Candidate(
        statement=Digest.of(f"{channel} {sequence}".encode()),
        channel=channel,
        sequence=sequence,
        vouched=True,
        expires=None,
        names=(
            CandidateName(
                name=_name(channel),
                image=image,
                at=at,
                by_time=True,
                positions=((SIGNER, LOG, 10 * sequence),),
            ),
        ),
        time=at,
    )


class Host(RuleBasedStateMachine):
    """One host over its life."""

    @initialize()
    def begin(self) -> None:
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # syncs cost nothing there
        self.folder = Path(tempfile.mkdtemp(prefix="airlock-machine-", dir=memory))
        self.places = Places.under(self.folder)
        self.now = BEGAN + timedelta(days=30)
        self.accepted: dict[str, int] = {}
        self.time: datetime | None = None
        self.log_index = -1
        self.older: Path | None = None
        """A ledger and its second copy of an earlier day."""
        self.alone = False
        """Whether the ledger alone knows the last record: nothing else could tell of it."""

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    # --- what happens ---------------------------------------------------------------------------

    @rule(channel=st.sampled_from(CHANNELS), sequence=SEQUENCES, reason=st.booleans())
    def load(self, channel: str, sequence: int, *, reason: bool) -> None:
        """A new bundle, the same once more, or an older one; with or without a reason."""
        one = candidate(channel, sequence)
        before = self.accepted.get(channel, 0)
        back = sequence < before or (sequence != before and 10 * sequence < self.log_index)
        try:
            with (
                StateFolder.lock(self.places, verb="load", at=self.now) as folder,
                Ledger.open(folder, at=self.now, loader="0") as ledger,
            ):
                admission = consider(
                    one,
                    ledger.floors,
                    now=self.now,
                    clock="warn",
                    allow_downgrade="meant" if reason else None,
                )
                attempt = Attempt(verb="load", outcome="loaded", at=self.now, loader="0")
                ledger.append(attempt, floors=admission.floors)
        except RollbackError:
            assert back, "what is not older comes in"
            assert not reason
            return
        except StateError:
            return  # damaged: `mend` may come
        assert not back or reason, "what is older wants a reason"
        self.alone = False
        self.accepted[channel] = max(before, sequence)
        self.time = max(self.time or BEGAN, BEGAN + timedelta(days=sequence))
        self.log_index = max(self.log_index, 10 * sequence)

    @rule(log_index=st.integers(0, 70))
    def import_log_index(self, log_index: int) -> None:
        """As `state import-log-index` does: raised, or left where it is."""
        try:
            with (
                StateFolder.lock(self.places, verb="import-log-index", at=self.now) as folder,
                Ledger.open(folder, at=self.now, loader="0") as ledger,
            ):
                floors = ledger.floors.raised(
                    time=None, channel=None, names={}, logs={(SIGNER, LOG): log_index}
                )
                attempt = Attempt(verb="import-log-index", outcome="done", at=self.now, loader="0")
                ledger.append(attempt, floors=floors)
        except StateError:
            return
        self.alone = False
        self.log_index = max(self.log_index, log_index)

    @rule(days=st.integers(-3000, 30_000))
    def clock(self, days: int) -> None:
        self.now = BEGAN + timedelta(days=days)

    @rule(channel=st.sampled_from(CHANNELS), sequence=SEQUENCES)
    def killed(self, channel: str, sequence: int) -> None:
        """Dies behind the commit, before the second copy is in its place."""
        copy = self.places.floors
        raw = copy.read_bytes() if copy.exists() else None
        self.load(channel, sequence, reason=False)
        if raw is not None:
            copy.write_bytes(raw)
            self.alone = True

    @rule()
    def killed_in_a_transaction(self) -> None:
        """Dies with rows written and nothing committed: what is left is the disk's own journal."""
        child = os.fork()
        if not child:
            try:
                with (
                    StateFolder.lock(self.places, verb="load", at=self.now) as folder,
                    Ledger.open(folder, at=self.now, loader="0") as ledger,
                ):
                    ledger._db.execute("BEGIN IMMEDIATE")
                    ledger._db.execute("DELETE FROM channels")
                    ledger._db.execute("DELETE FROM names")
                    os.kill(os.getpid(), signal.SIGKILL)
            finally:
                os._exit(1)  # damaged, and so refused
        os.waitpid(child, 0)

    @rule(
        name=st.sampled_from(FILES),
        where=st.floats(0, 1, exclude_max=True),
        how=st.sampled_from(["flip", "cut", "zero", "delete"]),
    )
    def damaged(self, name: str, where: float, how: str) -> None:
        """One file at a time: two independent copies are lost only together."""
        if self.alone or self._damage():
            return
        path = self.places.state / name
        if not path.exists() or not path.stat().st_size:
            return
        raw = bytearray(path.read_bytes())
        at = int(len(raw) * where)
        match how:
            case "flip":
                raw[at] ^= 1 << (at % 8)
            case "cut":
                del raw[at:]
            case "zero":
                block = at // 4096 * 4096
                raw[block : block + 4096] = bytes(min(4096, len(raw) - block))
            case _:
                path.unlink()
                return
        path.write_bytes(raw)

    @rule()
    def copy_away(self) -> None:
        if self.places.ledger.exists() and self.places.floors.exists() and not self._damage():
            self.older = self.folder / "older"
            self.older.mkdir(exist_ok=True)
            for path in (self.places.ledger, self.places.floors):
                shutil.copy(path, self.older)

    @rule(which=st.sampled_from(["ledger.sqlite", "floors"]))
    def put_an_older_file_back(self, which: str) -> None:
        """One of the two; who puts back both and the key is root (docs/threat-model.md)."""
        if self.older is not None and not self.alone and not self._damage():
            shutil.copy(self.older / which, self.places.state)
            # An older second copy is what a run leaves that died before it was renamed.
            self.alone = which == "floors"

    @rule(channel=st.sampled_from(CHANNELS), sequence=SEQUENCES)
    def second_loader(self, channel: str, sequence: int) -> None:
        """While one is at work, another hears of it, and then comes to the same as ever."""
        with (
            StateFolder.lock(self.places, verb="load", at=self.now),
            pytest.raises(BusyError, match="another loader"),
        ):
            self.load(channel, sequence, reason=True)
        self.load(channel, sequence, reason=False)

    @rule()
    def mend(self) -> None:
        if not self.places.state.exists():
            return
        with StateFolder.lock(self.places, verb="recover", at=self.now) as folder:
            damage = diagnose(folder, signer=None)
            if not damage.findings:
                return
            self.alone = False
            try:
                recover(folder, damage, reason="r", at=self.now, loader="0", signer=None)
            except StateLostError:
                pytest.fail("one of the two was whole")

    def _damage(self) -> bool:
        """Tell whether something is damaged already."""
        if not self.places.state.exists():
            return False
        with StateFolder.lock(self.places, verb="recover", at=self.now) as folder:
            return bool(diagnose(folder, signer=None).findings)

    # --- what holds -----------------------------------------------------------------------------

    @invariant()
    def floors_never_fall(self) -> None:
        if not hasattr(self, "places"):
            return
        try:
            floors = look(self.places).floors
        except LocalError:
            return  # it refuses to say anything, and so to load anything
        self._expect(floors)

    def _expect(self, floors: Floors) -> None:
        for channel, sequence in self.accepted.items():
            assert floors.channels[channel].sequence == sequence
            day = BEGAN + timedelta(days=sequence)
            assert floors.names[_name(channel)].at == day
        assert (floors.time or BEGAN) == (self.time or BEGAN)
        assert floors.logs.get((SIGNER, LOG), -1) == self.log_index


TestHost = Host.TestCase
TestHost.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
