"""Runs `docker-credential-NAME get`: the server's name goes in, a user and a secret come out."""

from __future__ import annotations

import re
import shutil
import subprocess  # noqa: TID251  # a helper is a program of the user's, found on the user's PATH
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bundler.errors import CredentialError
from bundler.registry.credentials import Credential
from loader.errors import FormatError, shown
from loader.limits import MIB
from loader.model import strictjson
from loader.model.fields import Fields

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_ANSWER_SIZE_MAX: Final = 1 * MIB
_TOKEN_USER: Final = "<token>"  # noqa: S105  # the protocol's mark for a refresh token
_NOTHING_KEPT: Final = b"credentials not found"
"""How every helper begins to say that it keeps nothing for a server (docker-credential-helpers)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HelperPrograms:
    """Helpers on the user's PATH; see `bundler.registry.credentials.Helper`."""

    environment: Mapping[str, str]
    timeout_seconds: float = 120.0
    """A helper may ask its user for a password, or wait for a touch."""

    def __call__(self, name: str, server: str, /) -> Credential | None:
        """Return what the helper keeps for a server, or None where it keeps nothing.

        Raises:
            CredentialError: it is not there, fails, or answers something else.
        """
        program = f"docker-credential-{name}"
        path = (
            shutil.which(program, path=self.environment.get("PATH", ""))
            if _NAME.fullmatch(name)
            else None
        )
        if path is None:
            raise CredentialError(
                "a credential helper is not installed", where=server, found=shown(program)
            )
        try:
            done = subprocess.run(  # noqa: S603  # no shell; its name is of harmless characters
                [path, "get"],
                input=server.encode(),
                capture_output=True,
                check=False,
                env=dict(self.environment),
                timeout=self.timeout_seconds,
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            raise CredentialError(
                "a credential helper cannot be run", where=server, found=program
            ) from e
        if done.returncode != 0:
            said = done.stdout + done.stderr
            if _NOTHING_KEPT in said.lower():
                return None
            raise CredentialError(
                "a credential helper failed",
                where=server,
                found=f"{program}: {shown(done.stderr[:200].decode(errors='replace').strip())}",
            )
        return _answer(done.stdout, program)


def _answer(raw: bytes, program: str) -> Credential:
    try:
        document = strictjson.parse_object(
            raw, what="the answer", size_max=_ANSWER_SIZE_MAX, keys="exact", numbers="any"
        )
        fields = Fields(document, "")
        user, secret = fields.text("Username"), fields.text("Secret", length_max=_ANSWER_SIZE_MAX)
    except FormatError:
        # Without the cause: its message may quote the secret.
        raise CredentialError("a credential helper answers something else", found=program) from None
    if user == _TOKEN_USER:
        return Credential(identity_token=secret, source=program)
    return Credential(user=user, password=secret, source=program)
