from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.digest import Digest
from loader.errors import (
    DigestError,
    IdentityError,
    InputError,
    RollbackError,
    UnvouchedNameError,
)
from loader.graph import ImageGraph, KeptManifest
from loader.model.bundle import BundleStatement, ImageEntry
from loader.model.descriptor import OCI_CONFIG, OCI_MANIFEST, Descriptor, Platform
from loader.model.image import ImageManifest
from loader.model.reference import Reference
from loader.places import Places
from loader.policy.claims.bundle_signature import BundleSignatureClaim
from loader.policy.claims.signature import SignatureClaim
from loader.policy.facts import (
    BundleClaims,
    ClaimResult,
    ImageJudgement,
    Judgement,
    LogPosition,
    Problem,
    VouchedName,
)
from loader.policy.model import Policy
from loader.policy.rules import ImagePolicy
from loader.policy.speakers import KeySpeaker, Said
from loader.renewal import Renewal
from loader.report import LINE_LENGTH_MAX, Outcome, as_json, as_text, error_lines, plain
from loader.run import Host, Trace, Wish
from loader.runtime.base import Receipt
from loader.state.admission import Admission
from loader.state.floors import Floors
from loader.trust.store import TrustStore

AT = datetime(2026, 1, 15, 12, 0, 2, tzinfo=UTC)
HOSTILE = "x\x1b[31m\n\r\u202eevil\udcff" + "%s{}[red]"
RAW = b'{"schemaVersion":2}'
APP = Reference.parse("registry.example/acme/app:1")

SAID = Said(
    where="image[0].require[0]",
    speakers=(KeySpeaker(key="release", trusted_root=None, log="none", timestamps=0),),
)
SIGNATURE, SEALED = SignatureClaim(said=SAID), BundleSignatureClaim(said=SAID)


def claim(requirement: SignatureClaim | BundleSignatureClaim, **keyword: object) -> ClaimResult:
    plain: dict[str, object] = {
        "requirement": requirement,
        "claim": requirement.claim,
        "words": f"{requirement.claim} by key 'release'",
        "holds": "met",
        "who": ("key release",),
        "at": (AT,),
        "evidence": (Digest.of(b"e"),),
        "positions": (LogPosition(signer="key:1", log="rekor.example", log_index=41),),
    }
    return ClaimResult(**(plain | keyword))  # type: ignore[arg-type]


def judgement(*claims: ClaimResult, name: str = "acme/app", by: str = "packer") -> Judgement:
    del name
    manifest = ImageManifest(
        raw=RAW,
        descriptor=Descriptor.make(OCI_MANIFEST, RAW),
        config=Descriptor.make(OCI_CONFIG, b"{}"),
        layers=(),
    )
    entry = ImageEntry(reference=APP, image=manifest.descriptor, platforms=(), evidence=())
    kept = KeptManifest(
        platform=Platform(os="linux", architecture="amd64"),
        manifest=manifest,
        config=None,
        listed_by=frozenset(),
    )
    return Judgement(
        statement=statement(),
        bundle=BundleClaims(results=(claim(SEALED),), considered=()),
        images=(
            ImageJudgement(
                entry=entry,
                graph=ImageGraph(entry=entry, top=manifest, indexes=(), kept=(kept,)),
                policy=ImagePolicy(rules=()),
                name=VouchedName(reference=APP, how="bundle-signature", by=by, said=()),
                claims=claims,
                considered=(),
            ),
        ),
        trust=(),
        renewal=Renewal(trust=TrustStore(anchors=())),
        reference_time=AT,
        problems=(),
    )


def statement() -> BundleStatement:
    return BundleStatement(
        raw=b"{}",
        created=AT,
        channel="stable",
        sequence=7,
        expires=None,
        images=(),
        trust=(),
        metadata=(),
        layers=(),
    )


def outcome(**keyword: object) -> Outcome:
    policy = Policy.parse(
        b'schema = 1\n[[image]]\nmatch = "registry.example/**"\n'
        b'[[image.require]]\nclaim = "signature"\nkey = "release"\n',
        where="policy.toml",
    )
    found = judgement(claim(SIGNATURE), claim(SEALED))
    trace = Trace(
        archive="bundle.tar.zst",
        size=4096,
        bytes_read=4096,
        layers_read=2048,
        statement=found.statement,
        judgement=found,
        admission=Admission(floors=Floors(), repeat=False),
    )
    plain: dict[str, object] = {
        "verb": "load",
        "trace": trace,
        "host": Host(
            places=Places.under(__import__("pathlib").Path("/x")),
            policy=policy,
            trust=TrustStore(anchors=()),
            now=AT,
            version="0",
        ),
        "wish": Wish(target="oci:/srv", platform=None),
        "confinement": ("network namespace", "seccomp"),
        "error": None,
    }
    return Outcome(**(plain | keyword))  # type: ignore[arg-type]


