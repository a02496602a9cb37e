"""The books tell what ran, for how long, at which price, and who asked for what."""

from __future__ import annotations

import json

import pytest

from inferlease.emulator import Fault
from tests.emulator.support import MODEL, Api, SetClock, serving


@pytest.mark.asyncio
async def test_billing_runs_from_the_start_request_to_the_stop(clock: SetClock) -> None:
    async with serving(seconds_per_step=1.0) as api:
        instance_id = (await api.start(hardware_type_id="NVIDIA_L40S_1", num_workers=2))["instance_id"]
        clock.advance(1800.0)
        assert api.emulator.books().still_billed == [instance_id]
        await api.stop(instance_id)
        clock.advance(1800.0)
        books = api.emulator.books()
    assert books.still_billed == []
    assert books.billed_seconds == pytest.approx(1800.0)
    assert books.cost == pytest.approx(2 * 2.10 / 2)
    assert books.balance == pytest.approx(100.0 - books.cost)


@pytest.mark.asyncio
async def test_pending_time_is_free_where_the_emulator_is_told_so(clock: SetClock) -> None:
    async with serving(seconds_per_step=1.0, bill_pending=False) as api:
        never_usable = await api.start()
        clock.advance(3.0)
        await api.stop(never_usable["instance_id"])
        await api.start()
        clock.advance(12.0)
        assert api.emulator.books().billed_seconds == pytest.approx(12.0 - 5.0)


@pytest.mark.asyncio
async def test_an_entry_has_the_instants_of_every_life(clock: SetClock) -> None:
    async with serving(seconds_per_step=1.0) as api:
        instance_id = (await api.start())["instance_id"]
        clock.advance(10.0)
        await api.stop(instance_id)
        clock.advance(10.0)
        await api.call("POST", "/instances/restart", {"instance_id": instance_id})
        clock.advance(2.0)
        entry = api.emulator.books().instances[instance_id]
        assert entry.usable_at is None
        clock.advance(8.0)
        await api.call("POST", "/instances/stop-all")
        await api.call("DELETE", f"/instances/{instance_id}")
        entry = api.emulator.books().instances[instance_id]
    assert [(run.pending_at, run.running_at, run.stopped_at, run.billed_seconds) for run in entry.runs] == [
        (1000.0, 1005.0, 1010.0, 10.0),
        (1020.0, 1025.0, 1030.0, 10.0),
    ]
    assert (entry.started, entry.usable_at) == (1000.0, 1025.0)
    assert entry.stop_requests == (1010.0, 1030.0)
    assert entry.billed_seconds == 20.0
    assert (entry.model_id, entry.hardware_type_id, entry.context_length) == (MODEL, "NVIDIA_L40S_1", 16_384)
    assert (entry.billing_interval, entry.num_workers) == ("per_minute", 1)
    assert (entry.status, entry.deleted, entry.billed_until_stopped) == ("stopped", True, True)


@pytest.mark.asyncio
async def test_the_balance_falls_as_instances_run(clock: SetClock) -> None:
    async with serving(balance=10.0) as api:
        assert (await api.call("GET", "/user/balance")).body == {"current_balance": 10.0, "currency": "EUR"}
        await api.start(hardware_type_id="NVIDIA_H100_1")
        clock.advance(60.0)
        body = (await api.call("GET", "/user/balance", None)).body
        assert body["current_balance"] == pytest.approx(10.0 - 0.06)


@pytest.mark.asyncio
async def test_without_money_nothing_is_started(clock: SetClock) -> None:
    async with serving(balance=0.01) as api:
        instance_id = (await api.start())["instance_id"]
        clock.advance(60.0)
        await api.stop(instance_id)
        refused = await api.call("POST", "/instances/start", {"model_id": MODEL})
        assert (refused.status, set(refused.body)) == (402, {"message"})
        refused = await api.call("POST", "/instances/restart", {"instance_id": instance_id})
        assert refused.status == 402
        assert api.emulator.books().starts == 1


@pytest.mark.asyncio
async def test_requests_are_counted_by_operation_refused_ones_too(api: Api) -> None:
    instance = await api.start()
    await api.infer(instance, "/models")
    for method, path in (
        ("GET", "/user/balance"),
        ("GET", "/instances/"),
        ("GET", "/instances/some"),
        ("POST", "/instances/restart"),
        ("POST", "/instances/stop"),
        ("POST", "/instances/stop-all"),
        ("DELETE", "/instances/some"),
        ("DELETE", "/instances/delete-all"),
        ("GET", "/models/"),
        ("GET", "/models/some"),
        ("GET", "/hardware-types/"),
        ("GET", "/hardware-types/available"),
    ):
        await api.call(method, path)
    books = api.emulator.books()
    assert books.requests == dict.fromkeys(
        (
            "token",
            "start",
            "inference",
            "balance",
            "list",
            "get",
            "restart",
            "stop",
            "stop_all",
            "delete",
            "delete_all",
            "models",
            "model",
            "hardware_types",
            "available",
        ),
        1,
    )
    assert books.tokens_issued == 1


@pytest.mark.asyncio
async def test_an_entry_tells_who_started_it() -> None:
    async with serving() as api:
        api.session.headers["User-Agent"] = "somebody"
        instance_id = (await api.start())["instance_id"]
        assert api.emulator.books().instances[instance_id].started_by == "somebody"


@pytest.mark.asyncio
async def test_the_books_tell_who_asked_for_a_change_of_which_instance() -> None:
    async with serving(faults=[Fault("status_503", "stop", times=1)]) as api:
        for agent in ("one", "other"):
            api.session.headers["User-Agent"] = agent
            await api.call("POST", "/instances/stop", {"instance_id": "nothing"})
        await api.call("DELETE", "/instances/nothing")
        await api.call("GET", "/instances/nothing")
        await api.call("POST", "/instances/stop", {"instance_id": 7})
        books = api.emulator.books()
    assert books.asked_by == {"nothing": {"stop": {"one": 1, "other": 1}, "delete": {"other": 1}}}


@pytest.mark.asyncio
async def test_the_books_are_served_over_http_without_a_token(clock: SetClock) -> None:
    async with serving() as api:
        instance_id = (await api.start())["instance_id"]
        clock.advance(10.0)
        api.token = None
        answer = await api.call("GET", api.emulator.base_url.removesuffix("/api/v1") + "/emulator/books")
        books = api.emulator.books()
    assert answer.status == 200
    assert answer.body["still_billed"] == [instance_id]
    assert (answer.body["starts"], answer.body["billed_seconds"]) == (1, 10.0)
    assert (answer.body["cost"], answer.body["balance"]) == (books.cost, books.balance)
    assert answer.body["requests"] == books.requests
    assert answer.body["instances"][instance_id]["runs"] == [
        {"pending_at": 1000.0, "running_at": 1000.0, "stopped_at": None, "billed_seconds": 10.0}
    ]
    json.dumps(answer.body)


@pytest.mark.asyncio
async def test_the_books_of_a_stopped_emulator_stay_as_they_were(clock: SetClock) -> None:
    async with serving() as api:
        instance_id = (await api.start())["instance_id"]
        clock.advance(10.0)
    clock.advance(1000.0)
    books = api.emulator.books()
    assert (books.still_billed, books.billed_seconds) == ([instance_id], 10.0)
