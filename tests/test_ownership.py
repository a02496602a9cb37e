"""Nothing is stopped that is not provably ours, and what is ours is not forgotten."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from inferlease import Client, DecodeError, InferleaseError, LedgerError, StartOutcomeUnknownError
from inferlease._pending import PendingStart
from tests.emulator.support import until
from tests.faults import MODEL, FaultyEmulator, emulated

if TYPE_CHECKING:
    from tests.worlds import Api

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hurried")]


async def settled(client: Client) -> None:
    """Wait until the client's own work has ended by itself."""
    while client._core.jobs._open:  # noqa: ASYNC110 - the jobs are another loop's
        await asyncio.sleep(0.005)


async def lease(client: Client) -> None:
    async with client.lease(MODEL):
        pass


@pytest_asyncio.fixture
async def foreign(stranger: Client) -> str:
    """The id of an instance that somebody else has started."""
    return (await stranger.instances.start(MODEL)).instance_id


def listed_twice(raw: dict[str, Any]) -> dict[str, Any]:
    (first,) = raw["instances"]
    return {"instances": [first, {**first, "base_url": "https://elsewhere.invalid/v1"}]}


async def test_a_baseline_that_contradicts_itself_makes_nothing_ours(
    client: Client, emulator: FaultyEmulator, foreign: str
) -> None:
    emulator.fault("list", edit=listed_twice)
    emulator.fault("get", edit=lambda raw: {"instance": {**raw["instance"], "instance_status": {"status": None}}})
    await lease(client)
    assert [asked.json["instance_id"] == foreign for asked in emulator.asked("stop")] == [False]


async def test_a_baseline_of_the_wrong_shape_makes_nothing_ours(
    client: Client, emulator: FaultyEmulator, foreign: str
) -> None:
    emulator.fault("list", edit=lambda raw: {"instances": raw["instances"][0]})
    with pytest.raises(DecodeError):
        await lease(client)
    await settled(client)
    assert emulator.asked("stop") == []
    assert emulator.books().still_billed == [foreign]


async def test_an_answer_that_names_an_instance_from_before_the_start_makes_it_not_ours(
    client: Client, emulator: FaultyEmulator, foreign: str
) -> None:
    emulator.fault("start", edit=lambda raw: {**raw, "instance": {**raw["instance"], "instance_id": foreign}})
    with pytest.raises(StartOutcomeUnknownError) as caught:
        await lease(client)
    await settled(client)
    assert emulator.asked("stop") == []
    assert [state.instance_id == foreign for state in caught.value.candidates] == [False]


async def test_an_answer_that_names_the_instance_of_another_lease_makes_it_not_ours(
    client: Client, emulator: FaultyEmulator
) -> None:
    async with client.lease(MODEL) as held:
        emulator.fault("list", body={"instances": []})
        emulator.fault(
            "start", edit=lambda raw: {**raw, "instance": {**raw["instance"], "instance_id": held.instance_id}}
        )
        async with client.lease(MODEL) as other:
            assert other.instance_id != held.instance_id
        assert (await held.refresh()).is_usable
    assert emulator.books().still_billed == []


@pytest.mark.parametrize("how", ["lease", "start"])
async def test_a_log_handler_that_raises_after_the_start_does_not_lose_the_instance(
    client: Client, emulator: FaultyEmulator, how: str
) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        if "usable" in record.getMessage() or "started" in record.getMessage():
            raise LookupError
        return True

    logger = logging.getLogger("inferlease")
    logger.addFilter(refuse)
    logger.setLevel(logging.INFO)
    try:
        if how == "lease":
            with pytest.raises(LookupError):
                await lease(client)
        else:
            await (await client.instances.start(MODEL)).stop()
        await settled(client)
    finally:
        logger.removeFilter(refuse)
        logger.setLevel(logging.NOTSET)
    assert emulator.books().starts == 1
    assert emulator.books().still_billed == []


async def test_a_lease_acquired_while_its_client_closes_is_refused(emulator: FaultyEmulator, either: Api) -> None:
    client = either.connect(emulator, poll_interval=0.02)
    first, second = client.lease(MODEL), client.lease(MODEL)
    await first.acquire()
    with emulator.hold("stop", "before") as hold:
        closing = asyncio.create_task(client.close())
        await hold.arrived_async()
        with pytest.raises(InferleaseError, match="the client is closed"):
            await second.acquire()
    await closing
    assert emulator.books().still_billed == []


