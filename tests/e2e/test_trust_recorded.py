"""What a record says of trust that moved: whose keys were taken, whose given up, which versions."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from loader.model.bundle import TrustEntry
from loader.model.descriptor import Descriptor
from tests.e2e import test_trust_that_grows
from tests.e2e.loading import REPOSITORY, FarSide
from tests.e2e.test_trust_that_grows import GROWN, NOTARY, Scene
from tests.fakes.content import ContentStore
from tests.fakes.images import hello_image
from tests.fakes.notaryworld import Repository
from tests.fakes.tuf_repository import plain_key

scene = test_trust_that_grows.scene


def lines(text: str, marked: str) -> list[str]:
    """What stands behind a mark, line by line."""
    return [line.partition(marked)[2] for line in text.splitlines() if marked in line]


def test_a_load_that_renews_a_root_says_what_changed(scene: Scene) -> None:
    host = scene.host()
    assert host.load(scene.bundle(1)).status == 0
    [first] = host.records()[-1]["trust"]
    assert (first["anchor"], first["before"], first["after"], first["lines"]) == (
        *("acme", "1", "1"),
        [],
    )
    assert {"name": "timestamp", "before": None, "after": "1"} in first["roles"]
    scene.repository.keys["root"] = [plain_key("one"), plain_key("two")]
    scene.repository.threshold["root"] = 2
    scene.repository.new_root()
    scene.repository.delegate("release", ["releases/*"], [plain_key("release")])
    scene.repository.publish()
    bundle = scene.bundle(2)
    shown = host.run("verify", bundle).out
    head = "acme: TUF root 1 to 2; timestamp 1 to 2, snapshot 1 to 2, targets 1 to 2, release 1"
    assert head in lines(shown, "  trust    ")
    assert len(host.records()) == 2, "verify writes nothing"
    loaded = host.load(bundle)
    assert loaded.status == 0, loaded.err
    [change] = host.records()[-1]["trust"]
    assert loaded.verdict["trust_changes"] == [change]
    assert (change["what"], change["before"], change["after"]) == ("TUF root", "1", "2")
    signs = [line[:8] for line in change["lines"]]
    assert signs == ["- root: ", "+ root: ", "+ root: ", "! root: "]
    assert {"name": "snapshot", "before": "1", "after": "2"} in change["roles"]
    history = lines(host.run("history").out, "       trust ")
    assert head in history
    assert "  ! root: 2 signatures are enough, before 1" in history
    why = lines(host.run("why", f"{REPOSITORY}:1").out, "  trust      ")
    assert why[0] == head
    assert [line for line in why if line.startswith("  - root: ")]
    recorded = json.loads(host.run("history", "--json").out)["records"][0]["record"]
    assert recorded["trust"] == [change]
    assert host.run("audit", "verify").status == 0
    # The same bundle once more moves nothing, and its record says so by saying nothing.
    assert host.load(bundle).status == 0
    assert host.records()[-1]["trust"] == []


def test_a_refused_bundle_took_nobodys_keys(scene: Scene) -> None:
    host = scene.host(policy=GROWN.replace('"root.json"', '"root.json"\nroot-change = "confirm"'))
    assert host.load(scene.bundle(1)).status == 0
    scene.repository.rotate("root")
    scene.repository.publish()
    bundle = scene.bundle(2)
    refused = host.load(bundle)
    assert refused.error.startswith("airlock: error[trustroot.unconfirmed]: ")
    assert "found root 2; - root: ecdsa-sha2-nistp256" in refused.error
    assert "; + root: ecdsa-sha2-nistp256" in refused.error
    assert host.records()[-1]["trust"] == []
    asked = host.run("trust", "import", bundle, stdin=subprocess.DEVNULL)
    assert asked.status == 15
    assert host.records()[-1]["trust"] == []
    assert host.run("trust", "import", bundle, "--yes").status == 0
    [change] = host.records()[-1]["trust"]
    assert (change["before"], change["after"], len(change["lines"])) == ("1", "2", 2)
    assert any("+ root: " in line for line in lines(host.run("history").out, "       trust "))


def test_a087_a_key_id_that_is_no_hash_is_said_wherever_it_comes_in(scene: Scene) -> None:
    scene.repository.keys["root"] = [plain_key("acme/root", keyid="abcd")]
    scene.repository.new_root()
    scene.repository.publish()
    host = scene.host()
    bundle = scene.bundle(1)
    said = "root 2: key ids that are not their keys' hashes, 'abcd'; nothing rests on them"
    loaded = host.load(bundle)
    assert loaded.verdict["warnings"] == [f"acme: {said}"]
    assert host.records()[-1]["warnings"] == [f"acme: {said}"]
    assert f"  warning  acme: {said}" in host.run("verify", bundle).out
    assert f"  warning: {said}" in host.run("trust", "import", bundle).out
    folder = scene.folder / "roots"
    folder.mkdir()
    for number, raw in scene.repository.roots.items():
        (folder / f"{number}.json").write_bytes(raw)
    assert f"warning: {said}" in host.run("trust", "diff", folder / "1.json", folder / "2.json").out
    assert "not their keys' hashes" in host.run("trust", "show", "acme").out


# --- content trust --------------------------------------------------------------------------------


GUN = "docker.io/acme/old"


def carrying(scene: Scene, number: int, files: dict[str, bytes], *, anchor: str = "hub") -> Path:
    """A bundle of the usual image that carries a Notary repository beside it."""
    store = ContentStore()
    image = hello_image(store, text=f"{number}\n", version=f"1.{number}")
    blobs = [Descriptor.make("application/json", raw) for raw in files.values()]
    for raw in files.values():
        store.add(raw, "application/json")
    entry = TrustEntry(
        anchor=anchor,
        kind="notary",
        blobs=tuple(blobs),
        repository=GUN,
        names=tuple(f"{name}.json" for name in files),
    )
    path = scene.folder / f"notary-{number}.tar.zst"
    scene.publisher.pack(
        path,
        store,
        [scene.publisher.entry(image, tag="1", days=number)],
        sequence=number,
        trust=[entry],
    )
    return path


@pytest.fixture
def notary() -> Repository:
    found = Repository(gun=GUN)
    found.publish()
    return found


@pytest.fixture
def pinned(scene: Scene, notary: Repository) -> FarSide:
    """A host that pins the repository's first root key."""
    host = scene.host(policy=NOTARY)
    pin = scene.folder / "pin.json"
    pin.write_text(json.dumps({"trust_pinning": {"certs": {GUN: notary.root_ids}}}))
    assert host.run("trust", "add", "hub", pin).status == 0
    return host


