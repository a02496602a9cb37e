"""What a person reads: tables on wide and narrow terminals, without colour, and the way out of each error."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.progress import Progress

from inferlease import errors
from inferlease.cli import _output
from inferlease.cli._advice import with_advice
from inferlease.cli._terminal import _Time
from tests.cli.forking import forge
from tests.cli.support import MODEL, Tool

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import Any

    from tests.faults import FaultyEmulator

ADDRESS = "address in CORTECS_API_BASE_URL"
TITLES = ("id", "state", "model")
ROWS = [("instance-1", "running", "org/a-model-with-a-long-name"), ("instance-2", "stopped", "-")]


def shown(
    width: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    titles: Sequence[str] = TITLES,
    rows: Sequence[Sequence[str]] = ROWS,
    **options: Any,
) -> list[str]:
    def size() -> os.terminal_size:
        import os

        return os.terminal_size((width, 24))

    monkeypatch.setattr(_output, "is_terminal", lambda: True)
    monkeypatch.setattr(shutil, "get_terminal_size", size)
    _output.write_table(titles, rows, folds=("model",), **options)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (
            49,
            [
                "id          state    model",
                "instance-1  running  org/a-model-with-a-long-name",
                "instance-2  stopped  -",
            ],
        ),
        (
            40,
            [
                "id          state    model",
                "instance-1  running",
                "  org/a-model-with-a-long-name",
                "instance-2  stopped  -",
            ],
        ),
        (
            30,
            [
                "id          state",
                "  model",
                "instance-1  running",
                "  org/a-model-with-a-long-name",
                "instance-2  stopped",
            ],
        ),
        (
            15,
            [
                "instance-1",
                "  state running,",
                "  model org/a-model-with-a-long-name",
                "instance-2",
                "  state stopped",
            ],
        ),
    ],
)
def test_a_table_fits_and_breaks_no_word(
    width: int, lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(width, monkeypatch, capsys) == lines


def test_a_cell_is_broken_at_blanks_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("1", "ok", "/a/re-mote/folder: well-known, wri-table")]
    assert shown(29, monkeypatch, capsys, rows=rows) == [
        "id  state  model",
        "1   ok     /a/re-mote/folder:",
        "           well-known,",
        "           wri-table",
    ]


AT_LENGTH = [(*ROWS[0][:2], "x" * 70, ROWS[0][2]), (*ROWS[1][:2], "y", "short")]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (
            125,
            [
                f"id          state    {'hardware':<70}  model",
                f"instance-1  running  {'x' * 70}  org/a-model-with-a-long-name",
                f"instance-2  stopped  {'y':<70}  short",
            ],
        ),
        (
            120,
            [
                f"id          state    {'hardware':<70}  model",
                f"instance-1  running  {'x' * 70}",
                "  org/a-model-with-a-long-name",
                f"instance-2  stopped  {'y':<70}  short",
            ],
        ),
        (
            119,
            [
                "id          state    model",
                "instance-1  running  org/a-model-with-a-long-name",
                "instance-2  stopped  short",
            ],
        ),
        (
            47,
            [
                "id          state    model",
                "instance-1  running  …/a-model-with-a-long-name",
                "instance-2  stopped  short",
            ],
        ),
        (
            46,
            [
                "id          state    model",
                "instance-1  running  a-model-with-a-long-name",
                "instance-2  stopped  short",
            ],
        ),
        (
            28,
            [
                "id          state    model",
                "instance-1  running  a-m…ame",
                "instance-2  stopped  short",
            ],
        ),
        (
            27,
            [
                "id          state",
                "  model",
                "instance-1  running",
                "  org/a-model-with-a-long-name",
                "instance-2  stopped",
                "  short",
            ],
        ),
    ],
)
def test_a_brief_table_keeps_to_one_line_a_row_as_long_as_it_can(
    width: int, lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    titles, brief = ("id", "state", "hardware", "model"), [(*row[:2], row[3]) for row in AT_LENGTH]
    assert shown(width, monkeypatch, capsys, titles, AT_LENGTH, brief=(TITLES, brief)) == lines


def test_where_a_table_fits_nothing_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    brief = (("id", "model"), [(row[0], row[2]) for row in ROWS])
    assert shown(49, monkeypatch, capsys, brief=brief) == shown(49, monkeypatch, capsys)
    assert shown(48, monkeypatch, capsys, brief=brief)[0] == "id          model"


@pytest.mark.parametrize("width", [49, 40, 30, 15])
def test_what_stands_below_a_row_is_wrapped(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = shown(width, monkeypatch, capsys)
    second = next(index for index, line in enumerate(plain) if line.startswith("instance-2"))
    plain[second:second] = ["  it was told", "  so"] if width == 15 else ["  it was told so"]
    assert shown(width, monkeypatch, capsys, below=["it was told so", "it is off"]) == [*plain, "  it is off"]


@pytest.mark.parametrize("verb", ["models", "hardware", "ps", "leases", "doctor", "costs", "quote"])
@pytest.mark.parametrize("columns", [40, 80, 200])
def test_what_is_shown_is_no_wider_than_the_terminal(
    tool: Tool, emulator: FaultyEmulator, verb: str, columns: int
) -> None:
    with emulator.sync_client() as client:
        instance = client.instances.start(MODEL)
    _, terminal = tool.show(verb, *([MODEL, "--duration", "600"] if verb == "quote" else []), columns=columns)
    # A word that is wider than the terminal is not broken, so that it can be copied.
    lines = [line.strip() for line in terminal.lines() if " " in line.strip()]
    assert [line for line in lines if len(line) > columns and "/" not in line] == []
    assert (instance.instance_id in terminal.shown) is (verb in ("ps", "leases"))


@pytest.mark.parametrize("verb", [("start", MODEL, "--wait"), ("models",), ("doctor",)], ids=" ".join)
def test_without_colour_there_is_none(tool: Tool, verb: tuple[str, ...]) -> None:
    code, terminal = tool.show(*verb, NO_COLOR="1")
    assert code == 0
    assert "\x1b[3" not in terminal.shown
    assert "\x1b[9" not in terminal.shown


@pytest.mark.parametrize("verb", [("models",), ("start", MODEL)], ids=" ".join)
def test_a_full_disk_is_told(tool: Tool, verb: tuple[str, ...], tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full, (tmp_path / "stderr").open("w") as stderr:
        process = forge().start(verb, tool.environment({}), (full.fileno(), full.fileno(), stderr.fileno()))
    assert process.wait() == 1
    said = (tmp_path / "stderr").read_text().splitlines()
    assert said[-1] == "error: stdout can't be written: No space left on device"
    assert [line for line in said if line.startswith("still billed: instance-")] == said[:-1]


def test_an_ascii_terminal_is_written_to_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert _output._encodable("Mél — café", "ascii") == r"M\xe9l \u2014 caf\xe9"


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (errors.TransportError("no answer."), f"; check the network and the {ADDRESS}, or see: inferlease doctor"),
        (errors.NotFoundError("GET /user/balance was answered 404", status=404), f"; check the {ADDRESS}"),
        (errors.DecodeError("no JSON", path=""), "; check the address in CORTECS_API_BASE_URL"),
        (errors.APIError("moved", status=302), "; check the address in CORTECS_API_BASE_URL"),
        (
            errors.PaymentRequiredError("no money", status=402),
            "; top up the account; what is left shows: inferlease balance",
        ),
        (errors.RateLimitError("slower", status=429), "; try again later"),
        (errors.StartRefusedError("no such model", status=404), "; list models with: inferlease models"),
        (
            errors.NoCapacityError("it is taken", status=409),
            "; name others with --hardware-type, or wait with --wait-for-capacity",
        ),
        (
            errors.NoCapacityError("there is no hardware type NVIDIA_XX", status=404),
            "; list hardware with: inferlease hardware",
        ),
        (errors.LedgerError("mend the folder"), ""),
        (errors.WaitTimeoutError("instance a is not usable", instance_id="a"), ""),
        (errors.OutcomeUnknownError("stop it with: inferlease stop a"), ""),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_an_error_names_the_way_out(error: errors.InferleaseError, advice: str) -> None:
    message = str(error).rstrip(".") if advice else str(error)
    assert with_advice(error) == message + advice


def test_a_change_whose_outcome_is_unknown_says_how_to_find_out() -> None:
    error = errors.OutcomeUnknownError("it may or may not have taken effect", instance_id="a")
    assert with_advice(error, "stopped") == (
        "it may or may not have taken effect; until it is stopped it is billed: look with inferlease show a, or stop "
        "it: inferlease stop a"
    )


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        (
            "http://127.0.0.1:1",
            "; check the network and the address in CORTECS_API_BASE_URL, or see: inferlease doctor\n",
        ),
        ("{origin}/no-api", "; check the address in CORTECS_API_BASE_URL\n"),
        ("http://example.com", "; mend it, or unset it\n"),
        ("nonsense", "; mend it, or unset it\n"),
    ],
)
def test_an_address_that_may_be_wrong_is_named(tool: Tool, emulator: FaultyEmulator, address: str, advice: str) -> None:
    origin = emulator.base_url.removesuffix("/api/v1")
    done = tool.run("ps", hurried=True, CORTECS_API_BASE_URL=address.format(origin=origin))
    assert (done.returncode, done.stderr.count("\n"), done.stderr.endswith(advice)) == (1, 1, True), done.stderr


@pytest.mark.parametrize("verb", [("ps",), ("stop", "instance-1"), ("start", MODEL)], ids=" ".join)
def test_a_person_is_told_once_that_the_server_can_not_be_reached(tool: Tool, verb: tuple[str, ...]) -> None:
    code, terminal = tool.show(*verb, hurried=True, columns=300, CORTECS_API_BASE_URL="http://127.0.0.1:9/api/v1")
    shown = [line for line in terminal.lines() if "no connection to 127.0.0.1 port 9: Connection refused" in line]
    assert (code, [line.partition(": ")[0] for line in shown]) == (1, ["warning", "error"])
    assert "it is tried again, 30 s at the longest" in shown[0]


def test_the_time_of_a_bar_goes_on_when_it_is_full() -> None:
    clock = [0.0]
    progress = Progress(get_time=lambda: clock[0])
    progress.add_task("full", total=1, completed=1)
    clock[0] = 61.0
    assert _Time().render(progress.tasks[0]).plain == "0:01:01"