class Pause:
    """Holds a start before or after it is handed over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, before: bool) -> None:
        self.reached = threading.Event()
        self.over = threading.Event()
        real = PendingStart._hand_over

        async def held(start: PendingStart) -> None:
            if not before:
                await real(start)
            self.reached.set()
            while not self.over.is_set():  # noqa: ASYNC110 - it is set in another thread
                await asyncio.sleep(0.005)
            if before:
                await real(start)

        monkeypatch.setattr(PendingStart, "_hand_over", held)


@pytest.mark.async_only(reason="it is about two tasks of one loop")
async def test_a_start_that_returns_after_its_client_was_closed_raises_and_is_stopped(
    client: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = Pause(monkeypatch, before=True)
    starting = asyncio.ensure_future(client.instances.start(MODEL))
    await until(pause.reached.is_set)
    await client.close()
    pause.over.set()
    with pytest.raises(InferleaseError, match=r"the client was closed before the start of .* returned"):
        await starting
    assert (emulator.books().starts, emulator.books().still_billed) == (1, [])


@pytest.mark.async_only(reason="it is about two tasks of one loop")
async def test_a_start_that_is_handed_over_is_not_stopped_by_the_close_of_its_client(
    client: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = Pause(monkeypatch, before=False)
    starting = asyncio.ensure_future(client.instances.start(MODEL))
    await until(pause.reached.is_set)
    await client.close()
    pause.over.set()
    assert emulator.books().still_billed == [(await starting).instance_id]


async def test_a_lease_that_is_released_while_it_is_entered_ends_with_a_typed_error(
    client: Client, emulator: FaultyEmulator
) -> None:
    for _ in range(20):
        entered = client.lease(MODEL)
        with emulator.hold("list", "before") as hold:
            entering = asyncio.create_task(entered.acquire())
            await hold.arrived_async()
            await entered.release()
        with pytest.raises(InferleaseError, match="given up before it was sent"):
            await entering
    assert emulator.books().starts == 0


@pytest.mark.async_only(reason="a synchronous caller is interrupted, not cancelled")
async def test_a_start_that_is_given_up_between_attempts_is_not_sent_again(
    client: Client, emulator: FaultyEmulator
) -> None:
    emulator.fault("start", 429, headers={"Retry-After": "1"}, handled=False)
    entering = asyncio.create_task(lease(client))
    while not emulator.asked("start"):  # noqa: ASYNC110 - the emulator is on another loop
        await asyncio.sleep(0.005)
    entering.cancel()
    await asyncio.wait([entering])
    await settled(client)
    assert emulator.books().starts == 0


async def test_a_release_goes_to_the_account_that_started_it(
    emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    async with Client(poll_interval=0.02) as client, client.lease(MODEL, release_timeout=5):
        monkeypatch.setenv("CORTECS_CLIENT_ID", "somebody else")
        monkeypatch.setenv("CORTECS_CLIENT_SECRET", "another secret")
        emulator.revoke_tokens()
    assert emulator.books().still_billed == []


@pytest.mark.async_only(reason="the synchronous API takes plain functions")
@emulated(seconds_per_step=1000)
async def test_an_async_callback_that_never_returns_does_not_hold_up_the_deadline(
    client: Client, emulator: FaultyEmulator
) -> None:
    async def hang(_: object) -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError, match="not usable after"):
        await client.lease(MODEL, timeout=1.0, on_progress=hang).acquire()
    assert emulator.books().still_billed == []


async def test_the_timeout_of_a_lease_covers_its_start(client: Client, emulator: FaultyEmulator) -> None:
    with emulator.hold("start", "unanswered") as hold:
        entering = asyncio.create_task(client.lease(MODEL, timeout=1.0).acquire())
        await hold.arrived_async()
        while not next(iter(client._core.held))._order.is_given_up:  # noqa: ASYNC110 - nothing tells of the giving up
            await asyncio.sleep(0.005)
    with pytest.raises(TimeoutError, match="was not answered within"):
        await entering
    assert emulator.books().still_billed == []


@pytest.mark.async_only(reason="nobody else cancels tasks on the loop of the library")
@emulated(seconds_per_step=0.2)
async def test_a_wait_outlives_the_cancellation_of_what_polls_for_it(client: Client) -> None:
    instance = await client.instances.start(MODEL)
    waiting = asyncio.create_task(instance.wait_until_running(timeout=20))
    while client._core.lookup.poller()._task is None:  # noqa: ASYNC110 - nothing tells of the polling's begin
        await asyncio.sleep(0.005)
    polling = client._core.lookup.poller()._task
    assert polling is not None
    polling.cancel()
    assert (await waiting).is_usable


@pytest.mark.parametrize("operation", ["get", "delete"])
async def test_a_release_ends_with_its_timeout_whatever_hangs(
    client: Client, emulator: FaultyEmulator, operation: Any
) -> None:
    """With the client's own timeout of 30 s a request that is not bounded would fail the test's."""
    entered = client.lease(MODEL, release_timeout=1.0)
    await entered.acquire()
    if operation == "get":
        emulator.fault("stop", 409, handled=False, times=None)
    with emulator.hold(operation, "before"):
        leaving = asyncio.create_task(entered.release())
        await asyncio.wait([leaving], timeout=15)
        assert leaving.done()
        assert (leaving.exception() is None) is (operation == "delete")


async def test_a_stop_that_is_done_but_always_answered_badly_is_seen_at_the_first_look(
    client: Client, emulator: FaultyEmulator
) -> None:
    emulator.fault("stop", 502, times=None)
    await lease(client)
    assert len(emulator.asked("stop")) == 1


async def test_one_stalled_connection_does_not_use_up_the_release(
    client: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inferlease._release._PAUSE", 60.0)  # the stop is repeated, not begun anew
    entered = client.lease(MODEL, release_timeout=9.0)
    await entered.acquire()
    with emulator.hold("stop", "before"):
        await entered.release()
    assert len(emulator.asked("stop")) == 2


# ---- a lease ends with the first stop of its instance --------------------------------------------------


@pytest.mark.fault(79)
async def test_an_instance_that_was_seen_stopped_and_runs_again_is_left_alone(
    client: Client, emulator: FaultyEmulator, stranger: Client
) -> None:
    async with client.lease(MODEL) as held:
        await stranger.instances.stop(held.instance_id)
        await held.refresh()
        await stranger.instances.restart(held.instance_id)
    assert emulator.books().still_billed == [held.instance_id]


async def test_an_instance_that_was_stopped_in_its_lease_is_deleted_at_the_end(
    client: Client, emulator: FaultyEmulator
) -> None:
    async with client.lease(MODEL) as held:
        await held.stop()
    assert emulator.books().instances[held.instance_id].deleted


# ---- a lease that leaves its instance ------------------------------------------------------------------


async def test_a_lease_that_keeps_leaves_its_instance_running_and_says_how_to_stop_it(
    client: Client, emulator: FaultyEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    async with client.lease(MODEL, keep=True) as held:
        pass
    await client.close()
    assert emulator.books().still_billed == [held.instance_id]
    assert f"instance {held.instance_id} is kept (at most 1.20 EUR/h; stop it with: inferlease stop" in caplog.text


async def test_a_lease_that_keeps_and_is_still_held_is_not_stopped_by_the_close_of_its_client(
    client: Client, emulator: FaultyEmulator
) -> None:
    held = await client.lease(MODEL, keep=True).acquire()
    await client.close()
    assert emulator.books().still_billed == [held.instance_id]


@emulated(seconds_per_step=1000)
async def test_a_lease_that_keeps_and_fails_to_enter_is_stopped(client: Client, emulator: FaultyEmulator) -> None:
    with pytest.raises(TimeoutError):
        await client.lease(MODEL, keep=True, timeout=0.5).acquire()
    assert emulator.books().starts == 1
    assert emulator.books().still_billed == []


# ---- one start of a spec at a time ---------------------------------------------------------------------


async def test_a_start_that_waits_too_long_for_another_of_its_spec_is_not_sent(
    client: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inferlease._start._LOCK_PATIENCE", 0.2)
    with emulator.hold("start", "before") as hold:
        first = asyncio.create_task(client.instances.start(MODEL))
        await hold.arrived_async()
        with pytest.raises(LedgerError, match="another start of the same spec"):
            await client.instances.start(MODEL)
    await first
    assert len(emulator.asked("start")) == 1
