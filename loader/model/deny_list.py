"""Signed deny lists: an in-toto statement of our own type, in a Sigstore bundle (docs/format.md).

    predicateType   urn:airlock:deny:v1
    predicate       { "denials": [ { "digest" | "identity" (, "issuer") | "key" | "before", … } ] }
    subject         one, by the SHA-256 of the predicate in canonical JSON: a list is about itself

Each denial has a `reason`. A `key` is named by the SHA-256 of its DER, since names of anchors are
each host's own. Unknown fields refuse the list: what was meant more narrowly must not deny more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import rfc8785

from loader.digest import Digest
from loader.errors import JsonFieldError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model.fields import Fields, format_instant, parse_instant

if TYPE_CHECKING:
    from datetime import datetime

    from loader.limits import Limits
    from loader.model.statement import Statement
    from loader.model.strictjson import JsonObject

FAMILY: Final = "urn:airlock:deny:"
PREDICATE_TYPE: Final = f"{FAMILY}v1"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
COUNT_MAX: Final = 10_000
_KEY: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_TEXT_LENGTH_MAX: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedDenial:
    """One entry of a list. Exactly one of digest, identity and key, or `before` alone."""

    reason: str
    digest: Digest | None = None
    identity: str = ""
    issuer: str = ""
    key: str = ""
    before: datetime | None = None
    image: str = ""
    """A glob, for names of images; empty for all."""

    def plain(self) -> JsonObject:
        """Return it as `parse` reads it."""
        found: JsonObject = {"reason": self.reason}
        for name, value in (
            ("digest", "" if self.digest is None else str(self.digest)),
            ("identity", self.identity),
            ("issuer", self.issuer),
            ("key", self.key),
            ("before", "" if self.before is None else format_instant(self.before)),
            ("image", self.image),
        ):
            if value:
                found[name] = value
        return found

    @classmethod
    def parse(cls, fields: Fields) -> ListedDenial:
        """Return the denial that an object writes.

        Raises:
            FormatError: it denies nothing, two things, or says what nobody knows.
        """
        fields.only("reason", "digest", "identity", "issuer", "key", "before", "image")
        named = [name for name in ("digest", "identity", "key") if fields.has(name)]
        if len(named) > 1 or (not named and not fields.has("before")):
            raise JsonFieldError("not exactly one thing that is denied", where=fields.path)
        if fields.has("issuer") and not fields.has("identity"):
            raise JsonFieldError("an issuer without an identity", where=fields.at("issuer"))
        key = fields.optional_text("key") or ""
        if key and _KEY.fullmatch(key) is None:
            raise JsonFieldError(
                "not a key's fingerprint", where=fields.at("key"), found=shown(key)
            )
        return cls(
            reason=fields.text("reason", length_max=_TEXT_LENGTH_MAX),
            digest=fields.digest("digest") if fields.has("digest") else None,
            identity=fields.optional_text("identity") or "",
            issuer=fields.optional_text("issuer") or "",
            key=key,
            before=parse_instant(fields.text("before"), where=fields.at("before"))
            if fields.has("before")
            else None,
            image=fields.optional_text("image") or "",
        )


def write_deny_list(denials: tuple[ListedDenial, ...]) -> bytes:
    """Return the statement that lists these, in canonical JSON: what is to be signed."""
    predicate: JsonObject = {"denials": [one.plain() for one in denials]}
    digest = Digest.of(rfc8785.dumps(predicate))
    return rfc8785.dumps(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": "deny-list", "digest": {"sha256": digest.hex}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": predicate,
        }
    )


def read_deny_list(
    statement: Statement, *, limits: Limits = DEFAULT_LIMITS
) -> tuple[ListedDenial, ...]:
    """Return what a verified statement denies.

    Raises:
        FormatError: it is no deny list, or a broken one.
    """
    if statement.predicate_type != PREDICATE_TYPE:
        raise JsonFieldError(
            "not a deny list", expected=PREDICATE_TYPE, found=shown(statement.predicate_type)
        )
    predicate = statement.read_predicate(None, size_max=limits.document_size_max, limits=limits)
    fields = Fields(predicate, "predicate")
    fields.only("denials")
    found = tuple(ListedDenial.parse(item) for item in fields.each("denials", count_max=COUNT_MAX))
    if not found:
        raise JsonFieldError("a deny list that denies nothing", where=fields.path)
    return found
