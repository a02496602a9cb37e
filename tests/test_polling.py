"""One poll serves many waiters, at a pace that adapts and stays within its bounds."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from inferlease import RateLimitError, ServerError, TransportError, _watch
from inferlease._watch import LONGEST_INTERVAL, SHORTEST_INTERVAL, Poller, Reporter, _Pace
from inferlease.objects import InitProgress, InstanceArgs, InstanceState, InstanceStatus, WorkerStatus
from tests.faults import MODEL, FaultyEmulator, emulated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferlease import Client, Instance

SEEN_AGAIN = "the instances that are waited for can be seen again"

at_once = emulated(seconds_per_step=0)


# ---- one poll for many ------------------------------------------------------------------------------


@pytest.mark.async_only(reason="threads begin to wait one after another")
@pytest.mark.asyncio
@at_once
async def test_many_waiters_on_one_instance_cost_one_get(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    with emulator.hold("get", "before") as hold:
        waiters = [asyncio.create_task(instance.wait_until_running()) for _ in range(20)]
        await hold.arrived_async()
    await asyncio.gather(*waiters)
    assert len(emulator.asked("get")) == 1


@pytest.mark.async_only(reason="threads begin to wait one after another")
@pytest.mark.asyncio
@at_once
async def test_several_instances_cost_one_list(client: Client, emulator: FaultyEmulator) -> None:
    instances = [await client.instances.start(MODEL) for _ in range(5)]
    before = len(emulator.asked("list"))
    await asyncio.gather(*(instance.wait_until_running() for instance in instances))
    assert len(emulator.asked("list")) - before == 1
    assert "get" not in emulator.order


@pytest.mark.asyncio
@at_once
async def test_a_newcomer_shares_what_was_just_seen(emulator: FaultyEmulator) -> None:
    async with emulator.client(poll_interval=60) as client:
        instance = await client.instances.start(MODEL)
        watching = instance.watch()
        assert (await anext(watching)).instance.is_usable
        await instance.wait_until_running()
        await watching.aclose()
    assert len(emulator.asked("get")) == 1


# ---- the poller -------------------------------------------------------------------------------------


def state(instance_id: str = "i-1", status: str = "pending", steps: tuple[int, ...] = (1,)) -> InstanceState:
    workers = [WorkerStatus(InitProgress(current_step=step, num_steps=5)) for step in steps]
    return InstanceState(instance_id, None, InstanceArgs("org--model"), InstanceStatus(status), workers)


@define
class FakeReader:
    """Answers each read with the next of `answers`, the last one for ever, and remembers what was asked."""

    answers: list[InstanceState | Exception | None]
    asked: list[str | set[str]] = field(factory=list)

    async def one(self, instance_id: str) -> InstanceState | None:
        self.asked.append(instance_id)
        return self._next()

    async def many(self, instance_ids: set[str]) -> dict[str, InstanceState | None | Exception]:
        self.asked.append(instance_ids)
        return dict.fromkeys(instance_ids, self._next())

    def _next(self) -> InstanceState | None:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.asyncio
async def test_one_is_got_and_several_are_listed() -> None:
    reader = FakeReader([state()])
    poller = Poller(reader, 0.001)
    with poller.follow("i-1") as first:
        await first.next()
        with poller.follow("i-2") as second:
            await second.next()
        await first.next()
        await first.next()
    assert reader.asked[0] == "i-1"
    assert {"i-1", "i-2"} in reader.asked
    assert reader.asked[-1] == "i-1"


@pytest.mark.asyncio
async def test_without_followers_nothing_is_polled() -> None:
    reader = FakeReader([state()])
    poller = Poller(reader, 0.001)
    with poller.follow("i-1") as follower:
        await follower.next()
    asked = len(reader.asked)
    await asyncio.sleep(0.02)
    assert len(reader.asked) == asked


@pytest.mark.asyncio
async def test_a_follower_that_is_slow_gets_the_newest() -> None:
    poller = Poller(FakeReader([state(), state(status="running")]), 0.001)
    with poller.follow("i-1") as slow, poller.follow("i-1") as quick:
        for _ in range(3):
            newest = await quick.next()
        assert (await slow.next()).state == newest.state == state(status="running")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "gone"), [(None, True), (TransportError("x"), False), (ZeroDivisionError(), False)], ids=repr
)
async def test_whatever_a_poll_meets_is_told(answer: Exception | None, gone: bool) -> None:
    with Poller(FakeReader([answer]), 0.001).follow("i-1") as follower:
        observation = await follower.next()
    assert (observation.state, observation.error, observation.is_gone) == (None, answer, gone)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("unseen_seconds", "told"),
    [
        (0.0, ["what is waited for can't be seen, and may be billed: x; it is looked at again", SEEN_AGAIN]),
        (60.0, []),
    ],
)
async def test_errors_that_go_on_are_told_once_and_so_is_their_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, unseen_seconds: float, told: list[str]
) -> None:
    monkeypatch.setattr(_watch, "_UNSEEN_SECONDS", unseen_seconds)
    caplog.set_level(logging.INFO, "inferlease")
    error = TransportError("x")
    with Poller(FakeReader([error, error, error, state()]), 0.001).follow("i-1") as follower:
        while (await follower.next()).error is not None:
            pass
    assert caplog.messages == told


@pytest.mark.asyncio
async def test_a_log_handler_that_raises_ends_no_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(_watch, "_UNSEEN_SECONDS", 0.0)
    monkeypatch.setattr(_watch.log, "warning", fail)
    error = TransportError("x")
    with Poller(FakeReader([error]), 0.001).follow("i-1") as follower:
        assert (await follower.next()).error is error


class SilentReader(FakeReader):
    """Never answers."""

    async def one(self, instance_id: str) -> InstanceState | None:
        await asyncio.Event().wait()
        return await super().one(instance_id)


@pytest.mark.asyncio
@pytest.mark.parametrize("seconds", [-1.0, 0.01])
async def test_a_follower_waits_until_its_deadline(seconds: float) -> None:
    with Poller(SilentReader([]), 0.001).follow("i-1") as follower, pytest.raises(TimeoutError):
        await follower.next(time.monotonic() + seconds)


@pytest.mark.asyncio
async def test_a_newcomer_shares_the_error_that_was_just_met() -> None:
    reader = FakeReader([TransportError("x")])
    poller = Poller(reader, 60.0)
    with poller.follow("i-1") as follower:
        met = await follower.next()
        with poller.follow("i-1") as newcomer:
            assert (await newcomer.next()).error is met.error
    assert len(reader.asked) == 1


@pytest.mark.asyncio
async def test_a_poll_that_is_asked_for_does_not_wait_for_the_interval() -> None:
    reader = FakeReader([state()])
    poller = Poller(reader, 3600.0)
    with poller.follow("i-1") as follower:
        await follower.next()
        poller.poll_now()
        await follower.next()
    assert len(reader.asked) == 2


# ---- events -----------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time of `_watch`, in `now`."""
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("inferlease._watch.time", clock)
    return clock


