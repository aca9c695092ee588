"""Whom a TLS connection to a registry trusts, and which certificate it shows.

The system's authorities (or `SSL_CERT_FILE` in their place), those given with `--ca-file`, and what
lies in `certs.d/HOST/`, where docker looks too: `*.crt` are authorities, `NAME.cert` with
`NAME.key` is ours. A client certificate is shown to that host alone.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Final

import certifi

from bundler.errors import CertificateFileError
from bundler.registry.settings import RegistrySettings

_HOST: Final = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9.:\[\]_-]*", re.ASCII)


def context_for(host: str, settings: RegistrySettings) -> ssl.SSLContext:
    """Return the context for connections to `host` (with its port, where it has one).

    Raises:
        CertificateFileError: a file cannot be read, or holds no certificate or key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    named = settings.environment.get("SSL_CERT_FILE")
    if named:
        _trust(context, Path(named))
    else:
        context.load_default_certs()
        if not _system_has_authorities():
            _trust(context, Path(certifi.where()))
    for path in settings.ca_files:
        _trust(context, path)
    if _HOST.fullmatch(host):  # a redirect's host becomes part of a path here
        for folder in settings.certificate_folders:
            _read_folder(context, folder / host)
    return context


def trusting_nobody() -> ssl.SSLContext:
    """Return the context for a server that is spoken to without TLS: used, it fails."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _system_has_authorities() -> bool:
    paths = ssl.get_default_verify_paths()
    return paths.cafile is not None or (
        paths.capath is not None and any(Path(paths.capath).iterdir())
    )


def _read_folder(context: ssl.SSLContext, folder: Path) -> None:
    try:
        files = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as e:
        raise CertificateFileError(
            "a folder of certificates cannot be read", where=str(folder), found=e.strerror or ""
        ) from e
    for path in files:
        if path.suffix == ".crt":
            _trust(context, path)
        elif path.suffix == ".cert":
            key = path.with_suffix(".key")
            try:
                context.load_cert_chain(path, key, password="")
            except (OSError, ssl.SSLError, ValueError) as e:
                raise CertificateFileError(
                    "a client certificate cannot be used",
                    where=str(path),
                    expected=f"a PEM certificate, and its key without a password in {key.name}",
                ) from e


def _trust(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as e:
        raise CertificateFileError(
            "an authority's certificate cannot be used",
            where=str(path),
            expected="PEM certificates",
            found=str(e.strerror or ""),
        ) from e
