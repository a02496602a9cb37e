"""What a person sees on stderr: plain lines, and bars where it is a terminal."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import IO, Self, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from inferlease import InferleaseError, InstanceEvent, _keeper
from inferlease._exchange import RETRIED
from inferlease._printing import printable
from inferlease._protocol import NOT_SENT
from inferlease.cli._advice import with_advice
from inferlease.cli._lines import for_stream
from inferlease.cli._told import is_news
from inferlease.cli._wording import at_shell
from inferlease.errors import CHECK_ADDRESS

__all__ = ["Bars", "Terminal"]


class Terminal:
    """stderr, and the warnings of the logger `inferlease` on it."""

    def __init__(self) -> None:
        stream = sys.stderr
        self.is_interactive = stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
        self._stream = _Unbreakable(stream)
        self._console = Console(file=cast(IO[str], self._stream), force_terminal=self.is_interactive, highlight=False)
        self.on_error: Callable[[], object] = lambda: None  # one is logged, so that work goes on with its end
        logger = logging.getLogger("inferlease")
        logger.addHandler(_LogLines(self))
        logger.propagate = False
        self.show_log(logging.WARNING)
        _keeper.print_with(self._say_at_exit)

    def _say_at_exit(self, line: str) -> None:
        self.say(at_shell(line))

    def show_log(self, level: int) -> None:
        """Show log lines from `level` on."""
        self.log_level = level
        # A person is also told that the server can't be reached, and does not wait in the dark.
        logging.getLogger("inferlease").setLevel(min(level, logging.INFO))

    def say(self, line: str) -> None:
        """Write a line; on a terminal that is too narrow for it, in several."""
        line = for_stream(line, self._stream)
        if self.is_interactive:
            # Not wrapped once more: an address that the terminal itself breaks is still copied whole.
            self._console.print(Text(line), soft_wrap=True)
        else:
            self._stream.write(f"{line}\n")
            self._stream.flush()

    def tell(self, line: str) -> None:
        """Write a line, but only to a terminal."""
        if self.is_interactive:
            self.say(line)

    def bars(self, *, several: bool = False) -> Bars:
        """Bars that vanish when they are left; there are none where stderr is no terminal.

        Args:
            several: Whether they are of several instances, so that each has to name its own.
        """
        return Bars(self._console, visible=self.is_interactive, several=several)

    @contextlib.contextmanager
    def counting(self, what: str, total: int, *, visible: bool) -> Iterator[Callable[[], None]]:
        """A bar that each call moves on by one, up to `total`, and that vanishes at the end."""
        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(30),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not (visible and self.is_interactive),
        )
        with progress:
            task_id = progress.add_task(what, total=total)
            yield lambda: progress.advance(task_id)


class Bars:
    """What instances are doing: a bar for each worker, or a moving one while nothing is known."""

    def __init__(self, console: Console, *, visible: bool, several: bool) -> None:
        self._console = console
        self._visible = visible
        self._several = several
        self._bar = 20 if console.width >= 80 else 8
        self._progress: Progress | None = None
        self._workers: dict[str, TaskID] = {}

    def waiting_for(self, what: str) -> None:
        """Show a moving bar instead of all others."""
        self._fresh().add_task(what, total=None, step="")

    def show(self, event: InstanceEvent) -> None:
        """Show how far each worker is."""
        for number, worker in enumerate(event.instance.worker_statuses, 1):
            name = f"{self._named(event.instance.instance_id)} {number}" if self._several else f"worker {number}"
            progress = worker.init_progress
            if progress is None or progress.current_step is None or progress.num_steps is None:
                self._set(name, int(event.instance.is_usable), 1, event.state)
            else:
                text = f"{progress.current_step}/{progress.num_steps} {progress.description or ''}"
                self._set(name, progress.current_step, progress.num_steps, text)

    def _named(self, instance_id: str) -> str:
        return instance_id if self._console.width >= 80 or len(instance_id) < 10 else f"…{instance_id[-8:]}"

    def clear(self) -> None:
        """Take all bars away."""
        if self._progress is not None:
            self._progress.stop()
        self._progress = None
        self._workers = {}

    def _fresh(self) -> Progress:
        self.clear()
        # Not the one before: started again, it would erase the lines that were printed since.
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(self._bar),
            TextColumn("{task.fields[step]}", markup=False),
            _Time(),
            console=self._console,
            transient=True,
            disable=not self._visible,
        )
        self._progress.start()
        return self._progress

    def _set(self, name: str, step: int, steps: int, text: str) -> None:
        bars = self._progress if self._progress is not None and self._workers else self._fresh()
        if name not in self._workers:
            self._workers[name] = bars.add_task(printable(name), step="")
        # What does not fit would cost the bar its place.
        room = self._console.width - len(name) - self._bar - len(" " * 3 + "0:00:00")
        bars.update(self._workers[name], completed=step, total=steps, step=printable(text, min(max(room - 1, 1), 60)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.clear()


class _Time(TimeElapsedColumn):
    """How long a bar has been shown: it goes on where the bar is full, as long as somebody watches."""

    def render(self, task: Task) -> Text:
        return Text(str(timedelta(seconds=int(task.elapsed or 0.0))), style="progress.elapsed")


class _LogLines(logging.Handler):
    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        is_shown = record.levelno >= self._terminal.log_level
        if record.msg == RETRIED:
            if is_shown or self._terminal.is_interactive:
                self._tell_retry(record)
        elif is_shown:
            self._tell(record)

    def _tell(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno < logging.WARNING:
            self._terminal.say(at_shell(text))
        elif is_news(text):
            # A log line that is an exception and nothing else is about to be raised too, unless nobody listens.
            args = record.args if isinstance(record.args, tuple) else ()
            error = next((arg for arg in args if isinstance(arg, InferleaseError) and str(arg) == text), None)
            if error is None:
                self._terminal.say(f"warning: {at_shell(text)}")
            else:
                self._terminal.say(f"error: {with_advice(error)}")
                self._terminal.on_error()

    def _tell_retry(self, record: logging.LogRecord) -> None:
        """Tell the first of all attempts that fail alike, with the seconds that all of them may take."""
        match record.args:
            case (error, _, seconds):
                failed = str(error).removesuffix(CHECK_ADDRESS)
                if is_news(f"retried, {record.levelname}: {failed.partition(NOT_SENT)[2] or failed}"):
                    self._terminal.say(
                        f"warning: {at_shell(failed)}; it is tried again, {seconds:.0f} s at the longest"
                    )


class _Unbreakable:
    """A stream that never fails: a closed stderr must not keep an instance from being stopped."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream
        self.encoding = getattr(stream, "encoding", "utf-8")

    def write(self, text: str) -> int:
        with self._despite_failures() as stream:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._despite_failures() as stream:
            stream.flush()

    @contextlib.contextmanager
    def _despite_failures(self) -> Iterator[IO[str]]:
        if self._stream is None:
            yield io.StringIO()
            return
        try:
            yield self._stream
        except ValueError:
            pass
        except OSError:
            # What is left in its buffer is written once more at the end, and would change the exit code.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        return 2
