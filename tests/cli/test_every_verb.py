"""Every verb in every situation: its exit code, and what it says on stderr in one line."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import click
import pytest
from attrs import frozen

from inferlease import (
    Balance,
    Check,
    CostGroup,
    HardwareType,
    InstanceEvent,
    InstanceState,
    ModelPreview,
    Quote,
)
from inferlease.cli._commands import commands
from inferlease.emulator import Fault
from tests.cli.forking import forge
from tests.cli.support import MODEL, Tool
from tests.faults import FaultyEmulator

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "s3cret-value"

NOTHING = ""
NO_CREDENTIALS = (
    r"error: no credentials: set CORTECS_CLIENT_ID and CORTECS_CLIENT_SECRET; "
    r"to try it without an account: inferlease demo\n"
)
WRONG_SECRET = (
    r"error: the client id and secret were not accepted: .* 401: .*; "
    r"check CORTECS_CLIENT_ID and CORTECS_CLIENT_SECRET, and the address in CORTECS_API_BASE_URL\n"
)
DOWN = r"error: .*was answered 503: .*; try again later\n"
UNKNOWN_ID = r"error: no-such-id: there is no such instance; if the id is mistyped, .* inferlease ps --all\n"
UNKNOWN_MODEL = (
    r"error: (the start of no-such/model was refused: Model 'no-such/model' not found|there is no model no-such/model)"
    r"; list models with: inferlease models\n"
)
STARTED = r"started, at most 1\.20 EUR/h; stop it with: inferlease stop instance-\w+\n"
ANSWERED = r"1 of 1 prompts answered .*\nthe emulator's books: 1 started, 0 still billed; .*\n"
BILLED = r"still billed: instance-\w+; stop with: inferlease stop instance-\w+\n"
STOPPED = r"instance-\w+: stopped(; at most \S+ EUR for .* since its start, if never restarted)?\n"
LEASED = r"instance-\w+ started .*\ninstance-\w+ usable .*\ninstance-\w+ stopped .*\nestimated cost: .*\n"
QUOTED = r"1 worker, per_minute; an estimate: .*\nrecommended, .*\n(how long the balance lasts is unknown: .*\n)?"
SUMMED_UP = r"(in all: .*\n(not in it: .*\n)?estimates: .*\n)?"  # nothing where there is nothing to sum up

ALL = frozenset({"credentials", "right secret", "server"})


@frozen
class Verb:
    """What a verb is given, and what is expected of it.

    Attributes:
        given: Its arguments; `{running}` and `{stopped}` stand for instances that are made for it.
        says: What it writes to stderr when all is well and nobody sits at a terminal.
        shows: What a person sees at a terminal then.
        needs: What it can't do without.
        unknown: Arguments that name what there is not, with the exit code and stderr; `None` if it takes no names.
        closed: The exit code and stderr if nobody reads stdout.
        shape: What its JSON structures back into; `None` if it has none, or one of its own.
    """

    given: tuple[str, ...] = ()
    says: str = NOTHING
    shows: str = ""
    needs: frozenset[str] = ALL
    unknown: tuple[tuple[str, ...], int, str] | None = None
    closed: tuple[int, str] = (141, NOTHING)
    shape: Any = None
    stdin: bytes = b""


UNKNOWN = (("no-such-id",), 1, UNKNOWN_ID)
THERE_IS_NONE = (
    ("no-such-id",),
    1,
    r"error: no-such-id: there is no such instance, and nothing was (stopped|deleted); .* inferlease ps --all\n",
)

VERBS = {
    "run": Verb(
        (MODEL, "--", "echo", "done"),
        LEASED,
        "done",
        unknown=(("no-such/model", "--", "true"), 1, UNKNOWN_MODEL),
        closed=(141, LEASED),
    ),
    "start": Verb(
        (MODEL,),
        STARTED,
        "stop it with",
        unknown=(("no-such/model",), 1, UNKNOWN_MODEL),
        closed=(141, BILLED),
        shape=InstanceState,
    ),
    "ps": Verb(("--all",), NOTHING, "state", shape=list[InstanceState]),
    "show": Verb(("{running}",), NOTHING, "base_url", unknown=UNKNOWN, shape=list[InstanceState]),
    "watch": Verb(("{running}", "--until", "usable"), NOTHING, "running", unknown=UNKNOWN, shape=InstanceEvent),
    "stop": Verb(
        ("{running}",), STOPPED, ": stopped", unknown=THERE_IS_NONE,
        closed=(0, STOPPED),
    ),
    "restart": Verb(
        ("{stopped}",), STARTED, "stop it with", unknown=UNKNOWN, closed=(141, BILLED),
        shape=list[InstanceState],
    ),
    "rm": Verb(
        ("{stopped}",), r"instance-\w+: deleted\n", ": deleted", unknown=THERE_IS_NONE,
        closed=(0, r"instance-\w+: deleted\n"),
    ),
    "models": Verb(shows=MODEL, needs=frozenset({"server"}), shape=list[ModelPreview]),
    "hardware": Verb(shows="NVIDIA_L4_1", needs=frozenset({"server"}), shape=list[HardwareType]),
    "quote": Verb(
        (MODEL,), QUOTED, "recommended", frozenset({"server"}), (("no-such/model",), 1, UNKNOWN_MODEL), shape=Quote
    ),
    "balance": Verb(shows="EUR", shape=Balance),
    "costs": Verb(says=SUMMED_UP, shows="in all", needs=frozenset({"credentials"}), shape=list[CostGroup]),
    "leases": Verb(shows="instance", needs=frozenset({"credentials"})),
    "reap": Verb(
        needs=frozenset({"credentials"}),
        closed=(0, NOTHING),
        unknown=(("--yes", "no-such-id"), 1, r"error: no-such-id is not reaped: .* inferlease stop no-such-id\n"),
    ),
    "doctor": Verb(shows="reachability", shape=list[Check]),
    "demo": Verb(("-", "--seconds-per-step", "0"), ANSWERED, "answer", frozenset(), stdin=b"Hello\n\x04"),
    "emulator": Verb(
        ("--until-eof",), r"the emulator's books: .*\n", "CORTECS_CLIENT_ID", frozenset(), stdin=b"\x04",
        closed=(0, r"the emulator's books: .*\n"),
    ),
}  # fmt: skip


def options(name: str) -> set[str]:
    """The options of a verb."""
    command = commands.get_command(click.Context(commands), name)
    assert command is not None
    return {option for parameter in command.params for option in parameter.opts}


def those(*, option: str = "", named: bool = False, needing: str = "") -> Any:
    """The verbs that a test is about."""
    found = [
        name
        for name, verb in VERBS.items()
        if (not option or option in options(name))
        and (not named or verb.unknown is not None)
        and (not needing or needing in verb.needs)
    ]
    return pytest.mark.parametrize("name", found)


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyEmulator]:
    """One for all verbs: none looks at more than what it is given."""
    with FaultyEmulator(seconds_per_step=0.0) as running:
        yield running


@pytest.fixture(scope="module")
def broken() -> Iterator[FaultyEmulator]:
    """One that answers everything with 503."""
    with FaultyEmulator(faults=[Fault("status_503")]) as running:
        yield running


@pytest.fixture
def given(server: FaultyEmulator, name: str) -> list[str]:
    """The arguments of the verb, with its instances."""
    made: dict[str, str] = {}
    with server.sync_client(poll_interval=0.02) as client:
        for what in ("running", "stopped"):
            if f"{{{what}}}" in VERBS[name].given or name in ("ps", "leases"):
                instance = client.instances.start(MODEL).wait_until_running()
                made[what] = (instance.stop() if what == "stopped" else instance).instance_id
        if name == "costs":
            with client.lease(MODEL):
                pass
    return [name, *(argument.format_map(made) for argument in VERBS[name].given)]


def run(
    server: FaultyEmulator, arguments: list[str], *, hurried: bool = False, **changes: str | None
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the tool in a pipe; whatever happens, no traceback and no secret."""
    environment = {"INFERLEASE_INFERENCE_KEY": SECRET, **changes}
    done = Tool(server.environment()).run(
        *arguments, stdin=VERBS[arguments[0]].stdin.rstrip(b"\x04"), hurried=hurried, **environment
    )
    assert SECRET not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


