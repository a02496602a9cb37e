"""A process that ends with a lease open releases it first, however it ends, and does not hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from inferlease import InferleaseError, _keeper
from tests.processes import run_script, started

if TYPE_CHECKING:
    from inferlease import Client
    from inferlease.emulator import Emulator
    from tests.faults import FaultyEmulator

ACQUIRE = """
import asyncio, atexit, gc, multiprocessing, os, sys, warnings
from inferlease import Client

async def acquire():
    global client, lease
    client = Client(poll_interval=0.02)
    lease = client.lease("meta-llama/Llama-3.1-8B-Instruct")
    return await lease.acquire()
"""

CLIENT_ONLY = """
async def client_only():
    async with Client() as client:
        await client.models.list()
"""

ENDINGS = {
    "plain exit": "asyncio.run(acquire())",
    "sys.exit": "asyncio.run(acquire()); sys.exit(3)",
    "exception": "asyncio.run(acquire()); raise LookupError('the body failed')",
    "loop left running": "loop = asyncio.new_event_loop(); loop.run_until_complete(acquire())",
    "multiprocessing child": """
def work():
    asyncio.run(acquire())

if __name__ == "__main__":
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start(); child.join(); sys.exit(child.exitcode)
""",
    "multiprocessing child of a parent that uses it too": """
def work():
    asyncio.run(acquire())

if __name__ == "__main__":
    asyncio.run(acquire())
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start(); child.join(); sys.exit(child.exitcode)
""",
    "forked child": """
asyncio.run(acquire())
if os.fork() == 0:
    asyncio.run(acquire())
    sys.exit(0)
_, status = os.wait()
sys.exit(os.waitstatus_to_exitcode(status))
""",
}
CODES = {"sys.exit": 3, "exception": 1}


def run(emulator: Emulator, script: str, *flags: str, prelude: str = ACQUIRE) -> subprocess.CompletedProcess[str]:
    return run_script(emulator, prelude + script, *flags)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_process_that_ends_with_a_lease_open_releases_it(emulator: Emulator, ending: str) -> None:
    ended = run(emulator, ENDINGS[ending])
    assert ended.returncode == CODES.get(ending, 0), ended.stderr
    assert emulator.books().starts >= 1
    assert emulator.books().still_billed == []


START_IN_FLIGHT = """
import signal

loop = asyncio.new_event_loop()
loop.add_signal_handler(signal.SIGUSR1, loop.stop)
task = loop.create_task(acquire())
loop.run_forever()
"""


@pytest.mark.parametrize(
    ("status", "conclusion"),
    [(None, "instance {id} is stopped"), (402, "of meta-llama/Llama-3.1-8B-Instruct nothing was started")],
)
def test_a_process_that_ends_with_a_start_in_flight_releases_what_it_starts(
    emulator: FaultyEmulator, status: int | None, conclusion: str
) -> None:
    if status is not None:
        emulator.fault("start", status, handled=False)
    with emulator.hold("start", "unanswered") as hold, started(emulator, ACQUIRE + START_IN_FLIGHT) as process:
        hold.wait_arrived(20)
        process.send_signal(signal.SIGUSR1)
        assert process.read_error().startswith(
            "waiting for the answer to the start of meta-llama/Llama-3.1-8B-Instruct"
        )
        hold.release()
        assert process.end() == 0, process.errors
    told = process.errors.splitlines()
    assert [line for line in told if "waiting for the answer" in line] == told[:1]
    assert told[-1] == conclusion.format(id=next(iter(emulator.books().instances), ""))
    assert emulator.books().still_billed == []


def test_a_forgotten_lease_is_a_resource_warning(emulator: Emulator) -> None:
    ended = run(emulator, "asyncio.run(acquire())", "-W", "always::ResourceWarning")
    assert "ResourceWarning: a lease of meta-llama/Llama-3.1-8B-Instruct was never released" in ended.stderr


def test_a_dropped_lease_is_a_resource_warning(emulator: Emulator) -> None:
    script = """
asyncio.run(acquire())
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", ResourceWarning)
    del lease
    gc.collect()
