"""ghcr-signer's signature folders: read whole, attached, or refused (DZ-9). The real ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.dangerzone.into_layout import attach
from bundler.dangerzone.signatures import SignatureFolders
from bundler.errors import SourceError
from bundler.registry.layout import FolderFiles, LayoutRepository
from loader.digest import Digest
from loader.errors import AirlockError, FormatError
from tests.e2e.collecting import gather
from tests.e2e.dangerzone_archives import REPOSITORY, Maintainer
from tests.fakes.images import Image

pytestmark = pytest.mark.engine("shared")
NEWEST = "8c05ee4d526fc26649778fed8d8fdaa7e6efab4ad79e0904a6449682de1adf99"


@pytest.fixture
def real(shared_dir: Path) -> Path:
    return shared_dir / "real/ghcr-signer"


def test_dz_9_three_digests_of_a_date_and_its_tag_plan(real: Path, tmp_path: Path) -> None:
    folders = SignatureFolders.read(real / "2026-04-27")
    assert len(folders.folders) == 3
    assert {folder.reference.name for folder in folders.folders} == {REPOSITORY}
    assert folders.tags == {f"{REPOSITORY}:latest": Digest(NEWEST)}
    tags = attach(folders, tmp_path / "layout")
    assert len(tags) == 3
    layout = LayoutRepository(FolderFiles(tmp_path / "layout"), "layout")
    for folder in folders.folders:
        document = layout.tagged(f"sha256-{folder.subject.hex}.sig")
        assert document is not None
        assert document.descriptor.digest == folder.manifest.digest
    before = (tmp_path / "layout/index.json").read_bytes()
    assert attach(folders, tmp_path / "layout") == tags
    assert (tmp_path / "layout/index.json").read_bytes() == before, "twice is once"


def test_all_dates_together_and_the_newest_date_has_the_tag(real: Path) -> None:
    folders = SignatureFolders.read(real)
    assert len(folders.folders) == 6
    assert list(folders.tags.values()) == [Digest(NEWEST)]


def test_one_digests_folder_alone(real: Path) -> None:
    assert len(SignatureFolders.read(real / "2026-04-27" / NEWEST).folders) == 1


def _image_of_another(folder: Path) -> None:
    (folder / "IMAGE").write_text(f"{REPOSITORY}@sha256:{'0' * 64}")


def _renamed(folder: Path) -> None:
    folder.rename(folder.with_name("0" * 64))


def _another_repository(folder: Path) -> None:
    (folder / "IMAGE").write_text(f"ghcr.io/evil/dangerzone@sha256:{folder.name}")


def _payload_changed(folder: Path) -> None:
    path = folder / "PAYLOAD_BLOB"
    path.write_bytes(path.read_bytes().replace(b"null", b"nul1"))


def _config_gone(folder: Path) -> None:
    (folder / "CONFIG_BLOB").unlink()


def _link(folder: Path) -> None:
    (folder / "CONFIG_BLOB").unlink()
    (folder / "CONFIG_BLOB").symlink_to("/etc/passwd")


def _two_layers(folder: Path) -> None:
    manifest = json.loads((folder / "MANIFEST").read_text())
    manifest["layers"] *= 2
    (folder / "MANIFEST").write_text(json.dumps(manifest))


def _no_json(folder: Path) -> None:
    (folder / "MANIFEST").write_text("{")


def _huge(folder: Path) -> None:
    (folder / "PAYLOAD_BLOB").write_bytes(b" " * 2_000_000)


BROKEN: dict[str, Callable[[Path], None]] = {
    "IMAGE names another digest": _image_of_another,
    "the folder is renamed": _renamed,
    "IMAGE names another repository": _another_repository,
    "a changed payload": _payload_changed,
    "no config": _config_gone,
    "a link": _link,
    "two signatures": _two_layers,
    "no JSON": _no_json,
    "a huge payload": _huge,
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_dz_9_a_folder_that_is_not_whole_is_refused(
    change: Callable[[Path], None], real: Path, tmp_path: Path
) -> None:
    shutil.copytree(real / "2026-04-27", tmp_path / "date")
    change(tmp_path / "date" / NEWEST)
    with pytest.raises((FormatError, SourceError)):
        SignatureFolders.read(tmp_path / "date")


def test_a_folder_without_signatures_says_so(tmp_path: Path) -> None:
    with pytest.raises(AirlockError, match="no signature folder here"):
        SignatureFolders.read(tmp_path)


def test_signatures_in_folders_count_beside_those_of_a_layout(tmp_path: Path) -> None:
    maintainer = Maintainer()
    image = maintainer.image("both", multi=True)
    where = tmp_path / "SIGNATURES/2026-05-01"
    for one in (image, *image.children):
        _prepared(one, where / one.digest[7:])
    bare = maintainer.image("both", multi=True)  # the same image, and nobody signed it here
    for tag in [tag for tag in bare.store.tags if tag.endswith(".sig")]:
        del bare.store.tags[tag]
    bare.store.tag("latest", bare.descriptor)
    bare.store.write_layout(tmp_path / "layout")
    source = f"{REPOSITORY}:latest=oci:{tmp_path}/layout:latest"
    (without,), _ = gather([source], tmp_path / "cache")
    assert without.entry.evidence == ()
    (found,), store = gather(
        [source], tmp_path / "cache", signatures_in=SignatureFolders.read(tmp_path / "SIGNATURES")
    )
    assert {item.store for item in found.entry.evidence} == {"signature-tag"}
    assert len(found.entry.evidence) == 3
    for item in found.entry.evidence:
        assert store.holds(item.manifest)


def _prepared(image: Image, folder: Path) -> None:
    """Write what ghcr-signer's `prepare` writes of an image's signature."""
    folder.mkdir(parents=True)
    described = image.store.describe(f"sha256-{image.digest[7:]}.sig")
    manifest = image.store.read(described["digest"])
    document = json.loads(manifest)
    (folder / "IMAGE").write_text(f"{REPOSITORY}@{image.digest}")
    (folder / "MANIFEST").write_bytes(manifest)
    (folder / "PAYLOAD_BLOB").write_bytes(image.store.read(document["layers"][0]["digest"]))
    (folder / "CONFIG_BLOB").write_bytes(image.store.read(document["config"]["digest"]))
