"""One fact: certificate transparency logs promised to publish a certificate (RFC 6962 §3.2).

The promises (SCTs) are embedded in the certificate. Each is over the precertificate, that is the
certificate without them, and over the key of whoever issued it: so the issuer must be known and
verified first.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.certificate_transparency import LogEntryType, SignedCertificateTimestamp

from loader.errors import SctError, SignatureMismatchError, shown
from loader.verify.certificate import PARSE_ERRORS
from loader.verify.message import Message
from loader.verify.signature import verify_with_hash

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loader.trust.trusted_root import Log
    from loader.verify.certificate import Leaf

SCT_COUNT_MAX: Final = 16
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def verify_scts(leaf: Leaf, issuer: x509.Certificate, logs: Iterable[Log]) -> int:
    """Check the SCTs of a certificate, and return how many distinct known logs made them.

    An SCT of a log that we do not know counts for nothing. One that names a known log and is not
    that log's is a forgery, whatever stands beside it.

    Args:
        leaf: the signing certificate.
        issuer: whoever issued it, verified.
        logs: of the trusted root.

    Raises:
        SctError: an SCT of a known log does not hold, or is from outside the log's window.
    """
    known = tuple(logs)
    counted: set[bytes] = set()
    try:
        scts = _embedded(leaf.certificate)
        if not scts:
            return 0
        tbs = leaf.certificate.tbs_precertificate_bytes
        issuer_key = hashlib.sha256(
            issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ).digest()
        for sct in scts:
            candidates = [log for log in known if log.log_id == sct.log_id]
            if candidates:
                _expect_promised(sct, candidates, tbs=tbs, issuer_key=issuer_key)
                counted.add(sct.log_id)
    except PARSE_ERRORS as e:
        raise SctError("SCTs that cannot be read", found=shown(str(e))) from e
    return len(counted)


def _embedded(certificate: x509.Certificate) -> list[SignedCertificateTimestamp]:
    try:
        found = list(
            certificate.extensions.get_extension_for_class(
                x509.PrecertificateSignedCertificateTimestamps
            ).value
        )
    except x509.ExtensionNotFound:
        return []
    if len(found) > SCT_COUNT_MAX:
        raise SctError("too many SCTs", expected=f"at most {SCT_COUNT_MAX}", found=str(len(found)))
    return found


def _expect_promised(
    sct: SignedCertificateTimestamp, logs: list[Log], *, tbs: bytes, issuer_key: bytes
) -> None:
    at = sct.timestamp.replace(tzinfo=UTC)
    if sct.entry_type is not LogEntryType.PRE_CERTIFICATE:
        raise SctError("an SCT over something else than a precertificate")
    message = Message.of(
        _signed_bytes(
            milliseconds=(at - _EPOCH) // _MILLISECOND,
            issuer_key=issuer_key,
            tbs=tbs,
            extensions=sct.extension_bytes,
        )
    )
    problem = SctError("no SCT")
    for log in logs:
        if not log.valid_for.holds_at(at):
            problem = SctError(
                "an SCT from outside the time in which its log is trusted",
                where=log.name,
                expected=str(log.valid_for),
                found=at.isoformat(),
            )
            continue
        try:
            verify_with_hash(log.key, sct.signature, message, hash_name="sha256", what="an SCT")
        except SignatureMismatchError as e:
            problem = SctError(
                "an SCT that is not its log's over this certificate",
                where=log.name,
                expected=e.expected,
            )
            continue
        return
    raise problem


def _signed_bytes(*, milliseconds: int, issuer_key: bytes, tbs: bytes, extensions: bytes) -> bytes:
    """Return what an SCT is over: `digitally-signed struct` of RFC 6962 §3.2, precert_entry."""
    return b"".join(
        (
            b"\x00\x00",  # version 1, certificate_timestamp
            milliseconds.to_bytes(8),
            b"\x00\x01",  # precert_entry
            issuer_key,
            len(tbs).to_bytes(3),
            tbs,
            len(extensions).to_bytes(2),
            extensions,
        )
    )
