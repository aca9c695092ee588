"""A policy that pins channels: nothing is packed that the far side would not take."""

from __future__ import annotations

import pytest

from tests.e2e import test_pack_line
from tests.e2e.test_pack_line import Bench

bench = test_pack_line.bench


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (("--channel", "stable", "--sequence", "1"), 0),
        (("--channel", "nightly", "--sequence", "1"), 14),
        ((), 14),
    ],
    ids=["its own", "another", "none"],
)
def test_a_bundle_is_packed_for_the_hosts_channel(
    bench: Bench, options: tuple[str, ...], status: int
) -> None:
    policy = bench.folder / "policy.toml"
    policy.write_text(policy.read_text() + '\n[bundle]\nchannels = ["stable"]\n')
    done = bench.pack(bench.reference, *options)
    assert done.returncode == status, done.stderr
    if status:
        assert "airlock: error[policy.channel]: " in done.stderr
        assert bench.left() == set()
