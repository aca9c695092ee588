"""What a policy says, as values. `reading.py` makes them from TOML; nothing here reads a file.

    Policy ─ ImageRule* ─ Requirement*      every rule whose `match` fits an image applies to it
    Requirement = SignatureClaim | BundleSignatureClaim      one kind of claim each
    Speaker = KeySpeaker | CertificateSpeaker                who may make the claim

A new claim is a new class in the union `Requirement`; every `match` over it ends in
`assert_never`, so the type checker lists the places that must learn of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from loader.policy.patterns import Glob, TextPattern

LogNeed = Literal["none", "promise", "proof"]
Quantifier = Literal["any", "all"]
Scope = Literal["either", "index", "platform"]
NameRule = Literal["vouched", "as-packed"]
RollbackRule = Literal["time", "log-index", "none"]
TagRule = Literal["ours-only", "any"]
ClockRule = Literal["warn", "strict"]

WORKFLOW_EXTENSIONS: Final = {
    "trigger": ("2", "20"),
    "sha": ("3", "13"),
    "name": ("4",),
    "repository": ("5", "12"),
    "ref": ("6", "14"),
}
"""`certificate-github-workflow-…` to the last numbers of Fulcio's extensions, old one first."""
CERTIFICATE_EXTENSIONS: Final = {
    "build-signer-uri": ("9",),
    "build-signer-digest": ("10",),
    "runner-environment": ("11",),
    "source-repository-uri": ("12", "5"),
    "source-repository-digest": ("13", "3"),
    "source-repository-ref": ("14", "6"),
    "source-repository-identifier": ("15",),
    "source-repository-owner-uri": ("16",),
    "source-repository-owner-identifier": ("17",),
    "build-config-uri": ("18",),
    "build-config-digest": ("19",),
    "build-trigger": ("20", "2"),
    "run-invocation-uri": ("21",),
    "source-repository-visibility-at-signing": ("22",),
    "deployment-environment": ("23",),
    "token-subject": ("24",),
}
"""`certificate-extension` by the names of Fulcio's `oid-info.md`: the extension's last number, and
that of the deprecated one that says the same, if there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpeaker:
    """Whoever holds the private half of one pinned key."""

    key: str
    """Name of an anchor."""
    trusted_root: str | None
    log: LogNeed
    timestamps: int
    """How many distinct timestamp authorities must have seen the signature."""

    def __str__(self) -> str:
        return f"key {self.key!r}" + _conditions(self.log, self.timestamps)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSpeaker:
    """Whoever an issuer vouched for when a certificate authority of the trusted root signed."""

    identity: TextPattern
    issuer: TextPattern
    trusted_root: str
    log: LogNeed
    sct: int
    """How many certificate transparency logs must have promised the certificate."""
    timestamps: int
    workflow: tuple[tuple[str, str], ...] = ()
    """Extensions of GitHub's certificates by the words of cosign's flags, each with its value."""
    extensions: tuple[tuple[str, str], ...] = ()
    """Extensions by Fulcio's own names (`CERTIFICATE_EXTENSIONS`), each with its value."""

    def __str__(self) -> str:
        extra = "".join(f", workflow {name} {value!r}" for name, value in self.workflow)
        extra += "".join(f", {name} {value!r}" for name, value in self.extensions)
        return (
            f"identity {self.identity} by issuer {self.issuer}, root {self.trusted_root!r}{extra}"
            + _conditions(self.log, self.timestamps)
        )


Speaker: TypeAlias = KeySpeaker | CertificateSpeaker


def _conditions(log: LogNeed, timestamps: int) -> str:
    words = "" if log == "none" else f", log {log}"
    return words + (f", timestamps {timestamps}" if timestamps else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Who must say something, and how many of them."""

    where: str
    """Path of the requirement in the policy file."""
    speakers: tuple[Speaker, ...]
    threshold: int = 1
    """Distinct identities, not signatures."""
    quantifier: Quantifier = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureClaim:
    """`claim = "signature"`: somebody named here signed the image (FORMATS §1.2, §1.3)."""

    said: Said
    scope: Scope = "either"
    annotations: tuple[tuple[str, str], ...] = ()
    docker_reference: Literal["ignore", "match-repository"] | Glob = "ignore"

    claim: ClassVar[Literal["signature"]] = "signature"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleSignatureClaim:
    """`claim = "bundle-signature"`: somebody named here signed the bundle statement's bytes."""

    said: Said

    claim: ClassVar[Literal["bundle-signature"]] = "bundle-signature"


Requirement: TypeAlias = SignatureClaim | BundleSignatureClaim


def in_words(requirement: Requirement) -> str:
    """Return a requirement as a person would say it."""
    said = requirement.said
    who = " or ".join(str(speaker) for speaker in said.speakers)
    count = f"{said.threshold} of: " if said.threshold > 1 else ""
    every = "every one " if said.quantifier == "all" else ""
    return f"{requirement.claim} {every}by {count}{who}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRule:
    """One `[[image]]` block. None where it says nothing of a setting."""

    where: str
    match: Glob
    require: tuple[Requirement, ...]
    name: NameRule | None = None
    rollback: RollbackRule | None = None
    tags: TagRule | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePolicy:
    """All that the policy says of one image: the blocks that match it, taken together.

    A block can only add: where two say different things, the stricter one holds.
    """

    rules: tuple[ImageRule, ...]

    @property
    def require(self) -> tuple[Requirement, ...]:
        """All requirements of all blocks; each must be met."""
        return tuple(requirement for rule in self.rules for requirement in rule.require)

    @property
    def name(self) -> NameRule:
        """`as-packed` only where a block says so and none says `vouched`."""
        said = {rule.name for rule in self.rules}
        return "as-packed" if "as-packed" in said and "vouched" not in said else "vouched"

    @property
    def rollback(self) -> frozenset[Literal["time", "log-index"]]:
        """What must not go backwards; empty only where a block says `none`, and no other speaks."""
        found: set[Literal["time", "log-index"]] = set()
        for rule in self.rules:
            if rule.rollback is not None and rule.rollback != "none":
                found.add(rule.rollback)
        if not found and all(rule.rollback is None for rule in self.rules):
            found.add("time")
        return frozenset(found)

    @property
    def tags(self) -> TagRule:
        """`any` only where a block says so and none says `ours-only`."""
        said = {rule.tags for rule in self.rules}
        return "any" if "any" in said and "ours-only" not in said else "ours-only"
