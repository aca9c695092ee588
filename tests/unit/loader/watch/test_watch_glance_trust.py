"""A look at a bundle whose signature is judged under a TUF root that brought nothing yet."""

from __future__ import annotations

import os
from pathlib import Path

from loader.places import Places
from loader.policy.model import Policy
from loader.run import Host
from loader.state.floors import Floors
from loader.trust.store import TrustStore
from loader.watch.glance import glance
from loader.watch.spool import SpoolFile, identity_of
from tests.e2e.loading import POLICY, SIGNED_AT, Publisher
from tests.fakes.tuf_repository import TufRepository

GROWN = POLICY.replace('trusted-root = "trusted_root.json"', 'tuf-root = "root.json"').replace(
    'key = "packer"\n', 'key = "packer"\ntrusted-root = "acme"\nlog = "promise"\n'
)


def test_it_is_a_refusal_and_no_fault_of_the_folder(tmp_path: Path) -> None:
    """It was raised out of the look, and the file counted as one that could not be read."""
    publisher = Publisher()
    publisher.bundle(tmp_path / "1.tar.zst")
    (tmp_path / "root.json").write_bytes(TufRepository().roots[1])
    for name, raw in (("release", publisher.release), ("packer", publisher.packer)):
        (tmp_path / f"{name}.pub").write_bytes(raw.public_pem)
    policy = Policy.parse(GROWN.encode(), where="policy.toml")
    host = Host(
        places=Places.under(tmp_path),
        policy=policy,
        trust=TrustStore.open(policy, policy_directory=tmp_path),
        now=SIGNED_AT,
        version="0",
    )
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        status = os.stat("1.tar.zst", dir_fd=folder)
        file = SpoolFile(
            name="1.tar.zst",
            identity=identity_of(status),
            size=status.st_size,
            modified_at=status.st_mtime,
        )
        seen = glance(file, folder, host, Floors(), target=None, beat=lambda _: None)
    finally:
        os.close(folder)
    assert seen.refused == "trustroot.missing"
