"""What the judge makes of an image's evidence, under policies of one or two requirements."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from loader.digest import Digest
from loader.errors import (
    LimitError,
    MissingError,
    OciError,
    PolicyError,
    RefusedError,
    TrailingDataError,
)
from loader.evidence import evidence_of, expect_closed
from loader.graph import read_graph
from loader.judge import judge, judge_statement
from loader.limits import Limits
from loader.model.bundle import EvidenceEntry, TrustEntry
from loader.model.descriptor import Descriptor
from loader.model.reference import Reference
from loader.policy.facts import Considered, Judgement
from tests.fakes import attach, images
from tests.fakes.images import Image
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.identity import person, workflow
from tests.fakes.sigworld.keys import Signer
from tests.fakes.sigworld.signed import Layer
from tests.unit.loader.policy.judging import CREATED, NAME, Blobs, described, entry_of, statement_of
from tests.unit.loader.policy.scene import AS_PACKED, KEY, KEYLESS, VOUCHED, Scene, encoded

WEB = "registry.acme.example/acme/web"
BOTH = AS_PACKED.replace(NAME, "registry.acme.example/acme/*")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def legacy(scene: Scene, signer: Signer, image: Image | None = None, **options: object) -> Layer:
    image = image or scene.image
    options.setdefault("log", "none")
    return scene.world.sign_image_legacy(image.digest, signer, **options).layer()  # type: ignore[arg-type]


def bundle(scene: Scene, signer: Signer, image: Image | None = None, **options: object) -> bytes:
    image = image or scene.image
    options.setdefault("log", "none" if signer.certificate is None else "v1")
    return encoded(scene.world.sign_image(image.digest, signer, **options).bundle())  # type: ignore[arg-type]


def sign_legacy(
    scene: Scene, *signers: Signer, image: Image | None = None, **options: object
) -> None:
    image = image or scene.image
    attach.attach_tag(image, [legacy(scene, one, image, **options) for one in signers])


def sign(scene: Scene, signer: Signer, image: Image | None = None, **options: object) -> None:
    attach.attach_bundle(image or scene.image, bundle(scene, signer, image, **options))


def considered(judgement: object, what: str = "") -> list[Considered]:
    assert isinstance(judgement, Judgement)
    return [one for i in judgement.images for one in i.considered if what in one.piece.what]


# --- kinds of evidence --------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["tag", "docker-tag", "experimental", "bundle"])
def test_a_key_signature_counts_wherever_it_lies(scene: Scene, how: str) -> None:
    layers = [legacy(scene, scene.release)]
    match how:
        case "tag":
            attach.attach_tag(scene.image, layers)
        case "docker-tag":
            attach.attach_tag(scene.image, layers, docker=True)
        case "experimental":
            attach.attach_experimental(scene.image, layers)
        case _:
            sign(scene, scene.release)
    judgement = scene.run(AS_PACKED + KEY)
    claim = judgement.images[0].claims[0]
    assert (claim.holds, len(claim.evidence)) == ("met", 1)
    assert "release" in claim.who[0]


@pytest.mark.parametrize("log", ["v1", "v2", "both"])
def test_keyless_counts_with_its_time_and_place(scene: Scene, log: str) -> None:
    sign(scene, scene.world.keyless(), log=log)
    image = scene.run(AS_PACKED + KEYLESS).images[0]
    assert image.claims[0].who == (
        (
            "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0"
            " (issuer https://token.actions.githubusercontent.com)"
        ),
    )
    assert image.at is not None
    assert image.positions


def test_keyless_legacy_counts(scene: Scene) -> None:
    sign_legacy(scene, scene.world.keyless(), log="v1")
    assert scene.run(AS_PACKED + KEYLESS).images[0].at is not None


def test_nothing_there_is_no_evidence(scene: Scene) -> None:
    refusal = scene.refused(AS_PACKED + KEY)
    assert (refusal.code, refusal.exit_status) == ("no-evidence.claim", 10)


def test_another_key_is_no_signature(scene: Scene) -> None:
    sign(scene, scene.world.managed("stranger"))
    refusal = scene.refused(AS_PACKED + KEY)
    assert (refusal.code, refusal.exit_status) == ("signature.unverified", 11)


@pytest.mark.parametrize("who", [workflow("acme/other"), person("mallory@acme.example")])
def test_somebody_else_is_an_identity_refusal(scene: Scene, who: object) -> None:
    sign(scene, scene.world.keyless(who))  # type: ignore[arg-type]
    refusal = scene.refused(AS_PACKED + KEYLESS)
    assert (refusal.code, refusal.exit_status) == ("identity.mismatch", 12)


def test_a_key_is_no_identity_and_an_identity_no_key(scene: Scene) -> None:
    sign(scene, scene.release, log="v1")
    assert scene.refused(AS_PACKED + KEYLESS).exit_status == 11
    other = Scene(scene.folder)
    sign(other, other.world.keyless())
    assert other.refused(AS_PACKED + KEY).exit_status == 11


@pytest.mark.parametrize("how", ["bundle", "layer", "dsse-referrer"])
def test_an_attestation_is_no_signature(scene: Scene, how: str) -> None:
    said = statements.statement(scene.image.digest, statements.SPDX, statements.spdx(), name=NAME)
    signed = scene.world.sign_statement(said, scene.release, log="none")
    match how:
        case "bundle":
            # The annotation lies; what is signed decides.
            attach.attach_bundle(scene.image, encoded(signed.bundle()))
        case "layer":
            attach.attach_tag(scene.image, [signed.layer()], "att")
        case _:
            attach.attach_dsse_referrer(scene.image, [signed.layer()])
    refusal = scene.refused(AS_PACKED + KEY)
    assert (refusal.code, refusal.exit_status) == ("no-evidence.claim", 10)
    (one,) = considered(refusal.judgement)
    assert statements.SPDX in one.piece.what
    assert str(one.why_not) == "no requirement asks for evidence of this kind"


def test_a_union_of_all_stores(scene: Scene) -> None:
    # cosign 3 would look at the bundle alone, and miss the right one.
    sign(scene, scene.world.managed("stranger"))
    sign_legacy(scene, scene.release)
    judgement = scene.run(AS_PACKED + KEY)
    assert [one.counts for one in judgement.images[0].considered].count(True) == 1
    assert len(judgement.images[0].considered) == 2


def _garbage(scene: Scene) -> list[bytes]:
    good = json.loads(bundle(scene, scene.release))
    no_signature = {**good, "dsseEnvelope": {**good["dsseEnvelope"], "signatures": []}}
    return [
        b"",
        b"\xff\xfe",
        b"{}",
        b"[" * 200,
        encoded({**good, "mediaType": "application/x"}),
        encoded(no_signature),
        bundle(scene, scene.world.managed("stranger")),
        bundle(scene, scene.release, images.hello_image(scene.store, text="other")),
    ]


def test_one_good_signature_among_garbage(scene: Scene) -> None:
    for raw in _garbage(scene):
        attach.attach_bundle(scene.image, raw)
    refusal = scene.refused(AS_PACKED + KEY)
    assert refusal.exit_status == 11
    assert len(considered(refusal.judgement)) == len(_garbage(scene))
    assert all(one.why_not is not None for one in considered(refusal.judgement))
    sign(scene, scene.release)
    judgement = scene.run(AS_PACKED + KEY)
    assert sum(one.counts for one in considered(judgement)) == 1
    refusal = scene.refused(AS_PACKED + KEY + 'quantifier = "all"\n')
    assert refusal.code == "policy.quantifier"


def test_garbage_beside_a_good_layer_of_one_manifest(scene: Scene) -> None:
    bad = Layer(media_type=attach.BUNDLE_TYPE, blob=b"{}")
    strange = Layer(media_type="text/plain", blob=b"hello")
    attach.attach_tag(scene.image, [bad, strange, legacy(scene, scene.release)])
    judgement = scene.run(AS_PACKED + KEY)
    assert [one.counts for one in considered(judgement)] == [False, False, True]


def test_a_payload_of_another_kind_is_refused(scene: Scene) -> None:
    payload = statements.simple_signing(scene.image.digest, kind="atomic container signature")
    attach.attach_tag(scene.image, [scene.world.sign(payload, scene.release, log="none").layer()])
    assert scene.refused(AS_PACKED + KEY).exit_status == 11


def test_a070_a_signature_under_another_images_tag(scene: Scene) -> None:
    other = images.hello_index(scene.store, version="2.0.0", tag=None)
    sign_legacy(scene, scene.release, image=other)
    scene.store.tags[f"{scene.image.digest.replace(':', '-')}.sig"] = scene.store.tags[
        f"{other.digest.replace(':', '-')}.sig"
    ]
    refusal = scene.refused(AS_PACKED + KEY)
    assert refusal.exit_status == 11
    assert "something else than this image" in refusal.found


def test_a071_too_many_log_entries_are_a_limit(scene: Scene) -> None:
    whole = json.loads(bundle(scene, scene.world.keyless()))
    material = whole["verificationMaterial"]
    material["tlogEntries"] = [*material["tlogEntries"]] + [
        {**material["tlogEntries"][0], "logIndex": str(n)} for n in range(1000, 1032)
    ]
    attach.attach_bundle(scene.image, encoded(whole))
    refusal = scene.refused(AS_PACKED + KEYLESS)
    assert (refusal.code, refusal.exit_status) == ("limit.evidence", 19)


def test_a072_an_attestation_of_another_image(scene: Scene) -> None:
    other = images.hello_index(scene.store, version="2.0.0", tag=None)
    attach.attach_bundle(scene.image, bundle(scene, scene.release, other))
    refusal = scene.refused(AS_PACKED + KEY)
    assert refusal.exit_status == 11
    assert other.digest in refusal.found


def test_buildkit_statements_are_listed_as_unsigned(scene: Scene) -> None:
    one = images.hello_image(scene.store)
    note = images.attestation_manifest(scene.store, one, [(b"{}", statements.SLSA_V1)])
    image = images.index(scene.store, [one], attestations=[note])
    sign_legacy(scene, scene.release, image=image)
    judgement = scene.run(AS_PACKED + KEY, entry_of(image))
    (unsigned,) = considered(judgement, "unsigned")
    assert statements.SLSA_V1 in unsigned.piece.what
    assert not unsigned.counts


# --- platforms ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "signed", "code"),
    [
        ("either", "index", ""),
        ("either", "platforms", ""),
        ("either", "amd64", "policy.scope"),
        ("index", "index", ""),
        ("index", "platforms", "policy.scope"),
        ("platform", "platforms", ""),
        ("platform", "index", "policy.scope"),
    ],
)
def test_a069_what_was_signed(scene: Scene, scope: str, signed: str, code: str) -> None:
    subjects = {
        "index": [scene.image],
        "platforms": list(scene.image.children),
        "amd64": [scene.image.children[0]],
    }
    for image in subjects[signed]:
        sign(scene, scene.release, image)
    text = AS_PACKED + KEY + f'scope = "{scope}"\n'
    if code:
        assert scene.refused(text).code == code
    else:
        assert scene.run(text)


def test_a_platform_that_is_not_kept_needs_no_signature(scene: Scene) -> None:
    sign(scene, scene.release, scene.image.children[0])
    entry = entry_of(scene.image, platforms=["linux/amd64"])
    assert scene.run(AS_PACKED + KEY, entry)


def test_evidence_about_something_that_is_not_kept_does_not_count(scene: Scene) -> None:
    sign(scene, scene.release, scene.image.children[1])
    entry = entry_of(scene.image)
    amd64 = replace(entry, platforms=entry.platforms[:1])
    refusal = scene.refused(AS_PACKED + KEY, amd64)
    assert refusal.exit_status == 10
    (one,) = considered(refusal.judgement)
    assert "does not hold" in str(one.why_not)


def test_a_single_manifest_is_index_and_platform_in_one(scene: Scene) -> None:
    image = images.hello_image(scene.store)
    sign(scene, scene.release, image)
    for scope in ("either", "index", "platform"):
        assert scene.run(AS_PACKED + KEY + f'scope = "{scope}"\n', entry_of(image))


def test_other_artifacts_are_judged_alike(scene: Scene) -> None:
    chart = images.artifact(
        scene.store, "application/vnd.cncf.helm.config.v1+json", [(b"x", "a/b")]
    )
    assert scene.refused(AS_PACKED + KEY, entry_of(chart)).exit_status == 10
    sign(scene, scene.release, chart)
    assert scene.run(AS_PACKED + KEY, entry_of(chart)).images[0].graph.kept[0].platform is None


# --- conditions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "options", "code"),
    [
        ("", {"log": "v1"}, ""),
        ('log = "proof"\n', {"log": "v1"}, ""),
        ('log = "proof"\n', {"log": "v2"}, ""),
        ("", {"log": "none"}, "policy.condition"),
        ('log = "none"\n', {"log": "none"}, ""),
        ("timestamps = 1\n", {"log": "v1"}, "policy.condition"),
        ("timestamps = 1\n", {"log": "v1", "timestamp": True}, ""),
        ("timestamps = 2\n", {"log": "v1", "timestamp": True}, "policy.condition"),
        ("sct = 2\n", {"log": "v1"}, "policy.condition"),
        ("sct = 0\n", {"log": "v1"}, ""),
        ('certificate-github-workflow-repository = "acme/app"\n', {}, ""),
        ('certificate-github-workflow-repository = "acme/other"\n', {}, "identity.mismatch"),
        ('certificate-github-workflow-ref = "refs/tags/v1.0.0"\n', {}, ""),
        ('certificate-github-workflow-trigger = "schedule"\n', {}, "identity.mismatch"),
        ('certificate-github-workflow-name = "Release"\n', {}, ""),
    ],
)
def test_how_it_must_be_recorded(
    scene: Scene, more: str, options: dict[str, Any], code: str
) -> None:
    sign(scene, scene.world.keyless(), **options)
    if code:
        assert scene.refused(AS_PACKED + KEYLESS + more).code == code
    else:
        assert scene.run(AS_PACKED + KEYLESS + more)


def test_a_reusable_workflow_is_told_from_its_caller(scene: Scene) -> None:
    called = "acme/shared/.github/workflows/build.yml@refs/tags/v1"
    text = AS_PACKED + KEYLESS.replace(
        "acme/app/.github/workflows/release.yml@refs/tags/v1.0.0", called
    )
    sign(scene, scene.world.keyless(workflow("mallory/app", called=called)))
    assert scene.run(text)
    text += 'certificate-github-workflow-repository = "acme/app"\n'
    assert scene.refused(text).code == "identity.mismatch"


def test_old_and_new_extension_must_agree(scene: Scene) -> None:
    text = AS_PACKED + KEYLESS + 'certificate-github-workflow-repository = "acme/app"\n'
    sign(scene, scene.world.keyless(workflow().but({12: "https://github.com/mallory/app"})))
    assert scene.refused(text).code == "identity.mismatch"
    sign(scene, scene.world.keyless(workflow().but({5: None})))
    assert scene.run(text)


def test_a_key_with_a_log(scene: Scene) -> None:
    text = AS_PACKED + KEY + 'trusted-root = "acme"\n'
    sign(scene, scene.release)
    assert scene.refused(text).code == "policy.condition"
    sign(scene, scene.release, log="v1")
    assert scene.run(text).reference_time is not None


@pytest.mark.parametrize("how", [sign, sign_legacy])
def test_signed_annotations(scene: Scene, how: Callable[..., None]) -> None:
    how(scene, scene.release, annotations={"build": "42", "channel": "stable"})
    text = AS_PACKED + KEY
    assert scene.run(text + 'annotations = { build = "42" }\n')
    assert scene.refused(text + 'annotations = { build = "43" }\n').code == "policy.condition"
    assert scene.refused(text + 'annotations = { more = "x" }\n').code == "policy.condition"


@pytest.mark.parametrize(
    ("wanted", "reference", "code"),
    [
        ("match-repository", NAME, ""),
        ("match-repository", NAME + ":1.0.0", ""),
        ("match-repository", NAME + "2", "policy.condition"),
        ("registry.acme.example/*/app", NAME, ""),
        ("ghcr.io/**", NAME, "policy.condition"),
        ("ignore", "localhost:5000/x/y", ""),
    ],
)
def test_docker_reference(scene: Scene, wanted: str, reference: str, code: str) -> None:
    sign_legacy(scene, scene.release, reference=reference)
    text = AS_PACKED + KEY + f'docker-reference = "{wanted}"\n'
    if code:
        assert scene.refused(text).code == code
    else:
        assert scene.run(text)


def test_a_bundle_has_no_docker_reference(scene: Scene) -> None:
    sign(scene, scene.release)
    text = AS_PACKED + KEY + 'docker-reference = "match-repository"\n'
    assert scene.refused(text).code == "policy.condition"


def test_two_signers_and_a_threshold(scene: Scene) -> None:
    text = AS_PACKED + KEY.replace(
        'key = "release"', 'any = [{ key = "release" }, { key = "second" }]\nthreshold = 2'
    )
    sign_legacy(scene, scene.release, scene.release)
    sign(scene, scene.release)
    assert scene.refused(text).code == "policy.threshold"
    sign(scene, scene.world.managed("second"))
    assert len(scene.run(text).images[0].claims[0].who) == 2


def test_a_key_or_an_identity(scene: Scene) -> None:
    text = AS_PACKED + KEYLESS.replace(
        "certificate-identity", "any = [{ key = 'release' }, { certificate-identity"
    )
    text = text.replace("\ncertificate-oidc", ", certificate-oidc").rstrip() + " }]\n"
    sign(scene, scene.release)
    assert scene.run(text)
    other = Scene(scene.folder)
    sign(other, other.world.keyless())
    assert other.run(text)


def test_everything_unmet_is_listed_at_once(scene: Scene) -> None:
    sign(scene, scene.world.keyless(workflow("acme/other")))
    text = VOUCHED + KEY + KEYLESS + KEYLESS.replace("refs/tags/v1.0.0", "refs/heads/main")
    refusal = scene.refused(text)
    assert refusal.exit_status == 11
    assert len(refusal.reasons) == 4
    judgement = refusal.judgement
    assert isinstance(judgement, Judgement)
    codes = [problem.code for _, problem in judgement.problems]
    assert codes == [
        "signature.unverified",
        "identity.mismatch",
        "identity.mismatch",
        "policy.name",
    ]


# --- names (decision 11) ------------------------------------------------------------------------


def test_swapped_references_are_refused(scene: Scene) -> None:
    web = images.hello_index(scene.store, version="web", tag=None)
    sign_legacy(scene, scene.release)
    sign_legacy(scene, scene.release, image=web, reference=WEB)
    text = BOTH.replace('name = "as-packed"\n', "") + KEY
    right = (
        entry_of(scene.image, f"{NAME}@{scene.image.digest}"),
        entry_of(web, f"{WEB}@{web.digest}"),
    )
    assert len(scene.run(text, *right).images) == 2
    swapped = (
        entry_of(web, f"{NAME}@{web.digest}"),
        entry_of(scene.image, f"{WEB}@{scene.image.digest}"),
    )
    refusal = scene.refused(text, *swapped)
    assert (refusal.code, refusal.exit_status) == ("policy.name", 14)
    assert len(refusal.reasons) == 2


def test_an_old_image_under_a_new_tag_is_refused(scene: Scene) -> None:
    sign_legacy(scene, scene.release)
    text = VOUCHED + KEY
    refusal = scene.refused(text, entry_of(scene.image, f"{NAME}:2.0.0"))
    assert (refusal.code, refusal.exit_status) == ("policy.name", 14)
    assert "vouches for the tag" in refusal.message
    assert "as-packed" in refusal.hint
    judgement = scene.run(AS_PACKED + KEY, entry_of(scene.image, f"{NAME}:2.0.0"))
    assert judgement.images[0].name.how == "as-packed"
    assert judgement.images[0].name.reference == Reference.parse(f"{NAME}:2.0.0")


def test_a_signed_tag_vouches_for_itself_alone(scene: Scene) -> None:
    sign_legacy(scene, scene.release, reference=f"{NAME}:1.0.0")
    assert scene.run(VOUCHED + KEY).images[0].name.how == "docker-reference"
    assert (
        scene.refused(VOUCHED + KEY, entry_of(scene.image, f"{NAME}:2.0.0")).code == "policy.name"
    )


def test_a_subject_name_of_the_same_signer_vouches(scene: Scene) -> None:
    entry = f"{NAME}@{scene.image.digest}"
    sign(scene, scene.release)
    assert scene.refused(VOUCHED + KEY, entry_of(scene.image, entry)).code == "policy.name"
    said = statements.statement(scene.image.digest, statements.SPDX, {}, name=NAME)
    by_stranger = scene.world.sign_statement(said, scene.world.managed("x"), log="none")
    attach.attach_bundle(scene.image, encoded(by_stranger.bundle()))
    assert scene.refused(VOUCHED + KEY, entry_of(scene.image, entry)).code == "policy.name"
    by_release = scene.world.sign_statement(said, scene.release, log="none")
    attach.attach_bundle(scene.image, encoded(by_release.bundle()))
    name = scene.run(VOUCHED + KEY, entry_of(scene.image, entry)).images[0].name
    assert name.how == "subject-name"


def test_a_strangers_docker_reference_vouches_for_nothing(scene: Scene) -> None:
    sign_legacy(scene, scene.world.managed("stranger"), reference=f"{NAME}:1.0.0")
    sign(scene, scene.release)
    assert scene.refused(VOUCHED + KEY).code == "policy.name"


# --- the bundle as a whole ----------------------------------------------------------------------


def test_what_is_missing_and_what_is_too_much(scene: Scene) -> None:
    sign_legacy(scene, scene.release)
    entry = entry_of(scene.image)
    blobs = Blobs(scene.store)
    graph = read_graph(entry, blobs)
    statement = statement_of(entry, blobs=blobs)
    expect_closed(statement, [graph], blobs)
    for member in statement.members[2:]:
        broken = statement_of(entry, blobs=blobs, drop=[member.digest])
        with pytest.raises(MissingError):
            expect_closed(broken, [graph], blobs)
    extra = described(scene.store.add(b"smuggled", "text/plain"))
    with pytest.raises(TrailingDataError, match="none of its images needs"):
        expect_closed(statement_of(entry, blobs=blobs, extra=[extra]), [graph], blobs)


def test_a_layer_of_another_size_than_its_member(scene: Scene) -> None:
    entry = entry_of(scene.image)
    blobs = Blobs(scene.store)
    statement = statement_of(entry, blobs=blobs)
    layer = statement.layers[0]
    spoilt = replace(statement, layers=(replace(layer, size=layer.size + 1), *statement.layers[1:]))
    with pytest.raises(OciError, match="another size"):
        expect_closed(spoilt, [read_graph(entry, blobs)], blobs)


def test_evidence_that_the_bundle_promises_must_be_there(scene: Scene) -> None:
    sign_legacy(scene, scene.release)
    policy = scene.policy(AS_PACKED + KEY)
    trust = scene.trust(policy)
    statement = scene.statement()
    claims = judge_statement(statement, (), policy=policy, trust=trust, now=CREATED)
    payload = legacy(scene, scene.release).descriptor()["digest"]
    del scene.store.blobs[payload]
    with pytest.raises(MissingError):
        judge(statement, claims, Blobs(scene.store), policy=policy, trust=trust, now=CREATED)


def _judge_with(scene: Scene, limits: Limits) -> None:
    policy = scene.policy(AS_PACKED + KEY)
    trust = scene.trust(policy)
    statement = scene.statement()
    claims = judge_statement(statement, (), policy=policy, trust=trust, now=CREATED)
    judge(
        statement,
        claims,
        Blobs(scene.store),
        policy=policy,
        trust=trust,
        now=CREATED,
        limits=limits,
    )


def test_evidence_is_bounded(scene: Scene) -> None:
    for n in range(3):
        sign(scene, scene.release, annotations={"n": str(n)})
    _judge_with(scene, Limits())
    with pytest.raises(LimitError, match="referrers"):
        _judge_with(scene, Limits(referrer_count_max=2))
    with pytest.raises(LimitError, match="too much evidence"):
        _judge_with(scene, Limits(image_evidence_size_max=1000))
    _judge_with(scene, Limits(image_evidence_count_max=3))
    with pytest.raises(LimitError, match="too many pieces"):
        _judge_with(scene, Limits(image_evidence_count_max=2))


def test_huge_evidence_hides_nothing(scene: Scene) -> None:
    sign(scene, scene.release)
    size = len(bundle(scene, scene.release))
    attach.attach_bundle(scene.image, b"{" + b" " * size + b"}")
    _judge_with(scene, Limits(evidence_size_max=size))
    with pytest.raises(PolicyError) as caught:
        _judge_with(scene, Limits(evidence_size_max=size - 1))
    assert caught.value.exit_status == 19


def test_a_large_attestation_is_listed(scene: Scene) -> None:
    said = statements.statement(scene.image.digest, statements.SPDX, {"x": "y" * (1 << 20)})
    signed = scene.world.sign_statement(said, scene.release, log="none")
    attach.attach_bundle(scene.image, encoded(signed.bundle()))
    sign(scene, scene.release)
    judgement = scene.run(AS_PACKED + KEY)
    (large,) = considered(judgement, statements.SPDX)
    assert not large.counts


def test_a_signature_over_the_manifest_as_a_file_is_none_of_the_image(scene: Scene) -> None:
    signed = scene.world.sign(scene.image.raw, scene.release, log="none")
    attach.attach_bundle(scene.image, encoded(signed.bundle()), predicate_type=None)
    refusal = scene.refused(AS_PACKED + KEY)
    assert refusal.code == "no-evidence.claim"
    assert considered(refusal.judgement, "over a file")


def test_changed_bytes_end_in_a_refusal(scene: Scene) -> None:
    """Wherever one byte of evidence changes: it no longer counts, or it said the same."""
    whole = bundle(scene, scene.world.keyless(), log="v1")
    other = images.hello_index(scene.store, version="2.0.0", tag=None)
    elsewhere = bundle(scene, scene.world.keyless(workflow("acme/other")), other, log="v1")
    random = Random(20260115)  # the same changes in every run
    passed = 0
    for _ in range(150):
        raw = bytearray(whole)
        at = random.randrange(len(raw))
        if random.random() < 0.5:
            raw[at] ^= 1 << random.randrange(8)
        else:
            length = random.randrange(1, 60)
            raw[at : at + length] = elsewhere[at : at + length]
        changed = described(attach.attach_bundle(scene.image, bytes(raw)))
        entry = entry_of(scene.image, evidence=[_evidence(scene, changed)])
        with contextlib.suppress(RefusedError):
            judgement = scene.run(AS_PACKED + KEYLESS, entry)
            passed += 1
            assert judgement.images[0].claims[0].who[0].startswith("https://github.com/acme/app/")
    assert passed < 15


def _evidence(scene: Scene, descriptor: Descriptor, subject: str = "") -> EvidenceEntry:
    return EvidenceEntry(
        subject=Digest.parse(subject or scene.image.digest), store="referrer", manifest=descriptor
    )


def test_manifests_that_are_no_evidence_hide_nothing(scene: Scene) -> None:
    sign(scene, scene.release)
    other = images.hello_index(scene.store, version="2.0.0", tag=None)
    sign(scene, scene.release, other)
    good = entry_of(scene.image).evidence
    (elsewhere,) = entry_of(other).evidence
    nonsense = described(scene.store.add(b"{", "application/vnd.oci.image.manifest.v1+json"))
    odd = [
        _evidence(scene, nonsense),
        _evidence(scene, described(scene.image.descriptor)),
        _evidence(scene, described(scene.image.children[0].descriptor)),
        _evidence(scene, elsewhere.manifest),
        elsewhere,
    ]
    for one in odd:
        entry = entry_of(scene.image, evidence=[one, *good])
        blobs = Blobs(scene.store)
        statement = statement_of(entry, blobs=blobs)
        judgement = scene.run(AS_PACKED + KEY, statement=statement)
        assert [c.counts for c in judgement.images[0].considered] == [False, True]
        only = entry_of(scene.image, evidence=[one])
        refusal = scene.refused(AS_PACKED + KEY, statement=statement_of(only, blobs=blobs))
        # What is not even about this image is no evidence; what should be and is broken is bad.
        assert refusal.exit_status == (10 if one is elsewhere else 11)


def test_the_same_manifest_from_two_stores_is_one(scene: Scene) -> None:
    sign(scene, scene.release)
    (one,) = entry_of(scene.image).evidence
    entry = entry_of(scene.image, evidence=[one, replace(one, store="signature-tag")])
    assert len(considered(scene.run(AS_PACKED + KEY, entry))) == 1


def test_carried_trust_is_compared_and_never_used(scene: Scene) -> None:
    sign(scene, scene.release)
    pinned = scene.store.add(scene.release.public_pem, "application/x-pem-file")
    spelt = scene.store.add(scene.release.spki, "application/octet-stream")
    stranger = scene.world.managed("stranger")
    other = scene.store.add(stranger.public_pem, "application/x-pem-file")
    broken = scene.store.add(b"not a key", "application/x-pem-file")

    def notes(*blobs: object, anchor: str = "release") -> list[str]:
        trust = [
            TrustEntry(anchor=anchor, kind="key", blobs=(described(blob),))  # type: ignore[arg-type]
            for blob in blobs
        ]
        statement = scene.statement(trust=trust)
        return [note.holds for note in scene.run(AS_PACKED + KEY, statement=statement).trust]

    assert notes(pinned, spelt, other, broken) == ["matches", "matches", "differs", "differs"]
    assert notes(other, anchor="unknown") == ["not-pinned"]
    # A bundle that brings the key it is signed with gains nothing by it.
    fresh = Scene(scene.folder)
    sign(fresh, stranger)
    carried = described(fresh.store.add(stranger.public_pem, "application/x-pem-file"))
    trust = TrustEntry(anchor="release", kind="key", blobs=(carried,))
    refusal = fresh.refused(AS_PACKED + KEY, statement=fresh.statement(trust=[trust]))
    assert refusal.exit_status == 11


def test_evidence_is_read_one_piece_at_a_time_and_once(scene: Scene) -> None:
    for n in range(5):
        sign(scene, scene.release, annotations={"n": str(n)})
    policy = scene.policy(AS_PACKED + KEY + KEY.replace("release", "second"))
    trust = scene.trust(policy)
    statement = scene.statement()
    claims = judge_statement(statement, (), policy=policy, trust=trust, now=CREATED)
    blobs = Blobs(scene.store)
    with pytest.raises(Exception, match="none verifies"):
        judge(statement, claims, blobs, policy=policy, trust=trust, now=CREATED)
    layers = {
        Digest.parse(m.manifest["layers"][0]["digest"])
        for m in [
            Image(store=scene.store, descriptor=d)
            for d in scene.store.referrers(scene.image.digest)
        ]
    }
    assert sum(digest in layers for digest in blobs.reads) == 5


def test_an_index_of_nothing_is_never_accepted(scene: Scene) -> None:
    nothing = images.index(scene.store, [])
    sign(scene, scene.release, nothing)
    refusal = scene.refused(AS_PACKED + KEY, entry_of(nothing))
    assert refusal.code == "no-evidence.claim"


def test_an_evidence_manifest_that_the_bundle_promises_must_be_there(scene: Scene) -> None:
    sign(scene, scene.release)
    entry = entry_of(scene.image)
    graph = read_graph(entry, Blobs(scene.store))
    del scene.store.blobs[str(entry.evidence[0].manifest.digest)]
    with pytest.raises(MissingError):
        list(evidence_of(entry, graph, Blobs(scene.store)))
