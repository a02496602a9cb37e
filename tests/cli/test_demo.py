"""`inferlease demo`: every prompt is answered, and nothing stays billed."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from inferlease.cli._commands import invoke
from inferlease.cli._prompts import read_prompts
from inferlease.emulator import expected_answer
from tests.cli.support import INFERLEASE, SECONDS, Tool, ended

if TYPE_CHECKING:
    from collections.abc import Iterator

FAST = ("--seconds-per-step", "0")
DEMO = shlex.join([*INFERLEASE, "demo"])

LEAKING = """
import sys
from inferlease._release import Releaser

async def release(self, instance_id, **_):
    return None

Releaser.release = release
from inferlease.cli import main
sys.exit(main())
"""


@pytest.fixture
def tool() -> Iterator[Tool]:
    """The tool without an emulator of the test's: a demo has to bring its own."""
    with Tool({}) as started:
        yield started


def shell(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=SECONDS, check=False)


def answers(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.split("\n") if line]


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def child_of(process: subprocess.Popen[str]) -> int:
    """The pid of the emulator that a demo has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + SECONDS
    while not (found := children.read_text().split()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int(found[0])


def gone(pid: int) -> bool:
    """Whether the process ends soon."""
    deadline = time.monotonic() + SECONDS
    while exists(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_each_prompt_gets_its_own_answer(tool: Tool, tmp_path: Path, count: int) -> None:
    prompts = [f"Prompt {number}: what is {number} times {number}?" for number in range(count)]
    file = tmp_path / "prompts.txt"
    file.write_text("".join(f"{prompt}\n" for prompt in prompts))
    done = tool.run("demo", str(file), *FAST)
    speed, books = done.stderr.splitlines()
    assert speed.startswith(f"{count} of {count} prompts answered in ")
    assert books.startswith("the emulator's books: 1 started, 0 still billed; ")
    assert done.returncode == 0
    assert answers(done.stdout) == [
        {"index": index, "prompt": prompt, "answer": expected_answer(prompt)} for index, prompt in enumerate(prompts)
    ]


def test_without_a_file_there_are_a_hundred_different_prompts(tool: Tool) -> None:
    done = tool.run("demo", *FAST)
    assert done.returncode == 0
    assert len({answer["prompt"] for answer in answers(done.stdout)}) == 100


def test_the_environment_is_not_asked(tool: Tool) -> None:
    elsewhere = {
        "CORTECS_API_BASE_URL": "http://127.0.0.1:9/api/v1",
        "CORTECS_CLIENT_SECRET": "s3cret",
        "OPENAI_API_KEY": "sk-proj-s3cret",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    done = tool.run("demo", "-", *FAST, stdin=b"Hello\n", **elsewhere)
    assert (done.returncode, done.stderr.partition(" prompts")[0]) == (0, "1 of 1")


LINES = [
    (b"", []),
    (b"\n\n  \n\t\n", []),
    (b"one\r\ntwo\r\n", ["one", "two"]),
    (b"no end of line", ["no end of line"]),
    (b"one\n\n\ntwo\n", ["one", "two"]),
    (b"  spaces stay  \n", ["  spaces stay  "]),
    (b"\xef\xbb\xbfa byte order mark\n", ["a byte order mark"]),
    ("Grüße, 世界 🌍\n".encode(), ["Grüße, 世界 🌍"]),
    ("one\u2028line\x0bonly\x85\n".encode(), ["one\u2028line\x0bonly\x85"]),
    (b"a NUL \x00 and an escape \x1b[31m\n", ["a NUL \x00 and an escape \x1b[31m"]),
    (b"x" * 1_000_000 + b"\n", ["x" * 1_000_000]),
]


@pytest.mark.parametrize(("content", "prompts"), LINES, ids=range(len(LINES)))
def test_a_line_is_a_prompt(tmp_path: Path, content: bytes, prompts: list[str]) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes(content)
    assert read_prompts(str(file)) == prompts


def test_any_text_comes_back_as_it_was(tool: Tool) -> None:
    done = tool.run("demo", "-", *FAST, stdin=b"\n".join(content for content, _ in LINES[1:]))
    assert done.returncode == 0
    assert {answer["prompt"]: answer["answer"] for answer in answers(done.stdout)} == {
        prompt: expected_answer(prompt)
        for _, prompts in LINES
        for prompt in [p.replace("a byte", "\ufeffa byte") for p in prompts]
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/nonexistent"], "error: Invalid value for '[FILE|-]': File '/nonexistent' does not exist (see: "),
        (["/"], "error: Invalid value for '[FILE|-]': File '/' is a directory (see: "),
        (["--concurrency", "0"], "error: Invalid value for '--concurrency'"),
        (["--seconds-per-step", "nan"], "error: Invalid value for '--seconds-per-step'"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["demo", *arguments]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(said)
    assert printed.count("\n") == 1


def test_text_that_is_not_utf_8_is_named_by_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes(b"good\nbad \xff\n")
    assert invoke(["demo", str(file)]) == 1
    assert capsys.readouterr().err == (
        f"error: {file}, line 2: byte 0xff is not UTF-8; convert it, for example with: iconv -t UTF-8\n"
    )


@pytest.mark.parametrize(
    ("model", "code", "said"),
    [
        ("org/unknown", 1, "error: the start of org/unknown was refused"),
        ("a b", 2, "error: not a model name: 'a b'"),
    ],
)
def test_a_model_that_is_not_emulated_is_one_line(tool: Tool, model: str, code: int, said: str) -> None:
    done = tool.run("demo", "--model", model)
    assert done.returncode == code
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_a_failed_prompt_does_not_take_the_others_along(tool: Tool) -> None:
    done = tool.run("demo", "-", *FAST, stdin=b"one\n" + b"word " * 20_000 + b"\nthree\n")
    first, second, third = answers(done.stdout)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: 1 of 3 prompts failed; number 2: status 400: ")
    assert first["answer"] == expected_answer("one")
    assert second["error"].startswith("status 400: This model's maximum context length is 16000 tokens")
    assert third["answer"] == expected_answer("three")


def test_what_is_still_billed_is_an_error() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAKING, "demo", "-", *FAST], input="", capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: still billed at the end: instance-")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_releases_and_leaves_no_process(tool: Tool, number: signal.Signals) -> None:
    demo = tool.start("demo", "--seconds-per-step", "60")
    emulator = child_of(demo)
    demo.send_signal(number)
    code, said = ended(demo)
    assert code == 128 + number
    assert said.splitlines() == [f"{number.name}: ending; what was started is released"]
    assert gone(emulator)


def test_a_killed_demo_leaves_no_emulator(tool: Tool) -> None:
    demo = tool.start("demo", "--seconds-per-step", "60")
    emulator = child_of(demo)
    demo.kill()
    assert gone(emulator)


def test_a_reader_of_one_line_ends_it_quietly(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("".join(f"prompt {number} {'x' * 500}\n" for number in range(1000)))
    pipeline = f"{DEMO} {file} --seconds-per-step 0 | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = shell(pipeline)
    first, code = done.stdout.splitlines()
    assert json.loads(first)["index"] == 0
    assert (code, done.stderr) == ("141", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_is_one_line() -> None:
    done = shell(f"{DEMO} --seconds-per-step 0 > /dev/full")
    assert (done.returncode, done.stderr) == (1, "error: stdout can't be written: No space left on device\n")


def test_a_closed_stdout_is_one_line() -> None:
    done = shell(f"{DEMO} >&-")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: stdout is closed")


def test_a_person_sees_how_it_went(tool: Tool) -> None:
    demo = tool.start_at_terminal("demo", "--seconds-per-step", "0.1")
    assert demo.wait() == 0
    shown = "\n".join(line for line in demo.lines() if line)
    assert (shown.count("Emulated answer"), '{"index"' in shown) == (5, False)
    for text in (
        "worker 2",
        "usable after",
        "> Explain in two sentences why the sky is blue.\n  Emulated answer ",
        "… and 95 more; for all of them add: > answers.jsonl",
        "100 of 100 prompts answered in",
        "estimated cost: at most",
        "0 still billed",
    ):
        assert text in shown
    assert "inferlease stop" not in shown, "it would go to another server"
    assert max(len(line) for line in demo.lines() if "━" in line) <= 80


def test_at_a_terminal_that_shows_stdout_alone_every_answer_is_a_line(tool: Tool, tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w") as stderr:
        code, terminal = tool.show("demo", *FAST, stderr=stderr.fileno())
    assert (code, len(answers(terminal.shown.replace("\r\n", "\n")))) == (0, 100)


def test_ctrl_c_releases_and_shows_the_books(tool: Tool) -> None:
    demo = tool.start_at_terminal("demo", "--seconds-per-step", "60")
    demo.read_until("worker 2")
    demo.type("\x03")
    assert demo.wait() == 130
    shown = "\n".join(demo.lines())
    assert "Ctrl-C: ending; what was started is released" in shown
    assert "the emulator's books: 1 started, 0 still billed" in shown
