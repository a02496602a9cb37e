"""What an instance has cost while it runs, and the receipt after it: against the emulator's books."""

from __future__ import annotations

import asyncio
import copy
import logging
from typing import TYPE_CHECKING, Any

import pytest

from inferlease import Client, CostEstimate, Receipt, WaitTimeoutError
from inferlease._cost import Meter
from inferlease.money import billed
from inferlease.objects import InstanceArgs
from tests.emulator.support import until
from tests.faults import FaultyEmulator, edited, emulated

if TYPE_CHECKING:
    from tests.worlds import Api

MODEL = "microsoft/phi-4"
TWO_GPUS = "NVIDIA_L4_2"


@pytest.mark.parametrize("interval", ["per_minute", "per_hour"])
@pytest.mark.parametrize("rounding", [False, True])
@pytest.mark.parametrize("per_gpu", [False, True])
@pytest.mark.parametrize("pending", [False, True])
@pytest.mark.asyncio
async def test_the_upper_bound_is_never_below_the_books_and_equal_where_they_bill_as_assumed(
    either: Api, pending: bool, per_gpu: bool, rounding: bool, interval: str
) -> None:
    variant = {"bill_pending": pending, "bill_per_gpu": per_gpu, "bill_rounding": rounding}
    async with FaultyEmulator(seconds_per_step=0.01, **variant) as emulator:
        async with either.connect(emulator, poll_interval=0.02) as client:
            lease = client.lease(MODEL, hardware_type_id=TWO_GPUS, num_workers=2, billing_interval=interval)
            async with lease as instance:
                running = instance.cost
        books = emulator.books()
    receipt = lease.receipt
    assert isinstance(running, CostEstimate)
    assert isinstance(receipt, Receipt)
    assert receipt.amount is not None
    assert receipt.listed_amount is not None
    assert running.amount <= receipt.amount
    assert receipt.amount >= books.cost
    assert (receipt.amount == pytest.approx(books.cost)) == (per_gpu and rounding)
    if rounding:
        assert receipt.billed_seconds == books.billed_seconds
        assert (receipt.listed_amount == pytest.approx(books.cost)) == (not per_gpu)
    assert receipt.seconds >= sum(run.billed_seconds for run in books.instances[receipt.instance_id].runs) or rounding


@pytest.mark.parametrize(
    ("seconds", "interval", "counted"),
    [
        (0, "per_minute", 0),
        (0.01, "per_minute", 60),
        (60, "per_minute", 60),
        (60.01, "per_minute", 120),
        (-1, "per_minute", 0),
        (3600, "per_hour", 3600),
        (3600.5, "per_hour", 7200),
        (1, "per_day", None),
    ],
)
def test_seconds_are_rounded_up_to_the_interval(seconds: float, interval: str, counted: float | None) -> None:
    assert billed(seconds, interval) == counted


@pytest.mark.asyncio
async def test_a_receipt_tells_what_the_lease_was(client: Client, emulator: FaultyEmulator) -> None:
    lease = client.lease(MODEL, hardware_type_id=TWO_GPUS, num_workers=2)
    before = [lease.receipt]
    async with lease as instance:
        before.append(lease.receipt)
    assert before == [None, None]
    receipt = lease.receipt
    assert receipt is not None
    assert (receipt.instance_id, receipt.model_id) == (instance.instance_id, "microsoft--phi-4")
    assert (receipt.hardware_type_id, receipt.num_workers, receipt.billing_interval) == (TWO_GPUS, 2, "per_minute")
    assert receipt.currency == "EUR"
    assert receipt.usable_at is not None
    assert receipt.ended_at is not None
    assert receipt.began_at < receipt.usable_at < receipt.ended_at
    assert receipt.startup_seconds is not None
    assert 0 < receipt.startup_seconds < receipt.seconds
    assert receipt.startup_share == pytest.approx(receipt.startup_seconds / receipt.seconds)
    assert receipt.idle_share is None
    assert "from the start call" in receipt.assumption
    assert str(receipt).startswith("at most 0.1600 EUR for ")
    assert receipt.assumption in str(receipt)
    assert lease.receipt == receipt


@emulated(seconds_per_step=1000)
@pytest.mark.asyncio
async def test_a_lease_that_never_was_usable_has_a_receipt_too(client: Client) -> None:
    lease = client.lease(MODEL, stall_timeout=0.1)
    with pytest.raises(WaitTimeoutError):
        await lease.acquire()
    assert lease.receipt is not None
    assert (lease.receipt.usable_at, lease.receipt.startup_share) == (None, 1.0)
    assert "never usable" in str(lease.receipt)


