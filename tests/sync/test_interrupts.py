"""Interrupts of a synchronous call, at each moment that matters: what was begun is undone, or goes on."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Literal

import pytest

from inferlease import (
    InstanceEvent,
    _keeper,
)
from inferlease.emulator import Fault, FaultKind
from inferlease.sync import _bridge
from tests.faults import MODEL, emulated
from tests.sync.support import at_rest, tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from inferlease.sync import Client
    from tests.faults import FaultyEmulator

slow = emulated(seconds_per_step=3600)


class Interrupting:
    """Stands for the inbox of a call, whose waiting is interrupted `times` times, each once `when` lets it."""

    def __init__(self, inbox: Any, when: Callable[[], object], times: int) -> None:
        self._inbox = inbox
        self._when = when
        self._left = times
        self.put = inbox.put

    def get(self) -> Any:
        if self._left:
            self._left -= 1
            self._when()
            raise KeyboardInterrupt
        return self._inbox.get()


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Interrupts the next call that waits: `interrupt(when, times=1)`."""
    monkeypatch.setenv("INFERLEASE_SIGTERM", "0")  # for which entering a lease would wait first

    def interrupt(when: Callable[[], object], times: int = 1) -> None:
        queue = _bridge.SimpleQueue

        def once() -> Any:
            monkeypatch.setattr(_bridge, "SimpleQueue", queue)
            return Interrupting(queue(), when, times)

        monkeypatch.setattr(_bridge, "SimpleQueue", once)

    return interrupt


@pytest.mark.fault(68)
@slow
def test_an_interrupted_call_is_cancelled_and_over_when_the_interrupt_is_raised(
    sync_client: Client, interrupt: Callable[..., None]
) -> None:
    instance = sync_client.instances.start(MODEL)
    before = tasks()
    interrupt(lambda: None)
    with pytest.raises(KeyboardInterrupt):
        instance.wait_until_running(timeout=10)
    assert tasks() - before == set()


@pytest.mark.fault(68)
def test_an_interrupted_call_ends_by_a_cancellation(interrupt: Callable[..., None]) -> None:
    ended: list[type[BaseException]] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(10)
        except BaseException as error:
            ended.append(type(error))
            raise

    interrupt(lambda: None)
    with pytest.raises(KeyboardInterrupt):
        _bridge.run(wait)
    assert ended == [asyncio.CancelledError]


@pytest.mark.fault(68)
@pytest.mark.parametrize("phase", ["before", "unanswered", "mid_body"])
def test_an_interrupted_start_is_stopped_again(
    emulator: FaultyEmulator, sync_client: Client, interrupt: Callable[..., None], phase: Any
) -> None:
    hold = emulator.hold("start", phase)
    interrupt(lambda: hold.wait_arrived(10))
    with pytest.raises(KeyboardInterrupt):
        sync_client.instances.start(MODEL)
    hold.release()
    at_rest(sync_client)
    assert emulator.books().starts == 1
    assert emulator.books().still_billed == []


@pytest.mark.fault(58)
def test_a_call_interrupted_while_it_fetches_the_token_does_not_fail_the_others(
    emulator: FaultyEmulator, sync_client: Client, interrupt: Callable[..., None]
) -> None:
    balances: list[float] = []
    others = [
        threading.Thread(target=lambda: balances.append(sync_client.account.balance().current_balance))
        for _ in range(3)
    ]

    def once_others_wait_too() -> None:
        hold.wait_arrived(10)
        before = tasks()
        for other in others:
            other.start()
        while len(tasks() - before) < len(others):
            pass

    with emulator.hold("token", "before") as hold:
        interrupt(once_others_wait_too)
        with pytest.raises(KeyboardInterrupt):
            sync_client.account.balance()
    for other in others:
        other.join()
    assert len(balances) == len(others)
    assert emulator.books().tokens_issued == 1


