"""From TOML to rules: strict types, no unknown keys, nothing that could silently mean nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, assert_never, get_args

from loader.errors import PolicyFileError, shown
from loader.policy.patterns import Exact, Glob, Regexp, TextPattern
from loader.policy.rules import (
    CERTIFICATE_EXTENSIONS,
    WORKFLOW_EXTENSIONS,
    BundleSignatureClaim,
    CertificateSpeaker,
    ImageRule,
    KeySpeaker,
    Said,
    SignatureClaim,
)
from loader.trust.anchors import AnchorFile, is_file

if TYPE_CHECKING:
    from loader.policy.rules import (
        LogNeed,
        NameRule,
        Quantifier,
        Requirement,
        RollbackRule,
        Scope,
        Speaker,
        TagRule,
    )
    from loader.policy.toml import Table
    from loader.trust.anchors import AnchorKind

RULE_COUNT_MAX: Final = 1000
REQUIREMENT_COUNT_MAX: Final = 100
SPEAKER_COUNT_MAX: Final = 100
THRESHOLD_MAX: Final = 64
AUTHORITY_COUNT_MAX: Final = 8

_ANCHOR_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)

_LOGS: Final[dict[str, LogNeed]] = {"none": "none", "promise": "promise", "proof": "proof"}
_QUANTIFIERS: Final[dict[str, Quantifier]] = {"any": "any", "all": "all"}
_SCOPES: Final[dict[str, Scope]] = {"either": "either", "index": "index", "platform": "platform"}
_NAMES: Final[dict[str, NameRule]] = {"vouched": "vouched", "as-packed": "as-packed"}
_ROLLBACKS: Final[dict[str, RollbackRule]] = {
    "time": "time",
    "log-index": "log-index",
    "none": "none",
}
_TAGS: Final[dict[str, TagRule]] = {"ours-only": "ours-only", "any": "any"}

_WORKFLOW_PREFIX: Final = "certificate-github-workflow-"
_IDENTITY_KEYS: Final = (
    "certificate-identity",
    "certificate-identity-regexp",
    "certificate-oidc-issuer",
    "certificate-oidc-issuer-regexp",
    *(_WORKFLOW_PREFIX + name for name in WORKFLOW_EXTENSIONS),
    "certificate-extension",
)
_HOW_KEYS: Final = ("trusted-root", "log", "sct", "timestamps")
_WHO_KEYS: Final = ("key", *_IDENTITY_KEYS, *_HOW_KEYS)
_COUNT_KEYS: Final = ("threshold", "quantifier")
_SIGNATURE_KEYS: Final = ("scope", "annotations", "docker-reference")

Claim = Literal[
    "signature",
    "bundle-signature",
    "provenance",
    "sbom",
    "vulnerabilities",
    "attestation",
    "tuf-target",
    "content-trust",
]
_CLAIMS: Final[dict[str, Claim]] = {name: name for name in get_args(Claim)}
_OTHER_CLAIMS_KEYS: Final = dict.fromkeys(
    (
        "type",
        "max-age",
        "max",
        "require-results",
        "ignore",
        "vex",
        "source-uri",
        "source-tag",
        "source-branch",
        "source-commit",
        "builder-id",
        "workflow",
        "level",
        "predicate",
    ),
    "a key that belongs to another claim",
)
LATER_TABLES: Final = {
    "exception": "this version does not judge [[exception]] yet",
    "deny": "this version does not judge [[deny]] yet",
}
_LATER_ANCHORS: Final = {
    name: f"this version does not know anchors of the kind {name!r} yet"
    for name in ("tuf-root", "notary-root")
} | {"max-staleness": "this version does not judge max-staleness yet"}


def read_rules(table: Table) -> tuple[ImageRule, ...]:
    """Return the `[[image]]` blocks, of which there must be one.

    Raises:
        PolicyFileError: see `read_rule`.
    """
    return tuple(_rule(item) for item in table.each("image", count_max=RULE_COUNT_MAX))


def _rule(table: Table) -> ImageRule:
    table.only(("match", "scope", "name", "rollback", "tags", "require"))
    scope: Scope = table.word("scope", _SCOPES) if table.has("scope") else "either"
    rule = ImageRule(
        where=table.path,
        match=Glob.parse(table.text("match"), where=table.at("match")),
        name=table.word("name", _NAMES) if table.has("name") else None,
        rollback=table.word("rollback", _ROLLBACKS) if table.has("rollback") else None,
        tags=table.word("tags", _TAGS) if table.has("tags") else None,
        require=tuple(
            _requirement(item, scope=scope)
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


def _requirement(table: Table, *, scope: Scope) -> Requirement:
    """Return one `[[image.require]]`.

    Raises:
        PolicyFileError: an unknown claim or key, or one that contradicts another.
    """
    common = ("claim", "any", *_WHO_KEYS, *_COUNT_KEYS)
    claim = table.word("claim", _CLAIMS)
    match claim:
        case "signature":
            table.only((*common, *_SIGNATURE_KEYS), elsewhere=_OTHER_CLAIMS_KEYS)
            return SignatureClaim(
                said=_said(table),
                scope=table.word("scope", _SCOPES) if table.has("scope") else scope,
                annotations=table.text_map("annotations") if table.has("annotations") else (),
                docker_reference=_docker_reference(table),
            )
        case "bundle-signature":
            table.only(
                common,
                elsewhere=_OTHER_CLAIMS_KEYS
                | dict.fromkeys(_SIGNATURE_KEYS, 'only the claim "signature" has this key'),
            )
            return BundleSignatureClaim(said=_said(table))
        case (
            "provenance"
            | "sbom"
            | "vulnerabilities"
            | "attestation"
            | "tuf-target"
            | "content-trust"
        ):
            raise PolicyFileError(
                f"this version does not judge the claim {claim!r} yet",
                where=table.at("claim"),
                expected='"signature" or "bundle-signature"',
            )
        case _:
            assert_never(claim)


def _docker_reference(table: Table) -> Literal["ignore", "match-repository"] | Glob:
    text = table.optional_text("docker-reference")
    match text:
        case None | "ignore":
            return "ignore"
        case "match-repository":
            return "match-repository"
        case _:
            where = table.at("docker-reference")
            if "/" not in text and "*" not in text:
                raise PolicyFileError(
                    "not what a signed reference can be compared with",
                    where=where,
                    expected='"ignore", "match-repository", or a pattern for full names',
                    found=shown(text),
                )
            return Glob.parse(text, where=where)


def _said(table: Table) -> Said:
    if table.has("any"):
        clash = [name for name in ("key", *_IDENTITY_KEYS) if table.has(name)]
        if clash:
            raise PolicyFileError(
                "a speaker beside a list of speakers",
                where=table.at(clash[0]),
                hint="put it into the list `any`",
            )
        defaults = _How.read(table)
        speakers = tuple(
            _listed(item, defaults=defaults)
            for item in table.each("any", count_max=SPEAKER_COUNT_MAX)
        )
        if len(set(speakers)) != len(speakers):
            raise PolicyFileError("the same speaker twice", where=table.at("any"))
    else:
        speakers = (_speaker(table, how=_How.read(table)),)
    threshold = (
        table.integer("threshold", minimum=1, maximum=THRESHOLD_MAX)
        if table.has("threshold")
        else 1
    )
    most = sum(1 if _is_one(speaker) else THRESHOLD_MAX for speaker in speakers)
    if threshold > most:
        raise PolicyFileError(
            "a threshold that can never be reached",
            where=table.at("threshold"),
            expected=f"at most {most}, as that many distinct identities are named",
            found=str(threshold),
        )
    return Said(
        where=table.path,
        speakers=speakers,
        threshold=threshold,
        quantifier=table.word("quantifier", _QUANTIFIERS) if table.has("quantifier") else "any",
    )


def _is_one(speaker: Speaker) -> bool:
    return isinstance(speaker, KeySpeaker) or (
        isinstance(speaker.identity, Exact) and isinstance(speaker.issuer, Exact)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """How evidence must be recorded; None where the policy leaves it to the default."""

    trusted_root: str | None
    log: LogNeed | None
    sct: int | None
    timestamps: int | None

    @classmethod
    def read(cls, table: Table) -> _How:
        name = table.optional_text("trusted-root")
        if name is not None:
            _expect_anchor_name(name, where=table.at("trusted-root"), endings=(".json", ".jsonl"))
        return cls(
            trusted_root=name,
            log=table.word("log", _LOGS) if table.has("log") else None,
            sct=_authorities(table, "sct"),
            timestamps=_authorities(table, "timestamps"),
        )

    def over(self, defaults: _How) -> _How:
        """Return these words, and those of the list around where this speaker has none."""
        return _How(
            trusted_root=self.trusted_root or defaults.trusted_root,
            log=self.log or defaults.log,
            sct=defaults.sct if self.sct is None else self.sct,
            timestamps=defaults.timestamps if self.timestamps is None else self.timestamps,
        )


def _authorities(table: Table, name: str) -> int | None:
    return table.integer(name, minimum=0, maximum=AUTHORITY_COUNT_MAX) if table.has(name) else None


def _listed(table: Table, *, defaults: _How) -> Speaker:
    table.only(_WHO_KEYS)
    own = _How.read(table)
    how = own.over(defaults)
    if table.has("key"):
        # SCTs beside the list are for its certificates; so is the root, unless a log or a
        # timestamp is asked for that it must vouch for.
        recorded = how.log in {"promise", "proof"} or how.timestamps
        how = replace(
            how,
            trusted_root=how.trusted_root if recorded else own.trusted_root,
            sct=own.sct,
        )
    return _speaker(table, how=how)


def read_speaker(table: Table) -> Speaker:
    """Return the one whom a table names by the keys of a requirement: `verify-blob`'s options.

    Raises:
        PolicyFileError: it names nobody, or contradicts itself.
    """
    table.only(_WHO_KEYS)
    return _speaker(table, how=_How.read(table))


def _speaker(table: Table, *, how: _How) -> Speaker:
    identity_keys = [name for name in _IDENTITY_KEYS if table.has(name)]
    if table.has("key"):
        if identity_keys:
            raise PolicyFileError(
                "a key together with an identity",
                where=table.at(identity_keys[0]),
                hint="a signature is by one or the other; list both under `any` to accept either",
            )
        return _key_speaker(table, how=how)
    if not identity_keys:
        raise PolicyFileError(
            "nobody is named who may say it",
            where=table.path,
            expected="`key`, or `certificate-identity` with `certificate-oidc-issuer`, or `any`",
        )
    if how.trusted_root is None:
        raise PolicyFileError(
            "an identity without a trusted root that could vouch for it",
            where=table.at("trusted-root"),
            hint='`trusted-root = "sigstore"` names the public one',
        )
    return CertificateSpeaker(
        identity=_pattern(table, "certificate-identity"),
        issuer=_pattern(table, "certificate-oidc-issuer"),
        trusted_root=how.trusted_root,
        log=how.log or "promise",
        sct=1 if how.sct is None else how.sct,
        timestamps=how.timestamps or 0,
        workflow=tuple(
            (name, table.text(_WORKFLOW_PREFIX + name))
            for name in WORKFLOW_EXTENSIONS
            if table.has(_WORKFLOW_PREFIX + name)
        ),
        extensions=_extensions(table),
    )


def _extensions(table: Table) -> tuple[tuple[str, str], ...]:
    if not table.has("certificate-extension"):
        return ()
    table.table("certificate-extension").only(CERTIFICATE_EXTENSIONS)
    return tuple(sorted(table.text_map("certificate-extension")))


def _key_speaker(table: Table, *, how: _How) -> KeySpeaker:
    key = table.text("key")
    _expect_anchor_name(key, where=table.at("key"), endings=(".pub", ".pem"))
    if how.sct:
        raise PolicyFileError("a key has no certificate that a log could promise", where=table.path)
    log = how.log or ("none" if how.trusted_root is None else "promise")
    if how.trusted_root is None and (log != "none" or how.timestamps):
        raise PolicyFileError(
            "a log or timestamp without a trusted root that could vouch for it",
            where=table.at("trusted-root"),
        )
    if how.trusted_root is not None and log == "none" and not how.timestamps:
        raise PolicyFileError(
            "a trusted root that nothing is judged by",
            where=table.at("trusted-root"),
            hint='leave it away, or ask for `log = "promise"` or `timestamps = 1`',
        )
    return KeySpeaker(
        key=key, trusted_root=how.trusted_root, log=log, timestamps=how.timestamps or 0
    )


def _pattern(table: Table, name: str) -> TextPattern:
    exact, regexp = table.optional_text(name), table.optional_text(f"{name}-regexp")
    if (exact is None) == (regexp is None):
        raise PolicyFileError(
            "exactly one of two keys is needed",
            where=table.path,
            expected=f"`{name}` or `{name}-regexp`",
        )
    if regexp is not None:
        return Regexp.parse(regexp, where=table.at(f"{name}-regexp"))
    return Exact(text=exact or "")


def _expect_anchor_name(name: str, *, where: str, endings: tuple[str, ...]) -> None:
    if is_file(name) and ("/" in name or name.endswith(endings)):
        return
    if _ANCHOR_NAME.fullmatch(name) is None or is_file(name):
        raise PolicyFileError(
            "not the name of an anchor",
            where=where,
            expected=f"[anchor.NAME], a folder anchors/NAME, or a file {' or '.join(endings)}",
            found=shown(name),
        )


def read_anchors(table: Table) -> tuple[AnchorFile, ...]:
    """Return the `[anchor.NAME]` tables.

    Raises:
        PolicyFileError: a name or a table that is not one.
    """
    anchors: list[AnchorFile] = []
    for name in table.names:
        item = table.table(name)
        if _ANCHOR_NAME.fullmatch(name) is None or is_file(name):
            raise PolicyFileError(
                "not the name of an anchor",
                where=table.at(shown(name)),
                expected=_ANCHOR_NAME.pattern,
            )
        item.only(("trusted-root", "key", "certificate"), elsewhere=_LATER_ANCHORS)
        kinds: list[AnchorKind] = [kind for kind in ("trusted-root", "key") if item.has(kind)]
        if len(kinds) != 1:
            raise PolicyFileError(
                "an anchor is exactly one thing",
                where=item.path,
                expected="`trusted-root` or `key`",
                hint="a private authority's certificates are dated by the logs and timestamp "
                "authorities of a trusted root: name both"
                if item.has("certificate")
                else "",
            )
        certificate = item.optional_text("certificate") or ""
        if certificate and kinds[0] != "trusted-root":
            raise PolicyFileError("a key has no authority above it", where=item.at("certificate"))
        anchors.append(
            AnchorFile(name=name, kind=kinds[0], file=item.text(kinds[0]), certificate=certificate)
        )
    return tuple(anchors)
