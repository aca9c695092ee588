"""Several trusted roots at once, by name: each rule is judged by its own, whoever else is pinned.

Row X-7: the public instance, one with timestamps alone, an own Fulcio and Rekor, and a plain key in
one policy. The valid signature of another domain is none, though both signers have one name.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes import attach
from tests.fakes.images import Image, hello_index
from tests.fakes.sigworld.identity import workflow
from tests.fakes.sigworld.world import World
from tests.unit.loader.policy.judging import entry_of, write
from tests.unit.loader.policy.scene import ISSUER, Scene

PREFIX = "registry.acme.example"
DOMAINS = ("public", "private", "own", "key")
HOW = {"private": 'log = "none"\nsct = 0\ntimestamps = 1\n'}


def speaker(domain: str, *, root: str = "") -> str:
    if domain == "key":
        return 'key = "release"\n'
    san = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0"
    return (
        f'trusted-root = "{root or domain}"\ncertificate-identity = "{san}"\n'
        f'certificate-oidc-issuer = "{ISSUER}"\n' + HOW.get(domain, "")
    )


def rule(domain: str, **how: str) -> str:
    return (
        f'[[image]]\nmatch = "{PREFIX}/{domain}/*"\nname = "as-packed"\n'
        f'[[image.require]]\nclaim = "signature"\n{speaker(domain, **how)}'
    )


POLICY = "".join(rule(domain) for domain in DOMAINS)


class Domains:
    """Four domains, pinned on one host, with one identity in the three that have certificates."""

    def __init__(self, folder: Path) -> None:
        self.scene = Scene(folder)
        self.worlds = {name: World(name) for name in ("public", "private", "own")}
        roots = {
            name: world.trusted_root(logs=[], ct_logs=[])
            if name == "private"
            else world.trusted_root()
            for name, world in self.worlds.items()
        }
        self.roots = {name: json.dumps(root).encode() for name, root in roots.items()}
        write(
            folder / "anchors",
            {f"{name}/trusted_root.json": raw for name, raw in self.roots.items()},
        )

    def image(self, signed_in: str) -> Image:
        image = hello_index(self.scene.store)
        world = self.worlds.get(signed_in, self.scene.world)
        signer = self.scene.release if signed_in == "key" else world.keyless(workflow())
        log = "v1" if signed_in in {"public", "own"} else "none"
        attach.attach_bundle(image, world.sign_image(image.digest, signer, log=log).bundle())
        return image


@pytest.fixture
def domains(tmp_path: Path) -> Domains:
    return Domains(tmp_path)


@pytest.mark.parametrize("signed_in", DOMAINS)
@pytest.mark.parametrize("asked_for", DOMAINS)
def test_only_its_own_domain_speaks_for_an_image(
    domains: Domains, asked_for: str, signed_in: str
) -> None:
    entry = entry_of(domains.image(signed_in), f"{PREFIX}/{asked_for}/app:1.0.0")
    if asked_for == signed_in:
        judgement = domains.scene.run(POLICY, entry)
        assert [claim.holds for claim in judgement.images[0].claims] == ["met"]
    else:
        refused = domains.scene.refused(POLICY, entry)
        assert refused.code == "signature.unverified"
        assert refused.exit_status == 11


def test_one_image_may_need_them_all(domains: Domains) -> None:
    # Blocks that match together add up: every domain must have signed.
    text = "".join(rule(domain).replace(f"/{domain}/*", "/all/*") for domain in DOMAINS)
    image = domains.image("public")
    entry = f"{PREFIX}/all/app:1.0.0"
    for domain in DOMAINS[1:]:
        assert len(domains.scene.refused(text, entry_of(image, entry)).reasons) >= 1
        image = domains.image(domain)  # the same bytes: one more signature on the same image
    judgement = domains.scene.run(text, entry_of(image, entry))
    assert [claim.holds for claim in judgement.images[0].claims] == ["met"] * len(DOMAINS)


def test_roots_in_the_lines_of_one_file(domains: Domains) -> None:
    # As `gh attestation trusted-root` writes them: public and private instance, one a line.
    lines = b"\n".join((domains.roots["public"], domains.roots["private"])) + b"\n"
    (domains.scene.folder / "both.jsonl").write_bytes(lines)
    text = '[anchor.both]\ntrusted-root = "both.jsonl"\n'
    text += rule("public", root="both") + rule("private", root="both")
    for domain in ("public", "private"):
        entry = entry_of(domains.image(domain), f"{PREFIX}/{domain}/app:1.0.0")
        assert domains.scene.run(text, entry)


@pytest.mark.parametrize("domain", ["public", "private"])
def test_a_root_outside_the_lines_counts_for_nothing(domains: Domains, domain: str) -> None:
    lines = b"\n".join((domains.roots["public"], domains.roots["private"]))
    (domains.scene.folder / "both.jsonl").write_bytes(lines)
    text = '[anchor.both]\ntrusted-root = "both.jsonl"\n' + rule(domain, root="both")
    entry = entry_of(domains.image("own"), f"{PREFIX}/{domain}/app:1.0.0")
    assert domains.scene.refused(text, entry).code == "signature.unverified"


def test_the_conditions_of_one_domain_do_not_leak_into_another(domains: Domains) -> None:
    # Both roots in one file: what the private instance lets go, the public one still asks for.
    lines = b"\n".join((domains.roots["public"], domains.roots["private"]))
    (domains.scene.folder / "both.jsonl").write_bytes(lines)
    text = '[anchor.both]\ntrusted-root = "both.jsonl"\n' + rule("public", root="both")
    entry = entry_of(domains.image("private"), f"{PREFIX}/public/app:1.0.0")
    assert domains.scene.refused(text, entry).code == "policy.condition"
