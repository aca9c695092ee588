"""What a repository of content trust says, in the tables of `docker trust inspect --pretty`.

Signed tags, signers and administrative keys as docker prints them (cli/command/trust/common.go), so
that the one can be laid beside the other; and until when each role is good, which docker does not
show and which is what ends first behind a gap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from loader.model.fields import format_instant
from loader.model.notary_roles import RELEASES, ROOT, TARGETS, TIMESTAMP

if TYPE_CHECKING:
    from loader.model.strictjson import JsonObject, JsonValue
    from loader.verify.notary.facts import ContentTrust

SCHEMA: Final = "airlock-content-trust/1"
NEAR: Final = timedelta(days=183)
"""Notary warns six months before an expiry."""
_ADMIN: Final = "(Repo Admin)"
_RELEASED: Final = (TARGETS, RELEASES)
_ID_LENGTH: Final = 12
_COLUMN_MIN: Final = 10
_GAP: Final = 3
_DIGITS: Final = re.compile(r"([0-9]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTagRow:
    """A tag that is released, with one digest, and who else signed the same."""

    tag: str
    digest: str
    signers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """All that there is to show of one repository, at one time."""

    trust: ContentTrust
    pinned: str
    """Under which pin it holds; empty where under nothing but its own root."""
    tags: tuple[SignedTagRow, ...]
    signers: tuple[tuple[str, tuple[str, ...]], ...]
    """Each signer's name and the canonical ids of its keys."""
    administrative: tuple[tuple[str, tuple[str, ...]], ...]
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, trust: ContentTrust, *, now: datetime, pinned: str, tag: str = "") -> Inspection:
        """Return what to show; of one tag where one is named."""
        return cls(
            trust=trust,
            pinned=pinned,
            tags=tuple(_rows(trust, tag)),
            signers=tuple(_signers(trust)),
            administrative=tuple(
                (words, tuple(sorted(role.key_ids)))
                for name, words in ((TARGETS, "Repository Key"), (ROOT, "Root Key"))
                if (role := trust.role(name)) is not None
            ),
            warnings=tuple(warnings_of(trust, now=now)),
        )

    def as_text(self, remote: str) -> Iterator[str]:
        """Yield the lines that docker prints, and ours below."""
        yield ""
        if self.tags:
            yield f"Signatures for {remote}"
            yield ""
            yield from _table(
                ("SIGNED TAG", "DIGEST", "SIGNERS"),
                [(row.tag, row.digest, ", ".join(row.signers)) for row in self.tags],
            )
        else:
            yield f"No signatures for {remote}"
        if self.signers:
            yield from ("", f"List of signers and their keys for {remote}", "")
            short = [
                (name, ", ".join(key_id[:_ID_LENGTH] for key_id in sorted(ids)))
                for name, ids in self.signers
            ]
            yield from _table(("SIGNER", "KEYS"), short)
        yield from ("", f"Administrative keys for {remote}", "")
        for words, ids in self.administrative:
            yield f"  {words}:\t{', '.join(ids)}"
        yield from ("", f"Roles of {remote}", "")
        yield from _table(
            ("ROLE", "VERSION", "EXPIRES", "SIGNED BY"),
            [
                (
                    role.name,
                    str(role.version),
                    "" if role.expires is None else format_instant(role.expires),
                    ", ".join(key_id[:_ID_LENGTH] for key_id in role.signer_ids) or role.problem,
                )
                for role in (*self.trust.roles, *self.trust.unpublished)
            ],
        )
        yield ""
        yield self.verified
        for warning in self.warnings:
            yield f"warning: {warning}"

    @property
    def verified(self) -> str:
        """Whose word it is that all of this holds."""
        roots = f"root {self.trust.begins} to {self.trust.seen.newest}"
        if self.pinned:
            return f"verified: {self.pinned}, {roots}"
        ids = ", ".join(self.trust.roles[0].key_ids)
        return f"NOT PINNED: it holds under its own root alone. To pin it, compare: {ids}"

    def as_json(self, remote: str) -> JsonObject:
        """Return the document of schema `airlock-content-trust/1`."""
        return {
            "schema": SCHEMA,
            "name": remote,
            "repository": self.trust.gun,
            "pinned": self.pinned or None,
            "root_versions": [self.trust.begins, self.trust.seen.newest],
            "signed_tags": [
                {"tag": row.tag, "digest": row.digest, "signers": list(row.signers)}
                for row in self.tags
            ],
            "signers": [{"name": name, "keys": list(ids)} for name, ids in self.signers],
            "administrative_keys": [
                {"name": words.partition(" ")[0], "keys": list(ids)}
                for words, ids in self.administrative
            ],
            "roles": [
                _role(role.name, role.version, role.expires, role.signer_ids, role.problem)
                for role in (*self.trust.roles, *self.trust.unpublished)
            ],
            "warnings": list(self.warnings),
        }


