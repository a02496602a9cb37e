"""The ledger of one client, as the keeper uses it: opened when it is first needed, and never in the loop's way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeVar
from weakref import WeakKeyDictionary

from .errors import LedgerError
from .ledger import Ending, Facts, Intent, Journal, Ledger, LedgerPlace, SpecLock, StartRecord, now

__all__ = ["AsyncLedger", "HeldLock", "is_unresolved"]

T = TypeVar("T")
log = logging.getLogger("inferlease")

# Seconds between attempts to get a lock that another process holds.
_LOCK_INTERVAL = 0.05


class HeldLock:
    """The lock of one spec, against the starts of this process and of all others on the ledger."""

    def __init__(self, here: asyncio.Lock, everywhere: SpecLock) -> None:
        self._here = here
        self._everywhere: SpecLock | None = everywhere

    def release(self) -> None:
        """Let go of it. Idempotent."""
        if self._everywhere is not None:
            self._everywhere.release()
            self._everywhere = None
            self._here.release()


class AsyncLedger:
    """Runs on the keeper. What it raises is a LedgerError, or a ConfigurationError without credentials.

    Args:
        where: As `Client(ledger=…)`; `place` is the same.
        base_url: Of the API.
        client_id: Tells whose account it is; asked for when the ledger is opened.

    Attributes:
        seen: Ids of all instances that this client has seen before a start; `None` before the first.
        is_alone: Whether every live instance that this client has ever seen may come from a start of the ledger.
    """

    def __init__(self, where: LedgerPlace | None, base_url: str, client_id: Callable[[], str]) -> None:
        self.place = where
        self._base_url = base_url
        self._client_id = client_id
        self.seen: set[str] | None = None
        self.is_alone = True
        self._ledger: Ledger | None = None
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Lock]] = WeakKeyDictionary()
        self._journals: set[Journal] = set()

    @property
    def opened(self) -> Ledger | None:
        """The ledger itself, once it was needed."""
        return self._ledger

    async def begin(self, intent: Intent, watch: Callable[[Journal], Journal] = lambda journal: journal) -> Journal:
        """Remember what is about to be sent; the journal as `watch` returns it, which is called off the loop."""
        ledger = await self._opened()
        journal = await _aside(lambda: watch(ledger.begin(intent)))
        self._journals.add(journal)
        return journal

    async def acquire(self, spec: str, *, patience: float) -> HeldLock:
        """The lock of a spec, once it is free; raises LedgerError if it is not within `patience` seconds."""
        try:
            async with asyncio.timeout(patience):
                return await self._acquired(spec)
        except TimeoutError:
            raise LedgerError(
                f"another start of the same spec has held its lock for {patience:g} s: nothing was started; "
                "`inferlease leases` shows what is being started"
            ) from None

    async def _acquired(self, spec: str) -> HeldLock:
        ledger, here = await self._opened(), self._lock_here(spec)
        await here.acquire()
        try:
            while (everywhere := await _tried(ledger, spec)) is None:  # noqa: ASYNC110 (another process has it)
                await asyncio.sleep(_LOCK_INTERVAL)
        except BaseException:
            here.release()
            raise
        return HeldLock(here, everywhere)

    async def try_acquire(self, spec: str) -> HeldLock | None:
        """The lock of a spec, `None` if it is not free: somebody is just starting that spec."""
        ledger, here = await self._opened(), self._lock_here(spec)
        if here.locked():
            return None
        await here.acquire()
        try:
            everywhere = await _tried(ledger, spec)
        except BaseException:
            here.release()
            raise
        if everywhere is None:
            here.release()
            return None
        return HeldLock(here, everywhere)

    async def known(self, instance_ids: Iterable[str]) -> set[str]:
        """Those of the ids that any start of this ledger has claimed."""
        ledger, asked = await self._opened(), list(instance_ids)
        return await _aside(lambda: ledger.known(asked))

    async def open_records(self) -> list[StartRecord]:
        """The starts that have not ended."""
        ledger = await self._opened()
        return await _aside(ledger.open_records)

    async def past_records(self, since: datetime | None = None) -> list[StartRecord]:
        """The starts that have ended."""
        ledger = await self._opened()
        return await _aside(lambda: ledger.past_records(since))

    async def take_over(self, record: StartRecord) -> Journal | None:
        """Own the open journal of a dead owner, `None` if it is not to be had."""
        ledger = await self._opened()
        journal = await _aside(lambda: ledger.take_over(record))
        if journal is not None:
            self._journals.add(journal)
        return journal

    async def claim(self, journal: Journal, instance_id: str, *, is_answered: bool) -> bool:
        """Note what was started; `False` if another start of the ledger has it."""
        return await _aside(lambda: journal.claim(instance_id, is_answered=is_answered))

    async def keep(self, journal: Journal) -> None:
        """Note that the instance stays when its lease ends."""
        await _aside(journal.keep)

    async def note(self, journal: Journal, facts: Facts) -> None:
        """Note what became known of an instance. That it can't be written only makes what is told of costs poorer."""
        try:
            await _aside(lambda: journal.note(facts))
        except LedgerError as error:
            log.debug("%s", error)

    async def end(self, journal: Journal, how: Ending) -> None:
        """Note how a start ended. That it can't be written is a warning: what it tells of is over."""
        self._journals.discard(journal)
        try:
            await _aside(lambda: journal.end(how))
        except LedgerError as error:
            log.warning("%s", error)

    def drop(self, journal: Journal) -> None:
        """Own it no longer, without an end: others may take it over."""
        self._journals.discard(journal)
        journal.let_go()

    def let_go(self) -> None:
        """Own nothing any more: what is still open is for others to recover."""
        while self._journals:
            self._journals.pop().let_go()

    async def _opened(self) -> Ledger:
        if self._ledger is None:
            # Here, for whoever only reads needs none of it.
            from ._ledgers import account_key, open_ledger

            account = account_key(self._base_url, self._client_id())
            opened = await _aside(lambda: open_ledger(self.place, account))
            if self._ledger is None:
                self._ledger = opened
        return self._ledger

    def _lock_here(self, spec: str) -> asyncio.Lock:
        # A forked child has a loop of its own, and its parent's locks are never released there.
        return self._locks.setdefault(asyncio.get_running_loop(), {}).setdefault(spec, asyncio.Lock())


def is_unresolved(record: StartRecord) -> bool:
    """Whether an instance that shows up may still come from this start."""
    return (
        record.ending is None
        and record.instance_id is None
        and (now() - record.intent.at).total_seconds() < record.intent.late_window
    )


async def _tried(ledger: Ledger, spec: str) -> SpecLock | None:
    trying = asyncio.ensure_future(_aside(lambda: ledger.try_lock(spec)))
    try:
        return await asyncio.shield(trying)
    except asyncio.CancelledError:
        # The thread goes on, and nobody else knows of what it gets.
        trying.add_done_callback(_release)
        raise


def _release(tried: asyncio.Future[SpecLock | None]) -> None:
    if not tried.cancelled() and tried.exception() is None and (lock := tried.result()) is not None:
        lock.release()


async def _aside(call: Callable[[], T]) -> T:
    """`call` in a thread, since a disk may be slow; here, where the interpreter's exit leaves no threads."""
    future: asyncio.Future[T] | None = None
    with contextlib.suppress(RuntimeError):
        future = asyncio.get_running_loop().run_in_executor(None, call)
    return call() if future is None else await future
