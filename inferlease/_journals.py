"""The ledger as a folder that any number of processes of one host share, and that outlives all of them."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import threading
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from attrs import evolve

from ._claims import Claims, hashed
from ._journal_lines import (
    Claim,
    Contents,
    GarbledError,
    claim_line,
    end_line,
    facts_line,
    intent_line,
    keep_line,
    read_journal,
)
from ._locked_files import FolderSpecLock, LockedFile, remove, sync_folder, write_whole
from ._printing import printable
from .errors import LedgerError
from .ledger import Bounds, Ending, Facts, Intent, StartRecord, in_order, now

__all__ = ["WAY_OUT", "FolderJournal", "FolderLedger"]

logger = logging.getLogger("inferlease")

WAY_OUT = "name another folder by ledger=PATH or INFERLEASE_STATE_DIR"

# What a journal may be called: its name is a file's, and comes from outside.
_NAME = re.compile(r"[0-9A-Za-z_-]{1,100}")
# How far the time that a file system notes for a write may lie before the one that the line itself bears.
_TIME_SLACK = timedelta(minutes=1)
# Seconds that letting go of a journal waits for a line that is being written.
_PATIENCE = 1.0

_warned: set[str] = set()


def _warn_once(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        logger.warning("%s", message)


def _reason(error: Exception) -> str:
    return printable(str((error.strerror if isinstance(error, OSError) else None) or error))


@contextlib.contextmanager
def _ledger_errors(folder: Path, what: str) -> Iterator[None]:
    """Make what goes wrong with the folder the one error that a user can act on."""
    try:
        yield
    except (OSError, ValueError) as error:
        where = printable(str(getattr(error, "filename", None) or folder))
        raise LedgerError(f"the ledger cannot {what}: {where}: {_reason(error)}; {WAY_OUT}") from error


class FolderLedger:
    """A ledger in a folder on a local file system.

    - `leases/<journal>.jsonl`: the journal of a start that has not ended. Its owner holds an exclusive lock on it.
    - `history/`: the journals of those that have; one without an end was handed over while the disk was full.
    - `claims/<hash of an id>`: which journal claimed that id. To create it is to claim it; it is never removed.
    - `locks/<hash of a spec>.lock`: an empty file for the lock of that spec.
    - `aside/`: what could not be read.
    """

    def __init__(self, folder: Path) -> None:
        """Nothing is read or written yet."""
        self.folder = folder
        self._leases = folder / "leases"
        self._history = folder / "history"
        self.claims = Claims(folder / "claims")
        self._locks = folder / "locks"
        self._aside = folder / "aside"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r})"

    def prepare(self) -> None:
        """Make the folders, and try all that will be asked of their file system.

        Raises:
            LedgerError: It cannot be used.
        """
        with _ledger_errors(self.folder, "be kept there"):
            self._make_folders()
            trial, link = (self._locks / f".{uuid.uuid4().hex}.{part}" for part in ("trial", "link"))
            file = LockedFile(trial, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            try:
                write_whole(file.descriptor, b"\n" * 4096)
                os.link(trial, link)
                sync_folder(self._locks)
                other = LockedFile(link, os.O_RDWR)
                try:
                    if not file.try_lock("exclusive") or other.try_lock("exclusive"):
                        raise OSError(errno.ENOLCK, "its file system does not keep locks", str(self.folder))
                finally:
                    other.close()
            finally:
                file.close()
                remove(trial, link)

    def begin(self, intent: Intent) -> FolderJournal:
        """Remember what is about to be sent."""
        with _ledger_errors(self.folder, "note a start"):
            _check_name(intent.journal)
            line = intent_line(intent)
            self._make_folders()
            path, hidden = self._lease(intent.journal), self._leases / f".{intent.journal}.new"
            remove(hidden)
            file = LockedFile(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND)
            try:
                # Locked and with its first line before it gets its name: nobody ever sees it otherwise.
                file.try_lock("exclusive")
                write_whole(file.descriptor, line)
                os.link(hidden, path)
                file.path = path
                hidden.unlink()
                sync_folder(self._leases)
            except BaseException:
                remove(hidden)
                if file.path == path:
                    remove(path)
                file.close()
                raise
        return FolderJournal(self, file, read_journal(line), None)

    def try_lock(self, spec: str) -> FolderSpecLock | None:
        """The lock of a spec among all processes that share the folder, `None` if somebody holds it now."""
        with _ledger_errors(self.folder, "lock a spec"):
            self._make_folders()
            file = LockedFile(self._locks / f"{hashed(spec)}.lock", os.O_RDWR | os.O_CREAT)
            try:
                is_mine = file.try_lock("exclusive")
            except BaseException:
                file.close()
                raise
        if is_mine:
            return FolderSpecLock(file)
        file.close()
        return None

    def known(self, instance_ids: Iterable[str]) -> set[str]:
        """Those of the ids that any start has claimed."""
        with _ledger_errors(self.folder, "be read"):
            return {instance_id for instance_id in instance_ids if self.claims.is_known(instance_id)}

    def open_records(self) -> list[StartRecord]:
        """The starts that have not ended, oldest first."""
        with _ledger_errors(self.folder, "be read"):
            return in_order(record for record in self._records(self._leases) if record.ending is None)

    def past_records(self, since: datetime | None = None) -> list[StartRecord]:
        """The starts that have ended, since then or ever, oldest first."""
        with _ledger_errors(self.folder, "be read"):
            # In this order: what moves meanwhile is seen twice rather than never.
            found = {record.intent.journal: record for record in self._records(self._leases) if record.ending}
            found |= {record.intent.journal: record for record in self._records(self._history, since)}
            return in_order(
                record
                for record in found.values()
                if since is None or (record.ended_at is not None and record.ended_at >= since)
            )

    def take_over(self, record: StartRecord) -> FolderJournal | None:
        """Own the open journal of a dead owner, `None` if its owner lives, or it has ended meanwhile."""
        with _ledger_errors(self.folder, "take over a start"):
            _check_name(record.intent.journal)
            try:
                file = LockedFile(self._lease(record.intent.journal), os.O_RDWR | os.O_APPEND)
            except FileNotFoundError:
                return None
            try:
                # Whoever had it before may have ended it, or let it go, between opening and locking it.
                if file.try_lock_despite_probes() and file.is_at_path():
                    with contextlib.suppress(GarbledError):
                        contents = read_journal(file.read())
                        if contents.ending is None and contents.intent.journal == record.intent.journal:
                            claim = self.claims.valid(contents, is_settled=True)
                            return FolderJournal(self, file, contents, claim)
            except BaseException:
                file.close()
                raise
            file.close()
            return None

    # Folders and files

    def _make_folders(self) -> None:
        missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        for path in (*reversed(missing), *self._subfolders()):
            try:
                path.mkdir(0o700)
            except FileExistsError:
                continue
            sync_folder(path.parent)

    def _subfolders(self) -> tuple[Path, ...]:
        return self._leases, self._history, self.claims.folder, self._locks, self._aside

    def _lease(self, journal: str) -> Path:
        return self._leases / f"{journal}.jsonl"

    # Reading

    def _records(self, folder: Path, since: datetime | None = None) -> Iterator[StartRecord]:
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries if since is None or _may_be_since(entry, since)]
        except FileNotFoundError:
            return
        for name in names:
            if name.endswith(".jsonl") and not name.startswith("."):
                record = self._record(folder / name)
                if record is not None:
                    yield record

    def _record(self, path: Path) -> StartRecord | None:
        """What a journal says; `None` if it has moved meanwhile, or cannot be read and is set aside."""
        try:
            file = LockedFile(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        except PermissionError as error:
            # Another user's: whether its owner lives cannot be seen.
            _warn_once(f"the journal {printable(str(path))} cannot be read: {_reason(error)}; it is left where it is")
            return None
        except OSError as error:
            if error.errno not in {errno.ELOOP, errno.ENXIO}:
                raise
            self._set_aside(path, "it is no file", is_owned=False)
            return None
        try:
            # First the lock, then the text: the other way round, the owner could write and die in between.
            is_owned = not file.try_lock("shared")
            contents, reason = None, "it bears the name of another"
            try:
                contents = read_journal(file.read())
            except GarbledError as error:
                reason = str(error)
            except OSError as error:
                if error.errno not in {errno.EISDIR, errno.EIO}:
                    raise
                reason = _reason(error)
            if contents is None or contents.intent.journal != path.stem:
                if file.is_at_path():
                    self._set_aside(path, reason, is_owned=is_owned)
                return None
            if contents.ending is None and path.parent == self._history:
                contents = evolve(contents, ending="handed over", ended_at=contents.intent.at)
            claim = self.claims.valid(contents, is_settled=not is_owned)
            if contents.ending and not is_owned and path.parent == self._leases:
                self._move_to_history(path)  # its owner came no further
        finally:
            file.close()
        return StartRecord(
            contents.intent,
            "none" if contents.ending else "alive" if is_owned else "dead",
            instance_id=claim.instance_id if claim else None,
            is_answered=claim.is_answered if claim else False,
            is_kept=contents.is_kept,
            claimed_at=claim.at if claim else None,
            ending=contents.ending,
            ended_at=contents.ended_at,
            facts=contents.facts,
            bounds=contents.bounds,
            reason=contents.reason,
        )

    def _move_to_history(self, path: Path) -> bool:
        """Whether it has moved; if not, its last line says all the same that it has ended."""
        try:
            path.rename(self._history / path.name)
        except OSError:
            return False
        with contextlib.suppress(OSError):
            sync_folder(self._history)
            sync_folder(self._leases)
        return True

    def _set_aside(self, path: Path, reason: str, *, is_owned: bool) -> None:
        """Keep what cannot be read where it is in nobody's way. That of a living process stays where it is."""
        said = f"the journal {printable(str(path))} cannot be read: {reason}"
        if is_owned:
            _warn_once(f"{said}; a living process, perhaps of a newer version, owns it: it is left to that")
            return
        target = self._aside / f"{path.name}.{uuid.uuid4().hex[:8]}"
        try:
            self._aside.mkdir(0o700, exist_ok=True)
            path.rename(target)
        except FileNotFoundError:
            return  # another process was faster, and says so
        except OSError:
            target = path
        _warn_once(f"{said}; it is kept as {printable(str(target))}: an instance that it was about may still run")


