"""Provenance asked for on a command line: as Dangerzone does, and as slsa-verifier does.

Either becomes one `claim = "provenance"` of a policy, whose facts are compared by equality: a
prefix of a repository's name is another repository.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from bundler.checking.verdict import Verdict, counted
from bundler.policies.toml_text import Value, lines
from loader.errors import UsageError
from loader.model.fields import format_instant
from loader.model.strictjson import JsonObject, JsonValue
from loader.policy.builders import GENERATOR_CONTAINER_NAME, GITHUB_ISSUER
from loader.policy.facts import Fact, ImageJudgement, Weighed
from loader.verify.facts import CertificateSigner

SCHEMA: Final = "airlock-attest-provenance/1"
_RELEASE: Final = r"@refs/tags/v[0-9]+\.[0-9]+\.[0-9]+"
_GITHUB: Final = "https://github.com/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of a build; empty texts ask for nothing."""

    repository: str
    """`owner/name` on GitHub, or a full source as `gitlab.com/group/name`."""
    workflow: str = ""
    branch: str = ""
    commit: str = ""
    tag: str = ""
    versioned_tag: str = ""
    builder_id: str = ""
    inputs: Mapping[str, str] | None = None
    level: int = 0

    def requirement(self, who: Mapping[str, Value] | None = None) -> dict[str, Value]:
        """Return the keys of the requirement; whoever may build is named where `who` does not."""
        table: dict[str, Value] = {"claim": "provenance", **(who or {"any": self._builders()})}
        source = self.repository
        if source.count("/") == 1:
            source = f"github.com/{source}"
        named = {
            "source-uri": source,
            "workflow": self.workflow,
            "source-branch": self.branch,
            "source-commit": self.commit,
            "source-tag": self.tag,
            "source-versioned-tag": self.versioned_tag,
            "builder-id": self.builder_id,
        }
        table |= {name: text for name, text in named.items() if text}
        if self.inputs:
            table["workflow-inputs"] = dict(self.inputs)
        if self.level:
            table["level"] = self.level
        return table

    def _builders(self) -> list[dict[str, Value]]:
        """Return the certificates of those who may have built it."""
        if self.builder_id:
            name, at, ref = self.builder_id.rpartition("@")
            name, ref = (name, ref) if at else (self.builder_id, "")
            if ref and not ref.startswith("refs/"):
                ref = f"refs/tags/{ref}"
            pattern = re.escape(name) + (f"@{re.escape(ref)}" if ref else "@.+")
        else:
            pattern = re.escape(GENERATOR_CONTAINER_NAME) + _RELEASE
        found = [_by(pattern)]
        if not self.builder_id and 0 < self.level < 3 and self.repository.count("/") == 1:  # noqa: PLR2004
            # What a repository's own workflow says of itself comes to level 2 at most.
            own = re.escape(f"{_GITHUB}{self.repository}/.github/workflows/")
            found.append(_by(f"{own}.+@.+"))
        return found


def _by(pattern: str) -> dict[str, Value]:
    return {
        "certificate-identity-regexp": pattern.replace(r"\-", "-"),
        "certificate-oidc-issuer": GITHUB_ISSUER,
    }


def asked_by(options: argparse.Namespace) -> Asked | None:
    """Return what the flags of slsa-verifier ask for; None where there is none of them.

    Raises:
        UsageError: there are some, and no source.
    """
    inputs = [text.partition("=") for text in options.build_workflow_input]
    if any(not name or not equals for name, equals, _ in inputs):
        raise UsageError("not an input", where="--build-workflow-input", expected="NAME=TEXT")
    asked = Asked(
        repository=(options.source_uri or "").removeprefix("git+").removeprefix("https://"),
        branch=options.source_branch or "",
        tag=options.source_tag or "",
        versioned_tag=options.source_versioned_tag or "",
        builder_id=options.builder_id or "",
        inputs={name: text for name, _, text in inputs},
    )
    if asked == Asked(repository="", inputs={}):
        return None
    if not asked.repository:
        raise UsageError("provenance of what source?", expected="--source-uri github.com/org/app")
    return asked


