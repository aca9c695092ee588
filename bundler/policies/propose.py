"""A policy proposed from the evidence that an image has: tight, and for a person to sign off.

    evidence ─verified under known roots and given keys→ who said what → requirements ─judged→ text

Who made a signature is found out; whether that is the right one, nobody here can know. So only
exact identities are proposed, each beside what it was taken from, and what could not be verified
stands there as a comment. Only what the judge counts is proposed: the image passes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from bundler.checking.subject import Subject
from bundler.checking.verdict import judged
from bundler.policies.claims import ProposedClaim, claims_of
from bundler.policies.toml_text import Value, comment, lines
from bundler.preflight import FarSide
from loader.errors import (
    ContradictionError,
    NoEvidenceError,
    TrustRootError,
    UsageError,
    VerificationError,
)
from loader.evidence import Broken, Found, SignedEvidence, Unsigned, evidence_of, kind_of
from loader.graph import read_graph
from loader.model.bundle import ImageEntry
from loader.model.fields import format_instant
from loader.policy.facts import ImageJudgement
from loader.policy.variables import VARIABLE
from loader.policy.weigh import who_of
from loader.supplement import Supplements
from loader.trust.anchors import AnchorFile, AnchorRule, AnchorUse
from loader.trust.store import TrustStore
from loader.verify.facts import CertificateSigner, Signed
from loader.verify.sigstore import Material
from loader.witness import Verified

KNOWN_ROOTS: Final = ("sigstore", "github")
"""Trusted roots that came with this program."""
_VERSION: Final = re.compile(r"@refs/tags/v?[0-9]+\.[0-9]+\.[0-9]+$", re.ASCII)
_TIMES_SHOWN: Final = 3
_LOOSE: Final[tuple[tuple[tuple[str, Value], str], ...]] = (
    (("log", "none"), 'no log holds it, which log = "none" takes; a timestamp says when it was'),
    (("sct", 0), "no transparency log promised its certificate, which sct = 0 takes"),
)
"""What less is asked for than usual, since there is no more; each is said beside the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What evidence is tried under: names or files of trusted roots, and files of keys."""

    roots: tuple[str, ...]
    keys: tuple[str, ...]
    trust: TrustStore

    @classmethod
    def open(cls, *, roots: Sequence[str], keys: Sequence[str], folder: Path) -> Known:
        """Read all of them; a known root that this program does not have is left out.

        Raises:
            AnchorFileError, TrustRootError: one that was given cannot be read.
        """
        there = tuple(dict.fromkeys((*roots, *(r for r in KNOWN_ROOTS if _is_there(r, folder)))))
        uses = [AnchorUse(name=name, kind="trusted-root", where="--trusted-root") for name in there]
        uses += [AnchorUse(name=name, kind="key", where="--key") for name in keys]
        trust = TrustStore.open(_Anchors(uses=tuple(uses)), policy_directory=folder)
        return cls(roots=there, keys=tuple(keys), trust=trust)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Anchors:
    uses: tuple[AnchorUse, ...]
    anchors: tuple[AnchorFile, ...] = ()
    anchor_rules: tuple[AnchorRule, ...] = ()


def _is_there(root: str, folder: Path) -> bool:
    uses = (AnchorUse(name=root, kind="trusted-root", where=""),)
    try:
        TrustStore.open(_Anchors(uses=uses), policy_directory=folder)
    except TrustRootError:
        return False
    return True


@dataclass(slots=True)
class _Proposed:
    """One requirement, and what it was taken from."""

    claims: list[ProposedClaim]
    """What it may be called, the one that says most first; the judge strikes off what fails."""
    speaker: dict[str, Value]
    comments: list[str]
    at: list[datetime] = field(default_factory=list)
    count: int = 0

    @property
    def table(self) -> dict[str, Value]:
        """The keys of the requirement."""
        return self.claims[0].table | self.speaker


def propose(subject: Subject, known: Known, *, folder: Path, now: datetime) -> str:
    """Return a policy that the image of a subject passes.

    Raises:
        UsageError: there are several.
        NoEvidenceError: nothing about it verifies.
        RefusedError: it cannot even be judged.
    """
    if len(subject.statement.images) != 1:
        raise UsageError(
            "a policy is proposed for one image at a time",
            where=subject.text,
            found=f"{len(subject.statement.images)} images",
        )
    (entry,) = subject.statement.images
    proposed, left = _gather(entry, subject, known)
    if not proposed:
        raise NoEvidenceError(
            "there is nothing that a policy could ask for",
            where=subject.text,
            expected="evidence that a known root or a given key verifies",
            found="; ".join(left) or "no evidence at all",
            hint="--key FILE and --trusted-root FILE name more to try it under",
        )
    return "\n".join(_text(entry, proposed, left, subject, folder=folder, now=now)) + "\n"


def _text(
    entry: ImageEntry,
    proposed: Sequence[_Proposed],
    left: Sequence[str],
    subject: Subject,
    *,
    folder: Path,
    now: datetime,
) -> Iterator[str]:
    head: dict[str, Value] = {"match": entry.reference.name}
    image = _judged(head, proposed, subject, folder=folder, now=now)
    while _struck_off(proposed, image):
        image = _judged(head, proposed, subject, folder=folder, now=now)
    met = [claim.holds == "met" for claim in image.claims]
    yield comment(f"Proposed by airlock policy init from what {subject.text} has today,")
    yield comment(f"{entry.image.digest}.")
    yield "#"
    yield "# Read it before you use it. It says who made the evidence, and not whether that is whom"
    yield "# you mean to trust: nobody but you can know that. Then sign it off."
    yield "schema = 1"
    yield ""
    yield "[[image]]"
    yield from lines(head)
    if image.name.problem is not None:
        yield comment(f"{image.name.problem.message}: it is taken as it was packed.")
        yield comment('Better: sign the bundle, and require claim = "bundle-signature".')
        yield from lines({"name": "as-packed"})
    for one, holds in zip(proposed, met, strict=True):
        if holds:
            yield ""
            yield from (comment(words) for words in _origin(one))
            yield "[[image.require]]"
            yield from lines(one.table)
    dropped = [
        f"{one.claims[0].words[0]}: {claim.problem}"
        for one, claim in zip(proposed, image.claims, strict=True)
        if claim.problem is not None
    ]
    if dropped or left:
        yield ""
        yield "# Seen, and not proposed:"
        yield from (comment(f"  {words}") for words in (*dropped, *left))


def _struck_off(proposed: Sequence[_Proposed], image: ImageJudgement) -> bool:
    """Fall back to what says less where the image does not meet what says more.

    Not from provenance that contradicts its certificate: as some attestation it would pass.
    """
    struck = [
        one
        for one, claim in zip(proposed, image.claims, strict=True)
        if claim.problem is not None
        and claim.problem.code != ContradictionError.code
        and len(one.claims) > 1
    ]
    for one in struck:
        del one.claims[0]
    return bool(struck)


def _origin(one: _Proposed) -> Iterator[str]:
    times = ", ".join(format_instant(at) for at in sorted(one.at, reverse=True)[:_TIMES_SHOWN])
    seen = f"{one.count} piece{'s' * (one.count != 1)} of evidence"
    yield f"{seen}, at {times}" if times else f"{seen}, at a time that nobody signed"
    yield from one.claims[0].words
    yield from one.comments
    yield from (words for loose, words in _LOOSE if loose in one.table.items())


def _gather(entry: ImageEntry, subject: Subject, known: Known) -> tuple[list[_Proposed], list[str]]:
    """Return what may be required, and words about what is left."""
    found: dict[str, _Proposed] = {}
    left: dict[str, None] = {}
    blobs = subject.blobs
    supplements = Supplements(entry, blobs)
    for item in evidence_of(entry, read_graph(entry, blobs), blobs):
        evidence = item.evidence
        if isinstance(evidence, Unsigned):
            left[f"{evidence.what}: nobody signed it"] = None
            continue
        if isinstance(evidence, Broken):
            left[f"evidence that cannot be read: {evidence.error}"] = None
            continue
        said = list(_verified(item, evidence, supplements, known))
        if not said:
            left[f"{kind_of(evidence).words}: no known root or given key verifies it"] = None
        for speaker, signed in said:
            claims = [one for one in claims_of(evidence, signed) if _is_literal(one.table)]
            if not _is_literal(speaker):
                claims = []
            if not claims:
                left[f"{kind_of(evidence).words}: no claim is about such"] = None
                continue
            key = repr((claims[0].table, speaker))
            one = found.setdefault(key, _Proposed(claims, speaker, _comments(signed)))
            one.count += 1
            one.at += [time.at for time in signed.times]
    return list(found.values()), list(left)


def _is_literal(table: Mapping[str, Value]) -> bool:
    """Tell whether a policy would take these texts as they are, and not fill something in.

    Git takes braces in the name of a tag, and so a stranger's certificate may hold a variable.
    """
    return VARIABLE.search(repr(table)) is None


def _comments(signed: Signed) -> list[str]:
    found = [f"said by {who_of(signed).words}"]
    signer = signed.signer
    if isinstance(signer, CertificateSigner) and _VERSION.search(signer.san):
        stem = re.escape(_VERSION.sub("", signer.san)).replace(r"\-", "-")
        found.append(
            "for later releases too: certificate-identity-regexp = "
            f"'{stem}@refs/tags/v[0-9]+\\.[0-9]+\\.[0-9]+'"
        )
    return found


def _verified(
    item: Found, evidence: SignedEvidence, supplements: Supplements, known: Known
) -> Iterator[tuple[dict[str, Value], Signed]]:
    """Yield the speaker that this piece verifies under, as the keys of a requirement."""
    verify = supplements.verifier(evidence, item.blob)
    for root in known.roots:
        signed = _tried(verify, Material(trusted_root=known.trust.trusted_root(root)))
        if signed is not None and isinstance(signed.signer, CertificateSigner):
            yield _by_certificate(signed.signer, signed, root), signed
            return
    for key in known.keys:
        public = known.trust.key(key)
        for root in known.roots:
            logged = _tried(
                verify, Material(trusted_root=known.trust.trusted_root(root), key=public)
            )
            if logged is not None and logged.logs:
                yield {"key": key, "trusted-root": root}, logged
                return
        bare = _tried(verify, Material(key=public, trusted_root=None))
        if bare is not None:
            yield {"key": key}, bare
            return


def _tried(verify: Callable[[Material], Verified[Signed]], material: Material) -> Signed | None:
    try:
        return verify(material).value
    except VerificationError:
        return None


def _by_certificate(signer: CertificateSigner, signed: Signed, root: str) -> dict[str, Value]:
    table: dict[str, Value] = {
        "certificate-identity": signer.san,
        "certificate-oidc-issuer": signer.issuer,
        "trusted-root": root,
    }
    if not signed.logs:
        table |= {"log": "none", "timestamps": 1}
    if not signed.sct_count:
        table["sct"] = 0
    return table


def _judged(
    head: Mapping[str, Value],
    proposed: Sequence[_Proposed],
    subject: Subject,
    *,
    folder: Path,
    now: datetime,
) -> ImageJudgement:
    """Return what the judge says under all that is proposed, the name judged as a bundle's is."""
    text = ["schema = 1", "[[image]]", *lines(head)]
    for one in proposed:
        text += ["[[image.require]]", *lines(one.table)]
    far_side = FarSide.read("\n".join(text).encode(), where="the proposal", folder=folder)
    judgement = judged(replace(subject, kind="bundle"), far_side, now=now).judgement
    if judgement is None:
        raise TypeError("a refusal without a judgement")
    return judgement.images[0]
