"""`policy accept`: another policy in place of this host's, in steps that a power cut may part.

    begun   a record, with the serial below which no proposal is accepted any more
    file    the policy, by one rename; what it replaces is beside it
    done    a record

Killed in between, the host has the old policy or the new one, never a half, and knows in either
case that an older proposal must not come in. To accept the same once more brings it to its end.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loader.errors import shown
from loader.places import local_error, sync_folder, write_durably
from loader.policy.change import changes
from loader.proposal import SERIAL

if TYPE_CHECKING:
    from loader.policy.change import Change
    from loader.policy.model import Policy
    from loader.proposal import Proposed
    from loader.state.ledger import Ledger
    from loader.state.record import Attempt

OLD: Final = ".old"
"""What the name of the policy before ends with."""


def put_in_place(
    proposed: Proposed,
    current: Policy,
    file: Path,
    ledger: Ledger,
    attempt: Attempt,
    *,
    begun: bool,
) -> tuple[Change, ...]:
    """Replace this host's policy, and record it; return what changes.

    Args:
        proposed: the policy, proposed by enough of the pinned keys, and no older than the last.
        current: what is in place.
        file: where.
        ledger: this host's, open.
        attempt: the record, so far as the caller knows it; of the outcome `done`.
        begun: whether a run that died had begun to accept this very policy.

    Raises:
        LocalError: the policy before is in place, or the new one; the serial may have risen.
    """
    wanted, serial = proposed.proposal.policy, proposed.proposal.serial
    found = changes(current, proposed.policy)
    who = ", ".join(f"{key.name} ({key.fingerprint[:16]})" for key in proposed.signers)
    done = replace(
        attempt,
        policy=wanted,
        reason=proposed.proposal.reason,
        notes=(
            f"policy {current.digest} became {wanted}, serial {serial}, signed by {who}"
            if current.digest != wanted
            else f"policy {wanted} is in place, serial {serial}, signed by {who}",
            *(f"{one.direction}: {one.words}" for one in found),
        ),
    )
    # Whatever can run out of space does so before anything is begun.
    draft = None if current.digest == wanted else _prepare(file, proposed.policy.raw)
    if not begun:
        floors = ledger.floors.raised(time=None, channel=None, names={}, logs={SERIAL: serial})
        ledger.append(replace(done, outcome="begun"), floors=floors)
    if draft is not None:
        _publish(draft, file)
    # What changes in it stands in the record before this one, which nobody removes.
    ledger.append(replace(done, notes=done.notes[:1]))
    return found


def _prepare(file: Path, raw: bytes) -> Path:
    """Write the new policy beside the old one, and the old one once more, durably."""
    draft, old = file.with_name(f"{file.name}.new"), file.with_name(f"{file.name}{OLD}")
    try:
        before, mode = file.read_bytes(), file.stat().st_mode & 0o777
        write_durably(draft, raw, mode=mode)
        write_durably(old, before, mode=mode)
    except OSError as e:
        raise local_error(e, what="the policy cannot be written", where=shown(str(file))) from e
    return draft


def _publish(draft: Path, file: Path) -> None:
    try:
        draft.rename(file)
        sync_folder(file.parent)
    except OSError as e:
        raise local_error(e, what="the policy cannot be written", where=shown(str(file))) from e
