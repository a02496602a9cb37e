"""Which ledger a client uses: where it was told to keep it, else the first of the usual places that can be used."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Protocol, TypeVar

from attrs import frozen

from ._journals import WAY_OUT, FolderJournal, FolderLedger
from ._locked_files import HAS_LOCKS
from ._memory_ledger import MemoryLedger
from ._mounts import network_type
from ._printing import printable
from .errors import LedgerError
from .ledger import Bounds, Ending, Facts, Intent, Journal, Ledger, SpecLock, StartRecord, in_order

__all__ = ["Kept", "UsualLedger", "account_key", "is_in_folder", "memory_of", "open_ledger", "where_kept"]

T = TypeVar("T")

logger = logging.getLogger("inferlease")

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

_warned: set[str] = set()
# One for each account: two clients of one process remember the same.
_memories: dict[str, MemoryLedger] = {}


def account_key(base_url: str, client_id: str) -> str:
    """A name for an account at a server that tells neither."""
    return hashlib.sha256(json.dumps([base_url.rstrip("/"), client_id]).encode()).hexdigest()[:32]


def open_ledger(where: str | os.PathLike[str] | Ledger | None, account: str, *, to_read: bool = False) -> Ledger:
    """The ledger of an account.

    Args:
        where: A folder to keep it in, or a ledger to use as it is. `None`: the folder that `INFERLEASE_STATE_DIR`
            names, else the first place that can be used of the user's state directory, a private folder in the
            temporary directory, and memory.
        account: From `account_key`.
        to_read: Make no folder, and do not try whether it can be written.

    Raises:
        LedgerError: A folder was named that cannot be used. Without one this never fails.
    """
    if where is None:
        where = os.environ.get("INFERLEASE_STATE_DIR") or None
    if where is None:
        return UsualLedger(account)
    if not isinstance(where, str | os.PathLike):
        return where
    if not os.fspath(where):
        raise LedgerError("ledger names no folder: it is empty")
    try:
        folder = Path(where).expanduser().absolute()
    except (OSError, RuntimeError) as error:  # no home, no working directory
        raise LedgerError(f"the ledger cannot be kept in {printable(str(where))}: {error}; {WAY_OUT}") from error
    return _untried(folder / account) if to_read else _prepared(folder / account)


@frozen
class Kept:
    """Where the ledger of an account is kept, as it was tried just now.

    Attributes:
        where: The place in words.
        loses: What is lost by keeping it there.
        reasons: Why it is not kept in a better place; empty if this is the best.
    """

    where: str
    loses: str = "nothing"
    reasons: tuple[str, ...] = ()


def where_kept(where: str | os.PathLike[str] | Ledger | None, account: str) -> Kept:
    """Try the ledger of an account; arguments as for `open_ledger`. Raises LedgerError if it can't be used."""
    ledger = open_ledger(where, account)
    return ledger.kept() if isinstance(ledger, UsualLedger) else Kept(_place(ledger))


def _place(ledger: Ledger) -> str:
    if isinstance(ledger, FolderLedger):
        return printable(str(ledger.folder))
    return "in memory" if isinstance(ledger, MemoryLedger) else "a store of your own"


def _prepared(folder: Path) -> FolderLedger:
    """The ledger of a folder that has been tried. Raises LedgerError."""
    ledger = _untried(folder)
    ledger.prepare()
    return ledger


def _untried(folder: Path) -> FolderLedger:
    """The ledger of a folder that may not be there yet. Raises LedgerError where locks tell nothing."""
    if not HAS_LOCKS:
        raise LedgerError(
            f"the ledger cannot be kept in a folder ({printable(str(folder))}): this platform lacks the file locks for "
            "it; leave ledger and INFERLEASE_STATE_DIR unset to have it in memory"
        )
    if kind := _network_type(folder):
        raise LedgerError(
            f"the ledger cannot be kept in {printable(str(folder))}: it is on a network file system ({kind}), where a "
            f"lock does not tell whether its owner lives; {WAY_OUT}, on a local disk"
        )
    return FolderLedger(folder)


def _network_type(folder: Path) -> str | None:
    try:
        return network_type(folder)
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle
        raise LedgerError(f"the ledger cannot be kept in {printable(str(folder))}: {error}; {WAY_OUT}") from error


# The usual places


