"""An instance comes up worker by worker, lives, stops, and lives again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.emulator.support import SetClock, serving


def steps(instance: dict[str, Any]) -> list[int | None]:
    """The current step of each worker."""
    progress = [worker["init_progress"] for worker in instance["worker_statuses"]]
    return [None if at is None else at["current_step"] for at in progress]


@pytest.mark.asyncio
async def test_workers_come_up_one_step_apart_and_the_first_makes_it_usable(clock: SetClock) -> None:
    async with serving(seconds_per_step=1.0) as api:
        instance = await api.start(num_workers=2)
        seen: list[tuple[str, list[int | None], bool]] = []
        for _ in range(8):
            seen.append((instance["instance_status"]["status"], steps(instance), instance["base_url"] is not None))
            clock.advance(1.0)
            instance = await api.get(instance["instance_id"])
        assert seen == [
            ("pending", [1, None], False),
            ("pending", [2, 1], False),
            ("pending", [3, 2], False),
            ("pending", [4, 3], False),
            ("pending", [5, 4], False),
            ("running", [5, 5], True),
            ("running", [5, 5], True),
            ("running", [5, 5], True),
        ]


@pytest.mark.asyncio
async def test_a_running_worker_reports_the_last_step(clock: SetClock) -> None:
    async with serving(seconds_per_step=1.0, steps=3) as api:
        instance = await api.start()
        clock.advance(2.5)
        starting = (await api.get(instance["instance_id"]))["worker_statuses"][0]["init_progress"]
        clock.advance(0.5)
        running = (await api.get(instance["instance_id"]))["worker_statuses"][0]["init_progress"]
        assert (starting["current_step"], starting["num_steps"]) == (3, 3)
        assert running == {"current_step": 3, "num_steps": 3, "description": "Running"}
        assert starting["description"] != "Running"


@pytest.mark.asyncio
async def test_the_base_url_is_that_of_the_instance() -> None:
    async with serving() as api:
        instance = await api.start()
        root = api.emulator.base_url.removesuffix("/api/v1")
        assert instance["base_url"] == f"{root}/inference/{instance['instance_id']}/v1"


@pytest.mark.asyncio
async def test_the_times_are_utc_with_milliseconds(clock: SetClock) -> None:
    before = datetime.now(UTC)
    async with serving(seconds_per_step=1.0) as api:
        pending = await api.start()
        assert pending["instance_status"] == {"status": "pending", "started_at": None, "stopped_at": None}
        clock.advance(60.0)
        running = (await api.get(pending["instance_id"]))["instance_status"]
        stopped = (await api.stop(pending["instance_id"]))["instance_status"]
    assert running["stopped_at"] is None
    assert stopped["started_at"] == running["started_at"]
    started_at, stopped_at = (
        datetime.strptime(stopped[key], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
        for key in ("started_at", "stopped_at")
    )
    assert len(stopped["started_at"]) == len("2024-11-29T09:05:47.788Z")
    assert abs(started_at - before - timedelta(seconds=5.0)) < timedelta(seconds=4.0)
    assert (stopped_at - started_at).total_seconds() == pytest.approx(55.0, abs=0.002)


@pytest.mark.asyncio
async def test_a_stopped_instance_has_no_url_and_no_progress() -> None:
    async with serving() as api:
        instance = await api.stop((await api.start(num_workers=2))["instance_id"])
        assert instance["base_url"] is None
        assert instance["worker_statuses"] == [{"init_progress": None}, {"init_progress": None}]


@pytest.mark.asyncio
async def test_an_instance_stopped_while_pending_never_started(clock: SetClock) -> None:
    async with serving(seconds_per_step=1.0) as api:
        instance = await api.stop((await api.start())["instance_id"])
        clock.advance(60.0)
        again = await api.get(instance["instance_id"])
        assert again["instance_status"]["status"] == "stopped"
        assert again["instance_status"]["started_at"] is None
        assert again["instance_status"]["stopped_at"] is not None


@pytest.mark.asyncio
async def test_a_stop_takes_effect_after_its_delay(clock: SetClock) -> None:
    async with serving(stop_delay=3.0) as api:
        instance = await api.start()
        assert (await api.stop(instance["instance_id"]))["instance_status"]["status"] == "running"
        clock.advance(2.9)
        stopping = await api.get(instance["instance_id"])
        assert (stopping["instance_status"]["status"], stopping["instance_status"]["stopped_at"]) == ("running", None)
        refused = await api.call("POST", "/instances/restart", {"instance_id": instance["instance_id"]})
        assert refused.status == 400
        clock.advance(0.1)
        assert (await api.get(instance["instance_id"]))["instance_status"]["status"] == "stopped"
        assert api.emulator.books().billed_seconds == pytest.approx(3.0)


@pytest.mark.asyncio
async def test_a_restart_begins_anew(clock: SetClock) -> None:
    async with serving(seconds_per_step=1.0) as api:
        instance_id = (await api.start())["instance_id"]
        clock.advance(10.0)
        await api.stop(instance_id)
        answer = await api.call("POST", "/instances/restart", {"instance_id": instance_id})
        assert answer.body["instance"]["instance_status"] == {
            "status": "pending",
            "started_at": None,
            "stopped_at": None,
        }
        assert steps(answer.body["instance"]) == [1]
        clock.advance(5.0)
        assert (await api.get(instance_id))["instance_status"]["status"] == "running"
