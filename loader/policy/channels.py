"""`[bundle] channels`: which channels' bundles this host takes (docs/policy.md).

A channel keeps releases of one kind from going back. It does not say which kind a host is meant to
run: a signed bundle of `nightly` is as genuine on a host of `stable`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from loader.errors import ChannelError, PolicyFileError, shown
from loader.policy.facts import Problem
from loader.policy.keys import Key, Listing, Text, names_of

if TYPE_CHECKING:
    from loader.policy.toml import Table

COUNT_MAX: Final = 64
_CHANNEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)
"""A channel's name, as docs/format.md has it: what no statement can say would never be met."""

BUNDLE_KEYS: Final = (
    Key(
        name="channels",
        form=Listing(of=Text(pattern=_CHANNEL.pattern)),
        words="the channels whose bundles are taken; without this key any is",
        required=True,
    ),
)
"""The keys of the table `[bundle]`."""


def read_channels(table: Table) -> tuple[str, ...]:
    """Return the channels that the table `[bundle]` lists.

    Raises:
        PolicyFileError: another key, or not an array of one or more different channels.
    """
    table.only(names_of(BUNDLE_KEYS))
    value = table.value("channels")
    where = table.at("channels")
    if not isinstance(value, list) or not 1 <= len(value) <= COUNT_MAX:
        raise PolicyFileError(
            "not an array of channels", where=where, expected=f"1 to {COUNT_MAX} of them"
        )
    channels: list[str] = []
    for item in value:
        if not isinstance(item, str) or _CHANNEL.fullmatch(item) is None or item in channels:
            raise PolicyFileError(
                "not a channel's name, or the same twice",
                where=where,
                expected=_CHANNEL.pattern,
                found=shown(item, limit=80),
            )
        channels.append(item)
    return tuple(channels)


def channel_problem(
    channel: str | None, taken: tuple[str, ...], *, asked_for: int
) -> Problem | None:
    """Return why a bundle of this channel is not taken here, or None.

    Args:
        channel: what the statement says.
        taken: what the policy lists; empty where it lists none.
        asked_for: how many requirements the statement's signatures have to meet. Where there is
            none, nobody signed which channel this is, and whoever carries the bundle may write it.
    """
    if not taken:
        return None
    expected = "one of " + ", ".join(taken)
    if channel not in taken:
        return Problem(
            code=ChannelError.code,
            message="this host does not take bundles of this channel",
            expected=expected,
            found="no channel" if channel is None else shown(channel),
            hint="a bundle for this host is packed with --channel; the policy lists its channels",
        )
    if not asked_for:
        return Problem(
            code=ChannelError.code,
            message="nobody has to have signed of which channel this bundle is",
            expected=expected,
            found=f"{shown(channel)}, unsigned",
            hint='ask for it: [[image.require]] claim = "bundle-signature"',
        )
    return None