print(*{str(warning.message) for warning in caught})
"""
    assert "a lease of meta-llama/Llama-3.1-8B-Instruct was never released" in run(emulator, script).stdout


def test_the_exit_says_what_it_waits_for_and_how_to_stop_it(emulator: Emulator) -> None:
    ended = run(emulator, "print(asyncio.run(acquire()).instance_id)")
    instance_id = ended.stdout.strip()
    assert f"stopping {instance_id} (up to 120 s, 1.20 EUR/h until then); " in ended.stderr
    assert f"if this process is killed: inferlease stop {instance_id}" in ended.stderr


def test_leases_that_a_thread_begins_while_the_process_exits_are_not_left_behind(emulator: Emulator) -> None:
    script = """
import threading, time

async def cycle(client):
    while True:
        try:
            async with client.lease("meta-llama/Llama-3.1-8B-Instruct"):
                entered.set()
                await asyncio.sleep(0.05)
        except Exception:
            await asyncio.sleep(0.01)

async def work():
    async with Client(poll_interval=0.02) as client:
        await asyncio.gather(*(cycle(client) for _ in range(3)))

entered = threading.Event()
threading.Thread(target=lambda: asyncio.run(work()), daemon=True).start()
entered.wait()
"""
    ended = run(emulator, script)
    assert ended.returncode == 0, ended.stderr
    assert emulator.books().still_billed == []


def test_a_lease_that_would_begin_after_the_exit_has_finished_is_refused(emulator: Emulator) -> None:
    registered_first = "import atexit\natexit.register(lambda: asyncio.run(acquire()))\n"
    ended = run(emulator, "asyncio.run(client_only())", prelude=registered_first + ACQUIRE + CLIENT_ONLY)
    assert "the process is ending: nothing is started any more" in ended.stderr
    assert emulator.books().starts == 0


@pytest.mark.asyncio
async def test_a_start_that_was_begun_just_before_the_exit_is_not_sent(
    emulator: Emulator, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([False])
    monkeypatch.setattr(_keeper, "is_exiting", lambda: next(answers, True))
    with pytest.raises(InferleaseError, match="nothing was started"):
        await client.instances.start("meta-llama/Llama-3.1-8B-Instruct")
    assert emulator.books().starts == 0


def test_a_handler_that_runs_at_exit_can_still_release(emulator: Emulator) -> None:
    script = """
atexit.register(lambda: asyncio.run(lease.release()))
asyncio.run(acquire())
"""
    ended = run(emulator, script, "-W", "error::ResourceWarning:inferlease")
    assert ended.returncode == 0, ended.stderr
    assert emulator.books().still_billed == []


def test_a_forgotten_client_does_not_fill_stderr(emulator: Emulator) -> None:
    ended = run(emulator, "asyncio.run(acquire())")
    began, done = ended.stderr.splitlines()
    assert began.startswith("stopping ")
    assert done.endswith(" is stopped")


def test_without_logging_set_up_nothing_is_logged(emulator: FaultyEmulator) -> None:
    script = """
async def main():
    async with Client(poll_interval=0.02) as client:
        instance = await client.instances.start("meta-llama/Llama-3.1-8B-Instruct")
        await instance.stop()
asyncio.run(main())
"""
    emulator.fault("stop", 503, handled=False)
    assert run(emulator, script).stderr == ""
    assert len(emulator.asked("stop")) == 2


def test_a_process_that_only_reads_has_no_keeper(emulator: Emulator) -> None:
    script = """
import threading
async def read():
    async with Client() as client:
        await client.account.balance()
        await client.instances.list()
asyncio.run(read())
print([thread.name for thread in threading.enumerate()])
"""
    assert run(emulator, script).stdout.strip() == "['MainThread']"


def test_importing_the_package_starts_no_thread_and_no_network_library(emulator: Emulator) -> None:
    script = "import inferlease, threading; print(threading.active_count(), 'aiohttp' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", "import sys; " + script], capture_output=True, text=True, timeout=40, check=True
    )
    assert ended.stdout.strip() == "1 False"


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_interrupts_during_the_exit_do_not_stop_the_release(emulator: FaultyEmulator, count: int) -> None:
    emulator.fault("stop", 503, handled=False)  # the release has more to do than to hear an answer
    with emulator.hold("stop", "before") as hold:
        process = subprocess.Popen(
            [sys.executable, "-c", ACQUIRE + "asyncio.run(acquire())"],
            env={**os.environ, **emulator.environment()},
            stderr=subprocess.PIPE,
            text=True,
        )
        hold.wait_arrived(30)
        for _ in range(count):
            process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=40)
    assert emulator.books().still_billed == [], stderr


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_interrupts_in_the_body_release_the_instance(emulator: FaultyEmulator, count: int) -> None:
    script = """
