"""What a policy asks of images, as far as other programs can be told to ask for it.

A policy says more than `policy.json`, Kyverno or policy-controller can. What cannot be said is
named, and where nothing can be said for an image, that image is closed to them: a person decides.
"""

from __future__ import annotations

import base64
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from loader.policy.claims.bundle_signature import BundleSignatureClaim
from loader.policy.claims.signature import SignatureClaim
from loader.policy.patterns import Regexp
from loader.policy.rules import in_words
from loader.policy.speakers import CertificateSpeaker, KeySpeaker

if TYPE_CHECKING:
    from loader.policy.model import Policy
    from loader.policy.patterns import TextPattern
    from loader.policy.rules import Requirement
    from loader.policy.speakers import Speaker
    from loader.trust.store import TrustStore

_LINE: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A value, or an RE2 pattern that the whole of it must match."""

    value: str
    is_pattern: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySigner:
    """Whoever holds a key."""

    pem: str
    logged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSigner:
    """Whoever an issuer vouched for."""

    issuer: Text
    subject: Text
    root: str
    """The trusted root's name in the policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """So many of these must have signed."""

    signers: tuple[KeySigner | CertificateSigner, ...]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one `[[image]]` block asks."""

    match: str
    signed: tuple[Signed, ...]
    """All of these."""
    unsaid: tuple[str, ...]
    """Requirements that no other program is told; the loader has checked them."""


def asked_of(policy: Policy, trust: TrustStore) -> tuple[Asked, ...]:
    """Return what a policy asks, block by block."""
    return tuple(
        Asked(
            match=rule.match.text,
            signed=tuple(
                _signed(one, trust) for one in rule.require if isinstance(one, SignatureClaim)
            ),
            unsaid=tuple(in_words(one) for one in rule.require if not _can_be_said(one)),
        )
        for rule in policy.rules
    )


def _can_be_said(requirement: Requirement) -> bool:
    if isinstance(requirement, BundleSignatureClaim):
        return True  # of the bundle, which nobody behind the registry sees
    return isinstance(requirement, SignatureClaim) and not requirement.annotations


def _signed(claim: SignatureClaim, trust: TrustStore) -> Signed:
    return Signed(
        signers=tuple(_signer(one, trust) for one in claim.said.speakers),
        count=claim.said.threshold,
    )


def _signer(speaker: Speaker, trust: TrustStore) -> KeySigner | CertificateSigner:
    match speaker:
        case KeySpeaker():
            spki = trust.key(speaker.key).spki
            lines = textwrap.wrap(base64.b64encode(spki).decode(), _LINE)
            text = "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])
            return KeySigner(pem=text, logged=speaker.log != "none")
        case CertificateSpeaker():
            return CertificateSigner(
                issuer=_text(speaker.issuer),
                subject=_text(speaker.identity),
                root=speaker.trusted_root,
            )


def _text(pattern: TextPattern) -> Text:
    if isinstance(pattern, Regexp):
        return Text(value=f"^(?:{pattern.text})$", is_pattern=True)
    return Text(value=pattern.text, is_pattern=False)
