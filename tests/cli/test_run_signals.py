"""A signal to `inferlease run` never leaves an instance billed, whenever it comes and however often."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from inferlease.cli._run import _Child
from tests.cli.support import MODEL, SECONDS, Tool, ended, read_until
from tests.faults import FaultyEmulator, emulated

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from inferlease.cli._terminal import Terminal
    from inferlease.emulator import Operation, Phase

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]

# Exits with 10 and the number of SIGINTs that it got; a second one would come soon after the first.
COUNTING = """
import signal, sys, time
got = []
signal.signal(signal.SIGINT, lambda *_: got.append(1))
print("ready", flush=True)
while not got:
    time.sleep(0.01)
end = time.monotonic() + 0.3
while time.monotonic() < end:
    time.sleep(0.01)
sys.exit(10 + len(got))
"""
COUNT = (sys.executable, "-c", COUNTING)


@pytest.fixture(autouse=True)
def _nothing_stays_billed(emulator: FaultyEmulator) -> object:
    yield
    assert emulator.books().still_billed == []


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def sleeping(tool: Tool) -> subprocess.Popen[str]:
    """A command that runs and would do so for long."""
    run = tool.start("run", MODEL, "--", "sh", "-c", "echo ready; exec sleep 60")
    read_until(run.stdout, "ready")
    return run


@pytest.mark.parametrize("number", SIGNALS)
def test_the_command_gets_it_and_its_end_counts(tool: Tool, number: signal.Signals) -> None:
    run = sleeping(tool)
    run.send_signal(number)
    assert ended(run)[0] == 128 + number


def test_a_command_may_end_in_its_own_way(tool: Tool) -> None:
    run = tool.start("run", MODEL, "--", "sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done")
    read_until(run.stdout, "ready")
    run.send_signal(signal.SIGTERM)
    assert ended(run)[0] == 7


def test_a_signal_to_the_tool_reaches_the_command_once(tool: Tool) -> None:
    run = tool.start("run", MODEL, "--", *COUNT)
    read_until(run.stdout, "ready")
    run.send_signal(signal.SIGINT)
    assert ended(run)[0] == 11


def test_a_key_at_the_terminal_reaches_the_command_once(tool: Tool) -> None:
    run = tool.start_at_terminal("run", MODEL, "--", *COUNT)
    run.read_until("ready")
    run.type("\x03")
    assert run.wait() == 11


def test_a_signal_to_the_tool_at_a_terminal_reaches_the_command_once(tool: Tool) -> None:
    run = tool.start_at_terminal("run", MODEL, "--", *COUNT)
    run.read_until("ready")
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 11


def test_a_key_reaches_a_command_that_left_the_terminal_s_group(tool: Tool) -> None:
    leave = ("import os, sys; os.setpgid(0, 0); os.execv(sys.argv[1], sys.argv[1:])",)
    run = tool.start_at_terminal("run", MODEL, "--", sys.executable, "-c", *leave, *COUNT)
    run.read_until("ready")
    run.type("\x03")
    assert run.wait() == 11


@emulated(seconds_per_step=60.0)
@pytest.mark.parametrize("number", SIGNALS)
def test_while_waiting_it_releases(tool: Tool, emulator: FaultyEmulator, number: signal.Signals) -> None:
    run = tool.start("run", MODEL, "--", "echo", "never")
    read_until(run.stderr, "started")
    run.send_signal(number)
    code, said = ended(run)
    assert code == 128 + number
    assert f"{number.name}: ending; what was started is released" in said.splitlines()
    assert emulator.books().starts == 1


@emulated(seconds_per_step=60.0)
def test_from_a_signal_on_the_bar_is_that_of_the_release(tool: Tool, emulator: FaultyEmulator) -> None:
    with emulator.hold("stop", "before") as stop:
        run = tool.start_at_terminal("run", MODEL, "--", "echo", "never")
        run.read_until("worker 1")
        run.type("\x03")
        stop.wait_arrived()
        run.read_until("stopping")
    assert run.wait() == 130
    _, _, after = "\n".join(run.lines()).partition("SIGINT: ending")
    assert "worker 1" not in after.partition("stopping")[2]


@emulated(seconds_per_step=60.0)
def test_from_an_error_on_the_bar_is_that_of_the_release(tool: Tool, emulator: FaultyEmulator) -> None:
    with emulator.hold("stop", "before"):
        run = tool.start_at_terminal("run", MODEL, "--timeout", "1", "--", "echo", "never")
        run.read_until("is not usable")
        run.read_until("stopping")
    assert run.wait() == 1


@pytest.mark.parametrize(("operation", "phase"), [("token", "before"), ("list", "unanswered")])
def test_before_the_start_is_sent_it_starts_nothing(
    tool: Tool, emulator: FaultyEmulator, operation: Operation, phase: Phase
) -> None:
    with emulator.hold(operation, phase) as hold:
        run = tool.start("run", MODEL, "--", "echo", "never")
        hold.wait_arrived()
        run.send_signal(signal.SIGINT)
        assert ended(run)[0] == 130
    assert emulator.books().starts == 0


@pytest.mark.parametrize(("operation", "phase"), [("start", "before"), ("start", "unanswered"), ("get", "before")])
def test_while_starting_it_releases(tool: Tool, emulator: FaultyEmulator, operation: Operation, phase: Phase) -> None:
    with emulator.hold(operation, phase) as hold:
        run = tool.start("run", MODEL, "--", "echo", "never")
        hold.wait_arrived()
        run.send_signal(signal.SIGINT)
        read_until(run.stderr, "SIGINT")
    assert ended(run)[0] == 130
    assert emulator.books().starts == 1
    assert emulator.books().still_billed == []


def test_further_signals_never_skip_the_release(tool: Tool, emulator: FaultyEmulator) -> None:
    with emulator.hold("stop", "before") as stop, emulator.hold("get", "before") as poll:
        run = tool.start("run", MODEL, "--", "echo", "never")
        poll.wait_arrived()
        run.send_signal(signal.SIGINT)
        stop.wait_arrived()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            run.send_signal(number)
            read_until(run.stderr, f"{number.name}: the release goes on")
    assert ended(run)[0] == 130


def test_signals_after_the_command_leave_its_exit_code(tool: Tool, emulator: FaultyEmulator) -> None:
    with emulator.hold("stop", "before") as stop:
        run = tool.start("run", MODEL, "--", "sh", "-c", "exit 3")
        stop.wait_arrived()
        for _ in range(3):
            run.send_signal(signal.SIGINT)
            read_until(run.stderr, "SIGINT: the release goes on")
    assert ended(run)[0] == 3


def test_a_command_of_another_user_can_t_be_signalled_and_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    said: list[str] = []
    terminal = SimpleNamespace(say=said.append)
    child = _Child("/bin/sh", ("sh", "-c", "exit 3"), {}, set(), cast("Terminal", terminal))
    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", refuse)
        child.pass_on(signal.SIGINT, from_terminal=False)
        asyncio.run(child.end())
    assert said == [
        f"{name} can't be sent to the command, which runs as another user: it goes on" for name in ("SIGINT", "SIGTERM")
    ]
    assert asyncio.run(child.exit_code()) == 3


def test_a_terminal_that_goes_away_is_a_signal_too(tool: Tool, emulator: FaultyEmulator) -> None:
    run = tool.start_at_terminal("run", MODEL, "--", "sh", "-c", "echo ready; exec sleep 60")
    run.read_until("ready")
    run.hang_up()
    assert run.process.wait(SECONDS) == 128 + signal.SIGHUP
    assert emulator.books().starts == 1


def test_what_is_ignored_from_the_start_stays_ignored(tool: Tool) -> None:
    nohup = shutil.which("nohup")
    assert nohup is not None
    run = tool.start("run", MODEL, "--", "sh", "-c", "echo ready; read go; exit 4", through=(nohup,))
    read_until(run.stdout, "ready")
    run.send_signal(signal.SIGHUP)
    run.communicate("go\n", timeout=SECONDS)
    assert run.returncode == 4
