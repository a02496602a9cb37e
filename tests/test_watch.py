"""`watch()` tells the current state, then each change, until the instance is stopped or gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from inferlease import AuthenticationError, InstanceEvent, PermissionDeniedError, ServerError
from inferlease.objects import InstanceState
from tests.emulator.support import until
from tests.faults import MODEL, FaultyEmulator, edited, emulated, step

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from inferlease import Client, Instance
    from tests.worlds import Api

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hurried")]

at_once = emulated(seconds_per_step=0)
slow = emulated(seconds_per_step=3600)
USABLE: dict[str, Any] = {"status": "running", "base_url": "http://127.0.0.1/v1"}


def script(emulator: FaultyEmulator, *changes: dict[str, Any]) -> None:
    """What the next reads of the instance say, the last of them for ever."""
    for change in changes[:-1]:
        emulator.fault("get", edit=edited(**change))
    emulator.fault("get", edit=edited(**changes[-1]), times=None)


async def all_events(instance: Instance) -> list[InstanceEvent]:
    return [event async for event in instance.watch()]


@slow
async def test_each_change_is_told_once_until_it_is_stopped(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    script(
        emulator,
        {"workers": [step(1)]},
        {"workers": [step(1)]},
        {"workers": [step(3, description="Starting")]},
        {"workers": [step(3, description="Starting")]},
        {**USABLE, "workers": [step(5, description="Running")]},
        {**USABLE, "workers": [step(5, description="Running")]},
        {"status": "stopping", "workers": [None]},
        {"status": "stopped", "workers": [None]},
    )
    events = await all_events(instance)
    assert [(event.state, event.progress, event.description) for event in events] == [
        ("pending", 0.2, "Loading"),
        ("pending", 0.6, "Starting"),
        ("running", 1.0, "Running"),
        ("stopping", 1.0, None),
        ("stopped", 1.0, None),
    ]
    assert {type(event.instance) for event in events} == {InstanceState}
    assert instance.is_stopped


@emulated(seconds_per_step=0.1)
async def test_a_watch_goes_on_past_usable(client: Client) -> None:
    instance = await client.instances.start(MODEL)
    states: list[str] = []
    async for event in instance.watch():
        states.append(event.state)
        if event.instance.is_usable:
            await client.instances.stop(instance.instance_id)
    assert states[0] == "pending"
    assert states[-2:] == ["running", "stopped"]


async def test_the_first_event_is_what_the_server_says_now(client: Client) -> None:
    instance = await client.instances.start(MODEL)
    await client.instances.stop(instance.instance_id)
    assert not instance.is_stopped
    assert [event.state for event in await all_events(instance)] == ["stopped"]
    assert instance.is_stopped


async def test_a_watch_ends_when_the_instance_is_gone(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    async with emulator.client(poll_interval=0.02) as other:
        states: list[str] = []
        async for event in (await other.instances.get(instance.instance_id)).watch():
            states.append(event.state)
            if event.instance.is_usable:
                await client.instances.delete_all(force=True)
    assert states[-2:] == ["running", "gone"]


@pytest.mark.fault(47)
@slow
async def test_progress_is_monotonic_in_events_and_raw_on_the_object(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    script(emulator, {"workers": [step(4)]}, {"workers": [step(2, description="Again")]}, {"status": "stopped"})
    told, raw = [], []
    async for event in instance.watch():
        told.append(event.progress)
        raw.append(instance.progress)
    assert told[:2] == [0.8, 0.8]
    assert raw[:2] == [0.8, 0.4]


@slow
async def test_a_change_of_the_base_url_is_a_change(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    script(emulator, USABLE, {**USABLE, "base_url": "http://127.0.0.1/v2"}, {"status": "stopped"})
    urls = [event.instance.base_url for event in await all_events(instance)]
    assert urls[:2] == ["http://127.0.0.1/v1", "http://127.0.0.1/v2"]


@pytest.mark.fault(52)
@slow
async def test_running_to_pending_and_back_is_told(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    script(emulator, USABLE, {"status": "pending"}, USABLE, {"status": "stopped"})
    assert [event.state for event in await all_events(instance)] == ["running", "pending", "running", "stopped"]


@pytest.mark.fault(41)
@slow
async def test_an_unknown_status_is_told_and_is_no_end(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    script(emulator, {"status": "terminated"}, {"status": "STOPPED"}, {"status": "stopped"})
    assert [event.state for event in await all_events(instance)] == ["terminated", "STOPPED", "stopped"]


# ---- trouble ----------------------------------------------------------------------------------------

FAULTS: dict[str, dict[str, Any]] = {
    "503": {"status": 503},
    "429": {"status": 429},
    "lost": {"lost": True},
    "HTML": {"body": b"<html>"},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_a_transient_fault_is_not_told(client: Client, emulator: FaultyEmulator, fault: dict[str, Any]) -> None:
    instance = await client.instances.start(MODEL)
    await client.instances.stop(instance.instance_id)
    emulator.fault("get", **fault, times=3)
    assert [event.state for event in await all_events(instance)] == ["stopped"]


@at_once
async def test_a_watch_that_is_blind_for_too_long_raises_the_last_error(
    client: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = await client.instances.start(MODEL)
    events: list[InstanceEvent] = []

    async def watch() -> None:
        async for event in instance.watch():
            events.append(event)
            emulator.fault("get", 502, times=3)
            emulator.fault("get", 503, body={"message": "the last one"}, times=None)

    watching = asyncio.create_task(watch())
    await until(lambda: len(emulator.asked("get")) > 5)
    assert not watching.done()
    monkeypatch.setattr("inferlease._wait.BLIND_SECONDS", 0.0)
    with pytest.raises(ServerError, match="the last one"):
        await watching
    assert [event.state for event in events] == ["running"]


async def test_blind_is_sixty_seconds() -> None:
    from inferlease import _wait

    assert _wait.BLIND_SECONDS == 60.0


@at_once
async def test_a_successful_poll_begins_the_blind_time_anew(
    client: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which a minute passes between two polls, only the second error in a row is too late."""
    instance = await client.instances.start(MODEL)
    now = 0.0

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now

    monkeypatch.setattr("inferlease._wait.time", Clock)
    monkeypatch.setattr("inferlease._wait.BLIND_SECONDS", 60.0)
    events: list[InstanceEvent] = []
    async for event in instance.watch():
        events.append(event)
        now += 30
        if len(events) < 4:
            emulator.fault("get", 503)
            emulator.fault("get", edit=edited(base_url=f"http://127.0.0.1/{len(events)}"))
        elif len(events) == 4:
            await client.instances.stop(instance.instance_id)
    assert [event.state for event in events] == ["running"] * 4 + ["stopped"]


