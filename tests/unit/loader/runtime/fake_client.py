"""A client that does what a scenario says, and keeps its images in a file.

Copied under the name `docker`, `podman` or `ctr` into a folder of its own; there `scenario.json`
says how it behaves, `calls.jsonl` what it was told, with which environment, files and bytes. It
knows as much of the real ones as docs/runtimes.md says was measured.
"""

import hashlib
import io
import json
import os
import sys
import tarfile
import time
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(sys.argv[0]).resolve().parent
NAME = Path(sys.argv[0]).name
OTHER = "sha256:" + "e" * 64
State = dict[str, dict[str, Any]]
SCENARIO = json.loads((HERE / "scenario.json").read_text())
STATE = HERE / "state.json"


def state() -> State:
    if STATE.exists():
        held: State = json.loads(STATE.read_text())
        return held
    return {"names": {}, "images": {}, "content": {}}


def keep(held: State) -> None:
    STATE.write_text(json.dumps(held, sort_keys=True))


def fail(text: str, status: int = 1) -> NoReturn:
    sys.stderr.write(text)
    sys.stderr.flush()
    sys.exit(status)


def record(arguments: list[str], taken: bytes | None = None) -> None:
    files = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            files[entry.name] = str(entry.readlink())
        except OSError:
            continue
    said = {
        "arguments": arguments,
        "environment": dict(os.environ),
        "files": files,
        "folder": str(Path.cwd()),
        "signals_ignored": [
            line for line in Path("/proc/self/status").read_text().splitlines() if "SigIgn" in line
        ],
        "stdin": None if taken is None else [len(taken), hashlib.sha256(taken).hexdigest()],
    }
    with (HERE / "calls.jsonl").open("a") as log:
        log.write(json.dumps(said) + "\n")


def take() -> bytes:
    """Read the stream as the scenario says."""
    how = SCENARIO.get("stream", "whole")
    if how == "hang":
        time.sleep(600)
    if how == "die":
        taken = sys.stdin.buffer.read(SCENARIO["bytes"])
        record(sys.argv[1:], taken)
        fail("daemon: connection reset by peer\n")
    taken = sys.stdin.buffer.read()
    (HERE / "stream").write_bytes(taken)
    if how == "hang-after":
        time.sleep(600)
    return taken


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info)
    return b"" if file is None else file.read()


def members(taken: bytes) -> dict[str, bytes]:
    try:
        with tarfile.open(fileobj=io.BytesIO(taken), mode="r:") as tar:
            return {info.name: _content(tar, info) for info in tar}
    except tarfile.TarError as e:
        fail(f"unexpected EOF: {e}\n")


def image_of(taken: bytes) -> tuple[str, str, list[str], str | None, list[str]]:
    """Return the image ID, its manifest's digest, its layers, and the name it carries, if any."""
    found = members(taken)
    if NAME == "docker":
        entry = json.loads(found["manifest.json"])[0]
        config = found[entry["Config"]]
        name = (entry["RepoTags"] or [None])[0]
        digest = ""
    else:
        entry = json.loads(found["index.json"])["manifests"][0]
        name = entry.get("annotations", {}).get("io.containerd.image.name")
        digest = entry["digest"]
        document = json.loads(found["blobs/sha256/" + digest[7:]])
        while "manifests" in document:
            inner = document["manifests"][0]["digest"]
            document = json.loads(found["blobs/sha256/" + inner[7:]])
        config = found["blobs/sha256/" + document["config"]["digest"][7:]]
    layers = json.loads(config)["rootfs"]["diff_ids"]
    blobs = ["sha256:" + path.rpartition("/")[2] for path in found if "/" in path]
    return "sha256:" + hashlib.sha256(config).hexdigest(), digest, layers, name, blobs


def restart() -> None:
    """Be a daemon that is not there at one load, and there again at the next."""
    count = HERE / "loads"
    number = int(count.read_text()) + 1 if count.exists() else 1
    count.write_text(str(number))
    if number == SCENARIO["restarts-at"]:
        fail("Cannot connect to the daemon. Is it running?\n")


def load(arguments: list[str]) -> None:
    if "restarts-at" in SCENARIO:
        restart()
    taken = take()
    record(arguments, taken)
    image, digest, layers, name, blobs = image_of(taken)
    held = state()
    what = SCENARIO.get("load", "ok")
    if what == "lie":
        image, digest = OTHER, OTHER
    if what == "other-layers":
        layers = layers[:-1]
    if what == "other-digest":
        digest = OTHER
    if what == "lose-a-blob":
        blobs = blobs[1:]
    if what != "nothing":
        if name is not None:
            held["names"][name] = digest
        if NAME != "ctr":
            held["images"][image] = {"layers": layers, "digest": digest}
        held["content"] |= dict.fromkeys(blobs, "containerd.io/gc.ref.snapshot.x=1")
        keep(held)
    speak()
    if what == "fail-after":
        fail("daemon: no space left on device\n")
    sys.stdout.write(f"Loaded image{' ID' if NAME == 'docker' else ''}: {image}\n")


def speak() -> None:
    """Say what the scenario adds, and end early where it says so."""
    if "flood" in SCENARIO:
        sys.stderr.write("\x1b[2J\x1b]0;owned\x07" + "A" * SCENARIO["flood"] + "token=s3cr3t")
    sys.stdout.write("x" * SCENARIO.get("babble", 0))
    if SCENARIO.get("status"):
        sys.exit(SCENARIO["status"])


def resolve(held: State, reference: str) -> str | None:
    target: str = held["names"].get(reference, reference)
    return target if target in held["images"] else None


