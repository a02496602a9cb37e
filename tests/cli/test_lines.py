"""Lines on stderr: at a terminal they are broken where words end, and what is to be copied is whole."""

from __future__ import annotations

import os
import pty
from typing import TYPE_CHECKING

import pytest

from inferlease.cli._lines import broken, for_stream
from tests.cli.support import MODEL, Tool

if TYPE_CHECKING:
    from tests.faults import FaultyEmulator

ID = "instance-5f797d6e13c6d7a3"
STOP = f"inferlease stop {ID}"


@pytest.mark.parametrize(
    ("line", "columns", "lines"),
    [
        ("it fits", 7, ["it fits"]),
        ("it does not", 7, ["it does", "not"]),
        ("  as it  stands", 20, ["  as it  stands"]),
        (f"stopped: {ID}", 20, ["stopped:", ID]),
        (f"{ID} is up", 20, [ID, "is up"]),
        ("billed as 60 s); assuming", 12, ["billed as", "60 s);", "assuming"]),
        ("at most 1,234.50 EUR/h", 16, ["at most", "1,234.50 EUR/h"]),
        ("it is at 40% now", 13, ["it is at", "40% now"]),
        ("is up (2 workers)", 12, ["is up", "(2 workers)"]),
        ("5 seconds", 6, ["5", "seconds"]),
        (f"was answered 404 {ID}", 40, ["was answered", f"404 {ID}"]),
        (f"of the 2 {STOP}", 45, ["of the 2", STOP]),
        (f"up; stop it with: {STOP}", 80, [f"up; stop it with: {STOP}"]),
        (f"up; stop it with: {STOP}", 58, ["up; stop it with:", STOP]),
        (f"up; stop it with: {STOP}", 40, ["up; stop it with: inferlease stop", ID]),
        (f"up (at most 1 EUR/h; stop it with: {STOP})", 50, ["up, at most 1 EUR/h; stop it with:", STOP]),
        ("What is it? (see: inferlease run --help)", 30, ["What is it? see:", "inferlease run --help"]),
        (f"up; stop it with: {STOP}; its guard goes on", 50, ["up; stop it with:", STOP, "its guard goes on"]),
        (f"up; inferlease watch {ID}, or: {STOP}", 60, [f"up; inferlease watch {ID}, or:", STOP]),
        (f"it is up; inferlease watch {ID}, or: {STOP}", 50, ["it is up;", f"inferlease watch {ID}", f"or: {STOP}"]),
    ],
)  # fmt: skip
def test_a_line_is_broken_at_blanks_and_a_command_last(line: str, columns: int, lines: list[str]) -> None:
    assert list(broken(line, columns)) == lines


@pytest.mark.parametrize("columns", ["", "0", "60"])
def test_only_a_terminal_gets_it_in_lines(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = f"{'words ' * 14}\n{ID}"
    master, slave = pty.openpty()
    read, write = os.pipe()
    with os.fdopen(slave, "w") as terminal, os.fdopen(write, "w") as pipe:
        assert for_stream(text, pipe) == text
        longest = max(map(len, for_stream(text, terminal).split("\n")))
    assert longest == (59 if columns == "60" else 77)
    assert for_stream(text, terminal) == text, "it is closed"
    os.close(master)
    os.close(read)


def test_what_is_an_instance_by_its_id_is_called_so_once(tool: Tool) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as pipe:
        assert for_stream(f"error: instance {ID} is up, and instance 9a3f too", pipe) == (
            f"error: {ID} is up, and instance 9a3f too"
        )
    os.close(read)
    assert "instance instance-" not in tool.run("run", MODEL, "--", "true").stderr


def test_a_person_can_copy_what_each_line_has(tool: Tool, emulator: FaultyEmulator) -> None:
    code, terminal = tool.show("run", MODEL, "--", "true", NO_COLOR="1")
    (instance_id,) = emulator.books().instances
    said = [line for line in terminal.lines() if line.strip() and "━" not in line]
    assert (code, max(map(len, said)) <= 80) == (0, True), said
    assert f"inferlease stop {instance_id}" in said


def test_a_question_and_an_error_are_broken_too(tool: Tool) -> None:
    _, terminal = tool.show("stop", "a" * 30, "b" * 30, keys="n\n", columns=50)
    assert f"stop 2 instances: {'a' * 30},\r\n{'b' * 30}? [y/N] " in terminal.shown
    _, terminal = tool.show("reap", "instance-1", columns=50)
    assert [line for line in terminal.lines() if line] == [
        "error: an ID is stopped only with --yes, see:",
        "inferlease reap --help",
    ]
