"""The keeper: one daemon thread and event loop per process that finishes what must be finished.

A mutation or release runs here, not on the caller's loop, so that neither a cancellation nor the
end of that loop can cut it short. At interpreter exit the keeper is waited for.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import contextvars
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from functools import partial
from typing import Any, TypeAlias, TypeVar

from ._job import Conclude, Job

__all__ = [
    "Jobs",
    "call_at_exit",
    "call_last",
    "call_unless_delivered",
    "finishing",
    "forget_at_exit",
    "interrupts_ignored",
    "is_at_work",
    "is_busy",
    "is_exiting",
    "is_here",
    "loop",
    "owns",
    "print_with",
    "say_later",
    "submit",
    "to_caller",
    "undelivered",
]

T = TypeVar("T")
Say: TypeAlias = Callable[[Callable[[], str]], None]

# Waiting in slices lets the main thread notice signals; what remains is told this often.
_SLICE = 0.1
_REMINDER = 10.0
# A job is bounded by itself; this is what it may overrun before the exit goes on without it.
_GRACE = 5.0

# What to undo if a caller in another thread is interrupted before it has the result of its call.
undelivered: contextvars.ContextVar[list[Callable[[], object]] | None] = contextvars.ContextVar(
    "undelivered", default=None
)


def call_unless_delivered(undo: Callable[[], object]) -> None:
    """Have `undo` run if the result of the current call never reaches its caller, who is in another thread."""
    calls = undelivered.get()
    if calls is not None:
        calls.append(undo)


# Has something called by the caller of the current call, who is in another thread and waits.
to_caller: contextvars.ContextVar[Callable[[Callable[[], object]], Awaitable[object]] | None] = contextvars.ContextVar(
    "to_caller", default=None
)


class _Keeper:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.jobs: set[Job[Any]] = set()
        self.exit_calls: dict[object, Callable[[], object]] = {}
        self.told: dict[Job[Any], float] = {}
        self.thread = threading.Thread(target=self._run, name="inferlease-keeper", daemon=True)
        try:
            self.thread.start()
        except RuntimeError:
            self.loop.close()
            raise

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while True:
            # What ends a process ends a loop too, if it is raised by code of the user's that runs here.
            with contextlib.suppress(BaseException):
                self.loop.run_forever()

    def submit(self, job: Job[Any]) -> None:
        self.jobs.add(job)
        job.add_done_callback(lambda: self.jobs.discard(job))
        self.loop.call_soon_threadsafe(job._begin)

    def finish(self) -> None:
        """Undo what is still held, then wait until every job has ended by itself. May be begun anew."""
        while (pending := self.undo_held(_say)) is not None:
            concurrent.futures.wait([job._future for job in pending], timeout=_SLICE)

    def undo_held(self, say: Say) -> list[Job[Any]] | None:
        """Undo what is still held; the jobs to wait for before it is called again, `None` if there is no more to do."""
        for job in list(self.jobs):
            if job.done:  # whose caller was interrupted before it would have been noticed here
                self.jobs.discard(job)
        for job in [job for job in self.told if job.done]:
            del self.told[job]
            # Whoever read that it is waited for reads what came of it.
            say(job.conclusion)
        if not (self.exit_calls or self.jobs):
            return None
        for key, call in list(self.exit_calls.items()):
            try:
                call()
            except Exception as error:  # noqa: BLE001 (one that fails must not keep the others from their turn)
                say(partial(str, error))
            self.exit_calls.pop(key, None)
        pending = list(self.jobs)
        now = time.monotonic()
        if pending and all(now > job.deadline + _GRACE for job in pending):
            return None
        for job in pending:
            if job.describe is not None and now - self.told.get(job, -_REMINDER) >= _REMINDER:
                self.told[job] = now
                say(job.describe)
        return pending


def print_with(write: Callable[[str], object]) -> None:
    """Have `write` print each line of the exit, instead of stderr as it is."""
    global _print
    _print = write


def _to_stderr(line: str) -> None:
    if sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)


_print: Callable[[str], object] = _to_stderr


def _say(line: Callable[[], str]) -> None:
    # Nothing about a message may keep the exit from its work.
    with contextlib.suppress(Exception):
        if text := line():
            _print(text)


@contextlib.contextmanager
def say_later(job: Job[Any], seconds: float) -> Iterator[None]:
    """Tell on stderr what is waited for, should that take more than so many seconds. On a running loop."""
    handle = asyncio.get_running_loop().call_later(seconds, _say, job.describe or str)
    try:
        yield
    finally:
        handle.cancel()


_lock = threading.Lock()
_current: _Keeper | None = None
_exiting = False
_last_call: Callable[[], object] | None = None
# Never freed in a forked child: closing the parent's loop there would touch the shared epoll.
_inherited: list[object] = []


def submit(
    work: Callable[[], Coroutine[Any, Any, T]],
    *,
    bound: float,
    describe: Callable[[], str] | None = None,
    conclude: Conclude | None = None,
) -> Job[T]:
    """Run `work` on the keeper in the caller's `contextvars`; callable from any thread.

    Args:
        work: Makes the coroutine. It has to end by itself.
        bound: Seconds within which it does.
        describe: One line for stderr, asked for while the interpreter's exit waits for it.
        conclude: Says what came of it, once it was waited for.
    """
    job = Job(work, bound=bound, describe=describe, conclude=conclude)
    _keeper().submit(job)
    return job


class Jobs:
    """The jobs of one client, and what follows the last of them once it is closed."""

    def __init__(self) -> None:
        self._open: set[Job[Any]] = set()
        self._pid = os.getpid()
        self._then: Callable[[], Coroutine[Any, Any, None]] | None = None

    def submit(
        self,
        work: Callable[[], Coroutine[Any, Any, T]],
        *,
        bound: float,
        describe: Callable[[], str] | None = None,
        conclude: Conclude | None = None,
    ) -> Job[T]:
        """As the function `submit`."""
        job = Job(work, bound=bound, describe=describe, conclude=conclude)
        self.begin(job)
        return job

    def begin(self, job: Job[Any]) -> None:
        """Run a job that was made before; once more does no harm."""
        self._disinherit()
        if job.done:
            return
        _keeper().submit(job)
        if job not in self._open:
            self._open.add(job)
            job.add_done_callback(lambda: self._ended(job))

    def close(self, then: Callable[[], Coroutine[Any, Any, None]]) -> Job[None] | None:
        """Run `then` on the keeper after the last job. Returns its job if that is now, else `None`."""
        self._disinherit()
        if _current is None:
            return None
        self._then = then
        return None if self._open else submit(then, bound=_GRACE)

    def _disinherit(self) -> None:
        """In a forked child: what the parent began is none of ours, and never ends here."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._open = set()

    def _ended(self, job: Job[Any]) -> None:
        self._open.discard(job)
        if self._then is not None and not self._open:
            submit(self._then, bound=_GRACE)


