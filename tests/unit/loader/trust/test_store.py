from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from loader.errors import AnchorFileError, TrustRootError
from loader.limits import Limits
from loader.policy.model import Policy
from loader.trust.keys import PublicKey
from loader.trust.store import BUILTIN_DIRECTORY, TrustStore
from loader.trust.trusted_root import TrustedRoot
from tests.fakes.sigworld.world import World
from tests.unit.loader.policy.judging import write

WORLD = World()
KEY = WORLD.managed("release")
OTHER = WORLD.managed("other")
ROOT = json.dumps(WORLD.trusted_root()).encode()
HEAD = """
schema = 1
[[image]]
match = "**"
[[image.require]]
claim = "signature"
"""
BY_KEY = HEAD + 'key = "release"\n'
BY_ROOT = (
    HEAD
    + """
trusted-root = "acme"
certificate-identity = "x@acme.example"
certificate-oidc-issuer = "https://issuer.acme.example"
"""
)


def opened(folder: Path, text: str, **options: object) -> TrustStore:
    policy = Policy.parse(text.encode(), where="policy.toml")
    options.setdefault("builtin", folder / "builtin")
    return TrustStore.open(policy, policy_directory=folder, **options)  # type: ignore[arg-type]


def test_the_first_place_that_has_a_name_decides(tmp_path: Path) -> None:
    keys = {where: WORLD.managed(where) for where in ("builtin", "host", "beside", "described")}
    write(tmp_path, {"builtin/release/key.pub": keys["builtin"].public_pem})

    def chosen(text: str = BY_KEY) -> str:
        store = opened(tmp_path, text, anchors_directory=tmp_path / "host")
        return next(n for n, k in keys.items() if store.key("release").spki == k.spki)

    assert chosen() == "builtin"
    write(tmp_path, {"host/release/cosign.pub": keys["host"].public_pem})
    assert chosen() == "host"
    write(tmp_path, {"anchors/release/release.pem": keys["beside"].public_pem})
    assert chosen() == "beside"
    write(tmp_path, {"k/described.pub": keys["described"].public_pem})
    assert chosen(BY_KEY + '[anchor.release]\nkey = "k/described.pub"\n') == "described"


@pytest.mark.parametrize("name", ["release.pub", "keys/release.pub", "./keys/x", "keys/../k.pem"])
def test_a_key_may_be_a_file_beside_the_policy(tmp_path: Path, name: str) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / name).write_bytes(KEY.public_pem)
    store = opened(tmp_path, HEAD + f'key = "{name}"\n')
    assert store.key(name).fingerprint == KEY.key_id.hex()


def test_an_absolute_file(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.pub"
    path.write_bytes(KEY.spki)
    store = opened(tmp_path / "x", HEAD + f'key = "{path}"\n')
    anchor = store.anchors[0]
    assert (anchor.kind, anchor.fingerprint, anchor.origin) == ("key", KEY.key_id.hex(), str(path))


def test_a_trusted_root(tmp_path: Path) -> None:
    write(tmp_path, {"anchors/acme/trusted_root.json": ROOT})
    store = opened(tmp_path, BY_ROOT)
    assert isinstance(store.trusted_root("acme"), TrustedRoot)
    anchor = store.find("acme")
    assert anchor is not None
    assert (anchor.kind, len(anchor.fingerprint)) == ("trusted-root", 64)
    by_file = opened(tmp_path, BY_ROOT.replace('"acme"', '"anchors/acme/trusted_root.json"'))
    assert by_file.anchors[0].fingerprint == anchor.fingerprint


def test_a_name_is_one_thing_only(tmp_path: Path) -> None:
    write(tmp_path, {"anchors/release/key.pub": KEY.public_pem})
    store = opened(tmp_path, BY_KEY)
    assert isinstance(store.key("release"), PublicKey)
    for wrong in (store.trusted_root, store.key):
        with pytest.raises(AnchorFileError):
            wrong("nobody")
    assert store.find("nobody") is None


def test_names_that_are_nowhere(tmp_path: Path) -> None:
    write(tmp_path, {"builtin/acmee/trusted_root.json": ROOT})
    with pytest.raises(TrustRootError) as caught:
        opened(tmp_path, BY_ROOT)
    assert (caught.value.exit_status, caught.value.hint) == (15, "is 'acmee' meant?")
    with pytest.raises(AnchorFileError) as missing:
        opened(tmp_path, BY_KEY)
    assert missing.value.exit_status == 2


@pytest.mark.parametrize("described", [True, False])
def test_a_trusted_root_may_have_any_name(tmp_path: Path, described: bool) -> None:  # noqa: FBT001
    """`root.json` is a TUF root where a folder holds it, and what somebody calls it elsewhere."""
    write(tmp_path, {"root.json": ROOT})
    text = BY_ROOT if described else BY_ROOT.replace('"acme"', '"./root.json"')
    more = "[anchor.acme]\ntrusted-root = 'root.json'\n" if described else ""
    [anchor] = opened(tmp_path, text + more).anchors
    assert (anchor.kind, anchor.tuf) == ("trusted-root", None)


def test_two_keys_in_one_folder_are_a_question(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"anchors/release/a.pub": KEY.public_pem, "anchors/release/b.pem": OTHER.public_pem},
    )
    with pytest.raises(AnchorFileError, match="more than one"):
        opened(tmp_path, BY_KEY)


