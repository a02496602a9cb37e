"""What an instance costs per hour: an upper bound, read once, and never a reason to fail or to wait."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from inferlease.objects import HardwareInfo, HardwareType, PriceInfo
from inferlease.pricing import Price, hourly
from tests.emulator.support import until
from tests.faults import MODEL, FaultyEmulator, edited

if TYPE_CHECKING:
    from inferlease import Client
    from tests.worlds import Api

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hurried")]


def hardware(price: float | None = 1.2, currency: str | None = "EUR", gpus: int | None = 2) -> HardwareType:
    return HardwareType("X", PriceInfo(price_per_hour=price, currency=currency), HardwareInfo(num_gpus=gpus))


@pytest.mark.parametrize(
    ("kind", "workers", "amount"),
    [(hardware(gpus=1), 1, 1.2), (hardware(), 1, 2.4), (hardware(), 3, 7.2), (hardware(price=0.0), 1, 0.0)],
)
async def test_the_bound_is_a_price_for_each_gpu_of_each_worker(
    kind: HardwareType, workers: int, amount: float
) -> None:
    assert hourly(kind, workers) == Price(pytest.approx(amount), "EUR")


@pytest.mark.parametrize(
    ("kind", "workers"),
    [(hardware(price=None), 1), (hardware(currency=None), 1), (hardware(gpus=None), 1), (hardware(), None)],
    ids=["price", "currency", "GPUs", "workers"],
)
async def test_where_a_factor_is_unknown_so_is_the_price(kind: HardwareType, workers: int | None) -> None:
    assert hourly(kind, workers) is None


async def test_a_price_reads_with_its_currency() -> None:
    assert str(Price(2.4, "EUR")) == "2.40 EUR/h"


async def test_prices_are_read_once_for_many_starts(client: Client, emulator: FaultyEmulator) -> None:
    for _ in range(2):
        await asyncio.gather(*(client.instances.start(MODEL) for _ in range(3)))
        await until(lambda: not client._core.jobs._open)
    assert emulator.books().requests["hardware_types"] == 1


async def test_a_client_that_starts_nothing_reads_no_prices(client: Client, emulator: FaultyEmulator) -> None:
    await client.instances.list()
    assert "hardware_types" not in emulator.order


NO_PRICES: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "403": {"status": 403},
    "HTML": {"body": b"<html>"},
    "no list": {"body": {"hardware_types": None}},
    "unreadable": {"body": {"hardware_types": [{"hardware_type_id": "NVIDIA_L4_1", "price_info": 7}]}},
    "without a price": {"body": {"hardware_types": [{"hardware_type_id": "NVIDIA_L4_1"}]}},
    "lost": {"lost": True},
}


@pytest.mark.parametrize("fault", NO_PRICES.values(), ids=NO_PRICES.keys())
async def test_without_prices_a_start_says_that_it_is_unknown(
    client: Client, emulator: FaultyEmulator, caplog: pytest.LogCaptureFixture, fault: dict[str, Any]
) -> None:
    emulator.fault("hardware_types", **fault, times=None)
    with caplog.at_level(logging.INFO, "inferlease"):
        instance = await client.instances.start(MODEL)
        await until(lambda: "started" in caplog.text)
    assert f"instance {instance.instance_id} started (price unknown" in caplog.text


async def test_a_start_is_told_before_what_comes_after_it(
    client: Client, emulator: FaultyEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    with emulator.hold("hardware_types", "unanswered"), caplog.at_level(logging.INFO, "inferlease"):
        instance = await client.instances.start(MODEL)
        await instance.wait_until_running()
    assert [message.split()[2] for message in caplog.messages] == ["started", "usable"]


async def test_prices_that_could_not_be_read_are_read_with_the_next_start(
    client: Client, emulator: FaultyEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.fault("hardware_types", 500, times=None)
    with caplog.at_level(logging.INFO, "inferlease"):
        await client.instances.start(MODEL)
        await until(lambda: "price unknown" in caplog.text)
        emulator.mend("hardware_types")
        await client.instances.start(MODEL)
        await until(lambda: "at most 1.20 EUR/h" in caplog.text)


async def test_prices_that_do_not_come_hold_up_no_verb(client: Client, emulator: FaultyEmulator) -> None:
    with emulator.hold("hardware_types", "before") as hold:
        instance = await client.instances.start(MODEL)
        await hold.arrived_async()
        await instance.stop()
        await instance.restart()
        assert not instance.is_stopped


async def test_prices_take_nothing_from_the_retry_budget(client: Client, emulator: FaultyEmulator) -> None:
    before = client._core.exchange.budget.tokens
    emulator.fault("hardware_types", 500, times=None)
    emulator.fault("start", 429, handled=False, times=7)
    await client.instances.start(MODEL)
    assert len(emulator.asked("start")) == 8
    assert client._core.exchange.budget.tokens >= before - 7


async def test_prices_that_come_after_the_end_of_the_client_leave_nothing_open(
    emulator: FaultyEmulator, either: Api
) -> None:
    client = either.connect(emulator)
    with emulator.hold("hardware_types", "before") as hold:
        await client.instances.start(MODEL)
        await hold.arrived_async()
        await client.close()
    reading = client._core.prices._reading
    assert reading is not None
    await until(reading.done)
    assert not client._transport.is_open


async def test_without_the_hardware_in_the_answer_the_price_is_unknown(
    client: Client, emulator: FaultyEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.fault("start", edit=edited(without_args=("hardware_type_id",)))
    with caplog.at_level(logging.INFO, "inferlease"):
        await client.instances.start(MODEL)
        await until(lambda: "price unknown" in caplog.text)
