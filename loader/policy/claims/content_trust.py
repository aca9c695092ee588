"""`claim = "content-trust"`: the tag stands for these bytes in Docker Content Trust (FORMATS §5.5).

What `docker pull` would take, and stricter where it is careless: `targets/releases` first, then
`targets`, no other role. Where both name the tag and mean different bytes, somebody signed
something that nobody sees any more: that is refused, or `conflict = "docker-order"` takes what
docker takes. Where `targets/releases` is not usable, `targets` does not step in for it. The length
is compared as well as the digest, with the very bytes of the list or manifest in the bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from loader.errors import ContentTrustConflictError, EvidenceInvalidError, NoEvidenceError, shown
from loader.model.fields import format_instant
from loader.model.notary_roles import RELEASES, TARGETS
from loader.model.reference import canonical
from loader.policy.facts import Fact, Problem, SignedName, Weighed, Who
from loader.policy.keys import Key, Text
from loader.policy.reading_anchors import expect_anchor_name
from loader.policy.speakers import Said

if TYPE_CHECKING:
    from loader.digest import Digest
    from loader.model.reference import Reference
    from loader.policy.speakers import Scope
    from loader.policy.toml import Table
    from loader.policy.variables import Fill
    from loader.verify.notary.facts import ContentTrust, SignedTag

Conflict = Literal["refuse", "docker-order"]

_CONFLICTS: Final[dict[str, Conflict]] = {"refuse": "refuse", "docker-order": "docker-order"}
KEYS: Final = (
    Key(
        name="notary-root",
        form=Text(),
        words="where trust in the repository begins: an anchor's name, or a file",
        required=True,
    ),
    Key(
        name="conflict",
        form=Text(words=tuple(_CONFLICTS)),
        words="what to do where targets and targets/releases mean different bytes by one tag",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentTrustClaim:
    """The repository's own signers signed this tag for these bytes."""

    said: Said
    notary_root: str
    """Name of an anchor."""
    conflict: Conflict = "refuse"

    claim: ClassVar[Literal["content-trust"]] = "content-trust"
    scope: ClassVar[Scope] = "index"
    """A tag is signed for what the registry has under it: the list, where there is one."""

    def filled(self, fill: Fill) -> ContentTrustClaim:
        """Return the claim with variables filled in: it has none."""
        del fill
        return self

    def __str__(self) -> str:
        order = ", as docker orders roles" if self.conflict == "docker-order" else ""
        return f"by {self.notary_root!r}{order}"


def read(table: Table) -> ContentTrustClaim:
    """Return the claim that a requirement writes.

    Raises:
        PolicyFileError: no anchor's name, or an unknown word.
    """
    name = table.text("notary-root")
    expect_anchor_name(name, where=table.at("notary-root"), endings=(".json", ".pem"))
    return ContentTrustClaim(
        said=Said(where=table.path, speakers=()),
        notary_root=name,
        conflict=table.word("conflict", _CONFLICTS) if table.has("conflict") else "refuse",
    )


def gun_of(reference: Reference) -> str:
    """Return the globally unique name of an image's repository, as docker makes it."""
    return canonical(reference.registry, reference.repository)


def weigh_trust(
    claim: ContentTrustClaim, trust: ContentTrust, top: bytes, *, digest: Digest, tag: str
) -> Weighed:
    """Return what the claim makes of a repository that is verified.

    Args:
        claim: what policy asks for.
        trust: what the repository says.
        top: the bytes of the image's list or manifest.
        digest: theirs.
        tag: of the image's name.
    """
    chosen = _chosen(claim, trust, tag)
    if isinstance(chosen, Problem):
        return Weighed(stage="contents", problem=chosen, subjects=frozenset({digest}))
    differs = chosen.fingerprint.differs(top)
    role = trust.role(chosen.role)
    if differs or role is None:
        problem = Problem(
            code=EvidenceInvalidError.code,
            message=f"the tag {tag} is signed for other bytes by {chosen.role}",
            expected=_meant(chosen),
            found=f"{digest}, {len(top)} bytes",
        )
        return Weighed(stage="contents", problem=problem, subjects=frozenset({digest}))
    who = Who(
        distinct=f"notary:{trust.gun}\n{chosen.role}",
        words=f"{chosen.role} of {trust.gun} (key {', '.join(_short(role.signer_ids))}; "
        f"{trust.pinned}, root {trust.begins} to {trust.seen.newest})",
    )
    name = SignedName(
        repository=trust.gun,
        tag=tag,
        how="content-trust",
        who=chosen.role,
        distinct=who.distinct,
        subjects=frozenset({digest}),
    )
    return Weighed(
        stage="counts",
        problem=None,
        who=who,
        subjects=frozenset({digest}),
        names=(name,),
        facts=tuple(
            Fact(name=f"signed by {said.role}", value=_meant(said), source="content trust")
            for said in trust.said(tag)
        ),
    )


def _chosen(claim: ContentTrustClaim, trust: ContentTrust, tag: str) -> SignedTag | Problem:
    """Return what docker takes for a tag, or why nothing is taken."""
    if not tag:
        return Problem(code=NoEvidenceError.code, message="content trust is of tags; there is none")
    releases = trust.role(RELEASES)
    if releases is not None and releases.problem:
        return Problem(
            code=EvidenceInvalidError.code,
            message=f"{RELEASES} is not usable, and {TARGETS} does not stand in for it",
            found=releases.problem,
        )
    said = {one.role: one for one in trust.said(tag)}
    found = [said[role] for role in (RELEASES, TARGETS) if role in said]
    if not found:
        others = ", ".join(said)
        return Problem(
            code=NoEvidenceError.code,
            message=f"the tag {shown(tag)} is not signed",
            expected=f"{shown(tag)} in {RELEASES} or {TARGETS}",
            found=f"only in {others}, which docker does not take" if others else "nothing",
        )
    if len(found) > 1 and claim.conflict == "refuse":
        first, second = found
        if first.fingerprint.differs_from(second.fingerprint):
            return Problem(
                code=ContentTrustConflictError.code,
                message=f"{RELEASES} and {TARGETS} mean different bytes by the tag {shown(tag)}",
                expected="one digest and length",
                found="; ".join(_said(one, trust) for one in found),
                hint='`conflict = "docker-order"` takes what docker would pull',
            )
    return found[0]


def _said(said: SignedTag, trust: ContentTrust) -> str:
    role = trust.role(said.role)
    if role is None or role.expires is None:
        return f"{said.role}: {_meant(said)}"
    return (
        f"{said.role}: {_meant(said)}, signed by key {', '.join(_short(role.signer_ids))}, "
        f"expires {format_instant(role.expires)}"
    )


def _meant(said: SignedTag) -> str:
    return f"sha256:{said.fingerprint.sha256.hex()}, {said.fingerprint.length} bytes"


def _short(key_ids: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(key_id[:12] for key_id in key_ids)
