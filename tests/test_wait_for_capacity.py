"""Waiting until there is hardware: nothing is sent before, and nothing is left when the wait ends otherwise."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest

from inferlease import (
    ConfigurationError,
    InferleaseError,
    InstanceEvent,
    InvalidArgumentError,
    NoCapacityError,
    PermissionDeniedError,
    ServerError,
    StartRefusedError,
    TransportError,
)
from inferlease._capacity_wait import CapacityWait
from inferlease._requests import start_choices
from inferlease.emulator.catalogue import HARDWARE_TYPES
from tests.emulator.support import until
from tests.faults import MODEL, FaultyEmulator, emulated
from tests.worlds import connected

if TYPE_CHECKING:
    from inferlease import Client
    from tests.worlds import Api

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hurried")]

FIRST, SECOND = "NVIDIA_L4_1", "NVIDIA_L40S_1"
LONG = 3600.0
AS_IF_AVAILABLE = {"hardware_types": [HARDWARE_TYPES[FIRST].wire()]}

away_for_a_while = emulated(outages={FIRST: (0.4, LONG)})
away = emulated(outages={FIRST: (LONG, 2 * LONG)})
EACH_VERB = pytest.mark.parametrize("verb", ["start", "lease"])


def posts(emulator: FaultyEmulator) -> int:
    return len(emulator.asked("start"))


def looks(emulator: FaultyEmulator) -> int:
    return len(emulator.asked("available"))


async def started(client: Client, verb: str, **arguments: Any) -> Any:
    """What is started by either of the calls that can wait; a lease is left at once."""
    if verb == "start":
        return await client.instances.start(MODEL, **arguments)
    async with client.lease(MODEL, **arguments) as instance:
        return instance


# ---- the wait -----------------------------------------------------------------------------------------


@away_for_a_while
@pytest.mark.parametrize("named", [FIRST, None], ids=["named", "recommended"])
@EACH_VERB
async def test_it_is_started_once_there_is_hardware(
    client: Client, emulator: FaultyEmulator, verb: str, named: str | None
) -> None:
    instance = await started(client, verb, hardware_type_id=named, wait_for_capacity=LONG)
    assert instance.instance_args.hardware_type_id == FIRST
    assert posts(emulator) == 1
    assert looks(emulator) > 1


async def test_where_there_is_hardware_it_looks_once(client: Client, emulator: FaultyEmulator) -> None:
    await client.instances.start(MODEL, wait_for_capacity=LONG)
    assert (looks(emulator), posts(emulator)) == (1, 1)


@emulated(outages={FIRST: (LONG, 2 * LONG), SECOND: (0.3, LONG)})
@EACH_VERB
async def test_of_several_only_what_is_available_is_sent(client: Client, emulator: FaultyEmulator, verb: str) -> None:
    await started(client, verb, hardware_type_id=[FIRST, SECOND], wait_for_capacity=LONG)
    assert [asked.json["hardware_type_id"] for asked in emulator.asked("start")] == [SECOND]


@emulated(outages={FIRST: (1.5, LONG)})
async def test_what_it_takes_does_not_count_for_the_timeout_of_a_lease(client: Client) -> None:
    async with client.lease(MODEL, wait_for_capacity=LONG, timeout=1.4) as instance:
        assert instance.is_usable


@away
@EACH_VERB
async def test_when_the_seconds_are_over_the_error_says_what_there_is(
    client: Client, emulator: FaultyEmulator, verb: str
) -> None:
    with pytest.raises(NoCapacityError, match=rf"{FIRST} was not available within 0\.1 s; .*{SECOND}") as caught:
        await started(client, verb, wait_for_capacity=0.1)
    assert caught.value.compatible == (SECOND,)
    assert posts(emulator) == 0


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), True, "60"])
async def test_what_are_no_seconds_is_refused_unsent(client: Client, emulator: FaultyEmulator, seconds: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="wait_for_capacity"):
        client.lease(MODEL, wait_for_capacity=seconds)
    with pytest.raises(InvalidArgumentError, match="wait_for_capacity"):
        await client.instances.start(MODEL, wait_for_capacity=seconds)
    assert emulator.order == []


# ---- what waiting would not mend ------------------------------------------------------------------------


@away
async def test_without_credentials_it_does_not_wait(either: Api, emulator: FaultyEmulator) -> None:
    async with either.make(base_url=emulator.base_url) as client:
        with pytest.raises(ConfigurationError):
            await client.instances.start(MODEL, wait_for_capacity=LONG)


@away
async def test_for_a_model_that_there_is_not_it_does_not_wait(client: Client) -> None:
    with pytest.raises(StartRefusedError, match="not found"):
        await client.instances.start("org/model", hardware_type_id=FIRST, wait_for_capacity=LONG)


@emulated(outages={"NVIDIA_H100_4": (LONG, 2 * LONG)})
async def test_for_hardware_that_the_model_does_not_run_on_it_does_not_wait(client: Client) -> None:
    with pytest.raises(StartRefusedError):
        await client.instances.start(MODEL, hardware_type_id="NVIDIA_H100_4", wait_for_capacity=LONG)


@away
async def test_an_error_that_does_not_pass_ends_it(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("available", 403, times=None)
    with pytest.raises(PermissionDeniedError):
        await client.instances.start(MODEL, wait_for_capacity=LONG)
    assert posts(emulator) == 0


# ---- faults ---------------------------------------------------------------------------------------------


@away_for_a_while
async def test_passing_faults_are_tolerated(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("model", 503)
    emulator.fault("available", 503, headers={"Retry-After": "0"})
    emulator.fault("available", lost=True)
    emulator.fault("available", body=b"<html>")
    await client.instances.start(MODEL, wait_for_capacity=LONG)
    assert posts(emulator) == 1
    assert looks(emulator) > 4


@emulated(capacity={FIRST: 0})
async def test_an_unreadable_item_counts_as_available(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("available", body={"hardware_types": [{"hardware_type_id": FIRST, "price_info": 5}]}, times=None)
    with pytest.raises(StartRefusedError):
        await client.instances.start(MODEL, wait_for_capacity=LONG)


async def test_if_it_can_never_be_read_the_error_is_that(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("available", 500, times=None)
    with pytest.raises(ServerError):
        await client.instances.start(MODEL, wait_for_capacity=0.1)
    assert posts(emulator) == 0


async def test_without_any_answer_it_ends_all_the_same(
    client: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inferlease._capacity_wait._LAST_LOOK", 0.05)
    with emulator.hold("available", "before"), pytest.raises(TransportError, match="in time"):
        await client.instances.start(MODEL, wait_for_capacity=0.1)
    assert posts(emulator) == 0


# ---- the race for it --------------------------------------------------------------------------------------


@away_for_a_while
@EACH_VERB
async def test_after_a_race_that_was_lost_it_goes_on(client: Client, emulator: FaultyEmulator, verb: str) -> None:
    emulator.fault("available", body=AS_IF_AVAILABLE)
    await started(client, verb, wait_for_capacity=LONG)
    assert (posts(emulator), emulator.books().starts) == (2, 1)


@away
@EACH_VERB
async def test_after_a_race_that_was_lost_nothing_is_sent_until_it_is_listed(
    client: Client, emulator: FaultyEmulator, verb: str
) -> None:
    emulator.fault("available", body=AS_IF_AVAILABLE)
    with pytest.raises(NoCapacityError, match=r"within 2 s") as caught:
        await started(client, verb, wait_for_capacity=2.0)
    assert caught.value.status == 400
    assert posts(emulator) == 1


@away
@EACH_VERB
async def test_a_race_that_was_lost_when_the_seconds_were_over_is_its_own_error(
    client: Client, emulator: FaultyEmulator, verb: str
) -> None:
    emulator.fault("available", body=AS_IF_AVAILABLE)
    with emulator.hold("start", "before") as hold:
        starting = asyncio.ensure_future(started(client, verb, wait_for_capacity=0.1))
        await hold.arrived_async()
        await asyncio.sleep(0.15)
    with pytest.raises(NoCapacityError, match="is not available now"):
        await starting


@connected(exclusive=True, settle_time=0.05)
@away
@EACH_VERB
async def test_after_a_lost_answer_it_does_not_go_on(client: Client, emulator: FaultyEmulator, verb: str) -> None:
    """What was lost may still make its instance: another start would be the second."""
    emulator.fault("available", body=AS_IF_AVAILABLE)
    emulator.fault("start", 502, handled=False)
    with pytest.raises(NoCapacityError, match="is not available now"):
        await started(client, verb, wait_for_capacity=LONG)
    assert posts(emulator) == 1


# ---- progress ---------------------------------------------------------------------------------------------


@away_for_a_while
async def test_a_lease_tells_that_it_waits_and_for_what(client: Client) -> None:
    events: list[InstanceEvent] = []
    async with client.lease(MODEL, wait_for_capacity=LONG, on_progress=events.append) as instance:
        pass
    first, *others = events
    assert (first.state, first.progress, first.instance.instance_id) == ("no capacity", None, "")
    assert first.description == f"{FIRST} is not available; available for this model: {SECOND}"
    assert f"no capacity  {FIRST} is not available" in str(first)
    assert {event.instance.instance_id for event in others} == {instance.instance_id}


@away_for_a_while
async def test_the_wait_is_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "inferlease"):
        await client.instances.start(MODEL, wait_for_capacity=60.0)
    assert f"of up to 60 s: {FIRST} is not available; available for this model: {SECOND}" in caplog.text
    assert f"{FIRST} is available after" in caplog.text
    assert len([line for line in caplog.messages if "waiting for capacity" in line]) == 1


@away
async def test_that_nothing_changes_is_told_from_time_to_time(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inferlease._capacity_wait._TELL_EVERY", 0.0)
    events: list[InstanceEvent] = []
    with pytest.raises(NoCapacityError):
        await client.lease(MODEL, wait_for_capacity=0.2, on_progress=events.append).acquire()
    assert len(events) > 1


@away
async def test_what_can_not_be_read_is_told(client: Client, emulator: FaultyEmulator) -> None:
    events: list[InstanceEvent] = []
    emulator.fault("available", 503)
    with pytest.raises(NoCapacityError):
        await client.lease(MODEL, wait_for_capacity=0.2, on_progress=events.append).acquire()
    assert "could not be read" in (events[0].description or "")


@away
@pytest.mark.async_only(reason="callbacks of synchronous code are plain functions")
async def test_an_async_callback_that_never_returns_does_not_hold_it_up(client: Client) -> None:
    async def never(_event: InstanceEvent) -> None:
        await asyncio.Event().wait()

    with pytest.raises(NoCapacityError):
        await client.lease(MODEL, wait_for_capacity=0.1, on_progress=never).acquire()


# ---- ended early ------------------------------------------------------------------------------------------


@away
async def test_what_a_callback_raises_ends_it(client: Client, emulator: FaultyEmulator) -> None:
    def fail(_event: InstanceEvent) -> None:
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        await client.lease(MODEL, wait_for_capacity=LONG, on_progress=fail).acquire()
    assert posts(emulator) == 0


@away
@pytest.mark.async_only(reason="a synchronous caller is interrupted, not cancelled")
@EACH_VERB
async def test_a_caller_that_is_cancelled_has_started_nothing(
    client: Client, emulator: FaultyEmulator, verb: str
) -> None:
    waiting = asyncio.create_task(started(client, verb, wait_for_capacity=LONG))
    await until(lambda: looks(emulator) > 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not client._core.held
    assert posts(emulator) == 0


@away
@connected(poll_interval=LONG)
async def test_a_release_ends_it_at_once(client: Client, emulator: FaultyEmulator) -> None:
    lease = client.lease(MODEL, wait_for_capacity=LONG)
    acquiring = asyncio.create_task(lease.acquire())
    await until(lambda: looks(emulator) == 1)
    await lease.release()
    with pytest.raises(InferleaseError, match="nothing was started"):
        await acquiring
    assert posts(emulator) == 0


@away
async def test_a_lease_that_waits_can_not_be_acquired_again(client: Client, emulator: FaultyEmulator) -> None:
    lease = client.lease(MODEL, wait_for_capacity=LONG)
    acquiring = asyncio.create_task(lease.acquire())
    await until(lambda: looks(emulator) > 0)
    with pytest.raises(InferleaseError, match="acquired before"):
        await lease.acquire()
    await lease.release()
    with pytest.raises(InferleaseError, match="given up"):
        await acquiring


@away
@EACH_VERB
async def test_a_client_that_is_closed_starts_nothing(client: Client, emulator: FaultyEmulator, verb: str) -> None:
    waiting = asyncio.create_task(started(client, verb, wait_for_capacity=LONG))
    await until(lambda: looks(emulator) > 1)
    await client.close()
    with pytest.raises(ConfigurationError, match="closed"):
        await waiting
    assert posts(emulator) == 0


# ---- pace -------------------------------------------------------------------------------------------------


class _Capacity:
    poll_interval = None


@pytest.mark.parametrize(
    ("quiet", "state", "least", "most"),
    [
        (0.0, {}, 0.45, 0.5),
        (15.0, {}, 4.5, 5.0),
        (1000.0, {}, 13.5, 15.0),
        (0.0, {"failures": 3}, 3.6, 4.0),
        (0.0, {"failures": 8}, 13.5, 15.0),
        (0.0, {"races": 2}, 1.8, 2.0),
        (0.0, {"races": 50}, 15.0, 15.0),
        (0.0, {"trouble": ServerError("", retry_after=40.0)}, 40.0, 40.0),
    ],
    ids=str,
)
async def test_it_looks_the_less_often_the_longer_nothing_changes(
    quiet: float, state: dict[str, Any], least: float, most: float
) -> None:
    wait = CapacityWait(_Capacity(), start_choices(MODEL), LONG)  # type: ignore[arg-type]
    wait._changed_at = time.monotonic() - quiet
    for name, value in state.items():
        setattr(wait, f"_{name}", value)
    assert least <= wait._delay() < most + 0.1
