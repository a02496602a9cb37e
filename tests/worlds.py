"""Both APIs for one test body: the asynchronous one as it is, and the synchronous one in its clothes.

A test awaits and iterates; in the synchronous world each step is a call in a thread of its own, as a program without
an event loop would make it.
"""

from __future__ import annotations

import asyncio
import inspect
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal

import pytest
from attrs import frozen

import inferlease
from inferlease import Listing, sync
from inferlease._tools._reading import HOME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from inferlease import Client
    from inferlease.emulator import Emulator

World = Literal["async", "sync"]

ASYNC_CLASS = {getattr(sync, name): getattr(inferlease, name) for name in HOME}
_END = object()


class Clothed:
    """An object of the synchronous API that is used like its asynchronous twin."""

    def __init__(self, bare: Any) -> None:
        self.__dict__["_bare"] = bare

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            return getattr(self._bare._inner, name)
        twin = getattr(ASYNC_CLASS[type(self._bare)], name, None)
        value = getattr(self._bare, name)
        if inspect.isasyncgenfunction(twin):
            return lambda *args, **kwargs: _iterate(value, args, kwargs)
        if inspect.iscoroutinefunction(twin):
            return lambda *args, **kwargs: _call(value, args, kwargs)
        if inspect.ismethod(value):
            return lambda *args, **kwargs: clothed(value(*map(bare, args), **kwargs))
        return clothed(value)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._bare._inner, name, value)

    async def __aenter__(self) -> Any:
        return await _call(self._bare.__enter__, (), {})

    async def __aexit__(self, *error: object) -> None:
        await _call(self._bare.__exit__, error, {})

    def __eq__(self, other: object) -> bool:
        return bool(self._bare == bare(other))

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return repr(self._bare)


def clothed(value: Any) -> Any:
    if type(value) in ASYNC_CLASS:
        # One for each object, since tests compare by identity too.
        return value.__dict__.setdefault("_clothed", Clothed(value))
    if isinstance(value, Listing):
        return Listing(map(clothed, value), invalid=value.invalid, conflicting=value.conflicting)
    return value


def bare(value: Any) -> Any:
    return value.__dict__["_bare"] if type(value) is Clothed else value


async def _in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """As `asyncio.to_thread`, but in a thread of its own, which has ended and holds nothing when this returns."""
    outcome: Future[Any] = Future()
    thread = Thread(target=_run, args=(outcome, partial(copy_context().run, function, *args, **kwargs)), daemon=True)
    thread.start()
    try:
        result = await asyncio.wrap_future(outcome)
    except Exception:
        thread.join()
        raise
    thread.join()
    return result


def _run(outcome: Future[Any], call: Callable[[], Any]) -> None:
    if not outcome.set_running_or_notify_cancel():
        return
    try:
        outcome.set_result(call())
    except BaseException as error:  # noqa: BLE001 - it is raised where the call is awaited
        outcome.set_exception(error)


async def _call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = await _in_thread(function, *map(bare, args), **kwargs)
    assert not inspect.isawaitable(result)
    return clothed(result)


async def _iterate(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncIterator[Any]:
    items = iter(await _in_thread(function, *args, **kwargs))
    try:
        while (item := await _in_thread(next, items, _END)) is not _END:
            yield clothed(item)
    finally:
        await _in_thread(items.close)


def connected(**options: object) -> pytest.MarkDecorator:
    """Give the fixture `client` these options."""
    return pytest.mark.parametrize("client", [options], indirect=True, ids=["-".join(options)])


@frozen
class Api:
    """One of the two APIs."""

    world: World

    def connect(self, emulator: Emulator, **overrides: Any) -> Client:
        """A client of `emulator`, to be used as an asynchronous one."""
        made: Client = (
            emulator.client(**overrides) if self.world == "async" else clothed(emulator.sync_client(**overrides))
        )
        return made

    def make(self, *args: Any, **kwargs: Any) -> Client:
        """A client made by its constructor."""
        made: Client = (
            inferlease.Client(*args, **kwargs) if self.world == "async" else clothed(sync.Client(*args, **kwargs))
        )
        return made