def test_a_bundles_notary_entries_are_imported(
    scene: Scene, notary: Repository, pinned: FarSide
) -> None:
    """Under the anchor that the entry is labelled with; broken, strange and older ones are not."""
    first = carrying(scene, 1, dict(notary.files))
    taken = pinned.run("trust", "import", first)
    assert (taken.status, taken.err) == (0, "")
    assert f"hub: Notary root of {GUN} 1, as before" in taken.out
    assert "REMEMBERED: hub" in taken.out
    assert pinned.target() == {}, "an import loads nothing"
    old = notary.root_ids[0]
    notary.rotate_root()
    second = carrying(scene, 2, dict(notary.publish()))
    before = pinned.memory()
    broken = carrying(scene, 3, {**notary.files, "targets": notary.files["snapshot"]})
    assert pinned.run("trust", "import", broken, "--yes").status in {11, 15}
    strange = Repository(gun=GUN, name="somebody")
    other = pinned.run("trust", "import", carrying(scene, 4, dict(strange.publish())), "--yes")
    assert other.error.startswith("airlock: error[trustroot.notary]: ")
    unasked = pinned.run("trust", "import", second, stdin=subprocess.DEVNULL)
    assert unasked.error.startswith("airlock: error[trustroot.unconfirmed]: ")
    assert f"  - root: ecdsa-x509 {old}" in unasked.out
    elsewhere = carrying(scene, 5, dict(notary.files), anchor="nobodys")
    assert pinned.run("trust", "import", elsewhere).status == 15, "no anchor is labelled so"
    assert pinned.memory() == before
    assert pinned.run("trust", "import", second, "--yes").status == 0
    [change] = pinned.records()[-1]["trust"]
    assert (change["anchor"], change["what"]) == ("hub", f"Notary root of {GUN}")
    assert (change["before"], change["after"]) == ("1", "2")
    assert f"- root: ecdsa-x509 {old}" in change["lines"]
    shown = pinned.run("trust", "show").out
    assert f"notary hub {GUN}: roots 1 to 2 seen\n" in shown
    assert f"    root: 1 of 1\n      ecdsa-x509 {notary.root_ids[0]}\n" in shown
    assert old in shown, "the pin, which stays where trust began"
    back = pinned.run("trust", "import", first, "--yes")
    assert back.error.startswith("airlock: error[rollback.notary]: ")


def test_no_reason_takes_back_what_signers_said(scene: Scene) -> None:
    """`--allow-downgrade` goes back in images. What a repository of trust said last, it said."""
    host = scene.host()
    older = scene.bundle(1)
    scene.repository.publish()
    assert host.load(scene.bundle(2)).status == 0
    before = host.untouched()
    refused = host.load(older, "--allow-downgrade", "the new one crashes")
    assert refused.error.startswith("airlock: error[trustroot.rollback]: ")
    assert "pack" in refused.err
    assert host.untouched() == before
    # The way back that there is: the older image, with today's metadata beside it.
    again = scene.folder / "again.tar.zst"
    scene.publisher.bundle(
        again, sequence=1, version="1.1", days=1, repository=scene.repository.files
    )
    assert host.load(again).status == 16
    let_in = host.load(again, "--allow-downgrade", "the new one crashes")
    assert let_in.status == 0, let_in.err


def under_content_trust(scene: Scene, number: int, notary: Repository) -> Path:
    """A bundle of one image of the repository, with what the repository says at this moment."""
    store = ContentStore()
    image = hello_image(store, text=f"{number}\n", version=f"1.{number}")
    notary.tag(f"1.{number}", image.store.read(image.digest))
    files = notary.publish("targets")
    for raw in files.values():
        store.add(raw, "application/json")
    carried = TrustEntry(
        anchor="hub",
        kind="notary",
        blobs=tuple(Descriptor.make("application/json", raw) for raw in files.values()),
        repository=GUN,
        names=tuple(f"{name}.json" for name in files),
    )
    entry = scene.publisher.entry(image, tag=f"1.{number}", signed=False, repository=GUN)
    path = scene.folder / f"old-{number}.tar.zst"
    scene.publisher.pack(path, store, [entry], channel=None, sequence=None, trust=[carried])
    return path


def test_no_reason_goes_back_behind_content_trust(
    scene: Scene, notary: Repository, pinned: FarSide
) -> None:
    first = under_content_trust(scene, 1, notary)
    second = under_content_trust(scene, 2, notary)
    loaded = pinned.load(second)
    assert loaded.status == 0, loaded.err
    before = pinned.untouched()
    for options in ((), ("--allow-downgrade", "the new one crashes")):
        refused = pinned.load(first, *options)
        assert refused.status == 16
        assert refused.error.startswith("airlock: error[rollback.notary]: ")
        assert "pack the image again" in refused.err
    assert pinned.untouched() == before
    assert pinned.records()[-1]["downgrade"] is None, "it let nothing in, and says so"
