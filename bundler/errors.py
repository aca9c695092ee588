"""What can go wrong with a registry, and what the user's own lists and credentials can lack.

A registry is at fault, or the way to it: class `remote`, exit status 30. `retryable` says whether
the same request may well succeed a moment later. Nothing here is ever read as "there is no
evidence": only a plain 404 is that.
"""

from __future__ import annotations

from typing import ClassVar

from loader.errors import AirlockError, InterruptedLoadError, RefusedError, UsageError


class RemoteError(AirlockError):
    """A registry, log or TUF repository failed, or answered what it must not."""

    code: ClassVar[str] = "remote.error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        where: str = "",
        expected: str = "",
        found: str = "",
        hint: str = "",
        after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, where=where, expected=expected, found=found, hint=hint)
        self.after_seconds = after_seconds
        """What the server asked us to wait (`Retry-After`), or None."""


class RemoteUnreachableError(RemoteError):
    """No connection: the name, the network, a proxy, or the server's port."""

    code: ClassVar[str] = "remote.unreachable"
    retryable: ClassVar[bool] = True


class RemoteTlsError(RemoteError):
    """The server's certificate does not hold, or it does not accept ours."""

    code: ClassVar[str] = "remote.tls"


class RemoteUnavailableError(RemoteError):
    """The server says that it cannot answer now (5xx, 408)."""

    code: ClassVar[str] = "remote.unavailable"
    retryable: ClassVar[bool] = True


class RemoteRateLimitError(RemoteError):
    """The server says that we ask too often (429)."""

    code: ClassVar[str] = "remote.rate-limit"
    retryable: ClassVar[bool] = True


class RemoteStalledError(RemoteError):
    """The server sends nothing, or next to nothing."""

    code: ClassVar[str] = "remote.stalled"
    retryable: ClassVar[bool] = True


class RemoteTruncatedError(RemoteError):
    """The connection ended before the body did."""

    code: ClassVar[str] = "remote.truncated"
    retryable: ClassVar[bool] = True


class RemoteAuthError(RemoteError):
    """The registry refuses our credentials, or wants some (401, 403)."""

    code: ClassVar[str] = "remote.auth"


class RemoteNotFoundError(RemoteError):
    """The registry has no such repository, tag, manifest or blob (404)."""

    code: ClassVar[str] = "remote.not-found"


class RemoteRedirectError(RemoteError):
    """A redirect leads off HTTPS, for a manifest to another host, or in circles."""

    code: ClassVar[str] = "remote.redirect"


class RemoteProtocolError(RemoteError):
    """The answer is not what the distribution specification allows."""

    code: ClassVar[str] = "remote.protocol"


class RemoteDigestError(RemoteError):
    """The bytes do not have the digest that was asked for, or that the registry itself states."""

    code: ClassVar[str] = "remote.digest"


class RemoteLimitError(RemoteError):
    """The answer is larger, longer or more numerous than its limit."""

    code: ClassVar[str] = "remote.limit"


class RemoteLogError(RemoteError):
    """A log answered something else than it promised, or a proof that does not hold."""

    code: ClassVar[str] = "remote.log"


class RemoteReferrersTagError(RemoteError):
    """Something else than a list of referrers sits under the referrers tag; it is not replaced."""

    code: ClassVar[str] = "remote.referrers-tag"


class RemoteIncompleteError(RemoteError):
    """The registry took everything, and does not show it when it is asked again."""

    code: ClassVar[str] = "remote.incomplete"


class StaleTagError(RefusedError):
    """The tag's own date lies further back than was asked for, or in the future."""

    code: ClassVar[str] = "expired.tag"


class VersionTakenError(RefusedError):
    """A tag that never moves points to another image there; nothing was written."""

    code: ClassVar[str] = "policy.version-taken"


class EvidenceTakenError(RefusedError):
    """Something that is no evidence sits under a tag of cosign's; it is not overwritten."""

    code: ClassVar[str] = "policy.evidence-taken"


class SecondOpinionError(RefusedError):
    """sigstore-python refuses evidence that we accept, for none of its known gaps: not sealed."""

    code: ClassVar[str] = "signature.second-opinion"


class SourceError(UsageError):
    """A reference, a list of images or a bundle.toml cannot be understood."""

    code: ClassVar[str] = "usage.source"


class CredentialError(UsageError):
    """A credential file or helper cannot be used."""

    code: ClassVar[str] = "usage.credentials"


class CertificateFileError(UsageError):
    """A CA or client certificate for a registry cannot be used."""

    code: ClassVar[str] = "usage.certificate"


class CancelledError(InterruptedLoadError):
    """Another part of the same run failed or was interrupted; this one stopped for it."""

    code: ClassVar[str] = "interrupted.cancelled"
