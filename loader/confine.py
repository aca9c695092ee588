"""Cut this process off from every network, before it opens what somebody else wrote.

First a network namespace of its own, where the system allows one: no interface, no route, no
neighbour. Then, always, a seccomp filter: `socket()` and `socketpair()` make `AF_UNIX` and nothing
else, and the ways around `socket()` (io_uring, another process's sockets, another namespace) are
closed. A deliberate attempt at the end shows that the filter holds; without it the loader reads
nothing at all.

The only module that calls the C library by hand. Runtime clients do not pass through here: they are
children of a launcher that was forked before.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import stat
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from loader.errors import ConfinementError

Sockets: TypeAlias = Literal["unix", "none"]
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_SET_MODE_FILTER: Final = 1
_SECCOMP_FILTER_FLAG_TSYNC: Final = 1
_SOL_SOCKET: Final = 1
_SO_DOMAIN: Final = 39
_AF_UNIX: Final = 1
_SOCK_STREAM: Final = 1
_CONTROLS: Final = {"AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16, "AF_PACKET": 17, "AF_VSOCK": 40}
"""Families that the deliberate attempt tries; numbers of linux/socket.h."""
_FD_COUNT_MAX: Final = 4096

# Classic BPF over struct seccomp_data: number at 0, architecture at 4, first argument at 16.
_LOAD_WORD: Final = 0x20
_JUMP_EQUAL: Final = 0x15
_JUMP_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06
_NUMBER_OFFSET: Final = 0
_ARCHITECTURE_OFFSET: Final = 4
_FIRST_ARGUMENT_OFFSET: Final = 16
_KILL_PROCESS: Final = 0x80000000
_DENY: Final = 0x00050000 | errno.EPERM
_ALLOW: Final = 0x7FFF0000
_X32_BIT: Final = 0x40000000
_NO_CALL: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class _Architecture:
    """Numbers of system calls, from the kernel's tables; both machines are little-endian."""

    audit: int
    seccomp: int
    sockets: tuple[int, ...]
    """socket, socketpair: `AF_UNIX` only."""
    connect: int
    denied: tuple[int, ...]
    """Other ways to a socket: ptrace, process_vm_writev, pidfd_getfd, setns, io_uring_*."""
    has_x32: bool


