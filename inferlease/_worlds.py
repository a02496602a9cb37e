"""The two worlds: what is entered the other one's way says what to do.

Their classes have the same names, so that whoever has the wrong one looks for the mistake elsewhere. The methods are
set from outside a class: a type checker goes on refusing such a `with`.
"""

from __future__ import annotations

from typing import NoReturn, TypeVar

__all__ = ["entered_by_async_with", "entered_by_with"]

T = TypeVar("T")


def entered_by_async_with(cls: type[T]) -> type[T]:
    """A class whose objects refuse a plain `with`."""
    return _refusing(cls, "enter", "asynchronous: enter it by `async with`, or take Client from inferlease.sync")


def entered_by_with(cls: type[T]) -> type[T]:
    """A class whose objects refuse an `async with`."""
    return _refusing(
        cls, "aenter", "synchronous: enter it by `with`, or take Client from inferlease, not inferlease.sync"
    )


def _refusing(cls: type[T], enter: str, said: str) -> type[T]:
    def refuse(_self: object, *_: object) -> NoReturn:
        raise TypeError(f"this {cls.__name__} is {said}")

    # Python asks for both before it calls either.
    for name in (enter, enter.replace("enter", "exit")):
        setattr(cls, f"__{name}__", refuse)
    return cls
