"""Cancelling a coroutine at a chosen suspension point, in each of the ways that asyncio and anyio have."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

Kind = Literal["anyio", "native", "double native"]
KINDS: tuple[Kind, ...] = ("anyio", "native", "double native")


class Stepped:
    """Awaits a coroutine and counts its suspensions; at number `at` it calls `reached`."""

    def __init__(self, coro: Coroutine[Any, Any, Any], at: int | None, reached: Callable[[], object]) -> None:
        self._coro = coro
        self._at = at
        self._reached = reached
        self.suspensions = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._coro.__await__()
        advance: Callable[[], Any] = lambda: next(steps)  # noqa: E731
        while True:
            try:
                suspended_on = advance()
            except StopIteration as stop:
                return stop.value
            if self.suspensions == self._at:
                # Soon: the task has to be waiting before it can be cancelled.
                asyncio.get_running_loop().call_soon(self._reached)
            self.suspensions += 1
            try:
                sent = yield suspended_on
            except BaseException as error:  # noqa: BLE001 - whatever is thrown in belongs to the coroutine
                thrown = error
                advance = lambda: steps.throw(thrown)  # noqa: B023, E731
            else:
                advance = lambda: steps.send(sent)  # noqa: B023, E731


class Victim:
    """A task that runs a coroutine and can be cancelled in one of the three ways, at a suspension or from outside."""

    def __init__(self, coro: Coroutine[Any, Any, Any], kind: Kind, at: int | None = None) -> None:
        self._kind = kind
        self._scope = anyio.CancelScope()
        self._stepped = Stepped(coro, at, self.cancel)
        self.was_cancelled = False
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        with self._scope:
            await self._stepped

    @property
    def suspensions(self) -> int:
        return self._stepped.suspensions

    def cancel(self) -> None:
        self.was_cancelled = True
        if self._kind == "anyio":
            self._scope.cancel()
            return
        self._task.cancel()
        if self._kind == "double native":
            # After the first one has reached the coroutine and whatever it does about it has begun.
            loop = asyncio.get_running_loop()
            loop.call_soon(lambda: loop.call_soon(self._task.cancel))

    async def ended(self) -> BaseException | None:
        """Wait for the task; what it raised."""
        await asyncio.wait([self._task])
        return asyncio.CancelledError() if self._task.cancelled() else self._task.exception()
