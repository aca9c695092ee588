"""A proposal for another policy, as it crosses the gap: what people sign with the policy keys.

A document of a few lines that names the policy by its digest, so that it can be read, signed apart
by several people, and compared aloud. `serial` only rises: an older proposal is not accepted again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import rfc8785

from loader.digest import Digest
from loader.errors import FormatError, JsonError
from loader.limits import KIB
from loader.model import strictjson
from loader.model.entries import SIZE_MAX
from loader.model.fields import Fields

SCHEMA: Final = "airlock-policy-proposal/1"
SIZE_LIMIT: Final = 16 * KIB
"""Bytes of a proposal: a reason has at most 500 characters."""
REASON_LENGTH_MAX: Final = 500
MEDIA_TYPE: Final = "application/vnd.airlock.policy-proposal.v1+json"
POLICY_MEDIA_TYPE: Final = "application/toml"
SIGNATURE_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What is signed. `raw` is what signatures cover."""

    raw: bytes
    serial: int
    policy: Digest
    reason: str

    @classmethod
    def make(cls, *, serial: int, policy: bytes, reason: str) -> Self:
        """Return the proposal of a policy.

        Raises:
            FormatError: a loader would refuse it.
        """
        return cls.parse(
            rfc8785.dumps(
                {
                    "schema": SCHEMA,
                    "serial": serial,
                    "policy": str(Digest.of(policy)),
                    "reason": reason,
                }
            )
        )

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Return the proposal that these bytes write: canonical JSON, no unknown fields.

        Raises:
            FormatError: they write none.
        """
        document = strictjson.parse_object(raw, what="a policy proposal", size_max=SIZE_LIMIT)
        fields = Fields(document, "proposal")
        fields.only("schema", "serial", "policy", "reason")
        if fields.text("schema") != SCHEMA:
            raise FormatError("not a policy proposal", where="proposal.schema", expected=SCHEMA)
        reason = fields.text("reason", length_max=REASON_LENGTH_MAX)
        if rfc8785.dumps(document) != raw:
            raise JsonError("a proposal is not canonical JSON", expected="RFC 8785")
        return cls(
            raw=raw,
            serial=fields.integer("serial", minimum=1, maximum=SIZE_MAX),
            policy=fields.digest("policy"),
            reason=reason,
        )
