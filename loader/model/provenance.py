"""SLSA provenance (slsa.dev/provenance v0.2 and v1): who built something, and from what.

A builder writes one fact into several places: the commit stands in the configuration's source, in
the materials and in the environment. Each is kept with its place, so that a reader who looks at one
of them alone cannot be told another story than a reader of the next (FORMATS §2.5).

What is read strictly is read so that an unknown field refuses: it may change what the known ones
mean (slsa-verifier decodes v0.2 so; SLSA v1 says SHOULD for external parameters).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from loader.errors import JsonFieldError, shown
from loader.model.fields import Fields
from loader.model.predicate_types import SLSA_02, SLSA_1

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loader.model.strictjson import JsonValue

GENERATOR_CONTAINER: Final = "https://github.com/slsa-framework/slsa-github-generator/container@v1"
GITHUB_WORKFLOW: Final = "https://actions.github.io/buildtypes/workflow/v1"

Claimed: TypeAlias = Literal[
    "builder",
    "repository",
    "commit",
    "ref",
    "workflow",
    "trigger",
    "repository-id",
    "owner-id",
    "run",
    "runner",
]
"""Facts that certificate and predicate can both tell."""
_RUN: Final = re.compile(r"https://[^/]+/[^/]+/[^/]+/actions/runs/([0-9]+)/attempts/([0-9]+)")
_TEXT_LENGTH_MAX: Final = 4096
_MATERIAL_COUNT_MAX: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What a predicate says. `said` has each fact with every place that tells it."""

    version: Literal["0.2", "1"]
    build_type: str
    said: Mapping[Claimed, tuple[tuple[str, str], ...]]
    branches: tuple[str, ...] = ()
    """Refs of the branch that a tag was made on, where the event tells it."""
    inputs: Mapping[str, JsonValue] | None = None
    """Inputs of a workflow that somebody started by hand; None where none are recorded."""

    def value(self, name: Claimed) -> str:
        """Return a fact as the first place tells it; empty where none does."""
        return next((value for _, value in self.said.get(name, ())), "")


def read_provenance(predicate: JsonValue, predicate_type: str) -> Provenance:
    """Return what a predicate says.

    Raises:
        JsonFieldError: it is no provenance of a version that is known, or says what nobody reads.
    """
    fields = Fields(predicate, "predicate")
    match predicate_type:
        case _ if predicate_type == SLSA_02:
            return _read_02(fields)
        case _ if predicate_type == SLSA_1:
            return _read_1(fields)
        case _:
            raise JsonFieldError(
                "a version of provenance that is not known",
                expected=f"{SLSA_02} or {SLSA_1}",
                found=shown(predicate_type),
            )


def split_source(uri: str) -> tuple[str, str]:
    """Return repository and ref of `git+https://host/owner/name@ref`; the ref may be empty."""
    repository, _, ref = uri.removeprefix("git+").partition("@")
    return repository, ref


def run_of(text: str) -> str:
    """Return `ID-ATTEMPT` of a run's address on GitHub, or the text where it is none."""
    found = _RUN.fullmatch(text)
    return text if found is None else f"{found[1]}-{found[2]}"


# --- v0.2 -----------------------------------------------------------------------------------------


def _read_02(fields: Fields) -> Provenance:
    build_type = _text(fields, "buildType")
    if build_type == GENERATOR_CONTAINER:
        _expect_known_02(fields)
    invocation = _maybe(fields, "invocation")
    source = None if invocation is None else _maybe(invocation, "configSource")
    environment = None if invocation is None else _maybe(invocation, "environment")
    metadata = _maybe(fields, "metadata")
    builder = fields.fields("builder")
    pairs: list[tuple[Claimed, str, str]] = [("builder", "builder.id", _text(builder, "id"))]
    if source is not None:
        pairs += _source_02(source, "configSource", digest="sha1")
        pairs += _pair("workflow", "configSource.entryPoint", source, "entryPoint")
    materials = fields.object.get("materials")
    if isinstance(materials, list) and materials:
        if len(materials) > _MATERIAL_COUNT_MAX:
            raise JsonFieldError("too many materials", where=fields.at("materials"))
        first = Fields(materials[0], fields.at("materials[0]"))
        pairs += _source_02(first, "materials[0]", digest="sha1")
    if environment is not None:
        pairs += _pair("commit", "environment.github_sha1", environment, "github_sha1")
        pairs += _pair("ref", "environment.github_ref", environment, "github_ref")
        pairs += _pair("trigger", "environment.github_event_name", environment, "github_event_name")
        for name, key in (
            ("repository-id", "github_repository_id"),
            ("owner-id", "github_repository_owner_id"),
        ):
            pairs += _pair(_CLAIMED[name], f"environment.{key}", environment, key)
    if metadata is not None:
        pairs += _pair("run", "metadata.buildInvocationID", metadata, "buildInvocationID")
    return Provenance(
        version="0.2",
        build_type=build_type,
        said=_grouped(pairs),
        branches=() if environment is None else tuple(_branches(environment)),
        inputs=None if environment is None else _inputs(environment),
    )


_CLAIMED: Final[dict[str, Claimed]] = {"repository-id": "repository-id", "owner-id": "owner-id"}


def _source_02(fields: Fields, where: str, *, digest: str) -> Iterator[tuple[Claimed, str, str]]:
    uri = _optional(fields, "uri")
    if uri:
        repository, ref = split_source(uri)
        yield "repository", f"{where}.uri", repository
        yield "ref", f"{where}.uri", ref
    digests = _maybe(fields, "digest")
    if digests is not None:
        yield from _pair("commit", f"{where}.digest", digests, digest)


