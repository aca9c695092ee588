"""A layout that the loader wrote, read by tools that people have."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from loader.runtime.oci_layout import OciLayout
from tests.runtime_images import make_image

NAME = "127.0.0.1:5000/acme/app:1.0"


@pytest.mark.engine("skopeo")
def test_skopeo_reads_the_layout(tmp_path: Path) -> None:
    image = make_image("readable", absent=("s390x",))
    folder = tmp_path / "loaded"
    OciLayout(folder).load(image.request(NAME))
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", f"oci:{folder}:{NAME}"],
        check=True,
        capture_output=True,
        timeout=60,
    ).stdout
    assert raw == image.parts.top.raw
    seen = subprocess.run(
        ["skopeo", "inspect", f"oci:{folder}:{NAME}"], check=True, capture_output=True, timeout=60
    ).stdout
    assert json.loads(seen)["Layers"] == [
        str(descriptor.digest) for descriptor in image.kept[0].manifest.layers
    ]


@pytest.mark.engine("umoci")
def test_umoci_lists_the_layout(tmp_path: Path) -> None:
    folder = tmp_path / "loaded"
    OciLayout(folder).load(make_image("listed").request(NAME))
    listed = subprocess.run(
        ["umoci", "ls", "--layout", str(folder)], check=True, capture_output=True, timeout=60
    ).stdout
    assert listed.decode().split() == [NAME]
