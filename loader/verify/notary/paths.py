"""Which names begin with one of many beginnings, in the time of a search and not of a product.

A delegation may have 1,024 paths, and so may each of 255 below it; whoever holds one key writes
them. Held against each other one by one they were a quarter of a billion comparisons, 20 seconds
of somebody's load.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Paths:
    """Beginnings of names, without those that another one is the beginning of.

    Of what is left no beginning begins another, so at most one is the beginning of a name: all that
    lies between it and the name in order begins with it, and would have been left out. It is the
    last one that is not behind the name.
    """

    __slots__ = ("_least",)

    def __init__(self, paths: Iterable[str]) -> None:
        least: list[str] = []
        for path in sorted(paths):
            if not least or not path.startswith(least[-1]):
                least.append(path)
        self._least = least

    def cover(self, name: str) -> bool:
        """Tell whether a name begins with one of them."""
        at = bisect_right(self._least, name)
        return at > 0 and name.startswith(self._least[at - 1])
