"""A publisher with one large image in a registry, a packer, and hosts that trust them both."""

from __future__ import annotations

import base64
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import requests
import zstandard
from cryptography.hazmat.primitives import serialization

from scripts.benchmarks.image import BigImage
from tests.fakes import attach
from tests.fakes.content import ContentStore, Stream, encode
from tests.fakes.images import Image, image
from tests.fakes.sigworld.world import World

REPOSITORY: Final = "acme/app"
TAG: Final = "1"
_SECONDS: Final = 120

_POLICY: Final = """\
schema = 1

[anchor.acme]
trusted-root = "trusted_root.json"

[anchor.release]
key = "release.pub"

[anchor.packer]
key = "packer.pub"

[[image]]
match = "{registry}/acme/*"
"""
_SIGNATURE: Final = """
[[image.require]]
claim = "signature"
key = "release"
trusted-root = "acme"
log = "promise"
"""
_SEAL: Final = """
[[image.require]]
claim = "bundle-signature"
key = "packer"
"""


@dataclass
class Scene:
    """Who signs what; everything is written below one folder."""

    folder: Path
    registry: str
    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        self.release = self.world.managed("release")
        self.packer = self.world.managed("packer")
        self.anchors = self.folder / "anchors"
        self.anchors.mkdir()
        (self.anchors / "trusted_root.json").write_bytes(encode(self.world.trusted_root()))
        (self.anchors / "release.pub").write_bytes(self.release.public_pem)
        (self.anchors / "packer.pub").write_bytes(self.packer.public_pem)
        self._policy("policy.toml", _SIGNATURE + _SEAL)
        # What a packer would have to be content with to seal an image with a wrong signature.
        self._policy("careless.toml", _SEAL)
        # What a registry can show: no bundle, and so nobody who vouches for the tag.
        self._policy("promote.toml", 'name = "as-packed"\n' + _SIGNATURE)
        key = self.anchors / "packer.key"
        key.write_bytes(
            self.packer.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        key.chmod(0o600)

    def _policy(self, name: str, requirements: str) -> None:
        text = _POLICY.format(registry=self.registry) + requirements
        (self.anchors / name).write_text(text, encoding="utf-8")

    @property
    def policy(self) -> Path:
        """What the packer and the host ask for."""
        return self.anchors / "policy.toml"

    def reference(self, tag: str = TAG) -> str:
        """Return the image's full name."""
        return f"{self.registry}/{REPOSITORY}:{tag}"

    def sign(self, subject: Image, *, wrongly: bool = False) -> None:
        """Sign an image as cosign 2 does, with a log's promise."""
        reference = self.reference().rpartition(":")[0]
        signed = self.world.sign_image_legacy(subject.digest, self.release, reference=reference)
        layer = signed.layer()
        if wrongly:
            name = "dev.cosignproject.cosign/signature"
            layer.annotations[name] = _flipped(layer.annotations[name])
        attach.attach_tag(subject, [layer])

    def publish(self, big: BigImage) -> None:
        """Sign the image, and put it into the registry."""
        self.sign(big.image)
        push(big.store, f"http://{self.registry}", REPOSITORY)

    def publish_wrongly_signed(self, big: BigImage) -> None:
        """Publish another image with the same layers, under the tag `wrong`, signed wrongly."""
        store = ContentStore()
        other = image(store, big.layers, platform=big.platform, labels={"is": "other"}, tag="wrong")
        self.sign(other, wrongly=True)
        for layer in big.layers:
            # The registry has them.
            store.blobs.pop(layer.blob.digest)
        push(store, f"http://{self.registry}", REPOSITORY)

    def pack_command(
        self, *, output: Path, cache: Path, tag: str = TAG, policy: str = "policy.toml"
    ) -> list[str]:
        """Return how the packer seals the image."""
        return [
            "airlock", "pack", self.reference(tag), "--plain-http", self.registry,
            "--policy", str(self.anchors / policy), "--channel", "bench", "--sequence", "1",
            "--sign-key", str(self.anchors / "packer.key"), "--no-log-proofs",
            "--output", str(output), "--cache", str(cache),
        ]  # fmt: skip

    def load_command(self, *arguments: str, root: Path) -> list[str]:
        """Return a command of the loader, on a host of ours."""
        return ["airlock-loader", "--root", str(root), *arguments, "--policy", str(self.policy)]


def fresh(folder: Path) -> Path:
    """Return an empty folder of this name."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def push(store: ContentStore, url: str, repository: str) -> None:
    """Put an image with its evidence into a registry, as `docker push` would."""
    base = f"{url}/v2/{repository}"
    for digest in store.blobs.keys() - store.manifests.keys():
        begun = requests.post(f"{base}/blobs/uploads/", timeout=_SECONDS)
        begun.raise_for_status()
        where = begun.headers["Location"]
        where += ("&" if "?" in where else "?") + f"digest={digest}"
        blob = store.blobs[digest]
        data = _Sized(blob) if isinstance(blob, Stream) else blob
        requests.put(where, data=data, timeout=_SECONDS).raise_for_status()
    order = sorted(store.manifests, key=lambda digest: "index" in store.manifests[digest])
    for name, digest in [*zip(order, order, strict=True), *store.tags.items()]:
        kind = {"Content-Type": store.manifests[digest]}
        put = requests.put(
            f"{base}/manifests/{name}", data=store.read(digest), headers=kind, timeout=_SECONDS
        )
        put.raise_for_status()


class _Sized:
    """A stream with a length: `requests` sends it as it is, not in chunks."""

    def __init__(self, stream: Stream) -> None:
        self._chunks = iter(stream.make())
        self._size = stream.size
        self._rest = b""

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1) -> bytes:
        if not self._rest:
            self._rest = next(self._chunks, b"")
        size = len(self._rest) if size < 0 else size
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


def _flipped(signature: str) -> str:
    """Return a signature of the same form over something else."""
    raw = bytearray(base64.b64decode(signature))
    raw[-1] ^= 1
    return base64.b64encode(raw).decode()


def break_statement_signature(bundle: Path, target: Path) -> None:
    """Copy a bundle with one bit of the statement's signature turned, and every checksum right.

    Statement and signatures are the archive's first frame; the others are copied as they are.
    """
    with bundle.open("rb") as source, target.open("wb") as out:
        head = source.read(1 << 20)
        opener = zstandard.ZstdDecompressor().decompressobj()
        plain = bytearray(opener.decompress(head))
        frame_size = len(head) - len(opener.unused_data)
        at = plain.index(b'"signature":"') + len(b'"signature":"')
        end = plain.index(b'"', at)
        plain[at:end] = _flipped(plain[at:end].decode()).encode()
        packer = zstandard.ZstdCompressor(level=9, write_checksum=True, write_content_size=True)
        out.write(packer.compress(bytes(plain)))
        source.seek(frame_size)
        shutil.copyfileobj(source, out, 1 << 20)
