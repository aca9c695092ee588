"""`claim = "tuf-target"`: a TUF repository records this image's digest in a release (FORMATS §4.4).

The target's path comes from the policy, with the image's own tag or repository in it; what stands
at one place of that target must be the image's digest. The repository chained to the root that the
anchor pins, so its release role, with its threshold, is who says it.

Where the path holds `{tag}`, the repository says which digest this tag stands for, and vouches for
it. It vouches for the image's repository only where the path holds `{repository}`, or the target
itself names it: `releases/{tag}.json` alone would be true of any repository beside.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from loader.digest import Digest
from loader.errors import (
    AirlockError,
    ContentsError,
    EvidenceInvalidError,
    FormatError,
    InterruptedLoadError,
    PolicyFileError,
    shown,
)
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.pointer import JsonPointer
from loader.model.reference import canonical
from loader.policy.facts import Fact, Problem, SignedName, Weighed, Who
from loader.policy.keys import Flag, Key, Text
from loader.policy.reading_anchors import expect_anchor_name, expect_target
from loader.policy.speakers import Said
from loader.policy.variables import VARIABLE

if TYPE_CHECKING:
    from loader.limits import Limits
    from loader.model.reference import Reference
    from loader.policy.speakers import Scope
    from loader.policy.toml import Table
    from loader.policy.variables import Fill
    from loader.trust.tuf_replay import Replayed

_NO_TAG_HOLDS: Final = re.compile(r"[^A-Za-z0-9_.-]")

KEYS: Final = (
    Key(
        name="tuf-root",
        form=Text(),
        words="the TUF repository: an anchor's name, or the file of its root",
        required=True,
    ),
    Key(
        name="path",
        form=Text(),
        words="the target that records the release: releases/{tag}.json",
        required=True,
    ),
    Key(
        name="pointer",
        form=Text(),
        words='JSON pointer to the image\'s digest in the target: "/digest" where nothing is said',
    ),
    Key(
        name="repository-pointer",
        form=Text(),
        words="JSON pointer to the image's repository in the target, which then must be this one",
    ),
    Key(
        name="required",
        form=Flag(),
        words="false: a target that is not there yet is no refusal; one with another digest is",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TufTargetClaim:
    """A TUF repository records the image's digest in one of its targets."""

    said: Said
    tuf_root: str
    """Name of an anchor."""
    path: str
    """With variables of images, until they are filled in."""
    pointer: JsonPointer
    repository_pointer: JsonPointer | None = None
    required: bool = True
    scope: Scope = "either"
    names: frozenset[Literal["tag", "repository"]] = frozenset()
    """The variables of images that the path holds: what the repository says this digest is."""

    claim: ClassVar[Literal["tuf-target"]] = "tuf-target"

    def filled(self, fill: Fill) -> TufTargetClaim:
        """Return the claim with variables filled in."""
        return replace(self, path=fill(self.path))

    def __str__(self) -> str:
        may = "" if self.required else ", where it is recorded"
        return f"{self.path} of {self.tuf_root!r} with the digest at {self.pointer}{may}"


def read(table: Table, *, scope: Scope) -> TufTargetClaim:
    """Return the claim that a requirement writes.

    Raises:
        PolicyFileError: no anchor's name, no path of a target, or no JSON pointer; or a path that
            two images of other names would share.
    """
    name, path = table.text("tuf-root"), table.text("path")
    expect_anchor_name(name, where=table.at("tuf-root"), endings=(".json",))
    expect_target(path, where=table.at("path"))
    required = table.flag("required") if table.has("required") else True
    holds = set(VARIABLE.findall(path))
    names: set[Literal["tag", "repository"]] = set()
    names |= {"tag"} if "tag" in holds else set()
    names |= {"repository"} if "repository" in holds else set()
    repository = table.optional_text("repository-pointer")
    if repository is None:
        _expect_apart(path, where=table.at("path"))
    return TufTargetClaim(
        # One repository says it or none does; where it may be missing, no other digest may be.
        said=Said(
            where=table.path,
            speakers=(),
            threshold=1 if required else 0,
            quantifier="any" if required else "all",
        ),
        tuf_root=name,
        path=path,
        pointer=_pointer(table.optional_text("pointer") or "/digest", table.at("pointer")),
        repository_pointer=None
        if repository is None
        else _pointer(repository, table.at("repository-pointer")),
        required=required,
        scope=scope,
        names=frozenset(names),
    )


