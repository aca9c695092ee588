"""Bills of materials, by the little that is asked of them: SPDX, CycloneDX, Syft's own.

A small reader of our own, so that both sides count alike: what a component is, when the document
was made, under which licences things come. Everything else of a document is dropped while it is
parsed (`KEEP`), and no library for these formats is in the trusted base.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from loader.errors import JsonFieldError
from loader.model.dates import read_date
from loader.model.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from loader.model.strictjson import JsonValue

SbomFormat = Literal["SPDX", "SPDX tag-value", "CycloneDX", "Syft"]

KEEP: Final = frozenset(
    {
        *("spdxVersion", "creationInfo", "created", "packages", "Data"),
        *("bomFormat", "specVersion", "metadata", "timestamp", "components"),
        *("@context", "@graph", "type", "artifacts", "descriptor"),
    }
)
KEEP_LICENCES: Final = KEEP | {
    *("name", "licenseConcluded", "licenseDeclared"),
    *("licenses", "license", "id", "expression"),
}
"""The same where licences are asked for as well."""
_TAG_VALUE: Final = re.compile(
    r"^(PackageName|Created|PackageLicenseConcluded): *(.*)$", re.MULTILINE
)
_SPDX_PACKAGE: Final = re.compile(r"(?:.*[/_])?Package", re.ASCII)
_DEPTH_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Sbom:
    """What a bill of materials comes to."""

    format: SbomFormat
    version: str
    component_count: int
    created: datetime | None
    licences: tuple[tuple[str, str], ...] = ()
    """Name and licence expression of each component; empty where nobody asked."""


def read_sbom(predicate: JsonValue) -> Sbom:
    """Return what a predicate lists.

    Raises:
        JsonFieldError: it is no bill of materials in a format that is known, or a broken one.
    """
    if isinstance(predicate, dict) and set(predicate) == {"Data"}:
        predicate = predicate["Data"]  # as old clients wrapped it
    if isinstance(predicate, str):
        return _read_tag_value(predicate)
    fields = Fields(predicate, "predicate")
    if fields.has("spdxVersion"):
        return _read_spdx(fields)
    if fields.has("@graph"):
        return _read_spdx_3(fields)
    if fields.has("bomFormat"):
        return _read_cyclonedx(fields)
    if fields.has("artifacts"):
        return _read_syft(fields)
    raise JsonFieldError(
        "no bill of materials",
        where=fields.path,
        expected="spdxVersion, @graph, bomFormat or artifacts",
    )


def _read_spdx(fields: Fields) -> Sbom:
    version = fields.text("spdxVersion")
    if not version.startswith("SPDX-"):
        raise JsonFieldError("not a version of SPDX", where=fields.at("spdxVersion"))
    packages = _list(fields, "packages")
    return Sbom(
        format="SPDX",
        version=version,
        component_count=len(packages),
        created=read_date(fields.fields("creationInfo").object.get("created")),
        licences=tuple(
            (_text(one, "name"), licence)
            for one in packages
            for licence in dict.fromkeys(
                (_text(one, "licenseConcluded"), _text(one, "licenseDeclared"))
            )
            if licence
        ),
    )


def _read_spdx_3(fields: Fields) -> Sbom:
    elements = _list(fields, "@graph")
    infos = [one for one in elements if _text(one, "type") == "CreationInfo"]
    return Sbom(
        format="SPDX",
        version="SPDX-3",
        component_count=sum(
            _SPDX_PACKAGE.fullmatch(_text(one, "type")) is not None for one in elements
        ),
        created=next((read_date(one.object.get("created")) for one in infos), None),
    )


def _read_tag_value(text: str) -> Sbom:
    first, _, _ = text.lstrip().partition("\n")
    name, colon, version = first.partition(":")
    if name != "SPDXVersion" or not colon:
        raise JsonFieldError(
            "no bill of materials", where="predicate", expected="SPDXVersion: first"
        )
    count, created = 0, None
    package, licences = "", []
    for tag, value in _TAG_VALUE.findall(text):
        match tag:
            case "PackageName":
                count, package = count + 1, value.strip()
            case "Created":
                created = read_date(value.strip())
            case _:
                licences.append((package, value.strip()))
    return Sbom(
        format="SPDX tag-value",
        version=version.strip(),
        component_count=count,
        created=created,
        licences=tuple(licences),
    )


def _read_cyclonedx(fields: Fields) -> Sbom:
    if fields.text("bomFormat") != "CycloneDX":
        raise JsonFieldError("not CycloneDX", where=fields.at("bomFormat"))
    metadata = fields.fields("metadata").object if fields.has("metadata") else {}
    components = list(_components(fields, _DEPTH_MAX))
    return Sbom(
        format="CycloneDX",
        version=fields.text("specVersion"),
        component_count=len(components),
        created=read_date(metadata.get("timestamp")),
        licences=tuple(
            (_text(one, "name"), licence) for one in components for licence in _licences(one)
        ),
    )


def _components(fields: Fields, depth: int) -> Iterator[Fields]:
    """Yield components, and those that they hold."""
    if not fields.has("components"):
        return
    for one in _list(fields, "components"):
        yield one
        if depth:
            yield from _components(one, depth - 1)


def _licences(component: Fields) -> Iterator[str]:
    if not component.has("licenses"):
        return
    for item in _list(component, "licenses"):
        inner = item.fields("license") if item.has("license") else item
        text = _text(inner, "id") or _text(inner, "name") or _text(item, "expression")
        if text:
            yield text


def _read_syft(fields: Fields) -> Sbom:
    descriptor = fields.fields("descriptor").object if fields.has("descriptor") else {}
    return Sbom(
        format="Syft",
        version="",
        component_count=len(_list(fields, "artifacts")),
        created=read_date(descriptor.get("timestamp")),
    )


def _list(fields: Fields, name: str) -> list[Fields]:
    value = fields.value(name)
    if not isinstance(value, list):
        raise JsonFieldError("not a list", where=fields.at(name))
    return [Fields(item, f"{fields.at(name)}[{number}]") for number, item in enumerate(value)]


def _text(fields: Fields, name: str) -> str:
    value = fields.object.get(name)
    return value if isinstance(value, str) else ""
