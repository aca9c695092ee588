"""docs/format.md says what the code does: its commands run, its numbers are the limits."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import pytest

from bundler.pack.writer import FRAME_SIZE
from loader.archive.format import RECORD_SIZE, SIGNATURE_COUNT_MAX
from loader.limits import DEFAULT_LIMITS as LIMITS
from loader.limits import GIB, KIB, MIB
from loader.model.bundle import SCHEMA, SEQUENCE_MAX
from tests.adversarial.golden import golden

PAGE = (Path(__file__).parents[4] / "docs" / "format.md").read_text()


@pytest.mark.engine("zstd", "skopeo")
def test_its_commands_do_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "bundle.tar.zst").write_bytes(golden().archive(form="zstd"))
    block = re.search(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block[1]],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert hashlib.sha256(golden().statement.raw).hexdigest() in done.stdout
    assert str(golden().statement.raw, "ascii") in done.stdout
    assert '"Architecture"' in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("said", "number", "meant"),
    [
        ("32 MiB; that is", LIMITS.statement_size_max, 32 * MIB),
        ("200,000", LIMITS.member_count_max, 200_000),
        ("16, of 1 MiB each", LIMITS.statement_signature_size_max, MIB),
        ("16, of 1 MiB each", LIMITS.statement_signature_count_max, SIGNATURE_COUNT_MAX),
        ("32 MiB · 2 GiB", LIMITS.evidence_size_max, 32 * MIB),
        ("32 MiB · 2 GiB", LIMITS.metadata_size_max, 2 * GIB),
        ("64 MiB · 8 MiB · 3", LIMITS.frame_size_max, 64 * MIB),
        ("64 MiB · 8 MiB · 3", 1 << LIMITS.window_log_max, 8 * MIB),
        ("64 MiB · 8 MiB · 3", LIMITS.short_frame_count_max, 3),
        ("frames below 64 KiB", LIMITS.frame_size_min, 64 * KIB),
        ("10,000 · 512 · 10,000", LIMITS.image_count_max, 10_000),
        ("10,000 · 512 · 10,000", LIMITS.layer_count_max, 512),
        ("10,000 · 512 · 10,000", LIMITS.image_descriptor_count_max, 10_000),
        ("128 KiB · 64", LIMITS.supplement_size_max, 128 * KIB),
        ("128 KiB · 64", LIMITS.supplement_count_max, 64),
        ("64 · 19", LIMITS.json_depth_max, 64),
        ("64 · 19", LIMITS.json_integer_digits_max, 19),
        ("2^53−1 bytes", SEQUENCE_MAX, 2**53 - 1),  # noqa: RUF001  # a minus sign in print
        ("a multiple of 10,240", RECORD_SIZE, 10_240),
        ("every 4 MiB", FRAME_SIZE, 4 * MIB),
        ("| `schema` | 1 |", SCHEMA, 1),
    ],
)
def test_its_numbers_are_the_limits(said: str, number: int, meant: int) -> None:
    assert said in PAGE
    assert number == meant
