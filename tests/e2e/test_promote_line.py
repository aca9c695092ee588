"""`airlock promote` between fakes: what is copied, in which order, and what is never lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.errors import (
    EvidenceTakenError,
    RemoteError,
    RemoteIncompleteError,
    RemoteRedirectError,
    RemoteReferrersTagError,
    VersionTakenError,
)
from loader.errors import PolicyError, UsageError
from tests.e2e.promoting import (
    VERY_QUICK,
    Release,
    all_there,
    make_release,
    release_tags,
    snapshot,
)
from tests.fakes import attach
from tests.fakes.content import OCI_INDEX, encode
from tests.fakes.distribution import Features
from tests.fakes.faults import Fault, redirect
from tests.fakes.images import (
    Image,
    artifact,
    attestation_manifest,
    hello_image,
    hello_index,
    index,
)
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_auth import BasicAuth, TokenAuth

TAGS = ["1.2.3", "1.2", "1", "latest"]


@pytest.fixture
def release(tmp_path: Path) -> Iterator[Release]:
    with FakeRegistry() as registry:
        yield make_release(tmp_path, registry)


@pytest.fixture(params=[True, False], ids=["referrers API", "referrers tag"])
def destination(request: pytest.FixtureRequest) -> Iterator[FakeRegistry]:
    with FakeRegistry(features=Features(referrers=request.param)) as registry:
        yield registry


@pytest.fixture
def plain() -> Iterator[FakeRegistry]:
    """A registry without the referrers API."""
    with FakeRegistry(features=Features(referrers=False)) as registry:
        yield registry


def writes(registry: FakeRegistry) -> list[str]:
    return [r.target for r in registry.requests if r.method not in {"GET", "HEAD"}]


def test_ct_7_everything_arrives_byte_for_byte(release: Release, destination: FakeRegistry) -> None:
    promoted = release.promote(destination)
    store = destination.store("rel/app")
    all_there(release, store, by_tag=not destination.features.referrers)
    assert release_tags(store) == dict.fromkeys(TAGS, release.image.digest)
    assert [step.doing for step in promoted.tags] == ["set"] * 4
    assert promoted.exit_status == 0


def test_ct_7_evidence_is_read_again_before_the_first_tag(
    release: Release, destination: FakeRegistry
) -> None:
    release.promote(destination)
    asked = [(r.method, r.target) for r in destination.requests]
    first_tag = asked.index(("PUT", "/v2/rel/app/manifests/1.2.3"))
    hexadecimal = release.image.digest.removeprefix("sha256:")
    signature = f"/v2/rel/app/manifests/sha256-{hexadecimal}.sig"
    written = asked.index(("PUT", signature))
    assert ("GET", signature) in asked[written:first_tag]
    layer = release.image.store.json(release.image.store.tags[f"sha256-{hexadecimal}.sig"])
    blob = f"/v2/rel/app/blobs/{layer['layers'][0]['digest']}"
    assert ("GET", blob) in asked[written:first_tag]
    tags = [t.rpartition("/")[2] for m, t in asked[first_tag:] if m == "PUT"]
    assert tags == TAGS


def test_the_second_run_writes_nothing(release: Release, destination: FakeRegistry) -> None:
    release.promote(destination)
    before = len(writes(destination))
    promoted = release.promote(destination)
    assert len(writes(destination)) == before
    assert not promoted.drifts
    assert [*promoted.as_text()][-1].startswith("the same ")


def test_a_dry_run_writes_nothing_and_says_the_drift(
    release: Release, destination: FakeRegistry
) -> None:
    looked = release.promote(destination, "--semver", "1.2.3", "--dry-run")
    assert looked.exit_status == 1
    assert writes(destination) == []
    release.promote(destination)
    before = len(writes(destination))
    assert release.promote(destination, "--semver", "1.2.3", "--dry-run").exit_status == 0
    destination.store("rel/app").tags.pop("1.2")
    assert release.promote(destination, "--semver", "1.2.3", "--dry-run").exit_status == 1
    assert len(writes(destination)) == before


def test_ct_8_a_taken_version_is_refused_before_any_write(
    release: Release, destination: FakeRegistry
) -> None:
    store = destination.store("rel/app")
    hello_image(store, tag="1.2.3")
    before = snapshot(store)
    for arguments in (("--semver", "1.2.3"), ("--semver", "1.2.3", "--dry-run")):
        with pytest.raises(VersionTakenError):
            release.promote(destination, *arguments)
    assert writes(destination) == []
    assert snapshot(store) == before


def test_ct_8_a_backport_leaves_1_untouched(release: Release, destination: FakeRegistry) -> None:
    store = destination.store("rel/app")
    newer = hello_image(store, tag="1.3.0")
    for tag in ("1.3", "1", "latest"):
        store.tag(tag, newer.descriptor)
    release.promote(destination, "--semver", "1.2.9")
    tags = release_tags(store)
    assert tags["1.2.9"] == tags["1.2"] == release.image.digest
    assert tags["1"] == tags["latest"] == tags["1.3"] == newer.digest


def test_a_tag_between_plan_and_end_is_not_taken_from_its_owner(
    release: Release, destination: FakeRegistry
) -> None:
    store = destination.store("rel/app")

    def somebody_else() -> None:
        hello_image(store, tag="1.2.3")

    destination.faults.append(Fault(pattern=r"/blobs/uploads/", method="POST", after=somebody_else))
    with pytest.raises(VersionTakenError):
        release.promote(destination)
    assert release.image.digest not in release_tags(store).values()


def test_a_moving_tag_that_is_set_while_others_are_written_stays(
    release: Release, destination: FakeRegistry
) -> None:
    """Each tag is read once more just before it is written."""
    store = destination.store("rel/app")
    theirs: list[str] = []

    def somebody_else() -> None:
        theirs.append(hello_image(store, tag="1").digest)

    destination.faults.append(
        Fault(pattern=r"/manifests/1\.2\.3$", method="PUT", after=somebody_else)
    )
    with pytest.raises(RemoteIncompleteError, match="somebody else has set the tag"):
        release.promote(destination)
    tags = release_tags(store)
    assert tags["1.2.3"] == tags["1.2"] == release.image.digest
    assert tags["1"] == theirs[0]
    assert "latest" not in tags


@pytest.mark.parametrize("tag", ["1.2.3", "latest"])
def test_a_registry_that_compares_loses_no_tag_that_is_set_in_the_last_moment(
    release: Release, tag: str
) -> None:
    with FakeRegistry(features=Features(conditions=True)) as registry:
        store = registry.store("rel/app")
        hello_image(store, version="1.0.0", tag="1.0.0")
        hello_image(store, version="1.0.0", tag="latest")
        theirs: list[str] = []

        def somebody_else() -> None:
            theirs.append(hello_image(store, text="theirs\n", tag=tag).digest)

        registry.faults.append(
            Fault(pattern=f"/manifests/{tag}$", method="PUT", before=somebody_else)
        )
        with pytest.raises(RemoteIncompleteError, match="somebody else has set the tag"):
            release.promote(registry)
        assert store.tags[tag] == theirs[0]


@pytest.mark.parametrize("what", ["signature tag", "referrers tag"])
def test_a_list_of_evidence_that_somebody_writes_in_the_last_moment_keeps_both(
    release: Release, what: str
) -> None:
    with FakeRegistry(features=Features(referrers=False, conditions=True)) as registry:
        store = registry.store("rel/app")
        release.promote(registry, "--tags", "before")
        there = Image(store=store, descriptor=release.image.descriptor)
        signed = release.world.sign_image_legacy(there.digest, release.signer, log="v1")
        tag = there.digest.replace(":", "-") + (".sig" if what == "signature tag" else "")
        del store.tags[tag]

        def somebody_else() -> None:
            if what == "signature tag":
                attach.attach_tag(there, [signed.layer()])
            else:
                attach.attach_bundle(there, b"{}", fallback="bare")

        registry.faults.append(
            Fault(pattern=f"/manifests/{tag}$", method="PUT", before=somebody_else)
        )
        release.promote(registry, "--tags", "after")
        document = store.json(store.tags[tag])
    assert len(document["layers" if what == "signature tag" else "manifests"]) == 2


def test_nothing_is_written_when_the_source_is_refused(
    release: Release, destination: FakeRegistry
) -> None:
    other = release.world.managed("other")
    (release.folder / "release.pub").write_bytes(other.public_pem)
    with pytest.raises(PolicyError):
        release.promote(destination)
    assert destination.requests == []


BUNDLE_SIGNATURE = '[[image.require]]\nclaim = "bundle-signature"\nkey = "release"\n'


def test_what_a_policy_asks_of_a_bundle_is_left_out_with_a_note(
    release: Release, destination: FakeRegistry
) -> None:
    """One policy for both ways: `verify IMAGE` and `policy test` answer alike."""
    policy = release.folder / "policy.toml"
    named = policy.read_text().replace('name = "as-packed"\n', "")
    policy.write_text(named + BUNDLE_SIGNATURE)
    promoted = release.promote(destination)
    assert any("asks of a bundle" in note for note in promoted.notes)
    (judged,) = promoted.judgement.images
    assert [claim.claim for claim in judged.claims] == ["signature"]
    assert release_tags(destination.store("rel/app")) == dict.fromkeys(TAGS, release.image.digest)


def test_what_else_a_policy_asks_is_asked_still(
    release: Release, destination: FakeRegistry
) -> None:
    policy = release.folder / "policy.toml"
    policy.write_text(policy.read_text() + BUNDLE_SIGNATURE)
    other = release.world.managed("other")
    (release.folder / "release.pub").write_bytes(other.public_pem)
    with pytest.raises(PolicyError):
        release.promote(destination)
    assert destination.requests == []


def test_without_a_bundle_signature_evidence_must_name_the_image(
    release: Release, destination: FakeRegistry
) -> None:
    policy = release.folder / "policy.toml"
    policy.write_text(policy.read_text().replace('name = "as-packed"\n', ""))
    with pytest.raises(PolicyError):
        release.promote(destination)
    assert destination.requests == []


def test_a_policy_for_bundles_alone_promotes_nothing(
    release: Release, destination: FakeRegistry
) -> None:
    policy = release.folder / "policy.toml"
    head, _, _ = policy.read_text().partition("[[image.require]]")
    policy.write_text(head + BUNDLE_SIGNATURE)
    with pytest.raises(UsageError, match="nothing but a bundle signature"):
        release.promote(destination)
    assert release.registry.requests == destination.requests == []


@pytest.mark.parametrize("what", ["tags", "referrers"])
def test_evidence_that_a_destination_drops_leaves_it_without_tags(
    release: Release, plain: FakeRegistry, what: str
) -> None:
    """It says 201 and forgets: what counts is what it gives back."""
    pattern = r"/manifests/sha256-[0-9a-f]{64}\.sig$" if what == "tags" else r"sha256-[0-9a-f]{64}$"
    plain.faults.append(Fault(pattern=pattern, method="GET", on=None, status=404))
    with pytest.raises(RemoteIncompleteError):
        release.promote(plain)
    assert release_tags(plain.store("rel/app")) == {}


def test_a_destination_that_gives_back_another_signature_gets_no_tags(
    release: Release, plain: FakeRegistry
) -> None:
    hexadecimal = release.image.digest.removeprefix("sha256:")
    mine = release.image.store.json(release.image.store.tags[f"sha256-{hexadecimal}.sig"])
    blob = mine["layers"][0]["digest"]
    plain.faults.append(
        Fault(
            pattern=f"/blobs/{blob}$", method="GET", on=None, body=b"x" * mine["layers"][0]["size"]
        )
    )
    with pytest.raises(RemoteError):
        release.promote(plain)
    assert release_tags(plain.store("rel/app")) == {}


# --- what was pruned, what sits where it should not, what comes late ------------------------------


def test_ct_9_a_dangling_referrer_is_a_note(release: Release, destination: FakeRegistry) -> None:
    gone = attach.attach_bundle(
        release.image, b"{}", fallback="full", predicate_type="https://slsa.dev/provenance/v1"
    )
    attach.drop_manifest(release.image.store, gone["digest"])
    promoted = release.promote(destination)
    assert any("not there (pruned?)" in note for note in promoted.notes)
    assert gone["digest"] not in destination.store("rel/app").blobs
    all_there(release, destination.store("rel/app"), by_tag=not destination.features.referrers)


def test_ct_9_what_the_policy_requires_may_not_be_pruned(
    release: Release, destination: FakeRegistry
) -> None:
    store = release.image.store
    store.tags = {tag: digest for tag, digest in store.tags.items() if not tag.endswith(".sig")}
    for subject in (release.image, *release.image.children):
        for one in store.referrers(subject.digest):
            attach.drop_manifest(store, one["digest"])
    with pytest.raises(PolicyError):
        release.promote(destination)
    assert destination.requests == []


def test_ct_10_an_image_under_the_referrers_tag_is_not_overwritten(
    release: Release, plain: FakeRegistry
) -> None:
    store = plain.store("rel/app")
    squatter = hello_image(store)
    tag = release.image.digest.replace(":", "-")
    store.tag(tag, squatter.descriptor)
    with pytest.raises(RemoteReferrersTagError) as caught:
        release.promote(plain)
    assert "--repair-referrers-tag" in caught.value.hint
    assert store.tags == {tag: squatter.digest}
    assert writes(plain) == []
    release.promote(plain, "--semver", "1.2.3", "--repair-referrers-tag")
    all_there(release, store, by_tag=True)
    assert squatter.digest in store.manifests


def test_ct_10_such_a_source_is_read_with_a_note(release: Release, plain: FakeRegistry) -> None:
    release.registry.features.referrers = False
    first = release.image.children[0]
    store = release.image.store
    store.tag(first.digest.replace(":", "-"), first.descriptor)
    promoted = release.promote(plain)
    assert any("holds an image instead of referrers" in note for note in promoted.notes)


def test_ct_10_what_others_listed_stays(release: Release, plain: FakeRegistry) -> None:
    store = plain.store("rel/app")
    theirs = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": "sha256:" + "7" * 64,
        "size": 7,
        "annotations": {"kept": "yes"},
        "unknown-field": [1, 2],
    }
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [theirs], "more": {"a": 1}}
    tag = release.image.digest.replace(":", "-")
    store.tag(tag, store.add(encode(index), OCI_INDEX))
    # The fake refuses lists of what it has not; real ones that have no API mostly do not look.
    plain.features.check_references = False
    release.promote(plain)
    after = store.json(store.tags[tag])
    assert after["manifests"][0] == theirs
    assert after["more"] == {"a": 1}
    assert len(after["manifests"]) == 2


def test_a_referrers_tag_that_somebody_else_writes_meanwhile(
    release: Release, plain: FakeRegistry
) -> None:
    tag = release.image.digest.replace(":", "-")
    store = plain.store("rel/app")

    def lose() -> None:
        store.tags.pop(tag, None)

    fault = Fault(pattern=f"/manifests/{tag}$", method="PUT", after=lose)
    plain.faults.append(fault)
    release.promote(plain)
    assert fault.count == 2
    all_there(release, store, by_tag=True)


def test_signatures_of_the_destinations_own_are_not_lost(
    release: Release, destination: FakeRegistry
) -> None:
    release.promote(destination)
    store = destination.store("rel/app")
    name = f"sha256-{release.image.digest.removeprefix('sha256:')}.sig"
    ours = store.tags[name]
    more = release.world.sign_image_legacy(
        release.image.digest, release.world.managed("second"), log="v1"
    ).layer()
    both = store.json(ours)
    both["layers"].append(more.descriptor())
    store.add(more.blob, more.media_type)
    store.tag(name, store.add_json(both, store.manifests[ours]))
    kept = store.tags[name]
    release.promote(destination)  # theirs has all of ours
    assert store.tags[name] == kept
    both["layers"].pop(0)
    store.tag(name, store.add_json(both, store.manifests[ours]))
    release.promote(destination)  # now each has what the other has not: both are kept
    merged = store.json(store.tags[name])["layers"]
    assert merged == [more.descriptor(), store.json(ours)["layers"][0]]
    kept = snapshot(store)
    release.promote(destination)
    assert snapshot(store) == kept


def test_what_is_no_evidence_under_a_tag_of_cosigns_is_not_overwritten(
    release: Release, destination: FakeRegistry
) -> None:
    store = destination.store("rel/app")
    name = f"sha256-{release.image.digest.removeprefix('sha256:')}.sig"
    squatter = hello_index(store, tag=None)
    store.tag(name, squatter.descriptor)
    with pytest.raises(EvidenceTakenError):
        release.promote(destination)
    assert store.tags == {name: squatter.digest}


def test_ct_11_a_redirect_of_referrers_is_not_followed(
    release: Release, plain: FakeRegistry
) -> None:
    """GHCR: 303 to another host, at the source and at the destination."""
    release.log_in(release.registry, plain)
    with FakeRegistry() as elsewhere:
        for one in (release.registry, plain):
            one.auth = BasicAuth()
            one.faults.append(redirect(r"/referrers/", f"{elsewhere.url}{{target}}", status=303))
        release.promote(plain)
        assert elsewhere.requests == []
    all_there(release, plain.store("rel/app"), by_tag=True)
    assert any(r.authorization for r in plain.requests)


def test_a_token_to_push_is_for_the_destination_alone(
    release: Release, destination: FakeRegistry
) -> None:
    release.log_in(release.registry, destination)
    for one in (release.registry, destination):
        one.auth = TokenAuth(user="robot")
    release.promote(destination)
    all_there(release, destination.store("rel/app"), by_tag=not destination.features.referrers)
    asked = [r.query("scope") for r in destination.seen("/token")]
    assert set(asked) == {"repository:rel/app:pull", "repository:rel/app:pull,push"}
    assert {r.query("scope") for r in release.registry.seen("/token")} == {
        "repository:acme/app:pull"
    }


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT"])
def test_a144_a_challenge_that_wants_our_login_elsewhere(
    release: Release, destination: FakeRegistry, method: str
) -> None:
    release.log_in(destination)
    with FakeRegistry() as elsewhere:
        realm = f'Bearer realm="{elsewhere.url}/token",service="x",scope="repository:rel/app:push"'
        destination.faults.append(
            Fault(
                pattern=r"/v2/rel/app/",
                method=method,
                on=None,
                status=401,
                headers={"WWW-Authenticate": realm},
            )
        )
        with pytest.raises(RemoteError):
            release.promote(destination)
        assert elsewhere.requests == []
    assert release_tags(destination.store("rel/app")) == {}


def test_ct_12_evidence_that_shows_a_moment_later(release: Release, plain: FakeRegistry) -> None:
    name = rf"sha256-{release.image.digest.removeprefix('sha256:')}\.sig$"
    # Two looks are before it is written; the third is the first that must find it, and does not.
    plain.faults.append(Fault(pattern=name, method="GET", on=(3,), status=404))
    release.promote(plain)
    assert set(release_tags(plain.store("rel/app"))) == set(TAGS)


def test_ct_12_evidence_that_never_shows(release: Release, plain: FakeRegistry) -> None:
    name = rf"sha256-{release.image.digest.removeprefix('sha256:')}\.sig$"
    fault = Fault(pattern=name, method="GET", on=None, status=404)
    plain.faults.append(fault)
    with pytest.raises(RemoteIncompleteError):
        release.promote(plain)
    # One look before anything is written, one before the tag is.
    assert fault.count == 2 + VERY_QUICK.visible_count
    assert release_tags(plain.store("rel/app")) == {}


# --- A144: registries that take what they get elsewhere -------------------------------------------


def test_a144_a_manifest_that_is_taken_for_something_else(
    release: Release, destination: FakeRegistry
) -> None:
    wrong = {"Docker-Content-Digest": "sha256:" + "0" * 64}
    destination.faults.append(Fault(pattern=r"/manifests/", method="PUT", on=None, headers=wrong))
    with pytest.raises(RemoteError, match="something else"):
        release.promote(destination)
    assert release_tags(destination.store("rel/app")) == {}


@pytest.mark.parametrize("step", ["begin", "redirect"])
def test_a144_an_upload_that_leads_elsewhere_carries_nothing(
    release: Release, destination: FakeRegistry, step: str
) -> None:
    with FakeRegistry() as elsewhere:
        target = f"{elsewhere.url}/v2/rel/app/blobs/uploads/1"
        if step == "begin":
            fault = Fault(
                pattern=r"/uploads/", method="POST", on=None, headers={"Location": target}
            )
        else:
            fault = redirect(r"/uploads/", target, method="PUT")
        destination.faults.append(fault)
        with pytest.raises(RemoteRedirectError):
            release.promote(destination)
        assert elsewhere.requests == []
    assert release_tags(destination.store("rel/app")) == {}


def test_blobs_are_mounted_within_one_registry(release: Release) -> None:
    release.promote(release.registry)
    moved = release.registry.store("rel/app")
    all_there(release, moved, by_tag=False)
    assert release.registry.seen(r"/rel/app/blobs/uploads/[0-9a-f]", "PUT") == []
    assert release.registry.seen(r"/rel/app/blobs/uploads/\?mount=", "POST")


@pytest.mark.parametrize("kind", ["artifact", "of unknown platform", "attestation of another"])
def test_entries_of_an_index_that_are_no_images_go_along(
    release: Release, destination: FakeRegistry, kind: str
) -> None:
    """A strict registry refuses an index that lists what it has not."""
    store, images = release.image.store, release.image.children
    other = artifact(store, "application/vnd.acme.thing", [(b"hello", "text/plain")])
    if kind == "of unknown platform":
        platform = {"os": "unknown", "architecture": "unknown"}
        other = Image(store=store, descriptor={**other.descriptor, "platform": platform})
    elif kind == "attestation of another":
        other = attestation_manifest(store, other, [(b"{}", "https://example.com/said")])
    top = index(store, images, attestations=[other], tag="mixed")
    attach.attach_bundle(top, release.world.sign_image(top.digest, release.signer).bundle())
    source = release.registry.reference("acme/app", "mixed")
    promoted = release.promote(destination, "--tags", "mixed", source=source)
    there = destination.store("rel/app")
    assert release_tags(there) == {"mixed": top.digest}
    assert there.read(other.digest) == store.read(other.digest)
    for blob in (other.manifest["config"], *other.manifest["layers"]):
        assert there.read(blob["digest"]) == store.read(blob["digest"])
    assert any("copied as they are: 1" in note for note in promoted.notes)
    order = [r.target.rpartition("/")[2] for r in destination.requests if r.method == "PUT"]
    assert order.index(other.digest) < order.index(top.digest)


def test_evidence_about_evidence_goes_along(release: Release, destination: FakeRegistry) -> None:
    store = release.image.store
    sbom = store.referrers(release.image.digest)[0]
    document = store.json(sbom["digest"])
    note = {
        "schemaVersion": 2,
        "mediaType": sbom["mediaType"],
        "config": document["config"],
        "layers": document["layers"],
        "subject": {key: sbom[key] for key in ("mediaType", "digest", "size")},
        "artifactType": "application/vnd.acme.note",
    }
    said = store.add_json(note, sbom["mediaType"])
    release.promote(destination)
    there = destination.store("rel/app")
    assert said["digest"] in {one["digest"] for one in there.referrers(sbom["digest"])}


def test_a_copy_that_goes_wrong_on_the_way_never_becomes_a_blob(
    release: Release, destination: FakeRegistry
) -> None:
    layer = release.image.children[0].manifest["layers"][0]
    release.registry.faults.append(
        Fault(pattern=f"/blobs/{layer['digest']}$", on=None, body=b"x" * layer["size"])
    )
    with pytest.raises(RemoteError):
        release.promote(destination)
    assert layer["digest"] not in destination.store("rel/app").blobs
