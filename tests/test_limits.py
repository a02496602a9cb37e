"""Limits of a lease: nothing runs on beyond them, and whoever has the lease hears of it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from inferlease import (
    Client,
    ConfigurationError,
    InvalidArgumentError,
    LeaseLimitError,
    ServerError,
    money,
)
from inferlease._limits import Limits, checked_limits, timed
from inferlease.money import Price
from inferlease.objects import InstanceArgs
from tests.emulator.support import until
from tests.faults import FaultyEmulator, emulated

if TYPE_CHECKING:
    from tests.worlds import World

MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
ARGS = InstanceArgs("m", "h", "per_minute", 1, 1)


@pytest.fixture
def short_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A billing interval of half a second, which costs a 7200th of the price per hour."""
    monkeypatch.setitem(money.INTERVALS, "per_minute", 0.5)


async def stopped(emulator: FaultyEmulator) -> None:
    await until(lambda: emulator.books().starts == 1 and not emulator.books().still_billed)


# ---- how they are given -----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "5", True])
@pytest.mark.parametrize("name", ["max_cost", "max_duration"])
@pytest.mark.asyncio
async def test_nonsense_is_refused(client: Client, name: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=name):
        client.lease(MODEL, **{name: value})


@pytest.mark.parametrize("value", [-1, float("nan"), "5"])
def test_a_balance_below_nothing_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="min_balance"):
        checked_limits(None, None, value)


@pytest.mark.parametrize("value", ["x", "0", "-1", "nan", "inf"])
@pytest.mark.parametrize("name", ["INFERLEASE_MAX_COST", "INFERLEASE_MAX_DURATION"])
@pytest.mark.asyncio
async def test_nonsense_in_the_environment_is_refused(
    client: Client, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"{name}='{value}' is not a positive number"):
        client.lease(MODEL)


def test_arguments_may_only_lower_what_the_environment_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERLEASE_MAX_COST", "2.5")
    monkeypatch.setenv("INFERLEASE_MAX_DURATION", "600")
    assert checked_limits(None, None, None) == Limits(2.5, 600)
    assert checked_limits(1, 60, 3) == Limits(1, 60, 3)
    assert checked_limits(10, 6000, None) == Limits(2.5, 600)


@pytest.mark.parametrize(
    ("max_cost", "interval", "seconds"),
    [
        (0.02, "per_minute", 55),  # one minute at 1.20/h, less what a stop takes
        (0.0399, "per_minute", 55),
        (0.1, "per_minute", 295),
        (1.2, "per_minute", 3595),
        (1.2, "per_hour", 3595),
        (2.5, "per_hour", 7195),
    ],
)
def test_as_many_intervals_as_are_paid_for(max_cost: float, interval: str, seconds: float) -> None:
    args = InstanceArgs("m", "h", interval, 1, 1)
    (limit,) = timed(Limits(max_cost), args, Price(1.2, "EUR"))
    assert limit.name == "max_cost"
    assert limit.seconds == pytest.approx(seconds)


def test_what_does_not_pay_for_one_interval_is_refused() -> None:
    with pytest.raises(LeaseLimitError, match=r"does not pay for one billing interval \(per_minute\)") as caught:
        timed(Limits(0.019), ARGS, Price(1.2, "EUR"))
    assert (caught.value.limit, caught.value.value, caught.value.reached) == ("max_cost", 0.019, None)


def test_the_first_limit_comes_first() -> None:
    assert [each.name for each in timed(Limits(1.2, 60), ARGS, Price(1.2, "EUR"))] == ["max_duration", "max_cost"]


def test_what_is_free_reaches_no_cost() -> None:
    assert timed(Limits(1), ARGS, Price(0, "EUR")) == ()


# ---- what is refused before the start ---------------------------------------------------------------