def test_no_verb_is_left_out() -> None:
    assert list(VERBS) == commands.list_commands(click.Context(commands))


@those()
def test_in_a_pipe(server: FaultyEmulator, name: str, given: list[str]) -> None:
    code, printed, said = run(server, given)
    assert (code, re.fullmatch(VERBS[name].says, said) is not None) == (0, True), said
    assert "\x1b" not in printed + said
    assert bool(printed) is (VERBS[name].closed[0] != 0 or name == "emulator")


@those()
def test_at_a_terminal_of_80_columns(server: FaultyEmulator, name: str, given: list[str]) -> None:
    code, terminal = Tool(server.environment()).show(*given, keys=VERBS[name].stdin.decode())
    assert code == 0
    assert VERBS[name].shows in terminal.shown
    assert "error: " not in terminal.shown


@those()
def test_in_a_pipe_that_nobody_reads(server: FaultyEmulator, name: str, given: list[str], tmp_path: Any) -> None:
    read_in, write_in = os.pipe()
    read_out, write_out = os.pipe()
    os.write(write_in, VERBS[name].stdin.rstrip(b"\x04"))
    os.close(write_in)
    os.close(read_out)
    with (tmp_path / "stderr").open("w+") as stderr:
        environment = Tool(server.environment()).environment({"INFERLEASE_INFERENCE_KEY": SECRET})
        process = forge().start(given, environment, (read_in, write_out, stderr.fileno()))
        os.close(read_in)
        os.close(write_out)
        code = process.wait()
        said = (tmp_path / "stderr").read_text()
    expected_code, expected = VERBS[name].closed
    assert (code, re.fullmatch(expected, said) is not None) == (expected_code, True), said