def test_an_event_tells_the_seconds_since_the_beginning(clock: SimpleNamespace) -> None:
    reporter = Reporter(began=clock.now)
    clock.now += 7.0
    event = reporter.event(state())
    assert event is not None
    assert event.elapsed == 7.0


def test_only_a_step_a_status_or_a_url_counts_as_a_step(clock: SimpleNamespace) -> None:
    reporter, stepped = Reporter(), []
    for seen in (state(), state(), state(steps=(2,)), state(steps=(2,)), state(steps=(1,)), state(status="running")):
        clock.now += 1.0
        reporter.event(seen)
        stepped.append(reporter.stepped_at)
    assert stepped == [1001.0, 1001.0, 1003.0, 1003.0, 1005.0, 1006.0]


def test_what_is_gone_is_told_as_gone() -> None:
    event = Reporter().event(state(), gone=True)
    assert event is not None
    assert (event.state, event.instance) == ("gone", state())


# ---- the pace ---------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e5),
            st.sampled_from(["pending", "running", "odd"]),
            st.lists(st.integers(-3, 9), max_size=3).map(tuple),
        ),
        max_size=20,
    ),
    st.floats(0, 1e6),
)
def test_the_pace_stays_within_its_bounds(seen: list[tuple[float, str, tuple[int, ...]]], later: float) -> None:
    now, pace = 0.0, _Pace(0.0)
    for seconds, status, steps in seen:
        now += seconds
        pace.saw(state(status=status, steps=steps), now)
    assert SHORTEST_INTERVAL <= pace.interval(now + later) <= LONGEST_INTERVAL


