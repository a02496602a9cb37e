"""`ensure` takes what is there before it starts anything, and never what somebody leases."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest

from inferlease import APIError, NotFoundError, ServerError, StartRefusedError
from tests.emulator.support import until
from tests.faults import MODEL, MODEL_ID, FaultyEmulator, edited, emulated
from tests.processes import environment
from tests.recovery.support import begun

if TYPE_CHECKING:
    from inferlease import Client, Instance
    from tests.worlds import Api

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hurried")]

at_once = emulated(seconds_per_step=0)
slow = emulated(seconds_per_step=3600)
like_the_sample = emulated(seconds_per_step=0, list_num_workers=False)


async def start(client: Client, **arguments: Any) -> str:
    return (await client.instances.start(MODEL, **arguments)).instance_id


async def stop(client: Client, instance_id: str) -> None:
    await client.instances.stop(instance_id)


def live(emulator: FaultyEmulator) -> list[str]:
    return emulator.books().still_billed


# ---- the order --------------------------------------------------------------------------------------


@at_once
async def test_one_that_runs_is_taken(client: Client, emulator: FaultyEmulator) -> None:
    running = await start(client)
    instance = await client.instances.ensure(MODEL)
    assert instance.instance_id == running
    assert instance.is_usable
    assert len(emulator.asked("start")) == 1


@slow
async def test_a_pending_one_is_taken(client: Client, emulator: FaultyEmulator) -> None:
    pending = await start(client)
    assert (await client.instances.ensure(MODEL)).instance_id == pending
    assert emulator.books().starts == 1


async def test_a_stopped_one_is_restarted(client: Client, emulator: FaultyEmulator) -> None:
    ended = await start(client)
    await stop(client, ended)
    instance = await client.instances.ensure(MODEL)
    assert (instance.instance_id, instance.instance_status.status) == (ended, "pending")
    assert (emulator.books().starts, live(emulator)) == (1, [ended])


async def test_where_there_is_none_one_is_started(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.ensure(MODEL)
    assert live(emulator) == [instance.instance_id]


@slow
async def test_pending_comes_before_stopped(client: Client) -> None:
    await stop(client, await start(client))
    pending = await start(client)
    assert (await client.instances.ensure(MODEL)).instance_id == pending


@at_once
async def test_running_comes_before_pending(client: Client, emulator: FaultyEmulator) -> None:
    pending, running = await start(client), await start(client)

    def first_is_pending(content: Any) -> Any:
        (instance,) = (item for item in content["instances"] if item["instance_id"] == pending)
        instance["instance_status"]["status"] = "pending"
        return content

    emulator.fault("list", edit=first_is_pending)
    assert (await client.instances.ensure(MODEL)).instance_id == running


async def test_one_in_an_unknown_state_is_not_taken(client: Client, emulator: FaultyEmulator) -> None:
    odd = await start(client)
    emulator.fault("list", edit=edited(status="hibernating"))
    assert (await client.instances.ensure(MODEL)).instance_id != odd


@pytest.mark.parametrize("name", [MODEL, MODEL_ID])
async def test_a_second_call_starts_nothing(client: Client, emulator: FaultyEmulator, name: str) -> None:
    first = await client.instances.ensure(MODEL, num_workers=2)
    second = await client.instances.ensure(name, num_workers=2)
    assert second.instance_id == first.instance_id
    assert emulator.books().starts == 1


async def test_another_client_finds_it_too(client: Client, emulator: FaultyEmulator) -> None:
    first = await client.instances.ensure(MODEL)
    async with emulator.client() as other:
        assert (await other.instances.ensure(MODEL)).instance_id == first.instance_id


# ---- what fits --------------------------------------------------------------------------------------

DEFAULTS: dict[str, Any] = {
    "hardware_type_id": "NVIDIA_L4_1",
    "context_length": 32_000,
    "billing_interval": "per_minute",
    "num_workers": 1,
}
OTHERS: dict[str, Any] = {
    "hardware_type_id": "NVIDIA_L40S_1",
    "context_length": 16_000,
    "billing_interval": "per_hour",
    "num_workers": 2,
}


@pytest.mark.parametrize("named", ["the one that is there", "what is asked for"])
@pytest.mark.parametrize("argument", DEFAULTS)
async def test_a_named_default_is_the_same_as_none(client: Client, argument: str, named: str) -> None:
    given = {argument: DEFAULTS[argument]}
    there, asked = (given, {}) if named == "the one that is there" else ({}, given)
    instance_id = await start(client, **there)
    assert (await client.instances.ensure(MODEL, **asked)).instance_id == instance_id


@pytest.mark.parametrize("argument", OTHERS)
async def test_one_with_another_argument_is_not_taken(client: Client, argument: str) -> None:
    other = await start(client, **{argument: OTHERS[argument]})
    assert (await client.instances.ensure(MODEL)).instance_id != other


@pytest.mark.parametrize("argument", OTHERS)
async def test_an_argument_that_is_asked_for_has_to_be_there(client: Client, argument: str) -> None:
    default = await start(client)
    instance = await client.instances.ensure(MODEL, **{argument: OTHERS[argument]})
    assert instance.instance_id != default
    assert getattr(instance.instance_args, argument) == OTHERS[argument]


async def test_one_of_another_model_is_not_taken(client: Client) -> None:
    other = await client.instances.start("neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8")
    assert (await client.instances.ensure(MODEL)).instance_id != other.instance_id


async def test_the_default_context_follows_the_hardware_that_is_asked_for(client: Client) -> None:
    model = "microsoft/phi-4"
    short = await client.instances.start(model, hardware_type_id="NVIDIA_L4_2")
    assert short.instance_args.context_length == 8_000
    found = await client.instances.ensure(model, hardware_type_id="NVIDIA_L4_2")
    assert found.instance_id == short.instance_id


async def test_only_what_was_given_is_sent(client: Client, emulator: FaultyEmulator) -> None:
    await client.instances.ensure(MODEL, num_workers=2)
    assert [asked.json for asked in emulator.asked("start")] == [{"model_id": MODEL_ID, "num_workers": 2}]


@like_the_sample
@pytest.mark.parametrize("argument", [{}, {"num_workers": 2}], ids=["default", "two"])
async def test_what_the_list_lacks_is_read(client: Client, argument: dict[str, Any]) -> None:
    first = await client.instances.ensure(MODEL, **argument)
    assert (await client.instances.ensure(MODEL, **argument)).instance_id == first.instance_id


@like_the_sample
@pytest.mark.parametrize(("there", "asked"), [(2, None), (1, 2), (2, 1)])
async def test_what_the_list_lacks_and_differs_does_not_fit(client: Client, there: int, asked: int | None) -> None:
    other = await start(client, num_workers=there)
    assert (await client.instances.ensure(MODEL, num_workers=asked)).instance_id != other


@pytest.mark.parametrize(("asked", "taken"), [(None, True), (1, False)])
async def test_what_stays_unknown_fits_only_if_nobody_asked(
    client: Client, emulator: FaultyEmulator, asked: int | None, taken: bool
) -> None:
    unclear = await start(client)
    for operation in ("list", "get"):
        emulator.fault(operation, edit=edited(without_args=("num_workers",)), times=None)
    instance = await client.instances.ensure(MODEL, num_workers=asked)
    assert (instance.instance_id == unclear) is taken


@like_the_sample
@pytest.mark.parametrize("fault", [{"status": 404}, {"edit": edited(status=None)}], ids=["gone", "unreadable"])
async def test_one_that_cannot_be_read_is_passed_over(
    client: Client, emulator: FaultyEmulator, fault: dict[str, Any]
) -> None:
    unclear = await start(client)
    emulator.fault("get", **fault, times=None)
    assert (await client.instances.ensure(MODEL)).instance_id != unclear


@at_once
async def test_an_item_that_the_list_garbles_is_read_before_another_is_started(
    client: Client, emulator: FaultyEmulator
) -> None:
    running = await start(client)
    emulator.fault("list", edit=edited(status=None))
    assert (await client.instances.ensure(MODEL)).instance_id == running
    assert emulator.books().starts == 1


async def test_an_item_that_stays_garbled_is_passed_over(client: Client, emulator: FaultyEmulator) -> None:
    await start(client)
    emulator.fault("list", edit=edited(status=None))
    emulator.fault("get", edit=edited(status=None))
    await client.instances.ensure(MODEL)
    assert emulator.books().starts == 2


# ---- leases -----------------------------------------------------------------------------------------


@pytest.mark.fault(81)
@at_once
async def test_a_leased_one_is_never_taken(client: Client, emulator: FaultyEmulator) -> None:
    async with client.lease(MODEL) as leased:
        assert (await client.instances.ensure(MODEL)).instance_id != leased.instance_id
    assert emulator.books().starts == 2


@pytest.mark.fault(81)
@slow
async def test_a_leased_one_that_is_still_pending_is_never_taken(client: Client, emulator: FaultyEmulator) -> None:
    lease = client.lease(MODEL)
    acquiring = asyncio.create_task(lease.acquire())
    await until(lambda: bool(lease.instance))
    assert lease.instance is not None
    assert (await client.instances.ensure(MODEL)).instance_id != lease.instance.instance_id
    acquiring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await acquiring


@pytest.mark.fault(81)
@at_once
async def test_one_that_another_client_leases_is_never_taken(
    client: Client, emulator: FaultyEmulator, either: Api
) -> None:
    async with either.connect(emulator, poll_interval=0.02) as other, other.lease(MODEL) as leased:
        assert (await client.instances.ensure(MODEL)).instance_id != leased.instance_id
    assert emulator.books().starts == 2


LEASING = f"""
from inferlease.sync import Client
with Client(poll_interval=0.02) as client, client.lease({MODEL!r}) as instance:
    print(instance.instance_id, flush=True)
    input()
