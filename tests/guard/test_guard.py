"""How a guard comes and goes with its process, and what happens if it dies or does not come up."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

import pytest

from inferlease.emulator import Fault
from tests.faults import emulated
from tests.guard.support import (
    IN_MEMORY,
    LEASE,
    LINGERING,
    LOGGED,
    PROMPT,
    REFUSED,
    SETTLE_TIME,
    WAIT,
    end,
    guarded,
    guards,
    is_stopped,
    is_watching,
    kill,
    line_of,
    ready,
    running,
    wait_for,
)
from tests.processes import go_on, run_script
from tests.programs import both_styles

if TYPE_CHECKING:
    from tests.faults import FaultyEmulator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at its guards through /proc")


@emulated(seconds_per_step=0.0)
def test_fifty_leases_have_one_guard_which_goes_when_nothing_is_left(emulator: FaultyEmulator) -> None:
    body = """
async def one():
    async with client.lease(MODEL):
        started.append(1)
        await leave.wait()

started, leave = [], asyncio.Event()
leases = [asyncio.create_task(one()) for _ in range(50)]
while len(started) < 50:
    await asyncio.sleep(0.05)
print("ready", flush=True)
await asyncio.to_thread(sys.stdin.readline)
leave.set()
await asyncio.gather(*leases)
print("left", flush=True)
await asyncio.to_thread(sys.stdin.readline)
"""
    with running(emulator, guarded("async", body)) as parent:
        ready(parent)
        (guard,) = guards(parent.pid)
        status = Path(f"/proc/{guard}/status").read_text()
        resident = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert resident is not None
        print(f"a guard of 50 leases: {int(resident[1]) / 1024:.1f} MiB resident")  # noqa: T201 - a figure
        go_on(parent)
        assert line_of(parent) == "left"
        wait_for(lambda: not Path(f"/proc/{guard}").exists(), LINGERING + PROMPT)  # nor is it left as a zombie
        end(parent)
    assert is_stopped(emulator)


@emulated(seconds_per_step=0.0)
def test_a_lease_after_it_has_gone_has_another_one(emulator: FaultyEmulator) -> None:
    body = f"with client.lease(MODEL): pass\n{WAIT}\n{LEASE.replace('ASYNC ', '')}"
    script = guarded(body=body, before="from inferlease import _guard_process\n_guard_process._LINGER = 0.1")
    with running(emulator, script) as parent:
        ready(parent)
        wait_for(lambda: not guards(parent.pid))
        go_on(parent)
        ready(parent)
        assert guards(parent.pid)
        kill(parent)
        wait_for(lambda: is_stopped(emulator))


@emulated(seconds_per_step=0.0)
@both_styles
def test_a_process_that_ends_cleanly_leaves_no_guard_and_no_request(emulator: FaultyEmulator, style: str) -> None:
    with running(emulator, guarded(style)) as parent:
        ready(parent)
        assert end(parent) == ("", "")
        asked = dict(emulator.books().requests)
        wait_for(lambda: not guards(parent.pid))
    assert emulator.books().requests == asked
    (instance,) = emulator.books().instances.values()
    assert len(instance.stop_requests) == 1


@emulated(seconds_per_step=0.0)
def test_its_end_is_no_warning_where_all_are_errors(emulator: FaultyEmulator) -> None:
    body = "with client.lease(MODEL): pass"
    ended = run_script(emulator, guarded(body=body), "-W", "error")
    assert (ended.returncode, ended.stderr) == (0, "")


@emulated(seconds_per_step=0.0)
@pytest.mark.fault(74)
@pytest.mark.parametrize("whole_group", [False, True], ids=["the process", "the whole group"])
def test_sigterm_is_left_to_the_process_itself(emulator: FaultyEmulator, whole_group: bool) -> None:
    with running(emulator, guarded(), start_new_session=True) as parent:
        ready(parent)
        (os.killpg if whole_group else os.kill)(parent.pid, signal.SIGTERM)
        assert parent.wait(40) == -signal.SIGTERM
        assert is_stopped(emulator)
        wait_for(lambda: not guards(parent.pid))
    (instance,) = emulator.books().instances.values()
    assert len(instance.stop_requests) == 1


@emulated(seconds_per_step=0.0)
@pytest.mark.fault(74)
def test_a_process_that_is_killed_while_its_exit_releases(emulator: FaultyEmulator) -> None:
    body = "lease = client.lease(MODEL)\nlease.acquire()\nprint('ready', flush=True)\nsys.exit()"
    with emulator.hold("stop", "before") as hold, running(emulator, guarded(body=body)) as victim:
        ready(victim)
        hold.wait_arrived()
        kill(victim)
        wait_for(lambda: is_stopped(emulator))


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize(
    ("is_exclusive", "faults"),
    [(True, ()), (True, (Fault("bad_item", "list", times=1),)), (False, ())],
    ids=["ours for certain", "unreadable at first", "perhaps somebody else's"],
)
def test_a_lost_start_is_still_looked_for_when_its_process_has_ended(
    emulator: FaultyEmulator, is_exclusive: bool, faults: tuple[Fault, ...]
) -> None:
    body = """
