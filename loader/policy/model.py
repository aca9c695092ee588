"""The policy: what the operator of this host accepts, and who may say so (DESIGN §7, §11).

Default deny: an image that no block matches, and one whose blocks require nothing, is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from loader.digest import Digest
from loader.errors import PolicyFileError, shown
from loader.limits import DEFAULT_LIMITS
from loader.policy import reading, toml
from loader.policy.builders import BUILDER_KEYS, read_builders
from loader.policy.channels import BUNDLE_KEYS, read_channels
from loader.policy.claims.content_trust import ContentTrustClaim
from loader.policy.claims.tuf_target import TufTargetClaim
from loader.policy.claims.vulnerabilities import VulnerabilitiesClaim
from loader.policy.denials import DENY_KEYS, Denial, read_denials
from loader.policy.exceptions import EXCEPTION_KEYS, Exemption, read_exceptions
from loader.policy.keys import Key, Listing, Named, Record, Text, Whole, names_of
from loader.policy.patterns import Exact, Regexp
from loader.policy.reading_anchors import (
    ANCHOR_KEYS,
    expect_fitting,
    read_anchor_rules,
    read_anchors,
)
from loader.policy.reading_speakers import SPEAKER_KEYS, read_deny_speakers
from loader.policy.rules import ClockRule, ImagePolicy
from loader.policy.speakers import CertificateSpeaker, KeySpeaker, Said
from loader.policy.variables import Filling, expect_variables, filler_of, speaks_of_images
from loader.trust.anchors import AnchorFile, AnchorRule, AnchorUse
from loader.trust.validity import ALWAYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loader.limits import Limits
    from loader.model.reference import Reference
    from loader.policy.patterns import TextPattern
    from loader.policy.rules import ImageRule
    from loader.policy.toml import Table

SCHEMA: Final = 1
_COMPARED_MAX: Final = 10_000
"""Pairs of patterns that are compared for the sake of a warning."""
_REGEXP_SIGNS: Final = re.compile(r"\.\*|\.\+|\\\.|\[[^\]]*\][*+]|^\^|\$$")
_CLOCKS: Final[dict[str, ClockRule]] = {"warn": "warn", "strict": "strict"}
TIME_KEYS: Final = (
    Key(
        name="clock",
        form=Text(words=tuple(_CLOCKS)),
        words="whether a clock behind the newest verified time is a warning or a refusal",
        required=True,
    ),
)
"""The keys of the table `[time]`."""
POLICY_KEYS: Final = (
    Key(
        name="schema",
        form=Whole(minimum=SCHEMA, maximum=SCHEMA),
        words="version of this format",
        required=True,
    ),
    Key(
        name="image",
        form=Listing(of=Record(keys=reading.IMAGE_KEYS)),
        words="which images are accepted, and what must hold for them",
        required=True,
    ),
    Key(
        name="anchor",
        form=Named(of=Record(keys=ANCHOR_KEYS)),
        words="keys and trusted roots by name",
    ),
    Key(
        name="builder",
        form=Listing(of=Record(keys=BUILDER_KEYS)),
        words="builders that are trusted up to a level, beyond those that are known",
    ),
    Key(
        name="deny",
        form=Listing(of=Record(keys=DENY_KEYS)),
        words="what is denied, whoever signed it",
    ),
    Key(
        name="deny-list",
        form=Record(keys=SPEAKER_KEYS),
        words="who may sign deny lists that bundles carry",
    ),
    Key(
        name="exception",
        form=Listing(of=Record(keys=EXCEPTION_KEYS)),
        words="claims that need not hold for some images for a time",
    ),
    Key(name="bundle", form=Record(keys=BUNDLE_KEYS), words="which bundles are taken"),
    Key(name="time", form=Record(keys=TIME_KEYS), words="what is made of clocks"),
)
"""The keys of a policy file. `CLAIM_KEYS` has those of a requirement, which depend on its claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy file. `raw` is what the ledger records the digest of."""

    raw: bytes
    where: str
    """The file's name, for messages."""
    rules: tuple[ImageRule, ...]
    anchors: tuple[AnchorFile, ...]
    anchor_rules: tuple[AnchorRule, ...]
    """What it asks of anchors besides, wherever their files are."""
    uses: tuple[AnchorUse, ...]
    """Every anchor that a rule refers to."""
    channels: tuple[str, ...]
    """The channels whose bundles are taken; empty where any is."""
    clock: ClockRule
    variables: tuple[tuple[str, str], ...]
    """Those of this run that rules were filled with."""
    denials: tuple[Denial, ...]
    deny_list: Said | None
    """Who may sign deny lists that bundles carry; None where nobody may."""
    exceptions: tuple[Exemption, ...]
    warnings: tuple[str, ...]
    """What is allowed and perhaps not meant."""

    @classmethod
    def parse(
        cls,
        raw: bytes,
        *,
        where: str,
        variables: Mapping[str, str] | None = None,
        earlier: Mapping[str, str] | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Policy:
        """Return the policy that these bytes write.

        Args:
            raw: the file.
            where: its name, for messages.
            variables: those of this run (`--var`, or `[watch] vars`); each must be used.
            earlier: those of an earlier run, where this one gives no others; rules may have
                changed since, and need not use them.
            limits: sizes.

        Raises:
            PolicyFileError: not TOML, an unknown key, a value of another type, or a rule that
            cannot mean anything.
        """
        table = toml.parse(raw, where=where, size_max=limits.policy_size_max)
        given = dict(variables or {})
        expect_variables(given, where="--var")
        kept = {name: text for name, text in (earlier or {}).items() if name not in given}
        expect_variables(kept, where="what the ledger kept")
        try:
            return cls._read(table, raw=raw, where=where, variables=given, kept=kept)
        except PolicyFileError as e:
            # The path inside the file says little where a host has several policies.
            e.where = f"{where}: {e.where}" if e.where else where
            raise

    @classmethod
    def _read(
        cls,
        table: Table,
        *,
        raw: bytes,
        where: str,
        variables: dict[str, str],
        kept: dict[str, str],
    ) -> Policy:
        table.integer("schema", minimum=SCHEMA, maximum=SCHEMA)
        table.only(names_of(POLICY_KEYS))
        clock: ClockRule = "warn"
        if table.has("time"):
            time = table.table("time")
            time.only(names_of(TIME_KEYS))
            clock = time.word("clock", _CLOCKS)
        anchors = read_anchors(table.table("anchor")) if table.has("anchor") else ()
        anchor_rules = read_anchor_rules(table.table("anchor")) if table.has("anchor") else ()
        filling = Filling(kept | variables)
        denials = read_denials(table) if table.has("deny") else ()
        builders = read_builders(table) if table.has("builder") else ()
        rules = reading.read_rules(table, filling, builders)
        claims = {one.claim for rule in rules for one in rule.require}
        exceptions = read_exceptions(table, claims) if table.has("exception") else ()
        for name in sorted(variables.keys() - filling.used):
            raise PolicyFileError("no rule uses this variable", found=name)
        deny_list = read_deny_speakers(table.table("deny-list")) if table.has("deny-list") else None
        uses = _uses_of(rules, anchors, deny_list)
        _expect_kinds(anchors, uses)
        _expect_fitting(anchor_rules, uses)
        _expect_dated(anchor_rules, rules, deny_list)
        return cls(
            raw=raw,
            where=where,
            rules=rules,
            channels=read_channels(table.table("bundle")) if table.has("bundle") else (),
            anchors=anchors,
            anchor_rules=anchor_rules,
            uses=uses,
            clock=clock,
            variables=tuple(sorted(filling.filled.items())),
            denials=denials,
            deny_list=deny_list,
            exceptions=exceptions,
            warnings=(
                *_warnings_of(rules),
                *_unused(anchors, anchor_rules, uses),
                *_idle(denials, uses),
                *_without_block(rules, denials, exceptions),
            ),
        )

    def denying(self, denials: tuple[Denial, ...]) -> Policy:
        """Return the policy with more that is denied."""
        return replace(self, denials=(*self.denials, *denials)) if denials else self

    @property
    def digest(self) -> Digest:
        """What the ledger records: under which policy something was accepted."""
        return Digest.of(self.raw)

    def rules_for(self, reference: Reference) -> ImagePolicy:
        """Return all that the policy says of this image; without rules where nothing matches."""
        rules = tuple(rule for rule in self.rules if rule.match.matches(reference))
        if speaks_of_images(self.raw):
            fill = filler_of(reference)
            rules = tuple(rule.filled(fill) for rule in rules)
        return ImagePolicy(
            rules=rules,
            exceptions=tuple(one for one in self.exceptions if one.image.matches(reference)),
        )


def _expect_kinds(anchors: tuple[AnchorFile, ...], uses: tuple[AnchorUse, ...]) -> None:
    kinds = {anchor.name: anchor.kind for anchor in anchors}
    for use in uses:
        kind = kinds.get(use.name, use.kind)
        # A TUF repository can hold a trusted root: bundles bring it.
        if kind != use.kind and (kind, use.kind) != ("tuf-root", "trusted-root"):
            raise PolicyFileError(
                f"[anchor.{use.name}] is no {use.kind}", where=use.where, found=kinds[use.name]
            )


def _expect_fitting(rules: tuple[AnchorRule, ...], uses: tuple[AnchorUse, ...]) -> None:
    kinds = {use.name: use.kind for use in uses}
    for rule in rules:
        if rule.name in kinds:
            expect_fitting(rule, kinds[rule.name], where=f"anchor.{rule.name}")


def _expect_dated(
    anchors: tuple[AnchorRule, ...], rules: tuple[ImageRule, ...], deny_list: Said | None
) -> None:
    """Refuse a window of time around a key whose signatures nobody would date."""
    windowed = {rule.name for rule in anchors if rule.valid_for != ALWAYS}
    wanted = [requirement for rule in rules for requirement in rule.require]
    said = [one.said for one in wanted]
    said += [one.vex for one in wanted if isinstance(one, VulnerabilitiesClaim) and one.vex]
    for one in (*said, *(() if deny_list is None else (deny_list,))):
        for speaker in one.speakers:
            if (
                isinstance(speaker, KeySpeaker)
                and speaker.key in windowed
                and speaker.trusted_root is None
            ):
                raise PolicyFileError(
                    "nobody would say when this key signed, and it counts for a time only",
                    where=one.where,
                    expected="`trusted-root` beside the key: its logs and timestamp authorities "
                    "date signatures",
                    found=f"[anchor.{speaker.key}] with `valid-from` or `valid-until`",
                )


def _unused(
    anchors: tuple[AnchorFile, ...], rules: tuple[AnchorRule, ...], uses: tuple[AnchorUse, ...]
) -> tuple[str, ...]:
    used = {use.name for use in uses}
    named = dict.fromkeys((*(one.name for one in anchors), *(one.name for one in rules)))
    return tuple(f"anchor.{name}: no rule refers to it" for name in named if name not in used)


def _idle(denials: tuple[Denial, ...], uses: tuple[AnchorUse, ...]) -> tuple[str, ...]:
    """Return what of `[[deny]]` is perhaps not meant: it would deny nobody."""
    used = {use.name for use in uses}
    found: list[str] = []
    for one in denials:
        if one.key and ":" not in one.key and one.key not in used:
            found.append(f"{one.source}: key {shown(one.key)} is no anchor that a rule refers to")
        if _REGEXP_SIGNS.search(one.identity) is not None or "*" in one.identity:
            found.append(f"{one.source}: {shown(one.identity)} is compared letter by letter")
    return tuple(found)


def _without_block(
    rules: tuple[ImageRule, ...],
    denials: tuple[Denial, ...],
    exceptions: tuple[Exemption, ...],
) -> tuple[str, ...]:
    """Return what is denied or excepted for images alone that no block could accept anyway."""
    named = [(one.source, one.image) for one in denials if one.image is not None]
    named += [(one.where, one.image) for one in exceptions]
    if len(named) * len(rules) > _COMPARED_MAX:
        return ()  # a warning is not worth the time
    return tuple(
        f"{where}: no [[image]] block matches any image that {image} matches"
        for where, image in named
        if not any(rule.match.overlaps(image) for rule in rules)
    )


def _uses_of_speakers(said: Said) -> Iterator[AnchorUse]:
    for speaker in said.speakers:
        if isinstance(speaker, KeySpeaker):
            yield AnchorUse(name=speaker.key, kind="key", where=said.where)
        if speaker.trusted_root is not None:
            yield AnchorUse(name=speaker.trusted_root, kind="trusted-root", where=said.where)


def _uses_of(
    rules: tuple[ImageRule, ...], anchors: tuple[AnchorFile, ...], deny_list: Said | None
) -> tuple[AnchorUse, ...]:
    """Return every anchor that a rule refers to, each once, and those that vouch for these."""
    uses: dict[AnchorUse, None] = {}
    for rule in rules:
        for requirement in rule.require:
            where = requirement.said.where
            if isinstance(requirement, ContentTrustClaim):
                use = AnchorUse(name=requirement.notary_root, kind="notary-root", where=where)
                uses[use] = None
            if isinstance(requirement, TufTargetClaim):
                uses[AnchorUse(name=requirement.tuf_root, kind="tuf-root", where=where)] = None
            uses |= dict.fromkeys(_uses_of_speakers(requirement.said))
            if isinstance(requirement, VulnerabilitiesClaim) and requirement.vex is not None:
                uses |= dict.fromkeys(_uses_of_speakers(requirement.vex))
    if deny_list is not None:
        uses |= dict.fromkeys(_uses_of_speakers(deny_list))
    used = {use.name for use in uses}
    for anchor in anchors:
        if anchor.vouched_by and anchor.name in used:
            where = f"anchor.{anchor.name}.trusted-root"
            use = AnchorUse(name=anchor.vouched_by, kind="trusted-root", where=where)
            uses[use] = None
    return tuple(uses)


def _warnings_of(rules: tuple[ImageRule, ...]) -> tuple[str, ...]:
    """Return what is allowed and perhaps not meant: lone dots, patterns written as literals."""
    found: list[str] = []
    for rule in rules:
        for requirement in rule.require:
            where = requirement.said.where
            speakers = requirement.said.speakers
            if isinstance(requirement, VulnerabilitiesClaim) and requirement.vex is not None:
                speakers += requirement.vex.speakers
            for speaker in speakers:
                if isinstance(speaker, CertificateSpeaker):
                    for pattern in (speaker.identity, speaker.issuer):
                        found.extend(_pattern_warnings(pattern, where=where))
    return tuple(dict.fromkeys(found))


def _pattern_warnings(pattern: TextPattern, *, where: str) -> tuple[str, ...]:
    match pattern:
        case Regexp():
            return pattern.warnings(where=where)
        case Exact(text=text) if _REGEXP_SIGNS.search(text) is not None:
            return (f"{where}: {shown(text)} is compared letter by letter; -regexp is another key",)
        case Exact():
            return ()
