"""`policy diff` and `policy accept`: a policy that crossed the gap, looked at and then accepted.

Neither judges the bundle that carries it: only the pinned policy keys speak for a proposal.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loader.errors import (
    AirlockError,
    RefusedError,
    UnconfirmedCommitError,
    UsageError,
    shown,
)
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
    from loader.state.record import Attempt, Outcome
    from loader.verbs.call import Call

HELP: Final = "look at a policy that a bundle proposes, and accept it"
SCHEMA: Final = "airlock-policy-diff/1"
_SCRATCH: Final = Path("/var/tmp")  # noqa: S108 - for a nameless file that nobody else can open


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
    floors = look(call.places).floors
    expect_newer(proposed, floors, {current.digest, _unfinished(call)})
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
                said = _accepted(call, ledger, plain, wanted)
            except UnconfirmedCommitError:
                raise  # its record is there
            except AirlockError as e:
                outcome: Outcome = "refused" if isinstance(e, RefusedError) else "failed"
                failure = Failure(code=e.code, message=e.message, where=e.where)
                with contextlib.suppress(AirlockError):
                    ledger.append(replace(plain, outcome=outcome, failure=failure))
                raise
    print_out(said)
    return 0


def _accepted(call: Call, ledger: Ledger, plain: Attempt, wanted: Digest) -> str:
    from loader.acceptance import OLD, put_in_place  # noqa: PLC0415
    from loader.errors import ProposalError  # noqa: PLC0415
    from loader.proposal import SERIAL, expect_newer  # noqa: PLC0415
    from loader.trust.store import TrustStore  # noqa: PLC0415

    current = _current(call)
    proposed = _proposed(call)
    begun = _unfinished(call)
    expect_newer(proposed, ledger.floors, {current.digest, begun})
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
    accepted = ledger.floors.logs.get(SERIAL, 0) >= proposed.proposal.serial
    if accepted and begun is None and current.digest == wanted:
        return f"ALREADY THERE: {wanted}\n"
    file = call.places.policy
    found = put_in_place(proposed, current, file, ledger, plain, begun=accepted and begun == wanted)
    return _text(current, proposed, found) + (
        f"ACCEPTED: {shown(str(file))[1:-1]}; the one before is beside it, {OLD}\n"
    )


def _unfinished(call: Call) -> Digest | None:
    """Return the policy that a run which died had begun to accept."""
    from loader.state.history import reading, unfinished_policy  # noqa: PLC0415

    with reading(call.places) as ledger:
        return unfinished_policy(ledger.records())


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
