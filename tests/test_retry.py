"""When it is tried again: bounded by attempts, by time and by the budget, on a clock of the test's own."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import tenacity
from attrs import define, field

from inferlease import TransportError, _retry
from inferlease._protocol import Action, Answer, Kind, Lost, NotSent, Outcome
from inferlease._retry import ATTEMPTS, Backoff, Budget, Settled, persist

pytestmark = pytest.mark.asyncio

NOT_SENT = NotSent(ConnectionRefusedError())
LOST = Lost(ConnectionResetError())
DONE: Settled[str] = Settled(Action.DONE, Kind.GOOD, Answer(200, {}, b"{}"), "data")


def failed(action: Action, outcome: Outcome = LOST, kind: Kind = Kind.BROKEN) -> Settled[str]:
    return Settled(action, kind, outcome)


def limited(retry_after: str, action: Action = Action.RETRY) -> Settled[str]:
    return Settled(action, Kind.RATE_LIMITED, Answer(429, {"Retry-After": retry_after}, b""))


@define
class Attempts:
    """Attempts with scripted results, and a clock that only sleeping moves."""

    now: float = 1000.0
    waits: list[float] = field(factory=list)
    made: int = 1  # the bare first one
    results: list[Settled[str] | Exception] = field(factory=list)

    async def attempt(self) -> Settled[str]:
        self.made += 1
        assert self.made < 1000, "nothing ends it"
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, Exception):
            raise result
        return result

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    async def __call__(self, first: Settled[str], *results: Settled[str] | Exception, **options: Any) -> Settled[str]:
        self.results = list(results)
        bounds: dict[str, Any] = {
            "deadline": self.now + 1000,
            "attempts": ATTEMPTS,
            "backoff": Backoff(first=0, most=0),
            "budget": Budget(),
            "on_retry": lambda _, seconds: self.waits.append(seconds),
        }
        return await persist(first, self.attempt, **{**bounds, **options})


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Attempts:
    attempts = Attempts()
    monkeypatch.setattr(_retry, "asyncio", SimpleNamespace(sleep=attempts.sleep))
    monkeypatch.setattr(_retry, "time", SimpleNamespace(monotonic=lambda: attempts.now))
    return attempts


@pytest.mark.parametrize("action", [Action.RETRY, Action.REPEAT])
async def test_the_first_attempt_counts(run: Attempts, action: Action) -> None:
    await run(failed(action), failed(action))
    assert run.made == ATTEMPTS == 8


@pytest.mark.parametrize("action", [Action.RETRY, Action.REPEAT])
async def test_it_ends_with_the_first_success(run: Attempts, action: Action) -> None:
    assert await run(failed(action), failed(action), DONE) is DONE
    assert run.made == 3


@pytest.mark.parametrize("action", [a for a in Action if a not in {Action.RETRY, Action.REPEAT}])
async def test_it_ends_with_whatever_does_not_ask_for_more(run: Attempts, action: Action) -> None:
    settled = await run(failed(Action.RETRY), failed(action))
    assert (settled.action, run.made) == (action, 2)


async def test_a_retry_is_paid_from_the_budget(run: Attempts) -> None:
    budget = Budget(tokens=3)
    settled = await run(failed(Action.RETRY), failed(Action.RETRY), budget=budget)
    assert (settled.action, run.made, budget.tokens) == (Action.RETRY, 4, 0)


async def test_a_repeat_is_not(run: Attempts) -> None:
    budget = Budget(tokens=0)
    await run(failed(Action.REPEAT), failed(Action.REPEAT), budget=budget)
    assert run.made == ATTEMPTS


async def test_the_last_attempt_costs_nothing_more(run: Attempts) -> None:
    budget = Budget()
    await run(failed(Action.RETRY), failed(Action.RETRY), budget=budget)
    assert budget.tokens == 10 - (ATTEMPTS - 1)


async def test_without_a_limit_on_attempts_time_ends_it(run: Attempts) -> None:
    await run(limited("10", Action.REPEAT), limited("10", Action.REPEAT), attempts=None, deadline=run.now + 1000)
    assert run.made >= 100
    assert run.now == pytest.approx(2000)


async def test_a_wait_past_the_deadline_is_not_begun(run: Attempts) -> None:
    settled = await run(limited("30"), DONE, deadline=run.now + 30)
    assert (settled.kind, run.made, run.waits) == (Kind.RATE_LIMITED, 1, [])


async def test_what_the_server_asks_for_is_waited(run: Attempts) -> None:
    await run(limited("7"), limited("0"), limited("nan"), limited("3600"), DONE)
    assert run.waits == [7, 0, 0, 60]


async def test_the_jitter_comes_on_top_of_what_the_server_asks_for(run: Attempts) -> None:
    await run(limited("7"), DONE, backoff=Backoff(first=1, most=1))
    assert 7 < run.waits[0] < 8


async def test_the_bound_of_the_wait_doubles_up_to_the_most(run: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenacity.wait.random.uniform", lambda _, most: most)
    await run(failed(Action.RETRY), failed(Action.RETRY), backoff=Backoff(first=0.5, most=4))
    assert run.waits == [0.5, 1, 2, 4, 4, 4, 4]


async def test_the_jitter_is_full(run: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenacity.wait.random.uniform", lambda least, _: least)
    await run(failed(Action.RETRY), failed(Action.RETRY))
    assert set(run.waits) == {0}


@pytest.mark.parametrize(
    ("outcomes", "action"),
    [
        ([NOT_SENT, NOT_SENT], Action.REPEAT),
        ([LOST, NOT_SENT], Action.UNKNOWN),
        ([NOT_SENT, LOST, NOT_SENT], Action.UNKNOWN),
        ([NOT_SENT, LOST], Action.UNKNOWN),
    ],
)
async def test_a_repeat_that_once_may_have_arrived_ends_as_unknown(
    run: Attempts, outcomes: list[Outcome], action: Action
) -> None:
    first, *others = (
        failed(Action.REPEAT, outcome, Kind.NOT_SENT if isinstance(outcome, NotSent) else Kind.BROKEN)
        for outcome in outcomes
    )
    assert (await run(first, *others)).action is action


async def test_an_end_as_unknown_keeps_what_the_last_attempt_came_to(run: Attempts) -> None:
    last = Settled[str](Action.REPEAT, Kind.NOT_SENT, NOT_SENT, error=TransportError("x"))
    settled = await run(failed(Action.REPEAT), last)
    assert (settled.kind, settled.outcome, settled.error) == (last.kind, last.outcome, last.error)


async def test_before_each_further_attempt_the_failed_one_is_told(run: Attempts) -> None:
    told: list[Settled[str]] = []
    first, second = failed(Action.RETRY), limited("0")
    await run(first, second, DONE, on_retry=lambda settled, _: told.append(settled))
    assert told == [first, second]


async def test_a_refused_rate_has_not_arrived(run: Attempts) -> None:
    assert (await run(limited("0", Action.REPEAT), limited("0", Action.REPEAT))).action is Action.REPEAT


async def test_a_read_that_may_have_arrived_ends_with_its_own_error(run: Attempts) -> None:
    assert (await run(failed(Action.RETRY), failed(Action.RETRY))).action is Action.RETRY


async def test_what_an_attempt_raises_is_not_tried_again(run: Attempts) -> None:
    with pytest.raises(ZeroDivisionError):
        await run(failed(Action.RETRY), ZeroDivisionError(), DONE)
    assert run.made == 2


async def test_the_loop_is_tenacity(run: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tenacity.AsyncRetrying] = []

    class Recorded(tenacity.AsyncRetrying):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            made.append(self)

    monkeypatch.setattr(_retry, "AsyncRetrying", Recorded)
    await run(failed(Action.RETRY), failed(Action.RETRY), DONE)
    assert [retrying.statistics["attempt_number"] for retrying in made] == [3]


async def test_a_success_refunds_up_to_the_capacity() -> None:
    budget = Budget()
    assert [budget.take() for _ in range(11)] == [True] * 10 + [False]
    budget.refund()
    assert (budget.take(), budget.take()) == (True, False)
    for _ in range(100):
        budget.refund()
    assert budget.tokens == 10
