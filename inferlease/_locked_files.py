"""Files on which a process holds an operating system lock, which ends with the process and is not inherited."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import random
import stat
import threading
import time
from pathlib import Path
from typing import Literal

__all__ = ["HAS_LOCKS", "FolderSpecLock", "LockedFile", "at_rest", "remove", "sync_folder", "write_whole"]

HAS_LOCKS = importlib.util.find_spec("fcntl") is not None
"""Whether this platform has such locks: Windows has not."""

# How often an exclusive lock is tried again where only somebody's probe stood in the way.
_TRIES = 200

# Held while a descriptor comes or goes, and during a fork: so a child knows all that it has inherited.
at_rest = threading.RLock()
# Held while a file is opened: a fork waits for that too, but not for a disk that hangs. Taken before `at_rest`.
_opening = threading.Lock()
_LONGEST_OPENING = 0.5
_open_files: set[LockedFile] = set()
_forks = 0
_has_waited = False


class LockedFile:
    """An open file, to be locked. A lock belongs to this very object, not to the process or the thread."""

    def __init__(self, path: Path, flags: int, mode: int = 0o600) -> None:
        """Open it; nothing is locked yet. Raises OSError."""
        self.path = path
        # Not blocking: in place of the file there may be a pipe.
        flags |= os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        self.descriptor: int = -1
        self.is_inherited = False
        with _opening:
            while not self._open(flags, mode):
                flags &= ~os.O_EXCL

    def _open(self, flags: int, mode: int) -> bool:
        """Open it; `False` if there was a fork meanwhile: the child would have any lock on it, unknowingly."""
        forks, descriptor = _forks, os.open(self.path, flags, mode)
        with at_rest:
            if forks == _forks:
                self.descriptor = descriptor
                _open_files.add(self)
                return True
        os.close(descriptor)
        return False

    @property
    def is_open(self) -> bool:
        return self.descriptor >= 0

    def try_lock(self, how: Literal["shared", "exclusive"]) -> bool:
        """Whether it is locked now: `False` if a lock of somebody else is in the way. Raises OSError."""
        import fcntl

        flag = fcntl.LOCK_SH if how == "shared" else fcntl.LOCK_EX
        try:
            fcntl.flock(self.descriptor, flag | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def try_lock_despite_probes(self) -> bool:
        """Lock it exclusively, as `try_lock`, but do not mistake the shared lock of a probe for an owner's."""
        for _ in range(_TRIES):
            if self.try_lock("exclusive"):
                return True
            if not self.try_lock("shared"):
                return False
            self._unlock()
            # Two that try this at once are probes to each other: they must not stay in step.
            time.sleep(random.uniform(0, 0.002))
        return False

    def is_at_path(self) -> bool:
        """Whether the file that is open is still the one that its path leads to. Raises OSError."""
        try:
            there = self.path.lstat()
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(self.descriptor), there)

    def read(self) -> bytes:
        """The whole file. Raises OSError."""
        if not stat.S_ISREG(os.fstat(self.descriptor).st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is no file", str(self.path))
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        chunks: list[bytes] = []
        while chunk := os.read(self.descriptor, 1 << 20):
            chunks.append(chunk)
        return b"".join(chunks)

    def close(self) -> None:
        """Close it, and unlock it if this process opened it. Idempotent, never raises."""
        with at_rest:
            if not self.is_open:
                return
            # A program that was just forked off has copies until it executes, so closing alone comes late.
            self._unlock()
            os.close(self.descriptor)
            self.descriptor = -1
            _open_files.discard(self)

    def _unlock(self) -> None:
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def _disown(self) -> None:
        # The lock is the parent's: to unlock it here would unlock it there.
        with contextlib.suppress(OSError):
            os.close(self.descriptor)
        self.descriptor = -1
        self.is_inherited = True


class FolderSpecLock:
    """The lock of one spec, held by this process."""

    def __init__(self, file: LockedFile) -> None:
        self._file = file

    def release(self) -> None:
        """Let go of it. Idempotent, never raises."""
        self._file.close()


def write_whole(descriptor: int, data: bytes) -> None:
    """Write all of it, and have it on the disk. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Have what was created, renamed or linked in it on the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(*paths: Path) -> None:
    """Remove files if they are there and can be removed."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def _before_fork() -> None:
    global _forks, _has_waited
    has_waited = _opening.acquire(timeout=_LONGEST_OPENING)
    at_rest.acquire()
    _forks, _has_waited = _forks + 1, has_waited


def _after_fork_in_parent() -> None:
    has_waited = _has_waited
    at_rest.release()
    if has_waited:
        _opening.release()


def _after_fork_in_child() -> None:
    for file in _open_files:
        file._disown()
    _open_files.clear()
    if _opening.locked():  # by this thread, or by one that is not here
        _opening.release()
    at_rest.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