@pytest.mark.parametrize(
    ("status", "error"), [(401, AuthenticationError), (403, PermissionDeniedError)], ids=["401", "403"]
)
async def test_what_does_not_pass_ends_the_watch_at_once(
    client: Client, emulator: FaultyEmulator, status: int, error: type[Exception]
) -> None:
    instance = await client.instances.start(MODEL)
    emulator.fault("get", status, times=None)
    with pytest.raises(error):
        await all_events(instance)


# ---- beside other things ----------------------------------------------------------------------------


@at_once
async def test_a_watch_that_is_left_ends_its_polls(client: Client) -> None:
    instance = await client.instances.start(MODEL)
    async for _ in instance.watch():
        break
    await until(lambda: not client._core.lookup.poller()._targets)


@at_once
async def test_a_stopped_instance_can_be_restarted_from_within_its_watch(emulator: FaultyEmulator, either: Api) -> None:
    """The wait must not be told of the stop that came before the restart."""
    async with either.connect(emulator, poll_interval=0.3) as client:
        instance = await client.instances.start(MODEL)
        await client.instances.stop(instance.instance_id)
        async for event in instance.watch():
            assert event.state == "stopped"
            await instance.restart()
            await instance.wait_until_running()
        assert instance.is_usable


@at_once
async def test_a_poll_under_way_during_a_restart_does_not_tell_of_before(
    client: Client, emulator: FaultyEmulator
) -> None:
    instance = await client.instances.start(MODEL)
    other = await client.instances.get(instance.instance_id)
    with emulator.hold("get", "unanswered") as hold:
        await client.instances.stop(instance.instance_id)
        watching: AsyncIterator[InstanceEvent] = other.watch()
        first = asyncio.ensure_future(anext(watching))
        await hold.arrived_async()
        await instance.restart()
        waiting = asyncio.create_task(instance.wait_until_running())
        await asyncio.sleep(0)
    assert (await waiting).is_usable
    assert (await first).state == "running"


async def test_several_watches_of_one_instance_all_see_the_end(client: Client) -> None:
    instance = await client.instances.start(MODEL)
    watches = [asyncio.create_task(all_events(await client.instances.get(instance.instance_id))) for _ in range(5)]
    await instance.wait_until_running()
    await instance.stop()
    assert [events[-1].state for events in await asyncio.gather(*watches)] == ["stopped"] * 5
