"""A stage for tests of the judge: a signing world, a store, a policy with its anchors, one call."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest

from loader.errors import PolicyError
from loader.judge import judge, judge_statement
from loader.model.bundle import BundleStatement, ImageEntry, TrustEntry
from loader.policy.facts import Judgement
from loader.policy.model import Policy
from loader.trust.store import TrustStore
from tests.fakes.content import ContentStore, Json
from tests.fakes.images import Image, hello_index
from tests.fakes.sigworld.keys import Signer
from tests.fakes.sigworld.world import World
from tests.unit.loader.policy.judging import CREATED, NAME, Blobs, entry_of, statement_of, write

AS_PACKED = f"""
[[image]]
match = "{NAME}"
name = "as-packed"
"""
VOUCHED = AS_PACKED.replace('name = "as-packed"\n', "")
KEY = """
[[image.require]]
claim = "signature"
key = "release"
"""
IDENTITY = r"https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0"
ISSUER = "https://token.actions.githubusercontent.com"
KEYLESS = f"""
[[image.require]]
claim = "signature"
trusted-root = "acme"
certificate-identity = "{IDENTITY}"
certificate-oidc-issuer = "{ISSUER}"
"""
PACKER = """
[[image.require]]
claim = "bundle-signature"
key = "packer"
"""


@dataclass
class Scene:
    """One image in one store; anchors `release`, `packer` (keys) and `acme` (root) are pinned."""

    folder: Path
    world: World = field(default_factory=World)
    store: ContentStore = field(default_factory=ContentStore)

    def __post_init__(self) -> None:
        self.image: Image = hello_index(self.store)
        self.release: Signer = self.world.managed("release")
        self.packer: Signer = self.world.managed("packer")
        write(
            self.folder / "anchors",
            {
                "release/key.pub": self.release.public_pem,
                "packer/key.pub": self.packer.public_pem,
                "second/key.pub": self.world.managed("second").public_pem,
                "acme/trusted_root.json": json.dumps(self.world.trusted_root()).encode(),
            },
        )

    def policy(self, text: str, variables: Mapping[str, str] | None = None) -> Policy:
        return Policy.parse(
            f"schema = 1\n{text}".encode(), where="policy.toml", variables=variables
        )

    def trust(self, policy: Policy) -> TrustStore:
        return TrustStore.open(
            policy, policy_directory=self.folder, builtin=self.folder / "nowhere"
        )

    def statement(
        self,
        *entries: ImageEntry,
        expires: datetime | None = None,
        trust: Sequence[TrustEntry] = (),
    ) -> BundleStatement:
        return statement_of(
            *(entries or (entry_of(self.image),)),
            blobs=Blobs(self.store),
            expires=expires,
            trust=trust,
        )

    def sealed(self, statement: BundleStatement, *signers: Signer) -> tuple[bytes, ...]:
        """The statement's signatures by these signers, as `airlock pack --sign-key` makes them."""
        return tuple(
            encoded(self.world.sign(statement.raw, one, log="none").bundle()) for one in signers
        )

    def run(
        self,
        text: str,
        *entries: ImageEntry,
        statement: BundleStatement | None = None,
        signatures: Sequence[bytes] | None = None,
        signers: Sequence[Signer] = (),
        now: datetime = CREATED,
        variables: Mapping[str, str] | None = None,
    ) -> Judgement:
        policy = self.policy(text, variables)
        trust = self.trust(policy)
        statement = statement or self.statement(*entries)
        if signatures is None:
            signatures = self.sealed(statement, *signers)
        claims = judge_statement(statement, tuple(signatures), policy=policy, trust=trust, now=now)
        blobs = Blobs(self.store)
        return judge(statement, claims, blobs, policy=policy, trust=trust, now=now).value

    def refused(
        self,
        text: str,
        *entries: ImageEntry,
        statement: BundleStatement | None = None,
        signatures: Sequence[bytes] | None = None,
        signers: Sequence[Signer] = (),
        now: datetime = CREATED,
        variables: Mapping[str, str] | None = None,
    ) -> PolicyError:
        with pytest.raises(PolicyError) as caught:
            self.run(
                text,
                *entries,
                statement=statement,
                signatures=signatures,
                signers=signers,
                now=now,
                variables=variables,
            )
        assert isinstance(caught.value.judgement, Judgement)
        return caught.value


def encoded(value: Json) -> bytes:
    return json.dumps(value).encode()
