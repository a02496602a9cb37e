"""When to try again: tenacity's loop, bounded by attempts, by time and by a budget per client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from attrs import define, frozen
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, wait_random_exponential

from ._protocol import Action, Kind, Outcome, outcome_error, retry_after
from ._requests import Request
from .errors import InferleaseError

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["ATTEMPTS", "Backoff", "Budget", "Settled", "persist"]

T = TypeVar("T")
ATTEMPTS = 8


@frozen(eq=False, repr=False)
class Settled(Generic[T]):
    """What one attempt came to: the outcome, its row, what follows, and the data if there is any."""

    action: Action
    kind: Kind
    outcome: Outcome
    value: T | None = None
    error: InferleaseError | None = None

    def cause(self, request: Request) -> InferleaseError:
        """The error of the attempt itself."""
        return self.error or outcome_error(request, self.outcome)

    @property
    def may_have_arrived(self) -> bool:
        return self.kind not in (Kind.NOT_SENT, Kind.IMPOSSIBLE, Kind.RATE_LIMITED)


@define(eq=False, repr=False)
class Budget:
    """A client's retry budget: a retry costs 1, a success refunds 1. An outage soon leaves it empty."""

    tokens: float = 10.0
    capacity: float = 10.0

    def take(self) -> bool:
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def refund(self) -> None:
        if self.tokens < self.capacity:
            self.tokens = min(self.capacity, self.tokens + 1)


@frozen(eq=False, repr=False)
class Backoff:
    """Full jitter: each wait is random from 0 to a bound that doubles, in seconds."""

    first: float = 0.2
    most: float = 5.0


async def persist(
    first: Settled[T],
    attempt: Callable[[], Awaitable[Settled[T]]],
    *,
    deadline: float,
    attempts: int | None,
    backoff: Backoff,
    budget: Budget,
    on_retry: Callable[[Settled[T], float], None],
) -> Settled[T]:
    """Go on after a first attempt that asked for another one, until one settles or the bounds are reached.

    The first attempt has been made already, outside tenacity: its loop costs half a bare request.

    Args:
        first: What the first attempt came to; it counts.
        attempt: Makes a further attempt.
        deadline: Monotonic time after which none begins.
        attempts: How many at most, the first included; `None` for no limit.
        on_retry: Told what failed and the seconds until the next attempt.
    """
    made: Settled[T] | None = first
    arrived = first.may_have_arrived

    async def again() -> Settled[T]:
        nonlocal made, arrived
        if made is not None:
            settled, made = made, None
            return settled
        settled = await attempt()
        arrived = arrived or settled.may_have_arrived
        return settled

    jitter = wait_random_exponential(multiplier=backoff.first, max=backoff.most)

    def wait(state: RetryCallState) -> float:
        wanted = (retry_after(_settled(state).outcome) or 0.0) + jitter(state)
        if attempts is None:
            # A release has something to try as long as there is time.
            return min(wanted, max((deadline - time.monotonic()) / 2, backoff.first))
        return wanted

    def stop(state: RetryCallState) -> bool:
        if attempts is not None and state.attempt_number >= attempts:
            return True
        if time.monotonic() + state.upcoming_sleep >= deadline:
            return True
        return _settled(state).action is Action.RETRY and not budget.take()

    def _settled(state: RetryCallState) -> Settled[T]:
        return cast("Future[Settled[T]]", state.outcome).result()

    retrying = AsyncRetrying(
        sleep=asyncio.sleep,
        wait=wait,
        stop=stop,
        retry=retry_if_result(lambda settled: settled.action in (Action.RETRY, Action.REPEAT)),
        before_sleep=lambda state: on_retry(_settled(state), state.upcoming_sleep),
        retry_error_callback=_settled,
    )
    settled: Settled[T] = await retrying(again)
    if settled.action is Action.REPEAT and arrived:
        # An earlier attempt may have got through, even if the last one was never sent.
        return Settled(Action.UNKNOWN, settled.kind, settled.outcome, error=settled.error)
    return settled
