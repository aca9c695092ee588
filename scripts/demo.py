"""`make demo`: the main job from end to end, with no daemon and no root.

A publisher's registry on loopback, an image signed in cosign's formats, a packer, a courier who
tampers, and a host without network. Everything lies in `.demo/` and can be looked at afterwards.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import requests
import zstandard
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.fakes import demo  # noqa: E402
from tests.fakes.content import ContentStore  # noqa: E402
from tests.fakes.registry import FakeRegistry  # noqa: E402

DEMO: Final = ROOT / ".demo"
BIN: Final = ROOT / ".venv" / "bin"
PUBLISHER: Final = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0"
ISSUER: Final = "https://token.actions.githubusercontent.com"
PORT_WISHED: Final = 5007
TAMPER_STATUS: Final = 19
ROLLBACK_STATUS: Final = 16

POLICY: Final = """\
# What this host accepts. Nothing is allowed that is not written here.
schema = 1

[anchor.acme]
trusted-root = "trusted_root.json"   # the certificate authority, logs and timestamp authority

[anchor.release]
key = "release.pub"                  # the publisher's own key

[anchor.packer]
key = "packer.pub"                   # whoever may seal bundles for this host

[[image]]
match = "{registry}/acme/*"

[[image.require]]                    # the publisher's release workflow signed it, without a key
claim = "signature"
trusted-root = "acme"
certificate-identity = "{publisher}"
certificate-oidc-issuer = "{issuer}"

[[image.require]]                    # and so did the publisher's key
claim = "signature"
key = "release"

[[image.require]]                    # and the packer vouches for names, tags and completeness
claim = "bundle-signature"
key = "packer"
"""


def main() -> int:
    """Run the story; return 0 if every step ended as it should."""
    shutil.rmtree(DEMO, ignore_errors=True)
    DEMO.mkdir()
    began = time.monotonic()
    with publisher() as registry:
        say(1, f"A publisher's registry answers at {registry}; it holds acme/app:1.0.0, signed.")
        (DEMO / "policy.toml").write_text(
            POLICY.format(registry=registry, publisher=PUBLISHER, issuer=ISSUER), encoding="utf-8"
        )
        say(2, "The packer collects image and evidence, judges them by the policy, and seals.")
        for sequence, name in ((1, "bundle-old.tar.zst"), (2, "bundle.tar.zst")):
            pack = [
                "airlock", "pack", f"{registry}/acme/app:1.0.0", "--plain-http", registry,
                "--policy", "policy.toml", "--channel", "demo", "--sequence", str(sequence),
                "--expires", "30d", "--sign-key", "packer.key", "--output", name,
                "--no-log-proofs",  # the demo's log has an address that nobody has
            ]  # fmt: skip
            run(pack, expect=0, quiet=sequence == 1)
    say(3, "The registry is gone. What does the bundle say that it holds?")
    run(["airlock", "inspect", "bundle.tar.zst"], expect=0)
    say(4, "A courier changes a byte of a layer and repairs all checksums. The host refuses it.")
    tamper(DEMO / "bundle.tar.zst", DEMO / "tampered.tar.zst")
    run(load("tampered.tar.zst"), expect=TAMPER_STATUS)
    if (DEMO / "loaded").exists():
        raise SystemExit("a refused bundle left something behind")
    say(5, "The good bundle is loaded, in a process without network.")
    run(load("bundle.tar.zst"), expect=0)
    say(6, "An older bundle, just as genuine, is refused: nothing goes backwards.")
    run(load("bundle-old.tar.zst"), expect=ROLLBACK_STATUS)
    print(f"\nDone in {time.monotonic() - began:.1f} s. Look around in .demo/:")
    print("  policy.toml, *.pub, trusted_root.json   what the host pins")
    print("  bundle.tar.zst                          zstd -dc .demo/bundle.tar.zst | tar -t")
    name = f"oci:.demo/loaded:{registry}/acme/app:1.0.0"
    print(f"  loaded/                                 skopeo inspect {name}")
    return 0


def load(bundle: str) -> list[str]:
    """The loader's command line, in a network namespace with nothing in it where one may be had."""
    command = [
        "airlock-loader", "--root", "host", "load", bundle,
        "--policy", "policy.toml", "--into", "oci:loaded",
    ]  # fmt: skip
    return [*isolated(), *command]


