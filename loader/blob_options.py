"""The options of `verify-blob`: a policy's keys with dashes before them. Imports nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from loader.policy.toml import TomlValue

HELP: Final = "verify a file and a Sigstore bundle about it"
_TEXTS: Final = (
    ("certificate-identity", "TEXT", "whom the certificate names, exactly"),
    ("certificate-identity-regexp", "RE2", "the same as a pattern that matches the whole of it"),
    ("certificate-oidc-issuer", "URL", "who vouched for that identity"),
    ("certificate-oidc-issuer-regexp", "RE2", "the same as a pattern"),
    ("key", "FILE|NAME", "or: whoever holds this key"),
    ("trusted-root", "FILE|NAME", "authorities and logs to judge by, as `sigstore` or `github`"),
)
_NUMBERS: Final = (
    ("sct", "certificate transparency logs that must know the certificate (default 1)"),
    ("timestamps", "timestamp authorities that must have seen the signature (default 0)"),
)


def declare(parser: argparse.ArgumentParser, path: Callable[[str], Path]) -> None:
    """Add the options."""
    parser.add_argument("file", type=path, metavar="FILE")
    parser.add_argument("--bundle", type=path, required=True, metavar="FILE", help="about FILE")
    for name, kind, words in _TEXTS:
        parser.add_argument(f"--{name}", metavar=kind, help=words)
    parser.add_argument(
        "--certificate-extension",
        metavar="NAME=TEXT",
        action="append",
        help="an extension of the certificate, by its name in docs/policy.md; may be repeated",
    )
    parser.add_argument(
        "--log",
        choices=("promise", "proof", "none"),
        help="what a log must have said (default promise; for a key alone none)",
    )
    for name, words in _NUMBERS:
        parser.add_argument(f"--{name}", type=int, metavar="N", help=words)
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")


def named(arguments: argparse.Namespace) -> Mapping[str, TomlValue]:
    """Return who must have signed, and how it must be recorded, by the keys of a policy."""
    found: dict[str, TomlValue] = {}
    for name in (*(one for one, *_ in _TEXTS), "log", *(one for one, _ in _NUMBERS)):
        value: str | int | None = getattr(arguments, name.replace("-", "_"))
        if value is not None:
            found[name] = value
    extensions: list[str] | None = arguments.certificate_extension
    if extensions:
        pairs = [text.partition("=") for text in extensions]
        found["certificate-extension"] = {name: value for name, _, value in pairs}
    return found
