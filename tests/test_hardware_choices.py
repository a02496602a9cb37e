"""Several hardware types: tried in their order, each only after the one before was provably refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from inferlease import (
    InvalidArgumentError,
    NoCapacityError,
    PaymentRequiredError,
    StartOutcomeUnknownError,
    StartRefusedError,
)
from tests.faults import MODEL, FaultyEmulator, emulated
from tests.worlds import connected

if TYPE_CHECKING:
    from inferlease import Client

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hurried")]

FIRST, SECOND = "NVIDIA_L4_1", "NVIDIA_L40S_1"
BOTH = [FIRST, SECOND]

without_first = emulated(capacity={FIRST: 0})
without_both = emulated(capacity={FIRST: 0, SECOND: 0})


def asked_for(emulator: FaultyEmulator) -> list[Any]:
    """The hardware of each POST."""
    return [asked.json.get("hardware_type_id") for asked in emulator.asked("start")]


@pytest.mark.parametrize("readable", [True, False])
async def test_a_type_that_there_is_not_is_called_so_where_that_is_known(
    client: Client, emulator: FaultyEmulator, readable: bool
) -> None:
    if not readable:
        emulator.fault("hardware_types", 403, times=None)
    with pytest.raises(NoCapacityError) as caught:
        await client.instances.start(MODEL, hardware_type_id="NVIDIA_XX")
    words = "there is no hardware type NVIDIA_XX (" if readable else "NVIDIA_XX is not available now ("
    assert str(caught.value).startswith(words)
    assert "; available for this model: NVIDIA_L4_1, " in str(caught.value)


# ---- the argument -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "named",
    [
        [],
        (),
        [FIRST, FIRST],
        [FIRST, "a/b"],
        [FIRST, ""],
        [FIRST, None],
        [FIRST, 5],
        [[FIRST]],
        {FIRST, SECOND},
        5,
        b"ab",
    ],
    ids=str,
)
@pytest.mark.parametrize("verb", ["start", "ensure"])
async def test_what_is_no_list_of_ids_is_refused_unsent(
    client: Client, emulator: FaultyEmulator, verb: str, named: Any
) -> None:
    with pytest.raises(InvalidArgumentError):
        await getattr(client.instances, verb)(MODEL, hardware_type_id=named)
    assert emulator.order == []


async def test_a_lease_refuses_it_when_it_is_made(client: Client) -> None:
    with pytest.raises(InvalidArgumentError, match="more than once"):
        client.lease(MODEL, hardware_type_id=[FIRST, SECOND, FIRST])


# ---- the order --------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [BOTH, tuple(BOTH)], ids=["list", "tuple"])
async def test_the_first_is_taken_where_it_is_not_refused(client: Client, emulator: FaultyEmulator, named: Any) -> None:
    instance = await client.instances.start(MODEL, hardware_type_id=named)
    assert instance.instance_args.hardware_type_id == FIRST
    assert asked_for(emulator) == [FIRST]


@without_first
@pytest.mark.parametrize("verb", ["start", "ensure"])
async def test_the_next_is_tried_after_a_refusal(client: Client, emulator: FaultyEmulator, verb: str) -> None:
    instance = await getattr(client.instances, verb)(MODEL, hardware_type_id=BOTH)
    assert instance.instance_args.hardware_type_id == SECOND
    assert asked_for(emulator) == BOTH


@without_first
async def test_a_lease_tries_the_next_too(client: Client, emulator: FaultyEmulator) -> None:
    async with client.lease(MODEL, hardware_type_id=BOTH) as instance:
        assert instance.instance_args.hardware_type_id == SECOND
    assert emulator.books().still_billed == []


@pytest.mark.parametrize("status", [400, 404, 409, 422])
async def test_a_refusal_for_another_reason_is_followed_by_the_next_too(
    client: Client, emulator: FaultyEmulator, status: int
) -> None:
    emulator.fault("start", status, body={"message": "not on this one"}, handled=False)
    instance = await client.instances.start(MODEL, hardware_type_id=BOTH)
    assert instance.instance_args.hardware_type_id == SECOND


# ---- refused everywhere -------------------------------------------------------------------------------


@without_both
async def test_without_any_of_them_the_error_names_all_and_what_there_is(client: Client) -> None:
    with pytest.raises(NoCapacityError, match=rf"none of {FIRST}, {SECOND} is available now") as caught:
        await client.instances.start(MODEL, hardware_type_id=BOTH)
    assert caught.value.compatible == ()
    assert caught.value.status == 400
    assert {hardware.hardware_type_id for hardware in caught.value.available}.isdisjoint(BOTH)


@without_first
async def test_refused_for_different_reasons_the_error_tells_each(client: Client, emulator: FaultyEmulator) -> None:
    third = "NVIDIA_L4_2"  # nothing serves the model there
    emulator.fault("start", 422, body={"message": "too small"}, handled=False)
    with pytest.raises(StartRefusedError, match=rf"{third}: .*too small; {FIRST}: .*not available") as caught:
        await client.instances.start(MODEL, hardware_type_id=[third, FIRST])
    assert type(caught.value) is StartRefusedError


# ---- what no other hardware mends ---------------------------------------------------------------------


async def test_a_model_that_there_is_not_is_asked_for_once(client: Client, emulator: FaultyEmulator) -> None:
    with pytest.raises(StartRefusedError, match="not found"):
        await client.instances.start("org/model", hardware_type_id=BOTH)
    assert asked_for(emulator) == [FIRST]


@emulated(balance=0)
async def test_without_money_there_is_one_attempt(client: Client, emulator: FaultyEmulator) -> None:
    with pytest.raises(PaymentRequiredError):
        await client.instances.start(MODEL, hardware_type_id=BOTH)
    assert asked_for(emulator) == [FIRST]


@connected(exclusive=False, settle_time=0.05)
async def test_after_a_lost_answer_no_other_hardware_is_tried(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("start", lost=True)
    with pytest.raises(StartOutcomeUnknownError):
        await client.instances.start(MODEL, hardware_type_id=BOTH)
    assert asked_for(emulator) == [FIRST]


@connected(exclusive=True, settle_time=0.05)
async def test_a_refusal_after_a_lost_answer_is_none_of_the_whole_start(
    client: Client, emulator: FaultyEmulator
) -> None:
    """The first POST may still make its instance: one on other hardware would be the second."""
    emulator.fault("start", lost=True, handled=False)
    emulator.fault("start", 422, body={"message": "no"}, handled=False)
    with pytest.raises(StartRefusedError):
        await client.instances.start(MODEL, hardware_type_id=BOTH)
    assert asked_for(emulator) == [FIRST, FIRST]


@connected(exclusive=True, settle_time=0.05)
@without_first
async def test_without_capacity_after_a_lost_answer_no_other_hardware_is_tried(
    client: Client, emulator: FaultyEmulator
) -> None:
    emulator.fault("start", 502, handled=False)
    with pytest.raises(NoCapacityError):
        await client.instances.start(MODEL, hardware_type_id=BOTH)
    assert asked_for(emulator) == [FIRST]


# ---- ensure -----------------------------------------------------------------------------------------


async def test_ensure_takes_an_instance_on_any_of_them(client: Client, emulator: FaultyEmulator) -> None:
    there = await client.instances.start(MODEL, hardware_type_id=SECOND)
    assert (await client.instances.ensure(MODEL, hardware_type_id=BOTH)).instance_id == there.instance_id
    assert emulator.books().starts == 1


@emulated(seconds_per_step=3600)
async def test_of_those_in_one_state_ensure_prefers_the_type_that_is_named_first(client: Client) -> None:
    for name in BOTH:
        await client.instances.start(MODEL, hardware_type_id=name)
    for named in (BOTH, BOTH[::-1]):
        instance = await client.instances.ensure(MODEL, hardware_type_id=named)
        assert instance.instance_args.hardware_type_id == named[0]


async def test_ensure_prefers_the_state_to_the_type(client: Client) -> None:
    stopped = await client.instances.start(MODEL, hardware_type_id=FIRST)
    await stopped.stop()
    pending = await client.instances.start(MODEL, hardware_type_id=SECOND)
    assert (await client.instances.ensure(MODEL, hardware_type_id=BOTH)).instance_id == pending.instance_id


async def test_ensure_takes_none_on_hardware_that_was_not_named(client: Client) -> None:
    other = await client.instances.start(MODEL, hardware_type_id=FIRST)
    instance = await client.instances.ensure(MODEL, hardware_type_id=[SECOND, "NVIDIA_L4_2"])
    assert instance.instance_id != other.instance_id
