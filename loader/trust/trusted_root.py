"""Trusted roots: whose certificates, logs and timestamps count (`trusted_root.json`).

The JSON form of dev.sigstore.trustroot.v1.TrustedRoot (protobuf-specs, sigstore_trustroot.proto),
or several of them, one a line, as `gh attestation trusted-root` writes them. Unknown fields are
ignored: roots are signed by their publisher and grow. A log or authority with a key of a kind that
we do not know is kept by its name alone: nothing that it signed will count.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from cryptography import x509

from loader.errors import (
    FormatError,
    JsonFieldError,
    TrustRootFormatError,
    UnsupportedKeyError,
    shown,
)
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.fields import Fields
from loader.model.pem import CERTIFICATE, decode_blocks
from loader.trust.keys import PublicKey
from loader.trust.validity import ALWAYS, Validity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from loader.limits import Limits

_MEDIA_TYPES: Final = frozenset(
    {
        "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "application/vnd.dev.sigstore.trustedroot+json;version=0.2",
        "application/vnd.dev.sigstore.trustedroot.v0.2+json",
    }
)
_LOG_ID_SIZE: Final = 32
_KEY_LENGTH_MAX: Final = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A log, of signatures (Rekor) or of certificates (CT)."""

    name: str
    """Its base URL."""
    log_id: bytes
    key: PublicKey
    valid_for: Validity
    """Its start is mandatory: without one the log would vouch for times before it existed."""

    @property
    def origin(self) -> str:
        """The host of its URL: what a Rekor v2 log calls itself in its checkpoints."""
        return self.name.partition("://")[2].partition("/")[0].partition(":")[0]

    @property
    def is_named_by_key(self) -> bool:
        """Whether its id is its key's digest (RFC 6962), as of every log that makes promises."""
        return self.log_id == hashlib.sha256(self.key.spki).digest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Authority:
    """A certificate authority, or a timestamp authority: its chain, the anchor last."""

    name: str
    chain: tuple[x509.Certificate, ...]
    valid_for: Validity

    @classmethod
    def parse_pem(cls, raw: bytes, *, name: str, limits: Limits = DEFAULT_LIMITS) -> Authority:
        """Return the private authority that a file of certificates writes, the anchor last.

        Raises:
            JsonFieldError: not PEM, not certificates, or not one path from first to last.
        """
        blocks = decode_blocks(raw, where=name, count_max=limits.certificate_chain_count_max)
        if any(block.label != CERTIFICATE for block in blocks):
            raise JsonFieldError("not certificates in PEM", where=name, expected=CERTIFICATE)
        chain = tuple(_load(block.der, where=name) for block in blocks)
        for below, above in pairwise(chain):
            if below.issuer != above.subject:
                raise JsonFieldError(
                    "certificates that are not one path",
                    where=name,
                    expected="each followed by its issuer, the one that is trusted last",
                )
        return cls(name=name, chain=chain, valid_for=ALWAYS)

    @property
    def anchor(self) -> x509.Certificate:
        """The certificate that is trusted by itself."""
        return self.chain[-1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrustedRoot:
    """Everything that a publisher's trusted root names."""

    name: str
    logs: tuple[Log, ...]
    ct_logs: tuple[Log, ...]
    certificate_authorities: tuple[Authority, ...]
    timestamp_authorities: tuple[Authority, ...]
    unusable: tuple[str, ...] = ()
    """Logs whose keys are of a kind that we do not know."""

    @property
    def dated_at(self) -> datetime | None:
        """The newest date in it: when its newest log or authority began, or was certified."""
        logs = (log.valid_for.start for log in (*self.logs, *self.ct_logs))
        authorities = (
            one.valid_for.start or one.chain[0].not_valid_before_utc
            for one in (*self.certificate_authorities, *self.timestamp_authorities)
        )
        return max((at for at in (*logs, *authorities) if at is not None), default=None)

    @classmethod
    def parse(cls, raw: bytes, *, name: str, limits: Limits = DEFAULT_LIMITS) -> TrustedRoot:
        """Return the trusted root that a file holds, or the union of those in its lines.

        Raises:
            TrustRootFormatError: it is malformed, of another version, or names nothing.
        """
        try:
            roots = [_root(item, limits=limits) for item in _documents(raw, name, limits)]
        except FormatError as e:
            raise TrustRootFormatError(
                f"not a trusted root: {e.message}",
                where=e.where or name,
                expected=e.expected,
                found=e.found,
            ) from e
        whole = cls(
            name=name,
            logs=tuple(log for root in roots for log in root.logs),
            ct_logs=tuple(log for root in roots for log in root.ct_logs),
            certificate_authorities=tuple(
                ca for root in roots for ca in root.certificate_authorities
            ),
            timestamp_authorities=tuple(
                tsa for root in roots for tsa in root.timestamp_authorities
            ),
            unusable=tuple(one for root in roots for one in root.unusable),
        )
        _expect_one_key_each(whole.logs, name=name)
        _expect_one_key_each(whole.ct_logs, name=name)
        if not (whole.logs or whole.certificate_authorities or whole.timestamp_authorities):
            raise TrustRootFormatError("a trusted root that names nobody", where=name)
        return whole


def _expect_one_key_each(logs: tuple[Log, ...], *, name: str) -> None:
    """Refuse two keys under one log id: which of them proves something would be chance.

    Windows may overlap, of one log as of several: publishers rotate that way. An id is derived from
    the key (RFC 6962 §3.2; of Rekor v2, with its name), so no honest log has two.

    Raises:
        TrustRootFormatError: there are.
    """
    keys: dict[bytes, PublicKey] = {}
    for log in logs:
        if keys.setdefault(log.log_id, log.key).spki != log.key.spki:
            raise TrustRootFormatError(
                "a trusted root with two keys for one log id",
                where=f"{name}: {shown(log.name)[1:-1]}",
                found=log.log_id.hex(),
            )


def _documents(raw: bytes, name: str, limits: Limits) -> Iterator[Fields]:
    lines = [line for line in raw.splitlines() if line.strip()]
    by_line = lines and all(line[:1] == b"{" and line.rstrip()[-1:] == b"}" for line in lines)
    parts = lines if by_line else [raw]
    if len(parts) > limits.trusted_root_authority_count_max:
        raise JsonFieldError("too many trusted roots in one file", where=name)
    for number, part in enumerate(parts, start=1):
        document = strictjson.parse_object(
            part, what="a trusted root", size_max=limits.trusted_root_size_max, limits=limits
        )
        yield Fields(document, name if len(parts) == 1 else f"{name} line {number}")


def _root(fields: Fields, *, limits: Limits) -> TrustedRoot:
    media_type = fields.text("mediaType", length_max=255)
    if media_type not in _MEDIA_TYPES:
        raise JsonFieldError(
            "a trusted root of another version",
            where=fields.at("mediaType"),
            found=shown(media_type),
        )
    unusable: list[str] = []
    return TrustedRoot(
        name=fields.path,
        logs=tuple(_logs(fields, "tlogs", unusable, limits)),
        ct_logs=tuple(_logs(fields, "ctlogs", unusable, limits)),
        certificate_authorities=tuple(
            _authority(item, limits) for item in _each(fields, "certificateAuthorities", limits)
        ),
        timestamp_authorities=tuple(
            _authority(item, limits) for item in _each(fields, "timestampAuthorities", limits)
        ),
        unusable=tuple(unusable),
    )


def _each(fields: Fields, name: str, limits: Limits) -> Iterator[Fields]:
    if fields.has(name):
        yield from fields.each(name, count_max=limits.trusted_root_authority_count_max)


def _logs(fields: Fields, kind: str, unusable: list[str], limits: Limits) -> Iterator[Log]:
    for item in _each(fields, kind, limits):
        name = item.text("baseUrl")
        public = item.fields("publicKey")
        log_id = item.fields("logId").base64("keyId", length_max=64)
        if len(log_id) != _LOG_ID_SIZE:
            raise JsonFieldError("not a log id", where=item.at("logId"), found=log_id.hex())
        valid_for = Validity.from_fields(public.optional_fields("validFor"))
        if valid_for.start is None:
            raise JsonFieldError("a log that is valid since ever", where=public.at("validFor"))
        der = public.base64("rawBytes", length_max=_KEY_LENGTH_MAX)
        try:
            key = PublicKey.from_der(der, name=name)
        except UnsupportedKeyError:
            unusable.append(name)
            continue
        yield Log(name=name, log_id=log_id, key=key, valid_for=valid_for)


def _authority(fields: Fields, limits: Limits) -> Authority:
    chain = fields.fields("certChain")
    certificates = tuple(
        _certificate(item, limits)
        for item in chain.each("certificates", count_max=limits.certificate_chain_count_max)
    )
    if not certificates:
        raise JsonFieldError("an authority without certificates", where=chain.path)
    return Authority(
        name=fields.text_or_empty("uri") or _subject(certificates[-1]),
        chain=certificates,
        valid_for=Validity.from_fields(fields.optional_fields("validFor")),
    )


def _certificate(fields: Fields, limits: Limits) -> x509.Certificate:
    return _load(
        fields.base64("rawBytes", length_max=2 * limits.certificate_size_max), where=fields.path
    )


def _load(der: bytes, *, where: str) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(der)
        # Read now what the library reads when it is asked: names and times.
        _ = certificate.subject, certificate.issuer
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except (ValueError, TypeError, OverflowError, x509.InvalidVersion) as e:
        raise JsonFieldError("not a certificate", where=where, found=shown(str(e))) from e
    return certificate


def _subject(certificate: x509.Certificate) -> str:
    try:
        return certificate.subject.rfc4514_string()
    except (ValueError, TypeError) as e:
        raise JsonFieldError("not a certificate", found=shown(str(e))) from e
