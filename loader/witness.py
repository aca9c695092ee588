"""Facts that were established, as types.

    Verified[T]    its evidence held                              minted by loader.verify
    Authorized[T]  the policy allows it                           minted by loader.policy.decide
    Admitted[T]    it is not older than what the host accepted    minted by loader.state.ledger
    Staged[T]      its bytes lie in quarantine, every digest held minted by loader.stage.area

The classes are public, minting is not: each constructor wants the seal, which only judges may
import. Each holds the previous one's value, so a runtime that takes `Staged` cannot be given
anything less.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar, final

from loader._seal import SEAL

if TYPE_CHECKING:
    from loader._seal import Seal

T_co = TypeVar("T_co", covariant=True)


class _Witness(Generic[T_co]):
    __slots__ = ("_value",)

    def __init__(self, value: T_co, seal: Seal) -> None:
        if seal is not SEAL:
            raise TypeError("only a judge mints a witness")
        self._value = value

    @property
    def value(self) -> T_co:
        """What the witness speaks of."""
        return self._value

    def __reduce__(self) -> NoReturn:
        raise TypeError("a witness cannot be copied or pickled")


@final
class Verified(_Witness[T_co]):
    """Its evidence held. Minted by `loader.verify`."""

    __slots__ = ()


@final
class Authorized(_Witness[T_co]):
    """The policy allows it, over verified evidence alone. Minted by `loader.policy.decide`."""

    __slots__ = ()


@final
class Admitted(_Witness[T_co]):
    """It is not older than what this host accepted. Minted by `loader.state.ledger`."""

    __slots__ = ()


@final
class Staged(_Witness[T_co]):
    """All of its bytes lie in quarantine with their digests. Minted by `loader.stage.area`."""

    __slots__ = ()