def warnings_of(trust: ContentTrust, *, now: datetime) -> Iterator[str]:
    """Yield what has expired, and what will within six months; a timestamp lives two weeks."""
    for role in trust.roles:
        if role.problem:
            yield f"{role.name} is not usable: {role.problem}"
        if role.expires is None:
            continue
        yield from _ending(role.name, role.expires, now=now, near=role.name != TIMESTAMP)
    for one in trust.certificates:
        yield from _ending(
            f"the certificate of root key {one.key_id[:_ID_LENGTH]}", one.not_after, now=now
        )
    released: dict[str, set[str]] = {}
    for said in trust.tags:
        if said.role in _RELEASED:
            released.setdefault(said.name, set()).add(said.fingerprint.sha256.hex())
    for tag, digests in sorted(released.items()):
        if len(digests) > 1:
            yield f"{TARGETS} and {RELEASES} mean different bytes by the tag {tag}"


def _ending(what: str, at: datetime, *, now: datetime, near: bool = True) -> Iterator[str]:
    if at < now:
        yield f"{what} expired at {format_instant(at)}"
    elif near and at < now + NEAR:
        yield f"{what} expires at {format_instant(at)}, within six months: have it signed anew"


def _rows(trust: ContentTrust, tag: str) -> Iterator[SignedTagRow]:
    """Yield a row for each tag and digest in `targets` or `targets/releases`."""
    signers: dict[tuple[str, str], list[str]] = {}
    said = [one for one in trust.tags if not tag or one.name == tag]
    for one in said:
        if one.role in _RELEASED:
            signers[one.name, one.fingerprint.sha256.hex()] = []
    for one in said:
        key = (one.name, one.fingerprint.sha256.hex())
        if key in signers and one.role not in _RELEASED:
            signers[key].append(_signer(one.role))
    for (name, digest), who in sorted(signers.items(), key=lambda item: _natural(item[0][0])):
        yield SignedTagRow(tag=name, digest=digest, signers=tuple(sorted(who)) or (_ADMIN,))


def _signers(trust: ContentTrust) -> Iterator[tuple[str, tuple[str, ...]]]:
    roles = [role for role in (*trust.roles, *trust.unpublished) if role.is_delegation]
    for role in sorted(roles, key=lambda role: _natural(_signer(role.name))):
        if role.name != RELEASES:
            yield _signer(role.name), tuple(sorted(role.canonical_ids))


def _signer(role: str) -> str:
    return role.removeprefix(f"{TARGETS}/")


def _natural(text: str) -> list[tuple[int, int | str]]:
    """Order v2 before v10, as docker does."""
    return [
        (0, int(part)) if part.isdecimal() else (1, part) for part in _DIGITS.split(text) if part
    ]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [
        max(_COLUMN_MIN, *(len(row[column]) + _GAP for row in (head, *rows)))
        for column in range(len(head) - 1)
    ]
    for row in (head, *rows):
        *front, last = row
        yield "".join(text.ljust(width) for text, width in zip(front, widths, strict=True)) + last


def _role(
    name: str, version: int, expires: datetime | None, signers: tuple[str, ...], problem: str
) -> JsonValue:
    return {
        "name": name,
        "version": version,
        "expires": None if expires is None else format_instant(expires),
        "signed_by": list(signers),
        "problem": problem or None,
    }
