"""Every fixture that real tools made, through the judge, under the policy that it names."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loader.errors import RefusedError
from loader.judge import judge, judge_statement
from loader.policy.model import Policy
from loader.trust.store import TrustStore
from tests import presence
from tests.fakes.content import MANIFEST_TYPES, ContentStore, read_layout
from tests.fakes.images import Image
from tests.unit.loader.policy.judging import CREATED, NAME, Blobs, entry_of, statement_of, write

FIXTURES = presence.SHARED / "fixtures"
NOT_THE_JUDGES = {
    "flavour-cosign-save-bundle": "the signature lies in the blobs, and index.json misses it",
    "flavour-docker-archive": "no OCI layout",
    "n-blob-layer-changed": "layers are hashed while they are staged",
    "n-blob-layer-truncated": "layers are hashed while they are staged",
    "n-blob-layer-missing": "a missing member stops the reader",
    "n-blob-size-wrong": "index.json is made anew from the statement",
    "n-blob-index-changed": "the image is not in the layout, so nothing is packed",
    "n-blob-manifest-changed": "a platform is not in the layout, so nothing is packed",
    "n-blob-path-escape": "index.json is made anew from the statement",
}
"""Fixtures whose fault lies where the judge never looks; other tests have them."""
Fixture = dict[str, Any]


def _listed() -> list[Fixture]:
    path = FIXTURES / "fixtures.json"
    if not path.is_file():
        return []
    every: list[Fixture] = json.loads(path.read_bytes())["fixtures"]
    return [
        one
        for one in every
        if one["kind"] == "signature"
        and one["expect"] != "optional"
        and one["id"] not in NOT_THE_JUDGES
    ]


def _toml(value: object) -> str:
    return json.dumps(value)


def policy_of(fixture: Fixture) -> str:
    """The fixture's own words as a policy; formats are united, so `format` has no key."""
    verify = fixture["verify"]
    root = f"trusted-root = {_toml(verify['trusted_root'])}"
    lines = ['claim = "signature"']
    keys = fixture.get("threshold", {}).get("keys", [])
    if "also_signed_by" in fixture:
        keys = [verify["key"], fixture["also_signed_by"]]
    if keys:
        lines.append(f"any = [{', '.join(f'{{ key = {_toml(key)} }}' for key in keys)}]")
        lines.append(f"threshold = {len(keys)}")
    elif "key" in verify:
        lines.append(f"key = {_toml(verify['key'])}")
        if verify["require_tlog"] or verify["require_timestamp"]:
            lines.append(root)
    else:
        lines += [
            root,
            f"certificate-identity = {_toml(verify['identity'])}",
            f"certificate-oidc-issuer = {_toml(verify['issuer'])}",
        ]
    if "trusted-root" in "".join(lines):
        lines.append(f"log = {_toml('promise' if verify['require_tlog'] else 'none')}")
        lines.append(f"timestamps = {int(verify['require_timestamp'])}")
    if "source_repository" in verify:
        repository = f"source-repository-uri = {_toml(verify['source_repository'])}"
        lines.append(f"certificate-extension = {{ {repository} }}")
    if "annotations" in verify:
        pairs = ", ".join(f"{_toml(k)} = {_toml(v)}" for k, v in verify["annotations"].items())
        lines.append(f"annotations = {{ {pairs} }}")
    body = "\n".join(lines)
    return f"""
schema = 1
[[image]]
match = "registry.acme.example/acme/*"
name = "as-packed"
[[image.require]]
{body}
"""


def read_store(folder: Path) -> ContentStore:
    """A layout with all its manifests known, as a registry that ran on it would find them."""
    store = read_layout(folder)
    for digest in store.blobs:
        raw = store.read(digest)
        if digest in store.manifests or not raw.startswith(b"{") or len(raw) > 1 << 20:
            continue
        try:
            kind = json.loads(raw).get("mediaType")
        except ValueError:
            continue
        if kind in MANIFEST_TYPES:
            store.manifests[digest] = kind
    for entry in json.loads((folder / "index.json").read_bytes())["manifests"]:
        kind = entry.get("annotations", {}).get("kind", "")
        if kind.endswith("/sigs"):  # `cosign save` has no tags
            image = next(e for e in _entries(folder) if "/image" in e["annotations"]["kind"])
            store.tags[f"{image['digest'].replace(':', '-')}.sig"] = entry["digest"]
    return store


def _entries(folder: Path) -> list[Fixture]:
    entries: list[Fixture] = json.loads((folder / "index.json").read_bytes())["manifests"]
    return entries


@pytest.fixture
def layout(tmp_path: Path, shared_dir: Path, fixture: Fixture) -> Iterator[Path]:
    folder = tmp_path / "layout"
    with tarfile.open(shared_dir / "fixtures" / fixture["layout"]) as tar:
        for member in tar:
            if member.isfile():
                raw = tar.extractfile(member)
                assert raw is not None
                write(folder, {member.name: raw.read()})
    yield folder
    shutil.rmtree(folder)


CODES = {
    "n-identity-": "identity.mismatch",
    "n-san-": "identity.mismatch",
    "n-issuer-": "identity.mismatch",
    "n-no-signature": "no-evidence.claim",
    "n-att-as-signature": "no-evidence.claim",
    "n-key-wrong": "signature.unverified",
    "n-key-tlog-required": "policy.condition",
    "n-key-threshold": "policy.threshold",
    "n-legacy-annotation-": "policy.condition",
    "n-swapped-o": "signature.unverified",
    "n-child-only-signed": "policy.scope",
}
"""By the beginning of a fixture's name: the refusal that is right for it, not just any."""


@pytest.mark.parametrize("fixture", _listed(), ids=lambda f: f["id"])
def test_real_signatures_get_their_verdict(fixture: Fixture, layout: Path) -> None:
    store = read_store(layout)
    verdict, code, reason = "pass", "", ""
    try:
        _judge(fixture, store)
    except RefusedError as e:
        verdict, code, reason = "fail", e.code, str(e)
    assert verdict == fixture["expect"], f"{fixture['why']}\n{code}: {reason}"
    for name, expected in CODES.items():
        if verdict == "fail" and fixture["id"].startswith(name):
            assert code == expected, reason


def _judge(fixture: Fixture, store: ContentStore) -> None:
    policy = Policy.parse(policy_of(fixture).encode(), where=fixture["id"])
    trust = TrustStore.open(policy, policy_directory=FIXTURES)
    image = Image(store=store, descriptor=store.describe(fixture["image"]["digest"]))
    blobs = Blobs(store)
    statement = statement_of(entry_of(image, f"{NAME}:{fixture['image']['tag']}"), blobs=blobs)
    claims = judge_statement(statement, (), policy=policy, trust=trust, now=CREATED)
    judge(statement, claims, blobs, policy=policy, trust=trust, now=CREATED)
