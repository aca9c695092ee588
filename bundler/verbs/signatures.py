"""`signatures import`: ghcr-signer's folders, read and put where cosign keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loader.errors import UsageError, shown

if TYPE_CHECKING:
    import argparse

    from bundler.dangerzone.signatures import SignatureFolders
    from bundler.verbs.call import Call
    from loader.model.strictjson import JsonObject

HELP: Final = "read signature folders that ghcr-signer prepared"
DESCRIPTION: Final = (
    "Read ghcr-signer's signature folders and say what they are about. `airlock pack --signatures "
    "DIR` takes them as evidence beside a registry's own; --into puts them into an OCI layout."
)
SCHEMA: Final = "airlock-signatures/1"


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    one = commands.add_parser("import", help=HELP, description=DESCRIPTION, allow_abbrev=False)
    one.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="SIGNATURES, one of its dates, or one digest's folder",
    )
    one.add_argument("--into", metavar="oci:DIR", help="attach them to the images of this layout")
    one.add_argument("--json", action="store_true", help=f"schema {SCHEMA}")


def run(call: Call) -> int:
    """Read, attach where asked to, and say what there is."""
    from bundler.dangerzone.into_layout import attach  # noqa: PLC0415
    from bundler.dangerzone.signatures import SignatureFolders  # noqa: PLC0415

    options = call.arguments
    folders = SignatureFolders.read(*options.folders)
    tags: tuple[str, ...] = ()
    if options.into is not None:
        kind, _, path = options.into.partition(":")
        if kind != "oci" or not path:
            raise UsageError("not a layout", where="--into", expected="oci:DIR", found=options.into)
        tags = attach(folders, Path(path))
    if options.json:
        print(json.dumps(_document(folders, tags), indent=2, sort_keys=True))
        return 0
    for folder in folders.folders:
        where = shown(str(folder.path))[1:-1]
        print(f"{folder.reference.name}@{folder.subject}  1 signature ({where})")
    for name, digest in folders.tags.items():
        print(f"tag plan: {name} -> {digest}")
    if tags:
        print(f"attached to {options.into}: {len(tags)} digests")
    print("not judged yet: airlock verify or pack, under a policy, says whether they hold")
    return 0


def _document(folders: SignatureFolders, tags: tuple[str, ...]) -> JsonObject:
    return {
        "schema": SCHEMA,
        "signatures": [
            {
                "repository": folder.reference.name,
                "digest": str(folder.subject),
                "manifest": str(folder.manifest.digest),
                "latest": folder.latest,
            }
            for folder in folders.folders
        ],
        "tags": {name: str(digest) for name, digest in folders.tags.items()},
        "attached": list(tags),
    }
