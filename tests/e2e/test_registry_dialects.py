"""GHCR and Quay as they are, from one to the other: what complytime's releases go through (CT-7).

The fakes answer as these two do (FORMATS §1.1; `tests/fakes/quay.py` from Quay's own source).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bundler.errors import RemoteAuthError, VersionTakenError
from tests.e2e.collecting import gather
from tests.e2e.loading import REPOSITORY, Publisher
from tests.e2e.promoting import Release, all_there, make_release, release_tags, snapshot
from tests.e2e.test_push import MIRROR, Enclave, full_bundle
from tests.fakes import attach
from tests.fakes.content import encode
from tests.fakes.distribution import Features
from tests.fakes.faults import Fault, redirect
from tests.fakes.images import Layer, hello_image
from tests.fakes.quay import Quay, QuayAuth
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_auth import TokenAuth

TAGS = {"1.2.3", "1.2", "1", "latest"}
ROBOT, GITHUB = "acme+promoter", "octocat"


@dataclass
class Dialects:
    """A release at GHCR, a robot account at Quay, and who must never be asked."""

    release: Release
    ghcr: FakeRegistry
    quay: FakeRegistry
    web: FakeRegistry
    """GitHub's web page, where GHCR redirects to."""
    robot: QuayAuth

    @property
    def api(self) -> Quay:
        assert isinstance(self.quay.distribution, Quay)
        return self.quay.distribution

    def promote(self, *arguments: str) -> object:
        return self.release.promote(self.quay, *("--semver", "1.2.3", *arguments))


def write_logins(home: Path, users: dict[str, str]) -> None:
    """Keep logins as `docker login` does; every password is `secret`."""
    auths = {
        host: {"auth": base64.b64encode(f"{user}:secret".encode()).decode()}
        for host, user in users.items()
    }
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_bytes(encode({"auths": auths}))


@pytest.fixture
def dialects(tmp_path: Path) -> Iterator[Dialects]:
    with (
        FakeRegistry() as web,
        FakeRegistry(
            features=Features(referrers=False),
            auth=TokenAuth(user=GITHUB),
            faults=[redirect(r"/referrers/", f"{web.url}{{target}}", status=303)],
        ) as ghcr,
        FakeRegistry(dialect=Quay) as quay,
    ):
        robot = QuayAuth(user=ROBOT, repositories=quay.repositories)
        quay.auth = robot
        release = make_release(tmp_path, ghcr)
        write_logins(tmp_path, {ghcr.host: GITHUB, quay.host: ROBOT})
        yield Dialects(release, ghcr, quay, web, robot)
        assert web.requests == []


def test_ct_7_a_repository_that_is_not_there_yet_is_made_by_the_first_promotion(
    dialects: Dialects,
) -> None:
    """Quay says 401 of it, and makes it for a token to push."""
    dialects.promote()
    store = dialects.quay.store("rel/app")
    assert dialects.robot.created == ["rel/app"]
    all_there(dialects.release, store, by_tag=False)
    assert release_tags(store) == dict.fromkeys(TAGS, dialects.release.image.digest)


def test_ct_7_quay_lists_referrers_once_a_tag_keeps_what_they_speak_of(
    dialects: Dialects,
) -> None:
    """Before, it answers 404: evidence must be seen all the same, by the tag, before any tag."""
    dialects.promote()
    store = dialects.quay.store("rel/app")
    for subject in (dialects.release.image, *dialects.release.image.children):
        listed = store.json(store.tags[subject.digest.replace(":", "-")])["manifests"]
        known = {one["digest"] for one in store.referrers(subject.digest)}
        assert {one["digest"] for one in listed} == known
    before = snapshot(store)
    again = dialects.release.promote(dialects.quay)
    assert not again.drifts
    assert snapshot(store) == before
    plain = [dialects.quay.host]
    environment = {"HOME": str(dialects.release.folder)}
    (found,), _ = gather(
        [dialects.quay.reference("rel/app", "1.2.3")],
        dialects.release.folder / "there",
        plain_http=plain,
        environment=environment,
    )
    stores = {(item.store, str(item.subject)) for item in found.entry.evidence}
    for subject in (dialects.release.image, *dialects.release.image.children):
        assert ("referrer", subject.digest) in stores
    assert found.notes == ()


def test_a_dry_run_makes_no_repository(dialects: Dialects) -> None:
    with pytest.raises(RemoteAuthError) as caught:
        dialects.promote("--dry-run")
    assert "does not exist" in caught.value.hint
    assert dialects.robot.created == []
    scopes = {r.query("scope") for r in dialects.quay.seen("/v2/auth")}
    assert scopes == {"repository:rel/app:pull"}
    dialects.promote()
    dialects.robot.issued.clear()
    asked = len(dialects.quay.seen("/v2/auth"))
    looked = dialects.release.promote(dialects.quay, "--semver", "1.2.3", "--dry-run")
    assert not looked.drifts
    scopes = {r.query("scope") for r in dialects.quay.seen("/v2/auth")[asked:]}
    assert scopes == {"repository:rel/app:pull"}


def test_a_robot_that_may_not_create_changes_nothing(dialects: Dialects) -> None:
    dialects.robot.may_create = False
    with pytest.raises(RemoteAuthError):
        dialects.promote()
    assert "rel/app" not in dialects.quay.repositories


