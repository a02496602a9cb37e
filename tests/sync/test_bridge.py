"""Calls from any thread into the keeper's loop: results, errors, callbacks and iterations."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import traceback
import warnings
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from inferlease import (
    ConfigurationError,
    InstanceEvent,
    InvalidArgumentError,
    NotFoundError,
    _keeper,
)
from inferlease.sync import _bridge
from tests.faults import MODEL, emulated
from tests.processes import run_script
from tests.sync.support import at_rest, tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from inferlease.sync import Client
    from tests.faults import FaultyEmulator

slow = emulated(seconds_per_step=3600)


# ---- results and errors -----------------------------------------------------------------------------


def test_the_result_of_the_work_is_returned() -> None:
    async def double(value: int, *, by: int) -> int:
        await asyncio.sleep(0)
        return value * by

    assert _bridge.run(double, 21, by=2) == 42


def test_what_the_work_raises_is_raised_as_it_is() -> None:
    failure = LookupError("no")

    async def fail() -> None:
        raise failure

    with pytest.raises(LookupError) as caught:
        _bridge.run(fail)
    assert caught.value is failure


def test_a_traceback_shows_the_callers_line_the_facade_and_the_work_with_two_frames_between(
    sync_client: Client,
) -> None:
    with pytest.raises(NotFoundError) as caught:
        sync_client.instances.get("instance-unknown")
    files = [frame.filename.rpartition("inferlease/")[2] for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert files[1:4] == ["sync/instances.py", "sync/_bridge.py", "sync/_bridge.py"]
    assert files[4] == "instances.py"
    assert not any(name.startswith("/") for name in files[1:])


def test_an_error_does_not_keep_the_frames_of_its_call_alive() -> None:
    class Heavy: ...

    async def fail(_: Heavy) -> None:
        raise LookupError

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(LookupError):
            _bridge.run(fail, Heavy())
        _bridge.run(asyncio.sleep, 0)  # by then the loop has let go of the call before
        assert [found for found in gc.get_objects() if type(found) is Heavy] == []
    finally:
        gc.enable()


def test_a_context_that_outlives_its_call_keeps_nothing_of_it_alive() -> None:
    class Heavy: ...

    kept: list[contextvars.Context] = []

    async def work(heavy: Heavy) -> Heavy:
        kept.append(contextvars.copy_context())  # as jobs and timers do
        _keeper.call_unless_delivered(lambda: heavy)
        return heavy

    assert type(_bridge.run(work, Heavy())) is Heavy
    _bridge.run(asyncio.sleep, 0)  # by then the loop has let go of the call before
    gc.collect()
    assert [found for found in gc.get_objects() if type(found) is Heavy] == []


def test_a_lease_is_let_go_of_with_its_last_user(sync_client: Client) -> None:
    class Callback:
        def __call__(self, _: InstanceEvent) -> None: ...

    gc.collect()
    gc.disable()
    try:
        lease = sync_client.lease(MODEL, on_progress=Callback())
        with lease:
            pass
        left = [weakref.ref(lease._inner), weakref.ref(lease._inner._options.on_progress)]
        del lease
        _bridge.run(asyncio.sleep, 0)
        assert [found() for found in left] == [None, None]
    finally:
        gc.enable()


def test_the_work_sees_the_context_of_its_caller() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    async def read() -> str:
        return variable.get()

    variable.set("set by the caller")
    assert _bridge.run(read) == "set by the caller"


@pytest.mark.fault(66)
@pytest.mark.asyncio
@pytest.mark.may_block(reason="a notebook's cell blocks its own loop, and the call works all the same")
async def test_a_call_works_where_a_loop_is_running(emulator: FaultyEmulator) -> None:
    with emulator.sync_client(poll_interval=0.02) as client, client.lease(MODEL) as instance:
        assert instance.is_usable
    assert emulator.books().still_billed == []


@pytest.mark.fault(67)
def test_a_call_from_the_librarys_own_thread_raises(emulator: FaultyEmulator) -> None:
    """In a process of its own: a call that waited for itself there would hang all that follow."""
    script = """
