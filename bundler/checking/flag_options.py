"""The flags of cosign and of slsa-verifier, as argparse has them. Imports nothing heavy.

What they mean is for `flags.py` and `provenance.py`, which only a run needs.
"""

from __future__ import annotations

import argparse
from typing import Final

IDENTITY: Final = (
    ("certificate-identity", "TEXT", "whom the certificate names, exactly"),
    ("certificate-identity-regexp", "RE2", "the same as a pattern; the whole of it must match"),
    ("certificate-oidc-issuer", "URL", "who vouched for that identity"),
    ("certificate-oidc-issuer-regexp", "RE2", "the same as a pattern"),
)
WORKFLOW: Final = ("trigger", "sha", "name", "repository", "ref")
_WORDS: Final = {"true": True, "false": False}
TYPES: Final = {
    "custom": "https://cosign.sigstore.dev/attestation/v1",
    "slsaprovenance": "https://slsa.dev/provenance/v0.2",
    "slsaprovenance02": "https://slsa.dev/provenance/v0.2",
    "slsaprovenance1": "https://slsa.dev/provenance/v1",
    "spdx": "https://spdx.dev/Document",
    "spdxjson": "https://spdx.dev/Document",
    "cyclonedx": "https://cyclonedx.org/bom",
    "link": "https://in-toto.io/Link/v1",
    "vuln": "https://cosign.sigstore.dev/attestation/vuln/v1",
    "openvex": "https://openvex.dev/ns",
}
"""What `--type` means in cosign (cmd/cosign/cli/options/predicate.go, v3.1.3)."""


def literal_type(word: str) -> str:
    """Return what a word of cosign's stands for; other words and URIs stand for themselves."""
    return TYPES.get(word, word)


def declare_type(parser: argparse.ArgumentParser) -> None:
    """Add of which type an attestation must be."""
    parser.add_argument(
        "--type",
        metavar="TYPE",
        help=f"attestations of this type, not signatures: {', '.join(TYPES)}, or a URI",
    )


def declare(parser: argparse.ArgumentParser) -> None:
    """Add who must have signed, in cosign's words."""
    who = parser.add_argument_group("who must have signed (the flags of cosign)")
    for name, kind, words in IDENTITY:
        who.add_argument(f"--{name}", metavar=kind, help=words)
    for name in WORKFLOW:
        who.add_argument(
            f"--certificate-github-workflow-{name}",
            metavar="TEXT",
            help=f"the certificate's extension for a workflow's {name}",
        )
    who.add_argument("--key", metavar="FILE", help="or: whoever holds this key (PEM)")
    who.add_argument(
        "-a",
        "--annotations",
        action="append",
        default=[],
        metavar="NAME=TEXT",
        help="signed along (again for more)",
    )
    how = parser.add_argument_group("how it must be recorded (the flags of cosign)")
    how.add_argument(
        "--trusted-root",
        metavar="FILE|NAME",
        help="authorities and logs to judge by (default: sigstore, the public ones)",
    )
    _truth(how, "insecure-ignore-tlog", "no transparency log need know of it")
    _truth(how, "insecure-ignore-sct", "no certificate log need have promised the certificate")
    _truth(how, "use-signed-timestamps", "a timestamp authority must have seen it")
    for name in ("offline", "private-infrastructure", "experimental-oci11", "check-claims"):
        _truth(how, name, argparse.SUPPRESS, default=name == "check-claims")


def _truth(group: argparse._ArgumentGroup, name: str, words: str, *, default: bool = False) -> None:
    """Add a flag as Go programs have them: `--name`, `--name=true`, `--name=false`."""
    group.add_argument(
        f"--{name}",
        nargs="?",
        const=True,
        default=default,
        type=_word,
        metavar="true|false",
        help=words,
    )


def _word(text: str) -> bool:
    if text not in _WORDS:
        raise argparse.ArgumentTypeError(f"true or false, not {text!r}")
    return _WORDS[text]


def are_given(options: argparse.Namespace) -> bool:
    """Tell whether the command line names somebody."""
    names = (*(name for name, *_ in IDENTITY), "key")
    return any(getattr(options, name.replace("-", "_")) is not None for name in names)


def declare_provenance(parser: argparse.ArgumentParser) -> None:
    """Add what must be so of a build, in the words of slsa-verifier."""
    group = parser.add_argument_group("provenance (the flags of slsa-verifier)")
    group.add_argument("--source-uri", metavar="URI", help="repository: github.com/org/app")
    group.add_argument("--source-tag", metavar="TAG", help="tag that it was built from")
    group.add_argument(
        "--source-versioned-tag", metavar="vX.Y.Z", help="version of that tag, as far as given"
    )
    group.add_argument("--source-branch", metavar="BRANCH", help="branch it was built from")
    group.add_argument("--builder-id", metavar="URL[@REF]", help="another builder than the usual")
    group.add_argument(
        "--build-workflow-input",
        action="append",
        default=[],
        metavar="NAME=TEXT",
        help="an input of a run that was started by hand (again for more)",
    )