@pytest.mark.asyncio
async def test_where_nothing_was_started_there_is_no_receipt(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("start", 402)
    lease = client.lease(MODEL)
    with pytest.raises(Exception, match="402"):
        await lease.acquire()
    await lease.release()
    assert lease.receipt is None


@pytest.mark.asyncio
async def test_the_time_that_a_deletion_takes_is_not_counted(client: Client, emulator: FaultyEmulator) -> None:
    lease = client.lease(MODEL)
    await lease.acquire()
    with emulator.hold("delete", "before") as hold:
        leaving = asyncio.ensure_future(lease.release())
        await hold.arrived_async()
        (entry,) = emulator.books().instances.values()
        await asyncio.sleep(0.3)
    await leaving
    (run,) = entry.runs
    assert run.stopped_at is not None
    assert lease.receipt is not None
    # Until the stop was seen; the deletion was held up for longer than that took.
    assert lease.receipt.seconds < run.stopped_at - run.pending_at + 0.3


@pytest.mark.asyncio
async def test_what_was_not_seen_to_stop_may_still_be_billed(client: Client, emulator: FaultyEmulator) -> None:
    lease = client.lease(MODEL, release_timeout=0.3)
    await lease.acquire()
    with emulator.hold("stop", "before"), pytest.raises(Exception, match="not seen to stop"):
        await lease.release()
    assert lease.receipt is not None
    assert lease.receipt.ended_at is None
    assert "it may still be billed" in str(lease.receipt)


@pytest.mark.asyncio
async def test_the_cost_of_a_started_instance_grows_until_it_stops(client: Client) -> None:
    instance = await client.instances.start(MODEL)
    await until(lambda: instance.cost is not None)
    first, second = instance.cost, instance.cost
    assert first is not None
    assert second is not None
    assert second.seconds > first.seconds
    assert first.amount == pytest.approx(2.1 / 60)
    await instance.stop()
    await instance.wait_until_stopped()
    assert instance.cost == instance.cost
    await instance.restart()
    assert instance.cost is not None
    assert instance.cost != instance.cost  # it grows anew


@pytest.mark.asyncio
async def test_when_somebody_elses_instance_began_is_unknown_and_so_is_its_cost(client: Client) -> None:
    instance = await client.instances.start(MODEL)
    assert (await client.instances.get(instance.instance_id)).cost is None


@pytest.mark.asyncio
async def test_an_unknown_price_is_no_price(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("hardware_types", 403, times=None)
    lease = client.lease(MODEL)
    async with lease as instance:
        assert instance.cost is None
    receipt = lease.receipt
    assert receipt is not None
    assert (receipt.amount, receipt.listed_amount, receipt.currency) == (None, None, None)
    assert str(receipt).startswith("cost unknown for ")


@pytest.mark.asyncio
async def test_what_the_answer_leaves_out_was_what_was_asked_for(client: Client, emulator: FaultyEmulator) -> None:
    without = ("hardware_type_id", "billing_interval", "num_workers", "context_length")
    for operation in ("start", "get", "list", "stop"):
        emulator.fault(operation, edit=edited(without_args=without), times=None)
    lease = client.lease(MODEL, hardware_type_id=TWO_GPUS, num_workers=3, billing_interval="per_hour")
    async with lease:
        pass
    assert lease.receipt is not None
    assert lease.receipt.amount == pytest.approx(2.4 * 2 * 3)


@pytest.mark.asyncio
async def test_a_copied_instance_has_no_cost(client: Client) -> None:
    instance = await client.instances.start(MODEL)
    bare: Any = instance.__dict__.get("_bare", instance)
    assert copy.copy(bare).cost is None


@pytest.mark.asyncio
async def test_an_interval_of_unknown_length_has_no_estimate(client: Client) -> None:
    meter = Meter(client._core.prices, InstanceArgs("m", "NVIDIA_L4_1", "per_day", 1, 1))
    assert meter.estimate() is None


@pytest.mark.asyncio
async def test_what_a_lease_has_cost_so_far_is_logged_again_and_again(
    client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inferlease._cost.TELL_EVERY", 0.05)
    caplog.set_level(logging.INFO, "inferlease")
    async with client.lease(MODEL) as instance:
        told = f"instance {instance.instance_id} is held for 0.0 h now: at most 0.04 EUR so far"
        await until(lambda: caplog.text.count(told) > 1)
    logged = caplog.text.count("is held for")
    await asyncio.sleep(0.15)
    assert caplog.text.count("is held for") == logged
