"""Static Linux programs of some 200 bytes that print a line and exit with 0, made by hand.

They make an image that can really be run, with no compiler and no network.
"""

from __future__ import annotations

import struct

_BASE = 0x400000
_HEADER = 64
_PROGRAM_HEADER = 56
_MACHINES = {"amd64": 62, "arm64": 183}
_A64_LIMIT = 0xFFFF


def _amd64(length: int) -> bytes:
    code_after_lea = bytes.fromhex("ba") + struct.pack("<I", length)  # mov edx, length
    code_after_lea += bytes.fromhex("0f05")  # syscall
    code_after_lea += bytes.fromhex("b83c00000031ff0f05")  # exit(0)
    return (
        bytes.fromhex("b801000000bf01000000")  # write(1, ...
        + bytes.fromhex("488d35")  # lea rsi, [rip + ...]: the text follows the code
        + struct.pack("<I", len(code_after_lea))
        + code_after_lea
    )


def _arm64(length: int) -> bytes:
    if length > _A64_LIMIT:
        raise ValueError("the text is too long for one mov")

    def mov(register: int, value: int) -> int:
        return 0xD2800000 | value << 5 | register

    svc = 0xD4000001
    text_at = 4 * 8  # eight instructions
    adr_at = 4 * 2
    offset = text_at - adr_at
    adr_x1 = 0x10000000 | (offset & 3) << 29 | (offset >> 2) << 5 | 1
    words = [mov(8, 64), mov(0, 1), adr_x1, mov(2, length), svc, mov(8, 93), mov(0, 0), svc]
    return struct.pack("<8I", *words)


def hello(text: str = "hello from a fake image\n", architecture: str = "amd64") -> bytes:
    """An executable for linux/amd64 or linux/arm64 that prints the text."""
    message = text.encode()
    code = (_amd64 if architecture == "amd64" else _arm64)(len(message))
    size = _HEADER + _PROGRAM_HEADER + len(code) + len(message)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01" + bytes(9),
        2,  # ET_EXEC
        _MACHINES[architecture],
        1,
        _BASE + _HEADER + _PROGRAM_HEADER,
        _HEADER,
        0,
        0,
        _HEADER,
        _PROGRAM_HEADER,
        1,
        0,
        0,
        0,
    )
    program = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return header + program + code + message
