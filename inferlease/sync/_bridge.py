"""Calls of the async API from any thread: the work runs on the keeper's loop, its caller waits here.

Each call is a task of its own, entering and leaving a context manager too: nothing of the async API is bound to the
task in between. The facade's modules are generated; this one, which they stand on, is written by hand.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar, cast

from inferlease import _keeper, _sigterm
from inferlease._convert import Listing
from inferlease._watch import InCaller
from inferlease.errors import ConfigurationError, InvalidArgumentError
from inferlease.objects import InstanceEvent

__all__ = ["in_caller", "iterate", "leave", "listing", "optional", "run", "run_to", "throw_away"]

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

_current: contextvars.ContextVar[_Call[Any]] = contextvars.ContextVar("_current")


def run(function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `await function(*args, **kwargs)`; raises what that raises.

    An exception in the waiting thread, such as KeyboardInterrupt, cancels the call and waits for its end before
    it is raised. Each further one cancels again, as a further cancellation does in the async world.
    """
    return _Call(partial(function, *args, **kwargs)).result(_as_it_is)


def run_to(convert: Callable[[T], R], function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> R:
    """`convert` of the result of `run`."""
    return _Call(partial(function, *args, **kwargs)).result(convert)


def _as_it_is(value: T) -> T:
    return value


def leave(
    manager: AbstractAsyncContextManager[Any],
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
) -> None:
    """Leave an async context manager; a generator that is thrown away does not wait for that."""
    if kind is GeneratorExit:
        throw_away(manager)
    else:
        run(manager.__aexit__, kind, error, traceback)


def throw_away(manager: AbstractAsyncContextManager[Any]) -> None:
    """Have an async context manager left, without waiting; once more does no harm."""
    _end_soon(partial(manager.__aexit__, GeneratorExit, GeneratorExit(), None))


def _end_soon(end: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Have something ended, without waiting.

    A generator that is collected runs its `finally` in whichever thread, with whatever locks that thread holds:
    waiting there may be waiting for itself.
    """
    if not sys.is_finalizing():
        _keeper.submit(end, bound=0.0)


class _Call(Generic[T]):
    """One call: its task on the keeper's loop, and its caller, who waits and runs callbacks meanwhile."""

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        if sys.is_finalizing():
            raise ConfigurationError("the interpreter is exiting: nothing can be called any more")
        if _keeper.is_here():
            raise ConfigurationError(
                "a synchronous call from the library's own thread would wait for itself: call from a thread of yours"
            )
        self._work = work
        try:
            self._loop = _keeper.loop()
        except RuntimeError as error:  # no thread begins any more
            raise ConfigurationError(f"the library's thread cannot begin: {error}") from error
        self._pid = os.getpid()
        self._task: asyncio.Task[None] | None = None
        self._is_running = False
        self._is_abandoned = False
        self._is_done = False
        self._result: T | None = None
        self._error: BaseException | None = None
        self._undo: list[Callable[[], object]] = []
        # Callbacks for the caller to run, and `None` once the call is done. An interrupt may swallow an item that
        # was taken: that the call is done stands in `_is_done` before the `None` is sent.
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._context = contextvars.copy_context()
        self._context.run(_current.set, self)
        self._context.run(_keeper.undelivered.set, self._undo)
        self._context.run(_keeper.to_caller.set, self.relay)

    # ---- in the caller's thread ----------------------------------------------------------------------

    def result(self, convert: Callable[[T], R]) -> R:
        """Make the call; returns `convert` of its result, or raises its error."""
        # From here to the caller's own code an interrupt comes nowhere but within this `try`: Python looks for
        # signals when a function begins and when a loop goes back, not when a function returns.
        try:
            self._loop.call_soon_threadsafe(self._start)
            while not self._is_done:
                callback = self._inbox.get()
                if callback is not None:
                    callback()
                    if os.getpid() != self._pid:
                        raise ConfigurationError("a call that the parent process began cannot go on in a forked child")
            if self._error is not None:
                raise self._error
            result = convert(cast(T, self._result))
            _sigterm.restore_unless_held()
            del self._undo[:]  # not by a call of `clear`, where an interrupt could come
            return result
        except BaseException as error:
            is_over = False
            while not is_over:
                try:
                    is_over = self._abandon()
                except BaseException:  # noqa: BLE001, S110 (the first one is raised; this one cancels again)
                    pass
            if self._error is not None and self._error is not error:
                for note in getattr(self._error, "__notes__", ()):
                    error.add_note(note)
            raise
        finally:
            # Contexts that jobs and timers have copied keep this object for a while, but not what it was about.
            del self._work, self._context, self._result, self._error

    def _abandon(self) -> bool:
        """Have the call ended whose result the caller will not have; returns once it is over."""
        if os.getpid() == self._pid:
            self._loop.call_soon_threadsafe(self._cancel)
            while not self._is_done or self._undo:
                self._inbox.get()
        _sigterm.restore_unless_held()
        return True

    # ---- on the keeper's loop, where no interrupt comes ----------------------------------------------

    def _start(self) -> None:
        self._task = self._loop.create_task(self._run(), context=self._context)

    async def _run(self) -> None:
        self._is_running = True
        try:
            self._result = await self._work()
        except BaseException as error:  # noqa: BLE001 (whatever it is, it is for the caller)
            self._error = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
        self._end()

    def _cancel(self) -> None:
        self._is_abandoned = True
        if self._is_done:
            self._end()
        elif self._is_running and self._task is not None:
            self._task.cancel()
        else:
            # Not before its first step, which an `await` would have taken too: leaving a lease begins the release.
            if self._task is None:
                self._start()
            self._loop.call_soon(self._cancel)

    def _end(self) -> None:
        self._task = None  # its context holds this call
        if self._is_abandoned:
            for undo in self._undo:
                undo()
            self._undo.clear()
        self._is_done = True
        self._inbox.put(None)

    async def relay(self, callback: Callable[[], object]) -> object:
        """Have the caller call `callback`; returns what it returns and raises what it raises."""
        answer: asyncio.Future[Callable[[], object]] = self._loop.create_future()

        def call_back() -> None:
            try:
                outcome: Callable[[], object] = partial(_plain, callback())
            except Exception as error:  # noqa: BLE001 (it is for the call, which ends with it)
                outcome = partial(_raise, error)
            self._loop.call_soon_threadsafe(answer.set_result, outcome)

        self._inbox.put(call_back)
        return (await answer)()


def _raise(error: Exception) -> object:
    raise error


def _plain(result: object) -> object:
    """What a callback returned, unless it is to be awaited."""
    if isinstance(result, Awaitable):
        if inspect.iscoroutine(result):
            result.close()
        raise InvalidArgumentError("on_progress is an async function: the synchronous API takes plain ones only")
    return result


def in_caller(callback: Callable[[InstanceEvent], object] | None) -> Callable[[InstanceEvent], object] | None:
    """`callback`, to be called in the thread of whoever waits; what it raises reaches that caller."""
    if callback is None:
        return None
    if inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(type(callback).__call__):
        raise InvalidArgumentError("on_progress is an async function: the synchronous API takes plain ones only")
    return lambda event: InCaller(_current.get().relay(partial(callback, event)))


def iterate(function: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
    """The items of an async generator; leaving the iteration early ends the generator too."""
    items, pid = cast("AsyncGenerator[T, None]", function()), os.getpid()
    try:
        while True:
            if os.getpid() != pid:
                raise ConfigurationError("an iteration that the parent process began cannot go on in a forked child")
            try:
                item = run(items.__anext__)
            except StopAsyncIteration:
                return
            yield item
    finally:
        if os.getpid() == pid:
            _end_soon(items.aclose)


def optional(convert: Callable[[T], R]) -> Callable[[T | None], R | None]:
    """`convert` for what may be `None`."""
    return lambda value: None if value is None else convert(value)


def listing(convert: Callable[[T], R]) -> Callable[[Listing[T]], Listing[R]]:
    """`convert` for each item of a listing."""
    return lambda items: Listing(map(convert, items), invalid=items.invalid, conflicting=items.conflicting)
