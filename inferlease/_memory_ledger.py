"""The ledger of one process, which ends with it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime

from attrs import evolve

from ._locked_files import at_rest
from ._printing import printable
from .errors import LedgerError
from .ledger import Bounds, Ending, Facts, Intent, StartRecord, in_order, now

__all__ = ["MemoryJournal", "MemoryLedger", "MemorySpecLock"]

# All of it happens under `at_rest`: so a forked child finds no ledger in the midst of a change.


class MemoryLedger:
    """A ledger in memory: nothing of it is left once the process has ended."""

    def __init__(self) -> None:
        self._records: dict[str, StartRecord] = {}
        self._claims: dict[str, str] = {}
        self._locks: dict[str, MemorySpecLock] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def begin(self, intent: Intent) -> MemoryJournal:
        """Remember what is about to be sent."""
        with at_rest:
            if intent.journal in self._records:
                raise LedgerError(f"the ledger in memory has a journal {printable(intent.journal, 100)} already")
            self._records[intent.journal] = StartRecord(intent, "alive")
        return MemoryJournal(self, intent)

    def try_lock(self, spec: str) -> MemorySpecLock | None:
        """The lock of a spec among all that share this object, `None` if somebody holds it now."""
        with at_rest:
            held = self._locks.get(spec)
            if held is not None and held._process == os.getpid():
                return None
            lock = self._locks[spec] = MemorySpecLock(self, spec)
        return lock

    def known(self, instance_ids: Iterable[str]) -> set[str]:
        """Those of the ids that any start has claimed."""
        with at_rest:
            return {instance_id for instance_id in instance_ids if instance_id in self._claims}

    def open_records(self) -> list[StartRecord]:
        """The starts that have not ended, oldest first."""
        return [record for record in self._in_order() if record.ending is None]

    def past_records(self, since: datetime | None = None) -> list[StartRecord]:
        """The starts that have ended, since then or ever, oldest first."""
        ended = [record for record in self._in_order() if record.ended_at is not None]
        return [record for record in ended if since is None or (record.ended_at and record.ended_at >= since)]

    def take_over(self, record: StartRecord) -> MemoryJournal | None:
        """Own the open journal that was let go, `None` if its owner has it, or it has ended meanwhile."""
        with at_rest:
            current = self._records.get(record.intent.journal)
            if current is None or current.owner != "dead":
                return None
            self._records[record.intent.journal] = evolve(current, owner="alive")
            return MemoryJournal(self, current.intent)

    def _in_order(self) -> list[StartRecord]:
        with at_rest:
            records = list(self._records.values())
        return in_order(records)


class MemoryJournal:
    """The journal of one start, in the hands of its owner."""

    def __init__(self, ledger: MemoryLedger, intent: Intent) -> None:
        self._ledger = ledger
        self._intent = intent
        self._process = os.getpid()
        self._is_let_go = False

    @property
    def intent(self) -> Intent:
        return self._intent

    def claim(self, instance_id: str, *, is_answered: bool) -> bool:
        """Note what was started: `False` if another journal has claimed it. Its own, once more, is its own."""
        with at_rest:
            record = self._record()
            if record.instance_id not in {None, instance_id}:
                raise self._error(f"has claimed {printable(str(record.instance_id), 100)} already")
            if self._ledger._claims.setdefault(instance_id, self._intent.journal) != self._intent.journal:
                return False
            if record.instance_id is None:
                self._note(evolve(record, instance_id=instance_id, is_answered=is_answered, claimed_at=now()))
            return True

    def keep(self, bounds: Bounds) -> None:
        """Note that the instance stays when its lease ends."""
        with at_rest:
            self._note(evolve(self._record(), is_kept=True, bounds=bounds))

    def note(self, facts: Facts) -> None:
        """Note what became known of the instance."""
        with at_rest:
            self._note(evolve(self._record(), facts=facts))

    def end(self, how: Ending, reason: str | None = None) -> None:
        """Note how it ended, and let go of it. Idempotent."""
        with at_rest:
            record = self._record(may_have_ended=True)
            if record.ending is None:
                self._note(evolve(record, owner="none", ending=how, ended_at=now(), reason=reason))

    def let_go(self) -> None:
        """Own it no longer, without an end. Idempotent, never raises."""
        with at_rest:
            record = self._ledger._records[self._intent.journal]
            if self._process == os.getpid() and not self._is_let_go and record.ending is None:
                self._note(evolve(record, owner="dead"))
            self._is_let_go = True

    def _record(self, *, may_have_ended: bool = False) -> StartRecord:
        if self._process != os.getpid():
            raise self._error("belongs to the process that this one was forked from")
        record = self._ledger._records[self._intent.journal]
        if record.ending is not None and not may_have_ended:
            raise self._error("has ended")
        if self._is_let_go and record.ending is None:
            raise self._error("was let go")
        return record

    def _note(self, record: StartRecord) -> None:
        self._ledger._records[self._intent.journal] = record

    def _error(self, what: str) -> LedgerError:
        return LedgerError(f"the journal {printable(self._intent.journal, 100)} {what}: start anew")


class MemorySpecLock:
    """The lock of one spec, held."""

    def __init__(self, ledger: MemoryLedger, spec: str) -> None:
        self._ledger = ledger
        self._spec = spec
        self._process = os.getpid()

    def release(self) -> None:
        """Let go of it. Idempotent, never raises."""
        with at_rest:
            if self._ledger._locks.get(self._spec) is self:
                del self._ledger._locks[self._spec]