def named(held: State, name: str) -> dict[str, Any] | None:
    """docker and podman know images by ID; a name points to one."""
    image = resolve(held, name)
    if image is None:
        return None
    digest = held["images"][image].get("digest", "")
    digests = [f"{n.rpartition(':')[0]}@{digest}" for n, i in held["names"].items() if i == image]
    hexadecimal = image if NAME == "docker" else image[7:]
    return {
        "id": hexadecimal,
        "digest": digest,
        "digests": digests,
        "layers": held["images"][image]["layers"],
    }


def inspect(arguments: list[str]) -> None:
    record(arguments)
    if SCENARIO.get("inspect") == "nonsense":
        print('{"id":"a","id":"b"}')
        return
    if SCENARIO.get("inspect") == "refuse":
        fail("permission denied\n")
    found = named(state(), arguments[-1])
    if found is None:
        fail(f"[]\nError response from daemon: No such image: {arguments[-1]}\n", 1)
    print(json.dumps(found))


def tag(source: str, target: str, arguments: list[str]) -> None:
    record(arguments)
    if SCENARIO.get("tag") == "refuse":
        fail("daemon: refused\n")
    held = state()
    held["names"][target] = OTHER if SCENARIO.get("tag") == "elsewhere" else source
    if SCENARIO.get("tag") == "elsewhere":
        held["images"].setdefault(OTHER, {"layers": [], "digest": OTHER})
    keep(held)


def remove(reference: str, arguments: list[str]) -> None:
    record(arguments)
    if SCENARIO.get("remove") == "refuse":
        fail("conflict: image is being used\n")
    held = state()
    image = resolve(held, reference)
    if reference in held["names"]:
        del held["names"][reference]
        if NAME == "docker" and image is not None and image not in held["names"].values():
            held["images"].pop(image, None)
    else:
        held["images"].pop(reference, None)
        held["names"] = {n: i for n, i in held["names"].items() if i != reference}
    keep(held)


def docker(a: list[str]) -> None:
    match a:
        case ["info", *_]:
            record(a)
            if SCENARIO.get("info") == "refuse":
                fail("Cannot connect to the Docker daemon\n")
            info: dict[str, Any] = {"version": "27.1", "driver": "o", "architecture": "x86_64"}
            if SCENARIO.get("info") == "containerd":
                info["status"] = [["driver-type", "io.containerd.snapshotter.v1"]]
            print(json.dumps(info))
        case ["image", "ls", *_]:
            record(a)
            print("\n".join(state()["images"]))
        case ["image", "inspect", *_]:
            inspect(a)
        case ["load", "--quiet"]:
            load(a)
        case ["tag", source, target]:
            tag(source, target, a)
        case ["image", "rm", "--no-prune", reference]:
            remove(reference, a)
        case _:
            fail(f"unknown: {a}\n", 125)


def podman(a: list[str]) -> None:
    match a:
        case ["version", *_]:
            record(a)
            print('{"version":"4.3.1"}')
        case ["images", *_]:
            record(a)
            print("\n".join(state()["images"]))
        case ["image", "exists", reference]:
            record(a)
            if SCENARIO.get("inspect") == "refuse":
                fail("permission denied\n", 125)
            sys.exit(0 if resolve(state(), reference) else 1)
        case ["image", "inspect", *_]:
            inspect(a)
        case ["load", "--quiet"]:
            load(a)
        case ["tag", source, target]:
            tag(source, target, a)
        case ["untag", _, reference] | ["image", "rm", reference]:
            remove(reference, a)
        case _:
            fail(f"unknown: {a}\n", 125)


def list_names(wanted: str) -> None:
    if SCENARIO.get("inspect") == "refuse":
        fail("permission denied\n")
    if SCENARIO.get("inspect") == "nonsense":
        print("what?")
        return
    print("REF TYPE DIGEST SIZE PLATFORMS LABELS")
    for name, digest in state()["names"].items():
        if f"name=={name}" == wanted:
            print(f"{name} application/x {digest} 1 KiB linux/amd64 -")


def refuse_taken(name: str) -> None:
    if name in state()["names"]:
        fail(f"image {name}: already exists\n")


def ctr(a: list[str]) -> None:
    match a:
        case ["version"]:
            record(a)
            words = "Client:\n  Version:  1.7.1\nServer:\n  Version:  1.7.2\n  Revision: x"
            print("hello" if SCENARIO.get("version") == "nonsense" else words)
        case ["images", "ls", wanted]:
            record(a)
            list_names(wanted)
        case ["content", "ls", *filters]:
            record(a)
            print("DIGEST\tSIZE\tAGE\tLABELS")
            held = state()["content"]
            for digest in held.keys() & {text.removeprefix("digest==") for text in filters}:
                print(f"{digest}\t1B\t1 day\t{held[digest]}")
        case ["images", "import", *_]:
            load(a)
        case ["images", "tag", "--force", source, target]:
            tag(state()["names"][source], target, a)
        case ["images", "tag", source, target]:
            refuse_taken(target)
            tag(state()["names"][source], target, a)
        case ["images", "rm", "--sync", reference]:
            record(a)
            names = state()["names"]
            names.pop(reference, None)
            keep(state() | {"names": names} | ({} if names else {"content": {}}))
        case _:
            fail(f"unknown: {a}\n", 125)


def main() -> None:
    arguments = sys.argv[1:]
    prefix = {"docker": 4, "podman": 1, "ctr": 4}[NAME]
    {"docker": docker, "podman": podman, "ctr": ctr}[NAME](arguments[prefix:])


main()
