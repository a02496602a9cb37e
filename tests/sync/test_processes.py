"""The facade in whole processes: forks, interrupts at a terminal, exits, notebooks, prefork servers."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

from tests.faults import emulated
from tests.processes import environment, run_script, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from inferlease.emulator import Emulator
    from tests.faults import FaultyEmulator

PRELUDE = """
import atexit, gc, multiprocessing, os, signal, sys, threading, time, warnings
from inferlease.sync import Client
MODEL = "meta-llama/Llama-3.1-8B-Instruct"
"""


def run(emulator: Emulator, script: str, *flags: str, seconds: float = 40.0) -> subprocess.CompletedProcess[str]:
    return run_script(emulator, PRELUDE + script, *flags, seconds=seconds)


# ---- forks ------------------------------------------------------------------------------------------


@pytest.mark.fault(64)
@pytest.mark.storm
@pytest.mark.timeout(300)
def test_children_call_through_an_inherited_client_and_a_new_one_and_the_parent_goes_on(
    emulator: Emulator, is_full: bool
) -> None:
    forks, seconds = (100, 250) if is_full else (10, 40)
    script = f"""
with Client(poll_interval=0.02) as client, client.lease(MODEL) as instance:
    for number in range({forks}):
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # ends a child that hangs
            atexit.register(lambda: os.write(1, b"atexit "))
            assert not client.instances.get(instance.instance_id).is_stopped
            with Client() as new:
                assert new.account.balance().currency == "EUR"
            sys.exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, (number, status)
        assert not client.instances.get(instance.instance_id).is_stopped, number
    print("parent done")
"""
    ended = run(emulator, script, "-W", "ignore::DeprecationWarning", seconds=seconds)
    assert ended.returncode == 0, ended.stderr
    # The children leave the lease's body too, by their `sys.exit`: the lease is not theirs to release.
    assert ended.stdout.split() == ["atexit"] * forks + ["parent", "done"]
    assert emulator.books().starts == 1
    assert emulator.books().still_billed == []


@pytest.mark.fault(64)
def test_a_child_that_starts_a_lease_of_its_own_releases_that_one_only(emulator: Emulator) -> None:
    script = """
client = Client(poll_interval=0.02)
ours = client.lease(MODEL).acquire()
if os.fork() == 0:
    theirs = client.lease(MODEL).acquire()
    sys.exit(0)
_, status = os.wait()
assert os.waitstatus_to_exitcode(status) == 0
print(ours.refresh().is_stopped, sum(not each.is_stopped for each in client.instances.list()))
"""
    ended = run(emulator, script, "-W", "ignore::DeprecationWarning")
    assert ended.stdout.split() == ["False", "1"], ended.stderr
    assert emulator.books().starts == 2
    assert emulator.books().still_billed == []


@pytest.mark.fault(64)
def test_a_child_closes_its_client_whatever_its_parent_has_under_way(emulator: Emulator) -> None:
    script = """
import asyncio

async def work():
    while not over.is_set():
        await asyncio.sleep(0.005)

client, over = Client(), threading.Event()
client._inner._core.jobs.submit(work, bound=60)
if os.fork() == 0:
    client.account.balance()
    client.close()
    os._exit(client._inner._transport.is_open)
_, status = os.wait()
over.set()
client.close()
print(os.waitstatus_to_exitcode(status))
"""
    ended = run(emulator, script, "-W", "ignore::DeprecationWarning")
    assert ended.stdout == "0\n", ended.stderr


@pytest.mark.fault(65)
def test_a_fork_while_calls_are_under_way_does_not_hang_the_child(emulator: Emulator) -> None:
    script = """
client = Client()
client.account.balance()
stop = threading.Event()

def call():
    while not stop.is_set():
        client.account.balance()

threads = [threading.Thread(target=call) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        client.account.balance()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
stop.set()
for thread in threads:
    thread.join()
client.close()
print("done")
"""
    assert run(emulator, script, "-W", "ignore::DeprecationWarning").stdout == "done\n"


HOLDERS = {
    "the keeper's": ("_keeper._lock", "client.account.balance()"),
    "a lease's": ("lease._inner._start._lock", "lease.release(); client.close()"),
}


@pytest.mark.fault(65)
@pytest.mark.parametrize("holder", HOLDERS)
def test_a_lock_that_is_held_during_a_fork_does_not_hang_the_child(emulator: Emulator, holder: str) -> None:
    lock, call = HOLDERS[holder]
    script = f"""
from inferlease import _keeper
with Client(poll_interval=0.02) as client:
    lease = client.lease(MODEL)
    instance = lease.acquire()
    with {lock}:
        child = os.fork()
        if child == 0:
            {call}
            os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), instance.refresh().is_stopped)
