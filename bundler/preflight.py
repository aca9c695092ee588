"""The far side's judge, on this side: what it would refuse is not sealed (DESIGN §4, decision 10).

There is no way around the policy here. Whoever wants to carry something that the policy refuses
changes the policy, on both sides, where it can be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from bundler.store import ContentStore
from loader.errors import UsageError
from loader.judge import judge, judge_statement
from loader.limits import DEFAULT_LIMITS
from loader.model.bundle import BlobSource, BundleStatement, TrustEntry
from loader.model.descriptor import Descriptor
from loader.model.reference import Reference
from loader.policy.claims.bundle_signature import BundleSignatureClaim
from loader.policy.facts import Judgement
from loader.policy.model import Policy
from loader.trust.anchors import label_of
from loader.trust.freshness import Reckoned
from loader.trust.store import TrustStore

WHEN_PACKED: Final = (
    "what the policy asks of a bundle (signature, channel) is judged when it is packed"
)
"""What is said where an image that is in no bundle is judged."""

_MEDIA_TYPES: Final = {
    "key": "application/x-pem-file",
    "trusted-root": "application/vnd.dev.sigstore.trustedroot+json",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FarSide:
    """The policy of the host that will load the bundle, with the anchors that it names."""

    policy: Policy
    trust: TrustStore

    @classmethod
    def open(cls, path: Path, variables: Mapping[str, str] | None = None) -> FarSide:
        """Read a policy and every anchor it refers to; fill it with the variables of this run.

        Raises:
            PolicyFileError, AnchorFileError: either cannot be understood.
            TrustRootError: a trusted root that it names is nowhere.
        """
        try:
            with path.open("rb") as file:
                raw = file.read(DEFAULT_LIMITS.policy_size_max + 1)
        except OSError as e:
            raise UsageError(
                "the policy cannot be read", where=str(path), found=e.strerror or ""
            ) from e
        return cls.read(raw, where=str(path), folder=path.parent, variables=variables)

    @classmethod
    def read(
        cls, raw: bytes, *, where: str, folder: Path, variables: Mapping[str, str] | None = None
    ) -> FarSide:
        """Read the policy that these bytes write; files that it names are relative to `folder`.

        Raises:
            PolicyFileError, AnchorFileError, TrustRootError: as `open`.
        """
        policy = Policy.parse(raw, where=where, variables=variables)
        return cls(policy=policy, trust=TrustStore.open(policy, policy_directory=folder))

    @property
    def asks_of_bundles(self) -> bool:
        """Whether the policy asks for something that only a bundle can have."""
        return bool(self.policy.channels) or any(
            isinstance(one, BundleSignatureClaim)
            for rule in self.policy.rules
            for one in rule.require
        )

    @property
    def before_packing(self) -> FarSide:
        """The same policy without what it asks of a bundle, for images that are in none yet.

        Their names are then as they are asked for: it is often a bundle's signature that gives
        an image its name.
        """
        beside = self.beside_bundle
        rules = tuple(replace(rule, name="as-packed") for rule in beside.policy.rules)
        return replace(beside, policy=replace(beside.policy, rules=rules))

    @property
    def beside_bundle(self) -> FarSide:
        """The same policy without what it asks of a bundle, and nothing else changed."""
        rules = tuple(
            replace(
                rule,
                require=tuple(
                    one for one in rule.require if not isinstance(one, BundleSignatureClaim)
                ),
            )
            for rule in self.policy.rules
        )
        return replace(self, policy=replace(self.policy, rules=rules, channels=()))

    def between_registries(self, reference: Reference) -> FarSide:
        """Return the same policy without what it asks of a bundle, for an image that moves alone.

        Where the policy leaves it to a bundle's signature to name this image, the name stays as
        it is asked for; else evidence must name it here, too.

        Raises:
            UsageError: nothing would be left to verify.
        """
        asked = self.policy.rules_for(reference).require
        if not any(isinstance(one, BundleSignatureClaim) for one in asked):
            return self.beside_bundle
        if all(isinstance(one, BundleSignatureClaim) for one in asked):
            raise UsageError(
                "the policy asks for nothing but a bundle signature, and a registry has no bundle",
                where=reference.name,
                hint="promote under a policy for this step, which asks for what registries hold",
            )
        return self.before_packing

    def judge(
        self,
        statement: BundleStatement,
        signatures: tuple[bytes, ...],
        blobs: BlobSource,
        *,
        now: datetime,
    ) -> Judgement:
        """Return the judgement, if the far side would load this bundle.

        Raises:
            RefusedError: it would not; a policy's refusal carries its `judgement`.
        """
        # Whether an operator there has confirmed a newer root, nobody here knows.
        rules = tuple(replace(rule, root_change="take") for rule in self.policy.anchor_rules)
        policy = replace(self.policy, anchor_rules=rules)
        claims = judge_statement(statement, signatures, policy=policy, trust=self.trust, now=now)
        found = judge(statement, claims, blobs, policy=policy, trust=self.trust, now=now).value
        time = Reckoned(clock=now, evidence=found.reference_time)
        for age in found.renewal.trust.ages(self.policy.anchor_rules, time):
            if age.problem is not None:
                raise age.problem
        return found

    def carried(self, store: ContentStore) -> tuple[TrustEntry, ...]:
        """Put the anchors into the store and return what the statement says of them.

        The far side never trusts them by themselves; they show it, and an auditor, what this
        bundle was judged by here.
        """
        entries = []
        for anchor in self.trust.anchors:
            if anchor.kind == "notary-root":
                continue  # what travels is the repository's metadata, not where trust in it begins
            if anchor.kind == "tuf-root":
                continue  # what chains to it travels, as `bundler.tuf` captured it
            raw = Path(anchor.origin).read_bytes()
            blob = Descriptor.make(_MEDIA_TYPES[anchor.kind], raw)
            store.put(raw)
            label = label_of(anchor.name)
            entries.append(TrustEntry(anchor=label, kind=anchor.kind, blobs=(blob,)))
        return tuple(sorted(entries, key=lambda entry: entry.anchor))
