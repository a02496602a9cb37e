"""Processes that are killed: what they have left is stopped within seconds, by their guard."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults import emulated
from tests.guard.support import (
    LATE_WINDOW,
    LEASE,
    PROMPT,
    SETTLE_TIME,
    WAIT,
    guarded,
    guards,
    is_stopped,
    kill,
    line_of,
    ready,
    running,
    wait_for,
    wait_stopped,
)
from tests.processes import environment, go_on
from tests.programs import both_styles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferlease.emulator import Emulator, Operation, Phase
    from tests.faults import FaultyEmulator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at its guards through /proc")

HELD: dict[str, tuple[Operation, Phase]] = {
    "unanswered": ("start", "unanswered"),
    "waiting": ("get", "before"),
    "releasing": ("stop", "before"),
}


@emulated(seconds_per_step=0.0)
@both_styles
@pytest.mark.fault(74, 83)
@pytest.mark.parametrize("phase", ["unanswered", "waiting", "body", "releasing"])
def test_what_is_running_when_a_process_is_killed_is_stopped(emulator: FaultyEmulator, style: str, phase: str) -> None:
    with running(emulator, guarded(style)) as victim:
        if phase == "body":
            ready(victim)
            kill(victim)
            assert not is_stopped(emulator)
            wait_stopped(emulator, f"{style}, {phase}")
        else:
            # One request is held, that of the process which is killed: those of the guard are not.
            with emulator.hold(*HELD[phase]) as hold:
                if phase == "releasing":
                    ready(victim)
                    go_on(victim)
                hold.wait_arrived()
                kill(victim)
                assert not is_stopped(emulator)
                seconds = PROMPT + (SETTLE_TIME if phase == "unanswered" else 0.0)
                wait_stopped(emulator, f"{style}, {phase}", seconds)
        wait_for(lambda: not guards(victim.pid))
    assert emulator.books().starts == 1


@emulated(seconds_per_step=0.0)
@both_styles
@pytest.mark.fault(74)
def test_a_process_that_is_killed_before_the_start_is_sent_has_started_nothing(
    emulator: FaultyEmulator, style: str
) -> None:
    with running(emulator, guarded(style)) as victim:
        with emulator.hold("list", "before") as hold:
            hold.wait_arrived()
            wait_for(lambda: guards(victim.pid))
            kill(victim)
        wait_for(lambda: not guards(victim.pid), LATE_WINDOW + PROMPT)
    assert emulator.books().starts == 0


@emulated(seconds_per_step=0.0)
@pytest.mark.fault(83)
def test_a_start_that_takes_effect_only_after_its_process_was_killed_is_found(emulator: FaultyEmulator) -> None:
    with running(emulator, guarded()) as victim:
        with emulator.hold("start", "before") as hold:
            hold.wait_arrived()
            kill(victim)
        wait_for(lambda: emulator.books().starts)
        wait_for(lambda: is_stopped(emulator), SETTLE_TIME + PROMPT)


@emulated(seconds_per_step=0.0)
@pytest.mark.fault(83)
def test_a_plain_start_whose_caller_was_killed_before_it_returned_is_stopped(emulator: FaultyEmulator) -> None:
    with (
        running(emulator, guarded(body="client.instances.start(MODEL)")) as victim,
        emulator.hold("start", "unanswered") as hold,
    ):
        hold.wait_arrived()
        kill(victim)
        wait_for(lambda: is_stopped(emulator), SETTLE_TIME + PROMPT)


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize(
    "body",
    [f"instance = client.instances.start(MODEL)\n{WAIT}", f"with client.lease(MODEL, keep=True):\n    {WAIT}"],
    ids=["a plain start that has returned", "keep"],
)
def test_what_is_to_stay_is_left_alone(emulator: FaultyEmulator, body: str) -> None:
    with running(emulator, guarded(body=body)) as victim:
        ready(victim)
        kill(victim)
        wait_for(lambda: not guards(victim.pid))
    assert len(emulator.books().still_billed) == 1
    assert "stop" not in emulator.books().requests


FORKED = """
def fork_one():
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
"""


@emulated(seconds_per_step=0.0)
@both_styles
@pytest.mark.fault(82)
def test_a_parent_that_has_forked_and_was_killed(emulator: FaultyEmulator, style: str) -> None:
    body = f"ASYNC with client.lease(MODEL):\n    fork_one()\n    {WAIT}"
    with running(emulator, guarded(style, body, before=FORKED), start_new_session=True) as victim:
        ready(victim)
        kill(victim)
        with ended_group(victim.pid):
            wait_stopped(emulator, f"{style}, the parent forked")


@contextlib.contextmanager
def ended_group(leader: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.killpg(leader, signal.SIGKILL)


FORKED_UNSEEN = """
import ctypes

