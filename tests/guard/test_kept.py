"""What was to stay when its lease ends, and whose process is killed before: its guard holds it to its limits."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from inferlease import _guardian
from inferlease._guard_process import _Entry, _Side
from inferlease._guardian import _until_limits
from inferlease._journal_lines import intent_line, keep_line
from inferlease.ledger import Bounds, Intent, StartRecord, now
from inferlease.objects import InstanceArgs
from tests.faults import emulated
from tests.guard.support import IN_MEMORY, WAIT, guarded, guards, is_stopped, kill, ready, running, wait_for
from tests.guard.test_suspended import LIMITS, SHORT_MINUTES, show_delay

if TYPE_CHECKING:
    from tests.faults import FaultyEmulator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at its guards through /proc")

INTENT = Intent("", InstanceArgs("a--b"), "lease", frozenset(), frozenset(), None, settle_time=1, late_window=600)
FAR = "max_duration=3600"


def kept(style: str = "sync", limit: str = FAR, body: str = WAIT, *, before: str = "", options: str = "") -> str:
    text = f"ASYNC with client.lease(MODEL, keep=True, {limit}):\n    {body}"
    return guarded(style, text, before=SHORT_MINUTES + before, options=options)


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize(("style", "limit"), [("async", "max_cost"), ("sync", "max_duration")])
def test_it_is_stopped_at_its_limit(emulator: FaultyEmulator, style: str, limit: str) -> None:
    with running(emulator, kept(style, LIMITS[limit])) as victim:
        ready(victim)
        kill(victim)
        wait_for(lambda: is_stopped(emulator))
    show_delay(emulator, f"{style}, kept, {limit}")


@emulated(seconds_per_step=0.0)
def test_a_ledger_in_memory_is_no_hindrance(emulator: FaultyEmulator) -> None:
    script = kept("sync", LIMITS["max_duration"], before=f"{IN_MEMORY}\n", options="ledger=MemoryLedger()")
    with running(emulator, script) as victim:
        ready(victim)
        kill(victim)
        wait_for(lambda: is_stopped(emulator))


@emulated(seconds_per_step=0.0, balance=50.0)
def test_it_is_stopped_when_too_little_is_left_on_the_account(emulator: FaultyEmulator) -> None:
    with running(emulator, kept("sync", "min_balance=50")) as victim:
        ready(victim)
        assert not is_stopped(emulator)
        kill(victim)
        wait_for(lambda: is_stopped(emulator))


@emulated(seconds_per_step=0.0)
def test_one_whose_process_is_killed_while_it_stops_it_at_a_limit_is_stopped_at_once(emulator: FaultyEmulator) -> None:
    with running(emulator, kept("sync", LIMITS["max_duration"])) as victim:
        ready(victim)
        emulator.fault("stop", lost=True, handled=False)
        with emulator.hold("stop", "before") as hold:
            hold.wait_arrived()
            kill(victim)
        wait_for(lambda: is_stopped(emulator))


ENTERING_FAILS = """
from inferlease.errors import LedgerError
from CLASS import NAME
note = NAME.keep
async def note_and_fail(*args):
    NAME.keep = note
    await note(*args)
    raise LedgerError("entering failed")
NAME.keep = note_and_fail
"""


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize(("module", "name"), [("_pending", "PendingStart"), ("_async_ledger", "AsyncLedger")])
def test_one_whose_lease_was_never_entered_does_not_stay(emulator: FaultyEmulator, module: str, name: str) -> None:
    before = ENTERING_FAILS.replace("CLASS", f"inferlease.{module}").replace("NAME", name)
    emulator.fault("stop", lost=True, handled=False)
    with running(emulator, kept(limit="max_duration=None", before=before)) as victim:
        with emulator.hold("stop", "before") as hold:
            hold.wait_arrived()
            kill(victim)
        wait_for(lambda: is_stopped(emulator))


@emulated(seconds_per_step=0.0, stop_delay=4.0)
def test_one_that_takes_long_to_stop_keeps_no_other_from_being_stopped_at_its_limit(emulator: FaultyEmulator) -> None:
    body = f"""
with client.lease(MODEL), client.lease(MODEL, keep=True, {LIMITS["max_duration"]}):
    {WAIT}
"""
    with running(emulator, guarded(body=body)) as victim:
        ready(victim)
        kill(victim)
        wait_for(lambda: all(each.stop_requests for each in emulator.books().instances.values()))
        assert len(emulator.books().still_billed) == 2
        wait_for(lambda: is_stopped(emulator))


def test_a_note_that_comes_after_the_end_is_not_told() -> None:
    side, text = _Side(), intent_line(INTENT).decode()
    side._entries[INTENT.journal] = _Entry("0", text, is_open=False)
    side.more(INTENT.journal, keep_line(Bounds(), now()).decode())
    assert side._entries[INTENT.journal].text == text


def test_a_journal_that_cannot_be_read_keeps_no_other_from_being_recovered() -> None:
    ledger = _guardian._ledger({"place": "memory"}, ["garbled\n", intent_line(INTENT).decode()])
    assert [record.id for record in ledger.open_records()] == [INTENT.journal]


def test_it_is_looked_at_when_its_limit_is_reached() -> None:
    bounds = [Bounds(), Bounds(min_balance=1.0)]
    bounds += [Bounds(limit_at=now() + timedelta(seconds=seconds)) for seconds in (-1, 1000)]
    (seconds,) = _until_limits([StartRecord(INTENT, "dead", bounds=each) for each in bounds])
    assert 900 < seconds <= 1000


@emulated(seconds_per_step=0.0)
def test_once_it_was_seen_stopped_the_guard_has_nothing_to_do(emulator: FaultyEmulator) -> None:
    with running(emulator, kept()) as victim:
        ready(victim)
        looks = len(emulator.asked("get"))
        kill(victim)
        wait_for(lambda: len(emulator.asked("get")) > looks)
        assert guards(victim.pid)
        with emulator.sync_client() as client:
            client.instances.stop_all()
        wait_for(lambda: not guards(victim.pid))
    assert emulator.asked("stop") == []


@emulated(seconds_per_step=0.0)
def test_once_its_lease_has_ended_no_limit_holds(emulator: FaultyEmulator) -> None:
    with running(emulator, kept(body=f"pass\n{WAIT}")) as victim:
        ready(victim)
        kill(victim)
        wait_for(lambda: not guards(victim.pid))
    assert len(emulator.books().still_billed) == 1
    assert emulator.asked("stop") == []
