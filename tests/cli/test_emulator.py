"""`inferlease emulator`: a parent can read where it is, and it ends when it is told to."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from inferlease.cli._commands import invoke
from inferlease.emulator import FaultKind
from tests.cli.support import INFERLEASE, MODEL, SECONDS, Tool, ended

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def tool() -> Iterator[Tool]:
    """The tool without an emulator of the test's."""
    with Tool({}) as started:
        yield started


def test_what_it_prints_points_a_client_at_it(tool: Tool) -> None:
    emulator = tool.start("emulator", "--seconds-per-step", "0")
    assert emulator.stdout is not None
    lines = emulator.stdout.read().splitlines()  # ends here: stdout is closed once they are printed
    variables = dict(line.removeprefix("export ").split("=", 1) for line in lines)
    assert variables.keys() == {
        "CORTECS_API_BASE_URL",
        "CORTECS_CLIENT_ID",
        "CORTECS_CLIENT_SECRET",
        "INFERLEASE_INFERENCE_KEY",
        "INFERLEASE_STATE_DIR",
    }
    done = tool.run("run", MODEL, "--", "true", **variables)
    assert done.returncode == 0


def test_a_shell_can_evaluate_it() -> None:
    script = f"""
        eval "$({" ".join(INFERLEASE)} emulator 2>/dev/null & echo "emulator=$!")"
        kill $emulator && echo $CORTECS_API_BASE_URL $CORTECS_CLIENT_ID
    """
    printed = subprocess.check_output(["bash", "-c", script], text=True, timeout=SECONDS)
    assert printed.startswith("http://127.0.0.1:")
    assert printed.endswith("/api/v1 emulator\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_its_books(tool: Tool, number: signal.Signals) -> None:
    emulator = tool.start("emulator")
    assert emulator.stdout is not None
    emulator.stdout.read()
    emulator.send_signal(number)
    assert ended(emulator) == (
        0,
        "the emulator's books: 0 started, 0 still billed; 0.0 s were billed, 0.0000 EUR; its ledger is deleted\n",
    )


def test_its_last_line_begins_below_a_ctrl_c(tool: Tool) -> None:
    emulator = tool.start_at_terminal("emulator")
    emulator.read_until("ends with Ctrl-C, or with: kill ")
    emulator.type("\x03")
    assert emulator.wait() == 0
    _, ctrl_c, books = emulator.shown.partition("^C")
    assert (ctrl_c, books.startswith("\r\nthe emulator's books: 0 started")) == ("^C", True)


def test_a_ctrl_c_at_the_prompt_of_its_shell_is_not_meant_for_it(tool: Tool, tmp_path: Path) -> None:
    started = f'eval "$({shlex.join(INFERLEASE)} emulator --seconds-per-step 0 &)"; export -p > {tmp_path}/exported'
    shell = tool.start_shell_at_terminal()
    shell.type(f"{started}; PS1=its''_prompt\n")
    shell.read_until("its_prompt")
    exported = dict(re.findall(r'^declare -x (\w+)="(.*)"$', (tmp_path / "exported").read_text(), re.MULTILINE))
    (pid,) = re.findall(r"ends with: kill (\d+)", shell.shown)
    shell.type("\x03")
    shell.read_until("^C")
    done = tool.run("run", MODEL, "--", "true", **exported)
    os.kill(int(pid), signal.SIGTERM)
    shell.read_until("its ledger is deleted")
    shell.process.kill()
    assert shell.wait() == -signal.SIGKILL
    assert (done.returncode, "books: 1 started, 0 still billed" in shell.shown) == (0, True)


def test_the_end_of_stdin_ends_it_on_demand(tool: Tool) -> None:
    read, write = os.pipe()
    emulator = subprocess.Popen([*INFERLEASE, "emulator", "--until-eof"], stdin=read, stdout=subprocess.PIPE)
    os.close(read)
    assert emulator.stdout is not None
    emulator.stdout.read()
    emulator.stdout.close()
    assert emulator.poll() is None
    os.close(write)
    assert emulator.wait(SECONDS) == 0


def test_a_port_that_is_taken_is_one_line(tool: Tool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = tool.run("emulator", "--port", str(port))
    said = f"error: can't listen on 127.0.0.1:{port}: Address already in use; choose another --port or --host\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


@pytest.mark.parametrize("host", ["0.0.0.0", "example.com", "192.0.2.1"])  # noqa: S104 - it is refused
def test_only_loopback_is_served(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["emulator", "--host", host]) == 2
    assert capsys.readouterr().err.startswith(f"error: Invalid value for '--host': '{host}' is not loopback")


def test_the_faults_that_it_is_told_are_delivered_and_counted(tool: Tool) -> None:
    faults = ("--fault", "status_401:token", "--fault", "reset_before:list=0.5", "--seed", "7", "--list-lag", "1")
    emulator = tool.start("emulator", *faults, "--refuse-stops", "1", "--outage", "NVIDIA_L4_1=1/2")
    assert emulator.stdout is not None
    lines = emulator.stdout.read().splitlines()
    variables = dict(line.removeprefix("export ").split("=", 1) for line in lines)
    assert "401" in tool.run("run", MODEL, "--", "true", **variables).stderr
    emulator.send_signal(signal.SIGTERM)
    code, said = ended(emulator)
    assert (code, said.partition(" EUR")[2]) == (0, "; faults delivered: 1; its ledger is deleted\n")


def test_it_has_the_money_and_the_room_that_it_is_told(tool: Tool) -> None:
    emulator = tool.start(
        "emulator", "--balance", "12.5", "--capacity", "NVIDIA_L4_1=0", "--capacity", "NVIDIA_H100_1=1"
    )
    assert emulator.stdout is not None
    variables = dict(line.removeprefix("export ").split("=", 1) for line in emulator.stdout.read().splitlines())
    assert tool.run("balance", **variables).stdout == "12.50 EUR\n"
    available = tool.run("hardware", "--available", "-q", **variables).stdout.splitlines()
    assert ("NVIDIA_L4_1" in available, len(available) > 0) == (False, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fault", "slow"], "Invalid value for '--fault': there is no fault 'slow', but there are: reset_before, "),
        (["--fault", "empty:begin"], "Invalid value for '--fault': fault empty happens to token, balance, "),
        (["--fault", "empty=2"], "Invalid value for '--fault': the rate of a fault is from 0 to 1, not 2.0"),
        (["--outage", "A"], "Invalid value for '--outage': 'A' is no outage, such as NVIDIA_L4_1=10/60"),
        (["--outage", "A=1/2"], "outages names unknown hardware types: A; there are: NVIDIA_L4_1, "),
        (["--capacity", "A"], "Invalid value for '--capacity': 'A' is no capacity, such as NVIDIA_L4_1=2: room for"),
        (["--capacity", "NVIDIA_L4_1=1.5"], "Invalid value for '--capacity': 'NVIDIA_L4_1=1.5' is no capacity"),
        (["--capacity", "A=2"], "capacity names unknown hardware types: A; there are: NVIDIA_L4_1, "),
        (["--capacity", "NVIDIA_L4_1=-1"], "steps must be at least 1, and no duration or number negative"),
        (["--balance", "much"], "Invalid value for '--balance': 'much' is not a valid float"),
        (["--balance", "nan"], "a balance of nan is no amount of money"),
        (["--list-lag", "-1"], "Invalid value for '--list-lag'"),
        (["--refuse-stops", "-1"], "Invalid value for '--refuse-stops'"),
    ],
)
def test_what_it_can_not_emulate_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["emulator", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {message}")
    assert said.count("\n") == 1


def test_it_lists_every_kind_of_fault_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["emulator", "--fault", "nonsense", "--list-faults"]) == 0
    told = capsys.readouterr().out
    assert [kind for kind in FaultKind if f"  {kind} " not in told] == []
    assert "Operations:\n  token, balance, " in told


def test_its_help_is_of_a_readable_length_and_tells_how_faults_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["emulator", "--help"]) == 0
    told = capsys.readouterr().out
    assert len(told.splitlines()) < 60
    assert "KIND[:OPERATION][=RATE]" in told
    assert "--list-faults tells the kinds." in " ".join(told.split())
