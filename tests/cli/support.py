"""The command line tool as its users have it: a process, at a terminal or not."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Mapping
from typing import IO, Any, Self

from attrs import Factory, define

from tests.cli.forking import forge
from tests.terminal import Terminal, at_terminal

INFERLEASE = (sys.executable, "-m", "inferlease.cli")
MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
LONGEST_MODEL = "neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8"
A_LONG_ID = "9a3f6c52-0b1d-4c7e-8f5a-2d6e7b8c9d01"
SECONDS = 30.0


@define
class Tool:
    """Starts the tool with `variables` in its environment."""

    variables: Mapping[str, str]
    _started: list[subprocess.Popen[str]] = Factory(list)

    def environment(self, changes: Mapping[str, str | None]) -> dict[str, str]:
        """This process's environment, the tool's variables, and `changes`; `None` takes a variable away."""
        merged = {**os.environ, **self.variables, **changes}
        return {name: value for name, value in merged.items() if value is not None}

    def run(
        self, *arguments: str, stdin: bytes = b"", hurried: bool = False, **changes: str | None
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, with pipes, and without pauses between attempts if `hurried`; never a traceback."""
        code, printed, said = forge().run(arguments, self.environment(changes), stdin, hurried=hurried)
        assert b"Traceback" not in said, said.decode()
        return subprocess.CompletedProcess(arguments, code, printed.decode(), said.decode())

    def show(
        self,
        *arguments: str,
        keys: str = "",
        stdin: bytes | None = None,
        stderr: int | None = None,
        columns: int = 80,
        hurried: bool = False,
        **changes: str | None,
    ) -> tuple[int, Terminal]:
        """Run it at a terminal where `keys` are pressed, to its end, as `run`: the exit code, and what was shown.

        Args:
            stdin: what is piped in; by default its stdin is the terminal too.
            stderr: where that goes instead.
        """
        master, slave = pty.openpty()
        read, write = os.pipe()
        os.write(write, stdin or b"")
        os.close(write)
        environment = self.environment({"TERM": "xterm", "COLUMNS": str(columns), "LINES": "24", **changes})
        stdio = (slave if stdin is None else read, slave, slave if stderr is None else stderr)
        terminal = Terminal(forge().start(arguments, environment, stdio, at_terminal=True, hurried=hurried), master)
        for descriptor in (slave, read):
            os.close(descriptor)
        terminal.type(keys)
        code = terminal.wait()
        assert "Traceback" not in terminal.shown, terminal.shown
        return code, terminal

    def start(self, *arguments: str, through: tuple[str, ...] = (), **changes: str | None) -> subprocess.Popen[str]:
        """Start it, with pipes; `through` is a command that becomes the one that follows it."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return self._popen([*through, *INFERLEASE, *arguments], changes, **pipes)

    def start_after(self, prelude: str, *arguments: str) -> subprocess.Popen[str]:
        """Start it, with pipes, once its process has executed `prelude`."""
        program = f"{prelude}\nimport sys\nfrom inferlease.cli import main\nsys.exit(main())"
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return self._popen([sys.executable, "-c", program, *arguments], {}, **pipes)

    def start_at_terminal(self, *arguments: str, **changes: str | None) -> Terminal:
        """Start it as the foreground job of a terminal of 80 columns."""
        terminal = at_terminal([*INFERLEASE, *arguments], self.environment(changes))
        self._started.append(terminal.process)
        return terminal

    def start_shell_at_terminal(self) -> Terminal:
        """Start bash as a person has it, at a terminal of 80 columns."""
        terminal = at_terminal([shutil.which("bash") or "bash", "--norc", "--noprofile", "-i"], self.environment({}))
        self._started.append(terminal.process)
        return terminal

    def _popen(self, command: list[str], changes: Mapping[str, str | None], **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(command, env=self.environment(changes), text=True, **options)
        self._started.append(process)
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def read_until(stream: IO[str] | None, text: str) -> str:
    """Read lines until one has `text`."""
    assert stream is not None
    seen = ""
    for line in stream:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} is not in {seen!r}")


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and stderr of a process, at its end."""
    _, said = process.communicate(timeout=SECONDS)
    assert "Traceback" not in said, said
    return process.returncode, said