def _expect_apart(path: str, *, where: str) -> None:
    """Refuse a path in which repository and tag are not told apart by what no tag holds.

    `{repository}-{tag}.json` is one path for `app-x:1` and `app:x-1`: the release of one would
    vouch for the other's name.

    Raises:
        PolicyFileError: it is such a path.
    """
    found = [one for one in VARIABLE.finditer(path) if one[1] in {"repository", "tag"}]
    for first, second in pairwise(found):
        between = path[first.end() : second.start()]
        if first[1] != second[1] and _NO_TAG_HOLDS.search(between) is None:
            raise PolicyFileError(
                "a path in which the repository and the tag run into each other",
                where=where,
                expected="{repository}/{tag}, or `repository-pointer` beside it",
                found=shown(path),
            )


def _pointer(text: str, where: str) -> JsonPointer:
    try:
        return JsonPointer.parse(text, where=where)
    except FormatError as e:
        raise PolicyFileError(e.message, where=where, expected=e.expected, found=e.found) from e


def weigh_target(
    claim: TufTargetClaim,
    raw: bytes,
    repository: Replayed,
    digests: frozenset[Digest],
    *,
    reference: Reference,
    limits: Limits = DEFAULT_LIMITS,
) -> Weighed:
    """Return what the claim makes of a target that is verified.

    Args:
        claim: what policy asks for, filled in.
        raw: the target.
        repository: replayed from the anchor's root; it lists the target.
        digests: all that may be meant by this image.
        reference: the name that it was packed under.
        limits: sizes.
    """
    try:
        document = strictjson.parse_object(
            raw, what="a TUF target", size_max=limits.tuf_target_size_max, limits=limits
        )
        text = claim.pointer.find_text(document)
        digest = Digest.parse(text or "", where=str(claim.pointer))
    except InterruptedLoadError:
        raise
    except AirlockError as e:
        return _differs(
            EvidenceInvalidError.code,
            f"the target {shown(claim.path)} holds no digest",
            f"a digest at {claim.pointer}",
            e.message,
            digests,
        )
    if digest not in digests:
        return _differs(
            ContentsError.code,
            f"the target {shown(claim.path)} records another image",
            " or ".join(str(one) for one in sorted(digests)[:3]),
            str(digest),
            digests,
        )
    here = canonical(reference.registry, reference.repository)
    named = claim.repository_pointer and claim.repository_pointer.find_text(document)
    if claim.repository_pointer is not None and named != here:
        return _differs(
            ContentsError.code,
            f"the target {shown(claim.path)} is of another repository",
            here,
            shown(named) if named else "nothing",
            digests,
        )
    return _counts(claim, repository, digest, here=here, tag=reference.tag)


def _counts(
    claim: TufTargetClaim, repository: Replayed, digest: Digest, *, here: str, tag: str
) -> Weighed:
    who = Who(
        distinct=f"tuf:{claim.tuf_root}",
        words=f"TUF repository {claim.tuf_root} (root {repository.root_version}), {claim.path}",
    )
    vouches = claim.repository_pointer is not None or "repository" in claim.names
    name = SignedName(
        repository=here,
        tag=tag if "tag" in claim.names else "",
        how="tuf-target",
        who=who.words,
        distinct=who.distinct,
        subjects=frozenset({digest}),
    )
    return Weighed(
        stage="counts",
        problem=None,
        who=who,
        subjects=frozenset({digest}),
        at=() if repository.signed_at is None else (repository.signed_at,),
        names=(name,) if vouches else (),
        facts=(Fact(name=str(claim.pointer), value=str(digest), source=claim.path),),
    )


def _differs(
    code: str,
    message: str,
    expected: str,
    found: str,
    subjects: frozenset[Digest],
) -> Weighed:
    return Weighed(
        stage="contents",
        problem=Problem(code=code, message=message, expected=expected, found=found),
        subjects=subjects,
    )