def policy_text(requirement: Mapping[str, Value]) -> bytes:
    """Return a policy that asks for this alone, of whatever image."""
    image: dict[str, Value] = {"match": "**", "name": "as-packed", "scope": "index"}
    parts = ["schema = 1", "[[image]]", *lines(image), "[[image.require]]", *lines(requirement)]
    return "\n".join(parts).encode()


# --- words ----------------------------------------------------------------------------------------

_FIVE: Final = (
    ("level", "SLSA level", "level"),
    ("repository", "GitHub repo", "repository"),
    ("workflow", "GitHub workflow", "workflow"),
    ("branch", "Git branch", "branch"),
    ("commit", "Git commit", "commit"),
)
"""Dangerzone's list: the fact, what it is called there, and what asks for it."""
_MORE: Final = (("tag", "Git tag", "tag"), ("builder", "builder", "builder_id"))


def said_of(image: ImageJudgement) -> tuple[Weighed, ...]:
    """Return what provenance that counts says of an image, each statement once, the newest first.

    Statements are kept apart: the commit of one beside the branch of another is nobody's claim.
    """
    found = {
        weighed.facts: weighed
        for one in image.considered
        for weighed in one.weighed
        if weighed.stage == "counts" and weighed.facts
    }
    return tuple(sorted(found.values(), key=lambda one: one.at, reverse=True))


def claims(facts: tuple[Fact, ...], asked: Asked) -> Iterator[JsonObject]:
    """Yield Dangerzone's claims, each with its value, what says so, and whether it is asked for."""
    told = {fact.name: fact for fact in facts}
    for name, words, asks in (*_FIVE, *_MORE):
        fact = told.get(name)
        if fact is None and (name, words, asks) in _MORE:
            continue
        value = "" if fact is None else fact.value
        yield {
            "name": words,
            "value": value.removeprefix(_GITHUB) if name == "repository" else value,
            "source": "nothing tells it" if fact is None else fact.source,
            "asked": bool(getattr(asked, asks)),
        }


def claim_lines(verdict: Verdict, asked: Asked) -> Iterator[str]:
    """Yield the claims of each image for people."""
    for image in () if verdict.judgement is None else verdict.judgement.images:
        name, digest = verdict.subject.name_of(image.entry), str(image.entry.image.digest)
        yield name if name.endswith(digest) else f"{name}  {digest}"
        for weighed in said_of(image):
            for claim in claims(weighed.facts, asked):
                mark = "ok" if claim["asked"] else "--"
                value = claim["value"] or "unknown"
                yield f"  {mark}  {claim['name']:<16} {value}  ({claim['source']})"
            if weighed.who is not None:
                at = f" at {format_instant(max(weighed.at))}" if weighed.at else ""
                yield f"      said by {weighed.who.words}{at}"


def document(verdict: Verdict, asked: Asked) -> JsonObject:
    """Return what was found, for programs: schema `airlock-attest-provenance/1`."""
    error = verdict.error
    images: list[JsonValue] = []
    for image in () if verdict.judgement is None else verdict.judgement.images:
        provenance: list[JsonValue] = [
            {
                "who": None if weighed.who is None else weighed.who.words,
                "at": [format_instant(at) for at in weighed.at],
                "claims": list(claims(weighed.facts, asked)),
            }
            for weighed in said_of(image)
        ]
        images.append(
            {
                "reference": verdict.subject.name_of(image.entry),
                "digest": str(image.entry.image.digest),
                "provenance": provenance,
            }
        )
    return {
        "schema": SCHEMA,
        "verdict": "accept" if error is None else "reject",
        "exit_status": verdict.exit_status,
        "code": None if error is None else error.code,
        "reasons": [] if error is None else list(error.reasons),
        "images": images,
    }


def slsa_verifier_lines(verdict: Verdict) -> Iterator[str]:
    """Yield the two lines that `slsa-verifier verify-image` prints of what it accepts."""
    for one in counted(verdict):
        signer = one.signed.signer
        if isinstance(signer, CertificateSigner):
            commit = signer.extensions.get("13", "")
            yield f'Verified build using builder "{signer.san}" at commit {commit}'
            break
    yield "PASSED: SLSA verification passed"
