"""What a lease does from entry to release; cancellation, exit and signals have files of their own."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import TYPE_CHECKING

import anyio
import pytest

from inferlease import (
    ConfigurationError,
    InferleaseError,
    InstanceEvent,
    InstanceStoppedError,
    InvalidArgumentError,
    OutcomeUnknownError,
    StartRefusedError,
    WaitStalledError,
    WaitTimeoutError,
    lease,
)
from inferlease.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferlease import Client
    from tests.worlds import Api

pytestmark = pytest.mark.asyncio

MODEL = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.fixture
def slow_emulator() -> Iterator[Emulator]:
    """No instance of it is usable within a test's time."""
    with Emulator(seconds_per_step=1000) as emulator:
        yield emulator


async def test_the_body_gets_a_usable_instance(client: Client) -> None:
    async with client.lease(MODEL, num_workers=2) as instance:
        assert instance.is_usable
        assert instance.instance_args.num_workers == 2


async def test_at_the_end_the_instance_is_stopped_and_deleted(emulator: Emulator, client: Client) -> None:
    async with client.lease(MODEL):
        assert len(emulator.books().still_billed) == 1
    (entry,) = emulator.books().instances.values()
    assert (entry.status, entry.deleted) == ("stopped", True)


async def test_delete_false_keeps_the_stopped_instance(client: Client) -> None:
    async with client.lease(MODEL, delete=False) as instance:
        pass
    assert (await client.instances.get(instance.instance_id)).is_stopped


async def test_after_the_release_the_object_shows_the_stopped_instance(client: Client) -> None:
    async with client.lease(MODEL) as instance:
        pass
    assert instance.is_stopped


async def test_the_error_of_the_body_arrives_as_it_is(emulator: Emulator, client: Client) -> None:
    failure = LookupError("the work failed")
    with pytest.raises(LookupError) as caught:
        async with client.lease(MODEL):
            raise failure
    assert caught.value is failure
    assert emulator.books().still_billed == []


async def test_trouble_with_the_release_is_a_note_on_the_error_of_the_body(emulator: Emulator, client: Client) -> None:
    with emulator.hold("stop", "before"), pytest.raises(LookupError) as caught:
        async with client.lease(MODEL, release_timeout=0.3) as instance:
            raise LookupError("the work failed")
    (note,) = caught.value.__notes__
    assert f"inferlease stop {instance.instance_id}" in note


async def test_a_stop_that_was_not_observed_raises_with_the_id_and_the_stop_command(
    emulator: Emulator, client: Client
) -> None:
    with emulator.hold("stop", "before"), pytest.raises(OutcomeUnknownError) as caught:
        async with client.lease(MODEL, release_timeout=0.3) as instance:
            pass
    assert caught.value.instance_id == instance.instance_id
    assert f"inferlease stop {instance.instance_id}" in str(caught.value)


async def test_the_release_goes_on_while_the_server_takes_its_time_to_stop(either: Api) -> None:
    async with (
        Emulator(seconds_per_step=0.01, stop_delay=0.3) as emulator,
        either.connect(emulator, poll_interval=0.02) as client,
    ):
        async with client.lease(MODEL) as instance:
            pass
        assert instance.is_stopped
        assert emulator.books().still_billed == []


async def test_an_instance_that_was_stopped_by_somebody_else_is_released_quietly(
    emulator: Emulator, client: Client
) -> None:
    async with client.lease(MODEL) as instance:
        await client.instances.stop(instance.instance_id)
    assert emulator.books().still_billed == []


