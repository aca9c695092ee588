"""What gets signed: simple-signing payloads, in-toto statements, predicates of the usual types."""

from __future__ import annotations

from collections.abc import Mapping

from tests.fakes.sigworld.encoding import Json, compact

IN_TOTO = "application/vnd.in-toto+json"
STATEMENT_V1 = "https://in-toto.io/Statement/v1"
STATEMENT_V01 = "https://in-toto.io/Statement/v0.1"
COSIGN_SIGN = "https://sigstore.dev/cosign/sign/v1"
COSIGN_VULN = "https://cosign.sigstore.dev/attestation/vuln/v1"
SLSA_V02 = "https://slsa.dev/provenance/v0.2"
SLSA_V1 = "https://slsa.dev/provenance/v1"
SPDX = "https://spdx.dev/Document"
CYCLONEDX = "https://cyclonedx.org/bom"
SIMPLE_SIGNING_TYPE = "cosign container image signature"


def simple_signing(
    digest: str,
    reference: str = "registry.acme.example/acme/app",
    *,
    optional: Mapping[str, str] | None = None,
    kind: str = SIMPLE_SIGNING_TYPE,
) -> bytes:
    """cosign's payload, byte for byte as cosign writes it."""
    return compact(
        {
            "critical": {
                "identity": {"docker-reference": reference},
                "image": {"docker-manifest-digest": digest},
                "type": kind,
            },
            "optional": None if optional is None else dict(optional),
        }
    )


def statement(
    digest: str,
    predicate_type: str,
    predicate: object,
    *,
    name: str | None = None,
    annotations: Mapping[str, str] | None = None,
    version: str = STATEMENT_V1,
) -> Json:
    """An in-toto statement about one image digest."""
    algorithm, _, value = digest.partition(":")
    subject: Json = {} if name is None else {"name": name}
    subject["digest"] = {algorithm: value}
    if annotations is not None:
        subject["annotations"] = dict(annotations)
    return {
        "_type": version,
        "subject": [subject],
        "predicateType": predicate_type,
        "predicate": predicate,
    }


def image_statement(digest: str, annotations: Mapping[str, str] | None = None) -> Json:
    """What cosign 3 signs for an image: no name, an empty predicate, `-a` in the subject."""
    return statement(digest, COSIGN_SIGN, {}, annotations=annotations or {})


def slsa_v1(
    *,
    source: str = "https://github.com/acme/app",
    ref: str = "refs/tags/v1.0.0",
    commit: str = "5324d6edc3cd4edc6ae44251ec13884b1e7d4242",
    builder: str = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0",
    build_type: str = "https://actions.github.io/buildtypes/workflow/v1",
    path: str = ".github/workflows/release.yml",
) -> Json:
    """GitHub's provenance as `actions/attest-build-provenance` writes it."""
    return {
        "buildDefinition": {
            "buildType": build_type,
            "externalParameters": {"workflow": {"path": path, "ref": ref, "repository": source}},
            "internalParameters": {
                "github": {
                    "event_name": "push",
                    "repository_id": "1001",
                    "repository_owner_id": "2002",
                    "runner_environment": "github-hosted",
                }
            },
            "resolvedDependencies": [
                {"uri": f"git+{source}@{ref}", "digest": {"gitCommit": commit}}
            ],
        },
        "runDetails": {
            "builder": {"id": builder},
            "metadata": {"invocationId": f"{source}/actions/runs/3003/attempts/1"},
        },
    }


def slsa_v02(
    *,
    source: str = "https://github.com/acme/app",
    ref: str = "refs/tags/v1.0.0",
    commit: str = "5324d6edc3cd4edc6ae44251ec13884b1e7d4242",
    builder: str = (
        "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/"
        "generator_container_slsa3.yml@refs/tags/v2.0.0"
    ),
    build_type: str = "https://github.com/slsa-framework/slsa-github-generator/container@v1",
) -> Json:
    """Provenance of slsa-github-generator's container workflow."""
    uri = f"git+{source}@{ref}"
    digest = {"sha1": commit}
    kind = "tag" if ref.startswith("refs/tags/") else "branch"
    return {
        "builder": {"id": builder},
        "buildType": build_type,
        "invocation": {
            "configSource": {
                "uri": uri,
                "digest": digest,
                "entryPoint": ".github/workflows/release.yml",
            },
            "parameters": {},
            "environment": {
                "github_event_name": "push",
                "github_event_payload": {},
                "github_ref": ref,
                "github_ref_type": kind,
                "github_repository_id": "1001",
                "github_run_id": "3003",
                "github_sha1": commit,
            },
        },
        "metadata": {
            "buildInvocationID": "3003-1",
            "completeness": {"parameters": True, "environment": False, "materials": False},
            "reproducible": False,
        },
        "materials": [{"uri": uri, "digest": digest}],
    }


def vulnerabilities(finished: str = "2026-01-15T11:00:00Z", result: object | None = None) -> Json:
    """cosign's vuln predicate; ``result=None`` is the signed and empty one."""
    return {
        "invocation": {"parameters": [], "uri": "", "event_id": "", "builder.id": ""},
        "scanner": {
            "uri": "https://scanner.example",
            "version": "1.2.3",
            "db": {"uri": "https://scanner.example/db", "version": "2026-01-15"},
            "result": result,
        },
        "metadata": {"scanStartedOn": finished, "scanFinishedOn": finished},
    }


def spdx(name: str = "acme/app") -> Json:
    """A small SPDX document."""
    return {
        "spdxVersion": "SPDX-2.3",
        "SPDXID": "SPDXRef-DOCUMENT",
        "dataLicense": "CC0-1.0",
        "name": name,
        "documentNamespace": f"https://acme.example/{name}",
        "creationInfo": {"created": "2026-01-15T11:00:00Z", "creators": ["Tool: fake-1"]},
        "packages": [],
    }


def cyclonedx(name: str = "acme/app", version: str = "1.0.0") -> Json:
    """A small CycloneDX document."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name, "version": version}},
        "components": [],
    }
