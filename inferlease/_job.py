"""One piece of work on the keeper, and whoever waits for it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeAlias, TypeVar

__all__ = ["Conclude", "Job", "is_in_job"]

T = TypeVar("T")
Conclude: TypeAlias = Callable[[BaseException | None], str]
"""Gets what the work has raised, and says in one line what came of it; "" where that is told elsewhere."""

_in_job: contextvars.ContextVar[bool] = contextvars.ContextVar("in_job", default=False)


def is_in_job() -> bool:
    """Whether the caller is the work of a job."""
    return _in_job.get()


class Job(Generic[T]):
    """One piece of work on the keeper. Whoever waits may leave; the work goes on.

    Attributes:
        deadline: Monotonic time by which the work ends by itself.
        describe: What to tell on stderr while the interpreter's exit waits for it.
    """

    def __init__(
        self,
        work: Callable[[], Coroutine[Any, Any, T]],
        *,
        bound: float,
        describe: Callable[[], str] | None,
        conclude: Conclude | None = None,
    ) -> None:
        self.deadline: float = time.monotonic() + bound
        self.describe = describe
        self._work = work
        self._conclude = conclude
        self._future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[None] | None = None

    @property
    def done(self) -> bool:
        return self._future.done()

    def result(self) -> T:
        """The result of work that is done; raises what it raised."""
        # Not by `Future.result`, whose frames would stand in the user's traceback.
        error = self._future.exception(timeout=0)
        if error is not None:
            try:
                raise error
            finally:
                del error  # it holds this frame
        return self._future.result(timeout=0)

    def error(self) -> BaseException | None:
        """What work that is done has raised."""
        return self._future.exception(timeout=0)

    def conclusion(self) -> str:
        """What came of work that is done, in one line; "" where there is nothing to tell."""
        return self._conclude(self.error()) if self._conclude is not None else ""

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call `callback` in the keeper's thread once the work is done, or here and now if it is."""
        self._future.add_done_callback(lambda _: callback())

    async def wait(self) -> T:
        """Wait on the running loop, whichever it is. A cancellation ends the wait, never the work."""
        await self.ended()
        return self.result()

    async def ended(self) -> None:
        """As `wait`, for whoever does not raise what the work has raised: that would add to its traceback."""
        if not self._future.done():
            loop = asyncio.get_running_loop()
            waiter: asyncio.Future[None] = loop.create_future()
            self._future.add_done_callback(lambda _: _wake(loop, waiter))
            await waiter

    def _begin(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), context=self._context)

    async def _run(self) -> None:
        _in_job.set(True)
        try:
            result = await self._work()
        except asyncio.CancelledError:
            # For whoever waits it would look like a cancellation of their own.
            self._future.set_exception(RuntimeError("the work was cancelled on the keeper"))
        except BaseException as error:  # noqa: BLE001 (whatever it is, it is for whoever waits)
            self._future.set_exception(error)
        else:
            self._future.set_result(result)


def _wake(loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None]) -> None:
    # A loop that was closed meanwhile has nobody left to tell.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_set, waiter)


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
