"""`sign-command`: a program that signs for this host, behind a launcher as the runtimes are.

It is started from a fixed command line by a process that was forked before the loader cut itself
off, so a token's or TPM's own tools may do what they must; what they get is one record on standard
input, and what they give back is compared with the public key that was pinned, before it is used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, final

from loader.errors import AirlockError, InterruptedLoadError, RuntimeLoadError, StateKeyError
from loader.limits import KIB
from loader.model.fields import decode_base64
from loader.runtime.calls import Call, Client
from loader.runtime.clients import check_client, clean_environment
from loader.runtime.launcher import Launcher

if TYPE_CHECKING:
    from loader.config import SignCommand
    from loader.trust.keys import PublicKey

NAME: Final = "sign-command"
_ANSWER_SIZE_MAX: Final = 16 * KIB
_CALL: Final = "sign"


@final
class CommandSigner:
    """A signer that is a program; see `loader.state.signing.Signer`."""

    __slots__ = ("_launcher", "key")

    def __init__(self, launcher: Launcher, key: PublicKey) -> None:
        self._launcher = launcher
        self.key = key

    def sign(self, raw: bytes) -> bytes:
        """Return the signature that the program gives.

        Raises:
            StateKeyError: it fails, or says something else.
        """
        try:
            done = self._launcher.run(_CALL, stdin=iter((raw,)))
        except RuntimeLoadError as e:
            raise StateKeyError(
                "the sign-command gave no signature", where=NAME, found=str(e)
            ) from e
        if done.status != 0:
            raise StateKeyError(
                "the sign-command gave no signature",
                where=NAME,
                expected="status 0",
                found=f"status {done.status}: {done.stderr}",
            )
        try:
            return decode_base64(done.stdout.decode("ascii", "replace").strip(), where=NAME)
        except InterruptedLoadError:
            raise
        except AirlockError as e:
            raise StateKeyError(
                "what the sign-command says is no signature",
                where=NAME,
                expected="base64 on standard output",
                found=e.found,
            ) from e


@contextlib.contextmanager
def open_signer(
    command: SignCommand | None, environment: Mapping[str, str]
) -> Iterator[CommandSigner | None]:
    """Give the signer that the configuration names; None stands for the key in the state folder.

    To be entered while this process has one thread and still its network.

    Raises:
        RuntimeLoadError: the program is not there, or others may change it.
    """
    if command is None:
        yield None
        return
    client = Client(
        name=NAME,
        path=check_client(command.command.path),
        prefix=command.command.arguments,
        environment=clean_environment(environment),
        calls={
            _CALL: Call(
                arguments=(),
                stdin=True,
                stdout_size_max=_ANSWER_SIZE_MAX,
                seconds=command.command.seconds,
            )
        },
    )
    with Launcher.start(client) as launcher:
        yield CommandSigner(launcher, command.key)
