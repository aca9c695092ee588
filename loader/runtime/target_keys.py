"""From a target as the ledger keys it back to the target (`targets.target_key`).

A daemon at another socket, a containerd namespace, a folder: each is a place of its own. What the
environment said when something was loaded is part of the key, so that a later look, started by a
timer with another environment, asks the same place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from loader.runtime.targets import parse_target

if TYPE_CHECKING:
    from loader.runtime.targets import Target

_AT: Final = " at "
_VARIABLES: Final = {"docker": "DOCKER_HOST", "containerd": "CONTAINERD_ADDRESS"}


def target_of(key: str, environment: Mapping[str, str]) -> tuple[Target, dict[str, str]]:
    """Return the target that a key names, and the environment that leads there.

    Raises:
        UsageError: it names none that this loader knows.
    """
    runtime = key.partition(":")[0].partition(_AT)[0]
    variable = _VARIABLES.get(runtime)
    text, at, further = key.partition(_AT) if variable is not None else (key, "", "")
    settled = dict(environment)
    if variable is not None:
        settled.pop(variable, None)
        if at:
            settled[variable] = further
    return parse_target(text), settled