def paced(step_seconds: float, step: int, steps: int = 5) -> _Pace:
    """A pace that has seen each step up to `step` come after `step_seconds`."""
    pace = _Pace(0.0)
    for current in range(1, step + 1):
        pace.saw(state(steps=(current,)), current * step_seconds)
    return pace


def test_the_pace_is_coarse_while_much_is_left_and_fine_near_the_last_step() -> None:
    intervals = [paced(30.0, step).interval(step * 30.0) for step in (2, 3, 4)]
    assert intervals == sorted(intervals, reverse=True)
    assert intervals[0] == LONGEST_INTERVAL
    assert paced(30.0, 4).interval(4 * 30.0 + 29.0) == SHORTEST_INTERVAL


def test_the_pace_begins_short_and_slows_down_while_nothing_moves() -> None:
    pace = _Pace(0.0)
    intervals = [pace.interval(now) for now in (0.0, 3.0, 30.0, 300.0)]
    assert intervals == [SHORTEST_INTERVAL, 1.0, 10.0, LONGEST_INTERVAL]


def test_a_step_that_is_overdue_is_looked_for_less_and_less_often() -> None:
    pace = paced(8.0, 4)
    assert pace.interval(32.0 + 8.0) < pace.interval(32.0 + 40.0) < pace.interval(32.0 + 400.0) == LONGEST_INTERVAL


@pytest.mark.parametrize(
    ("quiet", "interval"),
    [(0.0, 4.0), (6.0, 2.0), (11.4, SHORTEST_INTERVAL), (12.0, 1.5), (80.0, 10.0), (400.0, LONGEST_INTERVAL)],
)
def test_before_a_step_is_due_a_third_of_the_rest_is_waited_and_after_it_an_eighth_of_the_quiet(
    quiet: float, interval: float
) -> None:
    assert paced(12.0, 4).interval(48.0 + quiet) == pytest.approx(interval)


def test_the_time_of_a_step_is_shared_among_the_steps_that_it_made() -> None:
    pace = _Pace(0.0)
    pace.saw(state(steps=(1,)), 10.0)
    pace.saw(state(steps=(4, 1)), 40.0)
    assert (pace.step_seconds, pace.steps) == (10.0, 1)


def test_a_change_that_is_no_step_forward_teaches_nothing_of_the_pace() -> None:
    pace = paced(12.0, 4)
    pace.saw(state(steps=(2,)), 99.0)
    assert (pace.step_seconds, pace.steps, pace.changed_at) == (12.0, 3, 99.0)


def test_what_does_not_change_leaves_the_pace_as_it_is() -> None:
    pace = paced(12.0, 4)
    pace.saw(state(steps=(4,)), 99.0)
    assert pace.changed_at == 48.0


@pytest.mark.parametrize("steps", [(), (6,)])
def test_where_no_step_is_left_the_pace_follows_the_quiet(steps: tuple[int, ...]) -> None:
    pace = paced(12.0, 4)
    pace.saw(state(steps=steps), 60.0)
    assert (pace.steps, pace.interval(66.0)) == (0, 2.0)


