"""Signals at random points of programs in both worlds: whatever the moment, nothing is left billed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING

import pytest

from tests.faults import FaultyEmulator, emulated
from tests.processes import environment
from tests.programs import both_styles, program, written
from tests.terminal import at_terminal

if TYPE_CHECKING:
    from inferlease.emulator.books import InstanceBooks


def chances() -> random.Random:
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    return random.Random(seed)


SAY_READY = "print('ready', flush=True)"
PHASES = {
    "entry": {"before": SAY_READY, "body": "PAUSE"},
    "body": {"body": f"{SAY_READY}; PAUSE"},
    "wait": {"body": f"{SAY_READY}\nASYNC for event in instance.watch(): pass"},
    "exit": {"body": SAY_READY, "after": "PAUSE"},
}


@pytest.mark.fault(68, 69)
@emulated(seconds_per_step=0.03, stop_delay=0.15)
@pytest.mark.storm
@pytest.mark.timeout(900)
@both_styles
@pytest.mark.parametrize("phase", PHASES)
def test_interrupts_at_a_terminal_end_the_program_and_the_bill(
    emulator: FaultyEmulator, is_full: bool, style: str, phase: str
) -> None:
    chance = chances()
    script = program(style, **PHASES[phase])
    for _ in range(25 if is_full else 2):
        terminal = at_terminal([sys.executable, "-c", script], environment(emulator))
        terminal.read_until("ready")
        for _ in range(chance.randint(1, 5)):
            time.sleep(chance.uniform(0, 0.3))  # the random point: nothing is waited for here
            with suppress(OSError):
                terminal.type("\x03")
        assert terminal.wait() != 0, terminal.shown
        assert "KeyboardInterrupt" in terminal.shown
        assert emulator.books().still_billed == [], terminal.shown
    assert emulator.books().starts >= 1 or phase == "entry"


AGAIN_AND_AGAIN = """
ASYNC def main():
    print("ready", flush=True)
    ASYNC with Client(poll_interval=0.02) as client:
        while True:
            ASYNC with client.lease(MODEL):
                time.sleep(0.05)

RUN
"""


def terminate(emulator: FaultyEmulator, style: str, *, after: float, grace: float) -> int:
    """SIGTERM `after` seconds, and SIGKILL `grace` seconds later, as `docker stop` has it; the exit code."""
    process = subprocess.Popen(
        [sys.executable, "-c", written(style, AGAIN_AND_AGAIN)],
        env=environment(emulator),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(after)  # the random point: nothing is waited for here
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def billed(emulator: FaultyEmulator) -> list[InstanceBooks]:
    return [entry for entry in emulator.books().instances.values() if not entry.billed_until_stopped]


@pytest.mark.storm
@pytest.mark.timeout(900)
@both_styles
@pytest.mark.parametrize("stops", ["soon", "after the kill"])
def test_a_program_that_is_terminated_and_then_killed_leaves_nothing_billed(
    is_full: bool, style: str, stops: str
) -> None:
    chance = chances()
    grace = 10.0 if is_full or stops == "soon" else 3.0
    delay = 0.15 if stops == "soon" else grace + 2.0
    count, at_once = (25, 4) if is_full else (2, 2)
    with FaultyEmulator(seconds_per_step=0.03, stop_delay=delay) as emulator, ThreadPoolExecutor(at_once) as pool:
        points = [chance.uniform(0, 0.8) for _ in range(count)]
        codes = list(pool.map(lambda point: terminate(emulator, style, after=point, grace=grace), points))
        # What has been asked to stop does so, though its program was killed meanwhile.
        waiting = Event()
        while (stopping := billed(emulator)) and all(entry.stop_requests for entry in stopping):
            waiting.wait(0.05)
        books = emulator.books()
    print(f"{style}, {stops}: {books.starts} instances, ended by {sorted(codes)}")  # noqa: T201 - a figure
    assert books.still_billed == []
    assert set(codes) <= ({-signal.SIGTERM} if stops == "soon" else {-signal.SIGTERM, -signal.SIGKILL})