@those(option="--json")
def test_json_structures_back(server: FaultyEmulator, name: str, given: list[str]) -> None:
    code, printed, said = run(server, [given[0], "--json", *given[1:]])
    assert (code, said) == (0, NOTHING)
    content, shape = json.loads(printed), VERBS[name].shape
    if shape is not None:
        converter = server.sync_client().converter
        assert converter.unstructure(converter.structure(content, shape)) == content


@those(option="-q")
def test_quietly_it_prints_what_it_is_about_and_nothing_else(
    server: FaultyEmulator, name: str, given: list[str]
) -> None:
    code, printed, said = run(server, [given[0], "-q", *given[1:]])
    assert (code, said) == (0, NOTHING)
    assert re.fullmatch(r"([\w./-]+\n)+" if VERBS[name].shows else "", printed)


@those(named=True)
def test_a_name_of_nothing(server: FaultyEmulator, name: str) -> None:
    arguments, expected_code, expected = VERBS[name].unknown or ((), 0, "")
    code, _, said = run(server, [name, *arguments])
    assert (code, re.fullmatch(expected, said) is not None) == (expected_code, True), said


@those()
def test_without_credentials(server: FaultyEmulator, name: str, given: list[str]) -> None:
    judge(name, "credentials", NO_CREDENTIALS, run(server, given, CORTECS_CLIENT_ID=None, CORTECS_CLIENT_SECRET=None))


@those()
def test_with_the_wrong_secret(server: FaultyEmulator, name: str, given: list[str]) -> None:
    judge(name, "right secret", WRONG_SECRET, run(server, given, CORTECS_CLIENT_SECRET=SECRET))


@those()
def test_with_a_server_that_is_down(broken: FaultyEmulator, name: str) -> None:
    given = [name, *(argument.format(running="instance-1", stopped="instance-1") for argument in VERBS[name].given)]
    judge(name, "server", DOWN, run(broken, given, hurried=True))


def judge(name: str, lacking: str, complaint: str, ended: tuple[int, str, str]) -> None:
    """Whether a verb complains that something is lacking, if it needs it, and else does as ever."""
    code, _, said = ended
    is_needed = lacking in VERBS[name].needs
    expected = complaint if is_needed else VERBS[name].says
    if name == "doctor":
        expected = NOTHING  # it is its answer that tells
    assert (code, re.fullmatch(expected, said) is not None) == (int(is_needed), True), said
