"""Cosign's legacy payload, "simple signing" (containers/image, atomic-signature.md; FORMATS §1.3).

It is only parsed after the signature over exactly these bytes held.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from loader.digest import Digest
from loader.errors import JsonFieldError, shown
from loader.limits import DEFAULT_LIMITS, MIB
from loader.model import strictjson
from loader.model.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loader.limits import Limits
    from loader.model.strictjson import JsonValue

COSIGN_TYPE: Final = "cosign container image signature"
_SIZE_MAX: Final = 1 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class SimpleSigning:
    """An image's digest, the name it was signed under, and the signer's annotations."""

    raw: bytes
    digest: Digest
    docker_reference: str
    """The name while it was signed; empty where it was not said."""
    optional: Mapping[str, JsonValue] = field(default_factory=dict)

    @classmethod
    def parse(cls, raw: bytes, *, where: str, limits: Limits = DEFAULT_LIMITS) -> SimpleSigning:
        """Return the payload that these bytes write.

        The type must be cosign's. Cosign itself does not look; but signatures of another kind over
        a similar document (GPG's "atomic container signature") were not meant for us.

        Raises:
            JsonError, LimitError: it is not one.
            OciError: it does not name a digest.
        """
        document = strictjson.parse_object(
            raw, what="an image signature's payload", size_max=_SIZE_MAX, numbers="any",
            limits=limits,
        )  # fmt: skip
        fields = Fields(document, where)
        critical = fields.fields("critical")
        kind = critical.text("type", length_max=255)
        if kind != COSIGN_TYPE:
            raise JsonFieldError(
                "a signature of another kind",
                where=critical.at("type"),
                expected=COSIGN_TYPE,
                found=shown(kind),
            )
        identity = critical.fields("identity")
        optional = fields.optional_fields("optional")
        return cls(
            raw=raw,
            digest=critical.fields("image").digest("docker-manifest-digest"),
            docker_reference=identity.text_or_empty("docker-reference"),
            optional={} if optional is None else optional.object,
        )
