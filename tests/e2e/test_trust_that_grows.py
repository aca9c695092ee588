"""A TUF root that a host pinned once: what bundles bring, what is remembered, and what never is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.loading import POLICY, FarSide, Publisher, Ran
from tests.fakes.content import encode
from tests.fakes.images import Layer
from tests.fakes.notaryworld import Key, Repository
from tests.fakes.tuf_repository import TufRepository
from tests.presence import ROOT

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "PYTHONPATH": str(ROOT),
    "PYTHONDONTWRITEBYTECODE": "1",
}
GROWN = POLICY.replace('trusted-root = "trusted_root.json"', 'tuf-root = "root.json"')


class Scene:
    """A publisher with a TUF repository, and hosts that pinned its first root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.publisher = Publisher()
        self.repository = TufRepository()
        self.repository.target("trusted_root.json", encode(self.publisher.world.trusted_root()))
        self.repository.publish()

    def host(self, name: str = "host", policy: str = GROWN) -> FarSide:
        root = self.publisher.write_host(self.folder / name)
        (root / "etc/airlock/policy.toml").write_text(policy)
        (root / "etc/airlock/root.json").write_bytes(self.repository.roots[1])
        return FarSide(root, self.folder / f"{name}-loaded")

    def bundle(self, sequence: int, *, carrying: bool = True, **options: object) -> Path:
        path = self.folder / f"{sequence}.tar.zst"
        files = self.repository.files if carrying else None
        self.publisher.bundle(
            path,
            sequence=sequence,
            version=f"1.{sequence}",
            days=sequence,
            repository=files,
            **options,  # type: ignore[arg-type]
        )
        return path


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def seen(host: FarSide) -> dict[str, str]:
    """Version of the newest root and of the timestamp that a host remembers."""
    rows = [row for row in host.memory().get("trust", []) if row[0] == "tuf"]
    assert len(rows) <= 1
    if not rows:
        return {}
    document = json.loads(str(rows[0][2]))
    versions = {name: role["version"] for name, role in document["roles"].items()}
    return {"root": str(max(map(int, document["roots"]))), "timestamp": versions["timestamp"]}


def test_a_load_remembers_and_a_verify_does_not(scene: Scene) -> None:
    host = scene.host()
    bundle = scene.bundle(1)
    assert host.verify(bundle).status == 0
    assert seen(host) == {}
    done = host.load(bundle)
    assert done.status == 0, done.err
    assert done.verdict["trust"] == [{"anchor": "acme", "kind": "tuf", "holds": "chains"}]
    assert done.verdict["repositories"][0]["root"] == 1
    assert seen(host) == {"root": "1", "timestamp": "1"}


def test_the_next_bundle_need_not_carry_it(scene: Scene) -> None:
    host = scene.host()
    without = scene.bundle(2, carrying=False)
    assert host.load(without).status == 15
    assert host.load(scene.bundle(1)).status == 0
    done = host.load(without)
    assert done.status == 0, done.err


def test_a_rotated_root_is_taken_with_the_bundle_that_brings_it(scene: Scene) -> None:
    host = scene.host()
    assert host.load(scene.bundle(1)).status == 0
    scene.repository.rotate("root")
    scene.repository.rotate("timestamp", "snapshot")
    scene.repository.publish()
    assert host.load(scene.bundle(2)).status == 0
    assert seen(host) == {"root": "3", "timestamp": "2"}


def test_a094_a_good_update_in_a_bundle_that_fails_later(scene: Scene) -> None:
    """The root chains; a layer is broken: nothing is remembered, and one line says why."""
    host = scene.host()
    assert host.load(scene.bundle(1)).status == 0
    scene.repository.rotate("root")
    scene.repository.publish()
    bundle = scene.bundle(2, extra=[Layer.noise(300_000, seed=7)], form="plain")
    raw = bytearray(bundle.read_bytes())
    raw[-150_000] ^= 1
    bundle.write_bytes(raw)
    before = host.untouched()
    done = host.load(bundle)
    assert done.status == 19, done.err
    assert host.untouched() == before
    assert seen(host) == {"root": "1", "timestamp": "1"}
    assert host.records()[-1]["outcome"] == "refused"


def test_a_broken_link_refuses_the_bundle_and_leaves_one_line(scene: Scene) -> None:
    host = scene.host()
    assert host.load(scene.bundle(1)).status == 0
    scene.repository.rotate("root")
    scene.repository.publish()
    scene.repository.roots[2] = scene.repository.roots[1]
    before = host.untouched()
    done = host.load(scene.bundle(2))
    assert done.status == 15
    assert done.error.startswith("airlock: error[trustroot.version]: ")
    assert host.untouched() == before
    assert [record["outcome"] for record in host.records()] == ["begun", "loaded", "refused"]


