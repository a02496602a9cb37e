"""`inferlease doctor`: each check says what it found and what to do; exits with 1 if any fails."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from inferlease._checkup import left_behind
from inferlease.sync import Client
from tests.cli.support import Tool
from tests.faults import FaultyEmulator, emulated
from tests.recovery.support import left

if TYPE_CHECKING:
    from pathlib import Path

    from inferlease._orphans import Verdict

CHECKS = ["credentials", "inference key", "reachability", "clock", "ledger", "orphans", "balance"]


def checked(tool: Tool, *, code: int = 1, **changes: str | None) -> dict[str, Any]:
    """The checks by their names."""
    done = tool.run("doctor", "--json", hurried=True, **changes)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert [list(each) for each in found] == [["name", "status", "said", "advice"]] * len(found)
    assert [each["name"] for each in found] == CHECKS
    assert all(bool(each["advice"]) is (each["status"] == "failed") for each in found)
    assert done.returncode == code
    return {each["name"]: each for each in found}


def failed(found: dict[str, Any]) -> list[str]:
    return [name for name, check in found.items() if check["status"] == "failed"]


def test_all_is_well(tool: Tool) -> None:
    found = checked(tool, code=0)
    assert [check["status"] for check in found.values()] == ["ok"] * len(CHECKS)


def test_in_a_pipe_each_is_a_line_with_tabs(tool: Tool) -> None:
    rows = [line.split("\t") for line in tool.run("doctor").stdout.splitlines()]
    assert [row[:2] for row in rows] == [[name, "ok"] for name in CHECKS]


def test_at_a_terminal_what_to_do_stands_below_what_failed(tool: Tool) -> None:
    code, terminal = tool.show("doctor", CORTECS_CLIENT_ID=None)
    head, first, advice, second, *_ = [line.rstrip() for line in terminal.lines() if line.strip() and "━" not in line]
    assert (code, head.split()) == (1, ["check", "status", "found"])
    assert first.split()[:2] == ["credentials", "failed"]
    assert advice == "  to do: set CORTECS_CLIENT_ID: get them from the provider's console"
    assert second.startswith("inference key  ok")


def test_missing_credentials_are_named(tool: Tool) -> None:
    found = checked(tool, CORTECS_CLIENT_ID=None)
    assert failed(found) == ["credentials"]
    assert "CORTECS_CLIENT_ID" in found["credentials"]["advice"]
    assert found["balance"]["status"] == "skipped"
    assert found["ledger"]["said"] == "needs credentials: each account has a ledger of its own"


def test_wrong_credentials_are_told_without_the_secret(tool: Tool) -> None:
    found = checked(tool, CORTECS_CLIENT_SECRET="s3cret-value")
    assert failed(found) == ["credentials"]
    assert found["balance"]["said"] == found["orphans"]["said"] == "the account can't be read"
    assert "s3cret" not in str(found)


@pytest.mark.parametrize(("key", "said"), [
    ({}, "no key for inference"),
    ({"OPENAI_API_KEY": "sk-proj-s3cret"}, "OPENAI_API_KEY holds another provider's key"),
    ({"INFERLEASE_INFERENCE_KEY": "s3cret\n"}, "characters that no header can carry"),
])  # fmt: skip
def test_a_key_for_inference_that_is_missing_or_refused_is_told(tool: Tool, key: dict[str, str], said: str) -> None:
    found = checked(tool, **{"INFERLEASE_INFERENCE_KEY": None, "OPENAI_API_KEY": None, **key})
    assert failed(found) == ["inference key"]
    assert said in found["inference key"]["said"]
    assert "set INFERLEASE_INFERENCE_KEY" not in found["inference key"]["said"]
    assert found["inference key"]["advice"].startswith("set INFERLEASE_INFERENCE_KEY: ")
    assert "s3cret" not in str(found)


def test_a_server_that_is_not_there_is_told(tool: Tool) -> None:
    found = checked(tool, CORTECS_API_BASE_URL="http://127.0.0.1:1")
    assert failed(found) == ["reachability"]
    assert "check" not in found["reachability"]["said"]
    assert "the address in CORTECS_API_BASE_URL" in found["reachability"]["advice"]
    assert found["credentials"]["status"] == found["clock"]["status"] == found["orphans"]["status"] == "skipped"


def test_a_variable_that_is_not_set_is_not_to_be_checked(hurried: None) -> None:
    with Client(base_url="http://127.0.0.1:1") as client:
        (check,) = (each for each in client.check_up() if each.name == "reachability")
    assert (check.status, check.advice) == ("failed", "check the network, HTTPS_PROXY and NO_PROXY")


def test_an_address_that_is_none_is_told(tool: Tool) -> None:
    done = tool.run("doctor", CORTECS_API_BASE_URL="http://example.com")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("reachability\tfailed\t")


@pytest.mark.parametrize(("date", "said"), [
    ("Mon, 01 Jan 2001 00:00:00 GMT", "s ahead of the server's"),
    ("Wed, 01 Jan 2098 00:00:00 GMT", "s behind the server's"),
])  # fmt: skip
def test_a_clock_that_is_wrong_is_told(tool: Tool, emulator: FaultyEmulator, date: str, said: str) -> None:
    emulator.fault("models", body={"models": []}, headers={"Date": date})
    found = checked(tool)
    assert failed(found) == ["clock"]
    assert said in found["clock"]["said"]


def test_a_date_that_can_t_be_read_is_no_failure(tool: Tool, emulator: FaultyEmulator) -> None:
    emulator.fault("models", body={"models": []}, headers={"Date": "today"})
    assert checked(tool, code=0)["clock"]["status"] == "skipped"


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (["ours"], "1 instance that is ours"),
        (["possible", "possible", "ours"], "1 instance that is ours, 2 instances that may be ours"),
        (["unresolved"] * 3, "3 starts whose outcome is not known"),
    ],
)
def test_orphans_are_counted_in_words(verdicts: list[Verdict], said: str) -> None:
    assert left_behind(verdicts) == f"processes that are gone have left {said}"


def test_an_orphan_is_told(tool: Tool, emulator: FaultyEmulator) -> None:
    left(emulator)
    found = checked(tool)
    assert failed(found) == ["orphans"]
    assert found["orphans"]["said"] == "processes that are gone have left 1 start whose outcome is not known"
    assert found["orphans"]["advice"] == "look at them with: inferlease reap"


@emulated(balance=0.0)
def test_an_empty_account_is_told(tool: Tool) -> None:
    assert failed(checked(tool)) == ["balance"]


def test_a_ledger_that_can_t_be_there_is_told(tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = checked(tool, INFERLEASE_STATE_DIR=str(tmp_path / "file"))
    assert "ledger" in failed(found)
    assert str(tmp_path / "file") in found["ledger"]["said"]


# Read-only for root too, and only for the process that follows.
READ_ONLY = ("unshare", "-m", "sh", "-c", 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"')


def test_a_read_only_ledger_is_told(tool: Tool, emulator: FaultyEmulator) -> None:
    """What it remembers is still read."""
    left(emulator)
    folder = str(emulator._state)
    try:
        subprocess.run([*READ_ONLY, folder, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user can't mount")
    doctor = tool.start("doctor", "--json", through=(*READ_ONLY, folder))
    said, complaints = doctor.communicate(timeout=30)
    found = {each["name"]: each for each in json.loads(said)}
    assert (doctor.returncode, complaints) == (1, "")
    assert failed(found) == ["ledger", "orphans"]
    assert "Read-only file system" in found["ledger"]["said"]


def test_a_ledger_that_had_to_go_elsewhere_is_told(tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "temporary").mkdir()
    elsewhere = {"XDG_STATE_HOME": str(tmp_path / "file"), "TMPDIR": str(tmp_path / "temporary")}
    found = checked(tool, INFERLEASE_STATE_DIR=None, **elsewhere)
    assert failed(found) == ["ledger"]
    assert "it may not survive a reboot" in found["ledger"]["said"]
