"""cosign's flags, with cosign's meaning, as a policy of ours (DESIGN §11).

    --certificate-identity ... --type ...  →  policy text  →  the loader's own reader  →  FarSide

There is no second judge: the flags become one `[[image]]` block and are judged as a file would be.
What cosign means by them that a block does not by itself is written into it: an entry in a log is
wanted also for keys, signatures on the platforms of an image are none on the image, and names are
not compared. The one departure is that a pattern must match the whole text.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bundler.policies.toml_text import Value, lines
from loader.errors import ConditionError, PolicyError, PolicyFileError, UsageError, shown
from loader.trust.anchors import is_file

if TYPE_CHECKING:
    from bundler.preflight import FarSide

NAME: Final = "the command line"
_IDENTITY: Final = (
    ("certificate-identity", "TEXT", "whom the certificate names, exactly"),
    ("certificate-identity-regexp", "RE2", "the same as a pattern; the whole of it must match"),
    ("certificate-oidc-issuer", "URL", "who vouched for that identity"),
    ("certificate-oidc-issuer-regexp", "RE2", "the same as a pattern"),
)
_WORKFLOW: Final = ("trigger", "sha", "name", "repository", "ref")
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
    for name, kind, words in _IDENTITY:
        who.add_argument(f"--{name}", metavar=kind, help=words)
    for name in _WORKFLOW:
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
    names = (*(name for name, *_ in _IDENTITY), "key")
    return any(getattr(options, name.replace("-", "_")) is not None for name in names)


def far_side(options: argparse.Namespace) -> FarSide:
    """Return what the flags mean.

    Raises:
        UsageError: they contradict one another, or name nobody.
        AnchorFileError, TrustRootError: key or trusted root cannot be read.
    """
    from bundler.preflight import FarSide  # noqa: PLC0415  (start-up loads what the verb needs)

    raw = "\n".join(policy_lines(options)).encode()
    try:
        return FarSide.read(raw, where=NAME, folder=Path())
    except PolicyFileError as e:
        name = e.where.rpartition(".")[2]
        flag = f"--{name}" if hasattr(options, name.replace("-", "_")) else ""
        raise UsageError(
            e.message,
            where=flag,
            expected=e.expected.replace("`certificate-", "`--certificate-"),
            found=e.found,
            hint=e.hint,
        ) from e


def advice(options: argparse.Namespace, error: PolicyError) -> str:
    """Return which flag may be meant where evidence is not recorded as they ask by default."""
    if isinstance(error, ConditionError) and options.key and not _without_log(options):
        return (
            "an entry in a transparency log is wanted, as by cosign; "
            "--insecure-ignore-tlog=true takes a signature without"
        )
    return ""


def policy_lines(options: argparse.Namespace) -> Iterator[str]:
    """Yield the policy that the flags write.

    Raises:
        UsageError: a flag that we do not have, or cannot mean the same by.
    """
    if not options.check_claims:
        raise UsageError(
            "a signature that is not compared with the image says nothing of it",
            where="--check-claims=false",
        )
    yield "schema = 1"
    yield "[[image]]"
    yield from lines({"match": "**", "name": "as-packed", "scope": "index"})
    yield "[[image.require]]"
    yield from lines({**_claim(options), **_said(options), **_signed_along(options)})


def literal_type(word: str) -> str:
    """Return what a word of cosign's stands for; other words and URIs stand for themselves."""
    return TYPES.get(word, word)


def _claim(options: argparse.Namespace) -> dict[str, Value]:
    if options.type is None:
        return {"claim": "signature"}
    if options.annotations:
        raise UsageError("annotations are signed along with signatures alone", where="-a")
    return {"claim": "attestation", "type": literal_type(options.type)}


def _signed_along(options: argparse.Namespace) -> dict[str, Value]:
    pairs = [text.partition("=") for text in options.annotations]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise UsageError("not an annotation", where="-a", expected="NAME=TEXT")
    return {"annotations": {name: text for name, _, text in pairs}} if pairs else {}


def _said(options: argparse.Namespace) -> dict[str, Value]:
    """Return who must have signed, and how it must be recorded, by the keys of a requirement."""
    if not are_given(options):
        raise UsageError(
            "nobody is named who must have signed it",
            expected="--certificate-identity with --certificate-oidc-issuer, or --key, "
            "or --policy FILE",
            hint="`airlock policy init IMAGE` shows who signed an image",
        )
    found: dict[str, Value] = {}
    workflow = [f"certificate-github-workflow-{name}" for name in _WORKFLOW]
    for name in (*(one for one, *_ in _IDENTITY), *workflow):
        said: str | None = getattr(options, name.replace("-", "_"))
        if said is not None:
            found[name] = said
    without_log = _without_log(options)
    timestamps = 1 if options.use_signed_timestamps else 0
    if options.key is not None:
        found["key"] = _file_or_name("key", options.key)
        if not without_log or timestamps:
            found["trusted-root"] = _root(options)
    else:
        found["trusted-root"] = _root(options)
        found["sct"] = 0 if options.insecure_ignore_sct else 1
    found["log"] = "none" if without_log else "promise"
    found["timestamps"] = timestamps
    return found


def _without_log(options: argparse.Namespace) -> bool:
    return bool(options.insecure_ignore_tlog or options.private_infrastructure)


def _root(options: argparse.Namespace) -> str:
    return _file_or_name("trusted-root", options.trusted_root or "sigstore")


def _file_or_name(flag: str, text: str) -> str:
    """Return a file by its full path, which a policy takes for one whatever its name ends with."""
    scheme, colon, _ = text.partition("://")
    if colon:
        raise UsageError(
            "a key is read from a file",
            where=f"--{flag}",
            found=shown(text),
            hint=f"write the public key of {scheme} to a file first: cosign public-key --key ...",
        )
    path = Path(text)
    return str(path.absolute()) if path.is_file() or is_file(text) else text
