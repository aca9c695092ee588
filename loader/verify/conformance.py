"""The client that sigstore-conformance drives (docs/cli_protocol.md), over the same procedure.

    verify-bundle [--staging] --bundle FILE
                  (--certificate-identity ID --certificate-oidc-issuer URL | --key PEM)
                  [--trusted-root FILE] FILE_OR_DIGEST

Exit status 0 accepts, any other refuses. The suite's rule is the common one of Sigstore clients: a
log entry always; for certificates also one SCT, and identity and issuer exactly as given. It is
written out here because policy files say more than this command line can.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loader.digest import Digest
from loader.errors import (
    AirlockError,
    AnchorFileError,
    ConditionError,
    IdentityError,
    InputError,
    UsageError,
    shown,
)
from loader.limits import DEFAULT_LIMITS, MIB
from loader.model.sigstore_bundle import SigstoreBundle
from loader.trust.keys import PublicKey
from loader.trust.store import BUILTIN_DIRECTORY
from loader.trust.trusted_root import TrustedRoot
from loader.verify.message import Message
from loader.verify.sigstore import CertificateSigner, KeySigner, Material, verify_artifact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loader.verify.sigstore import Signed

PRODUCTION: Final = BUILTIN_DIRECTORY / "sigstore" / "trusted_root.json"
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_PIECE: Final = 1 * MIB
_BUNDLE_MAX: Final = DEFAULT_LIMITS.evidence_size_max
HELD_MAX: Final = DEFAULT_LIMITS.evidence_size_max
"""Bytes of a file that are held: an Ed25519 signature is over the bytes, not over a digest."""


def verify_bundle_main(arguments: Sequence[str]) -> int:
    """Verify one bundle as the command line says, and return the exit status.

    Prints one line: who signed, or why not.
    """
    try:
        options = _parser().parse_args(arguments)
        signed = _verify(options)
    except AirlockError as e:
        print(f"error[{e.code}]: {e}", file=sys.stderr)  # noqa: T201 (this is a command)
        return e.exit_status
    print(f"verified: {_words(signed)}")  # noqa: T201
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override] # argparse exits, we raise
        raise UsageError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="verify-bundle", add_help=False, allow_abbrev=False)
    parser.add_argument("--staging", action="store_true")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--certificate-identity")
    parser.add_argument("--certificate-oidc-issuer")
    parser.add_argument("--key", type=Path)
    parser.add_argument("--trusted-root", type=Path)
    parser.add_argument("artifact")
    return parser


def _verify(options: argparse.Namespace) -> Signed:
    keyless = options.certificate_identity is not None
    if keyless == (options.key is not None) or keyless != (
        options.certificate_oidc_issuer is not None
    ):
        raise UsageError("either an identity with its issuer, or a key")
    if options.staging and options.trusted_root is None:
        raise UsageError("the staging root does not come with this program: use --trusted-root")
    root_path: Path = options.trusted_root or PRODUCTION
    material = Material(
        trusted_root=TrustedRoot.parse(
            _read(root_path, size_max=DEFAULT_LIMITS.trusted_root_size_max), name=str(root_path)
        ),
        key=None
        if options.key is None
        else PublicKey.parse(_read(options.key, size_max=_PIECE), name=str(options.key)),
    )
    bundle = SigstoreBundle.parse(_read(options.bundle, size_max=_BUNDLE_MAX), where="bundle")
    signed = verify_artifact(bundle, _artifact(options.artifact), material).value
    if keyless:
        _expect_identity(signed, options.certificate_identity, options.certificate_oidc_issuer)
    if not signed.logs:
        raise ConditionError("no entry in a log of the trusted root")
    return signed


def _expect_identity(signed: Signed, identity: str, issuer: str) -> None:
    signer = signed.signer
    if not isinstance(signer, CertificateSigner):
        raise IdentityError("signed by a key")
    for what, expected, found in (
        ("identity", identity, signer.san),
        ("issuer", issuer, signer.issuer),
    ):
        if expected != found:
            raise IdentityError(f"another {what}", expected=shown(expected), found=shown(found))
    if not signed.sct_count:
        raise ConditionError("no certificate timestamp (SCT) of a log of the trusted root")


def _artifact(text: str) -> Message:
    """Return the file, or only its digest: the suite gives either, and a file wins."""
    path = Path(text)
    if _DIGEST.fullmatch(text) is not None and not path.exists():
        return Message.of_digest(Digest.parse(text))
    try:
        size = path.stat().st_size
        if size <= HELD_MAX:
            return Message.of(path.read_bytes())
        return Message.of_chunks(_chunks(path))
    except OSError as e:
        raise InputError("the file cannot be read", where=text, found=e.strerror or "") from e


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_PIECE):
            yield chunk


def _read(path: Path, *, size_max: int) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(size_max + 1)
    except OSError as e:
        raise AnchorFileError(
            "a file cannot be read", where=str(path), found=e.strerror or ""
        ) from e
    if len(raw) > size_max:
        raise AnchorFileError("a file is too large", where=str(path))
    return raw


def _words(signed: Signed) -> str:
    match signed.signer:
        case KeySigner(name=name, fingerprint=fingerprint):
            return f"{signed.format} by key {name} (sha256 {fingerprint})"
        case CertificateSigner(san=san, issuer=issuer):
            return f"{signed.format} by {shown(san)} ({shown(issuer)})"
