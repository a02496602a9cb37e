"""Waiting ends: when it should, within its seconds, and never silently."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define

from inferlease import (
    AuthenticationError,
    ConfigurationError,
    DecodeError,
    InstanceEvent,
    InstanceGoneError,
    InstanceStoppedError,
    PermissionDeniedError,
    ServerError,
    WaitStalledError,
    WaitTimeoutError,
)
from inferlease.objects import InstanceState
from tests.emulator.support import until
from tests.faults import MODEL, FaultyEmulator, edited, emulated, step

if TYPE_CHECKING:
    from inferlease import Client
    from inferlease.emulator import Operation
    from tests.worlds import Api

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hurried")]

at_once = emulated(seconds_per_step=0)
slow = emulated(seconds_per_step=3600)


@define
class ShiftedClock:
    """Stands for the module `time` where a wait reads it: a jump is a suspended machine."""

    ahead: float = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ShiftedClock:
    shifted = ShiftedClock()
    monkeypatch.setattr("inferlease._wait.time", shifted)
    monkeypatch.setattr("inferlease._watch.time", shifted)
    return shifted


# ---- until it is usable -----------------------------------------------------------------------------


async def test_the_wait_updates_the_instance_and_returns_it(client: Client) -> None:
    instance = await client.instances.start(MODEL)
    assert await instance.wait_until_running() is instance
    assert instance.is_usable
    assert instance.base_url is not None


async def test_one_that_is_usable_already_is_returned(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    await instance.wait_until_running()
    async with emulator.client() as other:
        again = await other.instances.get(instance.instance_id)
        assert (await again.wait_until_running()).is_usable


@pytest.mark.fault(45, 46)
@slow
@pytest.mark.parametrize(
    "workers",
    [
        [step(5), step(1)],
        [step(1), step(5)],
        [None, step(5)],
        [],
        [None],
        [{"current_step": None, "num_steps": None}],
    ],
    ids=["first", "second", "the only one that reports", "none listed", "none reports", "nothing known"],
)
async def test_usable_is_running_with_a_base_url_whatever_the_workers_say(
    client: Client, emulator: FaultyEmulator, workers: list[Any]
) -> None:
    instance = await client.instances.start(MODEL, num_workers=2)
    emulator.fault("get", edit=edited(workers=workers), times=3)
    emulator.fault("get", edit=edited(status="running", base_url="http://127.0.0.1/v1", workers=workers), times=None)
    await instance.wait_until_running()
    assert len(emulator.asked("get")) == 4
    assert len(instance.worker_statuses) == len(workers)


@pytest.mark.fault(41, 49)
@slow
@pytest.mark.parametrize(
    "unready",
    [
        {"status": "running", "base_url": None},
        {"status": "running", "base_url": ""},
        {"status": "pending", "base_url": "http://127.0.0.1/v1"},
        {"status": "initializing", "base_url": "http://127.0.0.1/v1"},
        {"status": "Stopped", "base_url": None},
        {"status": "failed", "base_url": None},
    ],
    ids=str,
)
async def test_nothing_else_is_usable_and_no_other_word_is_the_end(
    client: Client, emulator: FaultyEmulator, unready: dict[str, Any]
) -> None:
    instance = await client.instances.start(MODEL)
    emulator.fault("get", edit=edited(**unready, workers=[step(5)]), times=3)
    emulator.fault("get", edit=edited(status="running", base_url="http://127.0.0.1/v1"), times=None)
    await instance.wait_until_running()
    assert len(emulator.asked("get")) == 4


@pytest.mark.fault(52)
@slow
async def test_running_that_turns_pending_again_is_waited_for(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    for status, base_url in [("running", None), ("pending", None), ("running", "http://127.0.0.1/v1")]:
        emulator.fault("get", edit=edited(status=status, base_url=base_url))
    await instance.wait_until_running()
    assert len(emulator.asked("get")) == 3


@emulated(seconds_per_step=0.1)
async def test_it_can_be_resumed_by_id_from_another_client(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    with pytest.raises(WaitTimeoutError):
        await instance.wait_until_running(timeout=0.001)
    async with emulator.client(poll_interval=0.02) as other:
        resumed = await other.instances.get(instance.instance_id)
        await resumed.wait_until_running()
    assert resumed.is_usable


# ---- the bounds -------------------------------------------------------------------------------------


@slow
async def test_a_timeout_carries_the_last_state_and_where_it_stands(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL, num_workers=2)
    with pytest.raises(WaitTimeoutError, match=r"not usable after 0\.1 s \(last seen pending, 20%\)") as caught:
        await instance.wait_until_running(timeout=0.1)
    assert isinstance(caught.value, TimeoutError)
    assert type(caught.value) is WaitTimeoutError
    assert type(caught.value.last_state) is InstanceState
    assert caught.value.last_state == instance
    assert caught.value.instance_id == instance.instance_id
    assert emulator.books().still_billed == [instance.instance_id]


@slow
async def test_a_timeout_before_any_answer_has_no_last_state(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    with emulator.hold("get", "before"), pytest.raises(WaitTimeoutError, match="no state was seen") as caught:
        await instance.wait_until_running(timeout=0.05)
    assert caught.value.last_state is None
    assert caught.value.instance_id == instance.instance_id


@slow
async def test_without_a_step_the_wait_is_stalled(client: Client) -> None:
    instance = await client.instances.start(MODEL)
    with pytest.raises(WaitStalledError, match="made no step for") as caught:
        await instance.wait_until_running(stall_timeout=0.1)
    assert isinstance(caught.value, WaitTimeoutError)
    assert caught.value.last_state == instance


@emulated(seconds_per_step=0.06)
async def test_with_steps_it_is_not(client: Client, clock: ShiftedClock) -> None:
    """Each step comes 40 s after the one before it, by a clock that leaps."""
    instance = await client.instances.start(MODEL)
    steps: list[InstanceEvent] = []

    def leap(event: InstanceEvent) -> None:
        steps.append(event)
        clock.ahead += 40

    await instance.wait_until_running(timeout=3600, stall_timeout=60, on_progress=leap)
    assert len(steps) > 3


@slow
async def test_the_timeout_comes_before_a_later_stall(client: Client) -> None:
    instance = await client.instances.start(MODEL)
    with pytest.raises(WaitTimeoutError) as caught:
        await instance.wait_until_running(timeout=0.05, stall_timeout=60)
    assert type(caught.value) is WaitTimeoutError


@pytest.mark.fault(55)
@slow
async def test_after_a_suspend_it_looks_once_more_before_it_gives_up(
    client: Client, emulator: FaultyEmulator, clock: ShiftedClock
) -> None:
    instance = await client.instances.start(MODEL)

    def suspend(_: InstanceEvent) -> None:
        if clock.ahead == 0:
            clock.ahead = 10_000
            emulator.fault("get", edit=edited(status="running", base_url="http://127.0.0.1/v1"))

    await instance.wait_until_running(timeout=900, on_progress=suspend)
    assert len(emulator.asked("get")) == 2


@pytest.mark.fault(55)
@slow
async def test_after_a_suspend_it_looks_once_only(
    client: Client, emulator: FaultyEmulator, clock: ShiftedClock
) -> None:
    instance = await client.instances.start(MODEL)

    def suspend(_: InstanceEvent) -> None:
        clock.ahead = 10_000

    with pytest.raises(WaitTimeoutError):
        await instance.wait_until_running(timeout=900, on_progress=suspend)
    assert len(emulator.asked("get")) == 2


def let_the_wall_clock_jump(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + seconds)


@pytest.mark.fault(54)
@slow
async def test_a_wall_clock_that_jumps_ahead_does_not_end_a_wait(
    client: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = await client.instances.start(MODEL)
    emulator.fault("get", edit=edited(status="pending"), times=4)
    emulator.fault("get", edit=edited(status="running", base_url="http://127.0.0.1/v1"), times=None)
    await instance.wait_until_running(on_progress=lambda _: let_the_wall_clock_jump(monkeypatch, 1e9))
    assert instance.is_usable


@pytest.mark.fault(54)
@slow
async def test_a_wall_clock_that_jumps_back_does_not_prolong_a_wait(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = await client.instances.start(MODEL)
    with pytest.raises(WaitTimeoutError):
        await instance.wait_until_running(timeout=0.1, on_progress=lambda _: let_the_wall_clock_jump(monkeypatch, -1e9))


# ---- the ends ---------------------------------------------------------------------------------------


@pytest.mark.fault(51)
@slow
async def test_one_that_stops_ends_the_wait(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    waiting = asyncio.create_task(instance.wait_until_running())
    await until(lambda: emulator.asked("get"))
    await client.instances.stop(instance.instance_id)
    with pytest.raises(InstanceStoppedError) as caught:
        await waiting
    assert caught.value.last_state is not None
    assert caught.value.last_state.is_stopped
    assert caught.value.instance_id == instance.instance_id
    assert instance.is_stopped


@pytest.mark.may_block(reason="the callback does")
async def test_a_plain_callback_that_outlasts_the_deadline_does_not_spoil_a_usable_instance(
    client: Client, emulator: FaultyEmulator
) -> None:
    def linger(event: InstanceEvent) -> None:
        if event.instance.is_usable:
            time.sleep(0.7)  # beyond the deadline, wherever the wait was by then

    instance = await client.instances.start(MODEL)
    await until(lambda: next(iter(emulator.books().instances.values())).usable_at is not None)
    assert (await instance.wait_until_running(timeout=0.6, on_progress=linger)).is_usable


@pytest.mark.fault(51)
async def test_one_that_was_stopped_before_ends_the_wait(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    await client.instances.stop(instance.instance_id)
    with pytest.raises(InstanceStoppedError):
        await instance.wait_until_running()
    assert len(emulator.asked("get")) == 1


@slow
async def test_one_that_is_gone_ends_the_wait(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    async with emulator.client(poll_interval=0.02) as other:
        watched = await other.instances.get(instance.instance_id)

        async def delete(_: InstanceEvent) -> None:
            await other.instances.delete_all(force=True)

        with pytest.raises(InstanceGoneError) as caught:
            await watched.wait_until_running(on_progress=delete)
    assert caught.value.instance_id == instance.instance_id
    assert caught.value.last_state is not None
    assert caught.value.last_state.instance_status.status == "pending"


@pytest.mark.fault(26)
async def test_a_new_instance_may_be_unknown_for_a_while(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    emulator.fault("get", 404, times=3)
    assert (await instance.wait_until_running()).is_usable


@pytest.mark.fault(26)
async def test_after_its_grace_it_is_gone(
    client: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inferlease._lookup.GRACE", 0.0)
    instance = await client.instances.start(MODEL)
    emulator.fault("get", 404, times=None)
    with pytest.raises(InstanceGoneError):
        await instance.wait_until_running()
    assert len(emulator.asked("get")) == 1


@pytest.mark.fault(26)
async def test_the_grace_is_thirty_seconds() -> None:
    from inferlease import _lookup

    assert _lookup.GRACE == 30.0


@pytest.mark.fault(44)
@pytest.mark.parametrize("absences", [1, 2])
async def test_a_400_is_gone_only_if_two_lists_lack_it(client: Client, emulator: FaultyEmulator, absences: int) -> None:
    instance = await client.instances.start(MODEL)
    async with emulator.client(poll_interval=0.02) as other:
        stranger = await other.instances.get(instance.instance_id)
        emulator.fault("get", 400, body={"message": "odd"}, times=None)
        emulator.fault("list", body={"instances": []}, times=absences)
        with pytest.raises(InstanceGoneError if absences == 2 else WaitTimeoutError) as caught:
            await stranger.wait_until_running(timeout=0.5 if absences == 1 else 30)
    assert caught.value.instance_id == instance.instance_id


@pytest.mark.fault(44)
@slow
async def test_one_that_the_list_lacks_is_read(client: Client, emulator: FaultyEmulator) -> None:
    """With two instances to wait for a poll is a list, which may lag."""
    first, second = await client.instances.start(MODEL), await client.instances.start(MODEL)
    emulator.fault("list", body={"instances": []}, times=None)
    emulator.fault("get", edit=edited(status="running", base_url="http://127.0.0.1/v1"), times=None)
    await asyncio.gather(first.wait_until_running(), second.wait_until_running())
    assert first.is_usable
    assert second.is_usable


@pytest.mark.fault(42)
@slow
async def test_one_that_the_list_garbles_is_read(client: Client, emulator: FaultyEmulator) -> None:
    first, second = await client.instances.start(MODEL), await client.instances.start(MODEL)
    emulator.fault("list", edit=edited(status=None), times=None)
    emulator.fault("get", edit=edited(status="running", base_url="http://127.0.0.1/v1"), times=None)
    await asyncio.gather(first.wait_until_running(), second.wait_until_running())
    assert first.is_usable


# ---- trouble ----------------------------------------------------------------------------------------

TRANSIENT: dict[str, dict[str, Any]] = {
    "408": {"status": 408},
    "429": {"status": 429},
    "500": {"status": 500},
    "503": {"status": 503},
    "lost": {"lost": True},
    "HTML": {"body": b"<html>"},
    "empty": {"body": b""},
    "NaN": {"body": b'{"instance": NaN}'},
}
EACH_TRANSIENT = pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT.keys())


@EACH_TRANSIENT
async def test_a_transient_fault_is_tolerated(client: Client, emulator: FaultyEmulator, fault: dict[str, Any]) -> None:
    instance = await client.instances.start(MODEL)
    emulator.fault("get", **fault, times=3)
    assert (await instance.wait_until_running()).is_usable
    assert len(emulator.asked("get")) >= 4


@slow
async def test_trouble_that_lasts_is_the_cause_of_the_timeout(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    emulator.fault("get", 503, times=None)
    with pytest.raises(WaitTimeoutError, match=r"last trouble: .*503") as caught:
        await instance.wait_until_running(timeout=0.2)
    assert isinstance(caught.value.__cause__, ServerError)


@slow
async def test_trouble_that_has_passed_is_not(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    emulator.fault("get", 503)
    with pytest.raises(WaitTimeoutError) as caught:
        await instance.wait_until_running(timeout=0.2)
    assert caught.value.__cause__ is None
    assert "trouble" not in str(caught.value)


@pytest.mark.parametrize(
    ("operation", "fault", "error"),
    [
        ("get", {"status": 401}, AuthenticationError),
        ("get", {"status": 403}, PermissionDeniedError),
        ("get", {"edit": edited(status=None)}, DecodeError),
        ("get", {"edit": edited(instance_id="instance-other")}, DecodeError),
    ],
    ids=["401", "403", "null status", "another instance"],
)
async def test_what_does_not_pass_ends_the_wait_at_once(
    client: Client, emulator: FaultyEmulator, operation: Operation, fault: dict[str, Any], error: type[Exception]
) -> None:
    instance = await client.instances.start(MODEL)
    emulator.fault(operation, **fault, times=None)
    with pytest.raises(error):
        await instance.wait_until_running()
    assert len(emulator.asked(operation)) == (2 if error is AuthenticationError else 1)


@pytest.mark.fault(56)
async def test_a_token_that_expires_is_not_noticed(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    emulator.revoke_tokens()
    assert (await instance.wait_until_running()).is_usable
    assert emulator.books().tokens_issued == 2


async def test_one_waiter_that_gives_up_does_not_disturb_another(client: Client) -> None:
    instance = await client.instances.start(MODEL)
    other = await client.instances.get(instance.instance_id)
    patient = asyncio.create_task(instance.wait_until_running())
    with pytest.raises(WaitTimeoutError):
        await other.wait_until_running(timeout=0.001)
    assert (await patient).is_usable


async def test_a_cancelled_wait_stops_nothing(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    with emulator.hold("get", "unanswered") as hold:
        waiting = asyncio.create_task(instance.wait_until_running())
        await hold.arrived_async()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert emulator.books().still_billed == [instance.instance_id]
    assert (await instance.wait_until_running()).is_usable


# ---- on_progress ------------------------------------------------------------------------------------


@pytest.mark.fault(47)
@slow
async def test_progress_is_told_with_each_change_and_never_goes_back(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    for current in (2, 2, 4, 1, 3):
        emulator.fault("get", edit=edited(workers=[step(current, description=f"step {current}")]))
    emulator.fault("get", edit=edited(status="running", base_url="http://127.0.0.1/v1", workers=[step(3)]))
    events: list[InstanceEvent] = []
    raw: list[float | None] = []

    def note(event: InstanceEvent) -> None:
        events.append(event)
        raw.append(instance.progress)

    await instance.wait_until_running(on_progress=note)
    assert [event.progress for event in events] == [0.4, 0.8, 0.8, 0.8, 1.0]
    assert [event.description for event in events][:4] == ["step 2", "step 4", "step 1", "step 3"]
    assert raw == [0.4, 0.8, 0.2, 0.6, 1.0]
    assert [event.state for event in events] == ["pending"] * 4 + ["running"]
    assert events == sorted(events, key=lambda event: event.elapsed)


@pytest.mark.fault(45, 46, 48)
@slow
@pytest.mark.parametrize(
    ("workers", "progress"),
    [
        ([step(7, of=5)], 1.0),
        ([step(-1, of=5)], 0.0),
        ([step(3, of=0)], None),
        ([step(3, of=-5)], None),
        ([None, None], None),
        ([], None),
        ([step(1), step(3)], 0.4),
        ([step(1), None], 0.2),
        ([step(1, of=2), step(1, of=4)], 0.375),
    ],
    ids=str,
)
async def test_progress_is_the_mean_of_the_workers_that_report(
    client: Client, emulator: FaultyEmulator, workers: list[Any], progress: float | None
) -> None:
    instance = await client.instances.start(MODEL)
    emulator.fault("get", edit=edited(workers=workers))
    emulator.fault("get", edit=edited(status="running", base_url="http://127.0.0.1/v1", workers=workers))
    events: list[InstanceEvent] = []
    await instance.wait_until_running(on_progress=events.append)
    assert events[0].progress == (None if progress is None else pytest.approx(progress))
    assert events[-1].progress == 1.0


@pytest.mark.async_only(reason="the synchronous API takes plain functions")
async def test_a_callback_may_be_async(client: Client) -> None:
    instance = await client.instances.start(MODEL)
    events: list[InstanceEvent] = []

    async def note(event: InstanceEvent) -> None:
        await asyncio.sleep(0)
        events.append(event)

    await instance.wait_until_running(on_progress=note)
    assert events[-1].progress == 1.0


async def test_what_a_callback_raises_reaches_the_caller(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)

    def fail(_: InstanceEvent) -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        await instance.wait_until_running(on_progress=fail)
    assert emulator.books().still_billed == [instance.instance_id]


@slow
async def test_an_events_instance_is_a_snapshot(client: Client) -> None:
    instance = await client.instances.start(MODEL)
    events: list[InstanceEvent] = []
    with pytest.raises(WaitTimeoutError):
        await instance.wait_until_running(timeout=0.1, on_progress=events.append)
    await instance.stop()
    assert type(events[0].instance) is InstanceState
    assert not events[0].instance.is_stopped


# ---- probe ------------------------------------------------------------------------------------------


@pytest.mark.fault(50)
@at_once
async def test_a_probe_waits_until_inference_answers(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    emulator.fault("inference", 503)
    emulator.fault("inference", 404)
    emulator.fault("inference", lost=True)
    await instance.wait_until_running(probe=True)
    assert [asked.path.rpartition("/")[2] for asked in emulator.asked("inference")] == ["models"] * 4
    assert emulator.asked("inference")[0].authorization == "Bearer emulator"
    assert emulator.books().api_tokens_at_inference == 0


@at_once
async def test_without_a_probe_inference_is_not_asked(client: Client, emulator: FaultyEmulator) -> None:
    await (await client.instances.start(MODEL)).wait_until_running()
    assert "inference" not in emulator.order


@at_once
async def test_a_probe_that_hangs_does_not_outlast_the_wait(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    with emulator.hold("inference", "before") as hold:
        waiting = asyncio.create_task(instance.wait_until_running(timeout=0.1, probe=True))
        await hold.arrived_async()
        with pytest.raises(WaitTimeoutError):
            await waiting
        assert emulator.asked("inference") == emulator.asked("inference")[:1]


@at_once
@pytest.mark.parametrize("status", [401, 403])
async def test_a_probe_whose_key_is_refused_is_warned_of_once(
    client: Client, emulator: FaultyEmulator, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    caplog.set_level(logging.WARNING, "inferlease")
    instance = await client.instances.start(MODEL)
    emulator.fault("inference", status, times=2)
    await instance.wait_until_running(probe=True)
    (told,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert told == (
        f"a probe of its /models was answered {status}: "
        "is the key for inference (INFERLEASE_INFERENCE_KEY) the right one?"
    )


@slow
async def test_a_probe_without_a_key_fails_before_anything_is_polled(emulator: FaultyEmulator, either: Api) -> None:
    async with either.connect(emulator, inference_key=None) as client:
        instance = await client.instances.start(MODEL)
        with pytest.raises(ConfigurationError, match="INFERLEASE_INFERENCE_KEY"):
            await instance.wait_until_running(probe=True)
    assert "get" not in emulator.order


@pytest.mark.fault(50)
@slow
@pytest.mark.parametrize("base_url", ["http://192.0.2.1/v1", "ftp://127.0.0.1/v1", "//127.0.0.1/v1"])
async def test_the_key_does_not_travel_in_the_clear(client: Client, emulator: FaultyEmulator, base_url: str) -> None:
    instance = await client.instances.start(MODEL)
    emulator.fault("get", edit=edited(status="running", base_url=base_url))
    with pytest.raises(ConfigurationError, match="neither https nor loopback"):
        await instance.wait_until_running(probe=True)


@pytest.mark.fault(50)
@slow
async def test_a_foreign_base_url_is_usable_and_gets_nothing(client: Client, emulator: FaultyEmulator) -> None:
    """A connection to it would be refused by the test's own guard."""
    instance = await client.instances.start(MODEL)
    emulator.fault("get", edit=edited(status="running", base_url="http://192.0.2.1/v1"))
    assert (await instance.wait_until_running()).base_url == "http://192.0.2.1/v1"