class Place(Protocol):
    """Where a ledger may be kept."""

    @property
    def loses(self) -> str:
        """What is lost by keeping it here."""
        ...

    def found(self) -> Ledger | None:
        """What is there, untried; `None` if nothing is. Raises LedgerError if it must not be used."""
        ...

    def opened(self) -> Ledger:
        """It, tried. Raises LedgerError."""
        ...


class StateFolder:
    """In the user's state directory."""

    loses = "nothing"

    def __init__(self, account: str) -> None:
        self._account = account

    def opened(self) -> Ledger:
        return _prepared(self._folder())

    def found(self) -> Ledger | None:
        return _found(self._folder())

    def _folder(self) -> Path:
        from platformdirs import user_state_dir

        try:
            folder = Path(user_state_dir("inferlease"))
        except RuntimeError:
            folder = Path()
        if not folder.is_absolute():  # what an older platformdirs says in that case
            raise LedgerError(f"the ledger has no usual place: this user has no home directory; {WAY_OUT}")
        return folder / self._account


class TemporaryFolder:
    """In a folder of the temporary directory that nobody else can reach."""

    loses = "it may not survive a reboot, after which `inferlease reap` finds nothing"

    def __init__(self, account: str) -> None:
        self._account = account

    def opened(self) -> Ledger:
        root = self._root()
        try:
            # A link that leads nowhere is in the way as well.
            with contextlib.suppress(FileExistsError):
                root.mkdir(0o700)
            self._check(root)
        except OSError as error:
            raise LedgerError(f"the ledger cannot be kept in {root}: {error.strerror}; {WAY_OUT}") from error
        return _prepared(root / self._account)

    def found(self) -> Ledger | None:
        root = self._root()
        try:
            self._check(root)
        except FileNotFoundError:
            return None
        return _found(root / self._account)

    def _root(self) -> Path:
        try:
            return Path(tempfile.gettempdir()) / f"inferlease-{os.getuid()}"
        except OSError as error:
            raise LedgerError(f"the ledger has no place: {error.strerror}; {WAY_OUT}") from error

    def _check(self, root: Path) -> None:
        """In a directory that all may write to, somebody else may have put anything there. Raises OSError too."""
        status = root.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise LedgerError(
                f"the ledger cannot be kept in {printable(str(root))}: it is a link, or others own or can enter it; "
                f"remove it, or {WAY_OUT}"
            )


def memory_of(account: str) -> MemoryLedger:
    """What this process remembers of an account where nothing else can."""
    return _memories.setdefault(account, MemoryLedger())


class Memory:
    """In this process."""

    loses = "once this process has ended nothing is remembered, and `inferlease reap` cannot help"

    def __init__(self, account: str) -> None:
        self._ledger = memory_of(account)

    def opened(self) -> Ledger:
        return self._ledger

    def found(self) -> Ledger | None:
        return self._ledger


def _found(folder: Path) -> Ledger | None:
    try:
        is_there = folder.is_dir()
    except OSError as error:
        raise LedgerError(f"the ledger in {printable(str(folder))} cannot be read: {error.strerror}") from error
    if not is_there or _network_type(folder):
        return None
    return FolderLedger(folder)


