"""A pinned TUF root: its bytes, and what the operator says of it. Loads no TUF library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from loader.digest import Digest
from loader.errors import FormatError, TrustRootFormatError
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.fields import Fields
from loader.trust.memory import NUMBER_MAX

TARGET: Final = "trusted_root.json"
VOUCHED_BY: Final = "sigstore"
_IDENTITIES: Final = b'"sigstore-oidc"'


@dataclass(frozen=True, slots=True, kw_only=True)
class TufPin:
    """The root that an operator pinned."""

    root: bytes
    origin: str = ""
    """The file, in words for a report."""
    target: str = TARGET
    """The target that holds the trusted root, where the anchor is used as one."""
    vouched_by: str = VOUCHED_BY
    """The trusted root under which Sigstore identities sign this repository."""

    @property
    def digest(self) -> Digest:
        """Of the root's bytes."""
        return Digest.of(self.root)

    @property
    def names_identities(self) -> bool:
        """Whether a key of it may be a Sigstore identity, which somebody else must vouch for."""
        return _IDENTITIES in self.root

    def version(self) -> int:
        """Return the root's version; nothing else of it is looked at.

        Raises:
            TrustRootFormatError: it is no root.
        """
        try:
            document = strictjson.parse_object(
                self.root,
                what="a TUF root",
                size_max=DEFAULT_LIMITS.tuf_root_size_max,
                keys="exact",
            )
            signed = Fields(document, "").fields("signed")
            if signed.text("_type") != "root":
                raise TrustRootFormatError("TUF metadata of another role", where=self.origin)
            return signed.integer("version", minimum=1, maximum=NUMBER_MAX)
        except FormatError as e:
            raise TrustRootFormatError(
                f"not a TUF root: {e.message}",
                where=self.origin,
                expected=e.expected,
                found=e.found,
            ) from e