async def test_an_instance_that_was_deleted_by_somebody_else_is_released_quietly(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inferlease._lookup.GRACE", 0.0)
    async with client.lease(MODEL):
        await client.instances.delete_all(force=True)


async def test_a_failed_delete_is_a_warning(
    emulator: Emulator, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "inferlease")
    client._core.exchange.timeout = 0.3
    with emulator.hold("delete", "unanswered"):
        async with client.lease(MODEL) as instance:
            client._core.lookup.born(instance.instance_id)
    assert f"instance {instance.instance_id} is stopped but could not be deleted" in caplog.text


@pytest.mark.fault(53)
async def test_an_entry_that_times_out_is_released(slow_emulator: Emulator, either: Api) -> None:
    async with either.connect(slow_emulator, poll_interval=0.02) as client:
        with pytest.raises(WaitTimeoutError) as caught:
            async with client.lease(MODEL, timeout=1.0):
                pytest.fail("the body must not run")
        assert caught.value.last_state is not None
        assert slow_emulator.books().still_billed == []


async def test_a_log_handler_that_raises_keeps_no_late_entry_from_being_released(
    slow_emulator: Emulator, either: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(lease.log, "warning", fail)
    async with either.connect(slow_emulator, poll_interval=0.02) as client:
        with pytest.raises(WaitTimeoutError):
            await client.lease(MODEL, timeout=0.5).acquire()
        assert slow_emulator.books().still_billed == []


async def test_an_entry_that_stalls_is_released(slow_emulator: Emulator, either: Api) -> None:
    async with either.connect(slow_emulator, poll_interval=0.02) as client:
        with pytest.raises(WaitStalledError):
            async with client.lease(MODEL, stall_timeout=0.2):
                pytest.fail("the body must not run")
        assert slow_emulator.books().still_billed == []


async def test_an_entry_whose_callback_raises_is_released(emulator: Emulator, client: Client) -> None:
    def fail(event: InstanceEvent) -> None:
        raise LookupError(event.state)

    with pytest.raises(LookupError):
        async with client.lease(MODEL, on_progress=fail):
            pytest.fail("the body must not run")
    assert emulator.books().still_billed == []


@pytest.mark.fault(51)
async def test_an_entry_during_which_the_instance_stops_says_so(slow_emulator: Emulator, either: Api) -> None:
    async with either.connect(slow_emulator, poll_interval=0.02) as client:
        lease = client.lease(MODEL)
        entering = asyncio.create_task(lease.acquire())
        while lease.instance is None:  # noqa: ASYNC110 - the start is over when the lease shows its instance
            await asyncio.sleep(0.01)
        await client.instances.stop(lease.instance.instance_id)
        with pytest.raises(InstanceStoppedError):
            await entering


async def test_a_refused_start_leaves_nothing_to_release(emulator: Emulator, client: Client) -> None:
    with pytest.raises(StartRefusedError):
        async with client.lease("org/no-such-model"):
            pytest.fail("the body must not run")
    assert emulator.books().requests.get("stop", 0) == 0


async def test_the_traceback_of_a_refused_start_has_no_step_of_its_release(client: Client) -> None:
    with pytest.raises(StartRefusedError) as caught:
        await client.lease("org/no-such-model").acquire()
    places = [(entry.frame.f_globals["__name__"], entry.name) for entry in caught.traceback]
    assert places.count(("inferlease._job", "result")) == 1


async def test_nothing_is_sent_before_the_lease_is_entered(emulator: Emulator, client: Client) -> None:
    client.lease(MODEL)
    assert emulator.books().requests == {}


@pytest.mark.fault(63)
@pytest.mark.parametrize(
    "arguments",
    [
        {"num_workers": 0},
        {"timeout": 0},
        {"release_timeout": -1},
        {"stall_timeout": float("nan")},
        {"billing_interval": "per_day"},
    ],
)
async def test_bad_arguments_are_refused_before_anything_is_sent(client: Client, arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidArgumentError):
        client.lease(MODEL, **arguments)  # type: ignore[arg-type]


async def test_a_probe_without_a_key_is_refused_before_anything_is_started(emulator: Emulator, either: Api) -> None:
    async with either.connect(emulator, inference_key=None) as client:
        with pytest.raises(ConfigurationError, match="INFERLEASE_INFERENCE_KEY"):
            await client.lease(MODEL, probe=True).acquire()
    assert emulator.books().starts == 0


async def test_a_probed_instance_answers_inference(emulator: Emulator, client: Client) -> None:
    async with client.lease(MODEL, probe=True):
        assert emulator.books().requests["inference"] == 1
        assert emulator.books().api_tokens_at_inference == 0


async def test_acquire_and_release_work_without_with(emulator: Emulator, client: Client) -> None:
    lease = client.lease(MODEL)
    instance = await lease.acquire()
    assert lease.instance is instance
    assert instance.is_usable
    await lease.release()
    assert emulator.books().still_billed == []


async def test_a_second_release_does_nothing(emulator: Emulator, client: Client) -> None:
    lease = client.lease(MODEL)
    await lease.acquire()
    await asyncio.gather(lease.release(), lease.release())
    await lease.release()
    assert emulator.books().requests["stop"] == 1


async def test_a_release_of_what_was_never_acquired_does_nothing(emulator: Emulator, client: Client) -> None:
    await client.lease(MODEL).release()
    assert emulator.books().requests == {}


async def test_a_lease_is_acquired_once(client: Client) -> None:
    async with client.lease(MODEL) as _:
        pass
    lease = client.lease(MODEL)
    async with lease:
        with pytest.raises(InferleaseError, match="acquired before"):
            await lease.acquire()


async def test_a_second_entry_is_refused_and_leaves_the_first_as_it_is(client: Client) -> None:
    lease = client.lease(MODEL)
    instance = await lease.acquire()
    with pytest.raises(InferleaseError, match="acquired before"):
        async with lease:
            pytest.fail("the body must not run")
    assert not (await instance.refresh()).is_stopped
    await lease.release()


async def test_a_lease_that_is_dropped_is_a_resource_warning(client: Client) -> None:
    lease = client.lease(MODEL)
    await lease.acquire()
    with pytest.warns(ResourceWarning, match="never released"):  # noqa: PT031 - collected at once, or in the end
        del lease
        gc.collect()


async def test_closing_the_client_releases_what_is_still_held(emulator: Emulator, either: Api) -> None:
    client = either.connect(emulator, poll_interval=0.02)
    leases = [client.lease(MODEL) for _ in range(3)]
    await asyncio.gather(*(lease.acquire() for lease in leases))
    await client.close()
    assert emulator.books().starts == 3
    assert emulator.books().still_billed == []


async def test_a_lease_in_an_anyio_scope_that_expires_is_released(slow_emulator: Emulator) -> None:
    async with slow_emulator.client(poll_interval=0.02) as client:
        with anyio.move_on_after(0.2) as scope:
            async with client.lease(MODEL):
                pytest.fail("the body must not run")
        assert scope.cancelled_caught
        assert slow_emulator.books().still_billed == []


async def test_a_lease_in_an_asyncio_timeout_that_expires_is_released(emulator: Emulator, client: Client) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0), client.lease(MODEL):
            await asyncio.Event().wait()
    assert emulator.books().still_billed == []


@pytest.mark.async_only(reason="it is about coroutines")
async def test_a_coroutine_that_is_thrown_away_in_its_body_is_released(emulator: Emulator, client: Client) -> None:
    async def hold_on() -> None:
        async with client.lease(MODEL):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(hold_on())
    while not emulator.books().requests.get("get") or not any(  # noqa: ASYNC110 - the books tell of no change
        entry.usable_at for entry in emulator.books().instances.values()
    ):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    coroutine = task.get_coro()
    assert coroutine is not None
    coroutine.close()
    task.cancel()
    await asyncio.wait([task])
    await client.close()
    gc.collect()
    assert emulator.books().still_billed == []


async def test_the_life_of_a_lease_is_logged_with_the_price(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "inferlease")
    async with client.lease(MODEL) as instance:
        pass
    told = [record.getMessage() for record in caplog.records if record.name == "inferlease"]
    assert [line.split(" (")[0].split(" after")[0] for line in told] == [
        f"instance {instance.instance_id} started",
        f"instance {instance.instance_id} usable",
        f"instance {instance.instance_id} stopped",
    ]
    assert all("at most 1.20 EUR/h" in line for line in told)


async def test_a_lease_whose_start_stayed_open_says_what_may_be_billed(
    hurried: None, emulator: Emulator, either: Api
) -> None:
    emulator.inject(Fault("hang_after", "start"))
    async with either.connect(emulator, timeout=1.0, settle_time=0.1, exclusive=False) as client:
        with pytest.raises(WaitTimeoutError) as caught:
            await client.lease(MODEL, timeout=0.5).acquire()
    (billed,) = emulator.books().still_billed
    (note,) = caught.value.__notes__
    assert f"stop it with: inferlease stop {billed}" in note