def test_claims_are_listed_with_who_when_and_where() -> None:
    one = outcome()
    one.trace.receipts.append(
        Receipt(
            runtime="oci",
            reference=APP,
            digest=Digest.of(b"x"),
            what="loaded",
            read_back=(("name", "sha256:1"),),
            notes=("a note",),
        )
    )
    text = as_text(one)
    for expected in (
        "bundle.tar.zst: 4.0 KiB",
        "cut off    network namespace, seccomp",
        "channel stable, sequence 7, created 2026-01-15T12:00:02Z",
        "registry.example/acme/app:1  sha256:",
        "  ok       name: bundle-signature, packer",
        "  ok       signature by key 'release'",
        "said by key release",
        "at 2026-01-15T12:00:02Z",
        "log rekor.example, index 41",
        "  loaded in oci:/srv",
        "read back: name = sha256:1",
        "note: a note",
        "  ok       freshness: not older than what this host accepted",
        "LOADED: 1 image; 4.0 KiB read, 2.0 KiB of layers",
    ):
        assert expected in text, expected
    assert "REFUSED" not in text


def test_what_is_missing_stands_beside_what_is_there() -> None:
    problem = Problem(code=IdentityError.code, message="somebody else", expected="a", found="b")
    refused = claim(SIGNATURE, holds="unmet", who=(), at=(), positions=(), problem=problem)
    found = judgement(refused, claim(SEALED))
    error = IdentityError("somebody else", where="registry.example/acme/app:1")
    error.reasons = ("first", "second")
    one = outcome(error=error)
    one.trace.judgement = found
    text = as_text(one)
    assert "  REFUSED  signature by key 'release'" in text
    assert "identity.mismatch: somebody else" in text
    assert "  ok       bundle-signature by key 'release'" in text
    assert text.count("reason   ") == 2
    assert text.endswith(
        "REFUSED (identity.mismatch, exit status 12); 4.0 KiB read, 2.0 KiB of layers\n"
    )


def test_a_name_that_nobody_vouches_for_is_a_refused_claim() -> None:
    one = outcome()
    [image] = judgement(claim(SIGNATURE)).images
    problem = Problem(code=UnvouchedNameError.code, message="nobody")
    image = replace(image, name=replace(image.name, how="nobody", by="", problem=problem))
    one.trace.judgement = replace(judgement(), images=(image,))
    assert "  REFUSED  name\n             policy.name: nobody" in as_text(one)


def test_a_downgrade_and_its_reason_are_shown() -> None:
    one = outcome()
    one.trace.admission = Admission(
        floors=Floors(), repeat=False, downgrades=("older",), reason="1.9 is broken"
    )
    assert "DOWNGRADE older; let in because: 1.9 is broken" in as_text(one)
    assert json.loads(as_json(one))["downgrade"] == {
        "reason": "1.9 is broken",
        "what": ["older"],
    }


@pytest.mark.parametrize(
    ("error", "verdict", "status"),
    [
        (None, "accept", 0),
        (DigestError("no"), "reject", 19),
        (RollbackError("no"), "reject", 16),
        (InputError("no"), "error", 20),
    ],
)
def test_json_says_it_at_the_top(error: Exception | None, verdict: str, status: int) -> None:
    document = json.loads(as_json(outcome(error=error)))
    assert document["schema"] == "airlock-verdict/1"
    assert document["verdict"] == verdict
    assert document["exit_status"] == status
    assert document["code"] == (getattr(error, "code", None))
    assert document["class"] == (getattr(error, "error_class", None))


def test_json_before_anything_is_known_is_whole() -> None:
    one = Outcome(
        verb="verify",
        trace=Trace(archive="x"),
        host=None,
        wish=None,
        confinement=(),
        error=InputError("gone", where="x", hint="look"),
    )
    document = json.loads(as_json(one))
    assert document["statement"] is None
    assert document["images"] == []
    assert document["error"]["hint"] == "look"
    assert "NOT DONE (io.input, exit status 20)" in as_text(one)


def test_json_is_the_same_bytes_each_time_in_order_and_ascii() -> None:
    text = as_json(outcome())
    assert text == as_json(outcome())
    assert text.isascii()
    keys = list(json.loads(text))
    assert keys == sorted(keys)


def test_hostile_text_reaches_no_terminal() -> None:
    one = outcome(error=DigestError(HOSTILE, where=HOSTILE, found=HOSTILE, hint=HOSTILE))
    found = judgement(claim(SIGNATURE, who=(HOSTILE,), words=HOSTILE), by=HOSTILE)
    one.trace.judgement = found
    one.trace.warnings.append(HOSTILE)
    one.trace.archive = HOSTILE
    for text in (as_text(one, explain=True), as_json(one), "\n".join(error_lines(one.error or 0))):  # type: ignore[arg-type]
        assert set(text) <= {"\n", *map(chr, range(32, 127))}
    assert "%s{}[red]" in as_text(one)


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_becomes_one_printable_line(text: str) -> None:
    line = plain(text)
    assert all(" " <= c <= "~" for c in line)
    assert len(line) <= LINE_LENGTH_MAX
    if text.isascii() and text.isprintable() and len(text) < LINE_LENGTH_MAX:
        assert line == text


def test_ten_thousand_reasons_are_bounded() -> None:
    error = IdentityError("no")
    error.reasons = tuple(f"reason {i}" for i in range(10_000))
    one = outcome(error=error)
    document = json.loads(as_json(one))
    assert len(document["error"]["reasons"]) == 1000
    assert document["error"]["reason_count"] == 10_000
    assert len(as_text(one).splitlines()) < 1100
