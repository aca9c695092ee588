"""From TOML to rules: strict types, no unknown keys, nothing that could silently mean nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, assert_never, get_args

from loader.errors import PolicyFileError
from loader.policy.claims import (
    attestation,
    bundle_signature,
    content_trust,
    provenance,
    sbom,
    signature,
    tuf_target,
    vulnerabilities,
)
from loader.policy.claims.bundle_signature import BundleSignatureClaim
from loader.policy.keys import Key, Listing, Record, Text, names_of
from loader.policy.patterns import Glob
from loader.policy.reading_speakers import SPEAKER_KEYS, read_said
from loader.policy.rules import ImageRule

if TYPE_CHECKING:
    from loader.policy.builders import ListedBuilder
    from loader.policy.rules import NameRule, Requirement, RollbackRule, TagRule
    from loader.policy.speakers import Scope
    from loader.policy.toml import Table
    from loader.policy.variables import Filling

RULE_COUNT_MAX: Final = 1000
REQUIREMENT_COUNT_MAX: Final = 100

_SCOPES: Final[dict[str, Scope]] = {"either": "either", "index": "index", "platform": "platform"}
_NAMES: Final[dict[str, NameRule]] = {"vouched": "vouched", "as-packed": "as-packed"}
_ROLLBACKS: Final[dict[str, RollbackRule]] = {
    "time": "time",
    "log-index": "log-index",
    "none": "none",
}
_TAGS: Final[dict[str, TagRule]] = {"ours-only": "ours-only", "any": "any"}

Claim = Literal[
    "signature",
    "bundle-signature",
    "provenance",
    "sbom",
    "vulnerabilities",
    "attestation",
    "content-trust",
    "tuf-target",
]
_CLAIMS: Final[dict[str, Claim]] = {name: name for name in get_args(Claim)}
_CLAIM_KEY: Final = Key(
    name="claim",
    form=Text(words=tuple(_CLAIMS)),
    words="what must be claimed of the image",
    required=True,
)
_SCOPE_KEY: Final = Key(
    name="scope",
    form=Text(words=tuple(_SCOPES)),
    words="what evidence must speak of: the index, the platform's manifest, or either",
)
CLAIM_KEYS: Final[dict[Claim, tuple[Key, ...]]] = {
    "signature": (_CLAIM_KEY, *SPEAKER_KEYS, _SCOPE_KEY, *signature.KEYS),
    "bundle-signature": (_CLAIM_KEY, *SPEAKER_KEYS, *bundle_signature.KEYS),
    "provenance": (_CLAIM_KEY, *SPEAKER_KEYS, _SCOPE_KEY, *provenance.KEYS),
    "sbom": (_CLAIM_KEY, *SPEAKER_KEYS, _SCOPE_KEY, *sbom.KEYS),
    "vulnerabilities": (_CLAIM_KEY, *SPEAKER_KEYS, _SCOPE_KEY, *vulnerabilities.KEYS),
    "attestation": (_CLAIM_KEY, *SPEAKER_KEYS, _SCOPE_KEY, *attestation.KEYS),
    "content-trust": (_CLAIM_KEY, *content_trust.KEYS),
    "tuf-target": (_CLAIM_KEY, _SCOPE_KEY, *tuf_target.KEYS),
}
"""All keys of a requirement, by its claim."""
IMAGE_KEYS: Final = (
    Key(
        name="match",
        form=Text(),
        words="glob for the repository's full name; * stays inside one part, ** crosses parts",
        required=True,
    ),
    _SCOPE_KEY,
    Key(
        name="name",
        form=Text(words=tuple(_NAMES)),
        words="whether verified evidence must give the image its name",
    ),
    Key(
        name="rollback",
        form=Text(words=tuple(_ROLLBACKS)),
        words="what must not go backwards under a name",
    ),
    Key(
        name="tags",
        form=Text(words=tuple(_TAGS)),
        words="whether a tag in the runtime is moved only where this loader put it there",
    ),
    Key(
        name="require",
        form=Listing(of=Record(keys=(_CLAIM_KEY,))),
        words="what must hold, all of it; the keys depend on the claim (CLAIM_KEYS)",
    ),
)
"""The keys of an `[[image]]` block."""


def read_rules(
    table: Table, filling: Filling, builders: tuple[ListedBuilder, ...]
) -> tuple[ImageRule, ...]:
    """Return the `[[image]]` blocks, of which there must be one.

    Args:
        table: the policy.
        filling: the variables of this run.
        builders: those that the policy trusts beyond what is known of them.

    Raises:
        PolicyFileError: an unknown key, a value of another type, or what cannot mean anything.
    """
    return tuple(
        _rule(item, filling, builders) for item in table.each("image", count_max=RULE_COUNT_MAX)
    )


def _rule(table: Table, filling: Filling, builders: tuple[ListedBuilder, ...]) -> ImageRule:
    table.only(names_of(IMAGE_KEYS))
    scope: Scope = table.word("scope", _SCOPES) if table.has("scope") else "either"
    rule = ImageRule(
        where=table.path,
        match=Glob.parse(table.text("match"), where=table.at("match")),
        name=table.word("name", _NAMES) if table.has("name") else None,
        rollback=table.word("rollback", _ROLLBACKS) if table.has("rollback") else None,
        tags=table.word("tags", _TAGS) if table.has("tags") else None,
        require=tuple(
            _requirement(item.mapped(filling.requirement), scope=scope, builders=builders)
            for item in table.each("require", count_max=REQUIREMENT_COUNT_MAX)
        )
        if table.has("require")
        else (),
    )
    if not rule.require and (rule.name, rule.rollback, rule.tags) == (None, None, None):
        raise PolicyFileError(
            "a block that asks for nothing",
            where=table.path,
            expected="at least one [[image.require]]",
            hint="without a requirement no image is accepted, so it would mean nothing",
        )
    return rule


def _requirement(  # noqa: PLR0911 (one return for each claim)
    table: Table, *, scope: Scope, builders: tuple[ListedBuilder, ...]
) -> Requirement:
    """Return one `[[image.require]]`.

    Raises:
        PolicyFileError: an unknown claim or key, or one that contradicts another.
    """
    claim = table.word("claim", _CLAIMS)
    known = names_of(CLAIM_KEYS[claim])
    table.only(known, elsewhere=_elsewhere(known))
    if table.has("scope"):
        scope = table.word("scope", _SCOPES)
    match claim:
        case "signature":
            return signature.read(table, said=read_said(table), scope=scope)
        case "bundle-signature":
            return BundleSignatureClaim(said=read_said(table))
        case "provenance":
            return provenance.read(table, said=read_said(table), scope=scope, builders=builders)
        case "sbom":
            return sbom.read(table, said=read_said(table), scope=scope)
        case "vulnerabilities":
            return vulnerabilities.read(table, said=read_said(table), scope=scope)
        case "attestation":
            return attestation.read(table, said=read_said(table), scope=scope)
        case "content-trust":
            return content_trust.read(table)
        case "tuf-target":
            return tuf_target.read(table, scope=scope)
        case _:
            assert_never(claim)


def _elsewhere(known: tuple[str, ...]) -> dict[str, str]:
    """Return the keys that another claim has, each with what to say of it here."""
    found: dict[str, list[str]] = {}
    for claim, keys in CLAIM_KEYS.items():
        for name in names_of(keys):
            if name not in known:
                found.setdefault(name, []).append(f'"{claim}"')
    return {
        name: f"a key that only the claim {' or '.join(claims)} has"
        for name, claims in found.items()
    }