try:
    with client.lease(MODEL, timeout=0.5): pass
except Exception as error:
    print("lost", flush=True)
"""
    script = guarded(body=body).replace("late_window=5.0", "timeout=1.0, late_window=30.0")
    script = script.replace("exclusive=True", f"exclusive={is_exclusive}")
    with running(emulator, script) as parent:
        with emulator.hold("start", "before"):
            assert line_of(parent) == "lost"
            end(parent)
            assert guards(parent.pid)
            looks = len(emulator.asked("list"))
            wait_for(lambda: len(emulator.asked("list")) > looks)  # in vain
            emulator.inject(*faults)
        wait_for(lambda: emulator.books().starts)
        wait_for(lambda: not guards(parent.pid), SETTLE_TIME + PROMPT)
        assert is_stopped(emulator) == is_exclusive


@emulated(seconds_per_step=0.0)
def test_how_long_it_takes_to_start(emulator: FaultyEmulator) -> None:
    script = """
import time
from inferlease import _guard_process
for _ in range(5):
    began = time.perf_counter()
    child = _guard_process._Side()._spawn()
    print(f"{(time.perf_counter() - began) * 1000:.0f} ms", flush=True)
    child.dismiss()
    assert child.process.wait(10) == 0
"""
    ended = run_script(emulator, script)
    assert ended.returncode == 0, ended.stderr
    print("the guard watches after", ", ".join(ended.stdout.splitlines()))  # noqa: T201 - a figure


# ---- when it dies or does not come up --------------------------------------------------------------------


@emulated(seconds_per_step=0.0)
def test_a_guard_that_is_killed_is_told_once_and_replaced(emulator: FaultyEmulator) -> None:
    with running(emulator, guarded(before=LOGGED)) as victim:
        ready_after_log(victim)
        for _ in range(2):
            (guard,) = guards(victim.pid)
            os.kill(guard, signal.SIGKILL)
            wait_for(lambda: [pid for pid in guards(victim.pid) if pid != guard])  # noqa: B023 (used at once)
        wait_for(lambda: len(guards(victim.pid)) == 1 and is_watching(guards(victim.pid)[0]))
        wait_for(lambda: "guard has died" in line_of(victim))
        kill(victim)
        assert victim.stdout is not None
        assert "guard has died" not in victim.stdout.read()
        wait_for(lambda: is_stopped(emulator))


def ready_after_log(process: subprocess.Popen[str]) -> None:
    wait_for(lambda: line_of(process) == "ready")


@emulated(seconds_per_step=0.0)
def test_a_guard_that_was_stopped_is_replaced_once_it_takes_in_no_more(emulator: FaultyEmulator) -> None:
    body = f"""
from inferlease import _guard_process
with client.lease(MODEL):
    print("ready", flush=True)
    sys.stdin.readline()
    side = _guard_process.side()
    stopped = side._child
    stopped.pipe.settimeout(0.2)
    with side._telling:
        side._tell(journal="x" * 10_000_000, over=True)
    while side._child in (None, stopped):  # the other one knows nothing yet
        time.sleep(0.01)
    {WAIT}
"""
    with running(emulator, guarded(body=body)) as victim:
        ready(victim)
        (guard,) = guards(victim.pid)
        os.kill(guard, signal.SIGSTOP)
        go_on(victim)
        ready(victim)
        wait_for(lambda: (left := guards(victim.pid)) and guard not in left and is_watching(left[0]))
        kill(victim)
        wait_for(lambda: is_stopped(emulator))


@emulated(seconds_per_step=0.0)
def test_a_guard_that_takes_in_no_more_does_not_hold_up_the_keeper(emulator: FaultyEmulator) -> None:
    body = f"""
