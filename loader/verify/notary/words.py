"""A Notary root, and a change of one, in words: which keys may sign for a role, how many must.

The roots were verified by whoever asks. Two people compare these lines over a telephone: a key is
its whole id, as `notary key list` and `airlock trust key-id` print it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from loader.errors import shown
from loader.limits import DEFAULT_LIMITS
from loader.model.notary import parse_root

if TYPE_CHECKING:
    from loader.limits import Limits
    from loader.model.notary_roles import RoleKeys


def root_words(raw: bytes, *, limits: Limits = DEFAULT_LIMITS) -> Iterator[str]:
    """Yield who may sign for each of the four roles, and how many of them must.

    Raises:
        FormatError, LimitError: it is no root.
    """
    for name, role in parse_root(raw, where="the root", limits=limits).content.roles.items():
        yield f"{name}: {role.threshold} of {len(role.keys)}"
        yield from (f"  {shown(key.kind)[1:-1]} {key.key_id}" for key in role.keys)


def root_changes(old: bytes, new: bytes, *, limits: Limits = DEFAULT_LIMITS) -> tuple[str, ...]:
    """Return what is different from one root to another; versions and dates alone are nothing.

    Raises:
        FormatError, LimitError: one of them is no root.
    """
    before = parse_root(old, where="the old root", limits=limits).content.roles
    after = parse_root(new, where="the new root", limits=limits).content.roles
    return tuple(line for name in before for line in _changes(name, before[name], after[name]))


def _changes(name: str, before: RoleKeys, after: RoleKeys) -> Iterator[str]:
    for key in before.keys:
        if key.key_id not in after.key_ids:
            yield f"- {name}: {shown(key.kind)[1:-1]} {key.key_id}"
    for key in after.keys:
        if key.key_id not in before.key_ids:
            yield f"+ {name}: {shown(key.kind)[1:-1]} {key.key_id}"
    if before.threshold != after.threshold:
        yield f"! {name}: {after.threshold} signatures are enough, before {before.threshold}"