# ---- what is outdated -------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_what_was_seen_before_a_change_is_not_told_to_a_newcomer() -> None:
    reader = FakeReader([state()])
    poller = Poller(reader, 60.0)
    with poller.follow("i-1") as follower:
        await follower.next()
        poller.outdate("i-1")
        with poller.follow("i-1") as newcomer:
            assert newcomer._newest is None


@pytest.mark.asyncio
async def test_a_change_of_an_instance_that_nobody_follows_is_noted_and_later_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poller, now = Poller(FakeReader([state()]), 60.0), 1000.0
    monkeypatch.setattr("inferlease._watch.time", SimpleNamespace(monotonic=lambda: now))
    poller.outdate("i-1")
    now += 299.0
    poller.outdate("i-2")
    assert poller._outdated == {"i-1": 1000.0, "i-2": 1299.0}
    now += 1.0
    poller.outdate("i-3")
    assert set(poller._outdated) == {"i-2", "i-3"}


async def delay_after(poller: Poller) -> float:
    """What the poller waits after one poll."""
    with poller.follow("i-1") as follower:
        await follower.next()
        return poller._delay()


@pytest.mark.asyncio
@pytest.mark.parametrize("interval", [None, 0.01, 60.0])
async def test_what_the_server_asks_for_is_waited(interval: float | None) -> None:
    reader = FakeReader([RateLimitError("slow down", retry_after=42.0)])
    assert await delay_after(Poller(reader, interval)) == max(42.0, interval or 0.0)


@pytest.mark.asyncio
async def test_what_one_of_several_instances_asks_for_is_waited() -> None:
    class Half(FakeReader):
        async def many(self, instance_ids: set[str]) -> dict[str, InstanceState | None | Exception]:
            slow = ServerError("slow down", retry_after=42.0)
            return {instance_id: slow if instance_id == "i-2" else state() for instance_id in instance_ids}

    poller = Poller(Half([state()]), 0.01)
    with poller.follow("i-1") as follower, poller.follow("i-2"):
        await follower.next()
        assert poller._delay() == 42.0


@pytest.mark.asyncio
async def test_what_the_server_asked_for_is_over_with_the_next_success() -> None:
    poller = Poller(FakeReader([RateLimitError("slow down", retry_after=0.02), state()]), 0.01)
    with poller.follow("i-1") as follower:
        await follower.next()
        await follower.next()
        assert poller._delay() == 0.01


@pytest.mark.asyncio
async def test_errors_slow_an_adaptive_poller_down(monkeypatch: pytest.MonkeyPatch) -> None:
    poller = Poller(FakeReader([ServerError("x")]), None)
    delays = []
    with poller.follow("i-1"):
        for _ in range(8):
            await poller._poll()
            delays.append(poller._delay())
    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (2 * SHORTEST_INTERVAL, LONGEST_INTERVAL)


@pytest.mark.asyncio
async def test_a_success_ends_the_slowing_down() -> None:
    poller = Poller(FakeReader([ServerError("x"), state()]), None)
    with poller.follow("i-1"):
        await poller._poll()
        assert poller._delay() == 2 * SHORTEST_INTERVAL
        await poller._poll()
        assert poller._delay() < 2 * SHORTEST_INTERVAL


@pytest.mark.asyncio
async def test_what_ends_the_polling_is_raised_to_whoever_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    poller = Poller(FakeReader([state()]), 0.001)
    monkeypatch.setattr(poller, "_run", broken)
    with poller.follow("i-1") as follower, pytest.raises(ZeroDivisionError):
        await follower.next()


