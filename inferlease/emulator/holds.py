"""Requests that are kept waiting, so that a test can act at the one moment it is about."""

import asyncio
import threading
from concurrent.futures import Future
from types import TracebackType
from typing import Literal, Self, TypeAlias

Operation: TypeAlias = Literal[
    "token",
    "balance",
    "list",
    "get",
    "start",
    "restart",
    "stop",
    "stop_all",
    "delete",
    "delete_all",
    "models",
    "model",
    "hardware_types",
    "available",
    "inference",
]

Phase: TypeAlias = Literal["before", "unanswered", "mid_body"]


class Hold:
    """One request that is held; a context manager that releases at its end. Every method is thread-safe."""

    def __init__(self, operation: Operation, phase: Phase, skip: int) -> None:
        self.operation = operation
        self.phase = phase
        self._skip = skip
        self._arrived: Future[None] = Future()
        self._released: Future[None] = Future()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Hold {self.operation} {self.phase} arrived={self.arrived} released={self._released.done()}>"

    @property
    def arrived(self) -> bool:
        """Whether a request waits here or has waited."""
        return self._arrived.done()

    def wait_arrived(self, timeout: float = 10.0) -> None:
        """Block until a request waits here.

        Args:
            timeout: seconds.

        Raises:
            TimeoutError: none came in time.
        """
        self._arrived.result(timeout)

    async def arrived_async(self, timeout: float = 10.0) -> None:
        """Wait until a request waits here, from any event loop.

        Args:
            timeout: seconds.

        Raises:
            TimeoutError: none came in time.
        """
        # Shielded, for cancelling a wrapped future cancels what it wraps, and others may wait for it.
        await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self._arrived)), timeout)

    def release(self) -> None:
        """Let the request go on; a request that has not come yet is not held at all. May be called again."""
        _settle(self._released, self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def takes_next(self) -> bool:
        """Whether the request that just arrived is the one to hold; asked once per request, by the server."""
        self._skip -= 1
        return self._skip == -1

    async def wait_released(self) -> None:
        """Keep the request waiting; called by the server."""
        if not self._released.done():
            _settle(self._arrived, self._lock)
            await asyncio.shield(asyncio.wrap_future(self._released))


class Holds:
    """The holds that wait for their request."""

    def __init__(self) -> None:
        self._waiting: list[Hold] = []
        self._lock = threading.Lock()

    def add(self, hold: Hold) -> None:
        """Hold a request that is yet to come."""
        with self._lock:
            self._waiting.append(hold)

    def take(self, operation: Operation) -> list[Hold]:
        """Count a request that arrived; what holds it."""
        with self._lock:
            taken = [hold for hold in self._waiting if hold.operation == operation and hold.takes_next()]
            self._waiting = [hold for hold in self._waiting if hold not in taken]
        return taken


def _settle(future: "Future[None]", lock: threading.Lock) -> None:
    with lock:
        if not future.done():
            future.set_result(None)
