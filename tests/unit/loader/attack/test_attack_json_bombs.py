"""Documents that are small on disk and large once read: each stays below the published bounds.

Anybody who may push a referrer may make a loader read 32 MiB of JSON before any signature is seen.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loader.errors import JsonError, LimitError
from loader.limits import MIB
from loader.model import strictjson

ROOT = Path(__file__).parents[4]
MEMORY_MAX = 256 * MIB
SECONDS_MAX = 2.0
BEFORE = {
    "empty lists": 'b"[" + b"[]," * 11_000_000 + b"[]]"',
    "empty objects": 'b"[" + b"{}," * 11_000_000 + b"{}]"',
    "objects of one key": """b"[" + b'{"":0},' * 4_700_000 + b"{}]\"""",
    "numbers": 'b"[" + b"1," * 16_000_000 + b"1]"',
    "fractions": 'b"[" + b"1.5," * 8_000_000 + b"1]"',
    "strings": """b"[" + b'"ab",' * 6_500_000 + b"1]\"""",
    "keys": """b"{" + b",".join(b'"%x":0' % n for n in range(2_600_000)) + b"}\"""",
    "wide characters": """b'{"a":"' + b"x" * 33_000_000 + "\\U0001f600".encode() + b'"}'""",
    "wide escapes": """b'{"a":"' + b"x" * 33_000_000 + b'\\\\ud83d\\\\ude00"}'""",
    "nesting": 'b"[" * 33_000_000',
}
"""Expressions, so that a child builds the bomb and nothing is left in this process."""
MOST = {
    "objects of one key": """b"[" + b'{"":0},' * 499_990 + b"{}]\"""",
    "objects in objects": """b"[" + b'{"":{"":0}},' * 333_320 + b"{}]\"""",
    "objects of many keys": """b"[" + b",".join(b"{" + b",".join(b'"%x":0' % (n * 99_000 + k)
        for k in range(99_000)) + b"}" for n in range(10)) + b"]\"""",
    "strings": """b"[" + b'"ab",' * 999_990 + b"1]\"""",
    "characters of two bytes": """b'{"a":"' + b"x" * 33_000_000 + "\\u20ac".encode() + b'"}'""",
    "an error about a long string": """b'["' + "\\u20ac".encode() * 11_000_000 + b'"]'""",
}
"""What is let through, just below each limit."""
CHILD = """
import json, pathlib, time
from loader.errors import RefusedError
from loader.model import strictjson
from loader.model.fields import Fields
raw = {bomb}
start = time.process_time()
code = ""
try:
    value = strictjson.parse(raw, what="x", size_max=1 << 25, numbers="any")
    if isinstance(value, list) and isinstance(value[0], str):
        Fields({{"a": value[0]}}, "").integer("a")
except RefusedError as e:
    code = e.code
# `ru_maxrss` would count the parent's memory, which is that of a long run of tests.
status = pathlib.Path("/proc/self/status").read_text()
peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
print(json.dumps([code, time.process_time() - start, 1024 * int(peak)]))
"""


def read(bomb: str) -> tuple[str, float, int]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(bomb=bomb)],
        check=True,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    code, seconds, memory = json.loads(done.stdout)
    return code, seconds, memory


@pytest.mark.parametrize("name", BEFORE)
def test_a_bomb_is_refused_before_it_is_built(name: str) -> None:
    code, seconds, memory = read(BEFORE[name])
    assert code == "limit.exceeded"
    assert seconds < SECONDS_MAX
    # The child made the bomb itself, and of the keys a list of as many pieces.
    assert memory < MEMORY_MAX or name == "keys"


@pytest.mark.parametrize("name", MOST)
def test_what_is_let_through_stays_in_bounds(name: str) -> None:
    _, seconds, memory = read(MOST[name])
    assert seconds < SECONDS_MAX
    assert memory < MEMORY_MAX


def test_commas_in_strings_count_and_words_do_not() -> None:
    assert strictjson.parse(b'["' + b"x," * 999_990 + b'"]', what="x", size_max=1 << 25)
    with pytest.raises(LimitError, match="too many values"):
        strictjson.parse(b'["' + b"x," * 1_000_000 + b'"]', what="x", size_max=1 << 25)


def test_too_many_keys_of_one_object() -> None:
    raw = b"{" + b",".join(b'"%d":0' % n for n in range(100_001)) + b"}"
    with pytest.raises(LimitError, match="too many keys"):
        strictjson.parse(raw, what="x", size_max=1 << 25)
    with pytest.raises(JsonError, match="is not JSON"):
        strictjson.parse(raw[:-20], what="x", size_max=1 << 25)
