"""In-toto statements (in-toto/attestation v0.1 and v1): what somebody says of some artifacts.

A statement is only parsed after the signature over exactly these bytes held.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from loader.digest import Digest
from loader.errors import JsonFieldError, LimitError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model import strictjson
from loader.model.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loader.limits import Limits
    from loader.model.strictjson import JsonObject, JsonValue

STATEMENT_TYPES: Final = frozenset(
    {"https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1"}
)
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ALGORITHM: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_DIGEST_LENGTH_MAX: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One artifact that a statement speaks of. The name is signed too, but need not be true."""

    name: str
    digests: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> Digest | None:
        """Its SHA-256, by which alone images are matched; None where it has but others."""
        text = self.digests.get("sha256")
        return None if text is None else Digest(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Subjects, and a predicate of some type about them."""

    raw: bytes
    type: str
    subjects: tuple[Subject, ...]
    predicate_type: str

    @classmethod
    def parse(cls, raw: bytes, *, where: str, limits: Limits = DEFAULT_LIMITS) -> Statement:
        """Return the statement that these bytes write (spec/v1/statement.md).

        The predicate is parsed and let go: who wants to know what it says reads it, in part where
        it is large (`read_predicate`).

        Unknown fields are ignored, as the specification asks; keys that differ only in case are
        refused on the level that we interpret, and left to the predicate below it.

        Raises:
            JsonError, LimitError: it is not one, speaks of nothing, or of too much.
        """
        document = _read(raw, keep=frozenset(), size_max=limits.evidence_size_max, limits=limits)
        fields = Fields(document, where)
        _unambiguous(fields)
        kind = fields.text("_type", length_max=255)
        if kind not in STATEMENT_TYPES:
            raise JsonFieldError(
                "not a statement that we know", where=fields.at("_type"), found=shown(kind)
            )
        subjects = tuple(
            _subject(item, limits=limits)
            for item in fields.each("subject", count_max=limits.subject_count_max)
        )
        if not subjects:
            raise JsonFieldError("a statement about nothing", where=fields.at("subject"))
        return cls(
            raw=raw,
            type=kind,
            subjects=subjects,
            predicate_type=fields.text("predicateType"),
        )

    def read_predicate(
        self, keep: frozenset[str] | None, *, size_max: int, limits: Limits = DEFAULT_LIMITS
    ) -> JsonValue:
        """Return what is said; None where nothing is.

        Args:
            keep: keys that are kept, wherever in the predicate they stand; None keeps all.
            size_max: bytes of the whole statement.
            limits: depth, counts and memory.

        Raises:
            LimitError: it is larger, or more is kept than the limit.
        """
        return _read(self.raw, keep=keep, size_max=size_max, limits=limits).get("predicate")

    @property
    def digests(self) -> frozenset[Digest]:
        """The SHA-256 digests of everything it speaks of."""
        return frozenset(s.digest for s in self.subjects if s.digest is not None)


def _read(raw: bytes, *, keep: frozenset[str] | None, size_max: int, limits: Limits) -> JsonObject:
    return strictjson.parse_with_part(
        raw,
        what="an in-toto statement",
        size_max=size_max,
        member="predicate",
        keep=keep,
        limits=limits,
    )


def _unambiguous(fields: Fields) -> None:
    """Refuse keys that a reader blind to case would take for one."""
    if len({key.casefold() for key in fields.object}) != len(fields.object):
        raise JsonFieldError(
            "keys that differ only in case", where=fields.path, found=shown(sorted(fields.object))
        )


def _subject(fields: Fields, *, limits: Limits) -> Subject:
    _unambiguous(fields)
    digest = fields.fields("digest")
    if len(digest.object) > limits.subject_digest_count_max:
        raise LimitError(
            "a subject has too many digests",
            where=digest.path,
            expected=f"at most {limits.subject_digest_count_max}",
        )
    if not digest.object:
        raise JsonFieldError("a subject without a digest", where=digest.path)
    _unambiguous(digest)
    digests: dict[str, str] = {}
    for algorithm in digest.object:
        if _ALGORITHM.fullmatch(algorithm) is None:
            raise JsonFieldError(
                "not an algorithm's name", where=digest.path, found=shown(algorithm)
            )
        digests[algorithm] = digest.text(algorithm, length_max=_DIGEST_LENGTH_MAX)
    if "sha256" in digests and _SHA256.fullmatch(digests["sha256"]) is None:
        raise JsonFieldError(
            "not a SHA-256 digest", where=digest.at("sha256"), found=shown(digests["sha256"])
        )
    return Subject(
        name=fields.text_or_empty("name"),
        digests=digests,
        annotations=_texts(fields.object.get("annotations")),
    )


def _texts(value: JsonValue) -> dict[str, str]:
    """Return the annotations that are text: all that cosign writes and policy asks for."""
    if not isinstance(value, dict):
        return {}
    return {key: text for key, text in value.items() if isinstance(text, str)}