"""


@pytest.mark.fault(81)
@at_once
async def test_one_that_another_process_leases_is_never_taken(client: Client, emulator: FaultyEmulator) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LEASING),
        env=environment(emulator),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    leased = (await process.stdout.readline()).decode().strip()
    taken = (await client.instances.ensure(MODEL)).instance_id
    await process.communicate(b"\n")
    assert taken != leased
    assert live(emulator) == [taken]


@pytest.mark.fault(81)
@slow
async def test_one_whose_lease_does_not_know_it_yet_is_never_taken(client: Client, emulator: FaultyEmulator) -> None:
    with emulator.hold("start", "unanswered") as hold:
        acquiring = asyncio.create_task(client.lease(MODEL).acquire())
        await hold.arrived_async()
        (leased,) = emulator.books().instances
        ensuring = asyncio.create_task(client.instances.ensure(MODEL))
        await until(lambda: len(emulator.asked("list")) == 2)
    assert (await ensuring).instance_id != leased
    acquiring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await acquiring


@at_once
async def test_one_that_is_left_to_an_unresolved_start_is_never_taken(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    there = await start(stranger)
    unresolved = begun(emulator, baseline=frozenset({there}), unclaimed=frozenset({there}))
    assert (await client.instances.ensure(MODEL)).instance_id != there
    unresolved.let_go()


async def test_after_its_lease_a_stopped_one_may_be_restarted(client: Client) -> None:
    async with client.lease(MODEL, delete=False) as leased:
        pass
    assert (await client.instances.ensure(MODEL)).instance_id == leased.instance_id


# ---- what goes wrong --------------------------------------------------------------------------------


async def test_an_unknown_model_is_not_found(client: Client, emulator: FaultyEmulator) -> None:
    with pytest.raises(NotFoundError):
        await client.instances.ensure("org/model")
    assert "start" not in emulator.order


@pytest.mark.parametrize("operation", ["model", "list"])
async def test_without_what_it_rests_on_nothing_is_started(
    client: Client, emulator: FaultyEmulator, operation: Any
) -> None:
    emulator.fault(operation, 500, times=None)
    with pytest.raises(ServerError):
        await client.instances.ensure(MODEL)
    assert "start" not in emulator.order


async def test_a_refused_start_is_told_as_by_start(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("start", 422, body={"message": "no"}, handled=False)
    with pytest.raises(StartRefusedError, match="no"):
        await client.instances.ensure(MODEL)


async def test_a_refused_restart_is_its_error_and_starts_nothing(client: Client, emulator: FaultyEmulator) -> None:
    await stop(client, await start(client))
    emulator.fault("restart", 402, handled=False)
    with pytest.raises(APIError):
        await client.instances.ensure(MODEL)
    assert emulator.books().starts == 1


# ---- cancelled --------------------------------------------------------------------------------------


async def cancelled_at(emulator: FaultyEmulator, operation: Any, call: asyncio.Task[Instance]) -> None:
    with emulator.hold(operation, "unanswered") as hold:
        await hold.arrived_async()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


@pytest.mark.fault(84)
async def test_a_cancelled_restart_stops_nothing(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    await instance.stop()
    await cancelled_at(emulator, "restart", asyncio.create_task(instance.restart()))
    await until(lambda: not client._core.jobs._open)
    assert live(emulator) == [instance.instance_id]


@pytest.mark.fault(84)
@pytest.mark.parametrize("operation", ["list", "restart"])
async def test_a_cancelled_ensure_stops_nothing_that_it_did_not_start(
    client: Client, emulator: FaultyEmulator, operation: Any
) -> None:
    ended = await start(client)
    if operation == "restart":
        await stop(client, ended)
    await cancelled_at(emulator, operation, asyncio.create_task(client.instances.ensure(MODEL)))
    await until(lambda: not client._core.jobs._open)
    assert live(emulator) == [ended]
