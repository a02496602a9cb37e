"""What waiters do with what the poller tells them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeAlias

from ._printing import printable
from ._watch import Follower, InCaller, Observation, Poller, Reporter, is_transient
from .errors import InstanceGoneError, InstanceStoppedError, TransportError, WaitStalledError, WaitTimeoutError
from .objects import InstanceEvent, InstanceState

__all__ = ["Probing", "Wait", "call_back", "watch"]

# Says of a base URL what is in the way of inference there, `None` if nothing is.
Probing: TypeAlias = Callable[[str], Awaitable[str | None]]

# A watch has no deadline; this long without a successful poll ends it with the last error.
BLIND_SECONDS = 60.0
# Noticing a deadline this late means that the process was suspended, and that nobody has looked since: there
# is one more poll, and this long for it.
_LATE = 1.0
_LAST_LOOK = 5.0


class Wait:
    """One bounded wait for one instance.

    Args:
        poller: Polls on the running loop.
        instance_id: The instance waited for.
        timeout: Seconds at most.
        stall_timeout: Seconds at most without a step of any worker, `None` for no such bound.
        on_state: Given every state seen.
        on_progress: Given every change; may be async.
        began: Monotonic time from which `timeout` counts; by default now.
        advice: What a timeout's message says of the instance; by default nothing, but how to wait longer.
    """

    def __init__(
        self,
        poller: Poller,
        instance_id: str,
        *,
        timeout: float,
        stall_timeout: float | None = None,
        on_state: Callable[[InstanceState], object],
        on_progress: Callable[[InstanceEvent], object] | None = None,
        began: float | None = None,
        advice: str | None = "it may be billed: wait again or stop it",
    ) -> None:
        self._poller = poller
        self._id = instance_id
        self._timeout = timeout
        self._stall_timeout = stall_timeout
        self._on_state = on_state
        self._on_progress = on_progress
        self._advice = advice
        self._reporter = Reporter(began=time.monotonic() if began is None else began)
        self._deadline = self._reporter.began + timeout
        self._last: InstanceState | None = None
        self._trouble: Exception | None = None
        self._looked_last = False

    @property
    def elapsed(self) -> float:
        """Seconds since the wait began."""
        return time.monotonic() - self._reporter.began

    async def until_running(self, probe: Probing | None) -> InstanceState:
        """Until usable and, with `probe`, until `probe(base_url)` finds nothing in the way."""
        with self._poller.follow(self._id) as follower:
            while True:
                observation = await self._next(follower, "usable")
                state = observation.state
                if observation.is_gone:
                    raise InstanceGoneError(
                        f"instance {self._id} no longer exists", instance_id=self._id, last_state=self._last
                    )
                if state is None:
                    continue
                await self._report(state)
                if state.is_stopped:
                    raise InstanceStoppedError(
                        f"instance {self._id} stopped before it was usable", last_state=state.snapshot()
                    )
                if state.is_usable and (probe is None or await self._answers(probe, state.base_url or "")):
                    return state

    async def until_stopped(self) -> InstanceState | None:
        """Until stopped, or gone: `None`."""
        with self._poller.follow(self._id) as follower:
            while True:
                observation = await self._next(follower, "stopped")
                if observation.is_gone:
                    return None
                if observation.state is not None and observation.state.is_stopped:
                    return observation.state

    async def _report(self, state: InstanceState) -> None:
        """Call back, within the deadline: an async callback that never returns must not hold up the wait."""
        event = self._reporter.event(state)
        if event is not None and not await call_back(self._on_progress, event, self._deadline):
            raise self._timed_out("usable", stalled=False) from self._trouble

    async def _answers(self, probe: Probing, base_url: str) -> bool:
        try:
            async with asyncio.timeout(max(self._deadline - time.monotonic(), 0)):
                problem = await probe(base_url)
        except TimeoutError:
            return False
        if problem is not None:
            self._trouble = TransportError(problem, instance_id=self._id)
        return problem is None

    async def _next(self, follower: Follower, goal: str) -> Observation:
        """The next observation, after its state or trouble has been noted."""
        observation = await self._before_deadline(follower, goal)
        if observation.state is not None:
            self._last, self._trouble = observation.state.snapshot(), None
            self._on_state(observation.state)
        elif observation.error is not None:
            if not is_transient(observation.error):
                raise observation.error
            self._trouble = observation.error
        return observation

    async def _before_deadline(self, follower: Follower, goal: str) -> Observation:
        deadline = self._deadline
        if self._stall_timeout is not None:
            deadline = min(deadline, self._reporter.stepped_at + self._stall_timeout)
        if time.monotonic() < deadline:
            try:
                observation = await follower.next(deadline)
            except TimeoutError:
                pass
            else:
                self._looked_last = False
                return observation
        if not self._looked_last and time.monotonic() - deadline > _LATE:
            self._looked_last = True
            self._poller.poll_now()
            with contextlib.suppress(TimeoutError):
                return await follower.next(time.monotonic() + _LAST_LOOK)
        raise self._timed_out(goal, stalled=deadline < self._deadline) from self._trouble

    def _timed_out(self, goal: str, *, stalled: bool) -> WaitTimeoutError:
        seen = f"last seen {_shown(self._last)}" if self._last is not None else "no state was seen"
        advice = self._advice or f"to wait longer, raise {'stall_timeout' if stalled else 'timeout'}"
        trouble = f"; last trouble: {self._trouble}" if self._trouble is not None else ""
        if stalled:
            text = f"instance {self._id} made no step for {_seconds(self._stall_timeout or 0)}"
            error: type[WaitTimeoutError] = WaitStalledError
        else:
            text = f"instance {self._id} is not {goal} after {_seconds(self._timeout)}"
            error = WaitTimeoutError
        return error(
            f"{text} ({seen}); {advice}{trouble}",
            instance_id=self._id,
            last_state=self._last,
        )


async def call_back(
    on_progress: Callable[[InstanceEvent], object] | None, event: InstanceEvent, deadline: float
) -> bool:
    """Call back, if there is anybody to call; `False` if an async callback had not returned at `deadline`."""
    result = on_progress(event) if on_progress is not None else None
    if not isinstance(result, Awaitable):
        return True
    scope = asyncio.timeout(None if isinstance(result, InCaller) else max(deadline - time.monotonic(), 0))
    try:
        async with scope:
            await result
    except TimeoutError:
        if not scope.expired():
            raise
        return False
    return True


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 10 else f"{value:.2g} s"


def _shown(state: InstanceState) -> str:
    progress = "" if state.progress is None else f", {state.progress:.0%}"
    return printable(state.instance_status.status, 40) + progress


async def watch(
    poller: Poller, known: InstanceState, on_state: Callable[[InstanceState], object]
) -> AsyncGenerator[InstanceEvent, None]:
    """The current state, then each change, until stopped or gone."""
    reporter = Reporter()
    last, seen_at = known, time.monotonic()
    with poller.follow(known.instance_id) as follower:
        while True:
            observation = await follower.next()
            if observation.error is not None:
                blind = time.monotonic() - seen_at
                if not is_transient(observation.error) or blind >= BLIND_SECONDS:
                    raise observation.error
                continue
            seen_at = time.monotonic()
            if observation.state is not None:
                last = observation.state
                on_state(last)
            event = reporter.event(last, gone=observation.is_gone)
            if event is not None:
                yield event
            if observation.is_gone or last.is_stopped:
                return
