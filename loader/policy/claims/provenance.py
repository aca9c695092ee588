"""`claim = "provenance"`: who built the image, from which source, by which workflow (FORMATS §2).

Everything that `slsa-verifier verify-image` checks of slsa-github-generator's provenance (v0.2),
and what `gh attestation verify` checks of GitHub's (v1); the numbers are the rules of FORMATS §2.2.
In both each fact must be the same in certificate and predicate. Other builders are read where the
policy names their build type.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from loader.errors import ContentsError, FormatError, PolicyFileError, shown
from loader.model.predicate_types import PredicateType
from loader.model.provenance import GENERATOR_CONTAINER, GITHUB_WORKFLOW
from loader.policy.builders import (
    GENERATOR,
    GENERATOR_CONTAINER_NAME,
    GITHUB_ISSUER,
    LEVEL_MAX,
    RELEASE_REF,
    BuilderId,
    ListedBuilder,
    certified,
    contradiction,
    level_of,
)
from loader.policy.claims.attestation import read_type
from loader.policy.facts import Fact, Meaning, Problem
from loader.policy.keys import Key, Named, Text, Whole
from loader.policy.versions import VersionedTag
from loader.verify.facts import CertificateSigner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loader.digest import Digest
    from loader.model.provenance import Claimed, Provenance
    from loader.policy.contents import Contents
    from loader.policy.speakers import Said, Scope
    from loader.policy.toml import Table
    from loader.policy.variables import Fill
    from loader.verify.facts import Signed, Signer

KEYS: Final = (
    Key(
        name="type",
        form=Text(words=("slsa", "slsaprovenance", "slsaprovenance02", "slsaprovenance1")),
        words="version of provenance; default slsa: any that is known",
    ),
    Key(name="source-uri", form=Text(), words="repository it was built from: github.com/org/app"),
    Key(name="source-tag", form=Text(), words="tag it was built from: v1.2.3"),
    Key(
        name="source-versioned-tag",
        form=Text(),
        words="semantic version of that tag, as far as given: v1, v1.2, v1.2.3",
    ),
    Key(name="source-branch", form=Text(), words="branch it was built from: main"),
    Key(name="source-commit", form=Text(pattern="[0-9a-f]{40,64}"), words="commit, in full"),
    Key(
        name="builder-id",
        form=Text(),
        words="who built it; without @REF any release of that builder",
    ),
    Key(name="workflow", form=Text(), words="path of the workflow that asked for the build"),
    Key(
        name="workflow-inputs",
        form=Named(of=Text()),
        words="inputs of a run that was started by hand; only v0.2 records them",
    ),
    Key(name="build-type", form=Text(), words="kind of build, where it is another than the usual"),
    Key(
        name="level",
        form=Whole(minimum=1, maximum=LEVEL_MAX),
        words="SLSA build level that it must come to",
    ),
)
_VERSIONS: Final = {GENERATOR_CONTAINER: "0.2", GITHUB_WORKFLOW: "1"}
_SOURCE: Final = re.compile(r"[a-z0-9][a-z0-9.:-]*(?:/[A-Za-z0-9._~-]+)+", re.ASCII)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)
_WORKFLOW: Final = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenanceClaim:
    """Somebody named here built the image in this way. Empty texts ask for nothing."""

    said: Said
    type: PredicateType
    scope: Scope = "either"
    source_uri: str = ""
    """`https://host/path`."""
    source_tag: str = ""
    source_versioned_tag: VersionedTag | None = None
    source_branch: str = ""
    source_commit: str = ""
    builder_id: BuilderId | None = None
    workflow: str = ""
    workflow_inputs: tuple[tuple[str, str], ...] = ()
    build_type: str = ""
    level: int = 0
    builders: tuple[ListedBuilder, ...] = ()
    """Those that the policy lists."""

    claim: ClassVar[Literal["provenance"]] = "provenance"

    def filled(self, fill: Fill) -> ProvenanceClaim:
        """Return the claim with variables filled in."""
        return replace(
            self,
            said=self.said.filled(fill),
            source_uri=fill(self.source_uri),
            source_tag=fill(self.source_tag),
            source_branch=fill(self.source_branch),
            source_commit=fill(self.source_commit),
            builder_id=None
            if self.builder_id is None
            else BuilderId.parse(fill(str(self.builder_id))),
            workflow=fill(self.workflow),
            workflow_inputs=tuple((name, fill(value)) for name, value in self.workflow_inputs),
        )

    def __str__(self) -> str:
        asked = (
            ("source", self.source_uri.removeprefix("https://")),
            ("tag", self.source_tag),
            ("version", str(self.source_versioned_tag or "")),
            ("branch", self.source_branch),
            ("commit", self.source_commit),
            ("builder", str(self.builder_id or "")),
            ("workflow", self.workflow),
            *((f"input {name}", value) for name, value in self.workflow_inputs),
            ("build type", self.build_type),
            ("level", str(self.level or "")),
        )
        return ", ".join(f"{name} {value}" for name, value in asked if value)


def read(
    table: Table, *, said: Said, scope: Scope, builders: tuple[ListedBuilder, ...]
) -> ProvenanceClaim:
    """Return the claim that a requirement writes.

    Raises:
        PolicyFileError: a source, commit or version that none can equal, or two that exclude each
            other.
    """
    claim = ProvenanceClaim(
        said=said,
        type=read_type(table, default="slsa"),
        scope=scope,
        source_uri=_source(table),
        source_tag=table.optional_text("source-tag") or "",
        source_versioned_tag=_version(table),
        source_branch=table.optional_text("source-branch") or "",
        source_commit=_matching(table, "source-commit", _COMMIT),
        builder_id=BuilderId.parse(table.text("builder-id")) if table.has("builder-id") else None,
        workflow=_matching(table, "workflow", _WORKFLOW),
        workflow_inputs=table.text_map("workflow-inputs") if table.has("workflow-inputs") else (),
        build_type=table.optional_text("build-type") or "",
        level=table.integer("level", minimum=1, maximum=LEVEL_MAX) if table.has("level") else 0,
        builders=builders,
    )
    for name in ("source-tag", "source-branch"):
        if table.has(name) and table.text(name).startswith("refs/"):
            raise PolicyFileError(
                "a name without refs/ in front", where=table.at(name), found=table.text(name)
            )
    if claim.workflow_inputs and claim.type.text == "slsaprovenance1":
        raise PolicyFileError(
            "provenance v1 records no inputs", where=table.at("workflow-inputs"), expected="v0.2"
        )
    if claim.build_type not in {"", GENERATOR_CONTAINER, GITHUB_WORKFLOW} and not claim.builder_id:
        raise PolicyFileError(
            "another kind of build, and nobody who makes it",
            where=table.at("build-type"),
            expected="`builder-id` beside it",
        )
    return claim


def _source(table: Table) -> str:
    text = table.optional_text("source-uri")
    if text is None:
        return ""
    bare = text.removeprefix("git+").removeprefix("https://")
    if "{" not in bare and _SOURCE.fullmatch(bare) is None:
        raise PolicyFileError(
            "not a repository",
            where=table.at("source-uri"),
            expected='"github.com/org/app"',
            found=shown(text),
        )
    return f"https://{bare}"


def _version(table: Table) -> VersionedTag | None:
    text = table.optional_text("source-versioned-tag")
    if text is None:
        return None
    return VersionedTag.parse(text, where=table.at("source-versioned-tag"))


def _matching(table: Table, name: str, pattern: re.Pattern[str]) -> str:
    text = table.optional_text(name) or ""
    if text and "{" not in text and pattern.fullmatch(text) is None:
        raise PolicyFileError(
            f"not a {name.removeprefix('source-')}",
            where=table.at(name),
            expected=pattern.pattern,
            found=shown(text),
        )
    return text


def means(
    claim: ProvenanceClaim, signed: Signed, subjects: frozenset[Digest], contents: Contents
) -> Meaning:
    """Return what a statement says of a build, if all of it holds and is what the claim wants."""
    try:
        provenance = contents.provenance()
    except FormatError as e:
        return Meaning.unreadable(e, subjects)
    signer = signed.signer
    level, why = level_of(provenance, signer, claim.builders)
    facts = tuple(_facts(provenance, signer, level, why))
    problem = (
        _other_build(claim, provenance, signer)
        or contradiction(provenance, signer, builders=_names_itself(provenance))
        or _asked_otherwise(claim, provenance, signer, level, why)
    )
    if problem is not None:
        return Meaning(subjects=subjects, facts=facts, problem=problem)
    told = _told(provenance, signer)
    tag = told["ref"].removeprefix("refs/tags/") if told["ref"].startswith("refs/tags/") else ""
    return Meaning(
        subjects=subjects,
        facts=facts,
        provides=frozenset(
            (name, value)
            for name, value in (
                ("source_commit", told["commit"]),
                ("source_tag", tag),
                ("source_uri", told["repository"]),
            )
            if value
        ),
        tags=tuple(dict.fromkeys((tag, tag.removeprefix("v")))) if tag else (),
    )


def _names_itself(provenance: Provenance) -> bool:
    """Tell whether the builder of this kind of build is the workflow that signed (rule 9)."""
    return provenance.build_type in {GENERATOR_CONTAINER, GITHUB_WORKFLOW}


def _told(provenance: Provenance, signer: Signer) -> dict[Claimed, str]:
    """Return each fact once: by the certificate where it tells it."""
    by_certificate = certified(signer) if isinstance(signer, CertificateSigner) else {}
    names: tuple[Claimed, ...] = (
        "builder", "repository", "commit", "ref", "workflow", "trigger", "run", "runner",
    )  # fmt: skip
    return {
        name: next((value for _, value in by_certificate.get(name, ())), provenance.value(name))
        for name in names
    }


def _facts(provenance: Provenance, signer: Signer, level: int, why: str) -> Iterator[Fact]:
    yield Fact(name="level", value=str(level), source=why)
    by_certificate = certified(signer) if isinstance(signer, CertificateSigner) else {}
    for name, value in _told(provenance, signer).items():
        if not value:
            continue
        sources = ["certificate"] if by_certificate.get(name) else []
        sources += ["predicate"] if provenance.said.get(name) else []
        source = " and ".join(sources)
        yield Fact(name=name, value=value, source=source)
        if name == "ref":
            for prefix, kind in (("refs/tags/", "tag"), ("refs/heads/", "branch")):
                if value.startswith(prefix):
                    yield Fact(name=kind, value=value.removeprefix(prefix), source=source)
    branches = {branch.removeprefix("refs/heads/") for branch in provenance.branches}
    if not _told(provenance, signer)["ref"].startswith("refs/heads/") and len(branches) == 1:
        yield Fact(name="branch", value=branches.pop(), source="predicate, of the event")


def _other_build(claim: ProvenanceClaim, provenance: Provenance, signer: Signer) -> Problem | None:
    """Tell whether this is a kind of build that can be judged at all, by its right builder."""
    kind = provenance.build_type
    wanted = claim.build_type
    if kind != wanted if wanted else not _names_itself(provenance):
        # (8) The type says how everything else is to be read.
        return _problem(
            "another kind of build",
            wanted or f"{GENERATOR_CONTAINER} or {GITHUB_WORKFLOW}",
            kind,
            hint="" if wanted else "`build-type` and `builder-id` name another kind",
        )
    if kind in _VERSIONS and provenance.version != _VERSIONS[kind]:
        # Its builder writes no other; what else it says there was never looked at.
        return _problem(
            "a version of provenance that this kind of build never has",
            _VERSIONS[kind],
            provenance.version,
        )
    if isinstance(signer, CertificateSigner) and (
        kind == GENERATOR_CONTAINER or signer.san.startswith(GENERATOR)
    ):
        return _other_generator(claim, provenance, signer)
    return None


def _other_generator(
    claim: ProvenanceClaim, provenance: Provenance, signer: CertificateSigner
) -> Problem | None:
    """Tell whether this is not what slsa-github-generator's container builder makes."""
    allowed = claim.builder_id or BuilderId(name=GENERATOR_CONTAINER_NAME, ref="")
    ref = signer.san.rpartition("@")[2]
    source = {place for place, _ in provenance.said.get("repository", ())}
    checks: tuple[tuple[bool, str, str, str], ...] = (
        (signer.issuer == GITHUB_ISSUER, "another issuer", GITHUB_ISSUER, signer.issuer),  # (4)
        (
            provenance.build_type == GENERATOR_CONTAINER,
            "not what slsa-github-generator writes for containers",  # (8)
            GENERATOR_CONTAINER,
            provenance.build_type,
        ),
        (allowed.matches(signer.san), "another builder", str(allowed), signer.san),  # (5)
        (
            RELEASE_REF.fullmatch(ref) is not None,
            "a builder that is no release",  # (6)
            "refs/tags/vX.Y.Z",
            ref,
        ),
        (
            source == {"configSource.uri", "materials[0].uri"} and bool(provenance.value("ref")),
            "no source, no ref of it, or no first material that is the source",  # (10)
            "configSource.uri and materials[0].uri",
            ", ".join(sorted(source)) or "none",
        ),
    )
    failed = next((check for check in checks if not check[0]), None)
    return None if failed is None else _problem(failed[1], failed[2], failed[3])


