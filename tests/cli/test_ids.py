"""Ids of instances, named or piped in, and the question before several are acted upon."""

from __future__ import annotations

import asyncio
import shlex
from typing import TYPE_CHECKING, cast

import pytest

from inferlease.cli._ids import each
from tests.cli.support import INFERLEASE, MODEL, Tool
from tests.terminal import at_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from inferlease.cli._terminal import Terminal
    from tests.faults import FaultyEmulator


@pytest.fixture
def ids(emulator: FaultyEmulator) -> list[str]:
    """Two instances that run."""
    with emulator.sync_client() as client:
        return [client.instances.start(MODEL).instance_id for _ in range(2)]


def test_they_are_piped_in(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    listed = tool.run("ps", "-q").stdout
    assert tool.run("stop", "-y", "-", stdin=f"\n{listed}\n{ids[0]}".encode()).returncode == 0
    assert emulator.books().still_billed == []
    assert emulator.books().requests["stop"] == 2


@pytest.mark.parametrize("verb", ["stop", "restart", "rm", "show", "watch"])
def test_none_at_all_is_nothing_to_do(tool: Tool, verb: str) -> None:
    done = tool.run(verb, "-", stdin=b"\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_piped_is_not_read_unless_it_is_named(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    done = tool.run("stop", "-y", stdin="\n".join(ids).encode())
    assert (done.returncode, done.stderr.startswith("error: Missing argument 'ID...'")) == (2, True)
    assert emulator.books().requests.get("stop", 0) == 0


def test_a_line_that_is_more_than_an_id_is_told(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    done = tool.run("stop", "-y", "-", stdin=tool.run("ps").stdout.encode())
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"error: line 1 of stdin is no id: '{ids[0]}")
    assert emulator.books().requests.get("stop", 0) == 0


@pytest.mark.parametrize("verb", ["stop", "restart", "rm"])
def test_several_are_not_touched_where_nobody_can_be_asked(
    tool: Tool, emulator: FaultyEmulator, ids: list[str], verb: str
) -> None:
    done = tool.run(verb, *ids)
    assert (done.returncode, done.stderr) == (
        2,
        (
            "error: 2 instances are named, and there is no terminal to ask at: -y answers yes "
            f"(see: inferlease {verb} --help)\n"
        ),
    )
    assert sorted(emulator.books().still_billed) == sorted(ids)


def test_the_same_one_twice_is_one(tool: Tool, ids: list[str]) -> None:
    assert tool.run("stop", ids[0], ids[0]).returncode == 0


@pytest.mark.parametrize(
    ("keys", "code"), [("y\n", 0), ("Yes\n", 0), ("n\n", 1), ("\n", 1), ("\x04", 1), ("\x03", 130)]
)
def test_a_person_is_asked(tool: Tool, emulator: FaultyEmulator, ids: list[str], keys: str, code: int) -> None:
    terminal = tool.start_at_terminal("stop", *ids) if keys == "\x03" else None
    if terminal is not None:
        terminal.read_until("[y/N]")
        terminal.type(keys)
        assert terminal.wait() == code
    else:
        ended, terminal = tool.show("stop", *ids, keys=keys)
        assert ended == code
    assert f"stop 2 instances: {ids[0]}, {ids[1]}? [y/N]" in terminal.shown
    assert emulator.books().still_billed == ([] if code == 0 else ids)


def test_a_person_is_asked_about_what_is_piped_too(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    code, terminal = tool.show("stop", "-", stdin="\n".join(ids).encode(), keys="y\n")
    assert (code, "[y/N]" in terminal.shown) == (0, True)
    assert emulator.books().still_billed == []


def test_nobody_is_asked_who_does_not_see_the_question(
    tool: Tool, emulator: FaultyEmulator, ids: list[str], tmp_path: Path
) -> None:
    with (tmp_path / "stderr").open("w") as stderr:
        code, _ = tool.show("stop", *ids, keys="y\n", stderr=stderr.fileno())
    assert (code, "no terminal to ask at" in (tmp_path / "stderr").read_text()) == (2, True)
    assert emulator.books().still_billed == ids


def test_a_job_in_the_background_asks_nobody(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    """It would be stopped by the terminal, and never end."""
    script = f"set -m; {shlex.join([*INFERLEASE, 'stop', *ids])} & wait $!; echo code $?"
    terminal = at_terminal(["/bin/bash", "-c", script], tool.environment({}))
    terminal.read_until("code ")
    terminal.wait()
    assert "code 2" in terminal.shown
    assert emulator.books().still_billed == ids


def test_one_is_not_asked_about(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    assert tool.show("stop", ids[0])[0] == 0
    assert emulator.books().still_billed == [ids[1]]


@pytest.mark.asyncio
async def test_an_error_that_nobody_foresaw_waits_for_the_others() -> None:
    others, terminal = asyncio.Event(), cast("Terminal", None)  # it has nothing to say

    async def act(instance_id: str) -> None:
        if instance_id == "a":
            raise LookupError("unforeseen")
        for _ in range(10):
            await asyncio.sleep(0)
        others.set()

    with pytest.raises(LookupError, match="unforeseen"):
        await each(["a", "b"], act, terminal)
    assert others.is_set()


def test_credentials_that_are_missing_are_told_once(tool: Tool, ids: list[str]) -> None:
    done = tool.run("stop", "-y", *ids, CORTECS_CLIENT_ID=None)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_one_that_does_not_exist_keeps_no_other_from_being_stopped(
    tool: Tool, emulator: FaultyEmulator, ids: list[str]
) -> None:
    done = tool.run("restart", "-y", "no-such-id", *ids)
    assert done.returncode == 1
    assert done.stdout.splitlines() == ids