# ---- until it has stopped ---------------------------------------------------------------------------


@emulated(seconds_per_step=0, stop_delay=0.1)
async def test_a_stop_is_waited_for(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    await instance.stop()
    assert not instance.is_stopped
    assert await instance.wait_until_stopped() is instance
    assert instance.is_stopped
    assert emulator.books().still_billed == []


async def test_one_that_is_gone_has_stopped(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    await instance.stop()
    await instance.delete()
    assert await instance.wait_until_stopped() is instance
    assert "list" not in emulator.order[emulator.order.index("delete") :]


@slow
async def test_one_that_does_not_stop_is_a_timeout(client: Client) -> None:
    instance = await client.instances.start(MODEL)
    with pytest.raises(WaitTimeoutError, match="is not stopped after") as caught:
        await instance.wait_until_stopped(timeout=0.05)
    assert caught.value.last_state == instance


@EACH_TRANSIENT
async def test_a_transient_fault_does_not_end_the_wait_for_a_stop(
    client: Client, emulator: FaultyEmulator, fault: dict[str, Any]
) -> None:
    instance = await client.instances.start(MODEL)
    await client.instances.stop(instance.instance_id)
    emulator.fault("get", **fault, times=2)
    assert (await instance.wait_until_stopped()).is_stopped


async def test_after_a_restart_it_can_be_waited_for_again(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    await instance.stop()
    await instance.wait_until_stopped()
    await instance.restart()
    assert (await instance.wait_until_running()).is_usable
    assert len(emulator.books().instances[instance.instance_id].runs) == 2


# ---- what it says -----------------------------------------------------------------------------------


async def test_usable_and_stopped_are_logged_with_id_seconds_and_price(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    instance = await client.instances.start(MODEL, num_workers=2)
    await until(lambda: client._core.prices._types is not None and not client._core.announcer._telling)
    with caplog.at_level(logging.INFO, "inferlease"):
        caplog.clear()
        await instance.wait_until_running()
        await instance.stop()
        await instance.wait_until_stopped()
    assert caplog.messages == [
        f"instance {instance.instance_id} usable after 0 s, at most 2.40 EUR/h",
        f"instance {instance.instance_id} stopped after 0 s, at most 2.40 EUR/h",
    ]


@pytest.mark.fault(59)
async def test_nothing_secret_is_logged(
    client: Client, emulator: FaultyEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        instance = await client.instances.start(MODEL)
        emulator.fault("get", 503)
        emulator.fault("get", 401)
        await instance.wait_until_running(probe=True)
    secrets = {asked.authorization.removeprefix("Bearer ") for asked in emulator.asked("get") if asked.authorization}
    assert len(secrets) == 2
    assert not [secret for secret in secrets if secret in caplog.text]
    assert "Bearer" not in caplog.text