class UsualLedger:
    """The first of the usual places that takes a start. What any of them remembers counts."""

    def __init__(self, account: str) -> None:
        folders: list[Place] = [StateFolder(account), TemporaryFolder(account)]
        self._places: list[Place] = [*folders, Memory(account)] if HAS_LOCKS else [Memory(account)]
        self._opened: dict[Place, Ledger] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def kept(self) -> Kept:
        """The first place that would take a start now."""
        reasons = self._reasons()
        for place in self._places:
            try:
                return Kept(_place(place.opened()), place.loses, tuple(reasons))
            except LedgerError as error:
                reasons.append(str(error))
        raise LedgerError("; ".join(reasons))

    @staticmethod
    def _reasons() -> list[str]:
        return [] if HAS_LOCKS else ["this platform lacks the file locks to keep it in a folder"]

    def begin(self, intent: Intent) -> Journal:
        """Remember what is about to be sent, in the first place that can."""
        reasons = self._reasons()
        for place in self._places:
            try:
                ledger = self._open(place)
            except LedgerError as error:
                reasons.append(str(error))
                continue
            try:
                journal = ledger.begin(intent)
            except LedgerError as error:
                # It was fine before, and is full by now; anything but the system's refusal is about this start.
                if not isinstance(error.__cause__, OSError) or isinstance(error.__cause__, FileExistsError):
                    raise
                reasons.append(str(error))
                continue
            if reasons:
                self._warn(place, ledger, reasons)
            return PlacedJournal(journal, [other for other in self._places if other is not place])
        raise LedgerError("; ".join(reasons))

    def try_lock(self, spec: str) -> SpecLock | None:
        """The lock of a spec, in the first place that has locks: even one that is full by now."""
        for place in self._places[:-1]:
            try:
                return self._lockable(place).try_lock(spec)
            except LedgerError:
                continue
        return self._places[-1].opened().try_lock(spec)

    def known(self, instance_ids: Iterable[str]) -> set[str]:
        """Those of the ids that any start has claimed, in any place."""
        ids = list(instance_ids)
        return {known for found in self._read(lambda ledger: ledger.known(ids)) for known in found}

    def open_records(self) -> list[StartRecord]:
        """The starts that have not ended, oldest first."""
        return in_order(chain.from_iterable(self._read(lambda ledger: ledger.open_records())))

    def past_records(self, since: datetime | None = None) -> list[StartRecord]:
        """The starts that have ended, since then or ever, oldest first."""
        return in_order(chain.from_iterable(self._read(lambda ledger: ledger.past_records(since))))

    def take_over(self, record: StartRecord) -> Journal | None:
        """Own the open journal of a dead owner, wherever it is."""
        for place in self._places:
            ledger = self._look(place)
            journal = None if ledger is None else ledger.take_over(record)
            if journal is not None:
                return PlacedJournal(journal, [other for other in self._places if other is not place])
        return None

    def _open(self, place: Place) -> Ledger:
        if place not in self._opened:
            self._opened[place] = place.opened()
        return self._opened[place]

    def _lockable(self, place: Place) -> Ledger:
        try:
            return self._open(place)
        except LedgerError as error:
            is_full = isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL
            ledger = place.found() if is_full else None
            if ledger is None:
                raise
            return ledger

    def _look(self, place: Place) -> Ledger | None:
        if place in self._opened:
            return self._opened[place]
        try:
            return place.found()
        except LedgerError:
            return None

    def _read(self, read: Callable[[Ledger], T]) -> Iterator[T]:
        for place in self._places:
            ledger = self._look(place)
            if ledger is None:
                continue
            try:
                yield read(ledger)
            except LedgerError as error:
                if place in self._opened:
                    raise
                _warn_once(f"what was remembered there does not count: {error}")

    def _warn(self, place: Place, ledger: Ledger, reasons: list[str]) -> None:
        where = f"in {_place(ledger)}" if isinstance(ledger, FolderLedger) else _place(ledger)
        _warn_once(f"starts are remembered {where}: {place.loses} ({'; '.join(reasons)})", type(place).__name__)


class PlacedJournal:
    """A journal in one place, which claims nothing that is known in another."""

    def __init__(self, journal: Journal, others: list[Place]) -> None:
        self._journal = journal
        self._others = others

    @property
    def intent(self) -> Intent:
        return self._journal.intent

    def claim(self, instance_id: str, *, is_answered: bool) -> bool:
        """Note what was started: `False` if another journal has claimed it."""
        for place in self._others:
            try:
                ledger = place.found()
                is_known = ledger is not None and bool(ledger.known([instance_id]))
            except LedgerError:
                continue
            if is_known:
                return False
        return self._journal.claim(instance_id, is_answered=is_answered)

    def keep(self, bounds: Bounds) -> None:
        """Note that the instance stays when its lease ends."""
        self._journal.keep(bounds)

    def note(self, facts: Facts) -> None:
        """Note what became known of the instance."""
        self._journal.note(facts)

    def end(self, how: Ending, reason: str | None = None) -> None:
        """Note how it ended, and let go of it. Idempotent."""
        self._journal.end(how, reason)

    def let_go(self) -> None:
        """Own it no longer, without an end. Idempotent, never raises."""
        self._journal.let_go()


def is_in_folder(journal: Journal) -> bool:
    """Whether it outlives this process."""
    return isinstance(journal._journal if isinstance(journal, PlacedJournal) else journal, FolderJournal)


def _warn_once(message: str, key: str | None = None) -> None:
    if (key or message) not in _warned:
        _warned.add(key or message)
        logger.warning("%s", message)
