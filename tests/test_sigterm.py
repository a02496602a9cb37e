"""SIGTERM while a lease is held, in whole processes of both worlds."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.processes import environment, run_script, started
from tests.programs import READY, both_styles, program, written

if TYPE_CHECKING:
    from pathlib import Path

    from inferlease.emulator import Emulator
    from inferlease.emulator.holds import Operation, Phase


def run(emulator: Emulator, script: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return run_script(emulator, script, "-W", "ignore::DeprecationWarning", *flags)


# ---- at each moment of a lease ----------------------------------------------------------------------

HELD: dict[str, tuple[Operation, Phase]] = {
    "entry": ("start", "unanswered"),
    "waiting": ("get", "before"),
    "leaving": ("stop", "before"),
}


@both_styles
@pytest.mark.parametrize("moment", ["entry", "waiting", "body", "leaving"])
def test_the_instance_is_stopped_and_the_process_dies_by_the_signal(
    emulator: Emulator, style: str, moment: str
) -> None:
    hold = emulator.hold(*HELD[moment]) if moment in HELD else None
    with started(emulator, program(style, "print('ready', flush=True)" if moment == "leaving" else READY)) as process:
        if hold is not None:
            hold.wait_arrived(30)
        else:
            process.read_line()
        sent = time.monotonic()
        process.send_signal(signal.SIGTERM)
        said = process.read_error()
        if hold is not None:
            hold.release()
        assert process.end() == -signal.SIGTERM
    (instance,) = emulator.books().instances.values()
    print(f"{style}, {moment}: asked to stop after {instance.stop_requests[0] - sent:.3f} s")  # noqa: T201 - a figure
    assert emulator.books().still_billed == []
    if moment == "entry":
        assert said.startswith("waiting for the answer to the start of")
    else:
        assert said.startswith(f"stopping {instance.instance_id} (up to 120 s, 1.20 EUR/h until then); ")
        assert said.endswith(f"if this process is killed: inferlease stop {instance.instance_id}\n")


@both_styles
@pytest.mark.parametrize("further", [signal.SIGTERM, signal.SIGINT])
def test_a_further_signal_changes_nothing(emulator: Emulator, style: str, further: signal.Signals) -> None:
    with emulator.hold("stop", "before") as hold, started(emulator, program(style)) as process:
        process.read_line()
        process.send_signal(signal.SIGTERM)
        hold.wait_arrived(30)
        for _ in range(3):
            process.send_signal(further)
            time.sleep(0.05)  # two signals at once would be one
        hold.release()
        assert process.end() == -signal.SIGTERM
    assert emulator.books().still_billed == []
    assert "Traceback" not in process.errors


@both_styles
def test_a_handler_of_the_users_for_interrupts_is_not_called_meanwhile(emulator: Emulator, style: str) -> None:
    within = "signal.signal(signal.SIGINT, lambda *_: print('interrupted', flush=True))"
    script = program(style, within=within)
    with emulator.hold("stop", "before") as hold, started(emulator, script) as process:
        process.read_line()
        process.send_signal(signal.SIGTERM)
        hold.wait_arrived(30)
        process.send_signal(signal.SIGINT)
        hold.release()
        assert process.end() == -signal.SIGTERM
    assert process.output == ""


@both_styles
def test_an_interrupt_that_comes_with_it_does_not_take_its_place(emulator: Emulator, style: str) -> None:
    before = """
ignored = _keeper.interrupts_ignored

def interrupted():
    _keeper.interrupts_ignored = ignored
    raise KeyboardInterrupt

_keeper.interrupts_ignored = interrupted
"""
    ended = run(emulator, program(style, "os.kill(os.getpid(), signal.SIGTERM)", before=before))
    assert ended.returncode == -signal.SIGTERM
    assert emulator.books().still_billed == []


@both_styles
def test_the_body_does_not_go_on_while_its_instance_is_stopped(emulator: Emulator, style: str) -> None:
    body = """
print("ready", flush=True)
while True:
    if _sigterm.is_ending():
        print("goes on", flush=True)
