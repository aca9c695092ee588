"""One fact: a timestamp authority saw a signature at a time (RFC 3161).

`rfc3161_client` reads the response and checks the CMS signature, the purpose of the authority's
certificate and the imprint. Which authority may speak, and whether its chain and its window in the
trusted root hold at that time, is judged here.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from rfc3161_client import (
    TimeStampResponse,
    VerificationError,
    Verifier,
    VerifierBuilder,
    decode_timestamp_response,
)

from loader.errors import TimestampError, shown
from loader.verify.certificate import PARSE_ERRORS, warnings_refuse
from loader.verify.facts import SignedTime

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from loader.trust.trusted_root import Authority

_FOREIGN: Final = (VerificationError, KeyError, *PARSE_ERRORS)
_SIGNER_COUNT: Final = 1


def verify_timestamp(
    response: bytes, message: bytes, authorities: Iterable[Authority]
) -> SignedTime | None:
    """Check a timestamp over a message; None where no authority that we know made it.

    Args:
        response: a TimeStampResp, DER.
        message: what was stamped, before it was hashed for the imprint.
        authorities: timestamp authorities of the trusted root.

    Raises:
        TimestampError: it is malformed; or it names a known authority, and is not its stamp over
            this message, or from outside the authority's window.
    """
    try:
        with warnings_refuse():
            parsed = decode_timestamp_response(response)
            signers = parsed.signed_data.signer_infos
            if len(signers) != _SIGNER_COUNT:
                raise TimestampError(
                    "a timestamp with not exactly one signer", found=f"{len(signers)} signers"
                )
            signer = signers.pop()
            named = (signer.issuer, signer.serial_number)
            at = parsed.tst_info.gen_time
    except _FOREIGN as e:
        raise TimestampError("not a timestamp", found=shown(str(e))) from e
    problem: TimestampError | None = None
    for authority in authorities:
        leaf = _leaf(authority)
        if leaf is not None and (leaf.issuer, leaf.serial_number) != named:
            continue
        try:
            _expect_stamped(parsed, message, authority, at)
        except TimestampError as e:
            # An authority that lets its certificate travel with the stamp is only one of those
            # that could be meant.
            problem = e if leaf is not None or problem is None else problem
            continue
        return SignedTime(source="timestamp", at=at, authority=authority.name)
    if problem is not None:
        raise problem
    return None


@lru_cache(maxsize=256)
def _leaf(authority: Authority) -> x509.Certificate | None:
    """Return the stamping certificate that the trusted root pins; None if it pins issuers alone."""
    first = authority.chain[0]
    try:
        basic = first.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return first
    except PARSE_ERRORS:
        return None
    return None if basic.ca else first


@lru_cache(maxsize=256)
def _verifier(authority: Authority) -> Verifier:
    """Return what checks an authority's stamps; its chain is looked at once."""
    leaf = _leaf(authority)
    above = authority.chain if leaf is None else authority.chain[1:]
    try:
        for below, issuer in pairwise(authority.chain):
            below.verify_directly_issued_by(issuer)
    except (InvalidSignature, *PARSE_ERRORS) as e:
        raise TimestampError(
            "the trusted root's chain of a timestamp authority does not hold", where=authority.name
        ) from e
    return VerifierBuilder(
        tsa_certificate=leaf,
        intermediates=list(above[:-1]),
        roots=list(above[-1:] or authority.chain),
    ).build()


def _expect_stamped(
    parsed: TimeStampResponse, message: bytes, authority: Authority, at: datetime
) -> None:
    try:
        with warnings_refuse():
            _verifier(authority).verify_message(parsed, message)
    except _FOREIGN as e:
        raise TimestampError(
            "a timestamp that is not its authority's over this signature",
            where=authority.name,
            found=shown(str(e)),
        ) from e
    if not authority.valid_for.holds_at(at):
        raise TimestampError(
            "a timestamp from outside the time in which its authority is trusted",
            where=authority.name,
            expected=str(authority.valid_for),
            found=at.isoformat(),
        )
    for certificate in authority.chain:
        if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            raise TimestampError(
                "a timestamp by a certificate that was not valid at its time",
                where=authority.name,
                expected=f"{certificate.not_valid_before_utc.isoformat()} to "
                f"{certificate.not_valid_after_utc.isoformat()}",
                found=at.isoformat(),
            )
