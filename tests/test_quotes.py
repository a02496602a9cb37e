"""What a quote tells before anything is started, and what it leaves unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from inferlease import (
    APIError,
    Balance,
    Client,
    InvalidArgumentError,
    NotFoundError,
    Quote,
)
from tests.faults import FaultyEmulator, emulated

if TYPE_CHECKING:
    from tests.worlds import Api

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hurried")]

MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def named(quote: Quote) -> list[str]:
    return [each.hardware_type_id for each in quote.hardware]


async def test_all_compatible_hardware_stands_side_by_side_the_cheapest_first(client: Client) -> None:
    quote = await client.quote(MODEL)
    assert named(quote) == ["NVIDIA_L4_1", "NVIDIA_L40S_1", "NVIDIA_H100_1", "NVIDIA_L4_2"]
    assert [each.price_per_hour for each in quote.hardware] == pytest.approx([1.2, 2.1, 3.6, 4.8])
    assert [each.listed_per_hour for each in quote.hardware] == pytest.approx([1.2, 2.1, 3.6, 2.4])
    assert {each.currency for each in quote.hardware} == {"EUR"}
    assert [each.is_recommended for each in quote.hardware] == [True, False, False, False]


@emulated(capacity={"NVIDIA_L4_1": 0})
async def test_what_is_not_available_comes_last(client: Client) -> None:
    quote = await client.quote(MODEL)
    assert named(quote)[-1] == "NVIDIA_L4_1"
    assert [each.is_available for each in quote.hardware] == [True, True, True, False]


async def test_workers_and_gpus_are_counted(client: Client) -> None:
    (quote,) = (await client.quote(MODEL, "NVIDIA_L4_2", num_workers=3)).hardware
    assert quote.price_per_hour == pytest.approx(2.4 * 2 * 3)
    assert quote.listed_per_hour == pytest.approx(2.4 * 3)


@pytest.mark.parametrize(
    ("duration", "interval", "seconds"),
    [(1, None, 60), (60, None, 60), (60.5, "per_minute", 120), (1, "per_hour", 3600), (3601, "per_hour", 7200)],
)
async def test_a_duration_is_rounded_up_to_the_billing_interval(
    client: Client, duration: float, interval: str | None, seconds: float
) -> None:
    quote = await client.quote(MODEL, "NVIDIA_L4_2", duration=duration, billing_interval=interval)
    assert (quote.duration, quote.billed_seconds) == (duration, seconds)
    assert quote.hardware[0].cost == pytest.approx(4.8 * seconds / 3600)
    assert quote.hardware[0].listed_cost == pytest.approx(2.4 * seconds / 3600)


async def test_without_a_duration_there_is_no_cost(client: Client) -> None:
    assert {each.cost for each in (await client.quote(MODEL)).hardware} == {None}


@emulated(balance=2.4)
async def test_the_runway_is_how_long_the_balance_lasts(client: Client) -> None:
    quote = await client.quote(MODEL, "NVIDIA_L4_1")
    assert quote.balance == Balance(2.4, "EUR")
    assert quote.hardware[0].runway == pytest.approx(7200)


async def test_a_balance_in_another_currency_has_no_runway(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("balance", body={"current_balance": 5, "currency": "USD"})
    assert (await client.quote(MODEL, "NVIDIA_L4_1")).hardware[0].runway is None


async def test_an_overdrawn_balance_lasts_for_no_time(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("balance", body={"current_balance": -5, "currency": "EUR"})
    assert (await client.quote(MODEL, "NVIDIA_L4_1")).hardware[0].runway == 0


async def test_without_credentials_all_but_the_runway_is_known(emulator: FaultyEmulator, either: Api) -> None:
    async with either.make(base_url=emulator.base_url) as client:
        quote = await client.quote(MODEL)
    assert quote.hardware[0].price_per_hour == pytest.approx(1.2)
    assert (quote.balance, quote.hardware[0].runway) == (None, None)
    assert "no credentials: set CORTECS_CLIENT_ID" in (quote.balance_trouble or "")
    assert "how long the balance lasts is unknown: no credentials" in str(quote)


def without_price(content: Any) -> Any:
    for hardware in content["hardware_types"]:
        if hardware["hardware_type_id"] == "NVIDIA_L4_1":
            hardware["price_info"]["price_per_hour"] = None
        if hardware["hardware_type_id"] == "NVIDIA_L40S_1":
            hardware["hardware_info"]["num_gpus"] = None
    return content


async def test_an_unknown_price_stays_unknown_and_comes_after_those_that_are_known(
    client: Client, emulator: FaultyEmulator
) -> None:
    emulator.fault("hardware_types", edit=without_price)
    quote = await client.quote(MODEL, duration=60)
    assert named(quote) == ["NVIDIA_H100_1", "NVIDIA_L4_2", "NVIDIA_L40S_1", "NVIDIA_L4_1"]
    no_gpus, no_price = quote.hardware[2:]
    assert (no_gpus.price_per_hour, no_gpus.cost, no_gpus.runway) == (None, None, None)
    assert no_gpus.listed_per_hour == pytest.approx(2.1)
    assert (no_price.listed_per_hour, no_price.listed_cost) == (None, None)
    assert "unknown" in str(quote)


async def test_only_the_hardware_that_is_asked_for_is_quoted(client: Client) -> None:
    assert named(await client.quote(MODEL, ["NVIDIA_H100_1", "NVIDIA_L4_1"])) == ["NVIDIA_L4_1", "NVIDIA_H100_1"]


async def test_hardware_that_does_not_serve_the_model_is_refused(client: Client) -> None:
    with pytest.raises(InvalidArgumentError, match="can't be served on NVIDIA_H100_4; it can on: NVIDIA_L4_1, "):
        await client.quote(MODEL, "NVIDIA_H100_4")


@pytest.mark.parametrize("arguments", [{"num_workers": 9}, {"duration": 0}, {"duration": float("nan")}])
async def test_bad_arguments_are_refused_before_anything_is_sent(
    client: Client, emulator: FaultyEmulator, arguments: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgumentError):
        await client.quote(MODEL, **arguments)
    assert emulator.order == []


async def test_an_unknown_model_has_no_quote(client: Client) -> None:
    with pytest.raises(NotFoundError):
        await client.quote("org/model")


async def test_a_server_that_fails_is_an_error(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("hardware_types", 403)
    with pytest.raises(APIError):
        await client.quote(MODEL)


async def test_a_quote_says_what_it_assumes(client: Client) -> None:
    quote = await client.quote(MODEL, duration=3600)
    assert "from the start call" in quote.assumption
    assert quote.assumption in " ".join(str(quote).split())
    assert str(quote).splitlines()[1].split() == (
        ["NVIDIA_L4_1", "yes", "1.20", "EUR", "1.20", "EUR", "1.2000", "EUR", "83.3", "h"]
    )


async def test_a_quote_is_less_than_80_columns_wide(client: Client) -> None:
    assert max(map(len, str(await client.quote(MODEL, duration=5400)).splitlines())) < 80
