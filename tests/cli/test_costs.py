"""`inferlease costs`, and what of `run` is about money."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from inferlease.cli._commands import invoke
from inferlease.money import Price
from tests.cli.support import MODEL, Tool
from tests.faults import FaultyEmulator
from tests.recovery.support import begun, left


def test_what_run_was_given_as_a_label_is_summed_up(tool: Tool) -> None:
    assert tool.run("run", MODEL, "--label", "=a", "--num-workers", "3", "--", "true").returncode == 0
    done = tool.run("costs")
    assert done.stdout == "=a\t1\t0.00\t0.06 EUR\n"
    total, said = done.stderr.splitlines()
    assert total == "in all: 0.06 EUR"
    assert said.startswith("estimates: billed from the start call")
    (group,) = json.loads(tool.run("costs", "--by", "model", "--json").stdout)
    assert (group["name"], group["leases"], group["unknown"]) == (MODEL, 1, 0)
    assert group["amounts"] == {"EUR": 0.06}, "a minute of three times 1.20 EUR/h is 0.05999999999999999 in fractions"
    names, values = csv.reader(io.StringIO(tool.run("costs", "--since", "1h", "--csv").stdout))
    assert names == ["label", "leases", "live", "seconds", "unknown_prices", "at_most", "currency"]
    assert [*values[:3], *values[4:]] == ["'=a", "1", "0", "0", "0.060000", "EUR"]


def test_a_person_is_told_how_long_short_leases_took(tool: Tool, emulator: FaultyEmulator) -> None:
    left(emulator, "instance-1", ago=1810, price=Price(1.2, "EUR"))
    _, terminal = tool.show("costs")
    titles, row, *_ = [re.split("  +", line.strip()) for line in terminal.lines() if line.strip()]
    assert titles == ["label", "leases", "time", "at most"]
    assert row == ["(none)", "1 (1 live)", "30 min", "0.62 EUR"]


def test_without_a_lease_there_is_nothing(tool: Tool) -> None:
    done = tool.run("costs")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    code, terminal = tool.show("costs")
    said = [line for line in terminal.lines() if line.strip()]
    assert (code, said) == (0, ["no lease is live, or ended in the last 7d (further back: --since)"])


def test_what_was_started_without_a_lease_is_said_not_to_be_in_it(tool: Tool, emulator: FaultyEmulator) -> None:
    with emulator.sync_client() as client:
        client.instances.start(MODEL)
    _, terminal = tool.show("costs", columns=200)
    lines = [line for line in terminal.lines() if line.strip()]
    assert lines[0].startswith("no lease is live")
    (told,) = lines[1:]
    assert told.startswith("not in it: an instance that was started without a lease")


def test_starts_of_unknown_outcome_are_said_not_to_be_in_it(tool: Tool, emulator: FaultyEmulator) -> None:
    being_made = begun(emulator)
    assert tool.run("costs").stderr == "not in it: a start whose outcome is unknown (see: inferlease leases)\n"
    being_made.let_go()
    left(emulator)
    done = tool.run("costs")
    assert (done.stdout, done.stderr) == ("", "not in it: 2 starts whose outcome is unknown (see: inferlease reap)\n")


@pytest.mark.parametrize("since", ["7", "d", "-1d", "1y", "nand"])
def test_what_is_no_age_is_wrong_usage(since: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["costs", "--since", since]) == 2
    assert "is not an age, such as 90m, 12h or 7d" in capsys.readouterr().err


def test_a_limit_ends_the_command_too(tool: Tool, emulator: FaultyEmulator) -> None:
    done = tool.run("run", MODEL, "--max-duration", "2", "--", "sleep", "600")
    assert done.returncode == 1
    assert "reached --max-duration=2 s after 2 s: it is stopped" in done.stderr
    assert done.stderr.count("reached --max-duration") == 1
    assert emulator.books().still_billed == []


def test_a_limit_of_nonsense_is_one_line(tool: Tool) -> None:
    done = tool.run("run", MODEL, "--max-cost", "-1", "--", "true")
    assert (done.returncode, done.stderr) == (2, "error: --max-cost=-1.0 is not an amount of money above 0\n")
