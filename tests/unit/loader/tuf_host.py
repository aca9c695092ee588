"""A host whose policy names a TUF root, and bundles that bring the repository."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from loader.errors import RefusedError
from loader.judge import judge, judge_statement
from loader.model.bundle import BundleStatement, TrustEntry
from loader.model.descriptor import Descriptor
from loader.policy.facts import Judgement
from loader.renewal import remembered
from loader.trust.memory import NO_MEMORY, TrustMemory
from tests.fakes import attach
from tests.fakes.sigworld.identity import person
from tests.fakes.tuf_repository import TufRepository
from tests.unit.loader.policy.judging import CREATED, Blobs
from tests.unit.loader.policy.scene import AS_PACKED, IDENTITY, ISSUER, Scene

KEYLESS = f"""
[[image.require]]
claim = "signature"
trusted-root = "grown"
certificate-identity = "{IDENTITY}"
certificate-oidc-issuer = "{ISSUER}"
"""
ANCHOR = "\n[anchor.grown]\ntuf-root = 'anchors/grown/root.json'\n"
POLICY = AS_PACKED + KEYLESS + ANCHOR
SEALED = """
[[image.require]]
claim = "bundle-signature"
trusted-root = "grown"
certificate-identity = "packer@acme.example"
certificate-oidc-issuer = "https://github.com/login/oauth"
"""
CARRIED = "trusted_root.json"


class Far(Scene):
    """A host whose policy names a TUF root; bundles bring the trusted root."""

    def __init__(self, folder: Path, repository: TufRepository) -> None:
        super().__init__(folder)
        self.repository = repository
        self.memory: TrustMemory = NO_MEMORY
        self.pin(repository.roots[1])
        attach.attach_bundle(
            self.image,
            self.world.sign_image(self.image.digest, self.world.keyless()).bundle(),
        )

    def pin(self, root: bytes, *, name: str = "grown") -> None:
        path = self.folder / "anchors" / name / "root.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(root)

    def entry(self, files: Mapping[str, bytes], *, anchor: str = "grown") -> TrustEntry:
        blobs = []
        for raw in files.values():
            self.store.add(raw, "application/json")
            blobs.append(Descriptor.make("application/json", raw))
        return TrustEntry(
            anchor=anchor, kind="tuf", blobs=tuple(blobs), repository=anchor, names=tuple(files)
        )

    def carrying(self, *entries: TrustEntry) -> BundleStatement:
        return self.statement(trust=entries)

    def judged(
        self,
        *entries: TrustEntry,
        text: str = POLICY,
        memory: TrustMemory | None = None,
        signers: tuple[object, ...] = (),
    ) -> Judgement:
        memory = self.memory if memory is None else memory
        policy = self.policy(text)
        trust = remembered(self.trust(policy), memory)
        statement = self.carrying(*entries)
        signatures = self.sealed_keyless(statement) if signers else ()
        claims = judge_statement(statement, signatures, policy=policy, trust=trust, now=CREATED)
        blobs = Blobs(self.store)
        return judge(
            statement, claims, blobs, policy=policy, trust=trust, now=CREATED, memory=memory
        ).value

    def accept(self, *entries: TrustEntry, text: str = POLICY) -> Judgement:
        found = self.judged(*entries, text=text)
        self.memory = self.memory.with_seen(found.learned.seen, found.learned.files)
        return found

    def sealed_keyless(self, statement: BundleStatement) -> tuple[bytes, ...]:
        packer = self.world.keyless(person("packer@acme.example"))
        return (json.dumps(self.world.sign(statement.raw, packer).bundle()).encode(),)

    def code(self, *entries: TrustEntry, text: str = POLICY, **options: object) -> str:
        with pytest.raises(RefusedError) as caught:
            self.judged(*entries, text=text, **options)  # type: ignore[arg-type]
        return caught.value.code