@pytest.mark.asyncio
async def test_the_adaptive_interval_is_jittered_within_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    poller = Poller(FakeReader([state()]), None)
    now = time.monotonic()
    with poller.follow("i-1"):
        for quiet in (0.0, 10.0, 1000.0):
            poller._targets["i-1"].pace = _Pace(now - quiet)
            delays = {poller._delay() for _ in range(200)}
            assert min(delays) >= SHORTEST_INTERVAL
            assert max(delays) <= LONGEST_INTERVAL
            assert len(delays) > 50


# ---- storms -----------------------------------------------------------------------------------------

INTERVALS = 30
WAITERS = 100
USABLE_AFTER = 24  # intervals


@define
class Storm:
    """When each of many waiters began, and when it was told that its instance is usable."""

    interval: float
    emulator: FaultyEmulator
    began: float = field(factory=time.monotonic)
    told: list[tuple[str, float, float]] = field(factory=list)
    polls_before: int = 0

    def polls(self) -> int:
        requests = self.emulator.books().requests
        return requests.get("get", 0) + requests.get("list", 0)

    def begin(self) -> None:
        self.polls_before, self.began = self.polls(), time.monotonic()

    def judge(self, record: Any) -> None:
        """Hold what happened against the figures that are promised."""
        intervals = (time.monotonic() - self.began) / self.interval
        rate = (self.polls() - self.polls_before) / intervals
        books = self.emulator.books().instances
        late = [
            (told - max(joined, books[instance_id].usable_at or 0.0)) / self.interval
            for instance_id, joined, told in self.told
        ]
        figures = {"intervals": intervals, "requests per interval": rate, "told late, intervals": max(late)}
        for name, value in figures.items():
            record(name, round(value, 3))
        print(figures)  # noqa: T201 - figures to read
        assert len(late) == WAITERS
        assert rate <= 1.05
        # In a fifth of the time, what a busy machine adds counts five times.
        assert max(late) <= (2 if self.interval == 1.0 else 10)


@pytest.fixture
def storm(is_full: bool) -> Iterator[Storm]:
    """With `--storm=full` it polls as a user would, else in a fifth of the time."""
    interval = 1.0 if is_full else 0.2
    with FaultyEmulator(seconds_per_step=USABLE_AFTER * interval / 5) as emulator:
        yield Storm(interval, emulator)


@pytest.mark.storm
@pytest.mark.asyncio
async def test_a_storm_of_waiters_on_one_instance(storm: Storm, record_property: pytest.RecordProperty) -> None:
    moments = random.Random(7)

    async def wait(instance: Instance, at: float) -> None:
        await asyncio.sleep(at)
        joined = time.monotonic()
        await instance.wait_until_running()
        storm.told.append((instance.instance_id, joined, time.monotonic()))

    async with storm.emulator.client(poll_interval=storm.interval) as client:
        instance = await client.instances.start(MODEL)
        storm.begin()
        whole = INTERVALS * storm.interval
        await asyncio.gather(*(wait(instance, moments.uniform(0, whole)) for _ in range(WAITERS)))
        await asyncio.sleep(storm.began + whole - time.monotonic())
    storm.judge(record_property)


@pytest.mark.storm
@pytest.mark.asyncio
async def test_a_storm_of_instances_under_watch(storm: Storm, record_property: pytest.RecordProperty) -> None:
    async def watch(instance: Instance) -> None:
        joined, told = time.monotonic(), False
        async for event in instance.watch():
            if event.instance.is_usable and not told:
                told = True
                storm.told.append((instance.instance_id, joined, time.monotonic()))

    async with storm.emulator.client(poll_interval=storm.interval) as client:
        instances = await asyncio.gather(*(client.instances.start(MODEL) for _ in range(WAITERS)))
        storm.begin()
        watches = [asyncio.create_task(watch(instance)) for instance in instances]
        await asyncio.sleep(INTERVALS * storm.interval)
        storm.judge(record_property)
        await client.instances.stop_all()
        await asyncio.gather(*watches)
    assert storm.emulator.books().still_billed == []
