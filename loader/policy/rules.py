"""What a policy says, as values. `reading.py` makes them from TOML; nothing here reads a file.

    Policy ─ ImageRule* ─ Requirement*      every rule whose `match` fits an image applies to it
    Requirement                             one claim each (`claims/`), by whom (`speakers.py`)

A new claim is a new class in the union `Requirement`; every `match` over it ends in
`assert_never`, so the type checker lists the places that must learn of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from loader.policy.claims.attestation import AttestationClaim
from loader.policy.claims.bundle_signature import BundleSignatureClaim
from loader.policy.claims.content_trust import ContentTrustClaim
from loader.policy.claims.provenance import ProvenanceClaim
from loader.policy.claims.sbom import SbomClaim
from loader.policy.claims.signature import SignatureClaim
from loader.policy.claims.tuf_target import TufTargetClaim
from loader.policy.claims.vulnerabilities import VulnerabilitiesClaim

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from loader.model.reference import Reference
    from loader.policy.exceptions import Exemption
    from loader.policy.patterns import Glob
    from loader.policy.variables import Fill

_SHOWN_MAX: Final = 5
NameRule = Literal["vouched", "as-packed"]
RollbackRule = Literal["time", "log-index", "none"]
TagRule = Literal["ours-only", "any"]
ClockRule = Literal["warn", "strict"]

EvidenceClaim: TypeAlias = (
    SignatureClaim | ProvenanceClaim | SbomClaim | VulnerabilitiesClaim | AttestationClaim
)
"""Claims on evidence about an image: each piece is weighed by itself (`weigh.py`)."""
AnchorClaim: TypeAlias = ContentTrustClaim | TufTargetClaim
"""Claims that carried trust material makes, which chained to an anchor: the anchor is who."""
ImageClaim: TypeAlias = EvidenceClaim | AnchorClaim
"""Claims on an image."""
Requirement: TypeAlias = ImageClaim | BundleSignatureClaim


def in_words(requirement: Requirement) -> str:
    """Return a requirement as a person would say it."""
    said = requirement.said
    what = " ".join(filter(None, (requirement.claim, str(requirement))))
    if not said.speakers:  # the anchor that it names is who says it
        return what
    who = " or ".join(str(speaker) for speaker in said.speakers)
    count = f"{said.threshold} of: " if said.threshold > 1 else ""
    every = "every one " if said.quantifier == "all" else ""
    return f"{what} {every}by {count}{who}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRule:
    """One `[[image]]` block. None where it says nothing of a setting."""

    where: str
    match: Glob
    require: tuple[Requirement, ...]
    name: NameRule | None = None
    rollback: RollbackRule | None = None
    tags: TagRule | None = None

    def filled(self, fill: Fill) -> ImageRule:
        """Return the block with an image's variables filled in."""
        return replace(self, require=tuple(one.filled(fill) for one in self.require))


def without_image(
    rules: Iterable[ImageRule], references: Collection[Reference]
) -> tuple[ImageRule, ...]:
    """Return the blocks that match none of these images: a wrong `match` looks like a check."""
    return tuple(rule for rule in rules if not any(map(rule.match.matches, references)))


def without_image_words(
    rules: Sequence[ImageRule], references: Collection[Reference]
) -> tuple[str, ...]:
    """Say in one line, for every report, which blocks match no image here; nothing where all do."""
    found = without_image(rules, references)
    if not found or not references:
        return ()
    named = ", ".join(f"{rule.where} {rule.match}" for rule in found[:_SHOWN_MAX])
    more = f" and {len(found) - _SHOWN_MAX} more" if len(found) > _SHOWN_MAX else ""
    verb = "matches" if len(found) == 1 else "match"
    return (f"{len(found)} of {len(rules)} blocks {verb} no image here: {named}{more}",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePolicy:
    """All that the policy says of one image: the blocks that match it, taken together.

    A block can only add: where two say different things, the stricter one holds.
    """

    rules: tuple[ImageRule, ...]
    exceptions: tuple[Exemption, ...] = ()

    @property
    def require(self) -> tuple[Requirement, ...]:
        """All requirements of all blocks; each must be met."""
        return tuple(requirement for rule in self.rules for requirement in rule.require)

    @property
    def on_images(self) -> tuple[ImageClaim, ...]:
        """The requirements on the image itself; evidence is weighed against them in this order."""
        return tuple(one for one in self.require if not isinstance(one, BundleSignatureClaim))

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