def isolated() -> list[str]:
    """`unshare` where the kernel lets us; the loader cuts itself off in any case."""
    if shutil.which("unshare") is None:
        return []
    tried = subprocess.run(["unshare", "-rn", "true"], check=False, capture_output=True)
    return ["unshare", "-rn"] if tried.returncode == 0 else []


def run(command: list[str], *, expect: int, quiet: bool = False) -> None:
    """Run a command as a person would in `.demo/`, and end the demo if it ends otherwise."""
    print(f"\n  $ {' '.join(command)}", flush=True)
    position = next(i for i, word in enumerate(command) if word.startswith("airlock"))
    program = [*command[:position], str(BIN / command[position]), *command[position + 1 :]]
    ended = subprocess.run(
        program, check=False, cwd=DEMO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if not quiet or ended.returncode != expect:
        print("".join(f"    {line}\n" for line in ended.stdout.splitlines()), end="", flush=True)
    if ended.returncode != expect:
        raise SystemExit(f"exit status {ended.returncode}, expected {expect}")
    print(f"    exit status {ended.returncode}", flush=True)


def say(number: int, text: str) -> None:
    """Print a step's heading."""
    print(f"\n{number}. {text}", flush=True)


def tamper(source: Path, target: Path) -> None:
    """Change one byte of the last layer, and repair every checksum that needs no key."""
    plain = bytearray(
        zstandard.ZstdDecompressor()
        .stream_reader(source.read_bytes(), read_across_frames=True)
        .read()
    )
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        layer = archive.getmembers()[-1]
    plain[layer.offset_data + layer.size // 2] ^= 1
    target.write_bytes(zstandard.ZstdCompressor(write_checksum=True).compress(bytes(plain)))


@contextlib.contextmanager
def publisher() -> Iterator[str]:
    """Serve the signed image: by Debian's docker-registry, else by the tests' own."""
    store = demo.build(DEMO)
    key = ec.generate_private_key(ec.SECP256R1())
    (DEMO / "packer.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (DEMO / "packer.key").chmod(0o600)
    (DEMO / "packer.pub").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    program = shutil.which("docker-registry")
    if program is None:
        with FakeRegistry({"acme/app": store}, port=port()) as registry:
            yield registry.host
        return
    with debian_registry(program) as host:
        push(store, f"http://{host}", "acme/app")
        yield host


@contextlib.contextmanager
def debian_registry(program: str) -> Iterator[str]:
    """Run docker-registry on loopback, on a folder of its own."""
    host = f"localhost:{port()}"
    folder = DEMO / "registry"
    config = DEMO / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}}}}}\n"
        f"http: {{addr: 127.0.0.1:{host.rpartition(':')[2]}}}\n",
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [program, "serve", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"},
    )
    try:
        for _ in range(100):
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"http://{host}/v2/", timeout=5).ok:
                    break
            time.sleep(0.05)
        else:
            raise SystemExit("docker-registry does not answer")
        yield host
    finally:
        process.terminate()
        process.wait(timeout=10)
        shutil.rmtree(folder, ignore_errors=True)
        config.unlink()


def push(store: ContentStore, url: str, repository: str) -> None:
    """Put an image with its evidence into a registry, as `docker push` would."""
    base = f"{url}/v2/{repository}"
    for digest in store.blobs.keys() - store.manifests.keys():
        begun = requests.post(f"{base}/blobs/uploads/", timeout=10)
        begun.raise_for_status()
        where = begun.headers["Location"]
        where += ("&" if "?" in where else "?") + f"digest={digest}"
        requests.put(where, data=store.read(digest), timeout=10).raise_for_status()
    # A registry wants what a manifest names to be there already: indexes come last, then tags.
    order = sorted(store.manifests, key=lambda digest: "index" in store.manifests[digest])
    for name, digest in [*zip(order, order, strict=True), *store.tags.items()]:
        kind = {"Content-Type": store.manifests[digest]}
        put = requests.put(
            f"{base}/manifests/{name}", data=store.read(digest), headers=kind, timeout=10
        )
        put.raise_for_status()


def port() -> int:
    """A free port on loopback: the same one each time where it can be had."""
    for wished in (PORT_WISHED, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", wished))
            return int(probe.getsockname()[1])
    raise SystemExit("no free port on loopback")


if __name__ == "__main__":
    sys.exit(main())
