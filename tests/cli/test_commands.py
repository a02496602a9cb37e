"""The tool as a whole: help, versions, wrong usage, a missing extra."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import inferlease
from inferlease.cli._commands import COMMANDS, invoke
from tests.cli.forking import forge
from tests.cli.support import Tool

ROOT = Path(__file__).parents[2]

WITHOUT = """
import sys
sys.modules[sys.argv.pop(1)] = None
from inferlease.cli import main
sys.exit(main())
"""

FAILING = """
import sys
from inferlease.cli import _signals, main

def fail(*_):
    raise LookupError("unforeseen")

_signals.run = fail
sys.exit(main())
"""


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ("--version",)])
def test_what_needs_no_dependency_but_click_loads_none(arguments: tuple[str, ...]) -> None:
    program = (
        "import sys; from inferlease.cli import main; main()\n"
        "print({'aiohttp', 'rich', 'attrs', 'cattrs', 'anyio', 'asyncio'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr == "set()\n"


@pytest.mark.parametrize("arguments", [[], *([command] for command in COMMANDS)], ids=" ".join)
def test_no_line_of_help_is_broken_by_a_terminal_of_80_columns(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert invoke([*arguments, "-h"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 78] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_each_command_and_each_has_its_own(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["--help"]) == 0
    assert f"  {command} " in capsys.readouterr().out
    assert invoke([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: inferlease {command} ")


def test_the_page_on_the_command_line_names_each_command() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if not re.search(rf"`(inferlease )?{name}\b", text)] == []


def test_the_version_is_the_package_s() -> None:
    assert Tool({}).run("--version").stdout == f"inferlease {inferlease.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lease"], "error: No such command 'lease' (see: "),
        (["--verbose"], "error: No such option '--verbose'. Did you mean '--version'? (see: "),
        (["run"], "error: Missing argument 'MODEL' (see: "),
        (["run", "org/model"], "error: Missing argument '-- COMMAND...' (see: "),
        (["run", "org/model", "--num-workers", "9", "--", "true"], "error: Invalid value for '--num-workers'"),
        (
            ["start", "org/model", "--max-cost=5"],
            "error: --max-cost is an option of a lease, and what this starts runs",
        ),
        (["start", "org/model", "--timeout=5"], "error: --timeout is about a wait: add --wait (see: inferlease start"),
        (["restart", "an-id", "--stall-timeout=5"], "error: --stall-timeout is about a wait: add --wait (see: "),
        (["run", "--", "true"], "error: Missing argument 'MODEL', which stands before -- (see: inferlease run --help)"),
        (["run", "org/model", "--"], "error: Missing argument '-- COMMAND...' (see: inferlease run --help)"),
        (["start", "org/model", "--max-cots=5"], "error: No such option '--max-cots' (see: "),
        (
            ["run", "org/model", "python", "-c", "pass"],
            "error: No such option '-c': if it is one of COMMAND, put -- before COMMAND (see: ",
        ),
        (["run", "-c", "org/model", "--", "python"], "error: No such option '-c' (see: "),
        (
            ["run", "org/model", "--timeout", "soon", "--", "true"],
            "error: Invalid value for '--timeout': 'soon' is not",
        ),
        (
            ["run", "org/model", "--max-duration", "0", "--", "true"],
            "error: Invalid value for '--max-duration': '0' is",
        ),
        (["start", "org/model", "--timeout", "0"], "error: Invalid value for '--timeout': '0' is not a positive"),
        (["start", "org/model", "--timeout", "2e9"], "error: Invalid value for '--timeout': '2e9' is not a positive"),
        (["start", "org/model", "--stall-timeout", "0"], "error: Invalid value for '--stall-timeout': '0' is not"),
        (["restart", "instance-1", "--timeout", "0"], "error: Invalid value for '--timeout': '0' is not a positive"),
        (["rm", "instance-1", "--timeout", "0"], "error: Invalid value for '--timeout': '0' is not a positive"),
        (["stop"], "error: Missing argument 'ID...' (see: "),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_help(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(said)
    assert printed.endswith("--help)\n")
    assert printed.count("\n") == 1


@pytest.mark.parametrize("arguments", [("--help",), ("show", "--help"), ("--version",)], ids=" ".join)
def test_help_that_nobody_reads_ends_as_every_answer_does(arguments: tuple[str, ...], tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with (tmp_path / "stderr").open("w") as stderr:
        process = forge().start(arguments, Tool({}).environment({}), (stderr.fileno(), write, stderr.fileno()))
    os.close(write)
    assert (process.wait(), (tmp_path / "stderr").read_text()) == (141, "")


def test_without_arguments_it_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke([]) == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize(("module", "arguments"), [("click", ["--help"]), ("rich", ["demo"])])
def test_a_missing_extra_is_named(module: str, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, module, *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (
        1,
        f"error: {module} is missing, get it with: pip install 'inferlease[cli]'\n",
    )


def test_a_bug_is_one_line_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAILING, "stop", "instance-1"], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (
        1,
        "error: LookupError: unforeseen (<string>:6); please report it\n",
    )
