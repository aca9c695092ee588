"""One piece of verified evidence on the scales of one requirement.

    verified ─ about this image ─ said by whom policy names ─ recorded as policy asks ─ counts

Each step that fails ends it, and `Weighed.stage` says which it was. Every speaker of a requirement
is tried; the one under whom the piece comes furthest speaks for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias, assert_never

from loader.errors import (
    ConditionError,
    ContradictionError,
    EvidenceInvalidError,
    IdentityError,
    LimitError,
    VerificationError,
    shown,
)
from loader.model.reference import read_signed_name
from loader.model.simplesigning import SimpleSigning
from loader.model.statement import Statement
from loader.policy.claims import attestation, provenance, sbom, signature, vulnerabilities
from loader.policy.claims.attestation import AttestationClaim
from loader.policy.claims.bundle_signature import BundleSignatureClaim
from loader.policy.claims.provenance import ProvenanceClaim
from loader.policy.claims.sbom import SbomClaim
from loader.policy.claims.signature import SignatureClaim
from loader.policy.claims.vulnerabilities import VulnerabilitiesClaim
from loader.policy.denials import denied_signer
from loader.policy.facts import (
    STAGES,
    LogPosition,
    LogSighting,
    Meaning,
    Problem,
    SignedName,
    Weighed,
    Who,
)
from loader.policy.speakers import (
    CERTIFICATE_EXTENSIONS,
    WORKFLOW_EXTENSIONS,
    CertificateSpeaker,
    KeySpeaker,
)
from loader.verify.facts import CertificateSigner, KeySigner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from loader.digest import Digest
    from loader.errors import FormatError
    from loader.evidence import Kind
    from loader.policy.contents import Contents
    from loader.policy.denials import Denial
    from loader.policy.facts import About
    from loader.policy.rules import EvidenceClaim
    from loader.policy.speakers import Speaker
    from loader.verify.facts import Signed
    from loader.witness import Verified

Outcome: TypeAlias = "Verified[Signed] | VerificationError"


def weigh(
    claim: EvidenceClaim,
    verify: Callable[[Speaker], Outcome],
    *,
    about: About,
    contents: Contents,
    is_of_kind: bool,
) -> Weighed:
    """Return what a requirement on an image makes of one piece of evidence.

    Args:
        claim: who must say what.
        verify: the piece, judged under the anchors that a speaker names.
        about: what it must speak of.
        contents: what it says, read once for all requirements.
        is_of_kind: whether the piece is of the kind that this claim is made with (`wants`).
    """

    def found(speaker: Speaker) -> Weighed:
        outcome = verify(speaker)
        if isinstance(outcome, VerificationError):
            return _unverified(outcome)
        contents.of(outcome)
        of_kind = contents if is_of_kind else None
        return _under(speaker, claim, outcome.value, about, of_kind)

    best = _furthest(found(speaker) for speaker in claim.said.speakers)
    if is_of_kind:
        return best
    return replace(best, stage="absent", names=best.names if best.stage == "counts" else ())


def weigh_statement(
    claim: BundleSignatureClaim,
    verify: Callable[[Speaker], Outcome],
    denials: Sequence[Denial] = (),
) -> Weighed:
    """Return what a requirement makes of one signature of the bundle statement."""

    def found(speaker: Speaker) -> Weighed:
        outcome = verify(speaker)
        if isinstance(outcome, VerificationError):
            return _unverified(outcome)
        weighed = _recorded(speaker, outcome.value, frozenset())
        denied = denied_signer(outcome.value, None, denials)
        if denied is not None and weighed.stage == "counts":
            return replace(weighed, stage="denied", problem=denied)
        return weighed

    return _furthest(found(speaker) for speaker in claim.said.speakers)


def _furthest(found: Iterable[Weighed]) -> Weighed:
    return max(found, key=lambda one: STAGES.index(one.stage))


def wants(claim: EvidenceClaim, kind: Kind) -> bool:
    """Tell whether this kind of evidence makes the claim; what cannot be told might have."""
    if kind.is_unclear:
        return True
    match claim:
        case SignatureClaim():
            return kind.is_signature
        case AttestationClaim() | ProvenanceClaim() | SbomClaim() | VulnerabilitiesClaim():
            return claim.type.matches(kind.predicate_type)
        case _:
            assert_never(claim)


def unreadable(error: FormatError) -> Weighed:
    """Return what every requirement makes of evidence that could not be read."""
    return Weighed(
        stage="limit" if isinstance(error, LimitError) else "signature", problem=Problem.of(error)
    )


def _unverified(error: VerificationError) -> Weighed:
    return Weighed(stage="signature", problem=Problem.of(error))


def _under(
    speaker: Speaker,
    claim: EvidenceClaim,
    signed: Signed,
    about: About,
    contents: Contents | None,
) -> Weighed:
    """Return how far a verified piece comes; what it says is looked at where it is of the kind."""
    subjects = signed.subjects & about.digests
    found = _recorded(speaker, signed, subjects)
    if not subjects:
        return replace(
            found,
            stage="signature",
            problem=Problem(
                code=EvidenceInvalidError.code,
                message="it is genuine, and speaks of something else than this image",
                found=", ".join(str(digest) for digest in sorted(signed.subjects)[:3]),
            ),
        )
    if found.stage != "counts":
        return found
    meaning = _means(claim, signed, subjects, about, contents)
    found = replace(found, subjects=meaning.subjects, facts=meaning.facts)
    denied = denied_signer(signed, about.reference, about.denials)
    # A contradiction refuses an image (results.py), and a stolen key must not be able to do that.
    contradicts = meaning.problem is not None and meaning.problem.code == ContradictionError.code
    if meaning.problem is not None and not (denied is not None and contradicts):
        return replace(found, stage=meaning.stage, problem=meaning.problem)
    if denied is not None:
        return replace(found, stage="denied", problem=denied)
    return replace(
        found,
        provides=meaning.provides,
        assumes=meaning.assumes,
        names=_names(signed, meaning.subjects, who_of(signed), tags=meaning.tags),
    )


def _recorded(speaker: Speaker, signed: Signed, subjects: frozenset[Digest]) -> Weighed:
    """Return whether a verified piece is by this speaker, and recorded as policy asks."""
    who = who_of(signed)
    found = Weighed(
        stage="counts",
        problem=None,
        who=who,
        subjects=subjects,
        at=tuple(sorted({time.at for time in signed.times}, reverse=True)),
        positions=tuple(
            LogPosition(signer=who.distinct, log=log.log, log_index=log.log_index)
            for log in signed.logs
            if log.log_index is not None
        ),
        sightings=tuple(
            LogSighting(log=log.log, name=log.name, tree=log.tree) for log in signed.logs
        ),
    )
    problem = _stranger(speaker, signed)
    if problem is not None:
        return replace(found, stage="identity", problem=problem)
    problem = _recorded_otherwise(speaker, signed)
    if problem is not None:
        return replace(found, stage="condition", problem=problem)
    return found


def who_of(signed: Signed) -> Who:
    """Return who said it: one key, or one identity as one issuer vouched for it."""
    match signed.signer:
        case KeySigner(name=name, fingerprint=fingerprint):
            return Who(
                distinct=f"key:{fingerprint}", words=f"key {name!r} (sha256 {fingerprint[:16]})"
            )
        case CertificateSigner(san=san, issuer=issuer):
            return Who(
                distinct=f"identity:{issuer}\n{san}",
                words=f"{shown(san)[1:-1]} "
                + (f"(issuer {shown(issuer)[1:-1]})" if issuer else "(no issuer named)"),
            )
        case _:
            assert_never(signed.signer)


def _stranger(speaker: Speaker, signed: Signed) -> Problem | None:
    """Tell whether somebody else than the speaker said it."""
    match (speaker, signed.signer):
        case (KeySpeaker(), KeySigner()):
            return None  # the one key it was verified with is the one that the speaker names
        case (CertificateSpeaker() as named, CertificateSigner() as signer):
            if not named.identity.matches(signer.san):
                return _mismatch(
                    "identity",
                    str(named.identity),
                    signer.san,
                    hint=named.identity.instead(signer.san),
                )
            if not named.issuer.matches(signer.issuer):
                return _mismatch(
                    "issuer",
                    str(named.issuer),
                    signer.issuer,
                    hint=named.issuer.instead(signer.issuer),
                )
            return _other_workflow(named, signer.extensions) or _other_extension(
                named, signer.extensions
            )
        case _:
            return Problem(
                code=IdentityError.code, message="signed by a key where an identity is named"
            )


def _mismatch(what: str, expected: str, found: str, *, hint: str = "") -> Problem:
    return Problem(
        code=IdentityError.code,
        message=f"another {what}",
        expected=expected,
        found=shown(found),
        hint=hint,
    )


def _other_workflow(speaker: CertificateSpeaker, extensions: Mapping[str, str]) -> Problem | None:
    """Compare GitHub's extensions; where a value stands in two of them, both must say it.

    The newer one writes a repository as a URL on its server.
    """
    for name, value in speaker.workflow:
        numbers = WORKFLOW_EXTENSIONS[name]
        said = [(n, extensions[n]) for n in numbers if n in extensions]
        agree = bool(said) and all(
            text == value or (n == "12" and text.partition("://")[2].partition("/")[2] == value)
            for n, text in said
        )
        if not agree:
            return _mismatch(
                f"workflow {name}", repr(value), ", ".join(text for _, text in said) or "none"
            )
    return None


def _other_extension(speaker: CertificateSpeaker, extensions: Mapping[str, str]) -> Problem | None:
    """Compare Fulcio's extensions; a deprecated one beside must not say something else.

    The deprecated one writes a repository without the server.
    """
    for name, value in speaker.extensions:
        number, *older = CERTIFICATE_EXTENSIONS[name]
        path = value.partition("://")[2].partition("/")[2]
        agree = extensions.get(number) == value and all(
            extensions.get(n, value) in ({value, path} if n == "5" else {value}) for n in older
        )
        if not agree:
            said = [extensions[n] for n in (number, *older) if n in extensions]
            return _mismatch(name, repr(value), ", ".join(said) or "none")
    return None


def _recorded_otherwise(speaker: Speaker, signed: Signed) -> Problem | None:
    """Tell what is missing of logs, SCTs and timestamps; each counts distinct authorities."""
    proven = {log.log for log in signed.logs if log.proof == "verified"}
    promised = {log.log for log in signed.logs if log.promise == "verified"}
    held = proven if speaker.log == "proof" else proven | promised
    if speaker.log != "none" and len(held) < speaker.logs:
        return _too_few(
            "too few distinct logs of the trusted root hold it",
            f"{speaker.logs} with a {'proof' if speaker.log == 'proof' else 'promise or proof'}",
            str(len(held)),
        )
    stamps = {time.authority for time in signed.times if time.source == "timestamp"}
    if len(stamps) < speaker.timestamps:
        return _too_few(
            "too few timestamps by authorities of the trusted root",
            str(speaker.timestamps),
            str(len(stamps)),
        )
    if isinstance(speaker, CertificateSpeaker) and signed.sct_count < speaker.sct:
        return _too_few(
            "too few certificate transparency logs of the trusted root know the certificate",
            str(speaker.sct),
            str(signed.sct_count),
        )
    return None


def _too_few(message: str, expected: str, found: str = "") -> Problem:
    return Problem(code=ConditionError.code, message=message, expected=expected, found=found)


def _means(
    claim: EvidenceClaim,
    signed: Signed,
    subjects: frozenset[Digest],
    about: About,
    contents: Contents | None,
) -> Meaning:
    if isinstance(claim, SignatureClaim):
        # An attestation by the same people is no signature, but may name the image like one.
        return signature.means(claim, signed, subjects, reference=about.reference)
    if contents is None:
        return Meaning(subjects=subjects)
    match claim:
        case ProvenanceClaim():
            return provenance.means(claim, signed, subjects, contents)
        case SbomClaim():
            return sbom.means(claim, signed, subjects, about, contents)
        case VulnerabilitiesClaim():
            return vulnerabilities.means(claim, signed, subjects, about, contents)
        case AttestationClaim():
            return attestation.means(claim, subjects, contents)
        case _:
            assert_never(claim)


def _names(
    signed: Signed, subjects: frozenset[Digest], who: Who, *, tags: tuple[str, ...]
) -> tuple[SignedName, ...]:
    found: list[SignedName] = []
    match signed.payload:
        case SimpleSigning(docker_reference=text):
            name = read_signed_name(text)
            if name is not None:
                found.append(
                    SignedName(
                        repository=name[0],
                        tag=name[1],
                        how="docker-reference",
                        who=who.words,
                        distinct=who.distinct,
                        subjects=subjects,
                    )
                )
        case Statement(subjects=listed):
            for subject in listed:
                name = read_signed_name(subject.name)
                if name is None or subject.digest not in subjects:
                    continue
                told = SignedName(
                    repository=name[0],
                    tag=name[1],
                    how="subject-name",
                    who=who.words,
                    distinct=who.distinct,
                    subjects=frozenset({subject.digest}),
                )
                found.append(told)
                if not told.tag:
                    found += [replace(told, tag=tag, how="source-tag") for tag in tags]
        case _:
            pass
    return tuple(found)
