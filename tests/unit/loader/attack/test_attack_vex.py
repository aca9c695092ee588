"""Attacks on VEX: a silence over more than its product, or by somebody who may not say it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from loader.digest import Digest
from loader.errors import LimitError
from loader.judge import judge, judge_statement
from loader.limits import Limits
from loader.model.deny_list import ListedDenial, write_deny_list
from loader.model.vex import WORD_COUNT_MAX, read_vex
from loader.policy.facts import Judgement
from loader.policy.speakers import Said
from loader.policy.vex import Heard, Silence
from tests.fakes import attach
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.encoding import Json
from tests.fakes.sigworld.identity import Identity, workflow
from tests.fakes.sigworld.keys import Signer
from tests.unit.loader.policy.claiming import attest, facts, require, run
from tests.unit.loader.policy.judging import CREATED, NAME, Blobs
from tests.unit.loader.policy.scene import AS_PACKED, ISSUER, Scene, encoded
from tests.unit.loader.policy.test_claim_vulnerabilities import FINISHED, VULN, trivy
from tests.unit.loader.policy.vexing import ASKED, CVE, LATE, OPENVEX, counts, say, scan, vex
from tests.unit.loader.test_deny_lists import carrying, key_of

OTHER = "0" * 64
BOTH = require(
    "vulnerabilities",
    "max = { critical = 0 }",
    'vex = { any = [{ key = "second" }, { key = "packer" }] }',
)
KEYLESS = require(
    "vulnerabilities",
    "max = { critical = 0 }",
    'vex = { trusted-root = "acme", certificate-identity-regexp = '
    r"'https://github\.com/acme/security/.+', "
    f'certificate-oidc-issuer = "{ISSUER}" }}',
)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    scan(made)
    return made


def silenced(scene: Scene, asked: str = ASKED) -> None:
    assert facts(run(scene, asked))["silenced"].startswith(f"1 finding: {CVE}")


def heard(scene: Scene, asked: str = ASKED) -> list[str]:
    """What became of each VEX document, in words."""
    judgement = scene.refused(AS_PACKED + asked).judgement
    assert isinstance(judgement, Judgement)
    return [str(x.why_not) for x in judgement.images[0].considered if "openvex" in x.piece.what]


def about(scene: Scene, **product: object) -> Json:
    return vex(scene.image.digest, products=[product])


# --- the product ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "product",
    [
        "pkg:oci/app",
        "pkg:oci/app@1.0.0",
        "pkg:oci/app@*",
        "pkg:oci/*",
        "*",
        "sha256:*",
        "pkg:oci/app@sha256%3A*",
        f"pkg:oci/app@sha256%3A{OTHER}",
        "pkg:oci/app@sha256%3AHEX#usr/lib/libssl.so",
        "pkg:oci/app@sha256%3AHEX?arch=amd64",
        "pkg:oci/app@sha256%3AHEX?repository_url=r.example&arch=arm64&os=linux",
        "pkg:oci/app@sha256%3AHEX?flavour=debug",
        "pkg:oci/app@sha256%3AHEX@1.0.0",
        "pkg:oci/app?digest=sha256%3AHEX",
        "pkg:oci/app#sha256:HEX",
        "pkg:oci/app@sha512%3AHEXHEX",
        "https://acme.example/sha256:HEX",
        "sha256:HEX and more",
        "SHA256:HEX",
    ],
)
def test_a_silence_is_over_no_more_than_its_product(scene: Scene, product: str) -> None:
    text = product.replace("HEX", scene.image.digest.removeprefix("sha256:"))
    say(scene, about(scene, **{"@id": text}))
    counts(scene)
    say(scene, about(scene, identifiers={"purl": text}))
    counts(scene)


def test_a_digest_in_capitals_is_none(scene: Scene) -> None:
    say(scene, about(scene, **{"@id": f"sha256:{scene.image.digest[7:].upper()}"}))
    counts(scene)


@pytest.mark.parametrize("form", ["purl", "hash", "both", "id and hash"])
def test_a_product_is_named_by_any_of_its_names(scene: Scene, form: str) -> None:
    digest = scene.image.digest[7:]
    purl = {"identifiers": {"purl": f"pkg:oci/app@sha256%3A{digest}?tag=1.0.0"}}
    product: Json = {} if form in {"hash", "id and hash"} else dict(purl)
    if form != "purl":
        product["hashes"] = {"sha-256": digest, "sha-512": "ab" * 64}
    if form == "id and hash":
        product["@id"] = "https://acme.example/products/app"
    say(scene, about(scene, **product))
    silenced(scene)


@pytest.mark.parametrize(
    "name", ["pkg:oci/app?arch=arm64", "pkg:oci/app@1.0.0#usr/lib/libssl.so", "pkg:oci/app?x=debug"]
)
def test_a_name_without_a_digest_narrows_what_a_hash_names(scene: Scene, name: str) -> None:
    digest = {"hashes": {"sha-256": scene.image.digest[7:]}}
    for product in ({"@id": name}, {"identifiers": {"purl": name}}):
        say(scene, about(scene, **product, **digest))
        counts(scene)
    say(scene, about(scene, **{"@id": "pkg:oci/app?repository_url=r.example&tag=1"}, **digest))
    silenced(scene)


def test_a_product_with_two_digests_is_a_broken_document(scene: Scene) -> None:
    """Else whoever reads the one digest and whoever reads the other would silence two images."""
    digest = scene.image.digest[7:]
    for product in (
        {"@id": f"pkg:oci/app@sha256%3A{OTHER}", "hashes": {"sha-256": digest}},
        {"@id": scene.image.digest, "identifiers": {"purl": f"pkg:oci/app@sha256%3A{OTHER}"}},
    ):
        say(scene, about(scene, **product))
        assert "one product with two digests" in " ".join(heard(scene))
        counts(scene)
    say(scene, about(scene, hashes={"sha-256": "abc"}))
    say(scene, about(scene, supplier="acme"))
    counts(scene)


def test_an_index_is_not_its_platforms(scene: Scene) -> None:
    """What is said of a platform says nothing of a scan of the index, nor the other way round."""
    child = scene.image.children[0].digest
    say(scene, vex(child), on=child)
    counts(scene)
    say(scene, about(scene, **{"@id": child}))
    counts(scene)
    say(scene, vex(scene.image.digest), on=child)  # names the index, and is about a platform
    counts(scene)
    say(scene, vex(scene.image.digest))
    silenced(scene)


def test_a_scan_of_two_platforms_needs_two_silences(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    one, two = (child.digest for child in scene.image.children)
    for child in (one, two):
        scan(scene, on=child)
    name = f"pkg:oci/app@sha256%3A{one[7:]}?arch=amd64"  # on a manifest that says nothing more
    say(scene, vex(one, products=[{"@id": name}]), on=one)
    counts(scene)
    say(scene, vex(one), on=two)  # an attestation about the one is none about the other
    counts(scene)
    say(scene, vex(two), on=two)
    silenced(scene)


def test_a_path_in_a_platform_is_not_the_platform(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    one, two = (child.digest for child in scene.image.children)
    for child in (one, two):
        scan(scene, on=child)
    say(scene, vex(two), on=two)
    for product in (f"{one}#usr/lib", f"pkg:oci/app@sha256%3A{one[7:]}?flavour=debug"):
        say(scene, vex(one, products=[{"@id": product}]), on=one)
        counts(scene)
    say(scene, vex(one, products=[{"@id": f"{one}?arch=amd64"}]), on=one)
    silenced(scene)


@pytest.mark.parametrize("first", [0, 1])
def test_a_statement_of_two_subjects_silences_both_or_neither(tmp_path: Path, first: int) -> None:
    scene = Scene(tmp_path)
    subjects = [child.digest for child in scene.image.children]
    said = statements.statement(
        subjects[0],
        statements.COSIGN_VULN,
        statements.vulnerabilities(
            "2026-01-15T11:00:00Z",
            {"matches": [{"vulnerability": {"id": CVE, "severity": "Critical"}}]},
        ),
    )
    said["subject"].append({"digest": {"sha256": subjects[1][7:]}})
    attest(scene, statements.COSIGN_VULN, None, raw=encoded(said))
    say(scene, vex(subjects[first]), on=subjects[first])
    counts(scene)
    say(scene, vex(subjects[1 - first]), on=subjects[1 - first])
    silenced(scene)


def test_vex_of_another_image(scene: Scene) -> None:
    """Said of this product in an attestation of another one, and of another one in ours."""
    say(scene, vex(scene.image.digest), on=f"sha256:{OTHER}")
    say(scene, vex(f"sha256:{OTHER}"))
    counts(scene)
    assert "something else than this image" in heard(scene)[0]


def test_a_part_without_a_name_is_not_all_of_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    finding = {"id": CVE, "severity": [{"method": "nvd", "score": "9.8"}]}  # of no package
    attest(scene, statements.COSIGN_VULN, statements.vulnerabilities(result=[finding]))
    for part in ({"hashes": {"sha-1": "ab"}}, {"@id": "pkg:deb/debian/openssl@1.0"}):
        product: Json = {"@id": scene.image.digest, "subcomponents": [part]}
        say(scene, vex(scene.image.digest, products=[product]))
        counts(scene)
    say(scene, vex(scene.image.digest))
    silenced(scene)


@pytest.mark.parametrize("name", ["CVE-2026-000", "CVE-2026-00011", "cve-2026-0001", "CVE-*", "*"])
def test_a_name_is_the_whole_name(scene: Scene, name: str) -> None:
    say(scene, vex(scene.image.digest, vulnerability={"name": name, "aliases": [name]}))
    counts(scene)


# --- who says it ----------------------------------------------------------------------------------


def test_the_author_that_a_document_names_is_nobody(scene: Scene) -> None:
    document = vex(scene.image.digest) | {"author": "second", "role": "Document Creator"}
    say(scene, document, by="stranger")
    attest(scene, OPENVEX, document, by=workflow("evil/security"))
    attest(scene, OPENVEX, document)  # who made the scan
    counts(scene)
    counts(scene, KEYLESS)
    attest(scene, OPENVEX, document, by=workflow("acme/security"))
    silenced(scene, KEYLESS)
    counts(scene)


def test_a_certificate_that_had_expired_says_nothing(scene: Scene) -> None:
    signer = scene.world.keyless(workflow("acme/security"))
    said = statements.statement(scene.image.digest, OPENVEX, vex(scene.image.digest))
    late = scene.world.at + timedelta(hours=3)
    act = scene.world.sign_statement(said, signer, at=late)
    attach.attach_bundle(scene.image, encoded(act.bundle()))
    counts(scene, KEYLESS)


@pytest.mark.parametrize("denial", ["key", "fingerprint", "before", "image", "list"])
def test_t36_a_denied_author_is_not_heard(scene: Scene, denial: str) -> None:
    say(scene, vex(scene.image.digest))
    silenced(scene)
    second = scene.world.managed("second")
    line = {
        "key": 'key = "second"',
        "fingerprint": f'key = "{key_of(second)}"',
        "image": f'key = "second"\nimage = "{NAME}"',
        "before": 'key = "second"\nbefore = 2030-01-01',  # nobody dates what a key signs
    }.get(denial, "")
    if line:
        counts(scene, f'{ASKED}\n[[deny]]\n{line}\nreason = "stolen"\n')
        return
    listed = write_deny_list((ListedDenial(reason="stolen", key=key_of(second)),))
    raw = encoded(scene.world.sign_statement(listed, scene.packer, log="none").bundle())
    asked = f'{ASKED}\n[deny-list]\nkey = "packer"\n'
    refusal = scene.refused(AS_PACKED + asked, statement=carrying(scene, raw))
    assert refusal.code == "policy.contents"


def test_a_silence_helps_nothing_that_is_denied(scene: Scene) -> None:
    say(scene, vex(scene.image.digest))
    text = AS_PACKED + f'{ASKED}\n[[deny]]\ndigest = "{scene.image.digest}"\nreason = "{CVE}"\n'
    refusal = scene.refused(text)
    assert (refusal.code, refusal.exit_status) == ("denied.listed", 17)


# --- when it was said -----------------------------------------------------------------------------


def test_a_later_version_without_the_statement_takes_it_back(scene: Scene) -> None:
    say(scene, vex(scene.image.digest))
    silenced(scene)
    say(scene, vex(scene.image.digest) | {"version": 2, "statements": []})
    counts(scene)
    say(scene, vex(scene.image.digest) | {"version": 3})
    silenced(scene)


def test_another_document_takes_nothing_back(scene: Scene) -> None:
    say(scene, vex(scene.image.digest))
    other = vex(scene.image.digest) | {"@id": "https://acme.example/vex/2", "version": 9}
    say(scene, other | {"statements": []})
    silenced(scene)


def test_versions_of_two_authors(scene: Scene) -> None:
    """Whoever may speak takes a silence back; that a finding matters, only those who said it."""
    say(scene, vex(scene.image.digest))
    silenced(scene, BOTH)
    say(scene, vex(scene.image.digest) | {"version": 2, "statements": []}, by="packer")
    counts(scene, BOTH)
    silenced(scene)  # where nobody listens to the other one
    say(scene, vex(scene.image.digest) | {"@id": "https://acme.example/vex/3"}, by="packer")
    silenced(scene, BOTH)
    say(scene, vex(scene.image.digest, "affected", timestamp=LATE) | {"version": 3})
    counts(scene, BOTH)
    say(scene, vex(scene.image.digest) | {"version": 9, "statements": []}, by="packer")
    counts(scene, BOTH)
    say(scene, vex(scene.image.digest) | {"version": 9, "statements": []})
    silenced(scene, BOTH)


def test_two_documents_of_one_name_and_version_both_speak(scene: Scene) -> None:
    say(scene, vex(scene.image.digest, timestamp=LATE))
    silenced(scene)
    say(scene, vex(scene.image.digest, "affected", timestamp=LATE))
    counts(scene)


def test_an_update_opens_a_finding_and_closes_none(scene: Scene) -> None:
    """`last_updated` makes what opens a finding newer; what closes one was known when it says."""
    say(scene, vex(scene.image.digest, timestamp="2026-01-15T10:30:00Z"))
    silenced(scene)
    opened = vex(scene.image.digest, "affected", last_updated="2026-01-15T10:40:00Z")
    say(scene, opened | {"@id": "https://acme.example/vex/2"})
    counts(scene)
    closed = vex(scene.image.digest, timestamp="2026-01-15T10:35:00Z", last_updated=LATE)
    say(scene, closed | {"@id": "https://acme.example/vex/3"})
    counts(scene)
    closed = vex(scene.image.digest, timestamp="2026-01-15T10:41:00Z")
    say(scene, closed | {"@id": "https://acme.example/vex/4"})
    silenced(scene)


def test_a_document_that_was_updated_dates_what_has_no_time_of_its_own(scene: Scene) -> None:
    say(scene, vex(scene.image.digest, timestamp="2026-01-15T10:30:00Z"))
    opened = vex(scene.image.digest, "under_investigation", timestamp=None)
    say(scene, opened | {"@id": "https://acme.example/vex/2", "last_updated": LATE})
    counts(scene)


def test_a_finding_that_matters_under_any_of_its_names_matters(scene: Scene) -> None:
    names = {"name": CVE, "aliases": ["GHSA-1"]}
    say(scene, vex(scene.image.digest, vulnerability=names))
    silenced(scene)
    opened = vex(scene.image.digest, "affected", vulnerability={"name": "GHSA-1"}, timestamp=LATE)
    say(scene, opened)
    counts(scene)


def test_a_silence_holds_under_the_names_that_it_gives_alone(scene: Scene) -> None:
    """That two names are one vulnerability, another statement says: too little to close by."""
    say(scene, vex(scene.image.digest, vulnerability={"name": "GHSA-1"}))
    elsewhere: Json = {
        "@id": scene.image.digest,
        "subcomponents": [{"@id": "pkg:deb/debian/zlib@1.0"}],
    }
    tied = {"name": "GHSA-1", "aliases": [CVE]}
    say(scene, vex(scene.image.digest, vulnerability=tied, products=[elsewhere]))
    counts(scene)


# --- the document ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "over",
    [
        {"@context": "https://openvex.dev/ns/v0.3.0"},
        {"@context": "https://evil.example/ns"},
        {"@context": None},
        {"@id": None},
        {"@id": ""},
        {"version": None},
        {"version": "1"},
        {"version": -1},
        {"last_updated": "soon"},
        {"statements": None},
    ],
    ids=str,
)
def test_a_document_without_its_head_says_nothing(scene: Scene, over: Json) -> None:
    document = {k: v for k, v in (vex(scene.image.digest) | over).items() if v is not None}
    say(scene, document)
    counts(scene)
    assert not [words for words in heard(scene) if "heard as VEX" in words]


def test_a_document_that_says_too_much_says_nothing(scene: Scene) -> None:
    own = {Digest.parse(scene.image.digest)}
    many = vex(scene.image.digest, products=[{"@id": scene.image.digest}] * 1000)
    assert len(read_vex(many, own).statements) == 1  # said a thousand times is said once
    with pytest.raises(LimitError, match="says too much"):
        read_vex(many | {"statements": many["statements"] * (WORD_COUNT_MAX // 1000 + 1)}, own)
    parts = [{"@id": f"pkg:deb/debian/p{n}"} for n in range(200)]
    names = {"name": CVE, "aliases": [f"GHSA-{n}" for n in range(999)]}
    product: Json = {"@id": scene.image.digest, "subcomponents": parts}
    say(scene, vex(scene.image.digest, vulnerability=names, products=[product]))
    counts(scene)
    assert "a document says too much" in heard(scene)[0]


def test_many_documents_tied_by_their_names_end_soon(scene: Scene) -> None:
    names = [{"name": CVE, "aliases": [f"N-{n}-{m}" for m in range(90)]} for n in range(200)]
    document = vex(scene.image.digest)
    (one,) = document["statements"]
    document["statements"] = [one | {"vulnerability": each} for each in names]
    say(scene, document)
    silenced(scene)


def test_a_bundle_is_judged_as_a_whole_with_vex_in_it(scene: Scene) -> None:
    """Evidence is read once more for VEX; what may be read of a bundle is still bounded."""
    say(scene, vex(scene.image.digest))
    statement = scene.statement()
    blobs = Blobs(scene.store)
    policy = scene.policy(AS_PACKED + ASKED)
    trust = scene.trust(policy)
    found = judge_statement(statement, (), policy=policy, trust=trust, now=CREATED)
    assert judge(statement, found, blobs, policy=policy, trust=trust, now=CREATED)
    assert max(map(blobs.reads.count, blobs.reads)) <= 4


# --- costs ----------------------------------------------------------------------------------------


def judged(scene: Scene, limits: Limits) -> Judgement:
    statement = scene.statement()
    policy = scene.policy(AS_PACKED + ASKED)
    trust = scene.trust(policy)
    found = judge_statement(statement, (), policy=policy, trust=trust, now=CREATED)
    blobs = Blobs(scene.store)
    return judge(
        statement, found, blobs, policy=policy, trust=trust, now=CREATED, limits=limits
    ).value


def copied(scene: Scene, kind: str, predicate: object, signer: Signer | Identity) -> None:
    """The same signed words once more, in files of other digests: anybody can write those."""
    said = statements.statement(scene.image.digest, kind, predicate)
    if isinstance(signer, Signer):
        act = scene.world.sign_statement(said, signer, log="none")
    else:
        act = scene.world.sign_statement(said, scene.world.keyless(signer), log="v1")
    for count in range(1, 6):
        attach.attach_bundle(scene.image, encoded(act.bundle()) + b" " * count)


def test_copies_of_vex_and_of_scans_cost_no_product(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty copies of one and twenty of the other were minutes, and hundreds of megabytes."""
    words: list[int] = []
    begin = Silence.__init__

    def begun(self: Silence, heard: Iterable[Heard], *rest: Said, now: datetime) -> None:
        listed = list(heard)
        words.append(sum(one.document.word_count for one in listed))
        begin(self, listed, *rest, now=now)

    monkeypatch.setattr(Silence, "__init__", begun)
    copied(scene, OPENVEX, vex(scene.image.digest), scene.world.managed("second"))
    found = trivy((CVE, "openssl", "CRITICAL", "1.1"))
    copied(scene, VULN, statements.vulnerabilities(FINISHED, found), workflow())
    assert judged(scene, Limits(image_vex_word_count_max=1))
    assert words == [1]


def test_all_documents_about_an_image_say_no_more_than_the_limit(scene: Scene) -> None:
    """Refused, and not passed over: one of them may take a silence back."""
    for version in (1, 2):
        say(scene, vex(scene.image.digest) | {"version": version})
    assert judged(scene, Limits(image_vex_word_count_max=2))
    with pytest.raises(LimitError, match="too much of one image"):
        judged(scene, Limits(image_vex_word_count_max=1))