def fork_one():
    if ctypes.CDLL(None).fork() == 0:
        ctypes.CDLL(None).sleep(60)
        ctypes.CDLL(None)._exit(0)
"""


@emulated(seconds_per_step=0.0)
@pytest.mark.fault(82)
def test_a_fork_that_python_does_not_see_holds_the_pipe_open_and_the_death_is_noticed_all_the_same(
    emulator: FaultyEmulator,
) -> None:
    """It holds the journals' locks as well, so only a ledger in memory lets the guard act."""
    before = f"{FORKED_UNSEEN}\nfrom inferlease._memory_ledger import MemoryLedger\n"
    body = f"with client.lease(MODEL):\n    fork_one()\n    {WAIT}"
    script = guarded(body=body, before=before, options="ledger=MemoryLedger()")
    with running(emulator, script, start_new_session=True) as victim:
        ready(victim)
        kill(victim)
        with ended_group(victim.pid):
            wait_for(lambda: is_stopped(emulator))


@emulated(seconds_per_step=0.0)
@pytest.mark.fault(82)
def test_a_forked_child_does_not_hold_the_pipe_open(emulator: FaultyEmulator) -> None:
    body = """
from inferlease import _guard_process
with client.lease(MODEL):
    pipe = _guard_process.side()._child.pipe.fileno()
    if os.fork() == 0:
        try:
            os.fstat(pipe)
        except OSError as error:
            print(error.strerror, flush=True)
        os._exit(0)
    os.wait()
"""
    with running(emulator, guarded(body=body)) as parent:
        assert line_of(parent) == "Bad file descriptor"


@emulated(seconds_per_step=0.0)
def test_the_guard_leaves_what_other_processes_have_left(emulator: FaultyEmulator) -> None:
    unguarded = guarded(body=f"with client.lease('microsoft/phi-4', guard=False):\n    {WAIT}")
    with running(emulator, unguarded) as other:
        ready(other)
        kill(other)
    left = emulator.books().still_billed
    with running(emulator, guarded()) as victim:
        ready(victim)
        kill(victim)
        wait_for(lambda: emulator.books().still_billed == left)
    assert emulator.books().still_billed == left


@emulated(seconds_per_step=0.0)
@pytest.mark.fault(82)
def test_a_forked_child_that_leases_has_a_guard_of_its_own(emulator: FaultyEmulator) -> None:
    body = """
with client.lease(MODEL):
    child = os.fork()
    if child == 0:
        with client.lease(MODEL):
            print(os.getpid(), flush=True)
            time.sleep(60)
    sys.stdin.readline()
"""
    with running(emulator, guarded(body=body)) as parent:
        child = int(line_of(parent))
        assert len(guards(parent.pid)) == len(guards(child)) == 1
        os.kill(child, signal.SIGKILL)
        wait_for(lambda: len(emulator.books().still_billed) == 1)
        kill(parent)
        wait_for(lambda: is_stopped(emulator))


@emulated(seconds_per_step=0.0)
@pytest.mark.fault(74)
def test_a_group_of_processes_that_is_killed_leaves_the_guard(emulator: FaultyEmulator) -> None:
    with running(emulator, guarded(), start_new_session=True) as victim:
        ready(victim)
        os.killpg(victim.pid, signal.SIGKILL)
        wait_stopped(emulator, "the whole group")


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_means_its_parent_does_not_end_it(emulator: FaultyEmulator, number: signal.Signals) -> None:
    with running(emulator, guarded()) as victim:
        ready(victim)
        (guard,) = guards(victim.pid)
        os.kill(guard, number)
        kill(victim)
        wait_for(lambda: is_stopped(emulator))


@emulated(seconds_per_step=0.0)
def test_whoever_reads_what_a_killed_process_prints_is_not_kept_waiting(emulator: FaultyEmulator) -> None:
    script = guarded(body=LEASE.replace("sys.stdin.readline()", "time.sleep(60)"))
    with running(emulator, script, stderr=subprocess.STDOUT) as victim:
        ready(victim)
        cat = subprocess.Popen(["cat"], stdin=victim.stdout, stdout=subprocess.PIPE)
        with emulator.hold("stop", "before") as hold:
            kill(victim)
            hold.wait_arrived()  # the guard is still at work
            assert cat.communicate(timeout=PROMPT) == (b"", None)
        wait_stopped(emulator, "a reader of its output has ended; from then on")


