"""Completion by the shell: commands, options, models, ids; never slow, and never heard."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from inferlease.emulator import FaultKind
from tests.cli.support import INFERLEASE, MODEL, Tool

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults import FaultyEmulator

BASH = """
eval "$(_INFERLEASE_COMPLETE=bash_source inferlease)"
COMP_WORDS=(inferlease stop "")
COMP_CWORD=2
_inferlease_completion inferlease
echo "${COMPREPLY[@]}"
"""


def completed(tool: Tool, line: str, shell: str = "bash", **changes: str | None) -> list[str]:
    """What the tool answers to a shell that asks how the line goes on."""
    words = f"inferlease {line}"
    asked = {"bash": ("COMP_CWORD", str(words.count(" "))), "zsh": ("COMP_CWORD", str(words.count(" ")))}
    name, value = asked.get(shell, ("COMP_CWORD", words.rpartition(" ")[2]))
    done = tool.run(**{"COMP_WORDS": words, name: value, "_INFERLEASE_COMPLETE": f"{shell}_complete", **changes})
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.fixture
def ids(emulator: FaultyEmulator) -> list[str]:
    """One that runs, and one that is stopped."""
    with emulator.sync_client() as client:
        running, stopped = (client.instances.start(MODEL) for _ in range(2))
        return [running.instance_id, stopped.stop().instance_id]


def test_commands_and_options(tool: Tool) -> None:
    assert completed(tool, "re") == ["plain,restart", "plain,reap"]
    assert completed(tool, "stop --") == ["plain,--timeout", "plain,--yes", "plain,--help"]


def test_commands_are_completed_without_loading_any() -> None:
    program = (
        "import os, sys; from inferlease.cli import main\n"
        "try: main()\n"
        "finally: print({'aiohttp', 'rich', 'attrs', 'asyncio'} & set(sys.modules), file=sys.stderr)"
    )
    asked = {"COMP_WORDS": "inferlease r", "COMP_CWORD": "1", "_INFERLEASE_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False, env=asked
    )
    assert (done.stdout.split(), done.stderr) == (["plain,run", "plain,restart", "plain,rm", "plain,reap"], "set()\n")


@pytest.mark.parametrize("verb", ["run", "start", "quote"])
def test_models_and_hardware(tool: Tool, verb: str) -> None:
    assert completed(tool, f"{verb} Qwen/Qwen2.5-0", CORTECS_CLIENT_ID=None) == [f"plain,{MODEL}"]
    assert completed(tool, f"{verb} --hardware-type NVIDIA_L40S_") == ["plain,NVIDIA_L40S_1", "plain,NVIDIA_L40S_2"]


def test_models_come_by_their_names(tool: Tool, emulator: FaultyEmulator) -> None:
    emulator.fault("models", body={"models": [{"model_id": f"org--{name}"} for name in ("c", "A", "b")]})
    assert completed(tool, "start ") == ["plain,org/A", "plain,org/b", "plain,org/c"]


@pytest.mark.parametrize("line", ["run org/model -- pyth", "run org/model -- python hell"])
def test_of_a_command_files_are_left_to_the_shell(tool: Tool, line: str) -> None:
    assert completed(tool, line) == [f"file,{line.rpartition(' ')[2]}"]


def test_kinds_of_faults(tool: Tool) -> None:
    assert completed(tool, "emulator --fault reset_") == [f"plain,{kind}" for kind in FaultKind if "reset_" in kind]


@pytest.mark.parametrize(
    ("typed", "shell", "found"),
    [
        ("empty:s", "zsh", ["empty:start", "empty:stop", "empty:stop_all"]),
        ("empty:s", "bash", ["empty:start", "empty:stop", "empty:stop_all"]),
        # As bash splits it by default.
        ("empty : s", "bash", ["start", "stop", "stop_all"]),
        ("empty :", "bash", [*FaultKind.EMPTY.operations]),
        ("empty : ", "bash", [*FaultKind.EMPTY.operations]),
        ("nonsense :", "bash", []),
    ],
)
def test_the_operations_of_a_fault(tool: Tool, typed: str, shell: str, found: list[str]) -> None:
    told = completed(tool, f"emulator --fault {typed}", shell)
    assert [word.removeprefix("plain,") for word in told if word not in ("plain", "_")] == found


def test_ids_that_suit_the_verb(tool: Tool, ids: list[str]) -> None:
    running, stopped = ids
    for verbs, suitable in (
        (("stop", "reap"), [running]),
        (("restart", "rm"), [stopped]),
        (("show", "watch"), [running, stopped]),
    ):
        for verb in verbs:
            assert completed(tool, f"{verb} inst") == [f"plain,{each}" for each in suitable], verb


def test_the_other_shells_are_told_what_each_is(tool: Tool, ids: list[str]) -> None:
    told = " ".join(completed(tool, "stop inst", "zsh"))
    assert told == f"plain {ids[0]} running, {MODEL}"
    assert " ".join(completed(tool, "stop inst", "fish")) == f"plain,{ids[0]}\trunning, {MODEL}".replace("\t", " ")


def test_bash_itself_completes(tool: Tool, ids: list[str], tmp_path: Path) -> None:
    program = tmp_path / "inferlease"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(INFERLEASE)} "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", BASH],
        env=tool.environment({"PATH": f"{tmp_path}:{os.environ['PATH']}"}),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert (done.stdout, done.stderr) == (f"{ids[0]}\n", "")


@pytest.mark.parametrize(
    "change",
    [
        {"CORTECS_CLIENT_SECRET": None},
        {"CORTECS_CLIENT_SECRET": "s3cret"},
        {"CORTECS_API_BASE_URL": "http://127.0.0.1:1"},
        {"CORTECS_API_BASE_URL": "nonsense"},
    ],
    ids=str,
)
def test_a_failure_completes_nothing(tool: Tool, change: dict[str, str | None]) -> None:
    assert completed(tool, "stop inst", **change) == []


def test_an_id_that_means_something_to_a_shell_is_not_completed(tool: Tool, emulator: FaultyEmulator) -> None:
    emulator.fault("models", body={"models": [{"model_id": "a--$(b)"}, {"model_id": "a--*"}, {"model_id": "a--b"}]})
    assert completed(tool, "start ") == ["plain,a/b"]


def test_a_server_that_does_not_answer_completes_nothing_soon(tool: Tool) -> None:
    """Well before a person gives up, and before the test does."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert completed(tool, "start ", CORTECS_API_BASE_URL=address) == []
