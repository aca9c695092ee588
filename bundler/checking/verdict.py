"""What the loader's judge says of a subject, and what exactly was signed by what counts.

    Subject ─judge→ Verdict ─verified again→ Counted

A refusal is a verdict here and not an error that ends the run: what was found is what the user
asked for. The judge keeps no evidence; so what counts is read again by its digest, and verified
again under the same anchors, to say what stands in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from bundler.checking.subject import Subject, named
from bundler.preflight import WHEN_PACKED, FarSide
from loader.digest import Digest
from loader.errors import PolicyError, VerificationError
from loader.evidence import Broken, Found, SignedEvidence, Unsigned, evidence_of
from loader.model.bundle import BlobSource
from loader.policy.facts import Considered, ImageJudgement, Judgement, Weighed
from loader.policy.rules import ImageClaim
from loader.policy.speakers import KeySpeaker, Speaker
from loader.policy.weigh import who_of
from loader.supplement import Supplements
from loader.trust.store import TrustStore
from loader.verify.facts import Signed
from loader.verify.sigstore import Material


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A judgement, and the refusal that it came with, if it did."""

    subject: Subject
    trust: TrustStore
    judgement: Judgement | None
    """None where the refusal came before anything about images was found out."""
    error: PolicyError | None

    @property
    def exit_status(self) -> int:
        """What the process ends with."""
        return 0 if self.error is None else self.error.exit_status


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """One piece of evidence that counts for a requirement, with what it says."""

    image: ImageJudgement
    requirement: ImageClaim
    found: Found
    evidence: SignedEvidence
    signed: Signed
    subjects: frozenset[Digest]
    """Digests of the image that it speaks of."""


def judged(subject: Subject, far_side: FarSide, *, now: datetime) -> Verdict:
    """Judge a subject.

    Raises:
        RefusedError: image, evidence or bundle cannot even be judged.
    """
    asked = far_side
    if subject.kind == "image":
        asked = far_side.before_packing
        if far_side.asks_of_bundles:
            subject = replace(subject, notes=(*subject.notes, WHEN_PACKED))
    judgement, error = _judge(subject, asked, now=now)
    if error is not None and judgement is not None and not judgement.images:
        # It was refused before anybody looked at an image. What is there about them is still worth
        # saying; it changes nothing about the refusal.
        beside, _ = _judge(subject, asked.beside_bundle, now=now)
        if beside is not None:
            judgement = replace(judgement, images=beside.images)
    return Verdict(subject=subject, trust=asked.trust, judgement=judgement, error=error)


def _judge(
    subject: Subject, far_side: FarSide, *, now: datetime
) -> tuple[Judgement | None, PolicyError | None]:
    try:
        found = far_side.judge(subject.statement, subject.signatures, subject.blobs, now=now)
    except PolicyError as e:
        e.reasons = tuple(named(reason, subject.text) for reason in e.reasons)
        return e.judgement if isinstance(e.judgement, Judgement) else None, e
    return found, None


def counted(verdict: Verdict) -> Iterator[Counted]:
    """Yield what counts, by image and in the order in which it was found.

    Raises:
        RefusedError: evidence that was read a moment ago cannot be read any more.
    """
    for image in () if verdict.judgement is None else verdict.judgement.images:
        yield from _of_image(image, verdict.subject.blobs, verdict.trust)


def _of_image(image: ImageJudgement, blobs: BlobSource, trust: TrustStore) -> Iterator[Counted]:
    weighed = {(one.piece.manifest, one.piece.blob): one for one in image.considered if one.counts}
    supplements = Supplements(image.entry, blobs)
    for found in evidence_of(image.entry, image.graph, blobs):
        one = weighed.get((found.entry.manifest.digest, found.blob))
        evidence = found.evidence
        if one is None or isinstance(evidence, Broken | Unsigned):
            continue
        verify = supplements.verifier(evidence, found.blob)
        for requirement, said in _counting(image, one):
            for speaker in requirement.said.speakers:
                try:
                    signed = verify(_material(speaker, trust)).value
                except VerificationError:
                    continue  # it counted for another speaker of the list
                if said.who == who_of(signed):
                    yield Counted(
                        image=image,
                        requirement=requirement,
                        found=found,
                        evidence=evidence,
                        signed=signed,
                        subjects=said.subjects,
                    )
                    break


def _counting(image: ImageJudgement, one: Considered) -> Iterator[tuple[ImageClaim, Weighed]]:
    """Yield the requirements that a piece counts for; see `Considered.weighed` for the order."""
    for requirement, weighed in zip(image.policy.on_images, one.weighed, strict=True):
        if weighed.stage == "counts":
            yield requirement, weighed


def _material(speaker: Speaker, trust: TrustStore) -> Material:
    root = speaker.trusted_root
    return Material(
        trusted_root=None if root is None else trust.trusted_root(root),
        key=trust.key(speaker.key) if isinstance(speaker, KeySpeaker) else None,
    )