"""
    with emulator.hold("stop", "before") as hold, started(emulator, program(style, body)) as process:
        process.read_line()
        process.send_signal(signal.SIGTERM)
        hold.wait_arrived(30)
        hold.release()
        assert process.end() == -signal.SIGTERM
    assert process.output == ""


@both_styles
def test_a_lease_that_is_released_because_of_it_is_not_called_forgotten(emulator: Emulator, style: str) -> None:
    ended = run(emulator, program(style, "os.kill(os.getpid(), 15)"), "-W", "always::ResourceWarning")
    assert ended.returncode == -signal.SIGTERM
    assert "Warning" not in ended.stderr


@both_styles
def test_leases_of_other_threads_are_released_too(emulator: Emulator, style: str) -> None:
    body = """
other = threading.Thread(target=enter_another, daemon=True)
other.start()
entered.wait()
os.kill(os.getpid(), signal.SIGTERM)
"""
    before = """
from inferlease.sync import Client as SyncClient
entered = threading.Event()

def enter_another():
    with SyncClient(poll_interval=0.02) as client, client.lease(MODEL):
        entered.set()
        time.sleep(60)
"""
    assert run(emulator, program(style, body, before=before)).returncode == -signal.SIGTERM
    assert emulator.books().starts == 2
    assert emulator.books().still_billed == []


def test_nothing_is_started_any_more_meanwhile(emulator: Emulator) -> None:
    before = """
from inferlease.sync import Client as SyncClient

def enter_another():
    with SyncClient() as client:
        while not _keeper.is_exiting():
            time.sleep(0.005)
        try:
            client.lease(MODEL).acquire()
        except Exception as error:
            os.write(1, f"{error}\\n".encode())  # the main thread may be in `print`, and stay there
"""
    body = "threading.Thread(target=enter_another).start(); print('ready', flush=True); PAUSE"
    with (
        emulator.hold("stop", "before") as hold,
        started(emulator, program("sync", body, before=before)) as process,
    ):
        process.read_line()
        process.send_signal(signal.SIGTERM)
        assert process.read_line() == "the process is ending: nothing is started any more\n"
        hold.release()
        assert process.end() == -signal.SIGTERM
    assert emulator.books().starts == 1


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_start_that_is_just_being_begun_leaves_nothing_behind(emulator: Emulator, where: str) -> None:
    before = f"""
begin = _keeper.Jobs.begin

def begin_signalled(jobs, job):
    _keeper.Jobs.begin = begin
    if "{where}" == "after":
        begin(jobs, job)
        while not job.done:
            time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGTERM)

_keeper.Jobs.begin = begin_signalled
"""
    assert run(emulator, program("async", before=before)).returncode == -signal.SIGTERM
    assert emulator.books().starts == (where == "after")
    assert emulator.books().still_billed == []


# ---- whose the signal is ----------------------------------------------------------------------------


@both_styles
def test_the_handler_is_there_for_as_long_as_any_lease_is_held(emulator: Emulator, style: str) -> None:
    body = """
print(disposition())
ASYNC with client.lease(MODEL):
    print(disposition())
print(disposition())
"""
    ended = run(emulator, program(style, body, after="print(disposition())", before="print(disposition())"))
    assert ended.stdout.split() == ["default", "handled", "handled", "handled", "default"], ended.stderr


@both_styles
def test_the_handler_goes_when_a_lease_is_released_by_closing_its_client(emulator: Emulator, style: str) -> None:
    text = """
ASYNC def main():
    client = Client(poll_interval=0.02)
    AWAIT client.lease(MODEL).acquire()
    print(disposition())
    AWAIT client.close()
    print(disposition())

RUN
"""
    ended = run(emulator, written(style, text))
    assert ended.stdout.split() == ["handled", "default"], ended.stderr


@both_styles
def test_the_handler_goes_when_an_entry_fails(emulator: Emulator, style: str) -> None:
    text = """
def refuse(event):
    print(disposition())
    raise LookupError

ASYNC def main():
    ASYNC with Client(poll_interval=0.02) as client:
        try:
            AWAIT client.lease(MODEL, on_progress=refuse).acquire()
        except LookupError:
            print(disposition())

RUN
"""
    ended = run(emulator, written(style, text))
    assert ended.stdout.split() == ["handled", "default"], ended.stderr


OWN = """
def own(*_):
    print("own")

