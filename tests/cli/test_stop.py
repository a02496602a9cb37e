"""`inferlease stop`: exits with 0 only when no instance that it was given is left."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.cli.support import MODEL, Tool, ended
from tests.faults import FaultyEmulator, emulated

if TYPE_CHECKING:
    from pathlib import Path

    from inferlease import Client


async def started(client: Client, count: int) -> list[str]:
    return [(await client.instances.start(MODEL)).instance_id for _ in range(count)]


@pytest_asyncio.fixture
async def ids(client: Client) -> list[str]:
    """Three instances that run."""
    return await started(client, 3)


def test_all_are_stopped(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    done = tool.run("stop", "-y", *ids)
    assert (done.returncode, done.stdout) == (0, "")
    assert sorted(line.partition("; ")[0] for line in done.stderr.splitlines()) == sorted(
        f"{each}: stopped" for each in ids
    )
    assert emulator.books().still_billed == []


@emulated(stop_delay=1.0)
def test_it_waits_until_the_stop_is_seen(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    assert tool.run("stop", ids[0]).returncode == 0
    assert sorted(emulator.books().still_billed) == sorted(ids[1:])


def test_one_that_is_stopped_is_fine(tool: Tool, ids: list[str]) -> None:
    tool.run("stop", ids[0])
    done = tool.run("stop", ids[0])
    assert (done.returncode, done.stderr.startswith(f"{ids[0]}: stopped")) == (0, True)


def test_what_it_has_cost_since_its_start_is_told(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    told = r"at most 0\.0\d00 EUR for [\d.]+ s since its start, if never restarted\n"
    assert re.fullmatch(rf"{ids[0]}: stopped; {told}", tool.run("stop", ids[0]).stderr)
    assert re.fullmatch(rf"{ids[1]}: deleted; {told}", tool.run("rm", "--force", ids[1]).stderr)
    assert re.search(rf"^cost      {told}", tool.run("show", ids[2]).stdout, re.MULTILINE)


def test_what_nobody_here_has_started_has_cost_nobody_knows_what(tool: Tool, ids: list[str], tmp_path: Path) -> None:
    elsewhere = {"INFERLEASE_STATE_DIR": str(tmp_path)}
    assert "\ncost      -\n" in tool.run("show", ids[0], **elsewhere).stdout
    assert tool.run("stop", ids[0], **elsewhere).stderr == f"{ids[0]}: stopped\n"


def test_the_cost_of_an_earlier_life_is_not_told_of_this_one(tool: Tool, emulator: FaultyEmulator) -> None:
    with emulator.sync_client() as client:
        with client.lease(MODEL, delete=False) as instance:
            pass
        instance.restart()
    assert "\ncost      -\n" in tool.run("show", instance.instance_id).stdout


@pytest.mark.parametrize("verb", ["stop", "rm"])
def test_one_that_is_gone_is_fine_as_long_as_the_ledger_remembers_it(
    tool: Tool, emulator: FaultyEmulator, verb: str, tmp_path: Path
) -> None:
    with emulator.sync_client() as client, client.lease(MODEL) as instance:
        pass  # at the end it is deleted
    done = tool.run(verb, instance.instance_id)
    assert (done.returncode, done.stderr) == (0, f"{instance.instance_id}: it is gone already\n")
    for another_ledger in (str(tmp_path), "/dev/null/none"):
        done = tool.run(verb, instance.instance_id, INFERLEASE_STATE_DIR=another_ledger)
        assert (done.returncode, "there is no such instance, and nothing was" in done.stderr) == (1, True)


def test_an_id_that_nobody_knows_keeps_no_other_running(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    done = tool.run("stop", "-y", f"{ids[0]}0", *ids[1:])
    assert done.returncode == 1
    assert f"error: {ids[0]}0: there is no such instance, and nothing was stopped; " in done.stderr
    assert emulator.books().still_billed == ids[:1]


def test_the_same_id_twice_is_stopped_once(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    assert tool.run("stop", ids[0], ids[0]).returncode == 0
    assert emulator.books().requests["stop"] == 1


def test_a_bad_id_does_not_keep_the_others_running(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    done = tool.run("stop", "-y", "delete-all", *ids)
    assert done.returncode == 1
    assert "error: delete-all: 'delete-all' is not a valid instance id" in done.stderr
    assert emulator.books().still_billed == []


@emulated(stop_delay=60.0)
def test_one_that_goes_on_is_an_error(tool: Tool, ids: list[str]) -> None:
    done = tool.run("stop", ids[0], "--timeout", "1")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {ids[0]}: it is not stopped after ")
    assert done.stderr.endswith(f"; it may be billed; to stop it, and wait again: inferlease stop {ids[0]}\n")
    assert done.stderr.count("\n") == 1


@emulated(stop_delay=60.0)
def test_a_signal_ends_the_wait(tool: Tool, emulator: FaultyEmulator, ids: list[str]) -> None:
    stop = tool.start("stop", ids[0])
    with emulator.hold("get", "before") as hold:
        hold.wait_arrived()
        stop.send_signal(signal.SIGINT)
        assert ended(stop)[0] == 130


@pytest.mark.parametrize("change", [{"CORTECS_CLIENT_SECRET": None}, {"CORTECS_CLIENT_SECRET": "s3cret-value"}])
def test_without_credentials_it_is_an_error(tool: Tool, change: dict[str, str | None]) -> None:
    done = tool.run("stop", "instance-1", **change)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "s3cret" not in done.stderr
