"""What the generated classes have in common: each stands for one object of the async API."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, Self, TypeVar
from weakref import ref

from inferlease import instances
from inferlease._worlds import entered_by_with
from inferlease.objects import InstanceState

__all__ = ["Facade", "StateFacade"]

T = TypeVar("T")


class Facade(Generic[T]):
    """Stands for an object of the async API, and holds nothing else."""

    _inner: T

    def __init_subclass__(cls) -> None:
        if "__enter__" in cls.__dict__:
            entered_by_with(cls)

    @classmethod
    def _of(cls, inner: T) -> Self:
        """The facade of `inner`: the same one for as long as somebody holds it."""
        known: ref[Self] | None = inner.__dict__.get("_facade")
        facade = known() if known is not None else None
        if facade is None:
            facade = cls.__new__(cls)
            facade._inner = inner
            # Weakly, and no attrs attribute: it takes no part in equality, repr, pickling or unstructuring.
            inner.__dict__["_facade"] = ref(facade)
        return facade

    def __repr__(self) -> str:
        return repr(self._inner)


class StateFacade(Facade[instances.Instance]):
    """Equal to, and shown, pickled and copied like, the instance that it stands for."""

    _stands_for_a_state: ClassVar[bool] = True

    def __eq__(self, other: object) -> bool:
        if isinstance(other, StateFacade):
            return self._inner == other._inner
        return self._inner == other if isinstance(other, InstanceState) else NotImplemented

    def _repr_html_(self) -> str:
        return self._inner._repr_html_()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(self._inner.__getstate__().values())
