"""`inferlease reap`: without --yes it only tells; its exit code says whether anything is left."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.cli.support import MODEL, Tool
from tests.faults import FaultyEmulator, emulated
from tests.recovery.support import left, record, strays

if TYPE_CHECKING:
    import subprocess

    from inferlease import Client

REASON = "the process that leased it is gone"


def rows(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    return [line.split("\t") for line in done.stdout.splitlines()]


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    assert list(found) == ["stopped", "left", "errors"]
    return found


@pytest_asyncio.fixture
async def ids(stranger: Client) -> list[str]:
    """Two instances that the tool's ledger does not know."""
    return await strays(stranger, 2)


@pytest.mark.parametrize("arguments", [(), ("--yes",)])
def test_with_nothing_to_do_it_says_nothing(tool: Tool, arguments: tuple[str, ...]) -> None:
    done = tool.run("reap", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("arguments", [(), ("--yes",)])
def test_at_a_terminal_it_says_that_nothing_is_left(tool: Tool, arguments: tuple[str, ...]) -> None:
    code, terminal = tool.show("reap", *arguments)
    assert (code, "nothing is left" in [line.strip() for line in terminal.lines()]) == (0, True)


def test_an_account_that_can_t_be_read_is_told_and_asked_no_further(
    tool: Tool, emulator: FaultyEmulator, ids: list[str]
) -> None:
    left(emulator, ids[0])
    emulator.fault("get", 503, times=None)
    asked = len(emulator.asked("hardware_types"))
    done = tool.run("reap", hurried=True)
    assert [row[:2] for row in rows(done)] == [["ours", ids[0]]]
    assert done.returncode == 1
    assert done.stderr.startswith("warning: the account could not be read, what is listed may have stopped: ")
    assert done.stderr.count("\n") == 1
    assert len(emulator.asked("hardware_types")) == asked


def test_it_lists_what_it_would_stop_and_why(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    left(emulator, ids[0])
    done = tool.run("reap")
    (row,) = rows(done)
    assert row[:4] == ["ours", ids[0], MODEL, "1.20 EUR/h"]
    assert row[4].startswith(REASON)
    assert done.returncode == 1
    assert sorted(emulator.books().still_billed) == sorted(ids)


def test_with_yes_it_is_stopped(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    left(emulator, ids[0])
    done = tool.run("reap", "--yes")
    assert (done.returncode, rows(done)[0][:2]) == (0, ["stopped", ids[0]])
    assert emulator.books().still_billed == [ids[1]]


def test_what_is_possible_is_told_with_how_to_stop_it(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    left(emulator, exclusive=False)
    done = tool.run("reap", "--yes")
    assert [row[0] for row in rows(done)] == ["possible", "possible"]
    assert f"if it is yours: inferlease reap --yes {ids[0]}" in done.stdout
    assert done.returncode == 1
    assert emulator.books().still_billed == ids


def test_what_is_possible_is_stopped_when_it_is_named(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    left(emulator, exclusive=False)
    found = answer(tool.run("reap", "--yes", "--json", ids[1]))
    assert [each["instance_id"] for each in found["stopped"]] == [ids[1]]
    assert emulator.books().still_billed == [ids[0]]


def test_an_id_that_is_neither_is_refused_in_one_line(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    done = tool.run("reap", "--yes", ids[0])
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {ids[0]} is not reaped: the ledger does not know it; "
        f"to stop it all the same: inferlease stop {ids[0]}\n"
    )
    assert sorted(emulator.books().still_billed) == sorted(ids)


def test_an_id_without_yes_is_wrong_usage(tool: Tool) -> None:
    done = tool.run("reap", "instance-1")
    assert done.returncode == 2
    assert done.stderr == "error: an ID is stopped only with --yes (see: inferlease reap --help)\n"


def test_an_unresolved_start_tells_until_when(tool: Tool, emulator: FaultyEmulator) -> None:
    left(emulator)
    done = tool.run("reap")
    (row,) = rows(done)
    assert row[:2] == ["unresolved", "-"]
    assert "unresolved until " in row[4]
    assert done.returncode == 1


def test_an_object_has_all_that_is_known(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    journal = left(emulator, ids[0])
    (found,) = answer(tool.run("reap", "--json"))["left"]
    assert list(found) == [
        "verdict", "instance_id", "reason", "record", "model", "began", "price_per_hour", "currency", "until",
        "stop_command",
    ]  # fmt: skip
    assert (found["verdict"], found["record"], found["reason"]) == ("ours", journal, REASON)
    assert found["stop_command"] == f"inferlease reap --yes {ids[0]}"


def test_a_start_of_another_account_is_not_seen(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    left(emulator, ids[0])
    done = tool.run("reap", CORTECS_API_BASE_URL=emulator.base_url.replace("127.0.0.1", "localhost"))
    assert (done.returncode, done.stdout) == (0, "")


def test_at_a_terminal_it_tells_how_to_go_on(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    left(emulator, ids[0])
    terminal = tool.start_at_terminal("reap")
    assert terminal.wait() == 1
    first, second, third, last, *_ = [line for line in terminal.lines() if line.strip() and "━" not in line]
    assert first == f"ours        {ids[0]}  {MODEL}"
    assert second == "            at most 1.20 EUR/h"
    assert third.startswith(f"            {REASON}")
    assert last == "to stop what is ours: inferlease reap --yes"


@pytest.mark.parametrize("arguments", [(), ("--yes",)])
def test_at_a_terminal_it_tells_when_an_unresolved_start_is_settled(
    tool: Tool, emulator: FaultyEmulator, arguments: tuple[str, ...]
) -> None:
    journal = left(emulator, ago=60)
    until = (record(emulator, journal).began + timedelta(seconds=600)).astimezone()
    _, terminal = tool.show("reap", *arguments, columns=200)
    said = [line.strip() for line in terminal.lines() if line.strip()]
    assert said[-1] == f"look again after {until:%H:%M} with: inferlease reap"


def test_at_a_narrow_terminal_what_it_lists_is_in_lines_that_fit(
    tool: Tool, emulator: FaultyEmulator, ids: list[str]
) -> None:
    left(emulator, exclusive=False)
    code, terminal = tool.show("reap", columns=60, NO_COLOR="1")
    listed = [line for line in terminal.lines() if line.startswith((" ", "possible"))]
    assert (code, max(map(len, listed)) <= 60) == (1, True), listed
    assert listed[0] == f"possible    {ids[0]}"
    assert f"{'':<10}  inferlease reap --yes {ids[0]}" in listed
    assert [line for line in listed if not line.startswith(("possible    i", " " * 12))] == []


@emulated(stop_delay=0.5)
def test_it_waits_until_the_stop_is_seen(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    left(emulator, ids[0])
    assert tool.run("reap", "--yes").returncode == 0
    assert emulator.books().still_billed == [ids[1]]


@pytest.mark.parametrize("change", [{"CORTECS_CLIENT_SECRET": None}, {"CORTECS_CLIENT_SECRET": "s3cret-value"}])
def test_without_credentials_it_is_an_error(
    tool: Tool, emulator: FaultyEmulator, change: dict[str, str | None]
) -> None:
    left(emulator)
    done = tool.run("reap", **change)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "s3cret" not in done.stderr
