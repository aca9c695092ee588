"""The whole signing world in one object.

``World()`` has one of everything, at a fixed instant; ``World("other")`` has other keys. Every
method takes ``at`` where time matters; its default is ``world.at``, which a test may move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from tests.fakes.sigworld import entries, statements, trustroot
from tests.fakes.sigworld.ca import CertificateAuthority
from tests.fakes.sigworld.ct import CtLog
from tests.fakes.sigworld.encoding import Json, compact, pae
from tests.fakes.sigworld.identity import Identity, workflow
from tests.fakes.sigworld.keys import Signer
from tests.fakes.sigworld.rekor import Entry, Log, RekorV1, RekorV2
from tests.fakes.sigworld.signed import SignedMessage, SignedStatement, envelope_bytes
from tests.fakes.sigworld.tsa import TimestampAuthority

START = datetime(2026, 1, 15, 12, tzinfo=UTC)
LogChoice = Literal["v1", "v2", "both", "none"]
MessageEntry = Literal["hashedrekord", "rekord"]
StatementEntry = Literal["dsse", "intoto-0.0.1", "intoto-0.0.2", "hashedrekord"]


class World:
    """One certificate authority, CT log, Rekor v1, Rekor v2 and timestamp authority."""

    def __init__(self, name: str = "acme", *, at: datetime = START, since_days: int = 365) -> None:
        self.name = name
        self.at = at
        self.since = at - timedelta(days=since_days)
        self.ct = CtLog(f"ctfe.{name}.example")
        self.ca = CertificateAuthority(name, start=self.since, promises=[self.ct.promise()])
        self.rekor1 = RekorV1(f"rekor1.{name}.example")
        self.rekor2 = RekorV2(f"rekor2.{name}.example")
        self.tsa = TimestampAuthority(name, start=self.since)
        self._ephemeral = 0

    def later(self, **delta: float) -> datetime:
        """Move ``at`` forward by ``timedelta(**delta)`` and return it."""
        self.at += timedelta(**delta)
        return self.at

    # Who signs -------------------------------------------------------------------------------

    def managed(self, name: str = "release", kind: str = "P-256", **options: Any) -> Signer:  # noqa: ANN401
        """A key pair without a certificate, as ``cosign generate-key-pair`` makes it."""
        return Signer.make(f"{self.name}/{name}", kind, **options)

    def keyless(
        self,
        identity: Identity | None = None,
        *,
        kind: str = "P-256",
        digest: str | None = None,
        at: datetime | None = None,
        ca: CertificateAuthority | None = None,
        key: Signer | None = None,
        **certificate: Any,  # noqa: ANN401
    ) -> Signer:
        """A fresh key with a certificate for that identity (a release workflow by default).

        ``key`` asks for a certificate for a key that is there already. Further keywords go to
        ``CertificateAuthority.issue``.
        """
        identity = identity or workflow()
        ca = ca or self.ca
        self._ephemeral += 1
        fresh = f"{self.name}/ephemeral/{self._ephemeral}"
        signer = key or Signer.make(fresh, kind, digest=digest)
        certificate.setdefault("extensions", identity.extensions)
        issued = ca.issue(
            signer.public, certificate.pop("sans", [identity.san]), at=at or self.at, **certificate
        )
        return signer.with_certificate(issued, ca.chain)

    # What they sign --------------------------------------------------------------------------

    def sign(
        self,
        message: bytes,
        signer: Signer,
        *,
        log: LogChoice = "v1",
        entry: MessageEntry = "hashedrekord",
        timestamp: bool | None = None,
        at: datetime | None = None,
    ) -> SignedMessage:
        """Sign bytes, log them, and have them timestamped.

        ``timestamp`` defaults to what the log leaves open: on for Rekor v2 and for no log with a
        certificate, off otherwise.
        """
        at = at or self.at + timedelta(seconds=2)
        signature = signer.sign(message)
        bodies: dict[str, bytes] = {}
        if log in {"v1", "both"}:
            bodies["v1"] = (
                entries.rekord_001(message, signature, signer.verifier_pem)
                if entry == "rekord"
                else entries.hashedrekord_001(
                    message, signature, signer.verifier_pem, algorithm=signer.digest or "sha512"
                )
            )
        if log in {"v2", "both"}:
            bodies["v2"] = entries.hashedrekord_002(message, signature, signer)
        return SignedMessage(
            signer=signer,
            signature=signature,
            message=message,
            at=at,
            entries=self._log(bodies, at),
            tsa=self._tsa(signer, log, wanted=timestamp),
        )

    def sign_statement(
        self,
        statement: Json | bytes,
        signer: Signer,
        *,
        log: LogChoice = "v1",
        entry: StatementEntry = "dsse",
        timestamp: bool | None = None,
        at: datetime | None = None,
        payload_type: str = statements.IN_TOTO,
        also: Sequence[Signer] = (),
    ) -> SignedStatement:
        """Sign a statement in a DSSE envelope; ``also`` sign the same payload beside ``signer``."""
        at = at or self.at + timedelta(seconds=2)
        payload = statement if isinstance(statement, bytes) else compact(statement)
        predicate = "" if isinstance(statement, bytes) else str(statement.get("predicateType", ""))
        message = pae(payload_type, payload)
        signatures = [(one.sign(message), one) for one in (signer, *also)]
        envelope = envelope_bytes(payload, payload_type, [signature for signature, _ in signatures])
        pairs = [(signature, one.verifier_pem) for signature, one in signatures]
        bodies: dict[str, bytes] = {}
        if log in {"v1", "both"}:
            bodies["v1"] = self._statement_body(entry, envelope, payload, payload_type, pairs)
            if entry == "hashedrekord":
                bodies["v1"] = entries.hashedrekord_001(message, pairs[0][0], pairs[0][1])
        if log in {"v2", "both"}:
            bodies["v2"] = entries.hashedrekord_002(message, signatures[0][0], signer)
        return SignedStatement(
            signer=signer,
            signature=signatures[0][0],
            payload=payload,
            payload_type=payload_type,
            predicate_type=predicate,
            signatures=signatures,
            at=at,
            entries=self._log(bodies, at),
            tsa=self._tsa(signer, log, wanted=timestamp),
        )

    def sign_image(
        self,
        digest: str,
        signer: Signer,
        *,
        annotations: Mapping[str, str] | None = None,
        **options: Any,  # noqa: ANN401
    ) -> SignedStatement:
        """What ``cosign sign`` 3 does; wrap it with ``.bundle()``."""
        return self.sign_statement(
            statements.image_statement(digest, annotations), signer, **options
        )

    def sign_image_legacy(
        self,
        digest: str,
        signer: Signer,
        *,
        reference: str = "registry.acme.example/acme/app",
        annotations: Mapping[str, str] | None = None,
        **options: Any,  # noqa: ANN401
    ) -> SignedMessage:
        """What ``cosign sign`` 2 does; wrap it with ``.layer()``."""
        payload = statements.simple_signing(digest, reference, optional=annotations)
        return self.sign(payload, signer, **options)

    # What verifiers are told -----------------------------------------------------------------

    def trusted_root(
        self,
        *,
        logs: Sequence[Log] | None = None,
        ct_logs: Sequence[CtLog] | None = None,
        authorities: Sequence[CertificateAuthority] | None = None,
        timestamp_authorities: Sequence[TimestampAuthority] | None = None,
    ) -> Json:
        """``trusted_root.json`` for this world, or for other parts than its own."""
        since = self.since
        return trustroot.trusted_root(
            logs=[
                trustroot.rekor_log(log, start=since)
                for log in ([self.rekor1, self.rekor2] if logs is None else logs)
            ],
            ct_logs=[
                trustroot.ct_log(log, start=since)
                for log in ([self.ct] if ct_logs is None else ct_logs)
            ],
            authorities=[
                trustroot.authority(ca, start=since)
                for ca in ([self.ca] if authorities is None else authorities)
            ],
            timestamp_authorities=[
                trustroot.authority(tsa, start=since)
                for tsa in ([self.tsa] if timestamp_authorities is None else timestamp_authorities)
            ],
        )

    def _log(self, bodies: Mapping[str, bytes], at: datetime) -> list[Entry]:
        logs: dict[str, Log] = {"v1": self.rekor1, "v2": self.rekor2}
        return [logs[name].add(body, at=at) for name, body in bodies.items()]

    def _tsa(
        self, signer: Signer, log: LogChoice, *, wanted: bool | None
    ) -> TimestampAuthority | None:
        if wanted is None:
            wanted = log in {"v2", "both"} or (log == "none" and signer.certificate is not None)
        return self.tsa if wanted else None

    @staticmethod
    def _statement_body(
        entry: StatementEntry,
        envelope: bytes,
        payload: bytes,
        payload_type: str,
        pairs: Sequence[tuple[bytes, bytes]],
    ) -> bytes:
        if entry == "intoto-0.0.1":
            return entries.intoto_001(envelope, payload, pairs[0][1])
        if entry == "intoto-0.0.2":
            return entries.intoto_002(envelope, payload, payload_type, pairs)
        return entries.dsse_001(envelope, payload, pairs)