from inferlease import ConfigurationError
from inferlease.sync import Client, _bridge

client = Client()

async def call():
    client.account.balance()

try:
    _bridge.run(call)
except ConfigurationError as error:
    print(error)
"""
    assert "from the library's own thread" in run_script(emulator, script, seconds=15).stdout


@pytest.mark.fault(70)
@pytest.mark.storm
def test_many_threads_share_one_loop_and_one_token(
    emulator: FaultyEmulator, sync_client: Client, is_full: bool
) -> None:
    count, calls = 100, 100 if is_full else 2
    instance_id = sync_client.instances.start(MODEL).instance_id
    failures: list[BaseException] = []

    def call() -> None:
        try:
            for _ in range(calls):
                assert sync_client.instances.get(instance_id).instance_id == instance_id
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert emulator.books().tokens_issued == 1
    assert len(emulator.asked("get")) == count * calls
    assert [thread.name for thread in threading.enumerate()].count("inferlease-keeper") == 1


@pytest.mark.fault(70)
def test_threads_that_make_the_first_call_together_share_one_loop_and_one_token(emulator: FaultyEmulator) -> None:
    script = """
import threading
from inferlease.sync import Client

client, together = Client(), threading.Barrier(100)

def call():
    together.wait()
    client.account.balance()

