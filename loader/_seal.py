"""The one object that lets a judge mint a witness; importing it is a privilege (pyproject)."""

from __future__ import annotations

from typing import Final, final


@final
class Seal:
    """Its one instance is what the constructors of witnesses ask for."""

    __slots__ = ()


SEAL: Final = Seal()
