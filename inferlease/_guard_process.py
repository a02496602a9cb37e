"""This process's side of the guard: starts it, tells it what is open, and starts another if it dies."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path

from attrs import define, frozen

from . import _keeper
from ._locked_files import HAS_LOCKS, at_rest

__all__ = ["lacks", "side", "warn_unguarded"]

log = logging.getLogger("inferlease")

# Seconds that it may take to start, and that telling it something may.
_START, _TELL = 10.0, 5.0
# Seconds for which a guard with nothing to guard is kept for the next start.
_LINGER = 5.0
# Seconds between the end of a guard and the start of another, doubled with each.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 60.0
# What it needs of the environment: to find Python's modules, the ledger, and certificate authorities.
_ENVIRONMENT = frozenset(
    {"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "TEMP", "TMP", "XDG_STATE_HOME", "PYTHONHOME"}
    | {"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"}
)


def lacks() -> str | None:
    """Why there can be no guard here, `None` if there can."""
    if not HAS_LOCKS:
        return "this platform has no file locks (fcntl)"
    for name in ("fork", "register_at_fork"):
        if not hasattr(os, name):
            return f"this platform has no os.{name}"
    if not (hasattr(os, "pidfd_open") or hasattr(select, "kqueue")):
        return "this platform does not tell of the death of a process (os.pidfd_open, select.kqueue)"
    if "py" not in Path(sys.executable or "").name or getattr(sys, "frozen", False):
        return "this program has no Python interpreter that could be started anew"
    return None


@define(eq=False)
class _Entry:
    group: str
    text: str | None
    is_open: bool = True
    due: float | None = None


@frozen(eq=False)
class _Child:
    process: subprocess.Popen[bytes]
    pipe: socket.socket

    def tell(self, **message: object) -> None:
        """Raises OSError."""
        self.pipe.sendall(json.dumps(message).encode() + b"\n")

    def dismiss(self) -> None:
        """Close the pipe: it has nothing left to do, and ends."""
        with at_rest:
            self.pipe.close()


class _Side:
    """What the guard is to know, and the one that knows it. One for each process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Held while something is told, which may take seconds: never on the keeper's loop.
        self._telling = threading.Lock()
        self._groups: dict[str, str] = {}
        self._entries: dict[str, _Entry] = {}
        self._child: _Child | None = None
        self._starting: asyncio.Task[str | None] | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._pause = _FIRST_PAUSE
        self._has_died = False
        self.inherited: list[socket.socket] = []

    # ---- on the keeper's loop ----------------------------------------------------------------------------

    def begin(self) -> None:
        """Start the guard, if there is none."""
        if self._child is None and not self._is_starting:
            self._starting = asyncio.get_running_loop().create_task(self._start())

    @property
    def _is_starting(self) -> bool:
        return self._starting is not None and not self._starting.done()

    async def ready(self) -> str | None:
        """Why there is none, `None` once there is."""
        self.begin()
        trouble = None
        if self._child is None and self._starting is not None:
            trouble = await asyncio.shield(self._starting)
        self._dismiss_later()
        return trouble

    async def _start(self) -> str | None:
        loop = asyncio.get_running_loop()
        try:
            child = await loop.run_in_executor(None, self._spawn)
        except (OSError, RuntimeError, ValueError) as error:
            trouble = f"it could not be started: {str(error) or type(error).__name__}"
            if self._begin_later():
                warn_unguarded(trouble)
            return trouble
        loop.add_reader(child.pipe, self._ended, child)
        self._dismiss_later()
        if self._has_died:
            self._has_died = False
            _warn("the guard has died: another one was started")
        return None

    def _dismiss_later(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
        self._linger = asyncio.get_running_loop().call_later(_LINGER, self._dismiss)

    def _dismiss(self) -> None:
        with self._lock:
            child = self._child
            if child is None or self._is_starting or any(entry.is_open for entry in self._entries.values()):
                return
            self._child = None
        asyncio.get_running_loop().remove_reader(child.pipe)
        child.dismiss()
        self._collect(child)

    def _ended(self, child: _Child) -> None:
        """It has died though it was not told to."""
        asyncio.get_running_loop().remove_reader(child.pipe)
        with self._lock:
            self._child = None
        child.dismiss()
        self._collect(child)
        self._has_died = self._begin_later()

    def _begin_later(self) -> bool:
        """Try again, if there is anything to guard."""
        with self._lock:
            is_needed = any(entry.is_open for entry in self._entries.values())
        if not is_needed or _keeper.is_exiting():
            return False
        asyncio.get_running_loop().call_later(self._pause, self.begin)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        return True

    def _collect(self, child: _Child, pause: float = 0.02) -> None:
        """Leave no zombie; nobody waits for it, and at exit it is the system's."""
        if child.process.poll() is None:
            later = min(2 * pause, _LONGEST_PAUSE)
            asyncio.get_running_loop().call_later(pause, self._collect, child, later)

    # ---- on any thread -----------------------------------------------------------------------------------

    def opened(self, name: str, options: str, text: str | None) -> None:
        """From here on this start is to be stopped if this process dies."""
        with self._telling:
            with self._lock:
                group, is_new = self._groups.get(options), options not in self._groups
                if group is None:
                    group = self._groups[options] = str(len(self._groups))
                self._entries[name] = _Entry(group, text)
                is_missing = self._child is None
            if is_new:
                self._tell(group=group, options=json.loads(options))
            self._tell(journal=name, group=group, text=text)
        if is_missing:
            _keeper.loop().call_soon_threadsafe(self.begin)

    def is_carried(self, name: str) -> bool | None:
        """Whether the guard was told all of a journal that is open to it; `None` for one that is not."""
        with self._lock:
            entry = self._entries.get(name)
            return None if entry is None or not entry.is_open else entry.text is not None

    def is_watching(self, name: str) -> bool:
        """Whether there is a guard that stops what a journal has started should this process end now."""
        with self._lock:
            entry = self._entries.get(name)
            return self._child is not None and entry is not None and entry.is_open

    def more(self, name: str, line: str) -> None:
        """What the guard can't read by itself."""
        with self._telling:
            with self._lock:
                entry = self._entries[name]
                if not entry.is_open:  # it was on its way when the end was told
                    return
                entry.text = (entry.text or "") + line
            self._tell(journal=name, more=line)

    def due(self, name: str, at: float | None) -> None:
        """From this monotonic time on it is to be stopped even though this process lives; `None` for never."""
        with self._telling:
            with self._lock:
                entry = self._entries.get(name)
                if entry is None or not entry.is_open or entry.due == at:
                    return
                entry.due = at
            self._tell(journal=name, due=at)

    def over(self, name: str, end: str) -> None:
        """There is nothing left of it to stop. Once more does no harm."""
        with self._telling:
            with self._lock:
                entry = self._entries.get(name)
                if entry is None or not entry.is_open:
                    return
                if entry.text is not None:
                    entry.text += end
            if entry.text is not None:
                self._tell(journal=name, more=end)
            self._tell(journal=name, over=True)
            with self._lock:
                # Not before it is told: a guard that is dismissed takes what is open for left behind.
                entry.is_open = False
                if entry.text is None:
                    del self._entries[name]
        _keeper.loop().call_soon_threadsafe(self._dismiss_later)

    def _tell(self, **message: object) -> None:
        child = self._child
        if child is None:
            return  # the next one is told all
        try:
            child.tell(**message)
        except OSError:
            # It is dead, or stopped, and half a line says nothing. Its end is noticed on the keeper's loop.
            child.process.kill()

    def _spawn(self) -> _Child:
        """Start one, wait until it watches, and tell it all. Raises OSError."""
        with at_rest:  # a fork must not keep its ends
            pipe, its_end = socket.socketpair()
            self.inherited.append(pipe)
            with its_end:
                try:
                    process = subprocess.Popen(  # noqa: S603 (this interpreter, with our own module)
                        [sys.executable, "-P", "-m", f"{__package__}._guardian", str(os.getpid())],
                        stdin=its_end.fileno(),
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                        env=_environment(),
                        cwd="/",
                        start_new_session=True,
                    )
                except BaseException:
                    pipe.close()
                    raise
        child = _Child(process, pipe)
        try:
            pipe.settimeout(_START)
            _expect_ready(pipe)
            pipe.settimeout(_TELL)
            with self._telling:
                for options, group in self._groups.items():
                    child.tell(group=group, options=json.loads(options))
                for name, entry in self._entries.items():
                    child.tell(journal=name, group=entry.group, text=entry.text)
                    child.tell(journal=name, **({"due": entry.due} if entry.is_open else {"over": True}))
                with self._lock:
                    self._child = child
                    self.inherited = [pipe]
        except BaseException:
            process.kill()
            child.dismiss()
            process.wait()
            raise
        return child


def _expect_ready(pipe: socket.socket) -> None:
    if not pipe.recv(1):
        raise OSError("it ended at once")


def _environment() -> dict[str, str]:
    """No secret, and nothing by which the guard would do other than this process."""
    kept = {name: value for name, value in os.environ.items() if name in _ENVIRONMENT}
    # Where this process finds its modules, in the same order; not where its program lies, whatever else lies there.
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    beside = Path(main).resolve().parent if main else None
    paths = [path for path in sys.path if Path(path).is_absolute() and Path(path).resolve() != beside]
    root = str(Path(__file__).resolve().parents[1])
    return kept | {"PYTHONPATH": os.pathsep.join(paths if root in paths else [*paths, root])}


_warned: set[str] = set()


def warn_unguarded(trouble: str) -> None:
    _warn(f"instances are not guarded: {trouble}; if this process is killed they are billed until they are reaped")


def _warn(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        log.warning("%s", message)


_current: _Side | None = None
_current_lock = threading.Lock()


def side() -> _Side:
    global _current
    if _current is None:
        with _current_lock:
            if _current is None:
                _current = _Side()
    return _current


def _after_fork_in_child() -> None:
    """A child owns nothing; as long as it had the pipe, the guard would not see the end of it."""
    global _current, _current_lock
    if _current is not None:
        for pipe in _current.inherited:
            pipe.close()
    _current, _current_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