threads = [threading.Thread(target=call) for _ in range(100)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print([thread.name for thread in threading.enumerate()].count("inferlease-keeper"))
client.close()
"""
    ended = run_script(emulator, script)
    assert ended.stdout == "1\n", ended.stderr
    assert emulator.books().tokens_issued == 1
    assert emulator.books().requests["balance"] == 100


def test_where_no_thread_can_begin_a_call_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(_keeper, "_current", None)
    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(ConfigurationError, match="cannot begin: can't create new thread"):
        _bridge.run(asyncio.sleep, 0)


# ---- callbacks --------------------------------------------------------------------------------------


def test_a_callback_runs_in_the_thread_of_its_caller(sync_client: Client) -> None:
    threads: set[threading.Thread] = set()
    sync_client.instances.start(MODEL).wait_until_running(on_progress=lambda _: threads.add(threading.current_thread()))
    with sync_client.lease(MODEL, on_progress=lambda _: threads.add(threading.current_thread())):
        pass
    assert threads == {threading.current_thread()}


def test_a_callback_may_call_the_api(sync_client: Client) -> None:
    seen: list[int] = []
    with sync_client.lease(MODEL, on_progress=lambda _: seen.append(len(sync_client.instances.list()))):
        pass
    assert set(seen) == {1}


def in_a_lambda(callback: Callable[[InstanceEvent], object]) -> Callable[[InstanceEvent], object]:
    return lambda event: callback(event)  # noqa: PLW0108 - not an async function by its looks


@pytest.mark.parametrize("wrapped", [lambda callback: callback, in_a_lambda])
def test_what_only_turns_out_to_be_async_when_it_is_called_is_refused_then(
    emulator: FaultyEmulator, sync_client: Client, wrapped: Callable[..., Any]
) -> None:
    class Callback:
        async def __call__(self, _: InstanceEvent) -> None: ...

    with pytest.raises(InvalidArgumentError, match="plain ones only"):
        sync_client.lease(MODEL, on_progress=wrapped(Callback())).acquire()
    assert emulator.books().still_billed == []


def test_an_async_callback_is_refused(emulator: FaultyEmulator, sync_client: Client) -> None:
    async def on_progress(_: InstanceEvent) -> None: ...

    with pytest.raises(InvalidArgumentError, match="plain ones only"):
        sync_client.lease(MODEL, on_progress=on_progress)
    assert emulator.books().requests == {}


# ---- iterations -------------------------------------------------------------------------------------


@slow
def test_an_iteration_that_is_left_early_leaves_no_task_behind(sync_client: Client) -> None:
    instance = sync_client.instances.start(MODEL)
    before = tasks()
    for event in instance.watch():
        assert event.state == "pending"
        break
    gc.collect()
    assert tasks() - before == set()


@slow
def test_an_iteration_that_an_error_leaves_leaves_no_task_behind(sync_client: Client) -> None:
    instance = sync_client.instances.start(MODEL)
    before = tasks()
    watching = instance.watch()
    next(watching)
    with pytest.raises(LookupError):
        watching.throw(LookupError)  # type: ignore[attr-defined]
    gc.collect()
    assert tasks() - before == set()


def test_an_iteration_that_is_collected_on_the_librarys_thread_ends_there() -> None:
    ended = threading.Event()

    async def count() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.set()

    held = [_bridge.iterate(count)]
    assert next(held[0]) == 1

    async def let_go() -> None:
        held.clear()

    _bridge.run(let_go)
    assert ended.wait(10)


@slow
@pytest.mark.may_block(reason="the library's loop waits for a lock of the user's")
def test_an_iteration_may_be_collected_by_whoever_holds_a_lock_that_the_librarys_thread_waits_for(
    sync_client: Client,
) -> None:
    held = [sync_client.instances.start(MODEL).watch()]
    next(held[0])
    lock, waiting = threading.Lock(), threading.Event()

    def log() -> None:
        waiting.set()
        with lock:
            pass

    with lock:
        _keeper.loop().call_soon_threadsafe(log)
        waiting.wait()
        held.clear()


def test_a_lease_in_a_generator_that_is_collected_on_the_librarys_thread_is_released(
    emulator: FaultyEmulator, sync_client: Client
) -> None:
    def lease() -> Iterator[None]:
        with sync_client.lease(MODEL):
            yield

    held = [lease()]
    next(held[0])

    async def let_go() -> None:
        held.clear()

    _bridge.run(let_go)
    at_rest(sync_client)
    assert emulator.books().starts == 1
    assert emulator.books().still_billed == []


def test_an_iteration_ends_with_its_error(emulator: FaultyEmulator, sync_client: Client) -> None:
    instance = sync_client.instances.start(MODEL)
    emulator.fault("get", 403, times=None)
    with pytest.raises(Exception, match="403"):
        list(instance.watch())


# ---- clients ----------------------------------------------------------------------------------------


def test_no_connection_is_left_behind_by_a_client_that_is_never_closed(emulator: FaultyEmulator) -> None:
    client = emulator.sync_client()
    client.instances.start(MODEL).stop()
    sessions = [*client._inner._transport._reading.values(), *client._inner._transport._mutating.values()]
    assert len(sessions) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        del client
        gc.collect()
    _bridge.run(asyncio.sleep, 0.05)
    assert all(session.closed for session in sessions)


def test_closing_lets_a_mutation_of_another_thread_finish(emulator: FaultyEmulator) -> None:
    client = emulator.sync_client(poll_interval=0.02)
    instance = client.instances.start(MODEL)
    with emulator.hold("stop", "unanswered") as hold:
        stopping = threading.Thread(target=instance.stop)
        stopping.start()
        hold.wait_arrived(10)
        client.close()
    stopping.join()
    assert instance.is_stopped
    assert len(emulator.asked("stop")) == 1


def test_a_closed_client_makes_no_call(sync_client: Client) -> None:
    sync_client.close()
    with pytest.raises(ConfigurationError, match="the client is closed"):
        sync_client.account.balance()


@emulated(seconds_per_step=0, stop_delay=0.2)
def test_a_release_polls_at_its_own_pace_however_slowly_the_user_polls(
    emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inferlease._lookup.LONGEST_INTERVAL", 0.02)
    with emulator.sync_client(poll_interval=3600) as client:
        with client.lease(MODEL, release_timeout=10) as instance:
            pass
        assert instance.is_stopped
