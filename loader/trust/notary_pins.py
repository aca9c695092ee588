"""Where trust in a Notary repository begins: a root key's id, a certificate, or an authority.

What may stand in an anchor of the kind `notary-root`:

    64 hexadecimal digits    the id of a root key, in the policy itself
    PEM                      a root key's certificate, or an authority's that issues them
    root.json                a repository's root: the ids of its root keys
    {"trust_pinning": ...}   the configuration of Notary's client, with its precedence

There is no trust on first use: `disable_tofu` may stand in the last one and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from cryptography import x509

from loader.errors import FormatError, JsonFieldError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.fields import Fields
from loader.model.notary import parse_root
from loader.model.notary_roles import ROOT
from loader.model.pem import CERTIFICATE, decode_blocks
from loader.trust.notary_ids import certificate_key_id

if TYPE_CHECKING:
    from loader.limits import Limits

_KEY_ID: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PIN_COUNT_MAX: Final = 10_000
_EVERY: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedKeys:
    """Root keys by their ids."""

    key_ids: frozenset[str]

    def __str__(self) -> str:
        return "root key " + " or ".join(key_id[:12] for key_id in sorted(self.key_ids))


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedAuthorities:
    """Authorities, one of which must have issued the certificates of root keys."""

    certificates: tuple[x509.Certificate, ...] = field(repr=False)
    names: tuple[str, ...]

    def __str__(self) -> str:
        return "authority " + " or ".join(self.names)


Pin: TypeAlias = PinnedKeys | PinnedAuthorities


@dataclass(frozen=True, slots=True, kw_only=True)
class NotaryPins:
    """The pins of one anchor, each for some repositories."""

    name: str
    keys: Mapping[str, PinnedKeys]
    """By a repository's name, or by its beginning and a `*`."""
    authorities: Mapping[str, PinnedAuthorities]
    """By the beginning of a repository's name."""

    @classmethod
    def parse(
        cls,
        raw: bytes,
        *,
        name: str,
        read: Callable[[str], bytes],
        limits: Limits = DEFAULT_LIMITS,
    ) -> NotaryPins:
        """Return the pins that an anchor writes.

        Args:
            raw: the file, or the digits.
            name: what people call it.
            read: the file of a `ca`, relative to this one.
            limits: sizes and counts.

        Raises:
            FormatError: it is none of what may stand here, or pins nothing.
        """
        text = raw.strip()
        if _KEY_ID.fullmatch(text.decode("ascii", "replace")) is not None:
            keys = PinnedKeys(key_ids=frozenset({text.decode("ascii")}))
            return cls(name=name, keys={_EVERY: keys}, authorities={})
        if text.startswith(b"-----BEGIN"):
            return _of_pem(raw, name=name, limits=limits)
        document = strictjson.parse_object(
            raw, what=name, size_max=limits.trusted_root_size_max, keys="exact", limits=limits
        )
        fields = Fields(document, name)
        if fields.has("trust_pinning"):
            return _of_configuration(fields.fields("trust_pinning"), name=name, read=read)
        root = parse_root(raw, where=name, limits=limits).content.roles[ROOT]
        keys = PinnedKeys(key_ids=frozenset(root.key_ids))
        return cls(name=name, keys={_EVERY: keys}, authorities={})

    def lines(self) -> Iterator[str]:
        """Yield the pins in words, each for whom."""
        for name, keys in sorted(self.keys.items()):
            yield f"{shown(name)[1:-1]}: root key {' or '.join(sorted(keys.key_ids)) or 'none'}"
        for prefix, pinned in sorted(self.authorities.items()):
            yield f"{shown(prefix)[1:-1]}...: {pinned}"

    def pin_of(self, gun: str) -> Pin | None:
        """Return the one pin for a repository: Notary's precedence (trustpinning/trustpin.go).

        Its own name, then the longest beginning with a `*`, then the longest beginning that an
        authority is pinned for. What is found first decides; there is no falling back to the next.
        """
        if gun in self.keys:
            return self.keys[gun]
        wild = [
            pattern
            for pattern in self.keys
            if pattern.endswith(_EVERY) and gun.startswith(pattern[:-1])
        ]
        if wild:
            return self.keys[max(wild, key=len)]
        begun = [prefix for prefix in self.authorities if gun.startswith(prefix)]
        return self.authorities[max(begun, key=len)] if begun else None


def is_key_id(text: str) -> bool:
    """Tell whether a text is the id of a key rather than a file's name."""
    return _KEY_ID.fullmatch(text) is not None


def _of_pem(raw: bytes, *, name: str, limits: Limits) -> NotaryPins:
    certificates = _certificates(raw, where=name, limits=limits)
    if _is_authority(certificates[0]):
        return NotaryPins(name=name, keys={}, authorities={"": _authorities(certificates)})
    keys = PinnedKeys(key_ids=frozenset({certificate_key_id(certificates)}))
    return NotaryPins(name=name, keys={_EVERY: keys}, authorities={})


def _of_configuration(fields: Fields, *, name: str, read: Callable[[str], bytes]) -> NotaryPins:
    fields.only("certs", "ca", "disable_tofu")
    certs = fields.optional_fields("certs")
    keys = {} if certs is None else {gun: _pinned_ids(certs, gun) for gun in certs.object}
    authorities = {
        prefix: _authorities(_certificates(read(file), where=file))
        for prefix, file in fields.text_map("ca", count_max=_PIN_COUNT_MAX).items()
    }
    if not keys and not authorities:
        raise JsonFieldError("nothing is pinned", where=fields.path, expected="`certs` or `ca`")
    return NotaryPins(name=name, keys=keys, authorities=authorities)


def _pinned_ids(fields: Fields, gun: str) -> PinnedKeys:
    found: list[str] = []
    for key_id in fields.items(gun, count_max=_PIN_COUNT_MAX):
        if not isinstance(key_id, str) or _KEY_ID.fullmatch(key_id) is None:
            raise JsonFieldError(
                "not a key's id",
                where=fields.at(shown(gun)),
                expected="64 lower-case hexadecimal digits",
                found=shown(key_id),
            )
        found.append(key_id)
    return PinnedKeys(key_ids=frozenset(found))


def _certificates(
    raw: bytes, *, where: str, limits: Limits = DEFAULT_LIMITS
) -> tuple[x509.Certificate, ...]:
    blocks = decode_blocks(raw, where=where, count_max=limits.trusted_root_authority_count_max)
    if any(block.label != CERTIFICATE for block in blocks):
        raise FormatError("not a certificate", where=where)
    try:
        return tuple(x509.load_der_x509_certificate(block.der) for block in blocks)
    except ValueError as e:
        raise FormatError("not a certificate", where=where, found=shown(str(e))) from e


def _authorities(certificates: tuple[x509.Certificate, ...]) -> PinnedAuthorities:
    return PinnedAuthorities(
        certificates=certificates,
        names=tuple(shown(one.subject.rfc4514_string())[1:-1] for one in certificates),
    )


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False
