"""`inferlease run`: the command has an instance, its exit code counts, and nothing stays billed."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import pytest

from inferlease.cli._commands import invoke
from inferlease.emulator import expected_answer
from tests.cli.support import MODEL, Tool, read_until
from tests.faults import FaultyEmulator, edited, emulated
from tests.guard.support import wait_for

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = sys.executable
SHOW_ENVIRONMENT = "import json, os; print(json.dumps(dict(os.environ)))"

SCRIPT = """
import os
from openai import OpenAI

with OpenAI() as client:
    answer = client.chat.completions.create(
        model=os.environ["OPENAI_MODEL"], messages=[{"role": "user", "content": "Why is the sky blue?"}]
    )
print(answer.choices[0].message.content)
"""


@pytest.fixture(autouse=True)
def _nothing_stays_billed(emulator: FaultyEmulator) -> object:
    yield
    assert emulator.books().still_billed == []


def test_an_unmodified_script_of_the_openai_package_is_answered(
    tool: Tool, emulator: FaultyEmulator, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = tool.run("run", MODEL, "--", PYTHON, str(script))
    assert (done.returncode, done.stdout) == (0, expected_answer("Why is the sky blue?") + "\n")
    assert emulator.books().starts == 1
    assert emulator.books().api_tokens_at_inference == 0


def test_the_command_finds_the_instance_in_its_environment_and_no_secret(tool: Tool) -> None:
    done = tool.run("run", MODEL.replace("/", "--"), "--", PYTHON, "-c", SHOW_ENVIRONMENT, CORTECS_CLIENT_ID="emulator")
    found = json.loads(done.stdout)
    assert found["OPENAI_BASE_URL"].startswith("http://127.0.0.1:")
    assert found["OPENAI_API_KEY"] == "emulator"
    assert found["OPENAI_MODEL"] == found["INFERLEASE_MODEL"] == MODEL
    assert found["CORTECS_CLIENT_ID"] == "emulator"
    assert "CORTECS_CLIENT_SECRET" not in found


def test_the_key_may_come_from_openai_s_variable(tool: Tool) -> None:
    done = tool.run(
        *("run", MODEL, "--", PYTHON, "-c", SHOW_ENVIRONMENT), INFERLEASE_INFERENCE_KEY=None, OPENAI_API_KEY="a-key"
    )
    assert json.loads(done.stdout)["OPENAI_API_KEY"] == "a-key"


@pytest.mark.parametrize(
    ("program", "code"),
    [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -KILL $$", 137)],
)
def test_the_exit_code_is_the_command_s(tool: Tool, program: str, code: int) -> None:
    assert tool.run("run", MODEL, "--", "sh", "-c", program).returncode == code


def test_the_command_has_stdin_and_stdout(tool: Tool) -> None:
    assert tool.run("run", MODEL, "--", "cat", stdin=b"as it is\n").stdout == "as it is\n"


def test_all_after_the_dashes_belongs_to_the_command(tool: Tool) -> None:
    done = tool.run("run", MODEL, "--", "printf", "%s\\n", "--", "--help", "-x")
    assert done.stdout == "--\n--help\n-x\n"


def test_a_pipe_that_closes_ends_the_command_as_in_a_shell(tool: Tool) -> None:
    done = tool.run("run", MODEL, "--", "sh", "-c", "yes | head -n 1; kill -PIPE $$")
    assert (done.returncode, done.stdout) == (141, "y\n")


def test_the_options_reach_the_start(tool: Tool, emulator: FaultyEmulator) -> None:
    tool.run(
        *("run", MODEL, "--hardware-type", "NVIDIA_L40S_1", "--context-length", "2048"),
        *("--billing-interval", "per_hour", "--num-workers", "2", "--wait-for-capacity", "0"),
        *("--probe", "--", "true"),
    )
    assert [request.json for request in emulator.asked("start")] == [
        {
            "model_id": MODEL.replace("/", "--"),
            "hardware_type_id": "NVIDIA_L40S_1",
            "context_length": 2048,
            "billing_interval": "per_hour",
            "num_workers": 2,
        }
    ]
    assert emulator.books().requests["inference"] == 1


@emulated(outages={"NVIDIA_L4_1": (1.0, 3600.0), "NVIDIA_L40S_1": (3600.0, 7200.0)})
def test_it_waits_for_one_of_several_hardware_types(tool: Tool, emulator: FaultyEmulator) -> None:
    types = ("--hardware-type", "NVIDIA_L40S_1", "--hardware-type", "NVIDIA_L4_1")
    done = tool.run("run", MODEL, *types, "--wait-for-capacity", "60", "--", "true")
    assert done.returncode == 0
    assert [request.json["hardware_type_id"] for request in emulator.asked("start")] == ["NVIDIA_L4_1"]


@emulated(capacity={"NVIDIA_L4_1": 0})
def test_that_it_waits_for_hardware_is_told(tool: Tool) -> None:
    done = tool.run("run", MODEL, "--wait-for-capacity", "0.1", "--", "true")
    waiting, over = done.stderr.splitlines()
    assert waiting.startswith("waiting for capacity, 0 of up to 0.1 s: NVIDIA_L4_1 is not available; available for")
    assert over.startswith("error: NVIDIA_L4_1 was not available within 0.1 s")


def test_stderr_tells_the_life_of_the_instance_in_plain_lines(tool: Tool, emulator: FaultyEmulator) -> None:
    done = tool.run("run", MODEL, "--", "true")
    (instance_id,) = emulator.books().instances
    started, usable, stopped, cost = done.stderr.splitlines()
    assert started.startswith(f"{instance_id} started (at most 1.20 EUR/h; stop it with: inferlease stop ")
    assert usable.startswith(f"{instance_id} usable after ")
    assert stopped.startswith(f"{instance_id} stopped after ")
    assert cost.startswith("estimated cost: at most 0.0200 EUR for ")
    assert cost.endswith(", billed as 60 s); assuming the listed price for each GPU")


def test_that_a_server_can_not_be_reached_is_told_once_while_it_is_tried_again(tool: Tool) -> None:
    done = tool.run("run", MODEL, "--", "true", hurried=True, CORTECS_API_BASE_URL="http://127.0.0.1:9/api/v1")
    warning, error = done.stderr.splitlines()
    told = "could not be sent: no connection to 127.0.0.1 port 9: Connection refused; "
    assert warning.startswith("warning: ")
    assert warning.endswith(told + "it is tried again, 30 s at the longest")
    assert error.startswith("error: ")
    assert error.endswith(told + "check the network and the address in CORTECS_API_BASE_URL, or see: inferlease doctor")


def test_a_stop_that_fails_again_and_again_is_told_once(tool: Tool, emulator: FaultyEmulator) -> None:
    emulator.fault("stop", 503, handled=False, times=3)
    done = tool.run("run", MODEL, "--", "true", hurried=True)
    told = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert (done.returncode, len(told), emulator.books().requests["stop"]) == (0, 1, 4)
    assert told[0].startswith("warning: POST /instances/stop was answered 503")
    assert told[0].endswith("; it is tried again, 120 s at the longest")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"INFERLEASE_INFERENCE_KEY": None}, "error: no key for inference: set INFERLEASE_INFERENCE_KEY"),
        (
            {"INFERLEASE_INFERENCE_KEY": None, "OPENAI_API_KEY": "sk-proj-s3cret"},
            "error: OPENAI_API_KEY holds another provider's key",
        ),
        ({"INFERLEASE_INFERENCE_KEY": "s3cret\nvalue"}, "error: the key for inference has characters"),
        ({"CORTECS_CLIENT_ID": None}, "error: no credentials: set CORTECS_CLIENT_ID"),
        ({"CORTECS_CLIENT_SECRET": None}, "error: no credentials: set CORTECS_CLIENT_SECRET"),
        (  # as in the command of another `run`
            {"CORTECS_CLIENT_SECRET": None, "INFERLEASE_MODEL": MODEL},
            "error: no credentials: `inferlease run` withholds CORTECS_CLIENT_SECRET from its command; do this outside",
        ),
        (
            {"CORTECS_CLIENT_ID": None, "CORTECS_CLIENT_SECRET": None, "INFERLEASE_INFERENCE_KEY": None},
            (
                "error: no credentials: set CORTECS_CLIENT_ID and CORTECS_CLIENT_SECRET; "
                "no key for inference: set INFERLEASE_INFERENCE_KEY; to try it without an account: inferlease demo\n"
            ),
        ),
        ({"CORTECS_CLIENT_SECRET": "s3cret"}, "error: "),
        (
            {"CORTECS_API_BASE_URL": "http://example.com/api"},
            "error: CORTECS_API_BASE_URL 'http://example.com/api' would send",
        ),
        ({"CORTECS_API_BASE_URL": "nonsense"}, "error: CORTECS_API_BASE_URL 'nonsense' is not a plain http(s) URL"),
    ],
)
def test_what_is_missing_is_told_before_anything_is_started(
    tool: Tool, emulator: FaultyEmulator, change: dict[str, str | None], said: str
) -> None:
    done = tool.run("run", MODEL, "--", "echo", "never", **change)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
    assert "s3cret" not in done.stderr
    assert emulator.books().requests.get("start", 0) == 0


@pytest.mark.parametrize(
    ("command", "code"),
    [("no-such-command", 127), ("./no-such-file", 127), ("", 127), ("{tmp}/plain", 126), ("{tmp}", 126)],
)
def test_a_command_that_can_not_run_starts_nothing(
    tmp_path: Path, command: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plain").write_text("no program")
    assert invoke(["run", MODEL, "--", command.format(tmp=tmp_path)]) == code
    said = capsys.readouterr().err
    assert said.startswith("error: the command ")
    assert said.endswith("; nothing was started\n")


def test_a_missing_command_starts_nothing(tool: Tool, emulator: FaultyEmulator) -> None:
    assert tool.run("run", MODEL, "--", "no-such-command").returncode == 127
    assert sum(emulator.books().requests.values()) == 0


def test_a_command_that_turns_out_to_be_no_program_is_126(tool: Tool, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("no program")
    program.chmod(0o755)
    done = tool.run("run", MODEL, "--", str(program))
    assert done.returncode == 126
    assert done.stderr.splitlines()[-1] == f"error: the command '{program}' can't be executed: Exec format error"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["org/unknown"], 1, "error: the start of org/unknown was refused"),
        (["not a model"], 2, "error: not a model name: 'not a model'"),
        ([MODEL, "--hardware-type", "a/b"], 2, "error: 'a/b' is not a valid hardware type id"),
        ([MODEL, "--context-length", "0"], 2, "error: --context-length=0 is not a positive whole number of tokens"),
        ([MODEL, "--timeout", "0"], 2, "error: Invalid value for '--timeout': '0' is not a positive number of seconds"),
    ],
)
def test_what_is_refused_is_one_line(tool: Tool, arguments: list[str], code: int, said: str) -> None:
    done = tool.run("run", *arguments, "--", "true")
    assert done.returncode == code
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


@emulated(seconds_per_step=60.0)
def test_an_instance_that_is_late_is_released(tool: Tool, emulator: FaultyEmulator) -> None:
    done = tool.run("run", MODEL, "--timeout", "0.6", "--", "echo", "never")
    assert (done.returncode, done.stdout) == (1, "")
    _, error, stopped, cost = done.stderr.splitlines()
    assert re.fullmatch(
        r"error: \S+ is not usable after 0.6 s \(last seen pending, \d+%\); to wait longer, raise --timeout", error
    )
    assert " stopped after " in stopped
    assert cost.startswith("estimated cost: ")
    assert emulator.books().starts == 1


@pytest.mark.parametrize("base_url", ["http://192.0.2.1/v1", "ftp://127.0.0.1/v1"])
def test_the_key_goes_nowhere_in_the_clear(tool: Tool, emulator: FaultyEmulator, base_url: str) -> None:
    emulator.fault("get", edit=edited(base_url=base_url), times=None)
    done = tool.run("run", MODEL, "--", "echo", "never")
    assert (done.returncode, done.stdout) == (1, "")
    assert "is neither https nor loopback" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("program", "code"), [("exit 0", 1), ("exit 3", 3)])
def test_a_stop_that_is_not_seen_is_told_and_is_no_success(
    tool: Tool, emulator: FaultyEmulator, program: str, code: int
) -> None:
    run = tool.start("run", MODEL, "--release-timeout", "1", "--", "sh", "-c", f"read go; {program}")
    read_until(run.stderr, "usable")
    emulator.fault("stop", edit=edited(status="running"), times=None)
    emulator.fault("get", edit=edited(status="running"), times=None)
    _, said = run.communicate("go\n", timeout=30)
    assert run.returncode == code
    (told,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert told.startswith("error: instance-")
    assert told.count("stop it with: inferlease stop instance-") == 1


@pytest.mark.parametrize("guard", ["1", "0"])
def test_that_the_guard_goes_on_with_a_stop_is_told_where_there_is_one(
    tool: Tool, emulator: FaultyEmulator, guard: str
) -> None:
    emulator.fault("stop", 409, handled=False, times=None)
    run = tool.run("run", MODEL, "--release-timeout", "0.2", "--", "true", INFERLEASE_GUARD=guard)
    (told,) = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert ("its guard goes on trying" in told) is (guard == "1")
    emulator.mend()
    if guard == "0":
        assert tool.run("reap", "--yes").returncode == 0
    wait_for(lambda: not emulator.books().still_billed)


def test_a_person_sees_a_bar_for_each_worker(tool: Tool) -> None:
    run = tool.start_at_terminal("run", MODEL, "--num-workers", "2", "--", "echo", "the command")
    assert run.wait() == 0
    shown = "\n".join(run.lines())
    assert "the command" in shown
    assert "worker 2" in shown
    assert max(len(line) for line in run.lines() if "━" in line) <= 80


def test_nobody_at_a_closed_stderr_is_no_reason_to_fail(tool: Tool) -> None:
    run = tool.start("run", MODEL, "--", "true")
    assert run.stderr is not None
    run.stderr.close()
    assert run.wait(30) == 0