def _branches(environment: Fields) -> Iterator[str]:
    """Yield the branch of a run by a tag, as slsa-verifier finds it (FORMATS §2.2, rule 12)."""
    ref, kind = _optional(environment, "github_ref"), _optional(environment, "github_ref_type")
    if kind == "branch":
        yield ref
    elif kind == "tag":
        base = _optional(environment, "github_base_ref")
        payload = _maybe(environment, "github_event_payload")
        if base:
            yield base
        elif payload is not None:
            event = _optional(environment, "github_event_name")
            if event == "push" and _optional(payload, "base_ref"):
                yield _optional(payload, "base_ref")
            release = _maybe(payload, "release")
            if event == "release" and release is not None:
                yield f"refs/heads/{_optional(release, 'target_commitish')}"


def _inputs(environment: Fields) -> Mapping[str, JsonValue] | None:
    if _optional(environment, "github_event_name") != "workflow_dispatch":
        return None
    payload = _maybe(environment, "github_event_payload")
    inputs = None if payload is None else _maybe(payload, "inputs")
    return None if inputs is None else inputs.object


_KNOWN_02: Final[dict[str, tuple[str, ...]]] = {
    "": ("builder", "buildType", "invocation", "buildConfig", "metadata", "materials"),
    "builder": ("id",),
    "invocation": ("configSource", "parameters", "environment"),
    "invocation.configSource": ("uri", "digest", "entryPoint"),
    "metadata": (
        "buildInvocationID",
        "buildStartedOn",
        "buildFinishedOn",
        "completeness",
        "reproducible",
    ),
    "metadata.completeness": ("parameters", "environment", "materials"),
}
"""What v0.2 knows (in-toto-golang's types); what a builder writes below other keys is its own."""


def _expect_known_02(fields: Fields) -> None:
    for path, names in _KNOWN_02.items():
        here: Fields | None = fields
        for step in path.split(".") if path else ():
            here = None if here is None else _maybe(here, step)
        if here is not None:
            here.only(*names)
    for position, item in enumerate(_list(fields, "materials")):
        Fields(item, fields.at(f"materials[{position}]")).only("uri", "digest")


# --- v1 -------------------------------------------------------------------------------------------


def _read_1(fields: Fields) -> Provenance:
    definition, details = fields.fields("buildDefinition"), fields.fields("runDetails")
    build_type = _text(definition, "buildType")
    pairs: list[tuple[Claimed, str, str]] = [
        ("builder", "builder.id", _text(details.fields("builder"), "id"))
    ]
    external = _maybe(definition, "externalParameters")
    if build_type == GITHUB_WORKFLOW:
        fields.only("buildDefinition", "runDetails")
        if external is None:
            raise JsonFieldError("no external parameters", where=definition.path)
        external.only("workflow")
        workflow = external.fields("workflow")
        workflow.only("ref", "repository", "path")
        for claimed, key in _WORKFLOW_1:
            pairs += _pair(claimed, f"workflow.{key}", workflow, key)
        internal = _maybe(definition, "internalParameters")
        github = None if internal is None else _maybe(internal, "github")
        if github is not None:
            for claimed, key in _GITHUB_1:
                pairs += _pair(claimed, f"github.{key}", github, key)
    dependencies = _list(definition, "resolvedDependencies")
    if dependencies:
        first = Fields(dependencies[0], definition.at("resolvedDependencies[0]"))
        pairs += _source_02(first, "resolvedDependencies[0]", digest="gitCommit")
    metadata = _maybe(details, "metadata")
    if metadata is not None:
        pairs += _pair("run", "metadata.invocationId", metadata, "invocationId")
    said = _grouped(pairs)
    refs = [value for _, value in said.get("ref", ()) if value.startswith("refs/heads/")]
    return Provenance(
        version="1", build_type=build_type, said=said, branches=tuple(dict.fromkeys(refs))
    )


_WORKFLOW_1: Final[tuple[tuple[Claimed, str], ...]] = (
    ("repository", "repository"),
    ("ref", "ref"),
    ("workflow", "path"),
)
_GITHUB_1: Final[tuple[tuple[Claimed, str], ...]] = (
    ("trigger", "event_name"),
    ("repository-id", "repository_id"),
    ("owner-id", "repository_owner_id"),
    ("runner", "runner_environment"),
)

# --- getters --------------------------------------------------------------------------------------


def _text(fields: Fields, name: str) -> str:
    return fields.text(name, length_max=_TEXT_LENGTH_MAX)


def _optional(fields: Fields, name: str) -> str:
    """Return a text, or an empty one: builders write "" where there is nothing to say."""
    return _text(fields, name) if fields.object.get(name) not in {None, ""} else ""


def _maybe(fields: Fields, name: str) -> Fields | None:
    return fields.fields(name) if fields.has(name) else None


def _list(fields: Fields, name: str) -> list[JsonValue]:
    value = fields.object.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > _MATERIAL_COUNT_MAX:
        raise JsonFieldError("not a list, or too long", where=fields.at(name))
    return value


def _pair(
    claimed: Claimed, place: str, fields: Fields, name: str
) -> Iterator[tuple[Claimed, str, str]]:
    value = _optional(fields, name)
    if value:
        yield claimed, place, run_of(value) if claimed == "run" else value


def _grouped(
    pairs: list[tuple[Claimed, str, str]],
) -> dict[Claimed, tuple[tuple[str, str], ...]]:
    found: dict[Claimed, tuple[tuple[str, str], ...]] = {}
    for claimed, place, value in pairs:
        found[claimed] = (*found.get(claimed, ()), (place, value))
    return found
