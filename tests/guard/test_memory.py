"""The guard of a process whose ledger is in no folder: it is told all that a journal says."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults import emulated
from tests.guard.support import (
    IN_MEMORY,
    PROMPT,
    SETTLE_TIME,
    WAIT,
    end,
    guarded,
    guards,
    is_stopped,
    kill,
    line_of,
    ready,
    running,
    wait_for,
)
from tests.processes import environment, go_on

if TYPE_CHECKING:
    from tests.faults import FaultyEmulator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at its guards through /proc")


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
