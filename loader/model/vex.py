"""OpenVEX v0.2: which findings of a scanner do not matter for which image.

Read strictly: a document that is broken anywhere says nothing at all. Products that name no digest
are left away, for a name alone may stand for any image.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from loader.digest import Digest
from loader.errors import JsonFieldError, shown
from loader.model.dates import read_date
from loader.model.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from loader.model.strictjson import JsonValue

Status = Literal["not_affected", "affected", "fixed", "under_investigation"]

STATEMENT_COUNT_MAX: Final = 10_000
_LISTED_COUNT_MAX: Final = 1000
"""Products of a statement, and names and parts of each."""
KEEP: Final = frozenset(
    {
        *("timestamp", "statements", "vulnerability", "name", "aliases", "status"),
        *("products", "@id", "subcomponents", "justification", "impact_statement"),
    }
)
_STATUSES: Final[dict[str, Status]] = {
    "not_affected": "not_affected",
    "affected": "affected",
    "fixed": "fixed",
    "under_investigation": "under_investigation",
}
_WITH_DIGEST: Final = re.compile(
    r"(?:[^@?#\s]+@)?sha256(?::|%3[Aa])([0-9a-f]{64})(?:[?#].*)?", re.ASCII
)
"""`pkg:oci/app@sha256%3A…?…`, `registry/app@sha256:…`, or the digest alone."""
_PURL: Final = re.compile(r"pkg:([a-z0-9.+-]+)/([^@?#%\s]+)(?:@([^@?#%\s]+))?(?:[?#].*)?", re.ASCII)
_DISTRIBUTED: Final = frozenset({"deb", "rpm", "apk"})
"""Types of purl whose namespace is the distribution, and no part of the package's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VexStatement:
    """What one statement says of one product."""

    ids: frozenset[str]
    """The vulnerability's name, and its aliases."""
    status: Status
    at: datetime
    digest: Digest
    """The product: an image or a platform's manifest."""
    packages: tuple[str, ...]
    """What it is about in the product, as `name` or `name version`; empty for all of it."""
    reason: str

    @property
    def silences(self) -> bool:
        """Whether the finding does not matter."""
        return self.status in {"not_affected", "fixed"}

    def names(self, package: str) -> bool:
        """Tell whether it is about this package, `name version` as a scanner writes it."""
        if not self.packages:
            return True
        return package in self.packages or package.partition(" ")[0] in self.packages


def read_vex(predicate: JsonValue) -> tuple[VexStatement, ...]:
    """Return what a document says, one for each statement and product with a digest.

    Raises:
        FormatError: it is no OpenVEX document, a broken one, or says too much.
    """
    fields = Fields(predicate, "predicate")
    made = fields.object.get("timestamp")
    return tuple(
        said
        for one in fields.each("statements", count_max=STATEMENT_COUNT_MAX)
        for said in _statement(one, made)
    )


def _statement(fields: Fields, made: JsonValue) -> Iterator[VexStatement]:
    vulnerability = fields.fields("vulnerability")
    names = {vulnerability.text("name"), *_texts(vulnerability, "aliases")}
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
    at = read_date(fields.object.get("timestamp", made))
    if at is None:
        raise JsonFieldError("a statement without a time", where=fields.at("timestamp"))
    for product in fields.each("products", count_max=_LISTED_COUNT_MAX):
        found = _WITH_DIGEST.fullmatch(product.text("@id"))
        packages = _packages(product)
        if found is not None:
            yield VexStatement(
                ids=frozenset(names),
                status=status,
                at=at,
                digest=Digest(found[1]),
                packages=packages,
                reason=reason[0] if reason else "",
            )


def _packages(product: Fields) -> tuple[str, ...]:
    if not product.has("subcomponents"):
        return ()
    found = [
        _package(part.text("@id"))
        for part in product.each("subcomponents", count_max=_LISTED_COUNT_MAX)
    ]
    if not found:
        raise JsonFieldError("an empty list of parts", where=product.at("subcomponents"))
    return tuple(found)


def _package(text: str) -> str:
    """Return a part's name, and version if it has one; what is no plain purl names nothing else."""
    purl = _PURL.fullmatch(text)
    if purl is None:
        return text
    kind, path, version = purl.groups()
    name = path.rpartition("/")[2] if kind in _DISTRIBUTED else path
    return f"{name} {version}" if version else name


def _texts(fields: Fields, name: str) -> list[str]:
    value = fields.object.get(name, [])
    if not isinstance(value, list) or len(value) > _LISTED_COUNT_MAX:
        raise JsonFieldError("not a list, or a long one", where=fields.at(name))
    texts = [one for one in value if isinstance(one, str)]
    if len(texts) != len(value):
        raise JsonFieldError("not a list of texts", where=fields.at(name))
    return texts
