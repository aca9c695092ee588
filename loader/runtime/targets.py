"""`--into TARGET`: which runtime is meant, opened before the loader gives up its network."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, assert_never

from loader.errors import UsageError, shown
from loader.runtime.containerd import Containerd, containerd_client
from loader.runtime.docker import Docker, docker_client
from loader.runtime.image_folder import FOLDERS, ImageFolder
from loader.runtime.launcher import Launcher
from loader.runtime.oci_layout import OciLayout
from loader.runtime.podman import Podman, podman_client
from loader.runtime.registry import Registry, push_client
from loader.runtime.relocation import Destination

if TYPE_CHECKING:
    from loader.runtime.base import Runtime

TARGETS: Final = (
    "oci:DIR, docker, podman, containerd, containerd:NAMESPACE, registry:HOST/PREFIX,"
    " images:DIR, k3s, rke2 or k0s"
)
MACHINES: Final = {
    "x86_64": "linux/amd64",
    "aarch64": "linux/arm64",
    "armv7l": "linux/arm/v7",
    "armv6l": "linux/arm/v6",
    "i686": "linux/386",
    "ppc64le": "linux/ppc64le",
    "riscv64": "linux/riscv64",
    "s390x": "linux/s390x",
}
"""What a runtime on this machine runs, by the kernel's name of it."""
_FORMS: Final = "one of " + TARGETS


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where images go."""

    runtime: Literal["oci", "docker", "podman", "containerd", "registry", "images"]
    argument: str = ""
    """The layout's folder, containerd's namespace where one is given, registry and prefix."""

    @property
    def takes_all_platforms(self) -> bool:
        """Whether it keeps images for others to run: this machine's platform says nothing there."""
        return self.runtime in {"oci", "registry"}

    def __str__(self) -> str:
        return f"{self.runtime}:{self.argument}" if self.argument else self.runtime


def parse_target(text: str) -> Target:
    """Return the target that a command line names.

    Raises:
        UsageError: no such runtime, or an argument that it does not take.
    """
    runtime, colon, argument = text.partition(":")
    match runtime:
        case "oci" if argument and "\0" not in argument:
            return Target(runtime="oci", argument=argument)
        case "docker" | "podman" if not colon:
            return Target(runtime=runtime)
        case "containerd" if bool(colon) == bool(argument):
            return Target(runtime="containerd", argument=argument)
        case "images" if argument and "\0" not in argument:
            return Target(runtime="images", argument=argument)
        case "k3s" | "rke2" | "k0s" if not colon:
            return Target(runtime="images", argument=FOLDERS[runtime])
        case "registry" if argument:
            return Target(runtime="registry", argument=str(Destination.parse(argument)))
        case _:
            raise UsageError("not a target", where="--into", expected=_FORMS, found=shown(text))


@contextlib.contextmanager
def open_target(
    target: Target, environment: Mapping[str, str], *, client: Path | None = None
) -> Iterator[Runtime]:
    """Give the runtime, with its launcher forked and its daemon seen to answer.

    To be entered while this process has one thread and still its network; the runtime works on
    when both are gone.

    Args:
        target: what was asked for.
        environment: where the runtime's own variables (DOCKER_HOST and so on) are looked up.
        client: another program than the system's client.

    Raises:
        RuntimeAbsentError: it is not there.
        RuntimeLoadError: it cannot be used safely.
        UsageError: its namespace is not a name.
    """
    if target.runtime == "oci" or target.runtime == "images":  # noqa: PLR1714  (mypy narrows this)
        folder: Runtime
        match target.runtime:
            case "oci":
                folder = OciLayout(Path(target.argument))
            case "images":
                folder = ImageFolder(Path(target.argument))
        folder.probe()
        yield folder
        return
    with contextlib.ExitStack() as stack:
        runtime: Runtime
        match target.runtime:
            case "docker":
                chosen = docker_client(environment, client=client)
                runtime = Docker(stack.enter_context(Launcher.start(chosen)))
            case "podman":
                chosen = podman_client(environment, client=client)
                runtime = Podman(stack.enter_context(Launcher.start(chosen)))
            case "containerd":
                chosen = containerd_client(
                    environment, namespace=target.argument or None, client=client
                )
                runtime = Containerd(stack.enter_context(Launcher.start(chosen)))
            case "registry":
                destination = Destination.parse(target.argument)
                chosen = push_client(environment, destination, client=client)
                runtime = Registry(stack.enter_context(Launcher.start(chosen)), destination)
        runtime.probe()
        yield runtime


def target_key(target: Target, environment: Mapping[str, str]) -> str:
    """Return what tells this target from others on this host: what we put in one is not in all."""
    match target.runtime:
        case "oci" | "images":
            return f"{target.runtime}:{Path(target.argument).resolve()}"
        case "docker":
            key, further = "docker", environment.get("DOCKER_HOST")
        case "podman":
            key, further = "podman", None
        case "containerd":
            space = target.argument or environment.get("CONTAINERD_NAMESPACE") or "default"
            key, further = f"containerd:{space}", environment.get("CONTAINERD_ADDRESS")
        case "registry":
            return f"registry:{target.argument}"
        case _:
            assert_never(target.runtime)
    return f"{key} at {further}" if further else key


def host_platform() -> str:
    """Return the platform that this machine runs.

    Raises:
        UsageError: it is none that is known.
    """
    machine = os.uname().machine
    if machine not in MACHINES:
        raise UsageError(
            "which platform this machine runs is not known",
            found=machine,
            hint="say it: --platform OS/ARCH",
        )
    return MACHINES[machine]