@pytest.mark.asyncio
async def test_with_an_unknown_price_a_cost_can_t_be_kept_to(
    client: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.fault("hardware_types", 403, times=None)
    with pytest.raises(LeaseLimitError, match=r"max_cost=5 can't be enforced.*nothing was started"):
        await client.lease(MODEL, max_cost=5).acquire()
    assert emulator.books().starts == 0
    async with client.lease(MODEL, max_duration=1000):
        pass


@pytest.mark.asyncio
async def test_prices_that_fail_are_asked_for_again(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("hardware_types", 503, times=2)
    async with client.lease(MODEL, max_cost=5):
        pass


@emulated(balance=5.0)
@pytest.mark.asyncio
async def test_a_balance_that_is_too_low_is_no_start(client: Client, emulator: FaultyEmulator) -> None:
    with pytest.raises(LeaseLimitError, match=r"below min_balance=10: nothing was started") as caught:
        await client.lease(MODEL, min_balance=10).acquire()
    assert (caught.value.limit, caught.value.value, caught.value.reached) == ("min_balance", 10, 5.0)
    assert emulator.books().starts == 0


@pytest.mark.usefixtures("hurried")
@pytest.mark.asyncio
async def test_a_balance_that_can_t_be_read_is_no_start(emulator: FaultyEmulator, client: Client) -> None:
    client._core.exchange.timeout = 0.5
    emulator.fault("balance", 500, times=None)
    with pytest.raises(ServerError):
        await client.lease(MODEL, min_balance=1).acquire()
    assert emulator.books().starts == 0


# ---- what happens at a limit ------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_at_its_duration_a_lease_is_stopped_and_its_body_ends(
    client: Client, emulator: FaultyEmulator, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    lease = client.lease(MODEL, max_duration=1)
    with pytest.raises(LeaseLimitError, match=r"reached max_duration=1 s after 1 s: it is stopped") as caught:  # noqa: PT012
        async with lease as instance:
            if world == "async":
                await asyncio.Event().wait()
            await stopped(emulator)  # in the synchronous world nothing interrupts the body
    assert emulator.books().still_billed == []
    error = caught.value
    assert (error.limit, error.value, error.instance_id) == ("max_duration", 1, instance.instance_id)
    assert error.reached is not None
    assert error.reached >= 1  # how late it may be is for the benchmarks
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told[0].startswith(f"instance {instance.instance_id} nears max_duration=1 s: it is stopped in 0 s")
    assert told[1] == str(error)
    assert lease.receipt is not None
    assert lease.receipt.ended_at is not None


@pytest.mark.usefixtures("short_minutes")
@pytest.mark.asyncio
async def test_at_its_cost_a_lease_is_stopped(client: Client, emulator: FaultyEmulator, world: World) -> None:
    most = 1.2 * 2 / 7200
    lease = client.lease(MODEL, max_cost=most)
    with pytest.raises(LeaseLimitError) as caught:  # noqa: PT012
        async with lease:
            if world == "async":
                await asyncio.Event().wait()
            await stopped(emulator)
    assert caught.value.limit == "max_cost"
    assert caught.value.reached == pytest.approx(most)


@pytest.mark.asyncio
async def test_the_environment_limits_every_lease(
    client: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERLEASE_MAX_DURATION", "1")
    lease = client.lease(MODEL, max_duration=1000)
    await lease.acquire()
    await stopped(emulator)
    with pytest.raises(LeaseLimitError, match=r"MAX_DURATION=1 s .* raise INFERLEASE_MAX_DURATION"):
        await lease.release()


@pytest.mark.asyncio
async def test_without_with_the_release_raises_however_often(client: Client, emulator: FaultyEmulator) -> None:
    lease = client.lease(MODEL, max_duration=1)
    await lease.acquire()
    await stopped(emulator)
    for _ in range(2):
        with pytest.raises(LeaseLimitError):
            await lease.release()


@emulated(seconds_per_step=1000)
@pytest.mark.asyncio
async def test_a_limit_holds_before_the_instance_is_usable_too(client: Client, emulator: FaultyEmulator) -> None:
    with pytest.raises(LeaseLimitError):
        async with client.lease(MODEL, max_duration=0.3):
            pytest.fail("the body must not run")
    assert (emulator.books().starts, emulator.books().still_billed) == (1, [])


@pytest.mark.asyncio
async def test_a_limit_holds_while_the_answer_to_the_start_is_awaited(client: Client, emulator: FaultyEmulator) -> None:
    with emulator.hold("start", "unanswered") as hold:
        entering = asyncio.ensure_future(client.lease(MODEL, max_duration=0.3).acquire())
        await hold.arrived_async()
        await asyncio.sleep(0.5)
    with pytest.raises(LeaseLimitError):
        await entering
    assert (emulator.books().starts, emulator.books().still_billed) == (1, [])


@pytest.mark.async_only(reason="it is about a cancellation")
@pytest.mark.asyncio
async def test_a_start_that_is_given_up_while_the_guard_is_told_of_its_limit_is_not_sent(
    client: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_telling, may_go_on = threading.Event(), threading.Event()

    def due(*_: object) -> None:
        is_telling.set()
        may_go_on.wait()

    monkeypatch.setattr("inferlease._guard_process._Side.due", due)
    lease = client.lease(MODEL, max_duration=1000)
    entering = asyncio.ensure_future(lease.acquire())
    await until(is_telling.is_set)
    entering.cancel()
    await until(lambda: lease._start is not None and lease._start._order.is_given_up)
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert emulator.books().starts == 0
    (record,) = await client.leases.list()
    assert (record.ending, "was given up before it was sent" in str(record.reason)) == ("refused", True)


@pytest.mark.asyncio
async def test_what_an_error_says_that_is_not_ours_is_not_remembered(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def due(*_: object) -> None:
        raise RuntimeError("who knows what")

    monkeypatch.setattr("inferlease._guard_process._Side.due", due)
    with pytest.raises(RuntimeError, match="who knows what"):
        await client.lease(MODEL, max_duration=1000).acquire()
    (record,) = await client.leases.list()
    assert (record.ending, record.reason) == ("refused", "RuntimeError")


@pytest.mark.asyncio
async def test_what_is_kept_is_stopped_at_a_limit_all_the_same(client: Client, emulator: FaultyEmulator) -> None:
    lease = client.lease(MODEL, max_duration=1, keep=True)
    await lease.acquire()
    await stopped(emulator)
    with pytest.raises(LeaseLimitError):
        await lease.release()


@pytest.mark.asyncio
async def test_the_guard_is_told_that_no_limit_holds_once_the_lease_of_what_is_kept_has_ended(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float | None] = []
    monkeypatch.setattr("inferlease._guard_process._Side.due", lambda _side, _name, at: told.append(at))
    async with client.lease(MODEL, max_duration=1000, keep=True):
        assert None not in told
    await until(lambda: None in told)
    assert told[-1] is None


@pytest.mark.asyncio
async def test_the_users_own_error_is_kept_and_the_limit_a_note_on_it(client: Client, emulator: FaultyEmulator) -> None:
    failure = LookupError("the work failed")
    with pytest.raises(LookupError) as caught:  # noqa: PT012
        async with client.lease(MODEL, max_duration=1):
            try:
                await stopped(emulator)
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                pass
            raise failure
    assert caught.value is failure
    assert "reached max_duration=1 s" in "".join(failure.__notes__)


@pytest.mark.asyncio
async def test_a_lease_that_ends_in_time_hears_of_no_limit(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    lease = client.lease(MODEL, max_duration=2, max_cost=5, min_balance=1)
    async with lease:
        pass
    await asyncio.sleep(2)
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.asyncio
async def test_what_has_stopped_before_reaches_no_limit(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    async with client.lease(MODEL, max_duration=2) as instance:
        await client.instances.stop(instance.instance_id)
        await instance.wait_until_stopped()
        await asyncio.sleep(2)
    assert "max_duration" not in caplog.text


@pytest.mark.asyncio
async def test_the_balance_is_looked_at_while_it_runs(
    client: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("inferlease._limits.BALANCE_EVERY", 0.05)
    lease = client.lease(MODEL, min_balance=10)
    await lease.acquire()
    emulator.fault("balance", 403)
    emulator.fault("balance", body={"current_balance": 20, "currency": "EUR"}, times=1)
    emulator.fault("balance", body={"current_balance": 9.99, "currency": "EUR"}, times=None)
    await stopped(emulator)
    with pytest.raises(LeaseLimitError, match=r"the balance is 9\.99 EUR, below min_balance=10") as caught:
        await lease.release()
    assert (caught.value.limit, caught.value.reached) == ("min_balance", 9.99)
    assert "can't be watched at the moment" in caplog.text
    assert "nears min_balance=10: the balance is 20.00 EUR" in caplog.text


# ---- the interruption, as asyncio.timeout has it ----------------------------------------------------

only_async = pytest.mark.async_only(reason="it is about the cancellation of tasks")


@only_async
@pytest.mark.asyncio
async def test_after_the_limit_the_task_is_as_if_it_had_not_been_cancelled(client: Client) -> None:
    task = asyncio.current_task()
    assert task is not None
    with pytest.raises(LeaseLimitError) as caught:
        async with client.lease(MODEL, max_duration=1):
            await asyncio.Event().wait()
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    assert task.cancelling() == 0
    await asyncio.sleep(0)


@only_async
@pytest.mark.asyncio
async def test_a_cancellation_of_the_user_s_wins(client: Client, emulator: FaultyEmulator) -> None:
    async def work() -> None:
        async with client.lease(MODEL, max_duration=1):
            try:
                await asyncio.Event().wait()
            finally:
                asyncio.current_task().cancel()  # type: ignore[union-attr]
                await asyncio.sleep(1)

    task = asyncio.ensure_future(work())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert emulator.books().still_billed == []


@only_async
@pytest.mark.asyncio
async def test_a_plain_cancellation_is_left_as_it_is(client: Client, emulator: FaultyEmulator) -> None:
    entered = asyncio.Event()

    async def work() -> None:
        async with client.lease(MODEL, max_duration=1000):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert emulator.books().still_billed == []


@only_async
@pytest.mark.asyncio
async def test_timeouts_around_and_inside_keep_their_own(client: Client) -> None:
    with pytest.raises(LeaseLimitError):  # noqa: PT012
        async with asyncio.timeout(30), client.lease(MODEL, max_duration=1):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await asyncio.Event().wait()
            await asyncio.Event().wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1), client.lease(MODEL, max_duration=1000):
            await asyncio.Event().wait()


@only_async
@pytest.mark.asyncio
async def test_a_body_that_swallows_the_cancellation_hears_of_the_limit_at_its_end(client: Client) -> None:
    with pytest.raises(LeaseLimitError):  # noqa: PT012
        async with client.lease(MODEL, max_duration=1):
            with pytest.raises(asyncio.CancelledError):
                await asyncio.Event().wait()


@only_async
@pytest.mark.may_block(reason="the body holds up its own loop on purpose")
@pytest.mark.asyncio
async def test_a_body_that_blocks_its_loop_is_stopped_all_the_same(client: Client, emulator: FaultyEmulator) -> None:
    task = asyncio.current_task()
    assert task is not None
    with pytest.raises(LeaseLimitError):  # noqa: PT012
        async with client.lease(MODEL, max_duration=1):
            deadline = time.monotonic() + 30
            while emulator.books().still_billed and time.monotonic() < deadline:
                time.sleep(0.01)  # noqa: ASYNC251 - that is what it is about
            assert emulator.books().still_billed == []
    # The cancellation that could not come in time comes nowhere else either.
    await asyncio.sleep(0.05)
    assert task.cancelling() == 0


@only_async
@pytest.mark.asyncio
async def test_two_leases_are_limited_each_for_itself(client: Client, emulator: FaultyEmulator) -> None:
    async with client.lease(MODEL, max_duration=1000) as outer:
        with pytest.raises(LeaseLimitError):
            async with client.lease("microsoft/phi-4", max_duration=1):
                await asyncio.Event().wait()
        assert emulator.books().still_billed == [outer.instance_id]
