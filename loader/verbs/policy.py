"""`policy diff` and `policy accept`: a policy that crossed the gap, looked at and then accepted.

Neither judges the bundle that carries it: only the pinned policy keys speak for a proposal.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loader.errors import AirlockError, RefusedError, UsageError, shown
from loader.verbs.call import Parser, path
from loader.verbs.saying import print_out
from loader.verbs.signing import signing

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from loader.digest import Digest
    from loader.model.strictjson import JsonObject
    from loader.policy.change import Change
    from loader.policy.model import Policy
    from loader.proposal import Proposed
    from loader.state.ledger import Ledger
    from loader.state.record import Attempt
    from loader.verbs.call import Call

HELP: Final = "look at a policy that a bundle proposes, and accept it"
SCHEMA: Final = "airlock-policy-diff/1"
_SCRATCH: Final = Path("/var/tmp")  # noqa: S108 - for a nameless file that nobody else can open
_OLD: Final = ".old"


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the two commands and their options."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    diff = commands.add_parser("diff", help="say what the proposed policy changes; write nothing")
    diff.add_argument("bundle", type=path, metavar="BUNDLE")
    diff.add_argument("--json", action="store_true", help="print JSON")
    diff.set_defaults(policy_verb=_diff)
    accept = commands.add_parser("accept", help="put the proposed policy in place of this host's")
    accept.add_argument("bundle", type=path, metavar="BUNDLE")
    accept.add_argument(
        "--digest",
        required=True,
        metavar="sha256:…",
        help="the policy's digest, as policy diff says it: this one and no other",
    )
    accept.set_defaults(policy_verb=_accept)


def run(call: Call) -> int:
    """Do what the second word says."""
    status: int = call.arguments.policy_verb(call)
    return status


def _diff(call: Call) -> int:
    from loader import confine  # noqa: PLC0415
    from loader.policy.change import changes  # noqa: PLC0415
    from loader.proposal import expect_newer  # noqa: PLC0415
    from loader.state.ledger import look  # noqa: PLC0415

    confine.cut_off()
    current = _current(call)
    proposed = _proposed(call)
    expect_newer(proposed, look(call.places).floors, current.digest)
    found = changes(current, proposed.policy)
    if call.arguments.json:
        print_out(_json(current, proposed, found))
    else:
        print_out(_text(current, proposed, found))
    return 0


def _accept(call: Call) -> int:
    from loader import VERSION, confine  # noqa: PLC0415
    from loader.state.ledger import Ledger  # noqa: PLC0415
    from loader.state.lock import StateFolder  # noqa: PLC0415
    from loader.state.record import Attempt, Failure  # noqa: PLC0415

    at, wanted = call.clock(), _digest(call.arguments.digest)
    archive = shown(str(call.arguments.bundle))[1:-1]
    with signing(call) as signer:
        confine.cut_off()
        with (
            StateFolder.lock(call.places, verb="policy accept", at=at) as folder,
            Ledger.open(folder, at=at, loader=VERSION, signer=signer) as ledger,
        ):
            plain = Attempt(
                verb="policy-accept", outcome="done", at=at, loader=VERSION, archive=archive
            )
            try:
                print_out(_accepted(call, ledger, plain, wanted))
            except RefusedError as e:
                failure = Failure(code=e.code, message=e.message, where=e.where)
                with contextlib.suppress(AirlockError):
                    ledger.append(replace(plain, outcome="refused", failure=failure))
                raise
    return 0


def _accepted(call: Call, ledger: Ledger, plain: Attempt, wanted: Digest) -> str:
    from loader.errors import ProposalError  # noqa: PLC0415
    from loader.policy.change import changes  # noqa: PLC0415
    from loader.proposal import SERIAL, expect_newer  # noqa: PLC0415
    from loader.trust.store import TrustStore  # noqa: PLC0415

    current = _current(call)
    proposed = _proposed(call)
    serial = proposed.proposal.serial
    expect_newer(proposed, ledger.floors, current.digest)
    if proposed.proposal.policy != wanted:
        raise ProposalError(
            "the bundle proposes another policy than the one that was looked at",
            expected=str(wanted),
            found=str(proposed.proposal.policy),
            hint="airlock-loader policy diff BUNDLE",
        )
    # With a policy whose anchors are not there, this host could accept nothing any more.
    TrustStore.open(
        proposed.policy,
        policy_directory=call.places.policy.parent,
        anchors_directory=call.places.anchors,
    )
    if current.digest == wanted and ledger.floors.logs.get(SERIAL, 0) >= serial:
        return f"ALREADY THERE: {wanted}\n"
    found = changes(current, proposed.policy)
    if current.digest != wanted:
        _replace(call.places.policy, proposed.policy.raw)
    floors = ledger.floors.raised(time=None, channel=None, names={}, logs={SERIAL: serial})
    who = ", ".join(f"{key.name} ({key.fingerprint[:16]})" for key in proposed.signers)
    notes = (
        f"policy {current.digest} became {wanted}, serial {serial}, signed by {who}",
        *(f"{one.direction}: {one.words}" for one in found),
    )
    ledger.append(
        replace(plain, policy=wanted, reason=proposed.proposal.reason, notes=notes), floors=floors
    )
    return _text(current, proposed, found) + (
        f"ACCEPTED: {shown(str(call.places.policy))[1:-1]}; the one before is beside it, {_OLD}\n"
    )


def _digest(text: str) -> Digest:
    from loader.digest import Digest  # noqa: PLC0415

    try:
        return Digest.parse(text)
    except AirlockError as e:
        raise UsageError("not a policy's digest", where="--digest", found=shown(text)) from e


def _current(call: Call) -> Policy:
    from loader.limits import DEFAULT_LIMITS  # noqa: PLC0415
    from loader.places import read_small_file  # noqa: PLC0415
    from loader.policy.model import Policy  # noqa: PLC0415

    file = call.places.policy
    raw = read_small_file(file, size_max=DEFAULT_LIMITS.policy_size_max, what="the policy")
    return Policy.parse(raw, where=shown(str(file))[1:-1])


def _proposed(call: Call) -> Proposed:
    from loader.config import Config  # noqa: PLC0415
    from loader.proposal import held_against, read_carried  # noqa: PLC0415

    carried = read_carried(call.arguments.bundle, _SCRATCH)
    return held_against(carried, Config.read(call.places.config).policy_keys)


def _replace(file: Path, raw: bytes) -> None:
    """Put a file in place of another, durably, and keep the other beside it."""
    from loader.places import local_error  # noqa: PLC0415

    draft, old = file.with_name(f"{file.name}.new"), file.with_name(f"{file.name}{_OLD}")
    try:
        before, mode = file.read_bytes(), file.stat().st_mode & 0o777
        for target, content in ((draft, raw), (old, before)):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(target, flags, mode), "wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
        draft.rename(file)
        folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as e:
        raise local_error(e, what="the policy cannot be written", where=shown(str(file))) from e


def _text(current: Policy, proposed: Proposed, found: Sequence[Change]) -> str:
    from loader.report import plain  # noqa: PLC0415

    return "".join(f"{plain(line)}\n" for line in _lines(current, proposed, found))


def _lines(current: Policy, proposed: Proposed, found: Sequence[Change]) -> Iterator[str]:
    proposal = proposed.proposal
    yield f"this host   {current.digest}"
    yield f"proposed    {proposal.policy}, serial {proposal.serial}"
    yield f"reason      {proposal.reason}"
    for key in proposed.signers:
        yield f"signed by   {key.name} (sha256 {key.fingerprint[:16]})"
    words = {"looser": "LOOSER", "tighter": "tighter", "changed": "changed"}
    for one in found:
        yield f"  {words[one.direction]:8} {one.words}"
    if not found:
        yield "  nothing changes in meaning"


def _json(current: Policy, proposed: Proposed, found: Sequence[Change]) -> str:
    document: JsonObject = {
        "schema": SCHEMA,
        "policy": str(current.digest),
        "proposed": str(proposed.proposal.policy),
        "serial": proposed.proposal.serial,
        "reason": proposed.proposal.reason,
        "signers": [{"name": key.name, "fingerprint": key.fingerprint} for key in proposed.signers],
        "changes": [{"direction": one.direction, "words": one.words} for one in found],
    }
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=True) + "\n"