class FolderJournal:
    """The journal of one start, owned by this process."""

    def __init__(self, ledger: FolderLedger, file: LockedFile, contents: Contents, claim: Claim | None) -> None:
        self._ledger = ledger
        self._file = file
        self._intent = contents.intent
        self._size = contents.size
        self._claim = claim
        self._has_ended = False
        self._lock = threading.Lock()

    @property
    def intent(self) -> Intent:
        return self._intent

    def claim(self, instance_id: str, *, is_answered: bool) -> bool:
        """Note what was started: `False` if another journal has claimed it. Its own, once more, is its own."""
        with self._writing("note an instance"):
            self._check_open()
            if self._claim is not None and self._claim.instance_id != instance_id:
                raise self._error(f"has claimed {printable(self._claim.instance_id, 100)} already")
            claimer = self._ledger.claims.claimer(instance_id)
            if claimer is not None and claimer != self._intent.journal:
                return False
            if self._claim is None:
                claim = Claim(self._intent.journal, instance_id, is_answered, now())
                # The journal first: an id that is known must lead to a journal that knows it.
                self._append(claim_line(claim))
                if not self._ledger.claims.note(claim):
                    return False
                self._claim = claim
        return True

    def keep(self, bounds: Bounds) -> None:
        """Note that the instance stays when its lease ends."""
        self._note("note that an instance stays", keep_line(bounds, now()))

    def note(self, facts: Facts) -> None:
        """Note what became known of the instance."""
        self._note("note what is known of an instance", facts_line(facts, now()))

    def _note(self, what: str, line: bytes) -> None:
        with self._writing(what):
            self._check_open()
            self._append(line)

    def end(self, how: Ending, reason: str | None = None) -> None:
        """Note how it ended, and let go of it. Idempotent."""
        with self._writing("note an end"):
            if self._has_ended:
                return
            self._check_open()
            try:
                self._append(end_line(how, now(), reason))
            except OSError:
                # On a full disk there still is room for a move, by which it counts as handed over.
                if how != "handed over" or not self._ledger._move_to_history(self._file.path):
                    raise
            self._has_ended = True
            self._ledger._move_to_history(self._file.path)
            self._file.close()

    def let_go(self) -> None:
        """Own it no longer, without an end. Idempotent, never raises."""
        # In a forked child it is not, and a thread that is not there may hold the lock; here, a write that hangs may.
        if self._file.is_open and self._lock.acquire(timeout=_PATIENCE):
            self._file.close()
            self._lock.release()

    @contextlib.contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        if self._file.is_inherited:
            raise self._error("belongs to the process that this one was forked from")
        with self._lock, _ledger_errors(self._file.path, what):
            yield

    def _check_open(self) -> None:
        if self._has_ended:
            raise self._error("has ended")
        if not self._file.is_open:
            raise self._error("was let go")

    def _error(self, what: str) -> LedgerError:
        return LedgerError(f"the journal {printable(str(self._file.path))} {what}: start anew")

    def _append(self, line: bytes) -> None:
        # What a write left behind that failed, here or in the hands of a dead owner, must not end up in the middle.
        os.ftruncate(self._file.descriptor, self._size)
        write_whole(self._file.descriptor, line)
        self._size += len(line)


def _check_name(journal: str) -> None:
    if not _NAME.fullmatch(journal):
        raise GarbledError(f"{printable(journal, 100)!r} is no name of a journal")


def _may_be_since(entry: os.DirEntry[str], since: datetime) -> bool:
    try:
        return entry.stat(follow_symlinks=False).st_mtime >= (since - _TIME_SLACK).timestamp()
    except OSError:
        return False