_IO_URING: Final = (425, 426, 427)
_ARCHITECTURES: Final = {
    "x86_64": _Architecture(
        audit=0xC000003E,
        seccomp=317,
        sockets=(41, 53),
        connect=42,
        denied=(101, 311, 438, 308, *_IO_URING),
        has_x32=True,
    ),
    "aarch64": _Architecture(
        audit=0xC00000B7,
        seccomp=277,
        sockets=(198, 199),
        connect=203,
        denied=(117, 271, 438, 268, *_IO_URING),
        has_x32=False,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """How this process was cut off; the verdict says it."""

    how: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(self.how)


def cut_off(*, sockets: Sockets = "unix") -> Confinement:
    """Leave this process, for the rest of its life, without any network.

    Call it while there is one thread, and after everything was forked that needs a network.

    Args:
        sockets: `none` takes those of this machine too: no daemon can be spoken to any more, by
            whatever path its socket has (T51).

    Raises:
        ConfinementError: a network socket was inherited, the filter cannot be installed, or the
            deliberate attempt at a socket was not refused.
    """
    architecture = _ARCHITECTURES.get(platform.machine())
    if architecture is None:
        raise ConfinementError(
            "no system call filter for this machine",
            expected=" or ".join(_ARCHITECTURES),
            found=platform.machine(),
        )
    libc = ctypes.CDLL(None, use_errno=True)
    _refuse_inherited_sockets(libc)
    how = _leave_network(libc)
    _install_filter(libc, architecture, sockets=sockets)
    _attempt(libc, {**_CONTROLS, "AF_UNIX": _AF_UNIX} if sockets == "none" else _CONTROLS)
    said = "no sockets at all" if sockets == "none" else "sockets are AF_UNIX only"
    return Confinement(how=(*how, f"seccomp: {said}", "no new privileges"))


def _refuse_inherited_sockets(libc: ctypes.CDLL) -> None:
    """A socket that was open before survives both cuts; whoever started us must not hand one in."""
    for fd in _open_fds():
        try:
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                continue
        except OSError:
            continue
        domain, size = ctypes.c_int(-1), ctypes.c_uint(ctypes.sizeof(ctypes.c_int))
        got = libc.getsockopt(fd, _SOL_SOCKET, _SO_DOMAIN, ctypes.byref(domain), ctypes.byref(size))
        if got != 0 or domain.value != _AF_UNIX:
            raise ConfinementError(
                "a network socket was handed to the loader when it was started",
                where=f"file descriptor {fd}",
                hint="start the loader from a shell or a service without socket activation",
            )


def _open_fds() -> list[int]:
    try:
        return sorted(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    except OSError:
        return list(range(_FD_COUNT_MAX))


def _leave_network(libc: ctypes.CDLL) -> tuple[str, ...]:
    """Move into an empty network namespace where this is allowed; say how."""
    if os.geteuid() == 0:
        # Not with a user namespace: root would lose its rights over files of other users.
        return ("network namespace",) if libc.unshare(_CLONE_NEWNET) == 0 else ()
    # Tried in a child first: Ubuntu since 23.10 grants the namespace and then no user in it, and
    # from there is no way back to who we were. The filter alone cuts us off as well.
    if not _tried(lambda: _enter_own_namespaces(libc)):
        return ()
    try:
        _enter_own_namespaces(libc)
    except OSError as e:
        raise ConfinementError(
            "the loader's own user namespace could not be set up", found=str(e.strerror)
        ) from e
    return ("network namespace (in a user namespace)",)


def _enter_own_namespaces(libc: ctypes.CDLL) -> None:
    """Move into a user namespace with an empty network.

    Raises:
        OSError: it is not allowed; what is left of this process's identity is not known.
    """
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), _last_error())
    # The same names inside as outside: files keep their owner.
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")


def _tried(step: Callable[[], None]) -> bool:
    """Tell whether a step succeeds in a child, which ends with it."""
    child = os.fork()
    if not child:
        status = 1
        try:
            step()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def _install_filter(
    libc: ctypes.CDLL, architecture: _Architecture, *, sockets: Sockets = "unix"
) -> None:
    program = _program(architecture, sockets=sockets)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise ConfinementError("privileges cannot be given up", found=_last_error())
    raw = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    instructions = ctypes.create_string_buffer(raw, len(raw))
    # struct sock_fprog: how many instructions, and where.
    arguments = struct.pack("@HP", len(program), ctypes.addressof(instructions))
    got = libc.syscall(
        ctypes.c_long(architecture.seccomp),
        ctypes.c_long(_SECCOMP_SET_MODE_FILTER),
        ctypes.c_long(_SECCOMP_FILTER_FLAG_TSYNC),
        ctypes.c_char_p(arguments),
    )
    if got != 0:
        raise ConfinementError(
            "the system call filter cannot be installed",
            expected="seccomp(SECCOMP_SET_MODE_FILTER)",
            found=_last_error() if got < 0 else "a thread that could not be brought along",
        )


def _program(
    architecture: _Architecture, *, sockets: Sockets = "unix"
) -> list[tuple[int, int, int, int]]:
    """Return the filter as (code, jump if true, jump if false, operand)."""
    numbers = [*((number, "deny") for number in architecture.denied)]
    if sockets == "none":
        numbers += [(number, "deny") for number in (*architecture.sockets, architecture.connect)]
    else:
        numbers += [(number, "domain") for number in architecture.sockets]
    head = [
        (_LOAD_WORD, 0, 0, _ARCHITECTURE_OFFSET),
        # Another architecture's numbers mean other calls: no filter holds there.
        (_JUMP_EQUAL, 1, 0, architecture.audit),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD_WORD, 0, 0, _NUMBER_OFFSET),
    ]
    if architecture.has_x32:
        head += [
            (_JUMP_AT_LEAST, 0, 3, _X32_BIT),
            # -1 is no call at all; a tracer that answers in the kernel's place puts it there.
            (_JUMP_EQUAL, 0, 1, _NO_CALL),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _KILL_PROCESS),
        ]
    # Behind the comparisons stand four instructions: allow, load the domain, compare it, deny.
    # A jump counts from the next instruction; `left` is how many comparisons still come.
    compared = []
    for position, (number, then) in enumerate(numbers):
        left = len(numbers) - position - 1
        compared.append((_JUMP_EQUAL, left + (1 if then == "domain" else 3), 0, number))
    tail = [
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD_WORD, 0, 0, _FIRST_ARGUMENT_OFFSET),
        (_JUMP_EQUAL, 1, 0, _AF_UNIX),
        (_RETURN, 0, 0, _DENY),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return head + compared + tail


def _attempt(libc: ctypes.CDLL, families: Mapping[str, int]) -> None:
    """Try to make sockets, and insist on being refused: a filter nobody tried is a hope."""
    for name, family in families.items():
        ctypes.set_errno(0)
        fd = libc.socket(family, _SOCK_STREAM, 0)
        if fd >= 0:
            os.close(fd)
        if fd >= 0 or ctypes.get_errno() != errno.EPERM:
            raise ConfinementError(
                "the loader could not cut itself off from the network",
                where=f"a deliberate socket({name})",
                expected="EPERM",
                found="a socket" if fd >= 0 else _last_error(),
            )


def _last_error() -> str:
    return errno.errorcode.get(ctypes.get_errno(), "an unknown error")