@pytest.mark.parametrize("raw", [b"", b"garbage", b"-----BEGIN PUBLIC KEY-----\n", ROOT])
def test_what_is_no_key_is_refused(tmp_path: Path, raw: bytes) -> None:
    write(tmp_path, {"anchors/release/key.pub": raw})
    with pytest.raises(AnchorFileError) as caught:
        opened(tmp_path, BY_KEY)
    assert "key.pub" in caught.value.where


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"mediaType":1}', KEY.public_pem])
def test_what_is_no_trusted_root_is_refused(tmp_path: Path, raw: bytes) -> None:
    write(tmp_path, {"anchors/acme/trusted_root.json": raw})
    with pytest.raises(AnchorFileError):
        opened(tmp_path, BY_ROOT)


def test_a_private_key_is_never_an_anchor(tmp_path: Path) -> None:
    write(tmp_path, {"anchors/release/key.pem": KEY.private_pem})
    with pytest.raises(AnchorFileError):
        opened(tmp_path, BY_KEY)


def test_files_that_are_no_files_do_not_hang(tmp_path: Path) -> None:
    folder = tmp_path / "anchors" / "release"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "key.pub")
    with pytest.raises(AnchorFileError, match="regular"):
        opened(tmp_path, BY_KEY)
    (folder / "key.pub").unlink()
    (folder / "key.pub").mkdir()
    with pytest.raises(AnchorFileError, match="regular"):
        opened(tmp_path, BY_KEY)
    with pytest.raises(AnchorFileError, match="cannot be read"):
        opened(tmp_path, HEAD + 'key = "gone/key.pub"\n')


def test_anchors_have_a_size(tmp_path: Path) -> None:
    write(tmp_path, {"anchors/acme/trusted_root.json": ROOT})
    with pytest.raises(AnchorFileError, match="too large"):
        opened(tmp_path, BY_ROOT, limits=Limits(trusted_root_size_max=len(ROOT) - 1))
    assert opened(tmp_path, BY_ROOT, limits=Limits(trusted_root_size_max=len(ROOT)))


def test_only_what_the_policy_names_is_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"anchors/release/key.pub": KEY.public_pem, "anchors/broken/key.pub": b"garbage"},
    )
    assert [anchor.name for anchor in opened(tmp_path, BY_KEY).anchors] == ["release"]


def test_what_came_with_the_program_is_there(tmp_path: Path) -> None:
    text = BY_ROOT.replace('"acme"', '"sigstore"')
    text += BY_ROOT.replace('"acme"', '"github"').replace("schema = 1", "")
    text += BY_KEY.replace('"release"', '"dangerzone"').replace("schema = 1", "")
    store = opened(tmp_path, text, builtin=BUILTIN_DIRECTORY)
    assert [(a.name, a.kind) for a in store.anchors] == [
        ("sigstore", "trusted-root"),
        ("github", "trusted-root"),
        ("dangerzone", "key"),
    ]
