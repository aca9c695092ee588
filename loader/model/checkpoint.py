"""Signed notes and the checkpoints in them (C2SP signed-note and tlog-checkpoint, v1.0).

origin
tree size, decimal
root hash, base64
[extension lines]
                              the blank line ends the text that is signed
— name base64(hint ‖ signature)      any number of signers, in any order
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from loader.errors import JsonFieldError, LimitError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model.fields import decode_base64

if TYPE_CHECKING:
    from loader.limits import Limits

HINT_SIZE: Final = 4
_HASH_SIZE: Final = 32
_SIGNATURE_LINE: Final = re.compile("\u2014 ([^ +\\s]{1,255}) ([A-Za-z0-9+/=]{8,16384})")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
_LINES_MIN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    """One signature line. The hint is an abbreviated key id, no more than a hint."""

    name: str
    hint: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The state of a log: whose, how many leaves, the root hash; and who signed that."""

    text: bytes
    """What is signed: all lines up to the blank one, each with its line end."""
    origin: str
    size: int
    root_hash: bytes
    signatures: tuple[NoteSignature, ...]

    @classmethod
    def parse(cls, note: str, *, where: str, limits: Limits = DEFAULT_LIMITS) -> Checkpoint:
        r"""Return the checkpoint in a signed note.

        Raises:
            JsonFieldError: it is not one: no blank line, `\r`, a malformed line, no signature.
            LimitError: too long, or too many signatures.
        """
        if len(note) > limits.checkpoint_size_max:
            raise LimitError("a signed note is too long", where=where)
        # The last blank line: extension lines are not empty, signature lines begin with a dash.
        body, gap, tail = note.rpartition("\n\n")
        if not gap or not tail.endswith("\n") or _CONTROL.search(note):
            raise JsonFieldError("not a signed note", where=where, found=shown(note[:60]))
        lines = body.split("\n")
        if len(lines) < _LINES_MIN or "" in lines or _SIZE.fullmatch(lines[1]) is None:
            raise JsonFieldError("not a checkpoint", where=where, found=shown(body[:60]))
        root_hash = decode_base64(lines[2], where=where)
        if len(root_hash) != _HASH_SIZE:
            raise JsonFieldError("not a root hash", where=where, found=shown(lines[2]))
        return cls(
            text=(body + "\n").encode(),
            origin=lines[0],
            size=int(lines[1]),
            root_hash=root_hash,
            signatures=_signatures(tail, where=where, limits=limits),
        )


def _signatures(tail: str, *, where: str, limits: Limits) -> tuple[NoteSignature, ...]:
    lines = tail[:-1].split("\n")
    if len(lines) > limits.checkpoint_signature_count_max:
        raise LimitError(
            "too many signatures on a note",
            where=where,
            expected=f"at most {limits.checkpoint_signature_count_max}",
            found=str(len(lines)),
        )
    found: list[NoteSignature] = []
    for line in lines:
        match = _SIGNATURE_LINE.fullmatch(line)
        if match is None:
            raise JsonFieldError("not a signature line", where=where, found=shown(line[:60]))
        raw = decode_base64(match.group(2), where=where)
        if len(raw) <= HINT_SIZE:
            raise JsonFieldError("an empty signature", where=where, found=shown(line[:60]))
        found.append(
            NoteSignature(name=match.group(1), hint=raw[:HINT_SIZE], signature=raw[HINT_SIZE:])
        )
    return tuple(found)
