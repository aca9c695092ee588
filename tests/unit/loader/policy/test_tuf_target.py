"""`claim = "tuf-target"`: the release that a TUF repository records must be this image (OP-8)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loader.errors import PolicyError, PolicyFileError, RefusedError
from loader.policy.facts import Judgement
from tests.fakes.tuf_repository import TufRepository, plain_key
from tests.unit.loader.policy.judging import NAME
from tests.unit.loader.policy.scene import AS_PACKED, VOUCHED
from tests.unit.loader.tuf_host import Far

PATH = "releases/1.0.0.json"
CLAIM = """
[[image.require]]
claim = "tuf-target"
tuf-root = "grown"
path = "releases/{tag}.json"
"""
ANCHOR = "\n[anchor.grown]\ntuf-root = 'anchors/grown/root.json'\n"
POLICY = AS_PACKED + CLAIM + ANCHOR


@pytest.fixture
def far(tmp_path: Path) -> Far:
    """One whose release role is delegated, as tuf-on-ci has it."""
    repository = TufRepository("grown")
    repository.delegate("release", ["releases/*"], [plain_key("release")])
    repository.publish()
    return Far(tmp_path, repository)


def record(far: Far, path: str = PATH, **document: object) -> None:
    said = {"image": NAME, "digest": far.image.digest} | document
    far.repository.target(path, json.dumps(said).encode(), role="release")
    far.repository.publish()


def judged(far: Far, text: str = POLICY) -> Judgement:
    return far.judged(far.entry(far.repository.files), text=text)


def refused(far: Far, text: str = POLICY) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        judged(far, text)
    return caught.value


def test_op_8_the_release_records_this_image(far: Far) -> None:
    record(far)
    found = judged(far)
    [claim] = found.images[0].claims
    assert claim.holds == "met"
    assert claim.who == (f"TUF repository grown (root 1), {PATH}",)
    assert claim.facts[0].value == far.image.digest


def test_op_8_no_release_is_recorded(far: Far) -> None:
    error = refused(far)
    assert (error.code, error.exit_status) == ("no-evidence.claim", 10)
    assert "--tuf" in error.hint


def test_op_8_where_it_need_not_be_recorded_yet(far: Far) -> None:
    """An image can be there before the release is merged: then policy may let it pass."""
    text = POLICY.replace(CLAIM, CLAIM + "required = false\n")
    [claim] = judged(far, text).images[0].claims
    assert (claim.holds, claim.who) == ("met", ())
    record(far)
    assert judged(far, text).images[0].claims[0].who


@pytest.mark.parametrize("required", ["true", "false"])
def test_op_8_another_digest_is_never_let_in(required: str, far: Far) -> None:
    record(far, digest="sha256:" + "0" * 64)
    error = refused(far, POLICY.replace(CLAIM, CLAIM + f"required = {required}\n"))
    assert error.exit_status == 14
    assert "0000" in f"{error.found}"


@pytest.mark.parametrize("digest", [None, 7, "", "sha512:00", "SHA256:" + "0" * 64, ["x"]])
def test_a_target_without_a_digest(digest: object, far: Far) -> None:
    record(far, digest=digest)
    assert "holds no digest" in str(refused(far).found)


def test_a_target_that_is_no_json(far: Far) -> None:
    far.repository.target(PATH, b"\xff", role="release")
    far.repository.publish()
    assert refused(far).exit_status == 11


def test_another_place_in_the_target(far: Far) -> None:
    record(far, images=[{"a/b": far.image.digest}])
    judged(far, POLICY.replace(CLAIM, CLAIM + "pointer = '/images/0/a~1b'\n"))
    error = refused(far, POLICY.replace(CLAIM, CLAIM + "pointer = '/images/1/a~1b'\n"))
    assert "holds no digest" in error.found


def test_a_platforms_digest_counts_where_scope_allows(far: Far) -> None:
    platform = far.image.children[0].digest
    record(far, digest=platform)
    assert refused(far).code == "policy.scope"
    record(far)
    judged(far, POLICY.replace(CLAIM, CLAIM + "scope = 'index'\n"))
    assert refused(far, POLICY.replace(CLAIM, CLAIM + "scope = 'platform'\n")).exit_status == 14


def test_a_target_that_is_listed_and_not_carried(far: Far) -> None:
    record(far)
    files = far.repository.files
    del files[f"targets/{PATH}"]
    assert far.code(far.entry(files), text=POLICY) == "trustroot.incomplete"


def test_a_target_that_was_changed(far: Far) -> None:
    record(far)
    files = far.repository.files | {f"targets/{PATH}": b"{}"}
    assert far.code(far.entry(files), text=POLICY) == "trustroot.digest"


def test_without_the_repository_nothing_is_recorded(far: Far) -> None:
    assert far.code(text=POLICY) == "no-evidence.claim"


def test_a_file_names_the_repository_at_once(far: Far) -> None:
    record(far)
    text = AS_PACKED + CLAIM.replace('"grown"', "'anchors/grown/root.json'")
    found = far.judged(far.entry(far.repository.files, anchor="root.json"), text=text)
    assert found.images[0].claims[0].holds == "met"


# --- names (decision 11) --------------------------------------------------------------------------

NAMED = VOUCHED + CLAIM + ANCHOR


def test_a_path_with_the_tag_alone_names_no_repository(far: Far) -> None:
    """`releases/1.0.0.json` would be as true of any repository beside."""
    record(far)
    assert refused(far, NAMED).code == "policy.name"


def test_a_target_that_names_the_repository_vouches_for_both(far: Far) -> None:
    record(far)
    text = NAMED.replace(CLAIM, CLAIM + "repository-pointer = '/image'\n")
    name = judged(far, text).images[0].name
    assert (name.how, name.reference.tag) == ("tuf-target", "1.0.0")


def test_a_target_of_another_repository(far: Far) -> None:
    record(far, image="registry.example/other")
    error = refused(far, POLICY.replace(CLAIM, CLAIM + "repository-pointer = '/image'\n"))
    assert "another repository" in error.found


def test_a_path_with_repository_and_tag_vouches_for_both(far: Far) -> None:
    path = f"releases/{NAME}/1.0.0.json"
    far.repository.delegations["targets"][0]["paths"] = [f"releases/{NAME}/*"]
    record(far, path)
    text = NAMED.replace("releases/{tag}.json", "releases/{repository}/{tag}.json")
    assert judged(far, text).images[0].name.how == "tuf-target"


def test_a_path_without_the_tag_vouches_for_no_tag(far: Far) -> None:
    record(far, "releases/newest.json")
    text = NAMED.replace("releases/{tag}.json", "releases/newest.json")
    text = text.replace(ANCHOR, "repository-pointer = '/image'\n" + ANCHOR)
    assert refused(far, text).code == "policy.name"


def test_what_need_not_be_recorded_names_nothing_by_being_absent(far: Far) -> None:
    text = NAMED.replace(CLAIM, CLAIM + "required = false\nrepository-pointer = '/image'\n")
    assert refused(far, text).code == "policy.name"


@pytest.mark.parametrize(
    "line",
    [
        "pointer = 'digest'",
        "repository-pointer = ''",
        "required = 'no'",
        "key = 'release'",
        "threshold = 2",
        "type = 'x'",
    ],
)
def test_a_requirement_that_means_nothing(line: str, far: Far) -> None:
    with pytest.raises(PolicyFileError):
        far.policy(POLICY.replace(CLAIM, CLAIM + line + "\n"))


@pytest.mark.parametrize(
    "path", ["{repository}-{tag}", "r/{tag}{repository}", "{repository}v{tag}"]
)
def test_a_path_that_two_names_would_share(path: str, far: Far) -> None:
    """`app-x:1` and `app:x-1` have one path, and one release would vouch for both."""
    text = POLICY.replace("releases/{tag}.json", f"{path}.json")
    with pytest.raises(PolicyFileError, match="run into each other"):
        far.policy(text)
    far.policy(text.replace(ANCHOR, "repository-pointer = '/image'\n" + ANCHOR))


@pytest.mark.parametrize(
    "path", ["{repository}/{tag}", "{repository}:{tag}", "{tag}/x/{repository}"]
)
def test_a_path_that_tells_names_apart(path: str, far: Far) -> None:
    far.policy(POLICY.replace("releases/{tag}.json", f"{path}.json"))


@pytest.mark.parametrize("path", ["/x", "a/../b", "", "a//b", "releases/{nobody}.json"])
def test_a_path_that_is_none(path: str, far: Far) -> None:
    with pytest.raises(PolicyFileError):
        far.policy(POLICY.replace("releases/{tag}.json", path))


def test_the_verdict_says_what_was_asked(far: Far) -> None:
    record(far, digest="sha256:" + "0" * 64)
    with pytest.raises(PolicyError) as caught:
        judged(far)
    assert caught.value.expected == (f"tuf-target {PATH} of 'grown' with the digest at /digest")
