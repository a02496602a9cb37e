"""`inferlease quote`: a table or JSON, with credentials or without."""

from __future__ import annotations

import json

import pytest

from inferlease.cli._commands import invoke
from inferlease.cli._options import POSITIVE_SECONDS
from tests.cli.support import MODEL, Tool


def test_a_table_has_a_row_for_each_hardware_type(tool: Tool) -> None:
    done = tool.run("quote", MODEL, "--num-workers", "2", "--duration", "3600")
    assert done.returncode == 0
    first, second = (line.split("\t") for line in done.stdout.splitlines())
    assert first == ["NVIDIA_L4_1", "yes", "2.40 EUR", "2.40 EUR", "2.4000 EUR", "41.7 h"]
    assert second[0] == "NVIDIA_L40S_1"
    assumption, default = done.stderr.splitlines()
    assert assumption.startswith("2 workers, per_minute; an estimate: billed from the start call")
    assert default == "recommended, and taken unless another is named: NVIDIA_L4_1"


def test_a_duration_is_rounded_up_to_the_billing_interval(tool: Tool) -> None:
    done = tool.run("quote", MODEL, "--duration", "90", "--billing-interval", "per_hour")
    assert done.stdout.splitlines()[0].split("\t")[4] == "1.2000 EUR"
    assert done.stderr.startswith("1 worker, per_hour; ")


def test_at_a_terminal_of_80_columns_no_row_is_broken(tool: Tool) -> None:
    _, terminal = tool.show("quote", MODEL, "--duration", "600")
    head, first, *_ = [line.rstrip() for line in terminal.lines() if line.strip()]
    assert head.split("  ")[0] == "hardware type"
    assert (first.split()[0], first[-1]) == ("NVIDIA_L4_1", "h")


@pytest.mark.parametrize(("given", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("1d", 86_400)])
def test_a_duration_may_have_a_unit(given: str, seconds: float) -> None:
    assert POSITIVE_SECONDS.convert(given, None, None) == seconds


@pytest.mark.parametrize("given", ["", "m", "10y", "-1m", "nanm", "1e999h", "0m"])
def test_what_is_no_duration_is_wrong_usage(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["quote", MODEL, "--duration", given]) == 2
    assert f"{given!r} is not a positive number of seconds" in capsys.readouterr().err


def test_json_has_the_same_names(tool: Tool) -> None:
    done = tool.run("quote", MODEL, "--hardware-type", "NVIDIA_L40S_1", "--num-workers", "3", "--json")
    quote = json.loads(done.stdout)
    assert [each["hardware_type_id"] for each in quote["hardware"]] == ["NVIDIA_L40S_1"]
    assert quote["hardware"][0]["price_per_hour"] == 6.3, "three times 2.1 are 6.300000000000001"
    assert quote["hardware"][0]["runway"] > 0


def test_without_credentials_it_says_what_is_missing(tool: Tool) -> None:
    done = tool.run("quote", MODEL, CORTECS_CLIENT_ID=None, CORTECS_CLIENT_SECRET=None)
    assert done.returncode == 0
    assert (
        "how long the balance lasts is unknown: no credentials: set CORTECS_CLIENT_ID and CORTECS_CLIENT_SECRET\n"
        in done.stderr
    )