@emulated(seconds_per_step=0.0)
@pytest.mark.fault(74)
def test_a_process_that_the_system_kills_for_its_memory(emulator: FaultyEmulator) -> None:
    """The guard is in the same group: the largest is killed."""
    group = Path(f"/sys/fs/cgroup/memory/inferlease-{uuid.uuid4().hex}")
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(200 << 20))
    except OSError:
        pytest.skip("this user can't make a memory cgroup")
    before = f"open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
    body = """
with client.lease(MODEL):
    print("ready", flush=True)
    sys.stdin.readline()
    hoard = [bytearray(os.urandom(1 << 20)) for _ in range(4000)]
"""
    try:
        with running(emulator, guarded(body=body, before=before)) as victim:
            ready(victim)
            victim.communicate("\n", timeout=40)
            assert victim.returncode == -signal.SIGKILL
            wait_stopped(emulator, "killed for its memory")
            wait_for(lambda: not guards(victim.pid))
    finally:
        wait_for(lambda: is_removed(group))


def is_removed(group: Path) -> bool:
    """A group can be removed once its last process is gone for good."""
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()


@emulated(seconds_per_step=0.0)
def test_a_process_that_is_merely_stopped_keeps_its_lease(emulator: FaultyEmulator) -> None:
    with running(emulator, guarded()) as victim:
        ready(victim)
        victim.send_signal(signal.SIGSTOP)
        (guard,) = guards(victim.pid)
        os.kill(guard, signal.SIGINT)  # that it gets on is seen by its taking no notice
        with pytest.raises(AssertionError, match="not within"):
            wait_for(lambda: is_stopped(emulator), 1.0)
        victim.send_signal(signal.SIGCONT)
        victim.communicate("\n", timeout=40)
        assert victim.returncode == 0
    (instance,) = emulator.books().instances.values()
    assert len(instance.stop_requests) == 1


@emulated(seconds_per_step=0.0)
def test_a_reap_beside_the_guard_does_not_stop_anything_twice(emulator: FaultyEmulator) -> None:
    with running(emulator, guarded()) as victim:
        ready(victim)
        kill(victim)
        command = [sys.executable, "-m", "inferlease.cli", "reap", "--yes"]
        subprocess.run(command, env=environment(emulator), timeout=40, check=True, capture_output=True)
        wait_for(lambda: is_stopped(emulator))
    (instance,) = emulator.books().instances.values()
    assert len(instance.stop_requests) == 1


def reads_its_ledger(guard: int) -> bool:
    """Whether it does within the next moment: each time in a thread that lives for a millisecond, its third one."""
    tasks = Path(f"/proc/{guard}/task")
    return any(len(os.listdir(tasks)) >= 3 for _ in range(2_000))  # noqa: PTH208 - it has to be quick


@emulated(seconds_per_step=0.0)
def test_a_reap_that_is_killed_midway_leaves_the_rest_to_the_guard(emulator: FaultyEmulator) -> None:
    command = [sys.executable, "-m", "inferlease.cli", "reap", "--yes"]
    with running(emulator, guarded()) as victim:
        ready(victim)
        (guard,) = guards(victim.pid)
        os.kill(guard, signal.SIGSTOP)
        kill(victim)
        with (
            emulator.hold("stop", "before") as hold,
            subprocess.Popen(command, env=environment(emulator), stdout=subprocess.DEVNULL) as reaping,
        ):
            hold.wait_arrived()
            os.kill(guard, signal.SIGCONT)
            wait_for(lambda: reads_its_ledger(guard))  # where somebody else has it now
            reaping.kill()
            reaping.wait()
            wait_for(lambda: is_stopped(emulator))


@emulated(seconds_per_step=0.0)
def test_a_process_that_becomes_another_program_has_given_its_lease_up(emulator: FaultyEmulator) -> None:
    sleep = shutil.which("sleep")
    body = f"with client.lease(MODEL):\n    print('ready', flush=True)\n    os.execv({sleep!r}, ['sleep', '60'])"
    with running(emulator, guarded(body=body)) as victim:
        ready(victim)
        wait_for(lambda: is_stopped(emulator))
        assert victim.poll() is None


@emulated(seconds_per_step=0.0)
def test_the_ledger_knows_how_it_ended(emulator: Emulator) -> None:
    with running(emulator, guarded()) as victim:
        ready(victim)
        kill(victim)
        wait_for(lambda: not guards(victim.pid))
    with emulator.sync_client() as client:
        assert [record.ending for record in client.leases.list()] == ["stopped"]
