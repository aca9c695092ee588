"""Who may make a claim, how it must be recorded, and how many must make it.

    Speaker = KeySpeaker | CertificateSpeaker
    Said    = speakers, how many distinct ones, and whether one or all evidence must hold

`reading_speakers.py` makes these from TOML; nothing here reads a file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from loader.policy.patterns import TextPattern
    from loader.policy.variables import Fill

LogNeed = Literal["none", "promise", "proof"]
Quantifier = Literal["any", "all"]
Scope = Literal["either", "index", "platform"]

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
    logs: int = 1
    """How many distinct logs must hold it, where `log` asks for any."""

    def filled(self, fill: Fill) -> KeySpeaker:
        """Return the speaker: a key has no variables."""
        del fill
        return self

    def __str__(self) -> str:
        return f"key {self.key!r}" + _conditions(self.log, self.logs, self.timestamps)


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
    logs: int = 1
    """How many distinct logs must hold it, where `log` asks for any."""
    workflow: tuple[tuple[str, str], ...] = ()
    """Extensions of GitHub's certificates by the words of cosign's flags, each with its value."""
    extensions: tuple[tuple[str, str], ...] = ()
    """Extensions by Fulcio's own names (`CERTIFICATE_EXTENSIONS`), each with its value."""

    def filled(self, fill: Fill) -> CertificateSpeaker:
        """Return the speaker with variables filled in."""
        return replace(
            self,
            identity=self.identity.filled(fill),
            workflow=tuple((name, fill(value)) for name, value in self.workflow),
            extensions=tuple((name, fill(value)) for name, value in self.extensions),
        )

    def __str__(self) -> str:
        extra = "".join(f", workflow {name} {value!r}" for name, value in self.workflow)
        extra += "".join(f", {name} {value!r}" for name, value in self.extensions)
        return (
            f"identity {self.identity} by issuer {self.issuer}, root {self.trusted_root!r}{extra}"
            + _conditions(self.log, self.logs, self.timestamps)
        )


Speaker: TypeAlias = KeySpeaker | CertificateSpeaker


def _conditions(log: LogNeed, logs: int, timestamps: int) -> str:
    words = "" if log == "none" else f", log {log}" + (f" of {logs} logs" if logs > 1 else "")
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

    def filled(self, fill: Fill) -> Said:
        """Return the same with variables filled in."""
        return replace(self, speakers=tuple(speaker.filled(fill) for speaker in self.speakers))