"""


@both_styles
def test_a_handler_of_the_users_is_never_replaced(emulator: Emulator, style: str) -> None:
    body = "os.kill(os.getpid(), signal.SIGTERM); print(signal.getsignal(signal.SIGTERM) is own)"
    ended = run(emulator, program(style, body, before=OWN + "signal.signal(signal.SIGTERM, own)"))
    assert ended.stdout.split() == ["own", "True"], ended.stderr
    assert ended.returncode == 0


@both_styles
def test_a_handler_that_the_user_puts_in_place_later_is_not_removed(emulator: Emulator, style: str) -> None:
    body = "signal.signal(signal.SIGTERM, own)"
    ended = run(emulator, program(style, body, before=OWN, after="print(signal.getsignal(signal.SIGTERM) is own)"))
    assert ended.stdout == "True\n", ended.stderr


@both_styles
def test_an_ignored_signal_stays_ignored(emulator: Emulator, style: str) -> None:
    before = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    ended = run(emulator, program(style, "print(signal.getsignal(signal.SIGTERM).name)", before=before))
    assert ended.stdout == "SIG_IGN\n", ended.stderr


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_handler_of_the_users_loop_is_left_alone(emulator: Emulator, when: str) -> None:
    add = "asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)"
    body = "os.kill(os.getpid(), signal.SIGTERM); await asked.wait(); print('left')"
    within, body = (add, body) if when == "before" else ("", f"{add}\n{body}")
    text = program("async", body, before="asked = asyncio.Event()", within=within)
    ended = run(emulator, text)
    assert (ended.stdout, ended.returncode) == ("left\n", 0), ended.stderr
    assert emulator.books().still_billed == []


@both_styles
def test_a_variable_of_the_environment_turns_it_off(
    emulator: Emulator, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERLEASE_SIGTERM", "0")
    assert run(emulator, program(style, "print(disposition())")).stdout == "default\n"


@both_styles
def test_a_lease_of_another_thread_leaves_the_signal_as_it_is(emulator: Emulator, style: str) -> None:
    text = program(style, "print(disposition())").rstrip()
    head, _, call = text.rpartition("\n")
    ended = run(emulator, f"{head}\nthread = threading.Thread(target=lambda: {call})\nthread.start(); thread.join()")
    assert (ended.stdout, ended.returncode) == ("default\n", 0), ended.stderr
    assert emulator.books().still_billed == []


def test_where_nothing_is_held_any_more_the_process_dies_at_once(emulator: Emulator) -> None:
    text = """
client = Client(poll_interval=0.02)
lease = client.lease(MODEL)
lease.acquire()
thread = threading.Thread(target=lease.release)
thread.start(); thread.join()
print(disposition(), flush=True)
_keeper.loop().call_soon_threadsafe(time.sleep, 60)
os.kill(os.getpid(), signal.SIGTERM)
print("goes on")
"""
    ended = run(emulator, written("sync", text))
    assert (ended.stdout, ended.stderr) == ("handled\n", "")
    assert ended.returncode == -signal.SIGTERM


# ---- where something is in the way ------------------------------------------------------------------


@both_styles
def test_interrupted_code_can_let_go_of_a_lock_that_the_release_needs(emulator: Emulator, style: str) -> None:
    before = """
_sigterm._STALL = 0.3
handler = logging.StreamHandler()
logging.getLogger("inferlease").addHandler(handler)
logging.getLogger("inferlease").setLevel("INFO")
"""
    body = """
with handler.lock:
    print("ready", flush=True)
    while not _sigterm.is_ending():
        time.sleep(0.005)
