"""Write the files for clients into one folder; each whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from loader.client_files.asked import Asked, asked_of
from loader.client_files.clusters import cluster_image_policies, kyverno
from loader.client_files.runtimes import (
    hosts_toml,
    policy_json,
    registries_conf,
    registries_d,
    relocation_map,
)
from loader.errors import LocalError
from loader.policy.patterns import Glob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loader.digest import Digest
    from loader.model.reference import Reference
    from loader.model.strictjson import JsonObject
    from loader.policy.model import Policy
    from loader.runtime.relocation import Destination
    from loader.trust.store import TrustStore


def write_client_files(
    folder: Path,
    destination: Destination,
    images: Sequence[tuple[Reference, Digest]],
    *,
    policy: Policy,
    trust: TrustStore,
) -> tuple[str, ...]:
    """Write all files, and return what they could not be made to say.

    Args:
        folder: where; nothing is installed.
        destination: where images are now.
        images: their own names, and what the registry knows each by.
        policy: what is asked of them.
        trust: the keys that the policy names.

    Raises:
        LocalError: a file cannot be written.
    """
    references = [reference for reference, _ in images]
    asked = asked_of(policy, trust)
    names = {
        reference.name: tuple(
            block for block in asked if Glob.parse(block.match, where="").matches(reference)
        )
        for reference in references
    }
    containers, notes = policy_json(destination, asked, names)
    policies, further = cluster_image_policies(destination, asked)
    cluster = kyverno(destination, asked)
    registries = sorted({reference.registry for reference in references})
    for name, text in (
        ("registries.conf.d/50-airlock.conf", registries_conf(destination, registries)),
        ("policy.json", _json(containers)),
        ("registries.d/airlock.yaml", _json(registries_d(destination))),
        *((f"certs.d/{one}/hosts.toml", hosts_toml(destination, one)) for one in registries),
        *((("kyverno.yaml", _json(cluster)),) if cluster is not None else ()),
        *((("cluster-image-policy.yaml", "---\n".join(map(_json, policies))),) if policies else ()),
        ("relocation.json", _json(relocation_map(destination, images))),
    ):
        _write(folder / name, text)
    return (*notes, *further, *_unsaid(asked))


def _unsaid(asked: Sequence[Asked]) -> Iterator[str]:
    for block in asked:
        for text in block.unsaid:
            yield f"kyverno.yaml, cluster-image-policy.yaml: not asked: {text}"


def _json(document: JsonObject) -> str:
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as e:
        raise LocalError(
            "a file for clients cannot be written", where=str(path), found=e.strerror or ""
        ) from e
