"""Waiting: one poll for many waiters, an interval that adapts, and deadlines in monotonic seconds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import Any, Protocol, cast

from attrs import define, field, frozen

from .errors import InferleaseError
from .objects import InstanceEvent, InstanceState

__all__ = ["Follower", "InCaller", "Observation", "Poller", "Reader", "Reporter", "is_transient"]

log = logging.getLogger("inferlease")

SHORTEST_INTERVAL, LONGEST_INTERVAL = 0.5, 15.0
# Whoever waits is told when nothing could be seen for so many seconds: meanwhile it is billed.
_UNSEEN_SECONDS = 5.0
_JITTER = 0.1
# A poll that takes longer than this many seconds is told of even if the instance was changed meanwhile.
_LONGEST_POLL = 300.0


class Reader(Protocol):
    """Reads instances, each call with a single attempt; `None` stands for an instance that is gone."""

    async def one(self, instance_id: str) -> InstanceState | None: ...
    async def many(self, instance_ids: set[str]) -> dict[str, InstanceState | None | Exception]: ...


@frozen(eq=False, repr=False)
class Observation:
    """What a poll saw: a state, `None` if the instance is gone, or the error that it met."""

    state: InstanceState | None
    error: Exception | None
    polled_at: float  # monotonic, when the poll began

    @property
    def is_gone(self) -> bool:
        return self.state is None and self.error is None


def is_transient(error: Exception) -> bool:
    """Whether the next poll may succeed where this one did not."""
    return isinstance(error, InferleaseError) and error._passes


# ---- pace -----------------------------------------------------------------------------------------


@define(eq=False, repr=False)
class _Pace:
    """When to look at one instance again: coarse while much is left, fine near the last step."""

    changed_at: float
    steps: int = 0
    step_seconds: float | None = None
    _seen: tuple[object, ...] = ()

    def saw(self, state: InstanceState, now: float) -> None:
        seen = _marks(state)
        if seen == self._seen:
            return
        steps = _least_steps_left(state)
        if self._seen and steps is not None and steps < self.steps:
            self.step_seconds = (now - self.changed_at) / (self.steps - steps)
        self.steps, self._seen, self.changed_at = steps or 0, seen, now

    def interval(self, now: float) -> float:
        quiet = now - self.changed_at
        wanted = quiet / 3
        if self.step_seconds is not None and self.steps:
            left = self.steps * self.step_seconds - quiet
            wanted = left / 3 if left > 0 else quiet / 8
        return min(max(wanted, SHORTEST_INTERVAL), LONGEST_INTERVAL)


def _marks(state: InstanceState) -> tuple[object, ...]:
    workers = tuple(w.init_progress.current_step if w.init_progress else None for w in state.worker_statuses)
    return state.instance_status.status, state.base_url, workers


def _least_steps_left(state: InstanceState) -> int | None:
    left = [
        max(progress.num_steps - progress.current_step, 0)
        for worker in state.worker_statuses
        if (progress := worker.init_progress) is not None
        and progress.num_steps is not None
        and progress.current_step is not None
    ]
    return min(left, default=None)


# ---- poller ---------------------------------------------------------------------------------------


class Follower:
    """One waiter's view of one instance: the newest observation that it has not taken yet."""

    def __init__(self, polling: Callable[[], asyncio.Task[None]]) -> None:
        self._polling = polling
        self._newest: Observation | None = None
        self._arrival: asyncio.Future[None] | None = None

    def tell(self, observation: Observation) -> None:
        self._newest = observation
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    async def next(self, deadline: float | None = None) -> Observation:
        """The next observation. Raises TimeoutError at the monotonic time `deadline`."""
        if self._newest is None:
            arrival = self._arrival = asyncio.get_running_loop().create_future()
            timeout = None if deadline is None else deadline - time.monotonic()
            async with asyncio.timeout(timeout):
                while not arrival.done():
                    # The polling may have been cancelled, by whoever cancels all tasks: whoever waits begins it anew.
                    await asyncio.wait([arrival, self._polling()], return_when=asyncio.FIRST_COMPLETED)
        newest, self._newest = self._newest, None
        return cast(Observation, newest)


@define(eq=False, repr=False)
class _Target:
    pace: _Pace
    followers: list[Follower] = field(factory=list)
    latest: Observation | None = None


