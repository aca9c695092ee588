"""A second opinion before a bundle is sealed: sigstore-python's, where it can judge.

Our procedure is our own code (DESIGN §4, decision 1). So before anything is sealed, every piece of
evidence that counted and that sigstore-python can judge is judged by it as well, under the same
trusted root, for the same signer. It must agree. Where it refuses for one of the reasons in `GAPS`,
it could not judge; for any other reason nothing is sealed, and both opinions are named.

It sees bytes of the content store only: no trust refresh, no network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from bundler.errors import SecondOpinionError
from bundler.store import ContentStore
from loader.digest import Digest
from loader.errors import VerificationError, shown
from loader.evidence import Broken, SignedEvidence, Unsigned, evidence_of
from loader.model.envelope import Envelope
from loader.model.sigstore_bundle import CertificateMaterial, SigstoreBundle
from loader.policy.facts import ImageJudgement, Judgement
from loader.policy.speakers import CertificateSpeaker
from loader.trust.store import Anchor, TrustStore
from loader.trust.trusted_root import TrustedRoot
from loader.verify.facts import CertificateSigner, Signed
from loader.verify.sigstore import Material, verify_evidence

_KINDS: Final = frozenset({("dsse", "0.0.1"), ("hashedrekord", "0.0.1"), ("hashedrekord", "0.0.2")})
_CHAIN_MIN: Final = 2
_FOREIGN: Final = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    UnsupportedAlgorithm,
    x509.ExtensionNotFound,
)
"""What escapes from sigstore-python beside its own errors, where it meets what it does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A bundle that we found to hold under a trusted root."""

    bundle: SigstoreBundle
    root: TrustedRoot
    signed: Signed
    signer: CertificateSigner

    @property
    def certificate(self) -> x509.Certificate:
        """The signer's."""
        return x509.load_der_x509_certificate(self.signer.certificate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Something that sigstore-python 4.5 refuses though nothing is wrong with it."""

    name: str
    reason: str
    is_there: Callable[[Seen], bool]


def _entry_kinds(seen: Seen) -> bool:
    return any(
        (entry.record.kind, entry.record.version) not in _KINDS for entry in seen.bundle.entries
    )


def _scts(seen: Seen) -> bool:
    try:
        found = seen.certificate.extensions.get_extension_for_class(
            x509.PrecertificateSignedCertificateTimestamps
        ).value
    except x509.ExtensionNotFound:
        return True
    return len(found) != 1 or seen.signed.sct_count == 0


def _lacks_key_identifier(seen: Seen) -> bool:
    extensions = seen.certificate.extensions
    return not any(isinstance(one.value, x509.AuthorityKeyIdentifier) for one in extensions)


def _at_the_end(seen: Seen) -> bool:
    ends = {authority.valid_for.end for authority in seen.root.timestamp_authorities}
    return any(time.source == "timestamp" and time.at in ends for time in seen.signed.times)


def _several_lines(seen: Seen) -> bool:
    for entry in seen.bundle.entries:
        checkpoint = None if entry.proof is None else entry.proof.checkpoint
        hints = [] if checkpoint is None else [line.hint for line in checkpoint.signatures]
        if hints.count(entry.log_id[:4]) > 1:
            return True
    return False


GAPS: Final = (
    Gap(
        name="entry-kind",
        reason="it knows no log entries of this kind",
        is_there=_entry_kinds,
    ),
    Gap(
        name="key-kind",
        reason="it verifies by ECDSA with SHA-256 alone",
        is_there=lambda seen: _algorithm(seen) != "secp256r1",
    ),
    Gap(
        name="sct",
        reason="it wants exactly one SCT, of a log of the trusted root",
        is_there=_scts,
    ),
    Gap(
        name="key-identifier",
        reason="it wants certificates to name their authority's key",
        is_there=_lacks_key_identifier,
    ),
    Gap(
        name="intermediates",
        reason="it takes no intermediate certificates from a bundle",
        is_there=lambda seen: (
            isinstance(seen.bundle.material, CertificateMaterial)
            and bool(seen.bundle.material.intermediates)
        ),
    ),
    Gap(
        name="timestamp-authority",
        reason="it wants an authority, with a chain of two or more, for every timestamp",
        is_there=lambda seen: (
            bool(seen.bundle.timestamps)
            and (
                not seen.root.timestamp_authorities
                or any(len(one.chain) < _CHAIN_MIN for one in seen.root.timestamp_authorities)
            )
        ),
    ),
    Gap(
        name="timestamp-end",
        reason="it takes the end of a timestamp authority's window as exclusive",
        is_there=_at_the_end,
    ),
    Gap(
        name="checkpoint-lines",
        reason="it looks only at the first line with the log's hint",
        is_there=_several_lines,
    ),
)
"""Its known gaps, reviewed; each has a test that shows it. A refusal for anything else stops."""


def _algorithm(seen: Seen) -> str:
    curve = getattr(seen.certificate.public_key(), "curve", None)
    return "" if curve is None else str(curve.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondOpinion:
    """What sigstore-python said of the evidence that counted."""

    agreed: int
    silent: Mapping[str, int]
    """Why it could not judge, and how many pieces."""

    def __str__(self) -> str:
        reasons = "; ".join(
            f"{reason} ({count})" if len(self.silent) > 1 else reason
            for reason, count in sorted(self.silent.items())
        )
        cannot = sum(self.silent.values())
        return f"{self.agreed} agreed" + (
            f", {cannot} it cannot judge: {reasons}" if cannot else ""
        )


def second_opinion(
    judgement: Judgement, store: ContentStore, trust: TrustStore, *, gaps: Sequence[Gap] = GAPS
) -> SecondOpinion:
    """Have all evidence that counted judged again.

    Args:
        judgement: ours, without problems.
        store: evidence, and the trusted roots as `FarSide.carried` put them there.
        trust: the anchors that it was judged by.
        gaps: what it may refuse.

    Raises:
        SecondOpinionError: it refuses what we accept.
    """
    agreed = 0
    silent: Counter[str] = Counter()
    said: set[tuple[Digest, tuple[str, ...]]] = set()
    for image in judgement.images:
        roots = _roots(image, trust)
        for blob, evidence in _counted(image, store):
            place = blob, tuple(sorted(roots))
            if place in said:
                continue  # other names of one image
            said.add(place)
            reason = _of(evidence, roots, store, gaps)
            if reason:
                silent[reason] += 1
            else:
                agreed += 1
    return SecondOpinion(agreed=agreed, silent=dict(silent))


def _roots(image: ImageJudgement, trust: TrustStore) -> dict[str, Anchor]:
    """Return the trusted roots that this image's requirements judge certificates by."""
    names = [
        speaker.trusted_root
        for requirement in image.policy.on_images
        for speaker in requirement.said.speakers
        if isinstance(speaker, CertificateSpeaker)
    ]
    found = {name: trust.find(name) for name in names}
    return {name: anchor for name, anchor in found.items() if anchor is not None}


def _counted(image: ImageJudgement, store: ContentStore) -> Iterator[tuple[Digest, SignedEvidence]]:
    wanted = {(one.piece.manifest, one.piece.blob) for one in image.considered if one.counts}
    if not wanted:
        return
    for found in evidence_of(image.entry, image.graph, store):
        place = found.entry.manifest.digest, found.blob
        if found.blob is not None and place in wanted:
            evidence = found.evidence
            if not isinstance(evidence, Broken | Unsigned):
                yield found.blob, evidence


def _of(
    evidence: SignedEvidence, roots: Mapping[str, Anchor], store: ContentStore, gaps: Sequence[Gap]
) -> str:
    """Return why it cannot judge; nothing where it agrees."""
    if not isinstance(evidence, SigstoreBundle):
        return "it knows no cosign annotations"
    if not isinstance(evidence.material, CertificateMaterial):
        return "it knows no keys without certificates"
    if not isinstance(evidence.content, Envelope):
        return "a signature over a file that is not here"
    reasons = [
        _asked(seen, anchor, store, gaps)
        for anchor in roots.values()
        if (seen := _seen(evidence, anchor)) is not None
    ]
    if not reasons:
        return "it counted by a key, and it knows no keys without certificates"
    return next((reason for reason in reasons if reason), "")


def _seen(bundle: SigstoreBundle, anchor: Anchor) -> Seen | None:
    root = anchor.value
    if not isinstance(root, TrustedRoot):
        return None
    try:
        signed = verify_evidence(bundle, Material(trusted_root=root)).value
    except VerificationError:
        return None  # it counted under another root
    signer = signed.signer
    if not isinstance(signer, CertificateSigner):
        return None
    return Seen(bundle=bundle, root=root, signed=signed, signer=signer)


def _asked(seen: Seen, anchor: Anchor, store: ContentStore, gaps: Sequence[Gap]) -> str:
    """Ask for one opinion; see `_of`.

    Raises:
        SecondOpinionError: it refuses for a reason of its own.
    """
    # It costs a second to import, and an HTTP stack: only whoever has something to ask pays that.
    from sigstore.errors import Error  # noqa: PLC0415
    from sigstore.errors import VerificationError as TheirVerificationError  # noqa: PLC0415
    from sigstore.models import Bundle  # noqa: PLC0415
    from sigstore.models import TrustedRoot as TheirTrustedRoot  # noqa: PLC0415
    from sigstore.verify import Verifier  # noqa: PLC0415
    from sigstore.verify.policy import Identity  # noqa: PLC0415

    path = store.path(anchor.file_digest)
    if not path.is_file():  # an anchor of several files; what was carried is another of them
        return "it knows no authorities beside those of a trusted root"
    try:
        root = TheirTrustedRoot.from_file(str(path))
        bundle = Bundle.from_json(seen.bundle.raw)
    except (Error, *_FOREIGN) as e:
        return f"it cannot read this ({type(e).__name__})"
    # It knows the issuer by its old extension alone.
    issuer = seen.signer.issuer if "1" in seen.signer.extensions else None
    try:
        said = Verifier(trusted_root=root).verify_dsse(
            bundle, Identity(identity=seen.signer.san, issuer=issuer)
        )
    except TheirVerificationError as e:
        for gap in gaps:
            if gap.is_there(seen):
                return gap.reason
        raise _disagreement(seen, anchor, str(e)) from e
    except (Error, *_FOREIGN) as e:
        return f"it cannot judge this ({type(e).__name__})"
    content = seen.bundle.content
    if not isinstance(content, Envelope) or said != (content.payload_type, content.payload):
        raise _disagreement(seen, anchor, "it reads another payload in this envelope")
    return ""


def _disagreement(seen: Seen, anchor: Anchor, theirs: str) -> SecondOpinionError:
    return SecondOpinionError(
        "sigstore-python refuses evidence that we accept; nothing is sealed before it is clear why",
        where=f"{seen.bundle.digest}, under {anchor.name}",
        expected=f"a signature by {shown(seen.signer.san)[1:-1]} that holds, as we find",
        found=f"sigstore-python says: {shown(theirs)[1:-1]}",
        hint="one of the two is wrong: please report it, with this bundle if it may be shown",
    )
