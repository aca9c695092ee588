"""Every way to say no, and who is at fault.

A code is a dotted word; its first part is the class that decides the exit status
(`STATUS_BY_CLASS`). Codes are stable: scripts and auditors match on them, so none is ever renamed
or reused.

    AirlockError
    ├─ RefusedError        the bundle is at fault; nothing changed
    │  ├─ FormatError      not a well-formed X
    │  ├─ VerificationError   evidence does not hold
    │  ├─ PolicyError      evidence holds, policy says no
    │  └─ RollbackError    older than what the host accepted
    ├─ LocalError          this machine is at fault
    └─ UsageError          arguments, policy or configuration

Text that came from outside goes through `shown` before it becomes part of a message.
"""

from __future__ import annotations

from typing import ClassVar, Final

STATUS_BY_CLASS: Final = {
    "drift": 1,
    "usage": 2,
    "no-evidence": 10,
    "signature": 11,
    "identity": 12,
    "policy": 14,
    "trustroot": 15,
    "rollback": 16,
    "replay": 16,
    "denied": 17,
    "expired": 18,
    "clock": 18,
    "container": 19,
    "tar": 19,
    "path": 19,
    "limit": 19,
    "json": 19,
    "oci": 19,
    "missing": 19,
    "digest": 19,
    "io": 20,
    "state": 20,
    "busy": 20,
    "nospace": 20,
    "readonly": 20,
    "interrupted": 20,
    "partial-input": 20,
    "runtime": 21,
    "runtime-mismatch": 21,
    "remote": 30,
    "internal": 70,
}
"""Exit status of each error class (DESIGN §10)."""

SHOWN_LENGTH_MAX: Final = 200


