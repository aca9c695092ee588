"""Types of in-toto predicates: the short words for them, and the families behind the words.

Producers write one kind of document under several URIs: cosign the one without a version,
`actions/attest` one with the version of the document in it (FORMATS §3.1). A short word stands for
the family, a literal URI for itself alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

SIGN: Final = "https://sigstore.dev/cosign/sign/v1"
"""The one predicate type that is a signature. cosign 3 takes any verified statement for one, so
that an SBOM alone would pass (FORMATS §0.3); we do not."""
SLSA_02: Final = "https://slsa.dev/provenance/v0.2"
SLSA_1: Final = "https://slsa.dev/provenance/v1"
COSIGN_VULN: Final = "https://cosign.sigstore.dev/attestation/vuln/v1"

_SPDX: Final = r"https://spdx\.dev/Document(?:/v[0-9]+(?:\.[0-9]+)*)?"
_VERSION: Final = r"(?:/v[0-9]+(?:\.[0-9]+)*)?"
_ALIASES: Final = {
    "spdx": _SPDX,
    "spdxjson": _SPDX,
    "cyclonedx": r"https://cyclonedx\.org/bom" + _VERSION,
    "syft": re.escape("https://syft.dev/bom"),
    "slsa": r"https://slsa\.dev/provenance/v(?:0\.1|0\.2|1)",
    "slsaprovenance": re.escape(SLSA_02),
    "slsaprovenance02": re.escape(SLSA_02),
    "slsaprovenance1": re.escape(SLSA_1),
    "link": r"https://in-toto\.io/(?:Link/v1|attestation/link/v0\.3)",
    "vuln": r"(?:https://)?cosign\.sigstore\.dev/attestation/vuln/v1"
    r"|https://in-toto\.io/attestation/vulns/v0\.[12]",
    "openvex": r"https://openvex\.dev/ns(?:/v0\.2\.[0-9]+)?",
    "custom": re.escape("https://cosign.sigstore.dev/attestation/v1"),
    "vsa": re.escape("https://slsa.dev/verification_summary/v1"),
}
ALIASES: Final = tuple(_ALIASES)
"""The short words; those of cosign's `--type` mean what they mean there, and the family."""
_COMPILED: Final = {name: re.compile(pattern, re.ASCII) for name, pattern in _ALIASES.items()}
_LITERAL: Final = re.compile(r"[A-Za-z0-9][\x21-\x7e]*[/:.][\x21-\x7e]+", re.ASCII)
_LENGTH_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class PredicateType:
    """A type that is asked for: a word for a family, or one literal URI."""

    text: str

    def __post_init__(self) -> None:
        if self.text not in _COMPILED and (
            len(self.text) > _LENGTH_MAX or _LITERAL.fullmatch(self.text) is None
        ):
            raise ValueError(self.text)

    def matches(self, predicate_type: str) -> bool:
        """Tell whether a statement of this type is meant."""
        family = _COMPILED.get(self.text)
        if family is None:
            return predicate_type == self.text
        return family.fullmatch(predicate_type) is not None

    def __str__(self) -> str:
        return self.text
