"""For podman, CRI-O, skopeo and containerd: where images are, and who must have signed them.

    registries.conf.d/50-airlock.conf   containers-registries.conf(5): a name's location
    certs.d/REGISTRY/hosts.toml         containerd's hosts directory
    policy.json                         containers-policy.json(5): closed but for what is named
    registries.d/airlock.yaml           containers-registries.d(5): signatures beside the image
    relocation.json                     for scripts: each image's own name, and the one it has here

The source's registry is never asked: its names lead to the enclave's registry alone. Loopback is
spoken to without TLS, as docker and containerd do; everything else with it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from loader.client_files.asked import Asked, KeySigner
from loader.runtime.relocation import Destination

if TYPE_CHECKING:
    from loader.digest import Digest
    from loader.model.reference import Reference
    from loader.model.strictjson import JsonObject, JsonValue

REJECT: Final = "reject"
RELOCATION_SCHEMA: Final = "airlock-relocation/1"
_HEAD: Final = "# Written by airlock-loader. Names of the sources lead to the enclave's registry.\n"
_LOOPBACK: Final = ("127.", "localhost", "[::1]")


def registries_conf(destination: Destination, registries: Iterable[str]) -> str:
    """Return the drop-in that maps each source registry to its place."""
    insecure = "insecure = true\n" if _is_loopback(destination) else ""
    blocks = (
        f'\n[[registry]]\nprefix = "{registry}"\n'
        f'location = "{destination.registry}/{destination.folder(registry)}"\n{insecure}'
        for registry in sorted(set(registries))
    )
    return "".join((_HEAD, *blocks))


def hosts_toml(destination: Destination, registry: str) -> str:
    """Return containerd's `hosts.toml` of one source registry."""
    scheme = "http" if _is_loopback(destination) else "https"
    url = f"{scheme}://{destination.registry}/v2/{destination.folder(registry)}"
    return (
        f'{_HEAD}server = "{url}"\n\n'
        f'[host."{url}"]\n'
        '  capabilities = ["pull", "resolve"]\n'
        "  override_path = true\n"
    )


def registries_d(destination: Destination) -> JsonObject:
    """Return where signatures are: beside the image, as cosign puts them."""
    scopes: dict[str, JsonValue] = {str(destination): {"use-sigstore-attachments": True}}
    return {"docker": scopes}


def relocation_map(
    destination: Destination, images: Iterable[tuple[Reference, Digest]]
) -> JsonObject:
    """Return schema `airlock-relocation/1`: from source to destination names."""
    found = sorted(set(images), key=lambda image: str(image[0]))
    registries = sorted({reference.registry for reference, _ in found})
    return {
        "schema": RELOCATION_SCHEMA,
        "registries": {
            one: f"{destination.registry}/{destination.folder(one)}" for one in registries
        },
        "images": [
            {"source": str(source), "here": str(destination.of(source)), "digest": str(digest)}
            for source, digest in found
        ],
    }


def policy_json(
    destination: Destination, asked: Iterable[Asked], names: Mapping[str, tuple[Asked, ...]]
) -> tuple[JsonObject, tuple[str, ...]]:
    """Return a policy that is closed but for what is named, and what it could not say.

    Args:
        destination: where images are.
        asked: all blocks of the policy.
        names: full names of the images of this bundle, each with the blocks that match it.
    """
    scopes: dict[str, JsonValue] = {}
    notes: list[str] = []
    for block in asked:
        if block.match.endswith("/**") and "*" not in block.match[:-3]:
            scope = block.match[:-3]
            _enter(scopes, scope, (block,), destination, notes)
    for name, blocks in sorted(names.items()):
        _enter(scopes, name, blocks, destination, notes)
    plain: JsonObject = {
        "default": [{"type": REJECT}],
        "transports": {"docker": scopes},
    }
    return plain, tuple(dict.fromkeys(notes))


def _enter(
    scopes: dict[str, JsonValue],
    scope: str,
    blocks: tuple[Asked, ...],
    destination: Destination,
    notes: list[str],
) -> None:
    registry, _, path = scope.partition("/")
    there = f"{destination.registry}/{destination.folder(registry)}"
    requirements = list(_requirements(blocks, signed=registry, there=there))
    if not requirements or None in requirements:
        notes.append(
            f"policy.json: what the policy asks of {scope} cannot be said there: it is closed"
        )
        requirements = [{"type": REJECT}]
    else:
        unsaid = [text for block in blocks for text in block.unsaid]
        notes += [f"policy.json: not asked again of {scope}: {text}" for text in unsaid]
    said: list[JsonValue] = [one for one in requirements if one is not None]
    scopes[scope] = said
    scopes[f"{there}/{path}" if path else there] = said


def _requirements(
    blocks: tuple[Asked, ...], *, signed: str, there: str
) -> Iterator[JsonObject | None]:
    """Yield what each signature rule is there, or None where it is nothing."""
    for block in blocks:
        for rule in block.signed:
            keys = [one for one in rule.signers if isinstance(one, KeySigner)]
            if len(keys) != len(rule.signers) or (len(keys) > 1 and rule.count != len(keys)):
                yield None  # keyless by a workflow, or some of several keys: no words for it
                continue
            for key in keys:
                yield {
                    "type": "sigstoreSigned",
                    "keyData": base64.b64encode(key.pem.encode()).decode(),
                    "signedIdentity": {
                        "type": "remapIdentity",
                        "prefix": there,
                        "signedPrefix": signed,
                    },
                }


def _is_loopback(destination: Destination) -> bool:
    return destination.registry.startswith(_LOOPBACK)
