"""SIGINT, SIGTERM and SIGHUP: the first ends the work in good order, and none cuts short what has to be finished.

The signals are blocked in every thread and fetched by one of them, because only a fetched signal tells who sent
it: a Ctrl-C reaches each process of the terminal's foreground group, a `kill` only the one that it names.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeAlias

from inferlease.cli._told import is_news
from inferlease.cli._wording import at_shell

__all__ = ["Interrupts", "run", "run_reader"]

Handler: TypeAlias = Callable[[signal.Signals, bool], object]
"""Gets the signal, and whether the terminal sent it."""


_RELEASED = "what was started is released"


class Interrupts:
    """What a signal does: by default the first cancels the work, and a further one does nothing.

    Attributes:
        first: The signal that cancelled the work.
        consequence: What then becomes of the work, in words.
        on_first: Called once the work is cancelled.
        outer_mask: The signals that were blocked before; for a child process, which would inherit ours.
    """

    def __init__(self, work: asyncio.Task[int], say: Callable[[str], object], outer_mask: set[int]) -> None:
        self.first: signal.Signals | None = None
        self.consequence: str = _RELEASED
        self.on_first: Callable[[], object] = lambda: None
        self.outer_mask = outer_mask
        self._work = work
        self._say = say
        self._handler: Handler = self._cancel_once

    @contextlib.contextmanager
    def going_to(self, handler: Handler) -> Iterator[None]:
        """Let `handler` have the signals in this block; after it, no signal cancels the work any more."""
        self._handler = handler
        try:
            yield
        finally:
            self._handler = self._only_tell

    def arrived(self, number: signal.Signals, from_terminal: bool) -> None:
        """A signal was sent to this process."""
        self._handler(number, from_terminal)

    def _cancel_once(self, number: signal.Signals, from_terminal: bool) -> None:
        self.first = number
        self._handler = self._only_tell
        self._say(f"{_named(number, from_terminal)}: ending; {self.consequence}")
        self._work.cancel()
        self.on_first()

    def _only_tell(self, number: signal.Signals, from_terminal: bool) -> None:
        is_releasing = self.consequence == _RELEASED
        told = "the release goes on, and is waited for" if is_releasing else f"ending; {self.consequence}"
        self._say(f"{_named(number, from_terminal)}: {told}")


def _named(number: signal.Signals, from_terminal: bool) -> str:
    """The signal as a person knows it."""
    return "Ctrl-C" if from_terminal and number is signal.SIGINT else number.name


def run_reader(work: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """As `run`, for work that changes nothing: a signal ends it without a word.

    The first lets it leave in good order, and nothing else is waited for, such as a thread that looks up a name. A
    further one ends the process at once.
    """
    return run(lambda _: work(), say=lambda _: None, patient=False)


def run(
    work: Callable[[Interrupts], Coroutine[Any, Any, int]], say: Callable[[str], object], *, patient: bool = True
) -> int:
    """Run `work` on a new event loop; returns its exit code, or 128+n if signal n has cancelled it.

    Args:
        work: Makes the coroutine. It is cancelled at most once.
        say: Told in one line what a signal does.
        patient: Whether threads, and what the interpreter does at its exit, are waited for after a signal.
    """
    # A signal that is ignored from the start, as SIGHUP below nohup, stays ignored.
    wanted = {
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    # Never unblocked again: the interpreter's exit may still have a release to wait for.
    outer_mask = signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    return asyncio.run(_run(work, say, wanted, set(outer_mask), patient=patient))


async def _run(
    work: Callable[[Interrupts], Coroutine[Any, Any, int]],
    say: Callable[[str], object],
    wanted: set[signal.Signals],
    outer_mask: set[int],
    *,
    patient: bool,
) -> int:
    task: asyncio.Task[int] | None = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine that runs has a task
    interrupts = Interrupts(task, say, outer_mask)
    if wanted:
        listen = (asyncio.get_running_loop(), wanted, interrupts, patient)
        threading.Thread(target=_listen, args=listen, name="inferlease-signals", daemon=True).start()
    try:
        return await work(interrupts)
    except asyncio.CancelledError as error:
        if interrupts.first is None:
            raise
        for note in filter(is_news, getattr(error, "__notes__", [])):
            say(f"error: {at_shell(note)}")
        if not patient:
            os._exit(128 + interrupts.first)
        return 128 + interrupts.first


def _listen(
    loop: asyncio.AbstractEventLoop, wanted: set[signal.Signals], interrupts: Interrupts, patient: bool
) -> None:
    for count in itertools.count():
        number, from_terminal = _fetch(wanted)
        if count and not patient:
            os._exit(128 + number)
        # A loop that is closed has no work left to cancel.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(interrupts.arrived, number, from_terminal)


def _fetch(wanted: set[signal.Signals]) -> tuple[signal.Signals, bool]:
    if sys.platform == "darwin":
        # There the sender is unknown: at a terminal, a SIGINT is most likely a Ctrl-C.
        number = signal.Signals(signal.sigwait(wanted))
        return number, number is signal.SIGINT and sys.stdin is not None and sys.stdin.isatty()
    info = signal.sigwaitinfo(wanted)
    return signal.Signals(info.si_signo), info.si_code > 0  # positive: from the kernel
