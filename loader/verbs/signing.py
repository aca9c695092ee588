"""Who signs for this host: settled before a verb that writes a record cuts itself off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loader.state.signing import Signer
    from loader.verbs.call import Call


@contextlib.contextmanager
def signing(call: Call) -> Iterator[Signer | None]:
    """Give who signs: the program that `config.toml` names, or None for the key in a file.

    Raises:
        ConfigFileError: the configuration cannot be understood.
        RuntimeLoadError: the program is not there, or others may change it.
    """
    path = call.places.config
    if not path.exists():
        # Without it nothing is imported here: the launcher that is forked next stays small.
        yield None
        return
    from loader.config import Config  # noqa: PLC0415
    from loader.runtime.sign_command import open_signer  # noqa: PLC0415

    with open_signer(Config.read(path).sign_command, call.environment) as signer:
        yield signer