from inferlease import _guard_process
with client.lease(MODEL):
    {WAIT}
    side, done = _guard_process.side(), threading.Event()
    side._child.pipe.settimeout(None)
    telling = threading.Thread(target=side.more, args=(next(iter(side._entries)), "x" * 10_000_000), daemon=True)
    telling.start()
    while not side._telling.locked():
        time.sleep(0.01)
    for call in (side._dismiss, side._begin_later, done.set):
        _keeper.loop().call_soon_threadsafe(call)
    done.wait()
    print("still telling" if telling.is_alive() else "told", flush=True)
    os._exit(0)
"""
    with running(emulator, guarded(body=body)) as victim:
        ready(victim)
        (guard,) = guards(victim.pid)
        os.kill(guard, signal.SIGSTOP)
        go_on(victim)
        assert line_of(victim) == "still telling"
        os.kill(guard, signal.SIGKILL)


@emulated(seconds_per_step=0.0)
def test_a_guard_that_was_stopped_does_not_hold_up_the_exit(emulator: FaultyEmulator) -> None:
    body = f"""
from inferlease import _guard_process
_guard_process._LINGER = 0.1
with client.lease(MODEL):
    {WAIT}
while _guard_process.side()._child is not None:
    time.sleep(0.01)
"""
    with running(emulator, guarded(body=body)) as parent:
        ready(parent)
        (guard,) = guards(parent.pid)
        os.kill(guard, signal.SIGSTOP)
        try:
            assert end(parent) == ("", "")
        finally:
            os.kill(guard, signal.SIGCONT)


FAILING = {
    "no descriptor is left": "def spawn(*args, **options): raise OSError(24, 'Too many open files')\n"
    "_guard_process.subprocess.Popen = spawn\n",
    "it takes too long": "_guard_process._START = 0.001\n",
    "it ends at once": "_guard_process._environment = lambda: {'PYTHONHOME': '/nowhere'}\n",
}


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize("how", FAILING)
def test_where_it_does_not_come_up_a_lease_goes_on_with_one_warning(emulator: FaultyEmulator, how: str) -> None:
    before = f"from inferlease import _guard_process\n{LOGGED}{FAILING[how]}"
    ended = run_script(emulator, guarded(body="for _ in range(2):\n    with client.lease(MODEL): pass", before=before))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("instances are not guarded") == 1
    assert emulator.books().starts == 2
    assert is_stopped(emulator)


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize("how", FAILING)
def test_where_it_does_not_come_up_a_lease_that_must_have_it_is_refused(emulator: FaultyEmulator, how: str) -> None:
    ended = run_script(emulator, guarded(body=REFUSED, before=f"from inferlease import _guard_process\n{FAILING[how]}"))
    assert ended.stdout.startswith("there can be no guard: it could not be started"), ended.stderr
    assert emulator.books().starts == 0


@emulated(seconds_per_step=0.0)
def test_a_guard_that_died_and_can_t_be_replaced_is_told(emulator: FaultyEmulator) -> None:
    body = f"with client.lease(MODEL, guard=True):\n{indent(FAILING['it ends at once'], '    ')}    {WAIT}"
    with running(emulator, guarded(body=body, before=f"from inferlease import _guard_process\n{LOGGED}")) as parent:
        ready(parent)
        (guard,) = guards(parent.pid)
        os.kill(guard, signal.SIGKILL)
        assert line_of(parent).startswith("instances are not guarded: it could not be started: it ended at once")
        output, _ = end(parent)
    assert "another one" not in output


@emulated(seconds_per_step=0.0)
def test_where_the_guard_has_gone_before_a_slow_ledger_is_ready_a_lease_that_must_have_it_is_not_sent(
    emulator: FaultyEmulator,
) -> None:
    before = f"""{IN_MEMORY}
from inferlease import _guard_process
_guard_process._LINGER = 0.1

class Slow(MemoryLedger):
    def begin(self, intent):
        while _guard_process.side()._child is not None:
            time.sleep(0.01)
{indent(FAILING["it ends at once"], " " * 8)}
        return super().begin(intent)
"""
    ended = run_script(emulator, guarded(body=REFUSED, before=before, options="ledger=Slow()"))
    assert ended.stdout.startswith("there can be no guard: it could not be started"), ended.stderr
    assert emulator.books().starts == 0
