"""From TOML to speakers: who may say something, how it must be recorded, how many must say it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from loader.errors import PolicyFileError
from loader.policy.keys import Key, Listing, Named, Record, Text, Whole, names_of
from loader.policy.patterns import Exact, Regexp, TextPattern
from loader.policy.reading_anchors import expect_anchor_name
from loader.policy.speakers import (
    CERTIFICATE_EXTENSIONS,
    WORKFLOW_EXTENSIONS,
    CertificateSpeaker,
    KeySpeaker,
    Said,
)

if TYPE_CHECKING:
    from loader.policy.speakers import LogNeed, Quantifier, Speaker
    from loader.policy.toml import Table

SPEAKER_COUNT_MAX: Final = 100
THRESHOLD_MAX: Final = 64
AUTHORITY_COUNT_MAX: Final = 8

_LOGS: Final[dict[str, LogNeed]] = {"none": "none", "promise": "promise", "proof": "proof"}
_QUANTIFIERS: Final[dict[str, Quantifier]] = {"any": "any", "all": "all"}

_WORKFLOW_PREFIX: Final = "certificate-github-workflow-"
_IDENTITY_KEYS: Final = (
    Key(
        name="certificate-identity",
        form=Text(),
        words="whom the certificate names: a workflow's URL, an e-mail address",
    ),
    Key(
        name="certificate-identity-regexp",
        form=Text(),
        words="the same as an RE2 pattern that the whole identity must match",
    ),
    Key(name="certificate-oidc-issuer", form=Text(), words="who vouched for the identity"),
    Key(
        name="certificate-oidc-issuer-regexp",
        form=Text(),
        words="the same as an RE2 pattern that the whole issuer must match",
    ),
    *(
        Key(
            name=_WORKFLOW_PREFIX + name,
            form=Text(),
            words=f"the workflow's {name} in GitHub's certificates",
        )
        for name in WORKFLOW_EXTENSIONS
    ),
    Key(
        name="certificate-extension",
        form=Named(of=Text(), names=tuple(CERTIFICATE_EXTENSIONS)),
        words="other extensions of the certificate by Fulcio's names, compared letter by letter",
    ),
)
_HOW_KEYS: Final = (
    Key(
        name="trusted-root",
        form=Text(),
        words="authorities, logs and timestamp authorities to judge by; mandatory for identities",
    ),
    Key(
        name="log",
        form=Text(words=tuple(_LOGS)),
        words="whether a transparency log must hold it, and who shows that it does",
    ),
    Key(
        name="logs",
        form=Whole(minimum=1, maximum=AUTHORITY_COUNT_MAX),
        words="how many distinct transparency logs must hold it",
    ),
    Key(
        name="sct",
        form=Whole(minimum=0, maximum=AUTHORITY_COUNT_MAX),
        words="how many certificate transparency logs must have promised the certificate",
    ),
    Key(
        name="timestamps",
        form=Whole(minimum=0, maximum=AUTHORITY_COUNT_MAX),
        words="how many distinct timestamp authorities must have seen the signature",
    ),
)
_WHO_KEYS: Final = (
    Key(name="key", form=Text(), words="whoever holds this key: an anchor's name, or a file"),
    *_IDENTITY_KEYS,
    *_HOW_KEYS,
)
SPEAKER_KEYS: Final = (
    Key(
        name="any",
        form=Listing(of=Record(keys=_WHO_KEYS)),
        words="several who may say it",
    ),
    *_WHO_KEYS,
    Key(
        name="threshold",
        form=Whole(minimum=1, maximum=THRESHOLD_MAX),
        words="how many distinct identities must have said it",
    ),
    Key(
        name="quantifier",
        form=Text(words=tuple(_QUANTIFIERS)),
        words="all: besides, every such piece of evidence on the image must count",
    ),
)
"""The keys by which every claim on evidence says who makes it."""
VEX_KEYS: Final = tuple(key for key in SPEAKER_KEYS if key.name not in {"threshold", "quantifier"})
"""The keys of `vex`: each document counts by itself."""
_WHO_NAMES: Final = names_of(_WHO_KEYS)
_IDENTITY_NAMES: Final = names_of(_IDENTITY_KEYS)


def read_said(table: Table) -> Said:
    """Return who must make a requirement's claim, and how many of them.

    Raises:
        PolicyFileError: nobody, somebody twice, or more than there are.
    """
    if table.has("any"):
        clash = [name for name in ("key", *_IDENTITY_NAMES) if table.has(name)]
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


def read_deny_speakers(table: Table) -> Said:
    """Return who may sign deny lists: the table `[deny-list]`.

    Raises:
        PolicyFileError: nobody, or several who must sign one list together.
    """
    table.only(names_of(SPEAKER_KEYS))
    said = read_said(table)
    if said.threshold != 1 or said.quantifier != "any":
        raise PolicyFileError(
            "a deny list has one signature, and each list counts by itself", where=table.path
        )
    return said


def read_vex_speakers(table: Table) -> Said:
    """Return who may say that a finding does not matter: the table `vex`.

    Raises:
        PolicyFileError: nobody, or several who must say it together.
    """
    table.only(names_of(VEX_KEYS))
    return read_said(table)


def _is_one(speaker: Speaker) -> bool:
    return isinstance(speaker, KeySpeaker) or (
        isinstance(speaker.identity, Exact) and isinstance(speaker.issuer, Exact)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """How evidence must be recorded; None where the policy leaves it to the default."""

    trusted_root: str | None
    log: LogNeed | None
    logs: int | None
    sct: int | None
    timestamps: int | None

    @classmethod
    def read(cls, table: Table) -> _How:
        name = table.optional_text("trusted-root")
        if name is not None:
            expect_anchor_name(name, where=table.at("trusted-root"), endings=(".json", ".jsonl"))
        return cls(
            trusted_root=name,
            log=table.word("log", _LOGS) if table.has("log") else None,
            logs=table.integer("logs", minimum=1, maximum=AUTHORITY_COUNT_MAX)
            if table.has("logs")
            else None,
            sct=_authorities(table, "sct"),
            timestamps=_authorities(table, "timestamps"),
        )

    def over(self, defaults: _How) -> _How:
        """Return these words, and those of the list around where this speaker has none."""
        return _How(
            trusted_root=self.trusted_root or defaults.trusted_root,
            log=self.log or defaults.log,
            logs=self.logs or defaults.logs,
            sct=defaults.sct if self.sct is None else self.sct,
            timestamps=defaults.timestamps if self.timestamps is None else self.timestamps,
        )


def _authorities(table: Table, name: str) -> int | None:
    return table.integer(name, minimum=0, maximum=AUTHORITY_COUNT_MAX) if table.has(name) else None


def _listed(table: Table, *, defaults: _How) -> Speaker:
    table.only(_WHO_NAMES)
    own = _How.read(table)
    how = own.over(defaults)
    if table.has("key"):
        # SCTs beside the list are for its certificates; so is the root, unless a log or a
        # timestamp is asked for that it must vouch for.
        recorded = how.log in {"promise", "proof"} or how.timestamps
        how = replace(
            how,
            trusted_root=how.trusted_root if recorded else own.trusted_root,
            logs=how.logs if recorded else own.logs,
            sct=own.sct,
        )
    return _speaker(table, how=how)


def read_speaker(table: Table) -> Speaker:
    """Return the one whom a table names by the keys of a requirement: `verify-blob`'s options.

    Raises:
        PolicyFileError: it names nobody, or contradicts itself.
    """
    table.only(_WHO_NAMES)
    return _speaker(table, how=_How.read(table))


def _speaker(table: Table, *, how: _How) -> Speaker:
    identity_keys = [name for name in _IDENTITY_NAMES if table.has(name)]
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
        logs=_logs(table, how, log=how.log or "promise"),
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
    expect_anchor_name(key, where=table.at("key"), endings=(".pub", ".pem"))
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
        key=key,
        trusted_root=how.trusted_root,
        log=log,
        timestamps=how.timestamps or 0,
        logs=_logs(table, how, log=log),
    )


def _logs(table: Table, how: _How, *, log: LogNeed) -> int:
    if how.logs is not None and log == "none":
        raise PolicyFileError(
            "a number of logs where none is asked for",
            where=table.at("logs"),
            hint='ask for `log = "promise"` or `log = "proof"`, and name a trusted root',
        )
    return how.logs or 1


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
