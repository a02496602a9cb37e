"""Lists lag, instances are late, stops are refused, hardware comes and goes: as the emulator is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from inferlease.emulator import Emulator, Fault
from tests.emulator.raw import START, exchanged
from tests.emulator.support import MODEL, Api, serving

if TYPE_CHECKING:
    from tests.emulator.support import SetClock

HARDWARE = "NVIDIA_L40S_1"
"""What `MODEL` runs on unless told otherwise."""


async def listed(api: Api) -> dict[str, str]:
    """The state of every instance in the list."""
    instances = (await api.call("GET", "/instances/")).body["instances"]
    return {instance["instance_id"]: instance["instance_status"]["status"] for instance in instances}


@pytest.mark.asyncio
async def test_a_list_that_lags_shows_what_was(clock: SetClock) -> None:
    async with serving(list_lag=5.0) as api:
        instance_id = (await api.start())["instance_id"]
        seen = [await listed(api)]
        for then in ("", "stop", "restart", "stop", "delete", ""):
            clock.advance(5.0)
            seen.append(await listed(api))
            if then == "delete":
                await api.call("DELETE", f"/instances/{instance_id}")
            elif then:
                await api.call("POST", f"/instances/{then}", {"instance_id": instance_id})
            seen.append(await listed(api))
    running, stopped = {instance_id: "running"}, {instance_id: "stopped"}
    assert seen[0] == {}
    assert seen[1::2] == [running, running, stopped, running, stopped, {}]
    assert seen[2::2] == [running, running, stopped, running, stopped, {}]


@pytest.mark.asyncio
async def test_a_single_instance_does_not_lag(clock: SetClock) -> None:
    async with serving(list_lag=5.0) as api:
        instance_id = (await api.start())["instance_id"]
        assert (await api.get(instance_id))["instance_status"]["status"] == "running"


@pytest.mark.asyncio
async def test_an_instance_whose_start_was_left_open_is_late(clock: SetClock) -> None:
    async with serving(late_creation=10.0, seconds_per_step=1.0, faults=[Fault("truncated_json", "start")]) as api:
        await exchanged(api, *START)
        clock.advance(9.0)
        assert (await listed(api), api.emulator.books().starts) == ({}, 0)
        await api.call("POST", "/instances/stop-all")
        clock.advance(1.0)
        ((instance_id, state),) = (await listed(api)).items()
        assert state == "pending"
        clock.advance(5.0)
        assert (await api.get(instance_id))["instance_status"]["status"] == "running"
        assert api.emulator.books().billed_seconds == 5.0


@pytest.mark.asyncio
async def test_it_can_not_be_found_before(clock: SetClock) -> None:
    async with serving(late_creation=10.0, faults=[Fault("bad_utf8", "start")]) as api:
        answer = await exchanged(api, *START)
        instance_id = answer.body.partition(b'"instance_id":"')[2].partition(b'"')[0].decode()
        assert (await api.call("GET", f"/instances/{instance_id}")).status == 404
        clock.advance(10.0)
        assert (await api.call("GET", f"/instances/{instance_id}")).status == 200


@pytest.mark.asyncio
@pytest.mark.parametrize("faults", [[], [Fault("unknown_status", "start")], [Fault("null_status", "start")]])
async def test_an_instance_whose_start_is_clear_is_there_at_once(clock: SetClock, faults: list[Fault]) -> None:
    async with serving(late_creation=10.0, faults=faults) as api:
        await api.start()
        assert len(await listed(api)) == 1


@pytest.mark.asyncio
async def test_an_instance_that_was_late_to_the_end_is_in_no_books(clock: SetClock) -> None:
    async with serving(late_creation=10.0, faults=[Fault("reset_after", "start")]) as api:
        await exchanged(api, *START)
    clock.advance(100.0)
    assert api.emulator.books().starts == 0


@pytest.mark.asyncio
async def test_several_delays_take_turns_among_the_starts_that_are_left_open(clock: SetClock) -> None:
    faults = [
        Fault("reset_after", "start", times=1),
        Fault("status_429", "start", times=1),
        Fault("eof_after", "start"),
    ]
    async with serving(late_creation=(10.0, 0.0), faults=faults) as api:
        for _ in range(4):
            await exchanged(api, *START)
        clock.advance(10.0)
        entries = api.emulator.books().instances.values()
    assert [(entry.late_by, entry.started) for entry in entries] == [(10.0, 1010.0), (0.0, 1000.0), (10.0, 1010.0)]


@pytest.mark.asyncio
async def test_the_first_stops_of_each_instance_are_refused() -> None:
    async with serving(refused_stops=2) as api:
        for _ in range(2):
            instance_id = (await api.start())["instance_id"]
            stops = [await api.call("POST", "/instances/stop", {"instance_id": instance_id}) for _ in range(4)]
            assert [stop.status for stop in stops] == [409, 409, 200, 200]
            entry = api.emulator.books().instances[instance_id]
            assert (entry.status, len(entry.stop_requests)) == ("stopped", 4)


@pytest.mark.asyncio
async def test_to_stop_all_is_not_refused() -> None:
    async with serving(refused_stops=2) as api:
        await api.start()
        await api.call("POST", "/instances/stop-all")
        assert api.emulator.books().still_billed == []


@pytest.mark.asyncio
async def test_hardware_is_out_for_a_part_of_every_period(clock: SetClock) -> None:
    async with serving(outages={HARDWARE: (2.0, 5.0)}) as api:
        seen = []
        for _ in range(11):
            types = (await api.call("GET", "/hardware-types/available")).body["hardware_types"]
            is_listed = HARDWARE in {hardware_type["hardware_type_id"] for hardware_type in types}
            started = await api.call("POST", "/instances/start", {"model_id": MODEL})
            assert started.status == (200 if is_listed else 400)
            seen.append(is_listed)
            clock.advance(1.0)
    assert seen == [False, False, True, True, True] * 2 + [False]


@pytest.mark.asyncio
async def test_an_outage_leaves_other_hardware_and_what_runs_alone(clock: SetClock) -> None:
    async with serving(outages={HARDWARE: (5.0, 10.0)}) as api:
        await api.start(hardware_type_id="NVIDIA_H100_1")
        clock.advance(5.0)
        instance = await api.start()
        clock.advance(5.0)
        assert (await api.get(instance["instance_id"]))["instance_status"]["status"] == "running"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"list_lag": -1.0}, "no duration or number negative"),
        ({"late_creation": -1.0}, "no duration or number negative"),
        ({"late_creation": (1.0, -1.0)}, "no duration or number negative"),
        ({"late_creation": ()}, "late_creation is a number of seconds, or several of them"),
        ({"refused_stops": -1}, "no duration or number negative"),
        ({"outages": {"A": (1.0, 2.0)}}, "outages names unknown hardware types: A"),
        ({"outages": {HARDWARE: (3.0, 2.0)}}, "an outage of 3.0 of every 2.0 seconds is impossible"),
        ({"outages": {HARDWARE: (0.0, 0.0)}}, "is impossible"),
        ({"outages": {HARDWARE: (-1.0, 2.0)}}, "is impossible"),
    ],
)
def test_an_impossible_behaviour_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Emulator(**options)
