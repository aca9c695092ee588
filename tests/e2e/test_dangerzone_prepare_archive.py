"""`airlock prepare-archive`: what it writes, Dangerzone's own code takes (DZ-1, DZ-5).

Its checks are rebuilt here from dangerzone/updater/signatures.py at 08ebaae2. Where a checkout of
Dangerzone is at hand (AIRLOCK_DANGERZONE), its own function runs too, with a stand-in for podman.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tarfile
import types
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest

from loader.archive.reader import ArchiveReader
from loader.model.bundle import BundleStatement
from loader.source import BundleFile
from tests.e2e.dangerzone_archives import NAME, REPOSITORY, Maintainer
from tests.fakes.content import ContentStore
from tests.fakes.images import Image, hello_index
from tests.fakes.registry import FakeRegistry
from tests.presence import ROOT, TOOLS

CHECKOUT = os.environ.get("AIRLOCK_DANGERZONE", "")
_KIND = "dev.cosignproject.cosign/"


@pytest.fixture(scope="module")
def maintainer() -> Maintainer:
    return Maintainer()


@pytest.fixture
def image(maintainer: Maintainer) -> Image:
    return maintainer.image("both", multi=True)


def airlock(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from bundler.cli import main; raise SystemExit(main())",
         *map(str, words)],
        check=False, capture_output=True, text=True, cwd=ROOT, timeout=120,
        env={
            "PATH": f"{TOOLS}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": "/nonexistent"
        },
    )  # fmt: skip


def prepared(maintainer: Maintainer, image: Image, folder: Path, *more: str) -> tuple[Path, str]:
    """Write the archive of an image's amd64 from a layout; return it and what was said."""
    host = maintainer.host(folder)
    image.store.tag("latest", image.descriptor)
    image.store.write_layout(folder / "layout")
    out = folder / "dangerzone-amd64.tar"
    done = airlock(
        "prepare-archive", f"{REPOSITORY}:latest=oci:{folder}/layout:latest",
        "--policy", host.root / "etc/airlock/policy.toml", "--arch", "amd64", "--output", out,
        "--cache", folder / "cache", "--no-progress", *more,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def amd64(image: Image) -> Image:
    [one] = [c for c in image.children if c.descriptor["platform"]["architecture"] == "amd64"]
    return one


def accepted(archive: Path) -> tuple[str, str, list[dict[str, Any]]]:
    """Do what upgrade_container_image_airgapped checks before it loads; return what it found."""
    with tarfile.open(archive, "r") as tar:
        names = tar.getnames()
        assert "./dangerzone.json" in names

        def read(name: str) -> bytes:
            file = tar.extractfile(name)
            assert file is not None
            return file.read()

        whole, index = json.loads(read("./dangerzone.json")), json.loads(read("./index.json"))
        expected = {**whole}
        expected["manifests"] = [
            manifest
            for manifest in whole["manifests"]
            if manifest["annotations"].get("kind") in (f"{_KIND}imageIndex", f"{_KIND}image")
        ]
        assert expected == index
        assert len(index["manifests"]) == 1
        signatures = next(
            m["digest"] for m in whole["manifests"] if m["annotations"]["kind"] == f"{_KIND}sigs"
        )
        manifest = json.loads(read(f"./blobs/sha256/{signatures[7:]}"))
        found = []
        for layer in manifest["layers"]:
            bundle = json.loads(layer["annotations"]["dev.sigstore.cosign/bundle"])
            body = json.loads(b64decode(bundle["Payload"]["body"]))
            found.append(
                {
                    "Base64Signature": body["spec"]["signature"]["content"],
                    "Payload": b64encode(read(f"./blobs/sha256/{layer['digest'][7:]}")).decode(),
                    "Bundle": bundle,
                }
            )
        payload = json.loads(b64decode(found[0]["Payload"]))
    return (
        payload["critical"]["identity"]["docker-reference"],
        index["manifests"][0]["digest"],
        found,
    )


def test_dz_5_what_we_write_passes_dangerzones_checks(
    maintainer: Maintainer, image: Image, tmp_path: Path
) -> None:
    archive, said = prepared(maintainer, image, tmp_path)
    name, digest, signatures = accepted(archive)
    assert (name, digest) == (REPOSITORY, amd64(image).digest)
    for signature in signatures:
        payload = json.loads(b64decode(signature["Payload"]))
        assert payload["critical"]["image"]["docker-manifest-digest"] == digest
        assert int(signature["Bundle"]["Payload"]["logIndex"]) > 0
    assert "dangerzone-image load-archive" in said


def test_dz_1_the_same_image_gives_the_same_bytes(
    maintainer: Maintainer, image: Image, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, _ = prepared(maintainer, image, tmp_path / "a")
    two, _ = prepared(maintainer, image, tmp_path / "b")
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(("platforms", "sets"), [((), 3), (("-p", "linux/amd64"), 2)])
def test_dz_1_a_bundle_carries_the_index_and_every_signature_of_what_it_carries(
    platforms: tuple[str, ...],
    sets: int,
    maintainer: Maintainer,
    image: Image,
    tmp_path: Path,
) -> None:
    """A signature over a platform that was left out speaks of nothing in the bundle."""
    host = maintainer.host(tmp_path)
    image.store.tag("latest", image.descriptor)
    image.store.write_layout(tmp_path / "layout")
    digests = set()
    for name in ("a", "b"):
        out = tmp_path / f"{name}.tar.zst"
        done = airlock(
            "pack", f"{REPOSITORY}:latest=oci:{tmp_path}/layout:latest", *platforms,
            "--policy", host.root / "etc/airlock/policy.toml", "--output", out,
            "--lock", tmp_path / f"{name}.lock", "--cache", tmp_path / f"cache-{name}",
            "--no-log-proofs", "--no-progress",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        digests.add(out.read_bytes())
        with BundleFile.open(out) as source:
            statement = BundleStatement.parse(ArchiveReader(source).read_statement().raw)
        [entry] = statement.images
        assert str(entry.image.digest) == image.digest
        assert f"blobs/sha256/{image.digest[7:]}" in {m.name for m in statement.metadata}
        signed = {str(item.subject) for item in entry.evidence if item.store == "signature-tag"}
        assert len(signed) == sets
        assert {image.digest, amd64(image).digest} <= signed
    assert len(digests) == 1, "the same bytes"


def test_our_own_loader_takes_it(maintainer: Maintainer, image: Image, tmp_path: Path) -> None:
    archive, _ = prepared(maintainer, image, tmp_path)
    (tmp_path / "far").mkdir()
    host = maintainer.host(tmp_path / "far")
    ran = host.run("load-archive", archive, "--into", f"oci:{host.loaded}", "--json")
    assert ran.status == 0, ran.err
    assert ran.verdict["images"][0]["image"] == amd64(image).digest
    assert ran.verdict["images"][0]["name"]["name"] == NAME


def test_a_signature_of_the_index_alone_is_not_enough_for_dangerzone(
    maintainer: Maintainer, tmp_path: Path
) -> None:
    image = hello_index(ContentStore())
    maintainer.sign(image)
    host = maintainer.host(tmp_path)
    image.store.tag("latest", image.descriptor)
    image.store.write_layout(tmp_path / "layout")
    done = airlock(
        "prepare-archive", f"{REPOSITORY}:latest=oci:{tmp_path}/layout:latest",
        "--policy", host.root / "etc/airlock/policy.toml", "--arch", "amd64",
        "--output", tmp_path / "out.tar", "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert done.returncode == 19, done.stderr
    assert "nobody signed this platform's own manifest" in done.stderr
    assert "signatures of the index alone" in done.stderr
    assert not (tmp_path / "out.tar").exists()


def test_what_the_policy_refuses_is_not_written(
    maintainer: Maintainer, image: Image, tmp_path: Path
) -> None:
    host = maintainer.host(tmp_path)
    (host.root / "etc/airlock/release.pub").write_bytes(
        maintainer.world.managed("other").public_pem
    )
    image.store.tag("latest", image.descriptor)
    image.store.write_layout(tmp_path / "layout")
    done = airlock(
        "prepare-archive", f"{REPOSITORY}:latest=oci:{tmp_path}/layout:latest",
        "--policy", host.root / "etc/airlock/policy.toml", "--arch", "amd64",
        "--output", tmp_path / "out.tar", "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert done.returncode in {11, 12}, done.stderr
    assert not (tmp_path / "out.tar").exists()


def test_from_a_registry(maintainer: Maintainer, image: Image, tmp_path: Path) -> None:
    host = maintainer.host(tmp_path)
    with FakeRegistry({"freedomofpress/dangerzone/v1": image.store}) as registry:
        # The policy is for ghcr.io; here it speaks of where the registry is.
        policy = host.root / "etc/airlock/policy.toml"
        policy.write_text(
            policy.read_text()
            .replace(REPOSITORY, f"{registry.host}/freedomofpress/dangerzone/v1")
            .replace('docker-reference = "match-repository"\n', "")
        )
        reference = registry.reference("freedomofpress/dangerzone/v1", image.digest)
        done = airlock(
            "prepare-archive", reference, "--plain-http", registry.host, "--policy", policy,
            "--arch", "amd64", "--output", tmp_path / "out-{arch}.tar",
            "--cache", tmp_path / "cache",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert accepted(tmp_path / "out-amd64.tar")[1] == amd64(image).digest


@pytest.mark.engine("cosign2")
@pytest.mark.may_skip("Dangerzone is no package: its code runs where a checkout is at hand")
@pytest.mark.skipif(not CHECKOUT, reason="AIRLOCK_DANGERZONE names no checkout of Dangerzone")
def test_dz_5_dangerzones_own_function_takes_it(
    maintainer: Maintainer, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs upgrade_container_image_airgapped itself; only podman and the paths are stand-ins."""
    archive, _ = prepared(maintainer, image, tmp_path)
    (tmp_path / "key.pub").write_bytes(maintainer.key.public_pem)
    (tmp_path / "rekor.pub").write_bytes(maintainer.world.rekor1.signer.public_pem)
    signatures, calls = _dangerzone(tmp_path, monkeypatch)
    name, digest = signatures.upgrade_container_image_airgapped(
        archive, pubkey=tmp_path / "key.pub", bypass_logindex=True
    )
    assert (name, f"sha256:{digest}") == (REPOSITORY, amd64(image).digest)
    assert calls == ["load", "tag"]
    assert list((tmp_path / "data").rglob(f"{digest}.json"))


@pytest.mark.engine("cosign2")
@pytest.mark.may_skip("Dangerzone is no package: its code runs where a checkout is at hand")
@pytest.mark.skipif(not CHECKOUT, reason="AIRLOCK_DANGERZONE names no checkout of Dangerzone")
def test_dz_5_what_dangerzones_own_function_prepares_is_taken(
    maintainer: Maintainer, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs prepare_airgapped_archive itself, with cosign and a registry; then load-archive."""
    (tmp_path / "key.pub").write_bytes(maintainer.key.public_pem)
    (tmp_path / "rekor.pub").write_bytes(maintainer.world.rekor1.signer.public_pem)
    signatures, _ = _dangerzone(tmp_path, monkeypatch)
    archive = tmp_path / "theirs.tar"
    with FakeRegistry({"freedomofpress/dangerzone/v1": image.store}) as registry:
        repository = f"{registry.host}/freedomofpress/dangerzone/v1"
        theirs = sys.modules["dangerzone.updater.registry"]
        theirs.get_digest_for_arch = lambda *_: amd64(image).digest  # type: ignore[attr-defined]
        theirs.replace_image_digest = (  # type: ignore[attr-defined]
            lambda _, digest: f"{repository}@{digest}"
        )
        signatures.prepare_airgapped_archive(
            f"{repository}@{image.digest}", str(archive), "amd64", pubkey=tmp_path / "key.pub"
        )
    (tmp_path / "far").mkdir()
    host = maintainer.host(tmp_path / "far")
    ran = host.run("load-archive", archive, "--into", f"oci:{host.loaded}", "--json")
    assert ran.status == 0, ran.err
    [loaded] = ran.verdict["images"]
    assert (loaded["image"], loaded["name"]["name"]) == (amd64(image).digest, NAME)


def _dangerzone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[str]]:
    calls: list[str] = []
    package = types.ModuleType("dangerzone")
    package.__path__ = [str(Path(CHECKOUT) / "dangerzone")]
    util, runtime = types.ModuleType("dangerzone.util"), types.ModuleType("runtime")

    def resource(name: str) -> Path:
        return {
            "vendor/cosign": TOOLS / "cosign2",
            "rekor.pub": folder / "rekor.pub",
            "freedomofpress-dangerzone.pub": folder / "key.pub",
        }.get(name, folder / name)

    util.get_resource_path = resource  # type: ignore[attr-defined]
    util.linux_system_is = lambda *_: False  # type: ignore[attr-defined]
    util.get_tails_socks_proxy = str  # type: ignore[attr-defined]
    util.subprocess_run = subprocess.run  # type: ignore[attr-defined]
    runtime.load_image_tarball = lambda _: calls.append("load")  # type: ignore[attr-defined]
    runtime.tag_image_by_digest = lambda *_: calls.append("tag")  # type: ignore[attr-defined]
    runtime.delete_image_digests = lambda *_: calls.append("delete")  # type: ignore[attr-defined]
    directories = types.ModuleType("platformdirs")
    directories.user_data_dir = lambda _: str(folder / "data")  # type: ignore[attr-defined]
    updater = types.ModuleType("dangerzone.updater")
    updater.__path__ = [str(Path(CHECKOUT) / "dangerzone/updater")]
    registry = types.ModuleType("dangerzone.updater.registry")
    import logging  # noqa: PLC0415

    updater.log = logging.getLogger("dangerzone")  # type: ignore[attr-defined]
    for name, module in {
        "dangerzone": package,
        "dangerzone.util": util,
        "dangerzone.container_utils": runtime,
        "dangerzone.updater": updater,
        "dangerzone.updater.registry": registry,
        "platformdirs": directories,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    package.container_utils = runtime  # type: ignore[attr-defined]
    updater.registry = registry  # type: ignore[attr-defined]
    spec = importlib.util.find_spec("dangerzone.updater.signatures")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "dangerzone.updater.signatures", module)
    spec.loader.exec_module(module)
    return module, calls