def shown(value: object, *, limit: int = SHOWN_LENGTH_MAX) -> str:
    """Return hostile text as something a terminal, a journal and a log line survive.

    Everything outside printable ASCII is escaped, quotes are put around strings, and the length is
    capped.
    """
    if isinstance(value, (str, bytes)):
        value = value[:limit]  # so that only what is shown is escaped: one character may become ten
    text = ascii(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


class AirlockError(Exception):
    """A refusal or failure that names its code, its place and its remedy."""

    code: ClassVar[str] = "internal.error"
    remedy: ClassVar[str] = ""
    """What to do, where whoever raises it has nothing better to say."""

    def __init__(
        self,
        message: str,
        *,
        where: str = "",
        expected: str = "",
        found: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.expected = expected
        self.found = found
        self.hint = hint or self.remedy

    @property
    def error_class(self) -> str:
        """The first part of the code: what the exit status follows."""
        return self.code.partition(".")[0]

    @property
    def exit_status(self) -> int:
        """The process's exit status if this error ends it."""
        return STATUS_BY_CLASS[self.error_class]

    def __str__(self) -> str:
        parts = [self.message]
        if self.where:
            parts.append(f"at {self.where}")
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.found:
            parts.append(f"found {self.found}")
        return "; ".join(parts)


# --- the bundle is at fault -------------------------------------------------------------------


class RefusedError(AirlockError):
    """The bundle is refused, and nothing on this host changed."""

    code: ClassVar[str] = "container.refused"


class FormatError(RefusedError):
    """Bytes are not a well-formed instance of what they claim to be."""

    code: ClassVar[str] = "container.format"


class TruncatedError(FormatError):
    """The archive ends before everything it announces was there."""

    code: ClassVar[str] = "container.truncated"


class TrailingDataError(FormatError):
    """There are bytes after the end of the archive."""

    code: ClassVar[str] = "container.trailing"


class CompressionError(FormatError):
    """A zstd frame is damaged or outside the profile of the format."""

    code: ClassVar[str] = "container.zstd"


class UnsupportedVersionError(FormatError):
    """The bundle is of a version that this loader does not know."""

    code: ClassVar[str] = "container.version"


class TarError(FormatError):
    """A record header, or the order of members, is outside the profile of the format."""

    code: ClassVar[str] = "tar.header"


class MemberOrderError(TarError):
    """A member stands where the statement announces another, or one it does not announce."""

    code: ClassVar[str] = "tar.order"


class PathError(FormatError):
    """A member's name is not one that the format allows."""

    code: ClassVar[str] = "path.name"


class LimitError(FormatError):
    """Something is larger, deeper or more numerous than its published limit."""

    code: ClassVar[str] = "limit.exceeded"


class JsonError(FormatError):
    """A document is not strict JSON."""

    code: ClassVar[str] = "json.syntax"


class JsonFieldError(JsonError):
    """A field is missing, unknown, or of another type than the format says."""

    code: ClassVar[str] = "json.field"


class OciError(FormatError):
    """An index, manifest, config or descriptor is not what the OCI specification allows here."""

    code: ClassVar[str] = "oci.format"


class OciPlatformError(OciError):
    """A platform that is asked for is not in the image, or not in the bundle."""

    code: ClassVar[str] = "oci.platform"


class MissingError(FormatError):
    """Something that another part refers to is not in the bundle."""

    code: ClassVar[str] = "missing.member"


class DigestError(FormatError):
    """Bytes do not have the digest or size that verified data states for them."""

    code: ClassVar[str] = "digest.mismatch"


class DiffIdError(DigestError):
    """A layer, once decompressed, is not the one that the image's config names."""

    code: ClassVar[str] = "digest.diff-id"


class VerificationError(RefusedError):
    """Evidence is there and does not hold."""

    code: ClassVar[str] = "signature.invalid"


class PolicyError(RefusedError):
    """Evidence holds, and policy says no."""

    code: ClassVar[str] = "policy.refused"

    reasons: tuple[str, ...] = ()
    """Every requirement that is not met, in words; the error itself is the first of them."""
    judgement: object | None = None
    """The `Judgement` that a report shows, where there is one."""


class NoRuleError(PolicyError):
    """No rule of the policy speaks of this image: denied by default."""

    code: ClassVar[str] = "policy.no-rule"


class NoEvidenceError(PolicyError):
    """Policy asks for evidence, and there is none of that kind."""

    code: ClassVar[str] = "no-evidence.claim"


class IdentityError(PolicyError):
    """Evidence verifies, but nobody whom the policy names said it."""

    code: ClassVar[str] = "identity.mismatch"


class ThresholdError(PolicyError):
    """Fewer distinct identities than the policy's threshold said it."""

    code: ClassVar[str] = "policy.threshold"


class UnvouchedNameError(PolicyError):
    """Nobody whom the policy trusts vouches for the name that the image would get."""

    code: ClassVar[str] = "policy.name"


class DeniedError(PolicyError):
    """A deny list names the image, the signer or the key."""

    code: ClassVar[str] = "denied.listed"


class ExpiredError(PolicyError):
    """The bundle's or the evidence's own time has run out."""

    code: ClassVar[str] = "expired.bundle"


class TrustRootError(RefusedError):
    """A trust root is missing, stale, or not the pinned one."""

    code: ClassVar[str] = "trustroot.missing"


class TrustRootFormatError(TrustRootError):
    """A trust root cannot be understood."""

    code: ClassVar[str] = "trustroot.format"


class TrustRootMismatchError(TrustRootError):
    """A trust root in the bundle neither matches nor chains to the one that the host pins."""

    code: ClassVar[str] = "trustroot.mismatch"


class TrustSignatureError(TrustRootError):
    """Trust material is not signed by as many of the keys as it takes."""

    code: ClassVar[str] = "trustroot.signature"


class TrustVersionError(TrustRootError):
    """Trust material has another version than the one that its place asks for."""

    code: ClassVar[str] = "trustroot.version"


class TrustRollbackError(TrustRootError):
    """Trust material is older than what this host has seen."""

    code: ClassVar[str] = "trustroot.rollback"


class TrustIncompleteError(TrustRootError):
    """A link of a chain of trust is not in the bundle."""

    code: ClassVar[str] = "trustroot.incomplete"


class TrustUnconfirmedError(TrustRootError):
    """A newer root chains, and the policy wants an operator to look at the change first."""

    code: ClassVar[str] = "trustroot.unconfirmed"


class TrustDigestError(TrustRootError):
    """Trust material is not the file that signed metadata describes."""

    code: ClassVar[str] = "trustroot.digest"


class TrustRootExpiredError(TrustRootError):
    """Trust material had expired already when the bundle was packed; no limit lets that pass."""

    code: ClassVar[str] = "trustroot.expired"


class TrustRootStaleError(TrustRootError):
    """Trust material is older than the policy takes it for."""

    code: ClassVar[str] = "trustroot.stale"


class RollbackError(RefusedError):
    """Older than what this host has accepted already."""

    code: ClassVar[str] = "rollback.sequence"


class NameRollbackError(RollbackError):
    """A name would go back to an image signed earlier than the one accepted under it."""

    code: ClassVar[str] = "rollback.name"


class ReplayError(RollbackError):
    """The same channel and sequence as before, with other contents."""

    code: ClassVar[str] = "replay.equivocation"


# --- this machine is at fault -----------------------------------------------------------------


class LocalError(AirlockError):
    """This machine is at fault: the bundle was not judged, or could not be finished."""

    code: ClassVar[str] = "io.error"


class InputError(LocalError):
    """The file that is to be read is not there, not a regular file, or not readable."""

    code: ClassVar[str] = "io.input"


class PartialInputError(LocalError):
    """The file is still growing: it is not whole yet."""

    code: ClassVar[str] = "partial-input.growing"


class BeingWrittenError(LocalError):
    """Somebody has the file open to write to it."""

    code: ClassVar[str] = "busy.writer"


class SlowMediumError(LocalError):
    """The medium gives its bytes too slowly, or none any more."""

    code: ClassVar[str] = "io.stalled"


class SpoolError(LocalError):
    """The folder that is watched is not one that may be relied on."""

    code: ClassVar[str] = "io.spool"


class AttemptsError(LocalError):
    """A file ended every attempt with no answer, and is left alone."""

    code: ClassVar[str] = "io.attempts"


class StateError(LocalError):
    """The host's own memory is damaged, missing or of a newer version."""

    code: ClassVar[str] = "state.damaged"
    remedy: ClassVar[str] = "airlock-loader state recover says what is wrong and what can be kept"


class UnconfirmedCommitError(StateError):
    """The ledger has the record, and the disk did not confirm it: a power cut may take it back."""

    code: ClassVar[str] = "state.unconfirmed"


class BusyError(LocalError):
    """Another loader holds the lock."""

    code: ClassVar[str] = "busy.lock"


class NoSpaceError(LocalError):
    """The disk is full, or a quota is reached."""

    code: ClassVar[str] = "nospace.disk"


class FileTooLargeError(NoSpaceError):
    """The file system cannot hold a file of that size, however much room it has."""

    code: ClassVar[str] = "nospace.file-size"


class ReadOnlyError(LocalError):
    """A folder that must be written is read-only."""

    code: ClassVar[str] = "readonly.disk"


class InterruptedLoadError(LocalError):
    """A signal ended the run."""

    code: ClassVar[str] = "interrupted.signal"


class ConfinementError(LocalError):
    """The loader could not cut itself off from every network, and so reads nothing."""

    code: ClassVar[str] = "io.confinement"


class RuntimeLoadError(LocalError):
    """The runtime's client failed or refused; it was put back as it was."""

    code: ClassVar[str] = "runtime.client"


class RuntimeAbsentError(RuntimeLoadError):
    """The runtime's client is not installed, or its daemon does not answer."""

    code: ClassVar[str] = "runtime.absent"


class RuntimeTagError(RuntimeLoadError):
    """The runtime has this name already, for an image that this loader did not bring."""

    code: ClassVar[str] = "runtime.tag-taken"


class RuntimeMismatchError(RuntimeLoadError):
    """What the runtime has now is not what was verified."""

    code: ClassVar[str] = "runtime-mismatch.digest"


class RuntimeGoneError(RuntimeMismatchError):
    """The runtime has nothing any more under a name that was loaded."""

    code: ClassVar[str] = "runtime-mismatch.gone"


class UnhealthyError(RuntimeLoadError):
    """The operator's health command says no to what was just loaded; it was put back."""

    code: ClassVar[str] = "runtime.unhealthy"


class OperatorCommandError(RuntimeLoadError):
    """A command of the operator's, named in config.toml, cannot be run or failed."""

    code: ClassVar[str] = "runtime.command"


class RuntimeUndoError(RuntimeLoadError):
    """After a failure the runtime could not be put back as it was."""

    code: ClassVar[str] = "runtime.not-put-back"


class UsageError(AirlockError):
    """Arguments, policy or configuration cannot be understood."""

    code: ClassVar[str] = "usage.arguments"


class PolicyFileError(UsageError):
    """The policy file cannot be understood, or silently would mean nothing."""

    code: ClassVar[str] = "usage.policy"


class ConfigFileError(UsageError):
    """This host's config.toml cannot be understood."""

    code: ClassVar[str] = "usage.config"


class AnchorFileError(UsageError):
    """A key, certificate or trust root that the policy names cannot be read."""

    code: ClassVar[str] = "usage.anchor"


class InternalError(AirlockError):
    """A bug in Airlock; still a refusal."""

    code: ClassVar[str] = "internal.bug"


# --- the loader's line: state, output, clock --------------------------------------------------


class LogIndexRollbackError(RollbackError):
    """An entry stands earlier in a log than one by the same signer that was accepted."""

    code: ClassVar[str] = "rollback.log-index"


class ClockBehindError(PolicyError):
    """This host's clock is behind the newest verified time it ever saw, and policy minds."""

    code: ClassVar[str] = "clock.behind"


class StateMissingError(StateError):
    """One of the two places of the host's memory is gone while the other is there."""

    code: ClassVar[str] = "state.missing"


class MissingRecordError(StateError):
    """The ledger has no record of what is asked for."""

    code: ClassVar[str] = "state.no-record"
    remedy: ClassVar[str] = ""


class ProposalError(PolicyError):
    """Not enough of the pinned policy keys signed a proposed policy."""

    code: ClassVar[str] = "policy.proposal"


class NoProposalError(PolicyError):
    """The bundle proposes no policy."""

    code: ClassVar[str] = "policy.no-proposal"


class StateLostError(StateError):
    """Nothing is left that the host's memory could be recovered from."""

    code: ClassVar[str] = "state.lost"


class KeptEvidenceError(StateError):
    """What an image was let in by is not kept any more, or was changed."""

    code: ClassVar[str] = "state.evidence"


class DriftError(LocalError):
    """What a runtime has now is not what was let in."""

    code: ClassVar[str] = "drift.changed"


class GoneError(DriftError):
    """What was let in is not in the runtime any more."""

    code: ClassVar[str] = "drift.gone"


class StateVersionError(StateError):
    """A newer loader wrote the host's memory."""

    code: ClassVar[str] = "state.version"
    remedy: ClassVar[str] = ""


class StateKeyError(StateError):
    """The host's own key is gone, damaged, or another than the one that signed the ledger."""

    code: ClassVar[str] = "state.key"


class StatePermissionError(StateError):
    """Somebody else could have written to the host's memory."""

    code: ClassVar[str] = "state.permission"
    remedy: ClassVar[str] = ""


class MemoryLimitError(LocalError):
    """The system gives this process no more memory."""

    code: ClassVar[str] = "io.memory"


class OutputError(LocalError):
    """The verdict could not be written to where it was to go."""

    code: ClassVar[str] = "io.output"


# --- the judge: requirements that are not met -------------------------------------------------


class EvidenceInvalidError(PolicyError):
    """Policy asks for evidence; there is some, and none of it verifies."""

    code: ClassVar[str] = "signature.unverified"


class EvidenceLimitError(PolicyError):
    """Policy asks for evidence; what there is exceeds a published limit."""

    code: ClassVar[str] = "limit.evidence"


class UnwitnessedError(PolicyError):
    """Nothing shows that a log continues the tree that this host remembers, and policy wants it."""

    code: ClassVar[str] = "policy.unwitnessed"


class ConditionError(PolicyError):
    """The right one said it, but not as policy asks: log, timestamp, annotation or reference."""

    code: ClassVar[str] = "policy.condition"


class ContentsError(PolicyError):
    """The right one said it and it is recorded as asked, but it says something else."""

    code: ClassVar[str] = "policy.contents"


class EmptyScanError(PolicyError):
    """A scan was attested, and holds no result at all: signed and empty is not signed and clean."""

    code: ClassVar[str] = "policy.scan-empty"


class ContradictionError(PolicyError):
    """Evidence disagrees: a predicate with its certificate, or one statement with another."""

    code: ClassVar[str] = "policy.contradiction"


class ScopeError(PolicyError):
    """Evidence holds for the index where policy asks for the platform, or the other way round."""

    code: ClassVar[str] = "policy.scope"


class QuantifierError(PolicyError):
    """Policy asks for all evidence of a kind to hold, and some does not."""

    code: ClassVar[str] = "policy.quantifier"


class EmptyBundleError(PolicyError):
    """The bundle holds no image at all."""

    code: ClassVar[str] = "policy.empty"


class NameTwiceError(PolicyError):
    """The bundle gives one name to two different images."""

    code: ClassVar[str] = "policy.name-twice"


class ChannelError(PolicyError):
    """The bundle is of a channel that this host does not take, or nobody signed of which."""

    code: ClassVar[str] = "policy.channel"


# --- verification: which binding does not hold (docs/verification.md) --------------------------


class SignatureMismatchError(VerificationError):
    """The signature was not made over these bytes by the key or certificate that is asked for."""

    code: ClassVar[str] = "signature.mismatch"


class SignerKindError(VerificationError):
    """A key signed where a certificate is asked for, or the other way round."""

    code: ClassVar[str] = "signature.signer"


class UnsupportedKeyError(VerificationError):
    """A public key is malformed, or of a kind or size that is not accepted."""

    code: ClassVar[str] = "signature.key"


class KeyTimeError(VerificationError):
    """A key was used at a time outside its own window."""

    code: ClassVar[str] = "signature.key.time"


class ArtifactDigestError(VerificationError):
    """A bundle says another digest of what it signs than this file has."""

    code: ClassVar[str] = "signature.digest"


class SubjectMismatchError(VerificationError):
    """A signed statement does not speak of this artifact."""

    code: ClassVar[str] = "signature.subject"


class PayloadError(VerificationError):
    """What was signed is no statement or image signature that can be understood."""

    code: ClassVar[str] = "signature.payload"


class EntryKindError(VerificationError):
    """A log's entry is of a kind that cannot record this signature, or says so of itself twice."""

    code: ClassVar[str] = "signature.entry.kind"


class EntryDigestError(VerificationError):
    """A log's entry records a signature over something else."""

    code: ClassVar[str] = "signature.entry.digest"


class EntrySignatureError(VerificationError):
    """A log's entry records another signature."""

    code: ClassVar[str] = "signature.entry.signature"


class EntryKeyError(VerificationError):
    """A log's entry records another key or certificate."""

    code: ClassVar[str] = "signature.entry.key"


class EntryUnprovenError(VerificationError):
    """A known log's entry comes without the promise or proof that its format must have."""

    code: ClassVar[str] = "signature.entry.unproven"


class SupplementError(VerificationError):
    """A proof was added that belongs to no promise of this evidence, or to one that has a proof."""

    code: ClassVar[str] = "signature.supplement"


class EntryTimeError(VerificationError):
    """A log's entry is from outside the time in which that log's key is trusted."""

    code: ClassVar[str] = "signature.entry.time"


class PromiseError(VerificationError):
    """A log's promise of inclusion (SET) is not its signature over this entry."""

    code: ClassVar[str] = "signature.set"


class InclusionError(VerificationError):
    """An inclusion proof does not lead from the entry to the root hash."""

    code: ClassVar[str] = "signature.inclusion"


class ConsistencyError(VerificationError):
    """One state of a log is not a continuation of the other."""

    code: ClassVar[str] = "signature.consistency"


class LogForkError(VerificationError):
    """A log signed two histories that exclude each other; nothing it says can be relied on."""

    code: ClassVar[str] = "signature.log-fork"


class CheckpointError(VerificationError):
    """A checkpoint is not signed by its log, or speaks of another tree than the proof."""

    code: ClassVar[str] = "signature.checkpoint"


class CertificateError(VerificationError):
    """A signing certificate is malformed, or not one that may sign artifacts."""

    code: ClassVar[str] = "signature.certificate"


class CertificateChainError(CertificateError):
    """No certificate authority of the trusted root issued the signing certificate."""

    code: ClassVar[str] = "signature.certificate.chain"


class CertificateTimeError(CertificateError):
    """The certificate or one above it was not valid at a verified time of the signature."""

    code: ClassVar[str] = "signature.certificate.time"


class CertificateIdentityError(CertificateError):
    """A signing certificate does not say one identity, or contradicts itself about the issuer."""

    code: ClassVar[str] = "signature.certificate.identity"


class NoTimeError(VerificationError):
    """Nothing that verifies says when a certificate, or a key or log with an end, was used."""

    code: ClassVar[str] = "signature.no-time"


class SctError(VerificationError):
    """A known log's certificate timestamp (SCT) is not its signature over this certificate."""

    code: ClassVar[str] = "signature.sct"


class TimestampError(VerificationError):
    """A timestamp is not a known authority's signature over this signature."""

    code: ClassVar[str] = "signature.timestamp"


# --- Docker Content Trust (docs/content-trust.md) -----------------------------------------------


class ContentTrustConflictError(PolicyError):
    """`targets` and `targets/releases` mean different bytes by one tag, and policy minds."""

    code: ClassVar[str] = "policy.content-trust-conflict"


class NotaryError(VerificationError):
    """A repository's metadata is not what its root says: signatures, hashes, lengths, or form."""

    code: ClassVar[str] = "signature.notary"


class NotaryRootError(NotaryError):
    """A repository's root is not the pinned one, and no rotation leads from that one to it."""

    code: ClassVar[str] = "trustroot.notary"


class NotaryRollbackError(NotaryError):
    """A repository's metadata is older than what this host has seen of it."""

    code: ClassVar[str] = "rollback.notary"