def test_a_change_of_roots_that_policy_wants_confirmed(scene: Scene) -> None:
    host = scene.host(policy=GROWN.replace('"root.json"', '"root.json"\nroot-change = "confirm"'))
    first = host.load(scene.bundle(1))
    assert first.status == 0, first.err
    scene.repository.rotate("root")
    scene.repository.publish()
    bundle = scene.bundle(2)
    refused = host.load(bundle)
    assert refused.error.startswith("airlock: error[trustroot.unconfirmed]: ")
    asked = host.run("trust", "import", bundle, stdin=subprocess.DEVNULL)
    assert asked.status == 15
    assert "acme: TUF root 1 to 2" in asked.out
    assert "+ root: ecdsa-sha2-nistp256" in asked.out
    assert seen(host)["root"] == "1"
    taken = host.run("trust", "import", bundle, "--yes")
    assert taken.status == 0, taken.err
    assert seen(host)["root"] == "2"
    assert host.load(bundle).status == 0


def test_trust_is_imported_alone_shown_and_compared(scene: Scene) -> None:
    host = scene.host()
    bundle = scene.bundle(1)
    done = host.run("trust", "import", bundle)
    assert (done.status, done.err) == (0, "")
    assert "REMEMBERED: acme" in done.out
    assert host.records()[-1]["verb"] == "trust-import"
    assert host.target() == {}
    shown = host.run("trust", "show", "acme")
    assert "remembered: roots 1 to 1" in shown.out
    assert "  who may sign:" in shown.out
    folder = scene.folder / "carried"
    scene.repository.rotate("root")
    for name, raw in scene.repository.publish().files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    assert host.run("trust", "import", folder).status == 2, "whose is it?"
    assert host.run("trust", "import", folder, "--anchor", "acme").status == 0
    assert seen(host) == {"root": "2", "timestamp": "2"}
    older = host.run("trust", "import", bundle)
    assert older.status == 15
    assert older.error.startswith("airlock: error[trustroot.rollback]: ")
    roots = [folder / f"{number}.root.json" for number in (1, 2)]
    assert host.run("trust", "diff", *roots).status == 1
    assert host.run("trust", "diff", roots[0], roots[0]).status == 0


NOTARY = (
    GROWN
    + """
[[image]]
match = "docker.io/acme/old"
[[image.require]]
claim = "content-trust"
notary-root = "hub"
[anchor.hub]
root-change = "confirm"
"""
)


def test_content_trust_is_imported_alone_and_its_rotation_confirmed(scene: Scene) -> None:
    """From a folder as `trust fetch` writes it: only forward, only under the pin, in words."""
    host = scene.host(policy=NOTARY)
    gun = "docker.io/acme/old"
    notary = Repository(gun=gun)

    def fetched(name: str, files: dict[str, bytes]) -> Path:
        for role, raw in files.items():
            path = scene.folder / name / "tuf" / gun / "metadata" / f"{role}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
        return scene.folder / name

    def take(folder: Path, *options: str) -> Ran:
        return host.run(
            "trust", "import", folder, "--anchor", "hub", *options, stdin=subprocess.DEVNULL
        )

    def newest() -> list[int]:
        rows = [
            row for row in host.memory().get("trust", []) if row[:2] == ("notary", f"hub {gun}")
        ]
        return [max(map(int, json.loads(str(row[2]))["roots"])) for row in rows]

    pin = scene.folder / "pin.json"
    pin.write_text(json.dumps({"trust_pinning": {"certs": {gun: notary.root_ids}}}))
    assert host.run("trust", "add", "hub", pin).status == 0
    first = fetched("first", dict(notary.publish()))
    broken = fetched("broken", {**notary.files, "targets": notary.files["snapshot"]})
    assert take(broken).status in {11, 15}
    other = Repository(gun=gun)
    other.rotate_root(Key.certified("stranger", gun))
    strange = take(fetched("strange", dict(other.publish())))
    assert strange.error.startswith("airlock: error[trustroot.notary]: ")
    assert newest() == []
    taken = take(first)
    assert (taken.status, taken.err) == (0, "")
    assert f"hub: Notary root of {gun} 1, as before" in taken.out
    assert newest() == [1]
    old = notary.root_ids[0]
    notary.rotate_root()
    second = fetched("second", dict(notary.publish()))
    asked = take(second)
    assert asked.error.startswith("airlock: error[trustroot.unconfirmed]: ")
    assert f"hub: Notary root of {gun} 1 to 2" in asked.out
    assert f"  - root: ecdsa-x509 {old}" in asked.out
    assert f"  + root: ecdsa-x509 {notary.root_ids[0]}" in asked.out
    assert newest() == [1]
    assert take(second, "--yes").status == 0
    assert newest() == [2]
    back = take(first, "--yes")
    assert (back.status, newest()) == (16, [2])
    assert f"notary hub {gun}: roots 1 to 2 seen" in host.run("trust", "show").out


