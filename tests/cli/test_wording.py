"""What is told at a shell names options, variables and models as they are typed there."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

import inferlease
from inferlease._limits import TimedLimit
from inferlease.cli import _wording
from inferlease.cli._commands import COMMANDS, _notes, commands, invoke
from inferlease.cli._options import AGE, POSITIVE_SECONDS, SECONDS
from inferlease.errors import GUARD_GOES_ON
from tests.cli.support import MODEL, Tool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults import FaultyEmulator

LIBRARY = [path for path in Path(inferlease.__file__).parent.glob("*.py") if path.name != "pytest_plugin.py"]


@pytest.fixture(autouse=True)
def words(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds is forgotten after it."""
    monkeypatch.setattr(_wording, "_words", dict(_wording._words))


def options() -> Iterator[tuple[str, click.Option]]:
    """Each option, and its command's name."""
    context = click.Context(commands)
    for name in COMMANDS:
        command = commands.get_command(context, name)
        assert command is not None
        yield from ((name, option) for option in command.params if isinstance(option, click.Option))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("no key: set A_KEY, or pass inference_key to Client(); more", "no key: set A_KEY; more"),
        ("to go on longer, raise max_duration", "to go on longer, raise --max-duration"),
        ("below min_balance=2: lower min_balance", "below --min-balance=2: lower --min-balance"),
        ("hardware_type_id=A,A names a type twice", "--hardware-type=A,A names a type twice"),
        ("label='' is not a text, and a label is one", "--label='' is not a text, and a label is one"),
        ("name another folder by ledger=PATH or INFERLEASE_STATE_DIR", "name another folder by INFERLEASE_STATE_DIR"),
        ("base_url 'x' is no URL", "CORTECS_API_BASE_URL 'x' is no URL"),
        ("check the network and base_url", "check the network and the address in CORTECS_API_BASE_URL"),
        # Names of others: a path into an answer, what a server quotes, an instance's address.
        ("instance.instance_args.context_length: missing", "instance.instance_args.context_length: missing"),
        ("the server says 'num_workers' is wrong", "the server says 'num_workers' is wrong"),
        ("the instance's base_url is no URL", "the instance's base_url is no URL"),
        ("INFERLEASE_MAX_COST='x' is not a number", "INFERLEASE_MAX_COST='x' is not a number"),
    ],
)
def test_an_argument_is_told_as_an_option_or_variable(said: str, told: str) -> None:
    assert _wording.at_shell(said) == told


def test_no_message_of_the_library_speaks_of_a_constructor_at_a_shell() -> None:
    said = [
        node.value
        for path in LIBRARY
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.search(r"(?<!=) to Client\(|=PATH", node.value)
    ]
    assert len(said) > 4
    assert [text for text in said if re.search(r"Client\(|=PATH", _wording.at_shell(text))] == []


def test_each_option_that_is_told_is_one() -> None:
    told = {word for words in _wording._words.values() for word in words.split() if word.startswith("--")}
    assert told <= {opt for _, option in options() for opt in option.opts}


def test_a_model_is_told_as_it_was_typed() -> None:
    _wording.remember_model("org/model")
    assert _wording.at_shell("'org--model' is not org--model-2, my-org--model or org--model.5") == (
        "'org/model' is not org--model-2, my-org--model or org--model.5"
    )


def test_a_note_on_an_error_is_told_so_too() -> None:
    error = ValueError()
    error.add_note("a note: raise max_cost")
    assert _notes(error) == ["a note: raise --max-cost"]


def test_what_ends_with_its_emulator_is_stopped_by_nobody_else() -> None:
    _wording.hide_stop_hints()
    assert _wording.at_shell("a started (at most 1 EUR/h; stop it with: inferlease stop a)") == (
        "a started (at most 1 EUR/h)"
    )
    assert _wording.at_shell(f"a runs; stop it with: inferlease stop a{GUARD_GOES_ON} (last seen running)") == (
        "a runs; it ends with its emulator (last seen running)"
    )


def test_a_limit_of_the_environment_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = TimedLimit("max_duration", 5.0, 5.0)
    assert limit.source == "max_duration"
    monkeypatch.setenv("INFERLEASE_MAX_DURATION", "5")
    assert limit.source == "INFERLEASE_MAX_DURATION"
    monkeypatch.setenv("INFERLEASE_MAX_DURATION", "6")
    assert limit.source == "max_duration"


def test_the_metavar_of_a_duration_tells_its_units() -> None:
    context = click.Context(commands)
    metavars = {
        option.make_metavar(context) for _, option in options() if option.type in (SECONDS, POSITIVE_SECONDS, AGE)
    }
    assert metavars == {"N[s|m|h|d|w]", "N{s|m|h|d|w}"}


def test_models_takes_no_model_and_says_what_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["models", MODEL]) == 2
    assert f"{MODEL!r} names one: inferlease quote MODEL tells of it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        (("run", MODEL, "--max-cost", "0.001", "--", "true"), "error: --max-cost=0.001 EUR does not pay for one"),
        (("run", MODEL, "--min-balance", "1000", "--", "true"), "; top it up, or lower --min-balance\n"),
        (("start", "../x"), "'../x'; expected 'org/model' or 'org--model'; list models with: inferlease models\n"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_refusal_names_what_was_typed(tool: Tool, emulator: FaultyEmulator, verb: tuple[str, ...], said: str) -> None:
    done = tool.run(*verb)
    assert said in done.stderr
    assert (done.stderr.count("\n"), emulator.books().starts) == (1, 0)


def test_the_doctor_names_variables(tool: Tool) -> None:
    done = tool.run("doctor", CORTECS_CLIENT_ID=None, INFERLEASE_INFERENCE_KEY=None)
    found = [line.split("\t")[2:] for line in done.stdout.splitlines()][:2]
    assert [(said, advice.partition(": ")[0]) for said, advice in found] == [
        ("no credentials", "set CORTECS_CLIENT_ID"),
        ("no key for inference", "set INFERLEASE_INFERENCE_KEY"),
    ]