PAUSE
"""
    with started(emulator, program(style, body, before=before)) as process:
        process.read_line()
        process.send_signal(signal.SIGTERM)
        assert process.end() == -signal.SIGTERM
    assert emulator.books().still_billed == []
    assert "stopped after" in process.errors


HATCH = """
_sigterm._STALL = 0.0  # the handler returns at once
_sigterm._PATIENCE = 3600.0
"""

NO_FURTHER_SIGNAL = """
_sigterm.os = type("os", (), vars(os) | {"kill": lambda *_: None})
"""


@both_styles
def test_a_program_that_ends_meanwhile_dies_by_the_signal_all_the_same(emulator: Emulator, style: str) -> None:
    before = HATCH + NO_FURTHER_SIGNAL + "sys.stdout = open(1, 'w', closefd=False)"  # with a buffer
    ended = run(emulator, program(style, "os.kill(os.getpid(), 15)", before=before, after="print('ended')"))
    assert ended.returncode == -signal.SIGTERM
    assert ended.stdout == "ended\n"
    assert emulator.books().still_billed == []


@both_styles
def test_a_main_thread_that_is_out_of_reach_does_not_keep_the_process(emulator: Emulator, style: str) -> None:
    before = HATCH + NO_FURTHER_SIGNAL + "_sigterm._PATIENCE = 0.1"
    ended = run(emulator, program(style, "os.kill(os.getpid(), 15); PAUSE", before=before))
    assert ended.returncode == 143
    assert emulator.books().still_billed == []


def test_a_handler_that_the_user_puts_in_place_meanwhile_gets_the_signal_at_the_end(emulator: Emulator) -> None:
    before = HATCH + "_sigterm._PATIENCE = 0.0" + OWN
    body = "signal.raise_signal(15); signal.signal(signal.SIGTERM, lambda *_: got.set()); got.wait(); print('got')"
    ended = run(emulator, program("sync", body, before=before + "got = threading.Event()"))
    assert ended.stdout == "got\n", ended.stderr
    assert emulator.books().still_billed == []


def test_what_it_says_does_not_need_the_lock_of_stderr(emulator: Emulator) -> None:
    before = """
_sigterm._STALL = 3600

class Slow(io.RawIOBase):
    def writable(self):
        return True
    def write(self, data):
        print("ready", flush=True)
        for _ in range(1200):  # a signal that comes just before a sleep is noticed after it
            time.sleep(0.05)

slow = io.TextIOWrapper(io.BufferedWriter(Slow()), write_through=True)
"""
    body = "sys.stderr = slow; print('held', file=slow, flush=True)"
    with started(emulator, program("sync", body, before=before)) as process:
        process.read_line()
        process.send_signal(signal.SIGTERM)
        assert process.end() == -signal.SIGTERM
    assert process.errors.startswith("stopping ")


def test_what_it_says_does_not_wait_for_a_reader(emulator: Emulator) -> None:
    body = """
os.set_blocking(2, False)
try:
    while os.write(2, b"-" * 4096): pass
except BlockingIOError:
    os.set_blocking(2, True)
os.kill(os.getpid(), 15)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program("sync", body)], env=environment(emulator), stderr=subprocess.PIPE
    ) as process:
        assert process.wait(30) == -signal.SIGTERM
    assert emulator.books().still_billed == []


@pytest.mark.skipif(shutil.which("unshare") is None, reason="there is no unshare to make the first process with")
@both_styles
def test_the_first_process_of_a_container_ends_with_the_signals_exit_code(emulator: Emulator, style: str) -> None:
    alone = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
    if subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no namespace may be made here")
    ended = subprocess.run(
        [*alone, sys.executable, "-c", program(style, "assert os.getpid() == 1; os.kill(1, 15); print('goes on')")],
        env=environment(emulator),
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (143, ""), ended.stderr
    assert emulator.books().still_billed == []


# ---- children ---------------------------------------------------------------------------------------


@both_styles
def test_a_forked_child_dies_at_once_and_leaves_the_lease_to_its_parent(emulator: Emulator, style: str) -> None:
    body = """
ours, theirs = os.pipe()
child = os.fork()
if child == 0:
    os.write(theirs, disposition().encode())
    time.sleep(60)
print(os.read(ours, 100).decode())
os.kill(child, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
AWAIT instance.refresh()
print(instance.is_usable)
"""
    ended = run(emulator, program(style, body))
    assert ended.stdout.split() == ["default", "-15", "True"], ended.stderr
    assert emulator.books().still_billed == []


@both_styles
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_of_multiprocessing_releases_its_own_lease_when_it_is_terminated(
    emulator: Emulator, style: str, method: str, tmp_path: Path
) -> None:
    head, _, call = program(style, "entered.set(); PAUSE").rstrip().rpartition("\n")
    text = f"""{head}

def work(event):
    global entered
    entered = event
    {call}

if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    event = context.Event()
    child = context.Process(target=work, args=(event,))
    child.start(); event.wait(); child.terminate(); child.join()
    print(child.exitcode, disposition())
"""
    path = tmp_path / "program.py"
    path.write_text(text, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, str(path)],
        env=environment(emulator),
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert ended.stdout == "-15 default\n", ended.stderr
    assert emulator.books().starts == 1
    assert emulator.books().still_billed == []
