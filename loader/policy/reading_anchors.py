"""From TOML to anchors: what a policy calls by a name, and the files behind it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Final, Literal

from loader.errors import PolicyFileError, shown
from loader.policy.keys import Day, Key, Text, names_of
from loader.policy.toml import DURATION
from loader.trust.anchors import AnchorFile, AnchorKind, AnchorRule, is_file
from loader.trust.validity import Validity

if TYPE_CHECKING:
    from loader.policy.toml import Table

_ANCHOR_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)
ANCHOR_KEYS: Final = (
    Key(
        name="trusted-root",
        form=Text(),
        words="file of a Sigstore trusted root: authorities, logs, timestamp authorities; beside "
        "`tuf-root`: the anchor that vouches for Sigstore identities who sign the repository",
    ),
    Key(
        name="tuf-root",
        form=Text(),
        words="file of a TUF repository's root metadata; newer ones come with bundles",
    ),
    Key(
        name="target",
        form=Text(),
        words="target of the TUF repository that holds the trusted root",
    ),
    Key(name="key", form=Text(), words="file of a public key, PEM or DER"),
    Key(
        name="certificate",
        form=Text(),
        words="file of a private authority's certificates, in place of the trusted root's own",
    ),
    Key(
        name="notary-root",
        form=Text(),
        words="a root key's id, or a file: root.json, a certificate, Notary's trust_pinning",
    ),
    Key(
        name="max-staleness",
        form=Text(pattern=DURATION),
        words="how old it may become, or how long past its expiry it is taken: 12h, 30d, 4w, 1y",
    ),
    Key(
        name="root-change",
        form=Text(words=("take", "confirm")),
        words="whether a bundle may bring a newer TUF root, or only `trust import` takes one",
    ),
    Key(
        name="witness",
        form=Text(words=("warn", "require")),
        words="whether its logs must be shown to continue what they showed this host before",
    ),
    Key(
        name="valid-from",
        form=Day(),
        words="of a key: the first day (UTC) on which it must have signed for that to count",
    ),
    Key(
        name="valid-until",
        form=Day(),
        words="of a key: the last such day; what it signed later counts for nothing",
    ),
)
"""The keys of an `[anchor.NAME]` table."""
_KINDS: Final[tuple[AnchorKind, ...]] = ("trusted-root", "key", "notary-root")
_AGES: Final = ("max-staleness", "witness", "root-change")
_WINDOW: Final = ("valid-from", "valid-until")
_RULES: Final = (*_AGES, *_WINDOW)
_ROOT_CHANGES: Final[dict[str, Literal["take", "confirm"]]] = {"take": "take", "confirm": "confirm"}
_WITNESSES: Final[dict[str, Literal["warn", "require"]]] = {"warn": "warn", "require": "require"}


def expect_anchor_name(name: str, *, where: str, endings: tuple[str, ...]) -> None:
    """Refuse what names no anchor, or a file of another kind.

    Raises:
        PolicyFileError: it does.
    """
    if is_file(name) and ("/" in name or name.endswith(endings)):
        return
    if _ANCHOR_NAME.fullmatch(name) is None or is_file(name):
        raise PolicyFileError(
            "not the name of an anchor",
            where=where,
            expected=f"[anchor.NAME], a folder anchors/NAME, or a file {' or '.join(endings)}",
            found=shown(name),
        )


def read_anchors(table: Table) -> tuple[AnchorFile, ...]:
    """Return the files that `[anchor.NAME]` tables name.

    Raises:
        PolicyFileError: a name or a table that is not one.
    """
    anchors: list[AnchorFile] = []
    for name in table.names:
        item = table.table(name)
        if _ANCHOR_NAME.fullmatch(name) is None or is_file(name):
            raise PolicyFileError(
                "not the name of an anchor",
                where=table.at(shown(name)),
                expected=_ANCHOR_NAME.pattern,
            )
        item.only(names_of(ANCHOR_KEYS))
        if item.has("tuf-root"):
            anchors.append(_tuf(name, item))
        elif _is_described(item):
            anchors.append(_plain(name, item))
    return tuple(anchors)


def _is_described(item: Table) -> bool:
    """Tell whether a table says more than rules about an anchor whose file is elsewhere."""
    return not _has_rule(item) or any(
        item.has(key.name) for key in ANCHOR_KEYS if key.name not in _RULES
    )


def _plain(name: str, item: Table) -> AnchorFile:
    kinds = [kind for kind in _KINDS if item.has(kind)]
    if len(kinds) != 1:
        raise PolicyFileError(
            "an anchor is exactly one thing",
            where=item.path,
            expected="`trusted-root`, `tuf-root`, `key` or `notary-root`",
            hint="a private authority's certificates are dated by the logs and timestamp "
            "authorities of a trusted root: name both"
            if item.has("certificate")
            else "",
        )
    certificate = item.optional_text("certificate") or ""
    if certificate and kinds[0] != "trusted-root":
        raise PolicyFileError("a key has no authority above it", where=item.at("certificate"))
    if item.has("target"):
        raise PolicyFileError(
            "a target without a TUF repository to look it up in",
            where=item.at("target"),
            expected="`tuf-root` beside it",
        )
    return AnchorFile(name=name, kind=kinds[0], file=item.text(kinds[0]), certificate=certificate)


def _tuf(name: str, item: Table) -> AnchorFile:
    for other in ("key", "certificate", "notary-root"):
        if item.has(other):
            raise PolicyFileError(
                "an anchor is exactly one thing",
                where=item.at(other),
                expected="`tuf-root` with, at most, `target` and `trusted-root`",
            )
    vouched_by = item.optional_text("trusted-root") or ""
    if vouched_by:
        expect_anchor_name(vouched_by, where=item.at("trusted-root"), endings=(".json", ".jsonl"))
        if vouched_by == name:
            raise PolicyFileError(
                "a repository that would vouch for itself", where=item.at("trusted-root")
            )
    target = item.optional_text("target") or ""
    if target:
        expect_target(target, where=item.at("target"))
    return AnchorFile(
        name=name,
        kind="tuf-root",
        file=item.text("tuf-root"),
        target=target,
        vouched_by=vouched_by,
    )


def expect_target(path: str, *, where: str) -> None:
    """Refuse what is no path of a TUF target.

    Raises:
        PolicyFileError: it is none.
    """
    if any(part in {"", ".", ".."} for part in path.split("/")) or not path.isprintable():
        raise PolicyFileError(
            "not the path of a TUF target", where=where, expected="a/b.json", found=shown(path)
        )


def read_anchor_rules(table: Table) -> tuple[AnchorRule, ...]:
    """Return what `[anchor.NAME]` tables ask of anchors, wherever their files are.

    Raises:
        PolicyFileError: a rule that means nothing, or nothing for this anchor.
    """
    rules: list[AnchorRule] = []
    for name in table.names:
        item = table.table(name)
        if not _has_rule(item):
            continue
        rules.append(
            AnchorRule(
                name=name,
                asked=tuple(key for key in _RULES if item.has(key)),
                max_staleness=item.duration("max-staleness") if item.has("max-staleness") else None,
                root_change=item.word("root-change", _ROOT_CHANGES)
                if item.has("root-change")
                else "take",
                witness=item.word("witness", _WITNESSES) if item.has("witness") else "warn",
                valid_for=_window(item),
            )
        )
        if item.has("key"):
            expect_fitting(rules[-1], "key", where=item.path)
        elif _is_described(item):
            expect_fitting(rules[-1], "trusted-root", where=item.path)
    return tuple(rules)


def _window(item: Table) -> Validity:
    """Return the days of a window; both belong to it, the last one to its end."""
    start = item.day("valid-from") if item.has("valid-from") else None
    end = item.day("valid-until") if item.has("valid-until") else None
    if start is not None and end is not None and start > end:
        raise PolicyFileError("a window that ends before it starts", where=item.at("valid-until"))
    return Validity(
        start=None if start is None else datetime.combine(start, time.min, tzinfo=UTC),
        end=None if end is None else datetime.combine(end, time.max, tzinfo=UTC),
    )


def expect_fitting(rule: AnchorRule, kind: AnchorKind, *, where: str) -> None:
    """Refuse rules that mean nothing for an anchor of this kind.

    Raises:
        PolicyFileError: an age of a key, or a key's window at something else.
    """
    if kind == "key" and any(name in _AGES for name in rule.asked):
        raise PolicyFileError(
            "a key has neither an age nor logs",
            where=where,
            expected="`max-staleness`, `witness` and `root-change` at a trusted root",
        )
    if kind != "key" and any(name in _WINDOW for name in rule.asked):
        raise PolicyFileError(
            "what is no key says itself when it is valid",
            where=where,
            expected="`valid-from` and `valid-until` at a key",
        )


def _has_rule(item: Table) -> bool:
    return any(item.has(name) for name in _RULES)
