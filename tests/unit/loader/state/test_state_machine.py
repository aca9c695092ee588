"""V5: whatever happens to a host, in whatever order, its floors never fall.

Loads, replays, kills between ledger and second copy, damage, older copies put back, clocks, other
loaders; and `state recover` wherever the host refuses to go on. The model knows what was accepted.
"""

from __future__ import annotations

import shutil
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
                name=f"registry.example/{channel}:1", image=image, at=at, by_time=True, positions=()
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
        self.older: Path | None = None
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
            assert sequence < before, "what is not older comes in"
            assert not reason
            return
        except StateError:
            return  # damaged: `mend` may come
        assert sequence >= before or reason, "what is older wants a reason"
        self.alone = False
        self.accepted[channel] = max(before, sequence)
        self.time = max(self.time or BEGAN, BEGAN + timedelta(days=sequence))

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
        if self.places.ledger.exists() and not self._damage():
            self.older = self.folder / "older"
            shutil.copy(self.places.ledger, self.older)

    @rule()
    def put_older_ledger_back(self) -> None:
        if self.older is not None and not self.alone and not self._damage():
            shutil.copy(self.older, self.places.ledger)

    @rule()
    def second_loader(self) -> None:
        with (
            StateFolder.lock(self.places, verb="load", at=self.now),
            pytest.raises(BusyError, match="another loader"),
        ):
            StateFolder.lock(self.places, verb="load", at=self.now)

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
        assert (floors.time or BEGAN) == (self.time or BEGAN)


TestHost = Host.TestCase
TestHost.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
