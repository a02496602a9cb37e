"""`inferlease leases`: living and past leases, for people and for programs."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from attrs import evolve

from inferlease import StartRefusedError
from inferlease._requests import start_arguments
from inferlease.cli import _leases, _output
from inferlease.ledger import Bounds, now
from inferlease.pricing import Price
from tests.cli.support import A_LONG_ID, LONGEST_MODEL, MODEL, Tool
from tests.recovery.support import begun, left, record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from inferlease import Client
    from inferlease.ledger import StartRecord
    from tests.faults import FaultyEmulator

KEYS = [
    "id", "kind", "label", "model", "hardware_type_id", "context_length", "billing_interval", "num_workers",
    "instance_id", "state", "owner", "is_kept", "limit_at", "min_balance", "began", "claimed_at", "ending",
    "ended_at", "reason", "price_per_hour", "currency", "at_most",
]  # fmt: skip


def listed(tool: Tool, *arguments: str) -> list[dict[str, Any]]:
    done = tool.run("leases", "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest_asyncio.fixture
async def instance_id(client: Client) -> str:
    """A start that has ended."""
    return (await client.instances.start(MODEL, num_workers=2)).instance_id


pytestmark = pytest.mark.async_only(reason="the tool is the same in both worlds")


def test_without_any_it_says_nothing(tool: Tool) -> None:
    done = tool.run("leases")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert listed(tool) == []


def test_without_any_a_person_is_told_so_and_how_to_look_further_back(tool: Tool) -> None:
    code, terminal = tool.show("leases", "--since", "2w", columns=100)
    said = [line for line in terminal.lines() if line.strip()]
    assert (code, said) == (0, ["no lease or start is live, or ended in the last 14d (further back: --since)"])


@pytest.mark.parametrize("verb", ["leases", "costs", "reap", "reap --yes"])
def test_a_folder_that_is_not_there_is_told_and_not_made(tool: Tool, tmp_path: Path, verb: str) -> None:
    gone = tmp_path / "gone"
    done = tool.run(*verb.split(), INFERLEASE_STATE_DIR=str(gone))
    said = f"INFERLEASE_STATE_DIR={gone} does not exist: nothing was started with it, or it was deleted\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, "", said)
    assert not gone.exists()


def test_an_object_has_all_that_is_known(tool: Tool, instance_id: str) -> None:
    (found,) = listed(tool)
    assert list(found) == KEYS
    assert (found["model"], found["num_workers"], found["instance_id"]) == (MODEL, 2, instance_id)
    assert (found["kind"], found["owner"], found["ending"]) == ("start", "none", "handed over")
    assert (found["reason"], found["price_per_hour"], found["currency"]) == (None, 2.4, "EUR")


def test_an_object_tells_what_was_taken_where_the_server_was_left_to_choose(
    tool: Tool, emulator: FaultyEmulator
) -> None:
    with emulator.sync_client(poll_interval=0.02) as client, client.lease(MODEL, label="team a"):
        pass
    (found,) = listed(tool)
    taken = [found[key] for key in ("label", "hardware_type_id", "billing_interval", "num_workers")]
    assert taken == ["team a", "NVIDIA_L4_1", "per_minute", 1]
    assert found["context_length"] is None, "it is not noted"


def test_in_a_pipe_each_is_a_line_with_tabs(tool: Tool, instance_id: str) -> None:
    (line,) = tool.run("leases", COLUMNS="40").stdout.splitlines()
    assert line.split("\t")[::2] == ["start", "handed over", instance_id, "2.40 EUR/h", "-"]
    assert line.split("\t")[3::2] == ["-", MODEL, "-"], "it runs on"


def test_at_a_terminal_it_is_a_table(tool: Tool, instance_id: str) -> None:
    terminal = tool.start_at_terminal("leases", COLUMNS="160")
    assert terminal.wait() == 0
    lines = [line.split() for line in terminal.lines() if line.strip()]
    assert lines[0] == ["instance", "state", "began", "lasted", "cost", "at", "most", "model"]
    assert (lines[-1][0], lines[-1][-1]) == (instance_id, MODEL)


@pytest.mark.parametrize(
    ("columns", "times", "model"),
    [(80, "-", "Met…FP8"), (160, "[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}  - *  -", LONGEST_MODEL)],
)
def test_each_takes_one_line(tool: Tool, emulator: FaultyEmulator, columns: int, times: str, model: str) -> None:
    journal = begun(emulator, kind="start", args=start_arguments(LONGEST_MODEL), price=Price(123.4, "EUR"))
    journal.claim(A_LONG_ID, is_answered=True)
    journal.end("handed over")
    _, terminal = tool.show("leases", columns=columns)
    (row,) = [line.rstrip() for line in terminal.lines() if line.strip()][1:]
    assert re.fullmatch(f"{A_LONG_ID}  handed over  {times} *  123.40 EUR/h  {model}", row), row


@pytest.fixture
def three(emulator: FaultyEmulator) -> list[StartRecord]:
    """One that was stopped after 15 s, one that is orphaned for 5 minutes, and one that was handed over."""
    args, price = start_arguments(LONGEST_MODEL), Price(1.2, "EUR")
    orphaned = record(emulator, left(emulator, A_LONG_ID, args=args, ago=285, price=price))
    ended = evolve(orphaned, owner="none", ending="stopped", ended_at=orphaned.began + timedelta(seconds=15))
    return [ended, orphaned, evolve(ended, ending="handed over")]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[list[str]]]:
    """The cells of what a terminal with so many columns shows, without a model that stands below."""

    def cells(records: list[StartRecord], columns: int) -> list[list[str]]:
        for module in (_leases, _output):
            monkeypatch.setattr(module, "is_terminal", lambda: True)
        monkeypatch.setenv("COLUMNS", str(columns))
        _leases._write(records)
        return [re.split("  +", line) for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]

    return cells


@pytest.mark.parametrize(
    ("columns", "titles", "told"),
    [
        (80, "instance state lasted at most model", ["15s", "4m", "-"]),
        (120, "instance state began lasted at most model", ["15 s", "5 min", "-"]),
        (140, "instance state began lasted cost at most model", ["0.0200 EUR", "0.1000 EUR", "-"]),
    ],
)
def test_a_table_tells_what_it_has_room_for(
    three: list[StartRecord], shown: Callable[..., list[list[str]]], columns: int, titles: str, told: list[str]
) -> None:
    head, *rows = shown(three, columns)
    assert " ".join(head) == titles
    assert [row[len(head) - 3] for row in rows] == told


def test_what_it_has_cost_at_most_is_told_unless_nobody_knows_its_end(three: list[StartRecord]) -> None:
    assert [_leases._object(each)["at_most"] for each in three] == [0.02, 0.1, None]
    assert [_leases._row(each)[-1] for each in three] == ["0.0200 EUR", "0.1000 EUR", "-"]


def test_of_a_refused_one_the_reason_is_told(tool: Tool, emulator: FaultyEmulator) -> None:
    emulator.fault("start", 422, body={"message": f"no {MODEL.replace('/', '--')} here"}, handled=False)
    with emulator.sync_client() as client, pytest.raises(StartRefusedError):
        client.instances.start(MODEL)
    reason = f"POST /instances/start was answered 422: no {MODEL} here"
    (found,) = listed(tool)
    assert (found["ending"], found["price_per_hour"]) == ("refused", None)
    assert found["reason"] == reason.replace("/Q", "--Q")
    assert tool.run("leases").stdout.endswith(f"\t{MODEL}\t-\t{reason}\t-\n")
    _, terminal = tool.show("leases", columns=80)
    assert [line.rstrip() for line in terminal.lines() if line.strip()][2:] == [f"  {reason}"]


@pytest.mark.parametrize(
    ("begun", "state"),
    [({}, "orphaned"), ({"keep": Bounds()}, "kept"), ({"keep": Bounds(limit_at=now())}, "orphaned")],
    ids=["to be stopped", "to stay", "at its limit"],
)
def test_one_whose_process_is_gone_is_told(
    tool: Tool, emulator: FaultyEmulator, begun: dict[str, bool], state: str
) -> None:
    left(emulator, "instance-1", **begun)
    done = tool.run("leases")
    (line,) = done.stdout.splitlines()
    assert line.split("\t")[2:5] == [state, "-", "instance-1"]
    assert done.stderr == ("some are orphaned: look with inferlease reap\n" if state == "orphaned" else "")


def test_a_live_one_is_told(tool: Tool, emulator: FaultyEmulator) -> None:
    with emulator.sync_client(poll_interval=0.02) as client, client.lease(MODEL):
        (found,) = listed(tool)
    assert (found["owner"], found["ended_at"]) == ("alive", None)


def test_what_ended_longer_ago_is_left_out(tool: Tool, emulator: FaultyEmulator, instance_id: str) -> None:
    left(emulator, ago=10_000)
    assert [found["instance_id"] for found in listed(tool, "--since", "0s")] == [None]
    assert {found["instance_id"] for found in listed(tool, "--since", "2w")} == {None, instance_id}


@pytest.mark.parametrize("since", ["soon", "7", "-1d", "7 d", "1y"])
def test_an_age_that_is_none_is_wrong_usage(tool: Tool, since: str) -> None:
    done = tool.run("leases", "--since", since)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{since!r} is not an age, such as 90m, 12h or 7d" in done.stderr


def test_without_credentials_it_is_an_error(tool: Tool) -> None:
    done = tool.run("leases", CORTECS_CLIENT_ID=None)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: no credentials: set CORTECS_CLIENT_ID")


def test_a_reader_that_is_gone_is_no_traceback(tool: Tool, instance_id: str) -> None:
    process = tool.start("leases")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert process.wait(30) == 141, instance_id
