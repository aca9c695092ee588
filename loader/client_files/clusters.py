"""For Kubernetes: a Kyverno ClusterPolicy, and ClusterImagePolicies of policy-controller.

Both as JSON, which is YAML. Where nothing of what the policy asks can be said, no rule is written,
and a note says so: a rule that asks for nothing would look like one that asks for something.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from loader.client_files.asked import Asked, CertificateSigner, KeySigner, Signed, Text

if TYPE_CHECKING:
    from loader.model.strictjson import JsonObject, JsonValue
    from loader.runtime.relocation import Destination

NAME: Final = "airlock"
_PATTERN: Final = "RegExp"


def moved(match: str, destination: Destination) -> str:
    """Return a pattern for the same images where they are now."""
    registry, slash, path = match.partition("/")
    if not slash or "*" in registry:
        return f"{destination}/**"
    return f"{destination.registry}/{destination.folder(registry)}/{path}"


def kyverno(destination: Destination, asked: Iterable[Asked]) -> JsonObject | None:
    """Return a ClusterPolicy (kyverno.io/v1) with a rule for each block that can be said."""
    rules: list[JsonValue] = []
    for position, block in enumerate(asked, start=1):
        if not block.signed:
            continue
        where = moved(block.match, destination).replace("**", "*")
        references: list[JsonValue] = (
            [where] if where.endswith("*") else [f"{where}:*", f"{where}@*"]
        )
        attestors: list[JsonValue] = [
            {"count": one.count, "entries": [_kyverno_entry(signer) for signer in one.signers]}
            for one in block.signed
        ]
        rules.append(
            {
                "name": f"image-{position}",
                "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
                "verifyImages": [
                    {
                        "imageReferences": references,
                        "attestors": attestors,
                        "mutateDigest": True,
                        "required": True,
                        "verifyDigest": True,
                    }
                ],
            }
        )
    if not rules:
        return None
    return {
        "apiVersion": "kyverno.io/v1",
        "kind": "ClusterPolicy",
        "metadata": {"name": NAME},
        "spec": {
            "background": False,
            "failurePolicy": "Fail",
            "validationFailureAction": "Enforce",
            "webhookTimeoutSeconds": 30,
            "rules": rules,
        },
    }


def cluster_image_policies(
    destination: Destination, asked: Iterable[Asked]
) -> tuple[tuple[JsonObject, ...], tuple[str, ...]]:
    """Return a ClusterImagePolicy for each signature rule, and what could not be said.

    All policies that match an image must hold, and of one policy any authority: so each rule is
    a policy of its own.
    """
    found: list[JsonObject] = []
    notes: list[str] = []
    for position, block in enumerate(asked, start=1):
        for number, rule in enumerate(block.signed, start=1):
            parts = _alternatives(rule)
            if parts is None:
                notes.append(
                    f"ClusterImagePolicy: {rule.count} of {len(rule.signers)} signers cannot be"
                    f" said for {block.match}: no policy was written for that"
                )
                continue
            for part, signers in enumerate(parts, start=1):
                found.append(
                    {
                        "apiVersion": "policy.sigstore.dev/v1beta1",
                        "kind": "ClusterImagePolicy",
                        "metadata": {"name": f"{NAME}-{position}-{number}-{part}"},
                        "spec": {
                            "images": [{"glob": moved(block.match, destination)}],
                            "mode": "enforce",
                            "authorities": [
                                _authority(signer, f"signer-{n}")
                                for n, signer in enumerate(signers, start=1)
                            ],
                        },
                    }
                )
    return tuple(found), tuple(notes)


def _alternatives(rule: Signed) -> tuple[tuple[KeySigner | CertificateSigner, ...], ...] | None:
    if rule.count == 1:
        return (rule.signers,)
    if rule.count == len(rule.signers):
        return tuple((one,) for one in rule.signers)
    return None


def _kyverno_entry(signer: KeySigner | CertificateSigner) -> JsonObject:
    match signer:
        case KeySigner():
            return {"keys": {"publicKeys": signer.pem, "rekor": {"ignoreTlog": not signer.logged}}}
        case CertificateSigner():
            return {"keyless": _said("issuer", signer.issuer) | _said("subject", signer.subject)}


def _authority(signer: KeySigner | CertificateSigner, name: str) -> JsonObject:
    match signer:
        case KeySigner():
            return {"name": name, "key": {"data": signer.pem}}
        case CertificateSigner():
            identity = _said("issuer", signer.issuer) | _said("subject", signer.subject)
            return {
                "name": name,
                "keyless": {"identities": [identity], "trustRootRef": signer.root},
            }


def _said(key: str, text: Text) -> JsonObject:
    return {f"{key}{_PATTERN}" if text.is_pattern else key: text.value}
