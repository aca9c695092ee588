"""OpenVEX v0.2: which findings of a scanner do not matter for which image.

Read strictly: a document that is broken anywhere says nothing at all. Products that name no digest
are left away, for a name alone may stand for any image; so is a silence about a part of an image
that its product narrows down to (a path inside of it).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from loader.digest import Digest
from loader.errors import JsonFieldError, LimitError, shown
from loader.model.dates import read_date
from loader.model.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime

    from loader.model.strictjson import JsonValue

Status = Literal["not_affected", "affected", "fixed", "under_investigation"]

STATEMENT_COUNT_MAX: Final = 10_000
WORD_COUNT_MAX: Final = 20_000
"""Products of a whole document, and names of vulnerabilities times parts: each costs memory."""
_LISTED_COUNT_MAX: Final = 1000
"""Products of a statement, and names and parts of each."""
KEEP: Final = frozenset(
    {
        *("@context", "@id", "version", "timestamp", "last_updated", "statements"),
        *("vulnerability", "name", "aliases", "status", "justification", "impact_statement"),
        *("products", "subcomponents", "identifiers", "purl", "hashes", "sha-256"),
    }
)
_CONTEXT: Final = re.compile(r"https://openvex\.dev/ns(?:/v0\.2\.[0-9]+)?", re.ASCII)
_STATUSES: Final[dict[str, Status]] = {
    "not_affected": "not_affected",
    "affected": "affected",
    "fixed": "fixed",
    "under_investigation": "under_investigation",
}
_WITH_DIGEST: Final = re.compile(
    r"(?:[^@?#\s]+@)?sha256(?::|%3[Aa])([0-9a-f]{64})(?:\?([^#\s]*))?(?:#(\S*))?", re.ASCII
)
"""`pkg:oci/app@sha256%3A…?…`, `registry/app@sha256:…`, or the digest alone."""
_WITHOUT_DIGEST: Final = re.compile(r"pkg:([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.ASCII | re.DOTALL)
"""A purl, its qualifiers and its path inside; one that names no digest stands beside a hash."""
_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LOCATING: Final = frozenset({"repository_url", "download_url", "vcs_url", "file_name", "tag"})
"""Qualifiers of a purl that say where it is kept, and not which of several it is."""
_OF_A_PLATFORM: Final = frozenset({"arch", "os", "variant", "platform"})
_PURL: Final = re.compile(
    r"pkg:([a-z0-9.+-]+)/([^@?#%\s]+)(?:@([^@?#%\s]+))?(?:\?[^#]*)?#?", re.ASCII
)
"""Without a path inside of the package: what is said of that is not said of all of it."""
_DISTRIBUTED: Final = frozenset({"deb", "rpm", "apk"})
"""Types of purl whose namespace is the distribution, and no part of the package's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VexStatement:
    """What one statement says of one product."""

    ids: frozenset[str]
    """The vulnerability's name, and its aliases."""
    status: Status
    at: datetime
    """When it was known to be true; of what opens a finding, the last time that it was updated."""
    digest: Digest
    """The product: an image or a platform's manifest."""
    of_a_platform: bool
    """Whether its name narrows it to one platform, of which an index lists several."""
    packages: frozenset[str] | None
    """What it is about in the product, as `name` or `name version`; None for all of it."""
    reason: str

    @property
    def word_count(self) -> int:
        """How much it costs: a word for each name of the vulnerability and each part."""
        return len(self.ids) * max(len(self.packages or ()), 1)

    @property
    def silences(self) -> bool:
        """Whether the finding does not matter."""
        return self.status in {"not_affected", "fixed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class VexDocument:
    """One document: of one `id`, a later version takes the place of an earlier one."""

    id: str
    version: int
    statements: tuple[VexStatement, ...]

    @property
    def word_count(self) -> int:
        """How much all of them cost."""
        return sum(one.word_count for one in self.statements)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    """When something was said, and when it was last changed."""

    made: datetime | None
    updated: datetime | None

    @classmethod
    def read(cls, fields: Fields) -> _Times:
        return cls(made=_date(fields, "timestamp"), updated=_date(fields, "last_updated"))

    def over(self, document: _Times) -> _Times:
        """Return these times, or the document's where a statement has none of its own."""
        return document if self.made is None else self


def read_vex(predicate: JsonValue, digests: Collection[Digest]) -> VexDocument:
    """Return what a document says of these digests, one for each statement and product.

    Raises:
        FormatError: it is no OpenVEX document, a broken one, or says too much.
    """
    fields = Fields(predicate, "predicate")
    if _CONTEXT.fullmatch(fields.text("@context")) is None:
        raise JsonFieldError(
            "not OpenVEX v0.2", where=fields.at("@context"), found=shown(fields.text("@context"))
        )
    times = _Times.read(fields)
    products = words = 0
    found: dict[VexStatement, None] = {}
    for one in fields.each("statements", count_max=STATEMENT_COUNT_MAX):
        products += len(one.items("products", count_max=_LISTED_COUNT_MAX))
        for said in _statement(one, times) if products <= WORD_COUNT_MAX else ():
            if said.digest in digests and said not in found:
                found[said] = None
                words += said.word_count
        if max(products, words) > WORD_COUNT_MAX:
            raise LimitError(
                "a document says too much", where=one.path, expected=f"at most {WORD_COUNT_MAX}"
            )
    return VexDocument(
        id=fields.text("@id"), version=fields.integer("version"), statements=tuple(found)
    )


def _statement(fields: Fields, document: _Times) -> Iterator[VexStatement]:
    vulnerability = fields.fields("vulnerability")
    names = frozenset({vulnerability.text("name"), *_texts(vulnerability, "aliases")})
    status = _STATUSES.get(fields.text("status"))
    if status is None:
        raise JsonFieldError(
            "not a status", where=fields.at("status"), found=shown(fields.text("status"))
        )
    reason = [fields.text(x) for x in ("justification", "impact_statement") if fields.has(x)]
    if status == "not_affected" and not reason:
        raise JsonFieldError(
            "not affected, and no reason",
            where=fields.path,
            expected="`justification` or `impact_statement`",
        )
    times = _Times.read(fields).over(document)
    if times.made is None:
        raise JsonFieldError("a statement without a time", where=fields.at("timestamp"))
    silences = status in {"not_affected", "fixed"}
    at = times.made if silences else max(times.made, times.updated or times.made)
    for product in fields.each("products", count_max=_LISTED_COUNT_MAX):
        digest, narrowed = _product(product)
        packages = _packages(product)
        if digest is None or (silences and narrowed == "inside"):
            continue
        yield VexStatement(
            ids=names,
            status=status,
            at=at,
            digest=digest,
            of_a_platform=narrowed != "",
            packages=packages,
            reason=reason[0] if reason else "",
        )


def _product(product: Fields) -> tuple[Digest | None, Literal["", "platform", "inside"]]:
    """Return the digest that a product is named by, and what its name narrows it down to.

    Raises:
        JsonFieldError: it has no name, or the digests of two things.
    """
    texts = _names(product)
    named = [found for text in texts if (found := _WITH_DIGEST.fullmatch(text)) is not None]
    digests = {found[1] for found in named}
    hashes = product.fields("hashes") if product.has("hashes") else None
    if hashes is not None and hashes.has("sha-256"):
        text = hashes.text("sha-256")
        if _HASH.fullmatch(text) is None:
            raise JsonFieldError("not a SHA-256", where=hashes.at("sha-256"), found=shown(text))
        digests.add(text)
    if not texts and hashes is None:
        raise JsonFieldError("a product without a name", where=product.path)
    if len(digests) > 1:
        raise JsonFieldError(
            "one product with two digests", where=product.path, found=", ".join(sorted(digests))
        )
    narrowed: Literal["", "platform", "inside"] = ""
    named += [found for text in texts if (found := _WITHOUT_DIGEST.fullmatch(text)) is not None]
    for found in named:
        qualifiers = {pair.partition("=")[0] for pair in (found[2] or "").split("&") if pair}
        if found[3] or qualifiers - _LOCATING - _OF_A_PLATFORM:
            narrowed = "inside"
        elif qualifiers & _OF_A_PLATFORM and not narrowed:
            narrowed = "platform"
    return (Digest(digests.pop()) if digests else None), narrowed


def _packages(product: Fields) -> frozenset[str] | None:
    if not product.has("subcomponents"):
        return None
    parts = list(product.each("subcomponents", count_max=_LISTED_COUNT_MAX))
    if not parts:
        raise JsonFieldError("an empty list of parts", where=product.at("subcomponents"))
    # A part that is named by nothing that a scanner writes is still a part, and not all of it.
    return frozenset(_package(text) for part in parts for text in _names(part))


def _names(component: Fields) -> list[str]:
    """Return what names a product or a part: its `@id`, and its purl."""
    found = component.optional_text("@id")
    identifiers = component.optional_fields("identifiers")
    purl = None if identifiers is None else identifiers.optional_text("purl")
    return [text for text in (found, purl) if text is not None]


def _package(text: str) -> str:
    """Return a part's name, and version if it has one; what is no plain purl names nothing else."""
    purl = _PURL.fullmatch(text)
    if purl is None:
        return text
    kind, path, version = purl.groups()
    name = path.rpartition("/")[2] if kind in _DISTRIBUTED else path
    return f"{name} {version}" if version else name


def _date(fields: Fields, name: str) -> datetime | None:
    if not fields.has(name):
        return None
    found = read_date(fields.value(name))
    if found is None:
        raise JsonFieldError("not a time", where=fields.at(name))
    return found


def _texts(fields: Fields, name: str) -> list[str]:
    value = fields.object.get(name, [])
    if not isinstance(value, list) or len(value) > _LISTED_COUNT_MAX:
        raise JsonFieldError("not a list, or a long one", where=fields.at(name))
    texts = [one for one in value if isinstance(one, str)]
    if len(texts) != len(value):
        raise JsonFieldError("not a list of texts", where=fields.at(name))
    return texts