def test_a_taken_version_is_found_behind_many_tags(dialects: Dialects) -> None:
    """Quay's pages are absolute addresses with a sealed mark; the version stands on the last."""
    store = dialects.quay.store("rel/app")
    other = hello_image(store, version="other")
    for number in range(7):
        store.tag(f"0.{number}.0", other.descriptor)
    store.tag("1.2.3", other.descriptor)
    dialects.quay.features.tags_page = 3
    with pytest.raises(VersionTakenError):
        dialects.promote()
    assert not [r for r in dialects.quay.requests if r.method in {"PUT", "PATCH", "POST"}]


def test_a_tag_that_was_deleted_may_be_set_again(dialects: Dialects) -> None:
    dialects.quay.store("rel/app")
    dialects.api.expired |= TAGS
    dialects.promote()
    assert set(release_tags(dialects.quay.store("rel/app"))) == TAGS


def test_blobs_come_from_quays_cdn_without_our_login(dialects: Dialects) -> None:
    with FakeRegistry(dialects.quay.repositories) as cdn:
        dialects.api.cdn = cdn.url
        dialects.promote("--plain-http", cdn.host, "--deep")
        assert cdn.requests
        assert not [r for r in cdn.requests if r.authorization]
        assert all(r.query("X-Signature") == "secret" for r in cdn.requests)


def test_an_upload_that_breaks_at_quay_begins_anew(dialects: Dialects) -> None:
    """It says a byte too much of how far an upload is: to go on there would leave a hole."""
    layer = Layer.noise(300_000)
    image = hello_image(dialects.release.image.store, extra=[layer], tag="2.0.0")
    signed = dialects.release.world.sign_image_legacy(
        image.digest, dialects.release.signer, log="v1"
    )
    attach.attach_tag(image, [signed.layer()])
    raw = image.store.read(layer.blob.digest)

    def half_arrived() -> None:
        (have,) = dialects.api._uploads.values()
        have.extend(raw[:200_000])

    fault = Fault(
        pattern=layer.blob.digest.removeprefix("sha256:"),
        method="PUT",
        reset=True,
        swallow=True,
        before=half_arrived,
    )
    dialects.quay.faults.append(fault)
    dialects.release.promote(
        dialects.quay,
        "--semver",
        "2.0.0",
        "--jobs",
        "1",
        source=dialects.ghcr.reference("acme/app", "2.0.0"),
    )
    store = dialects.quay.store("rel/app")
    assert store.tags["2.0.0"] == image.digest
    assert store.read(layer.blob.digest) == raw
    assert fault.count == 2


def test_what_quay_shows_to_nobody_is_no_missing_evidence(dialects: Dialects) -> None:
    """A private repository: 401 is an error, and not an image without signatures."""
    dialects.promote()
    with pytest.raises(RemoteAuthError, match="refuses us"):
        gather(
            [dialects.quay.reference("rel/app", "1.2.3")],
            dialects.release.folder / "nobody",
            plain_http=[dialects.quay.host],
        )


def test_a_registry_that_only_says_that_it_lists_referrers(tmp_path: Path) -> None:
    """ECR answers with `OCI-Subject` and has no API: who believes the header loses evidence."""
    said = Fault(
        pattern=r"/manifests/", method="PUT", on=None, headers={"OCI-Subject": "sha256:" + "0" * 64}
    )
    with (
        FakeRegistry() as source,
        FakeRegistry(features=Features(referrers=False), faults=[said]) as ecr,
    ):
        release = make_release(tmp_path, source)
        release.promote(ecr)
        all_there(release, ecr.store("rel/app"), by_tag=True)


def test_an_index_under_gitlabs_referrers_tag_is_the_image_itself(tmp_path: Path) -> None:
    """GitLab resolves `sha256-HEX` to the subject: an index that lists platforms, not evidence."""
    with FakeRegistry(features=Features(referrers=False)) as gitlab, FakeRegistry() as there:
        release = make_release(tmp_path, gitlab)
        store = release.image.store
        store.tag(release.image.digest.replace(":", "-"), release.image.descriptor)
        promoted = release.promote(there)
        assert any("holds an image instead of referrers" in note for note in promoted.notes)
        assert set(release_tags(there.store("rel/app"))) == TAGS


@pytest.fixture(scope="module")
def publisher() -> Publisher:
    return Publisher()


def test_an_enclaves_quay_makes_the_repository_when_it_is_loaded(
    publisher: Publisher, tmp_path: Path
) -> None:
    """Behind the gap it is mostly a Quay, and new when the first bundle comes."""
    host = Enclave(publisher.write_host(tmp_path / "host"), tmp_path / "loaded")
    bundle = tmp_path / "1.tar.zst"
    full_bundle(publisher, bundle)
    with FakeRegistry(dialect=Quay) as quay:
        robot = QuayAuth(user=ROBOT, repositories=quay.repositories)
        quay.auth = robot
        write_logins(host.root, {quay.host: ROBOT})
        ran = host.push(bundle, quay)
        assert ran.status == 0, ran.err
        assert robot.created == [MIRROR]
        assert release_tags(quay.store(MIRROR)) == {"1": quay.store(MIRROR).tags["1"]}
        before = snapshot(quay.store(MIRROR))
        assert host.push(bundle, quay).status == 0
        assert snapshot(quay.store(MIRROR)) == before
        asked = len(quay.seen("/v2/auth"))
        ran = host.reach("verify-local", f"{REPOSITORY}:1")
        assert ran.status == 0, ran.err + ran.out
        scopes = {r.query("scope") for r in quay.seen("/v2/auth")[asked:]}
        assert scopes == {f"repository:{MIRROR}:pull"}
