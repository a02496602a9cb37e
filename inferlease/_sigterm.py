"""SIGTERM while a lease is held: all that is held is released first, then the process dies by the signal.

The handler runs in the main thread, between any two steps of whatever runs there, which may hold a lock that the
keeper needs (that of a logging handler, or of an import). So it only hands over to the keeper and waits. Where the
keeper gets no further, it lets the interrupted code go on, and the keeper signals again once all is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol

from . import _keeper

__all__ = ["expect", "hold", "is_ending", "restore_unless_held"]

# Seconds between two looks at whether all is done; of a keeper that gets no further; that the main thread has at
# the end, before the process is ended without it.
_SLICE = 0.02
_STALL = 2.0
_PATIENCE = 2.0

_EXIT_CODE = 128 + signal.SIGTERM


class Held(Protocol):
    """What has to be released before the process may die."""

    @property
    def is_over(self) -> bool: ...


_held: set[Held] = set()


async def expect() -> None:
    """Have SIGTERM handled, as far as the caller may: in the main thread, where the signal would just kill."""
    if not _would_just_kill():
        return
    to_caller = _keeper.to_caller.get()
    if to_caller is None:
        _install()
    else:
        await to_caller(_install)


def hold(lease: Held) -> None:
    """Have SIGTERM handled, if it is, for as long as `lease` is not over."""
    _held.add(lease)


def restore_unless_held() -> None:
    """In the main thread, have SIGTERM do again what it did, if nothing is held any more."""
    if not _held and signal.getsignal(signal.SIGTERM) is not _handle:
        return
    for lease in list(_held):
        if lease.is_over:
            _held.discard(lease)
    if not _held and _ending is None and signal.getsignal(signal.SIGTERM) is _handle:
        _set_handler(signal.SIG_DFL)


def is_ending() -> bool:
    """Whether the process is about to die by SIGTERM."""
    return _ending is not None


def _would_just_kill() -> bool:
    return os.environ.get("INFERLEASE_SIGTERM") != "0" and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def _install() -> None:
    if _would_just_kill():
        _set_handler(_handle)


def _set_handler(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    with contextlib.suppress(ValueError):  # not the main thread, or an interpreter within another
        signal.signal(signal.SIGTERM, handler)


class _Ending:
    """The end of the process, from SIGTERM on."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._is_waited_for = False
        self._is_over = False
        self._progress = time.monotonic()

    # ---- in the main thread ------------------------------------------------------------------------------

    def wait(self) -> None:
        """Dies once all is done; returns if the keeper gets no further."""
        if self._is_waited_for and not self._is_over:
            return  # a further SIGTERM
        self._is_waited_for = True
        try:
            while not self._is_over:
                if time.monotonic() - self._progress > _STALL:
                    return
                time.sleep(_SLICE)
        finally:
            self._is_waited_for = False
        _die()

    # ---- on the keeper's loop ----------------------------------------------------------------------------

    def begin(self) -> None:
        """Release all that is held; once more does no harm."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            async for _ in _keeper.finishing(_say):
                self._progress = time.monotonic()
        finally:
            self._is_over = True
        # The handler may have returned, and only the main thread can have the process die by a signal.
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(_PATIENCE)
        if signal.getsignal(signal.SIGTERM) in {_handle, signal.SIG_DFL}:  # else the user has put a handler there
            os._exit(_EXIT_CODE)


_ending: _Ending | None = None


def _handle(_number: int, _frame: FrameType | None) -> None:
    while True:
        try:
            with _keeper.interrupts_ignored():
                _end()
        except KeyboardInterrupt:
            continue
        return


def _end() -> None:
    global _ending
    if _ending is None:
        if not _keeper.is_busy():
            _die()
        _keeper.call_last(_die_at_exit)
        _ending = _Ending()
    _keeper.loop().call_soon_threadsafe(_ending.begin)
    _ending.wait()


def _die() -> None:
    """In the main thread, die by SIGTERM, or with its exit code where it has no effect."""
    _set_handler(signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)
    os._exit(_EXIT_CODE)  # the first process of a container has no default actions


def _die_at_exit() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    _die()


def _say(line: Callable[[], str]) -> None:
    """Write to stderr, past its lock, which the interrupted code may hold; not where that would block the keeper."""
    with contextlib.suppress(Exception):
        if sys.stderr is not None and sys.__stderr__ is not None:
            number = sys.__stderr__.fileno()
            if select.select([], [number], [], 0)[1] and (text := line()):
                os.write(number, (text + "\n").encode(errors="backslashreplace"))


def _after_fork_in_child() -> None:
    global _ending
    _ending = None
    _held.clear()
    if signal.getsignal(signal.SIGTERM) is _handle:
        _set_handler(signal.SIG_DFL)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
