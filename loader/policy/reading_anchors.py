"""From TOML to anchors: what a policy calls by a name, and the files behind it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from loader.errors import PolicyFileError, shown
from loader.policy.keys import Key, Text, names_of
from loader.policy.toml import DURATION
from loader.trust.anchors import AnchorFile, AnchorKind, is_file
from loader.trust.freshness import AnchorRule

if TYPE_CHECKING:
    from loader.policy.toml import Table

_ANCHOR_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)
ANCHOR_KEYS: Final = (
    Key(
        name="trusted-root",
        form=Text(),
        words="file of a Sigstore trusted root: authorities, logs, timestamp authorities",
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
)
"""The keys of an `[anchor.NAME]` table."""
_KINDS: Final[tuple[AnchorKind, ...]] = ("trusted-root", "key", "notary-root")
_LATER_ANCHORS: Final = {
    name: f"this version does not know anchors of the kind {name!r} yet" for name in ("tuf-root",)
}
_RULES: Final = ("max-staleness",)


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
        item.only(names_of(ANCHOR_KEYS), elsewhere=_LATER_ANCHORS)
        kinds = [kind for kind in _KINDS if item.has(kind)]
        if not kinds and _has_rule(item) and not item.has("certificate"):
            continue  # about an anchor whose file lies in a folder, or came with this program
        if len(kinds) != 1:
            raise PolicyFileError(
                "an anchor is exactly one thing",
                where=item.path,
                expected=", ".join(f"`{kind}`" for kind in _KINDS[:-1]) + f" or `{_KINDS[-1]}`",
                hint="a private authority's certificates are dated by the logs and timestamp "
                "authorities of a trusted root: name both"
                if item.has("certificate")
                else "",
            )
        certificate = item.optional_text("certificate") or ""
        if certificate and kinds[0] != "trusted-root":
            raise PolicyFileError(
                f"a {kinds[0]} has no authority above it", where=item.at("certificate")
            )
        anchors.append(
            AnchorFile(name=name, kind=kinds[0], file=item.text(kinds[0]), certificate=certificate)
        )
    return tuple(anchors)


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
        if item.has("key"):
            expect_aged("key", where=item.path)
        rules.append(AnchorRule(name=name, max_staleness=item.duration("max-staleness")))
    return tuple(rules)


def expect_aged(kind: AnchorKind, *, where: str) -> None:
    """Refuse rules about the age of what has none.

    Raises:
        PolicyFileError: the anchor is a key.
    """
    if kind == "key":
        raise PolicyFileError(
            "a key says nothing of its age",
            where=where,
            expected="`max-staleness` at a trusted root",
        )


def _has_rule(item: Table) -> bool:
    return any(item.has(name) for name in _RULES)