def test_a_file_is_pinned_once(scene: Scene) -> None:
    host = scene.host()
    files = scene.folder / "files"
    files.mkdir()
    (files / "one.json").write_bytes(scene.repository.roots[1])
    (files / "other.json").write_bytes(TufRepository("other").roots[1])
    (files / "key.pub").write_bytes(scene.publisher.release.public_pem)
    (files / "roots.json").write_bytes(encode(scene.publisher.world.trusted_root()))
    (files / "nothing.json").write_bytes(b"{}")
    anchors = host.root / "etc/airlock/anchors"
    for name, file in (("tuf", "one.json"), ("key", "key.pub"), ("roots", "roots.json")):
        assert host.run("trust", "add", name, files / file).status == 0
        assert host.run("trust", "add", name, files / file).status == 0, "the same again"
    assert host.run("trust", "add", "tuf", files / "other.json").status == 15
    assert (anchors / "tuf/root.json").read_bytes() == scene.repository.roots[1]
    assert host.run("trust", "add", "../x", files / "one.json").status == 2
    assert host.run("trust", "add", "x", files / "nothing.json").status == 2
    assert sorted(path.name for path in anchors.iterdir()) == ["key", "roots", "tuf"]


# --- killed at any moment (FI, A091) --------------------------------------------------------------

CALLS = ("pwrite64", "write", "fsync", "fdatasync", "rename", "renameat", "unlink", "ftruncate")
"""What changes a file. Each is counted, and the loader is killed at every single one of them."""


def strace(host: FarSide, source: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = host.command("trust", "import", source, isolated=False)
    return subprocess.run(
        ["strace", "-f", "-qq", *options, *command],
        check=False, capture_output=True, text=True, timeout=120, cwd=ROOT, env=ENVIRONMENT,
    )  # fmt: skip


@pytest.mark.engine("strace")
def test_a091_killed_at_every_call_that_changes_a_file(scene: Scene) -> None:
    """Afterwards the old state or the new one, never a third; the older bundle is judged by it."""
    old = scene.bundle(1)
    prepared = scene.host("prepared")
    assert prepared.run("trust", "import", old).status == 0
    before = prepared.memory()
    scene.repository.rotate("root")
    scene.repository.rotate("timestamp")
    scene.repository.publish()
    new = scene.bundle(2)

    def fresh(name: str) -> FarSide:
        root = scene.folder / name
        subprocess.run(["cp", "-a", prepared.root, root], check=True)
        return FarSide(root, scene.folder / f"{name}-loaded")

    log = scene.folder / "log"
    golden = fresh("golden")
    traced = strace(golden, new, "-o", str(log), "-e", f"trace={','.join(CALLS)}")
    assert traced.returncode == 0, traced.stderr
    after = golden.memory()
    assert after != before
    lines = log.read_text().splitlines()
    outcomes = set()
    for call in CALLS:
        for nth in range(1, sum(f" {call}(" in line for line in lines) + 1):
            host = fresh(f"{call}-{nth}")
            ran = strace(
                host, new, "-o", "/dev/null",
                "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={nth}",
            )  # fmt: skip
            assert ran.returncode in {0, -signal.SIGKILL, 128 + signal.SIGKILL}, ran.stderr
            assert host.memory() in (before, after), f"{call} {nth}"
            older = host.run("trust", "import", old)
            if host.memory() == after:
                assert older.status == 15, f"{call} {nth}: {older.err}"
                outcomes.add("new")
            else:
                assert older.status == 0, f"{call} {nth}: {older.err}"
                outcomes.add("old")
            if nth == 1:  # a run of its own each: where it goes on from is one of two states
                assert host.run("trust", "import", new).status == 0, f"{call} {nth}"
                assert host.memory() == after
            subprocess.run(["rm", "-rf", host.root], check=True)
    assert outcomes == {"old", "new"}
