"""Processes that live and stand still: their guard holds them to their limits, and they hear of it once they go on."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inferlease._guardian import Book, Entry, _stop
from inferlease._journal_lines import intent_line
from inferlease._requests import start_arguments
from inferlease.ledger import Intent
from tests.faults import MODEL, emulated
from tests.guard.support import (
    PROMPT,
    SETTLE_TIME,
    guarded,
    guards,
    is_stopped,
    is_watching,
    line_of,
    running,
    wait_for,
)
from tests.programs import both_styles

if TYPE_CHECKING:
    import subprocess

    from tests.faults import FaultyEmulator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at its guards through /proc")

SECONDS = 1.0
LIMITED = """
try:
    ASYNC with client.lease(MODEL, LIMIT):
        print("ready", flush=True)
        BODY
except Exception as error:
    print(type(error).__name__, getattr(error, "limit", error), flush=True)
"""
BODIES = {"async": "await asyncio.Event().wait()", "sync": "sys.stdin.readline()"}
LIMITS = {
    "max_duration": f"max_duration={SECONDS}",
    "max_cost": f"max_cost={1.2 * 2 / 7200}",  # two intervals of half a second
}
SHORT_MINUTES = "from inferlease import money\nmoney.INTERVALS['per_minute'] = 0.5\n"


def limited(style: str, limit: str = "max_duration", *, body: str = "", before: str = "", options: str = "") -> str:
    text = LIMITED.replace("LIMIT", LIMITS[limit]).replace("BODY", body or BODIES[style])
    return guarded(style, text, before=SHORT_MINUTES + before, options=options)


def go_on(process: subprocess.Popen[str]) -> str:
    """Let it go on to its end: what it printed last."""
    process.send_signal(signal.SIGCONT)
    output, errors = process.communicate("\n", timeout=40)
    assert process.returncode == 0, errors
    return output.splitlines()[-1]


def show_delay(emulator: FaultyEmulator, what: str) -> None:
    (instance,) = emulator.books().instances.values()
    late = instance.stop_requests[0] - instance.started - SECONDS
    print(f"{what}: stop requested {late:.2f} s after the limit")  # noqa: T201 - a figure


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize(("style", "limit"), [("async", "max_cost"), ("sync", "max_duration")])
def test_what_a_suspended_process_has_leased_is_stopped_at_its_limit(
    emulator: FaultyEmulator, style: str, limit: str
) -> None:
    with running(emulator, limited(style, limit)) as parent:
        assert line_of(parent) == "ready"
        parent.send_signal(signal.SIGSTOP)
        assert not is_stopped(emulator)
        wait_for(lambda: is_stopped(emulator))
        show_delay(emulator, f"{style}, {limit}")
        assert go_on(parent) == f"LeaseLimitError {limit}"
    assert emulator.books().starts == 1


@emulated(seconds_per_step=0.0)
@both_styles
def test_a_process_that_is_suspended_while_it_waits_is_held_to_its_limit(emulator: FaultyEmulator, style: str) -> None:
    with running(emulator, limited(style)) as parent:
        with emulator.hold("get", "before") as hold:
            hold.wait_arrived()
            parent.send_signal(signal.SIGSTOP)
            wait_for(lambda: is_stopped(emulator))
        assert go_on(parent) == "LeaseLimitError max_duration"


@emulated(seconds_per_step=0.0)
def test_what_a_process_has_started_that_was_suspended_before_the_answer_is_stopped_at_its_limit(
    emulator: FaultyEmulator,
) -> None:
    with running(emulator, limited("async")) as parent:
        with emulator.hold("start", "unanswered") as hold:
            hold.wait_arrived()
            parent.send_signal(signal.SIGSTOP)
            wait_for(lambda: is_stopped(emulator), PROMPT + SETTLE_TIME)
        assert go_on(parent) == "LeaseLimitError max_duration"
    assert emulator.books().starts == 1


@emulated(seconds_per_step=0.0)
def test_what_may_be_somebody_elses_is_left_at_a_limit_too(emulator: FaultyEmulator) -> None:
    script = limited("sync").replace("exclusive=True", "exclusive=False")
    with running(emulator, script) as parent:
        with emulator.hold("start", "unanswered") as hold:
            hold.wait_arrived()
            parent.send_signal(signal.SIGSTOP)
            looks = len(emulator.asked("list"))
            wait_for(lambda: len(emulator.asked("list")) > looks)
            (guard,) = guards(parent.pid)
            wait_for(lambda: len(list(Path(f"/proc/{guard}/task").iterdir())) == 2)  # it has looked
            assert not is_stopped(emulator)
        assert go_on(parent) == "LeaseLimitError max_duration"
        assert is_stopped(emulator)


@emulated(seconds_per_step=0.0)
def test_a_ledger_in_memory_is_no_hindrance(emulator: FaultyEmulator) -> None:
    before = "from inferlease._memory_ledger import MemoryLedger\n"
    with running(emulator, limited("sync", before=before, options="ledger=MemoryLedger()")) as parent:
        assert line_of(parent) == "ready"
        parent.send_signal(signal.SIGSTOP)
        wait_for(lambda: is_stopped(emulator))
        assert go_on(parent) == "LeaseLimitError max_duration"


@emulated(seconds_per_step=0.0)
def test_a_process_whose_keeper_hangs_is_held_to_its_limit(emulator: FaultyEmulator) -> None:
    body = "_keeper.loop().call_soon_threadsafe(go_on.wait); sys.stdin.readline(); go_on.set()"
    script = limited("sync", body=body, before="go_on = threading.Event()")
    with running(emulator, script) as parent:
        assert line_of(parent) == "ready"
        wait_for(lambda: is_stopped(emulator))
        assert go_on(parent) == "LeaseLimitError max_duration"


@emulated(seconds_per_step=0.0)
def test_a_guard_that_took_the_place_of_another_knows_of_the_limit(emulator: FaultyEmulator) -> None:
    with running(emulator, limited("sync")) as parent:
        assert line_of(parent) == "ready"
        (first,) = guards(parent.pid)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: (now := guards(parent.pid)) and first not in now and is_watching(now[0]))
        parent.send_signal(signal.SIGSTOP)
        wait_for(lambda: is_stopped(emulator))
        assert go_on(parent) == "LeaseLimitError max_duration"


@emulated(seconds_per_step=0.0, stop_delay=2.0)
def test_a_process_that_moves_stops_what_it_has_leased_itself(emulator: FaultyEmulator) -> None:
    with running(emulator, limited("async")) as parent:
        assert line_of(parent) == "ready"
        assert line_of(parent) == "LeaseLimitError max_duration"
        parent.communicate(timeout=40)
    (instance,) = emulator.books().instances.values()
    assert len(instance.stop_requests) == 1


# ---- when it acts, without a process ---------------------------------------------------------------------


def book_with(due: float) -> Book:
    book = Book()
    book.note(b'{"group": "0", "options": {}}')
    book.note(b'{"journal": "one", "group": "0", "text": null}')
    book.note(f'{{"journal": "one", "due": {due}}}'.encode())
    return book


def test_it_sleeps_until_shortly_before_the_limit() -> None:
    book = book_with(time.monotonic() + 1000)
    assert book.overdue() == []
    wait = book.next_look()
    assert wait is not None
    assert 990 < wait < 1000
    book = book_with(time.monotonic() - 1000)
    assert book.overdue() == ["one"]
    assert book.next_look() == 0


@pytest.mark.parametrize("said", ['"over": true', f'"due": {time.monotonic() + 1000}', '"due": null'])
def test_what_the_parent_sees_to_is_left_to_it(said: str) -> None:
    book = book_with(time.monotonic() - 1000)
    book.note(f'{{"journal": "one", {said}}}'.encode())
    assert book.overdue() == []


def test_what_is_in_a_memory_is_tried_again_as_long_as_no_instance_is_known() -> None:
    intent = Intent(
        "a spec", start_arguments(MODEL), "lease", frozenset(), frozenset(), None, settle_time=1.0, late_window=600.0
    )
    book, entry = Book(), Entry("0", intent_line(intent).decode())
    options = {"base_url": "http://127.0.0.1:1/v1", "client_id": "us", "client_secret": "secret", "timeout": 1.0}
    options |= {"proxy": None, "ssl": None, "place": "memory", "account": "ours"}
    book.groups["0"], book.entries["one"] = options, entry
    _stop(book, "one", time.monotonic())
    assert entry.due is not None
    assert entry.due > time.monotonic()