"""
    ended = run(emulator, script, "-W", "ignore::DeprecationWarning")
    assert ended.stdout == "7 False\n", ended.stderr
    assert emulator.books().still_billed == []


@emulated(seconds_per_step=3600)
def test_an_iteration_does_not_go_on_in_a_child(emulator: Emulator) -> None:
    script = """
client = Client(poll_interval=0.02)
instance = client.instances.start(MODEL)
watching = instance.watch()
next(watching)
if os.fork() == 0:
    try:
        next(watching)
    except Exception as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
instance.stop()
next(watching)
client.close()
"""
    ended = run(emulator, script, "-W", "ignore::DeprecationWarning")
    assert ended.stdout == "an iteration that the parent process began cannot go on in a forked child\n", ended.stderr


@pytest.mark.parametrize("ending", ["sys.exit(0)", "return"])
def test_a_child_that_is_forked_in_a_callback_ends_and_leaves_the_call_to_its_parent(
    emulator: Emulator, ending: str
) -> None:
    script = f"""
child = None

def fork(event):
    global child
    if child is None:
        child = os.fork()
        if child == 0:
            {ending}

with Client(poll_interval=0.02) as client, client.lease(MODEL, on_progress=fork) as instance:
    _, status = os.waitpid(child, 0)
    print(instance.refresh().is_usable)
"""
    ended = run(emulator, script, "-W", "ignore::DeprecationWarning")
    assert ended.stdout == "True\n", ended.stderr
    assert ("cannot go on in a forked child" in ended.stderr) == (ending == "return")
    assert emulator.books().starts == 1
    assert emulator.books().still_billed == []


# ---- exits ------------------------------------------------------------------------------------------

ENDINGS = {
    "plain exit": "client = Client(poll_interval=0.02); client.lease(MODEL).acquire()",
    "sys.exit": "client = Client(poll_interval=0.02); client.lease(MODEL).acquire(); sys.exit(3)",
    "exception": "client = Client(poll_interval=0.02); client.lease(MODEL).acquire(); raise LookupError",
    "in a body": "with Client(poll_interval=0.02) as client, client.lease(MODEL): sys.exit(3)",
    "multiprocessing child": """
def work():
    client = Client(poll_interval=0.02)
    client.lease(MODEL).acquire()

if __name__ == "__main__":
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start(); child.join(); sys.exit(child.exitcode)
""",
    "daemon thread": """
def work():
    with Client(poll_interval=0.02) as client, client.lease(MODEL):
        entered.set()
        time.sleep(3600)

entered = threading.Event()
threading.Thread(target=work, daemon=True).start()
entered.wait()
""",
    "iteration left open": """
client = Client(poll_interval=0.02)
watching = client.lease(MODEL).acquire().watch()
next(watching)
""",
    "call when the interpreter is torn down": """
class Late:
    def __init__(self, client):
        self.client = client
    def __del__(self):
        self.client.account.balance()

client = Client(poll_interval=0.02)
client.lease(MODEL).acquire()
sys.late = Late(client)
""",
    "call at exit": """
client = Client(poll_interval=0.02)
atexit.register(client.close)
client.lease(MODEL).acquire()
""",
}
CODES = {"sys.exit": 3, "in a body": 3, "exception": 1}


@pytest.mark.fault(71)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_process_that_ends_with_a_lease_open_releases_it(emulator: Emulator, ending: str) -> None:
    ended = run(emulator, ENDINGS[ending], "-W", "ignore::DeprecationWarning")
    assert ended.returncode == CODES.get(ending, 0), ended.stderr
    assert emulator.books().starts == 1
    assert emulator.books().still_billed == []


@pytest.mark.fault(71)
def test_a_client_that_is_never_closed_is_a_resource_warning(emulator: Emulator) -> None:
    ended = run(emulator, "client = Client(); client.account.balance()", "-W", "always::ResourceWarning")
    assert "ResourceWarning: a Client was never closed" in ended.stderr


@pytest.mark.parametrize("call", ["client.account.balance()", "client.instances.start(MODEL).stop()"])
def test_a_client_that_is_never_closed_says_nothing_where_nobody_asks_for_warnings(
    emulator: Emulator, call: str
) -> None:
    assert run(emulator, f"client = Client(); {call}").stderr == ""


# ---- interrupts --------------------------------------------------------------------------------------

BODY = """
with Client(poll_interval=0.02) as client, client.lease(MODEL):
    print("ready", flush=True)
    for _ in range(1200):  # a signal that comes just before a sleep is noticed after it
        time.sleep(0.05)