class Poller:
    """Polls for all followers on one loop: one GET for one instance, one list for several, per interval."""

    def __init__(self, reader: Reader, interval: float | None) -> None:
        self._reader = reader
        self._interval = interval
        self._targets: dict[str, _Target] = {}
        self._task: asyncio.Task[None] | None = None
        self._poke = asyncio.Event()
        self._polled_at = float("-inf")
        self._urgent = False
        self._failures = 0
        self._failing_since = 0.0
        self._has_told = False
        self._asked = 0.0
        self._outdated: dict[str, float] = {}

    @contextlib.contextmanager
    def follow(self, instance_id: str) -> Iterator[Follower]:
        """A follower of `instance_id`; polls go on for as long as there is one."""
        follower = Follower(self._polling)
        target = self._targets.get(instance_id)
        if target is None:
            target = self._targets[instance_id] = _Target(_Pace(time.monotonic()))
        elif target.latest is not None and time.monotonic() - target.latest.polled_at < self._delay():
            follower.tell(target.latest)
        target.followers.append(follower)
        self._poke.set()
        self._task = self._polling()
        try:
            yield follower
        finally:
            target.followers.remove(follower)
            if not target.followers and self._targets.get(instance_id) is target:
                del self._targets[instance_id]
            if not self._targets and self._task is not None:
                self._task.cancel()
                self._task = None

    def _polling(self) -> asyncio.Task[None]:
        """The task that polls, begun anew if it has ended; raises what it ended with."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            error = self._task.exception()
            if error is not None:
                raise error
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        return self._task

    def poll_now(self) -> None:
        """Poll at once instead of at the end of the interval."""
        self._urgent = True
        self._poke.set()

    def outdate(self, instance_id: str) -> None:
        """The instance has just been changed: what a poll that began earlier says of it is not told any more."""
        now = time.monotonic()
        self._outdated = {known: at for known, at in self._outdated.items() if now - at < _LONGEST_POLL}
        self._outdated[instance_id] = now
        if instance_id in self._targets:
            self._targets[instance_id].latest = None

    def _delay(self) -> float:
        if self._interval is not None:
            wanted = self._interval
        else:
            now = time.monotonic()
            wanted = min((t.pace.interval(now) for t in self._targets.values()), default=LONGEST_INTERVAL)
            wanted *= random.uniform(1 - _JITTER, 1 + _JITTER)
            wanted = min(max(wanted, SHORTEST_INTERVAL), LONGEST_INTERVAL)
            wanted = max(wanted, min(SHORTEST_INTERVAL * 2**self._failures, LONGEST_INTERVAL) if self._failures else 0)
        return max(wanted, self._asked)

    async def _run(self) -> None:
        while self._targets:
            await self._sleep()
            if self._targets:
                await self._poll()

    async def _sleep(self) -> None:
        """Until the interval since the last poll is over; a newcomer may shorten it."""
        while self._targets and not self._urgent:
            self._poke.clear()
            left = self._polled_at + self._delay() - time.monotonic()
            if left <= 0:
                break
            try:
                async with asyncio.timeout(left):
                    await self._poke.wait()
            except TimeoutError:
                break
        self._urgent = False

    async def _poll(self) -> None:
        self._polled_at = now = time.monotonic()
        ids = set(self._targets)
        seen: dict[str, InstanceState | None | Exception]
        try:
            if len(ids) == 1:
                (only,) = ids
                seen = {only: await self._reader.one(only)}
            else:
                seen = await self._reader.many(ids)
        except Exception as error:  # noqa: BLE001 (whatever it is, the waiters have to hear of it)
            seen = dict.fromkeys(ids, error)
        errors = [value for value in seen.values() if isinstance(value, Exception)]
        with contextlib.suppress(Exception):  # a log handler that raises must not end the polls
            self._tell_of(errors, now)
        self._failures = min(self._failures + 1, 8) if errors else 0
        self._asked = max((getattr(error, "retry_after", None) or 0.0 for error in errors), default=0.0)
        for instance_id, value in seen.items():
            target = self._targets.get(instance_id)
            if target is not None and now >= self._outdated.get(instance_id, now):
                _tell(target, value, now)

    def _tell_of(self, errors: list[Exception], now: float) -> None:
        """Tell once of errors that go on, and of their end."""
        if not errors:
            if self._has_told:
                log.info("the instances that are waited for can be seen again")
            self._has_told = False
            return
        if not self._failures:
            self._failing_since = now
        if not self._has_told and time.monotonic() - self._failing_since >= _UNSEEN_SECONDS:
            self._has_told = True
            log.warning("what is waited for can't be seen, and may be billed: %s; it is looked at again", errors[0])


def _tell(target: _Target, value: InstanceState | None | Exception, now: float) -> None:
    if isinstance(value, Exception):
        observation = Observation(None, value, now)
    else:
        observation = Observation(value, None, now)
        if value is not None:
            target.pace.saw(value, now)
    target.latest = observation
    for follower in target.followers:
        follower.tell(observation)


# ---- progress -------------------------------------------------------------------------------------


@define(eq=False, repr=False)
class Reporter:
    """Turns observations into events: one for each change, with progress that never goes back."""

    began: float = field(factory=time.monotonic)
    stepped_at: float = field(factory=time.monotonic)
    _shown: float | None = None
    _last: tuple[object, ...] | None = None
    _marks: tuple[object, ...] | None = None

    def event(self, state: InstanceState, gone: bool = False) -> InstanceEvent | None:
        """The event of this state, `None` if nothing changed since the last one."""
        marks = _marks(state)
        if marks != self._marks:
            self._marks, self.stepped_at = marks, time.monotonic()
        progress = state.progress
        if progress is not None:
            self._shown = progress if self._shown is None else max(self._shown, progress)
        status = "gone" if gone else state.instance_status.status
        last = (status, state.base_url, self._shown, state.description)
        if last == self._last:
            return None
        self._last = last
        return InstanceEvent(
            instance=state.snapshot(),
            state=status,
            progress=self._shown,
            description=state.description,
            elapsed=time.monotonic() - self.began,
        )


@frozen(eq=False, repr=False)
class InCaller:
    """What a callback returns that runs in the thread of a synchronous caller, where no deadline can end it."""

    answer: Awaitable[object]

    def __await__(self) -> Generator[Any, Any, object]:
        return self.answer.__await__()
