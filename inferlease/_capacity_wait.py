"""Waiting until there is hardware to start on. Nothing has been started yet: it runs in the caller's own task."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ._capacity import Capacity, listed, no_capacity, offer
from ._convert import Listing
from ._printing import printable
from ._wait import call_back
from ._watch import LONGEST_INTERVAL, SHORTEST_INTERVAL, is_transient
from .errors import DecodeError, InferleaseError, NoCapacityError, NotFoundError, TransportError
from .objects import HardwareType, InstanceArgs, InstanceEvent, InstanceState, InstanceStatus, ModelDetail

__all__ = ["STATE", "CapacityWait"]

T = TypeVar("T")
log = logging.getLogger("inferlease")

# The state in the events of a wait for capacity.
STATE = "no capacity"
# Seconds after which it is told again that nothing has changed.
_TELL_EVERY = 60.0
# Seconds that the last look may take, which begins when the wait is over.
_LAST_LOOK = 5.0
_JITTER = 0.1


class CapacityWait:
    """One bounded wait for the hardware of one start, goes on where the hardware was taken by somebody faster.

    Args:
        capacity: Of the client.
        choices: What is to be started, in the order of preference.
        seconds: How long at most, from the first call of `available` on.
        on_progress: Given an event for each change; may be async.
    """

    def __init__(
        self,
        capacity: Capacity,
        choices: tuple[InstanceArgs, ...],
        seconds: float,
        on_progress: Callable[[InstanceEvent], object] | None = None,
    ) -> None:
        self._capacity = capacity
        self._choices = choices
        self._seconds = seconds
        self._on_progress = on_progress
        self._began = self._changed_at = self._told_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._given_up = False
        self._model: ModelDetail | None = None
        self._is_model_unknown = False
        self._seen: Listing[HardwareType] | None = None
        self._trouble: InferleaseError | None = None
        self._is_listed = False
        self._refusal: NoCapacityError | None = None
        self._told = ""
        self._failures = self._races = 0

    async def available(self) -> tuple[InstanceArgs, ...]:
        """The choices whose hardware is available, as soon as there are any.

        Where there are none, those of which no list can tell it, such as hardware that the model does not run on:
        the server's refusal says what is wrong.

        Raises:
            NoCapacityError: There were none within the seconds.
            InferleaseError: It was given up, or what is available could not be read.
        """
        if self._loop is None:
            self._capacity.exchange.account()  # not after all that waiting
            self._loop, self._began = asyncio.get_running_loop(), time.monotonic()
            self._changed_at = self._began
        else:
            await self._pause()
        while True:
            ready = await self._look()
            self._check_wanted()
            if ready:
                if self._told:
                    log.info("%s is available after %.0f s", self._names(ready), self._elapsed)
                return ready
            if self._left <= 0:
                raise self._over()
            await self._tell()
            await self._pause()

    def lost(self, refusal: NoCapacityError) -> None:
        """What was available is so no more. Raises `refusal` if waiting on is in vain."""
        if self._left <= 0 or not self._is_listed:
            raise refusal
        self._refusal, self._changed_at = refusal, time.monotonic()
        self._races += 1

    def give_up(self) -> None:
        """End the wait; callable from any thread."""
        self._given_up = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._woken.set)

    # ---- looking --------------------------------------------------------------------------------------

    async def _look(self) -> tuple[InstanceArgs, ...]:
        """Those of the choices that may be started now, as far as a look tells."""
        try:
            await self._in_time(self._learn_model())
            seen = await self._in_time(self._capacity.available(attempts=1))
        except InferleaseError as error:
            # An answer that is none may come from something in between.
            if not is_transient(error) and not isinstance(error, DecodeError):
                raise
            self._trouble, self._failures = error, min(self._failures + 1, 8)
            return ()
        if self._seen is None or listed(seen) != listed(self._seen):
            self._changed_at = time.monotonic()
        self._seen, self._trouble, self._failures = seen, None, 0
        names = listed(seen)
        ready = tuple(args for args in self._choices if self._wanted(args) in names)
        self._is_listed = bool(ready)
        return ready or tuple(args for args in self._choices if self._is_untold(args))

    async def _in_time(self, reading: Coroutine[Any, Any, T]) -> T:
        scope = asyncio.timeout(max(self._left, _LAST_LOOK))
        try:
            async with scope:
                return await reading
        except TimeoutError:
            if not scope.expired():
                raise
            raise TransportError("which hardware is available was not answered in time") from None

    async def _learn_model(self) -> None:
        if self._model is not None or self._is_model_unknown:
            return
        try:
            self._model = await self._capacity.lookup.model(self._choices[0].model_id, attempts=1)
        except NotFoundError:
            self._is_model_unknown = True
        except InferleaseError:
            # Where the hardware is named, the model only tells what else there is.
            if any(args.hardware_type_id is None for args in self._choices):
                raise

    def _wanted(self, args: InstanceArgs) -> str | None:
        """The hardware type that a start would take."""
        if args.hardware_type_id is not None or self._model is None:
            return args.hardware_type_id
        return self._model.recommended_config

    def _is_untold(self, args: InstanceArgs) -> bool:
        """Whether no list tells when this can be started."""
        wanted, served = self._wanted(args), self._model.hardware_configs if self._model is not None else None
        return self._is_model_unknown or wanted is None or (served is not None and wanted not in served)

    # ---- telling --------------------------------------------------------------------------------------

    async def _tell(self) -> None:
        """Tell what changed; also that nothing did, from time to time."""
        said = self._state_of_things()
        if said == self._told and time.monotonic() - self._told_at < _TELL_EVERY:
            return
        self._told, self._told_at = said, time.monotonic()
        log.info("waiting for capacity, %.0f of up to %g s: %s", self._elapsed, self._seconds, said)
        args = self._choices[0]
        event = InstanceEvent(InstanceState("", None, args, InstanceStatus(STATE)), STATE, None, said, self._elapsed)
        if not await call_back(self._on_progress, event, self._deadline):
            raise self._over()

    def _state_of_things(self) -> str:
        if self._trouble is not None:
            return f"which hardware is available could not be read: {self._trouble}"
        return f"{self._names(self._choices)} is not available; {offer(self._fitting())}"

    def _fitting(self) -> list[str]:
        free = {hardware.hardware_type_id for hardware in self._seen or ()}
        return [name for name in self._served() if name in free]

    def _served(self) -> list[str]:
        return (self._model.hardware_configs or []) if self._model is not None else []

    def _names(self, choices: tuple[InstanceArgs, ...]) -> str:
        return printable(" or ".join(self._wanted(args) or "the default hardware" for args in choices), 300)

    def _over(self) -> InferleaseError:
        """The error of a wait that was in vain."""
        if self._seen is None and self._trouble is not None:
            return self._trouble
        said = f"{self._names(self._choices)} was not available within {self._seconds:g} s"
        error = no_capacity(said, self._seen or (), self._served())
        if self._refusal is not None:
            error.status, error.request_id = self._refusal.status, self._refusal.request_id
        error.__cause__ = self._trouble or self._refusal
        return error

    def _check_wanted(self) -> None:
        if self._given_up:
            raise InferleaseError(
                f"the start of {self._choices[0].hf_name} was given up before it was sent: nothing was started"
            )

    # ---- pace -----------------------------------------------------------------------------------------

    @property
    def _deadline(self) -> float:
        return self._began + self._seconds

    @property
    def _left(self) -> float:
        return self._deadline - time.monotonic()

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(self._delay(), max(self._left, 0.0))):
                await self._woken.wait()
        self._check_wanted()

    def _delay(self) -> float:
        """Seconds until the next look: the more, the longer nothing has changed, and the more went wrong."""
        wanted = self._capacity.poll_interval
        if wanted is None:
            quiet = (time.monotonic() - self._changed_at) / 3
            wanted = min(max(quiet, SHORTEST_INTERVAL * 2**self._failures, SHORTEST_INTERVAL), LONGEST_INTERVAL)
            wanted *= random.uniform(1 - _JITTER, 1)
        wanted = min(wanted * 2.0 ** min(self._races, 8), max(wanted, LONGEST_INTERVAL))
        asked: float | None = getattr(self._trouble, "retry_after", None)
        return max(wanted, asked or 0.0)
