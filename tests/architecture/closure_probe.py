"""Import all of the loader in this fresh process, and print what came with it as JSON.

closure_probe.py ROOT            refuse sockets and look-ups while importing
closure_probe.py ROOT NAME...    the same, without these modules, as in the frozen loader
closure_probe.py ROOT --control  try a connection, to show that the refusal works
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
import types
from collections.abc import Sequence
from importlib.machinery import ModuleSpec

REFUSED = ("socket.", "urllib.", "http.client", "ftplib.", "smtplib.", "os.system", "subprocess.")


def refuse(event: str, args: tuple[object, ...]) -> None:
    if event.startswith(REFUSED):
        raise PermissionError(f"while importing: {event} {args!r}")


class Absent:
    """Finds nothing, loudly, for the names that the frozen loader leaves out."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        del path, target
        if any(name == absent or name.startswith(f"{absent}.") for absent in self.names):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def main(root: str, names: list[str]) -> None:
    sys.path.insert(0, root)
    before = set(sys.modules)
    if names == ["--control"]:
        import socket  # noqa: PLC0415

        sys.addaudithook(refuse)
        socket.create_connection(("127.0.0.1", 9), timeout=1)
        return
    if names:
        for name in names:
            sys.modules.pop(name, None)
        # The module of this name in the frozen loader has nothing in it either.
        sys.modules["socket"] = types.ModuleType("socket")
        sys.meta_path.insert(0, Absent([name for name in names if name != "socket"]))
    sys.addaudithook(refuse)

    import loader  # noqa: PLC0415 (after the hook)

    ours = ["loader"]
    for module in pkgutil.walk_packages(loader.__path__, "loader."):
        if module.name != "loader.__main__":
            ours.append(module.name)
            importlib.import_module(module.name)
    print(json.dumps({"ours": ours, "loaded": sorted(set(sys.modules) - before)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
