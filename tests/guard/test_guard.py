"""The guard while its process lives: what it is told and what not, how it comes and goes, and where there is none."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

import pytest

from inferlease._guarded import told as told_of
from inferlease._guardian import READY, Book, _ssl_context, listen
from inferlease.emulator import Fault
from tests.faults import emulated
from tests.guard.support import (
    LEASE,
    LINGERING,
    PROMPT,
    SETTLE_TIME,
    WAIT,
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
from tests.processes import environment, go_on, run_script
from tests.programs import both_styles
from tests.raw_server import client_tls

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferlease.emulator import Emulator
    from tests.faults import FaultyEmulator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at its guards through /proc")

LOGGED = "logging.basicConfig(stream=sys.stdout, format='%(message)s', level=logging.WARNING)\n"


def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Let it go on to its end: what it said on its way."""
    output, errors = process.communicate("\n", timeout=40)
    assert process.returncode == 0, errors
    return output, errors


# ---- what it is told, and how ----------------------------------------------------------------------------


@emulated(seconds_per_step=0.0)
def test_no_secret_is_in_its_arguments_its_environment_or_a_file(
    emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inferlease.emulator.provisioning.CLIENT_SECRET", "a-very-secret-secret")
    variables = environment(emulator) | {
        "CORTECS_CLIENT_SECRET": "a-very-secret-secret",
        "OPENAI_API_KEY": "a-key-of-another-kind",
        "HTTPS_PROXY": "http://somebody:a-password@proxy.invalid",
    }
    open_file = "os.set_inheritable(os.open(sys.executable, os.O_RDONLY), True)"
    with running(emulator, guarded(before=open_file), env=variables) as parent:
        ready(parent)
        (guard,) = guards(parent.pid)
        tokens = {request.authorization.split()[1] for request in emulator.asked("get") if request.authorization}
        proc = Path(f"/proc/{guard}")
        shown = (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()
        files = {int(each.name): str(each.readlink()) for each in (proc / "fd").iterdir()}
        end(parent)
    assert tokens
    for secret in ["a-very-secret-secret", "a-key-of-another-kind", "a-password", *tokens]:
        assert secret.encode() not in shown
    watched = files.pop(3)
    assert re.fullmatch(r"anon_inode:\[pidfd\]", watched)
    assert re.fullmatch(r"socket:\[\d+\]", files.pop(0))
    assert set(files.values()) == {"/dev/null"}
    assert sorted(files) == [1, 2]


@emulated(seconds_per_step=0.0)
def test_it_is_a_session_of_its_own_and_keeps_no_folder_busy(emulator: Emulator) -> None:
    with running(emulator, guarded()) as parent:
        ready(parent)
        (guard,) = guards(parent.pid)
        assert os.getsid(guard) == guard
        assert str(Path(f"/proc/{guard}/cwd").readlink()) == "/"
        end(parent)


@emulated(seconds_per_step=0.0)
def test_it_starts_beside_the_baseline_and_watches_before_the_start_is_sent(emulator: FaultyEmulator) -> None:
    with running(emulator, guarded()) as parent:
        with emulator.hold("list", "before") as listing:
            listing.wait_arrived()
            wait_for(lambda: guards(parent.pid))
        with emulator.hold("start", "before") as start:
            start.wait_arrived()
            (guard,) = guards(parent.pid)
            files = [str(each.readlink()) for each in Path(f"/proc/{guard}/fd").iterdir()]
            assert "anon_inode:[pidfd]" in files
        end(parent)


def test_an_authority_of_ones_own_is_passed_on() -> None:
    context = client_tls()
    told = told_of(context)
    assert told is not None
    made = _ssl_context(told)
    assert made is not None
    assert made.get_ca_certs(binary_form=True) == context.get_ca_certs(binary_form=True) != []
    assert (made.check_hostname, made.verify_mode) == (True, ssl.CERT_REQUIRED)


def test_a_context_that_checks_nothing_is_passed_on() -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    told = told_of(context)
    assert told is not None
    made = _ssl_context(told)
    assert made is not None
    assert (made.check_hostname, made.verify_mode) == (False, ssl.CERT_NONE)


def test_what_a_parent_has_said_before_it_died_counts_and_half_a_line_does_not() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b'{"group": "0", "options": {}}\n{"journal": "one", "group": "0", "text": null}\n{"journ')
        book = Book()
        listen(ours, 0x7FFFFFFF, book)  # nobody's parent
        assert book.open_names("0") == {"one"}
        assert theirs.recv(10) == READY


def test_what_it_does_not_understand_is_an_error() -> None:
    with pytest.raises(ValueError, match="not known here"):
        Book().note(b'{"journal": "one", "ends": true}')


# ---- how it comes and goes -------------------------------------------------------------------------------


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


# ---- where there is none ---------------------------------------------------------------------------------

REFUSED = """
from inferlease import ConfigurationError
try:
    with client.lease(MODEL, guard=True): pass
except ConfigurationError as error:
    print(error)
"""

UNSUITABLE = {"a frozen program": "sys.frozen = True", "an embedded interpreter": "sys.executable = '/usr/sbin/uwsgi'"}


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize("what", UNSUITABLE)
def test_where_there_is_no_interpreter_to_start_a_lease_that_must_have_it_is_refused(
    emulator: FaultyEmulator, what: str
) -> None:
    ended = run_script(emulator, guarded(body=REFUSED, before=UNSUITABLE[what]))
    assert ended.stdout.startswith("there can be no guard: this program has no Python interpreter"), ended.stderr


LACKING = {
    "os.fork": "import os; del os.fork",
    # Python's own modules ask only for os.fork.
    "os.register_at_fork": "import asyncio, concurrent.futures.thread, logging, os, random; del os.register_at_fork",
    "os.pidfd_open": "import os; del os.pidfd_open",
    "fcntl": "import sys; sys.modules['fcntl'] = None",
}


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize("what", LACKING)
def test_where_the_platform_lacks_what_it_takes_a_lease_that_must_have_it_is_refused(
    emulator: FaultyEmulator, what: str
) -> None:
    script = f"{LACKING[what]}\n{guarded(body=REFUSED, options='ledger=MemoryLedger()', before=IN_MEMORY)}"
    ended = run_script(emulator, script)
    assert ended.stdout.startswith("there can be no guard: this platform"), ended.stderr
    assert what in ended.stdout
    assert emulator.books().starts == 0


IN_MEMORY = "from inferlease._memory_ledger import MemoryLedger"


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize("what", LACKING)
def test_where_the_platform_lacks_what_it_takes_a_lease_works_and_warns(emulator: FaultyEmulator, what: str) -> None:
    before = f"{IN_MEMORY}\n{LOGGED}"
    body = "for _ in range(2):\n    with client.lease(MODEL): pass"
    script = f"{LACKING[what]}\n{guarded(body=body, options='ledger=MemoryLedger()', before=before)}"
    ended = run_script(emulator, script)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("instances are not guarded") == 1
    assert emulator.books().starts == 2
    assert is_stopped(emulator)


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize("what", LACKING)
def test_where_the_platform_lacks_what_it_takes_the_tool_works(emulator: FaultyEmulator, what: str) -> None:
    variables = {name: value for name, value in environment(emulator).items() if name != "INFERLEASE_STATE_DIR"}
    script = f"{LACKING[what]}\nimport sys\nfrom inferlease.cli import main\nsys.exit(main())"
    ended = subprocess.run(
        [sys.executable, "-c", script, "leases"], env=variables, capture_output=True, text=True, timeout=40, check=False
    )
    assert ended.returncode == 0, ended.stderr


OFF: dict[str, tuple[str, Callable[[dict[str, str]], dict[str, str]]]] = {
    "INFERLEASE_GUARD=0": ("", lambda variables: variables | {"INFERLEASE_GUARD": "0"}),
    "guard=False": (", guard=False", lambda variables: variables),
}


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize("how", OFF)
def test_it_can_be_turned_off(emulator: FaultyEmulator, how: str) -> None:
    argument, changed = OFF[how]
    script = guarded(body=f"with client.lease(MODEL{argument}):\n    {WAIT}", before=LOGGED)
    with running(emulator, script, env=changed(environment(emulator))) as parent:
        ready(parent)
        assert guards(parent.pid) == []
        assert end(parent) == ("", "")


@emulated(seconds_per_step=0.0)
def test_an_argument_wins_over_the_environment(emulator: FaultyEmulator) -> None:
    script = guarded(body=f"with client.lease(MODEL, guard=True):\n    {WAIT}")
    with running(emulator, script, env=environment(emulator) | {"INFERLEASE_GUARD": "0"}) as parent:
        ready(parent)
        assert guards(parent.pid)
        end(parent)


# ---- where the ledger is not in a folder -----------------------------------------------------------------

STORES = {
    "a ledger in memory": IN_MEMORY,
    "a store of one's own": f"""{IN_MEMORY} as Base

class MemoryLedger:
    def __init__(self):
        self._ledger = Base()

    def __getattr__(self, name):
        return getattr(self._ledger, name)
""",
}


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize("store", STORES)
def test_a_ledger_that_ends_with_the_process_does_not_end_the_guards_knowledge(
    emulator: FaultyEmulator, store: str
) -> None:
    with running(emulator, guarded(before=STORES[store], options="ledger=MemoryLedger()")) as victim:
        ready(victim)
        kill(victim)
        wait_for(lambda: is_stopped(emulator))


@emulated(seconds_per_step=0.0)
@pytest.mark.fault(83)
def test_a_lost_start_that_was_in_memory_only_is_found(emulator: FaultyEmulator) -> None:
    script = guarded(before=IN_MEMORY, options="ledger=MemoryLedger()")
    with running(emulator, script) as victim, emulator.hold("start", "unanswered") as hold:
        hold.wait_arrived()
        kill(victim)
        wait_for(lambda: is_stopped(emulator), SETTLE_TIME + PROMPT)


@emulated(seconds_per_step=0.0)
def test_a_lost_start_is_left_that_is_known_to_a_store_of_ones_own(emulator: FaultyEmulator) -> None:
    """What other processes have started from that store, the guard can't tell."""
    script = guarded(before=STORES["a store of one's own"], options="ledger=MemoryLedger()")
    with running(emulator, script) as victim, emulator.hold("start", "unanswered") as hold:
        hold.wait_arrived()
        kill(victim)
        wait_for(lambda: not guards(victim.pid), SETTLE_TIME + PROMPT)
    assert len(emulator.books().still_billed) == 1


@emulated(seconds_per_step=0.0)
def test_what_stays_of_a_process_whose_ledger_is_in_memory_is_left_alone(emulator: FaultyEmulator) -> None:
    """Another start of the same arguments, whose answer was lost, must not be given its instance."""
    body = """
instance = client.instances.start(MODEL)
print("ready", flush=True)
sys.stdin.readline()
client.instances.start(MODEL)
"""
    with running(emulator, guarded(body=body, before=IN_MEMORY, options="ledger=MemoryLedger()")) as victim:
        ready(victim)
        (kept,) = emulator.books().still_billed
        with emulator.hold("start", "unanswered") as hold:
            go_on(victim)
            hold.wait_arrived()
            kill(victim)
            wait_for(lambda: emulator.books().still_billed == [kept], SETTLE_TIME + PROMPT)
            wait_for(lambda: not guards(victim.pid))
    assert emulator.books().still_billed == [kept]


DISMISSED_BEFORE_IT_IS_TOLD = f"""{IN_MEMORY}
from inferlease import _guard_process
tell = _guard_process._Side._tell

def dismiss_before(side, **message):
    if "handed over" in message.get("more", ""):
        is_dismissed = threading.Event()
        _keeper.loop().call_soon_threadsafe(lambda: (side._dismiss(), is_dismissed.set()))
        is_dismissed.wait()
    tell(side, **message)

_guard_process._Side._tell = dismiss_before
"""


@emulated(seconds_per_step=0.0)
def test_an_idle_guard_is_not_dismissed_before_it_is_told_what_was_handed_over(emulator: FaultyEmulator) -> None:
    body = f"client.instances.start(MODEL)\n{WAIT}"
    script = guarded(body=body, before=DISMISSED_BEFORE_IT_IS_TOLD, options="ledger=MemoryLedger()")
    with running(emulator, script) as parent:
        ready(parent)
        end(parent)
        wait_for(lambda: not guards(parent.pid))
    assert len(emulator.books().still_billed) == 1


@emulated(seconds_per_step=0.0)
def test_what_was_left_to_a_ledger_in_memory_and_restarted_is_not_stopped_when_the_process_ends(
    emulator: FaultyEmulator,
) -> None:
    body = f"""
ledger = MemoryLedger()
try:
    with Client(ledger=ledger) as first, first.lease(MODEL, release_timeout=0.2): pass
except Exception:
    print("left", flush=True)
with Client(ledger=ledger) as second:
    (left,) = second.instances.stop_all()
    second.instances.restart(left)
{WAIT}
"""
    emulator.fault("stop", 403, handled=False, times=None)
    with running(emulator, guarded(body=body, before=IN_MEMORY)) as parent:
        assert line_of(parent) == "left"
        ready(parent)
        tried = len(emulator.asked("stop"))
        end(parent)
        wait_for(lambda: not guards(parent.pid))
    assert (emulator.books().starts, len(emulator.asked("stop"))) == (1, tried)


@emulated(seconds_per_step=0.0)
def test_what_is_to_be_kept_by_a_process_whose_ledger_is_in_memory_is_left_alone(emulator: FaultyEmulator) -> None:
    body = f"with client.lease(MODEL, keep=True):\n    {WAIT}"
    with running(emulator, guarded(body=body, before=IN_MEMORY, options="ledger=MemoryLedger()")) as victim:
        ready(victim)
        kill(victim)
    assert len(emulator.books().still_billed) == 1


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize("is_temporary_usable", [True, False], ids=["in the temporary directory", "in memory"])
def test_wherever_the_ledger_falls_back_to(emulator: FaultyEmulator, tmp_path: Path, is_temporary_usable: bool) -> None:
    (tmp_path / "state").touch()
    if not is_temporary_usable:
        (tmp_path / f"inferlease-{os.getuid()}").touch()
    variables = environment(emulator) | {"XDG_STATE_HOME": str(tmp_path / "state"), "TMPDIR": str(tmp_path)}
    del variables["INFERLEASE_STATE_DIR"]
    with running(emulator, guarded(), env=variables) as victim:
        ready(victim)
        kill(victim)
        wait_for(lambda: is_stopped(emulator))


@emulated(seconds_per_step=0.0)
def test_how_long_it_takes_to_start(emulator: Emulator) -> None:
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