async def main():
    async with Client(poll_interval=0.02) as client, client.lease("meta-llama/Llama-3.1-8B-Instruct"):
        print("in the body", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
    emulator.fault("stop", 503, handled=False)
    with emulator.hold("stop", "before") as hold:
        process = subprocess.Popen(
            [sys.executable, "-c", ACQUIRE + script],
            env={**os.environ, **emulator.environment()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "in the body"
        process.send_signal(signal.SIGINT)
        hold.wait_arrived(30)
        for _ in range(count - 1):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)  # two signals at once would be one
    _, stderr = process.communicate(timeout=40)
    assert emulator.books().still_billed == [], stderr
    assert "KeyboardInterrupt" in stderr


@pytest.mark.parametrize("where", ["before", "after"])
def test_an_interrupt_while_a_start_is_just_being_begun_leaves_nothing_behind(emulator: Emulator, where: str) -> None:
    script = f"""
import time
from inferlease import _keeper
begin = _keeper.Jobs.begin

def begin_interrupted(jobs, job):
    _keeper.Jobs.begin = begin
    if "{where}" == "after":
        begin(jobs, job)
        while not job.done:
            time.sleep(0.001)
    raise KeyboardInterrupt

async def main():
    async with Client(poll_interval=0.02) as client:
        _keeper.Jobs.begin = begin_interrupted
        async with client.lease("meta-llama/Llama-3.1-8B-Instruct"):
            pass
asyncio.run(main())
"""
    ended = run(emulator, script)
    assert "KeyboardInterrupt" in ended.stderr
    assert emulator.books().starts == (where == "after")
    assert emulator.books().still_billed == [], ended.stderr


@pytest.mark.fault(64)
def test_after_a_fork_the_parents_pooled_connection_still_works(emulator: Emulator) -> None:
    script = """
async def main():
    async with Client() as client:
        await client.account.balance()
        if os.fork() == 0:
            del client
            gc.collect()
            os._exit(0)
        os.wait()
        for _ in range(3):
            await client.account.balance()
        print("works")
asyncio.run(main())
"""
    ended = run(emulator, script)
    assert ended.stdout.strip() == "works", ended.stderr
    assert emulator.books().requests["balance"] == 4


@pytest.mark.fault(64)
def test_a_forked_child_whose_copy_of_a_start_is_cancelled_does_not_stop_the_instance(emulator: Emulator) -> None:
    script = """
import selectors, time

async def main(client):
    starting = asyncio.ensure_future(client.instances.start("meta-llama/Llama-3.1-8B-Instruct"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    while client._core.jobs._open:
        time.sleep(0.005)
    if os.fork() == 0:
        starting.cancel()
        os.write(2, b"")
        await asyncio.wait([starting])
        os._exit(0)
    os.wait()
    instance = await starting
    print((await instance.refresh()).is_stopped)
    await instance.stop()

# A selector that has no descriptor of its own to share with the child.
loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
client = Client()
loop.run_until_complete(main(client))
loop.run_until_complete(client.close())
loop.close()
"""
    ended = run(emulator, script)
    assert ended.stdout.strip() == "False", ended.stderr


@pytest.mark.fault(64)
def test_a_forked_child_that_releases_does_not_stop_the_parents_instance(emulator: Emulator) -> None:
    script = """
loop = asyncio.new_event_loop()
instance = loop.run_until_complete(acquire())
if os.fork() == 0:
    asyncio.run(lease.release())
    asyncio.run(client.close())
    sys.exit(0)
os.wait()
loop.run_until_complete(instance.refresh())
print(instance.is_usable)
loop.run_until_complete(client.close())
loop.close()
"""
    ended = run(emulator, script)
    assert ended.stdout.strip() == "True", ended.stderr
    assert emulator.books().still_billed == []
