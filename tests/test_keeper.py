"""The keeper: work that goes on whatever becomes of whoever asked for it."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from inferlease import _keeper
from inferlease._job import Job

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id")


def submitted(gate: threading.Event, done: threading.Event) -> Job[str]:
    """A job that waits for `gate`, then sets `done`."""

    async def work() -> str:
        while not gate.is_set():  # noqa: ASYNC110 - the gate belongs to another thread
            await asyncio.sleep(0.005)
        done.set()
        return "result"

    return _keeper.submit(work, bound=10)


@pytest.mark.asyncio
async def test_a_job_runs_on_the_keepers_thread() -> None:
    async def work() -> str:
        return threading.current_thread().name

    assert await _keeper.submit(work, bound=5).wait() == "inferlease-keeper"


@pytest.mark.asyncio
async def test_a_job_runs_in_the_callers_context() -> None:
    async def work() -> str:
        return request_id.get()

    request_id.set("r-1")
    assert await _keeper.submit(work, bound=5).wait() == "r-1"


@pytest.mark.asyncio
async def test_what_a_job_raises_reaches_whoever_waits() -> None:
    async def work() -> None:
        raise LookupError("from the keeper")

    with pytest.raises(LookupError, match="from the keeper"):
        await _keeper.submit(work, bound=5).wait()


@pytest.mark.asyncio
async def test_cancelling_the_wait_does_not_cancel_the_work() -> None:
    gate, done = threading.Event(), threading.Event()
    job = submitted(gate, done)
    waiting = asyncio.create_task(job.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    gate.set()
    assert await job.wait() == "result"


@pytest.mark.asyncio
async def test_many_may_wait_for_one_job() -> None:
    gate, done = threading.Event(), threading.Event()
    job = submitted(gate, done)
    waiting = [asyncio.create_task(job.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*waiting) == ["result"] * 3


def test_a_job_outlives_the_loop_that_waited_for_it() -> None:
    gate, done = threading.Event(), threading.Event()
    job = submitted(gate, done)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await job.wait()

    asyncio.run(give_up())
    gate.set()
    assert done.wait(5)


def test_what_would_end_the_process_does_not_end_the_keeper() -> None:
    def leave() -> None:
        raise SystemExit(3)

    _keeper.loop().call_soon_threadsafe(leave)
    gate, done = threading.Event(), threading.Event()
    gate.set()
    submitted(gate, done)
    assert done.wait(10)


@pytest.mark.asyncio
async def test_what_follows_the_last_job_of_a_closed_group_runs_after_it() -> None:
    gate, order = threading.Event(), []
    jobs = _keeper.Jobs()

    async def work() -> None:
        while not gate.is_set():  # noqa: ASYNC110 - the gate belongs to another thread
            await asyncio.sleep(0.005)
        order.append("work")

    async def then() -> None:
        order.append("then")
        followed.set()

    followed = threading.Event()
    job = jobs.submit(work, bound=5)
    assert jobs.close(then) is None
    gate.set()
    await job.wait()
    assert await asyncio.to_thread(followed.wait, 5)
    assert order == ["work", "then"]
