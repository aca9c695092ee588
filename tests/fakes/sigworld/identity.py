"""Who a keyless certificate says signed: a workflow with all its extensions, or a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography import x509

from tests.fakes.sigworld.ca import email, uri

GITHUB_ISSUER = "https://token.actions.githubusercontent.com"
GITHUB_LOGIN_ISSUER = "https://github.com/login/oauth"
_SERVER = "https://github.com"
COMMIT = "5324d6edc3cd4edc6ae44251ec13884b1e7d4242"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A subject alternative name and the Fulcio extensions by their last arc."""

    san: x509.GeneralName
    extensions: Mapping[int, str] = field(default_factory=dict)

    def but(self, changes: Mapping[int, str | None]) -> Identity:
        """The same with some extensions changed, or left out where the value is ``None``."""
        merged = {**self.extensions, **changes}
        kept = {number: text for number, text in merged.items() if text is not None}
        return Identity(san=self.san, extensions=kept)


def person(address: str, issuer: str = GITHUB_LOGIN_ISSUER) -> Identity:
    """Somebody who logged in."""
    return Identity(san=email(address), extensions={1: issuer, 8: issuer})


def workflow(
    repository: str = "acme/app",
    *,
    file: str = "release.yml",
    ref: str = "refs/tags/v1.0.0",
    commit: str = COMMIT,
    event: str = "push",
    called: str | None = None,
    called_commit: str | None = None,
    issuer: str = GITHUB_ISSUER,
    visibility: str = "public",
    runner: str = "github-hosted",
    environment: str | None = None,
) -> Identity:
    """A GitHub Actions run.

    ``called`` is a reusable workflow, ``owner/repo/.github/workflows/x.yml@ref``: it becomes the
    SAN and the build signer, while source and build configuration stay those of the caller.
    """
    source = f"{_SERVER}/{repository}"
    caller = f"{source}/.github/workflows/{file}@{ref}"
    signer = caller if called is None else f"{_SERVER}/{called}"
    owner = repository.partition("/")[0]
    extensions = {
        1: issuer,
        2: event,
        3: commit,
        4: "Release",
        5: repository,
        6: ref,
        8: issuer,
        9: signer,
        10: called_commit or commit,
        11: runner,
        12: source,
        13: commit,
        14: ref,
        15: "1001",
        16: f"{_SERVER}/{owner}",
        17: "2002",
        18: caller,
        19: commit,
        20: event,
        21: f"{source}/actions/runs/3003/attempts/1",
        22: visibility,
        24: f"repo:{repository}:ref:{ref}",
    }
    if environment is not None:
        extensions[23] = environment
    return Identity(san=uri(signer), extensions=extensions)