"""


@pytest.mark.fault(69)
@pytest.mark.parametrize("further", [1, 2, 3, 5])
def test_further_interrupts_do_not_end_a_release(emulator: FaultyEmulator, further: int) -> None:
    emulator.fault("stop", 503, handled=False)  # the release has more to do than to hear an answer
    with emulator.hold("stop", "before") as hold:
        process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + BODY],
            env=environment(emulator),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        hold.wait_arrived(30)
        for _ in range(further):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)  # two signals at once would be one
    _, said = process.communicate(timeout=40)
    assert emulator.books().still_billed == [], said
    assert "KeyboardInterrupt" in said


# ---- where a loop is running ------------------------------------------------------------------------


def notebook(*cells: str) -> dict[str, object]:
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "cells": [
            {"cell_type": "code", "id": f"cell-{number}", "metadata": {}, "execution_count": None, "outputs": []}
            | {"source": source}
            for number, source in enumerate(cells)
        ],
    }


@pytest.mark.fault(66)
def test_a_call_works_in_a_notebook_whose_kernel_runs_a_loop(emulator: Emulator, tmp_path: Path) -> None:
    path = tmp_path / "notebook.ipynb"
    cells = notebook(
        "import asyncio\nasyncio.get_running_loop().is_running()",
        "from inferlease.sync import Client\nclient = Client(poll_interval=0.02)\n"
        'lease = client.lease("meta-llama/Llama-3.1-8B-Instruct", on_progress=print)\ninstance = lease.acquire()',
        "instance",
        "lease.release()\nclient.close()\ninstance.is_stopped",
    )
    path.write_text(json.dumps(cells), encoding="utf-8")
    execute = Path(sys.executable).with_name("jupyter-execute")
    ended = subprocess.run(
        [execute, "--inplace", str(path)],
        env=environment(emulator) | {"JUPYTER_PLATFORM_DIRS": "1", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    outputs = [cell["outputs"] for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    assert outputs[0][0]["data"]["text/plain"] == ["True"]
    assert "running  100%" in "".join(outputs[1][0]["text"])
    assert "<table>" in "".join(outputs[2][0]["data"]["text/html"])
    assert outputs[3][0]["data"]["text/plain"] == ["True"]
    assert emulator.books().still_billed == []


# ---- a prefork server -------------------------------------------------------------------------------

ON_SERVERS = (Path(__file__).parents[2] / "docs" / "synchronous.md").read_text(encoding="utf-8")
PRELOADED, LEASING, CONFIGURATION = re.findall(
    r"```python\n(.*?)```", ON_SERVERS[ON_SERVERS.index("## Forks and prefork servers") :], re.DOTALL
)


@contextmanager
def gunicorn(emulator: Emulator, folder: Path, application: str, *options: str) -> Iterator[str]:
    """A server of two workers that runs the documentation's code; its URL."""
    (folder / "application.py").write_text(application, encoding="utf-8")
    with serving(emulator, folder, "gunicorn", "--workers", "2", "--bind", "fd://FD", *options, "application") as url:
        yield url


def ask_until(url: str, is_enough: Callable[[set[str]], bool]) -> set[str]:
    """The different answers of a server."""
    answers: set[str] = set()
    for _ in range(1000):
        with urlopen(url, timeout=20) as response:  # noqa: S310 - the server's own address
            answers.add(response.read().decode().strip())
        if is_enough(answers):
            break
    return answers


def test_workers_of_a_prefork_server_share_a_client_that_was_used_before_the_fork(
    emulator: Emulator, tmp_path: Path
) -> None:
    used = PRELOADED.replace("client = Client()\n", "client = Client()\nclient.account.balance()\n")
    with gunicorn(emulator, tmp_path, used, "--preload") as url:
        assert all(map(float, ask_until(url, lambda answers: len(answers) == 1)))
        before = emulator.books().requests["balance"]
        ask_until(url, lambda _: emulator.books().requests["balance"] >= before + 20)


def test_each_worker_of_a_prefork_server_has_a_lease_of_its_own_and_releases_it(
    emulator: Emulator, tmp_path: Path
) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(CONFIGURATION, encoding="utf-8")
    with gunicorn(emulator, tmp_path, LEASING) as url:
        urls = ask_until(url, lambda answers: len(answers) == 2)
        assert len(urls) == len(emulator.books().still_billed) == 2
    assert emulator.books().starts == 2
    assert emulator.books().still_billed == []