def call_at_exit(key: object, call: Callable[[], object]) -> None:
    """Have `call` run at interpreter exit, before the jobs are waited for; it may submit more."""
    _keeper().exit_calls[key] = call


def forget_at_exit(key: object) -> None:
    if _current is not None:
        _current.exit_calls.pop(key, None)


def _keeper() -> _Keeper:
    global _current
    if _current is None:
        with _lock:
            if _current is None:
                _current = _Keeper()
                _register_exit()
    return _current


def loop() -> asyncio.AbstractEventLoop:
    """The keeper's loop, whose thread is begun with the first call."""
    return _keeper().loop


def is_here() -> bool:
    """Whether the caller is in the keeper's thread."""
    return _current is not None and threading.get_ident() == _current.thread.ident


def owns(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether `loop` is the keeper's."""
    return _current is not None and loop is _current.loop


def is_exiting() -> bool:
    """Whether the process is ending: what is begun now would be left behind."""
    return _exiting


def is_busy() -> bool:
    """Whether there is anything to undo or to finish."""
    return _current is not None and bool(_current.exit_calls or _current.jobs)


def is_at_work() -> bool:
    """Whether any job has not ended yet."""
    return _current is not None and bool(_current.jobs)


async def finishing(say: Say) -> AsyncIterator[None]:
    """On the keeper's loop, what the interpreter's exit does: yields again and again until all is done."""
    global _exiting
    _exiting = True
    while _current is not None and _current.undo_held(say) is not None:
        yield
        await asyncio.sleep(_SLICE / 4)


def call_last(call: Callable[[], object]) -> None:
    """Have `call` run at interpreter exit once all is done."""
    global _last_call
    _last_call = call


def _register_exit() -> None:
    # A child of multiprocessing ends without atexit, but runs its finalizers.
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, _finish, exitpriority=0)


def _finish() -> None:
    global _exiting
    while True:
        try:
            _exiting = True
            with interrupts_ignored():
                if _current is not None:
                    _current.finish()
                if _last_call is not None:
                    _last_call()
        except KeyboardInterrupt:
            continue
        return


@contextlib.contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Have Ctrl-C do nothing meanwhile, where this is the main thread."""
    try:
        # Not SIG_IGN, which child processes would inherit.
        previous = signal.signal(signal.SIGINT, lambda *_: None)
    except ValueError:  # not the main thread: no interrupt comes here
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _after_fork_in_child() -> None:
    global _current, _exiting, _last_call, _lock
    _exiting = False
    _last_call = None
    if _current is not None:
        _inherited.append(_current)
    _current = None
    _lock = threading.Lock()


# At import, so that handlers which a user registers later run before it and still find the keeper at work.
atexit.register(_finish)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