def _asked_otherwise(
    claim: ProvenanceClaim, provenance: Provenance, signer: Signer, level: int, why: str
) -> Problem | None:
    """Tell everything at once that is not as the claim asks (rules 5, 7 and 12)."""
    others = tuple(_others(claim, provenance, _told(provenance, signer), level, why))
    if not others:
        return None
    return _problem(
        "it was built otherwise: another " + ", ".join(what for what, _, _ in others),
        ", ".join(expected for _, expected, _ in others),
        ", ".join(found or "none" for _, _, found in others),
    )


def _others(
    claim: ProvenanceClaim,
    provenance: Provenance,
    told: dict[Claimed, str],
    level: int,
    why: str,
) -> Iterator[tuple[str, str, str]]:
    ref = told["ref"]
    if claim.builder_id is not None and not claim.builder_id.matches(provenance.value("builder")):
        yield "builder", str(claim.builder_id), provenance.value("builder")
    for what, expected, found in (
        ("source repository", claim.source_uri, told["repository"]),
        ("commit", claim.source_commit, told["commit"]),
        ("workflow", claim.workflow, told["workflow"]),
        ("tag", claim.source_tag and f"refs/tags/{claim.source_tag}", ref),
    ):
        if expected and found != expected:
            yield what, expected, found
    version = claim.source_versioned_tag
    if version is not None and not (
        ref.startswith("refs/tags/") and version.matches(ref.removeprefix("refs/tags/"))
    ):
        yield "version", str(version), ref
    branch = claim.source_branch and f"refs/heads/{claim.source_branch}"
    # What an event tells of a tag's branch is nothing beside a ref that is a branch itself.
    branches = (ref,) if ref.startswith("refs/heads/") else provenance.branches
    if branch and branch not in branches:
        yield "branch", branch, ", ".join(branches) or ref
    for name, expected in claim.workflow_inputs:
        given = "not recorded" if provenance.inputs is None else provenance.inputs.get(name)
        if provenance.inputs is None or given != expected:
            yield f"input {name}", expected, shown(given)
    if level < claim.level:
        yield "level", str(claim.level), f"{level} ({why})"


def _problem(message: str, expected: str, found: str, *, hint: str = "") -> Problem:
    return Problem(
        code=ContentsError.code,
        message=message,
        expected=expected,
        found=shown(found)[1:-1],
        hint=hint,
    )