@pytest.mark.parametrize("lost", [FaultKind.STATUS_502, FaultKind.STATUS_502_HANDLED])
@pytest.mark.parametrize("moment", ["start", "list"])
def test_an_interrupted_lease_whose_start_is_lost_is_released(
    emulator: FaultyEmulator,
    sync_client: Client,
    interrupt: Callable[..., None],
    moment: Literal["start", "list"],
    lost: FaultKind,
) -> None:
    """Interrupted before the answer, or while its instance is looked for."""
    emulator.inject(Fault(lost, "start", times=1))

    def when() -> None:
        waiting = threading.Event()
        while len(emulator.asked(moment)) < (1 if moment == "start" else 2):
            waiting.wait(0.005)

    interrupt(when)
    with pytest.raises(KeyboardInterrupt):
        sync_client.lease(MODEL).acquire()
    at_rest(sync_client)
    assert emulator.books().starts <= 1
    assert emulator.books().still_billed == []


def wait_for_start(emulator: FaultyEmulator) -> None:
    waiting = threading.Event()
    while not emulator.books().starts:
        waiting.wait(0.005)


@pytest.fixture
def undelivered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Interrupts the caller when the result is there and it does not have it yet."""

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("inferlease.sync.Instance._of", interrupted)
        yield


STARTING: dict[str, Callable[[Client], object]] = {
    "start": lambda client: client.instances.start(MODEL),
    "ensure": lambda client: client.instances.ensure(MODEL),
    "enter": lambda client: client.lease(MODEL).__enter__(),
    "acquire": lambda client: client.lease(MODEL).acquire(),
}


@pytest.mark.usefixtures("undelivered")
@pytest.mark.parametrize("call", STARTING.values(), ids=STARTING)
def test_what_was_started_for_a_caller_who_is_interrupted_before_having_it_is_stopped_again(
    emulator: FaultyEmulator, sync_client: Client, call: Callable[[Client], object]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        call(sync_client)
    at_rest(sync_client)
    assert emulator.books().starts == 1
    assert emulator.books().still_billed == []


def test_a_lease_is_released_if_the_interrupt_comes_before_its_exit_has_begun(
    emulator: FaultyEmulator, sync_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    lease = sync_client.lease(MODEL)
    lease.__enter__()
    with monkeypatch.context() as patch:
        patch.setattr(_bridge, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lease.__exit__(None, None, None)
    at_rest(sync_client)
    assert emulator.books().still_billed == []


@pytest.mark.parametrize("phase", ["before", "unanswered"])
def test_a_start_is_stopped_again_if_a_second_interrupt_comes_with_the_first(
    emulator: FaultyEmulator,
    sync_client: Client,
    interrupt: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    phase: Any,
) -> None:
    abandon = _bridge._Call._abandon

    def interrupted(_: _bridge._Call[Any]) -> bool:
        monkeypatch.setattr(_bridge._Call, "_abandon", abandon)
        raise KeyboardInterrupt

    monkeypatch.setattr(_bridge._Call, "_abandon", interrupted)
    hold = emulator.hold("start", phase)
    interrupt(lambda: hold.wait_arrived(10))
    with pytest.raises(KeyboardInterrupt):
        sync_client.instances.start(MODEL)
    hold.release()
    at_rest(sync_client)
    assert emulator.books().starts == 1
    assert emulator.books().still_billed == []


@slow
def test_an_interrupted_entry_tells_of_a_release_that_was_not_observed(
    emulator: FaultyEmulator, sync_client: Client, interrupt: Callable[..., None]
) -> None:
    with emulator.hold("stop", "before"):
        interrupt(lambda: wait_for_start(emulator))
        with pytest.raises(KeyboardInterrupt) as caught, sync_client.lease(MODEL, release_timeout=0.3):
            pytest.fail("the body must not run")
        (billed,) = emulator.books().still_billed
    assert f"inferlease stop {billed}" in "".join(caught.value.__notes__)


def test_whoever_interrupts_the_body_hears_of_a_release_that_takes_a_while(
    emulator: FaultyEmulator, sync_client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[bool] = []
    emulator.fault("stop", 503, handled=False, times=2)
    for silence in (60.0, 0.0):
        monkeypatch.setattr("inferlease.lease._SILENCE", silence)
        with pytest.raises(KeyboardInterrupt), sync_client.lease(MODEL) as instance:
            raise KeyboardInterrupt
        heard.append(f"stopping {instance.instance_id} (up to " in capsys.readouterr().err)
    assert heard == [False, True]


def test_an_interrupted_caller_goes_on_only_when_the_undoing_has_begun(
    emulator: FaultyEmulator, sync_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        _keeper.loop().call_soon_threadsafe(busy.wait, 0.3)
        raise KeyboardInterrupt

    busy = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr("inferlease.sync.Instance._of", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sync_client.instances.start(MODEL)
    assert sync_client._inner._core.jobs._open
    at_rest(sync_client)
    assert emulator.books().still_billed == []


def test_an_existing_instance_that_an_interrupted_ensure_found_goes_on(
    emulator: FaultyEmulator, sync_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = sync_client.instances.start(MODEL)

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("inferlease.sync.Instance._of", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sync_client.instances.ensure(MODEL)
    at_rest(sync_client)
    assert emulator.books().still_billed == [instance.instance_id]


@pytest.mark.fault(68)
def test_an_interrupted_stop_goes_on(
    emulator: FaultyEmulator, sync_client: Client, interrupt: Callable[..., None]
) -> None:
    instance = sync_client.instances.start(MODEL)
    emulator.fault("stop", 503, handled=False)  # what goes on has more to do than to hear an answer
    with emulator.hold("stop", "before") as hold:
        interrupt(lambda: hold.wait_arrived(10))
        with pytest.raises(KeyboardInterrupt):
            instance.stop()
        assert emulator.books().still_billed == [instance.instance_id]
    at_rest(sync_client)
    assert emulator.books().still_billed == []


@pytest.mark.may_block(reason="the library's loop is kept busy")
def test_a_stop_is_begun_though_its_caller_is_interrupted_before_its_turn_on_the_loop(
    emulator: FaultyEmulator, sync_client: Client, interrupt: Callable[..., None]
) -> None:
    instance = sync_client.instances.start(MODEL)
    busy = threading.Event()
    _keeper.loop().call_soon_threadsafe(busy.wait)
    moments = iter([lambda: None, busy.set])
    interrupt(lambda: next(moments)(), times=2)  # noqa: PLW0108 - each interrupt has a moment of its own
    with pytest.raises(KeyboardInterrupt):
        instance.stop()
    at_rest(sync_client)
    assert emulator.books().still_billed == []


def test_an_interrupt_ends_the_wait_for_a_release_and_not_the_release(
    emulator: FaultyEmulator, sync_client: Client, interrupt: Callable[..., None]
) -> None:
    lease = sync_client.lease(MODEL)
    lease.acquire()
    emulator.fault("stop", 503, handled=False)
    with emulator.hold("stop", "before") as hold:
        interrupt(lambda: hold.wait_arrived(10))
        with pytest.raises(KeyboardInterrupt):
            lease.release()
        assert len(emulator.books().still_billed) == 1
    at_rest(sync_client)
    assert emulator.books().still_billed == []


@pytest.mark.fault(68, 69)
@slow
def test_an_interrupted_entry_waits_for_its_release_and_a_second_interrupt_ends_that_wait(
    emulator: FaultyEmulator, sync_client: Client, interrupt: Callable[..., None]
) -> None:
    emulator.fault("stop", 503, handled=False)
    with emulator.hold("stop", "before") as hold:
        moments = iter([lambda: wait_for_start(emulator), lambda: hold.wait_arrived(10)])
        interrupt(lambda: next(moments)(), times=2)  # noqa: PLW0108 - each interrupt has a moment of its own
        with pytest.raises(KeyboardInterrupt), sync_client.lease(MODEL):
            pytest.fail("the body must not run")
        assert len(emulator.books().still_billed) == 1
    at_rest(sync_client)
    assert emulator.books().still_billed == []


def test_an_interrupt_in_a_callback_ends_the_call(emulator: FaultyEmulator, sync_client: Client) -> None:
    def interrupted(_: InstanceEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), sync_client.lease(MODEL, on_progress=interrupted):
        pytest.fail("the body must not run")
    assert emulator.books().still_billed == []


def test_a_wait_interrupted_again_and_again_is_over_each_time(sync_client: Client, interrupt: Any) -> None:
    instance = sync_client.instances.start(MODEL)
    for times in (1, 2, 3, 5):
        interrupt(lambda: None, times=times)
        with pytest.raises(KeyboardInterrupt):
            instance.wait_until_stopped(timeout=60)
    assert instance.stop().is_stopped
