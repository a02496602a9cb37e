"""The ledger of one client, as the keeper uses it: opened when it is first needed, and never in the loop's way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import TypeVar
from weakref import WeakKeyDictionary

from ._printing import printable
from .errors import LedgerError
from .ledger import Bounds, Ending, Facts, Intent, Journal, Ledger, LedgerPlace, SpecLock, StartRecord, in_order, now

__all__ = ["AsyncLedger", "HeldLock", "aside", "is_unresolved"]

T = TypeVar("T")
log = logging.getLogger("inferlease")

# Seconds between attempts to get a lock that another process holds.
_LOCK_INTERVAL = 0.05
# Seconds that the disk may take: so long a start or a release is held up by one that hangs.
LONGEST = 15.0
# Characters of a reason that are remembered.
_REASON = 300


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
        unclaimed: Those of them that no start had claimed, but one of the ledger may have made.
        is_alone: Whether every live instance that this client has ever seen may come from a start of the ledger.
        rewatch: What becomes of a journal that is taken over; called off the loop.
    """

    def __init__(self, where: LedgerPlace | None, base_url: str, client_id: Callable[[], str]) -> None:
        self.place = where
        self._base_url = base_url
        self._client_id = client_id
        self.seen: set[str] | None = None
        self.unclaimed: set[str] = set()
        self.is_alone = True
        self.rewatch: Callable[[Journal], Journal] = lambda journal: journal
        self._ledger: Ledger | None = None
        self._untried: Ledger | None = None
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Lock]] = WeakKeyDictionary()
        self._journals: set[Journal] = set()
        # Ids that answers have named and that could not be noted, with the names of their journals.
        self._unwritten: dict[str, str] = {}

    @property
    def opened(self) -> Ledger | None:
        """The ledger itself, once something was to be started."""
        return self._ledger

    async def begin(self, intent: Intent, watch: Callable[[Journal], Journal] = lambda journal: journal) -> Journal:
        """Remember what is about to be sent; the journal as `watch` returns it, which is called off the loop."""
        ledger = await self._opened()
        journal = await aside(lambda: watch(ledger.begin(intent)), _refuse)
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
        ledger, asked = await self._readable(), list(instance_ids)
        return await aside(lambda: ledger.known(asked)) | {each for each in asked if each in self._unwritten}

    async def open_records(self) -> list[StartRecord]:
        """The starts that have not ended."""
        ledger = await self._readable()
        return await aside(ledger.open_records)

    async def past_records(self, since: datetime | None = None) -> list[StartRecord]:
        """The starts that have ended."""
        ledger = await self._readable()
        return await aside(lambda: ledger.past_records(since))

    async def records(self, since: datetime | None = None) -> list[StartRecord]:
        """The starts that have not ended, and those that have; oldest first."""
        # In this order: what ends meanwhile is seen twice rather than never.
        records = {record.id: record for record in await self.open_records()}
        records |= {record.id: record for record in await self.past_records(since)}
        return in_order(records.values())

    async def take_over(self, record: StartRecord) -> Journal | None:
        """Own the open journal of a dead owner, `None` if it is not to be had."""
        ledger = await self._opened()
        journal = await aside(lambda: self._taken_over(ledger, record), _let_go)
        if journal is not None:
            self._journals.add(journal)
        return journal

    def _taken_over(self, ledger: Ledger, record: StartRecord) -> Journal | None:
        journal = ledger.take_over(record)
        return None if journal is None else self.rewatch(journal)

    async def claim(self, journal: Journal, instance_id: str, *, is_answered: bool) -> bool:
        """Note what was started; `False` if another start of the ledger has it."""
        name = journal.intent.journal
        if self._unwritten.get(instance_id, name) != name:
            return False
        try:
            return await aside(lambda: journal.claim(instance_id, is_answered=is_answered))
        except Exception:
            if is_answered:  # it is known whose it is, whether that can be written or not
                self._unwritten[instance_id] = name
            raise

    async def keep(self, journal: Journal, bounds: Bounds) -> None:
        """Note that the instance stays when its lease ends."""
        await aside(lambda: journal.keep(bounds))

    async def note(self, journal: Journal, facts: Facts) -> None:
        """Note what became known of an instance. That it can't be written only makes what is told of costs poorer."""
        try:
            await aside(lambda: journal.note(facts))
        except LedgerError as error:
            log.debug("%s", error)

    async def end(self, journal: Journal, how: Ending, reason: str | None = None) -> None:
        """Note how a start ended, and why if it was refused.

        That it can't be written is a warning: what it tells of is over.
        """
        self._journals.discard(journal)
        told = printable(reason, _REASON) if reason else None
        try:
            await aside(lambda: journal.end(how, told))
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
        """The ledger, tried: what is to be started must not be forgotten."""
        if self._ledger is None:
            opened = await self._found(to_read=False)
            if self._ledger is None:
                self._ledger = opened
        return self._ledger

    async def _readable(self) -> Ledger:
        """The same; before it was tried, one that makes no folder, which would only be empty."""
        if self._ledger is not None:
            return self._ledger
        if self._untried is None:
            self._untried = await self._found(to_read=True)
        return self._untried

    async def _found(self, *, to_read: bool) -> Ledger:
        # With its first use, for many a client has none.
        from ._ledgers import account_key, open_ledger

        account = account_key(self._base_url, self._client_id())
        return await aside(lambda: open_ledger(self.place, account, to_read=to_read))

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


def _refuse(journal: Journal) -> None:
    """What it tells of was given up, since it could not be noted in time."""
    with contextlib.suppress(LedgerError):
        journal.end("refused", "it could not be noted in time")


def _let_go(journal: Journal | None) -> None:
    if journal is not None:
        journal.let_go()


async def _tried(ledger: Ledger, spec: str) -> SpecLock | None:
    return await aside(lambda: ledger.try_lock(spec), _release)


def _release(lock: SpecLock | None) -> None:
    if lock is not None:
        lock.release()


async def aside(call: Callable[[], T], undo: Callable[[T], object] = lambda _: None) -> T:
    """The result of `call`, in a thread of its own: a disk that hangs must hold up nothing else, nor the exit.

    Where the interpreter's exit leaves no threads, it is called here. `undo` gets a result that came too late.

    Raises:
        LedgerError: It takes too long; it may still come true.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    thread = threading.Thread(target=_run, args=(call, loop, future), name="inferlease-ledger", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return call()
    try:
        done, _ = await asyncio.wait([future], timeout=LONGEST)
    except asyncio.CancelledError:
        _undo_late(future, undo)
        raise
    if not done:
        _undo_late(future, undo)
        raise LedgerError(f"the ledger has not answered within {LONGEST:g} s: look at the disk that it is on")
    return future.result()


def _run(call: Callable[[], T], loop: asyncio.AbstractEventLoop, future: asyncio.Future[T]) -> None:
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 (whatever it is, it is for whoever waits)
        settle = partial(future.set_exception, error)
    else:
        settle = partial(future.set_result, result)
    with contextlib.suppress(RuntimeError):  # a loop that is closed has nobody left to tell
        loop.call_soon_threadsafe(settle)


def _undo_late(future: asyncio.Future[T], undo: Callable[[T], object]) -> None:
    def late(future: asyncio.Future[T]) -> None:
        if future.exception() is None:
            threading.Thread(target=undo, args=(future.result(),), daemon=True).start()

    future.add_done_callback(late)
