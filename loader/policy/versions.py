"""Semantic versions, as far as a tag needs them: v1, v1.2, v1.2.3-rc.1 (semver.org, 2.0.0)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from loader.errors import PolicyFileError, shown

_NUMBER: Final = r"(0|[1-9][0-9]{0,8})"
_PART: Final = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION: Final = re.compile(
    rf"v{_NUMBER}(?:\.{_NUMBER}(?:\.{_NUMBER}(?:-({_PART}(?:\.{_PART})*))?)?)?"
    r"(?:\+[0-9A-Za-z.-]+)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class VersionedTag:
    """A version that a tag must have, as far as it is given: `v1.2` takes every v1.2.x."""

    text: str

    @classmethod
    def parse(cls, text: str, *, where: str) -> VersionedTag:
        """Return the version.

        Raises:
            PolicyFileError: it is none.
        """
        if _VERSION.fullmatch(text) is None:
            raise PolicyFileError(
                "not a version", where=where, expected="v1, v1.2, v1.2.3", found=shown(text)
            )
        return cls(text)

    def matches(self, tag: str) -> bool:
        """Tell whether a tag is that version, compared by the parts that are given.

        A pre-release is never taken for the release: both have the same numbers.
        """
        wanted, found = _VERSION.fullmatch(self.text), _VERSION.fullmatch(tag)
        if wanted is None or found is None:
            return False
        return wanted[4] == found[4] and all(
            part is None or part == (found[number] or "0")
            for number, part in enumerate(wanted.groups()[:3], start=1)
        )

    def __str__(self) -> str:
        return self.text
