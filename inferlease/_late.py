"""Starts whose answer was lost and whose instance did not show in time: looked for until their window is over."""

from __future__ import annotations

import asyncio
import logging
import os
import time

from attrs import define

from ._announce import Announcer
from ._async_ledger import AsyncLedger
from ._candidates import fuller_list, may_come_from, sight
from ._convert import Listing
from ._keeper import Jobs, loop
from ._lookup import Lookup
from ._release import Releaser
from .errors import InferleaseError
from .ledger import Journal, StartRecord, now
from .objects import InstanceState

__all__ = ["LateStarts"]

log = logging.getLogger("inferlease")

# Seconds between two looks. What shows up is to be stopped within a minute.
LOOK_EVERY = 20.0
_LEAST_PAUSE = 1.0
# Seconds within which a start is answered, or is known to be lost.
_ANSWER_TIME = 60.0
# Seconds that stopping it may take.
_RELEASE_TIMEOUT = 120.0


@define(eq=False, repr=False)
class _Unresolved:
    journal: Journal
    until: float  # monotonic
    told: set[str]
    is_nothing_there: bool = False  # as the last look has shown


class LateStarts:
    """The unresolved starts of one client. Runs on the keeper.

    What turns up is stopped, if it is provably of this ledger; else it is told, and left.
    """

    def __init__(
        self, lookup: Lookup, ledger: AsyncLedger, releaser: Releaser, announcer: Announcer, jobs: Jobs
    ) -> None:
        self._lookup = lookup
        self._ledger = ledger
        self._releaser = releaser
        self._announcer = announcer
        self._jobs = jobs
        self._unresolved: list[_Unresolved] = []
        self._task: asyncio.Task[None] | None = None
        self._showed: asyncio.Event | None = None
        self._looked_at: set[str] = set()
        self._pid = os.getpid()
        lookup.on_list = self._listed

    def add(self, journal: Journal) -> None:
        """Look for what this start may have made."""
        self._disinherit()
        until = time.monotonic() + journal.intent.late_window
        self._unresolved.append(_Unresolved(journal, until, set()))
        if self._task is None or self._task.done():
            self._showed = showed = asyncio.Event()
            self._task = asyncio.get_running_loop().create_task(self._run(showed))

    def remove(self, journal: Journal) -> None:
        """It is known now what this start has made."""
        self._unresolved = [start for start in self._unresolved if start.journal is not journal]

    @property
    def has_unresolved(self) -> bool:
        return bool(self._unresolved)

    async def look(self) -> None:
        """Look once for all of them, if there are any. Raises nothing of ours."""
        self._disinherit()
        if not self._unresolved:
            return
        for start in self._unresolved:
            start.is_nothing_there = False
        began = time.monotonic()
        try:
            is_last = any(began >= start.until for start in self._unresolved)
            listing = await (fuller_list(self._lookup) if is_last else self._lookup.list())
            skipped = [start for start in list(self._unresolved) if not await self._look_for(start, listing)]
        except InferleaseError as error:
            log.debug("looking for late starts: %s", error)
        else:
            if not skipped:
                self._looked_at = {state.instance_id for state in listing}
        for start in list(self._unresolved):
            if began >= start.until:
                self.remove(start.journal)
                if start.is_nothing_there:
                    await self._ledger.end(start.journal, "not found")
                else:
                    # Whatever it is, `reap` still tells of it.
                    self._ledger.drop(start.journal)

    def abandon(self) -> int:
        """Look no more: how many are unresolved still. Others may recover them from the ledger."""
        self._disinherit()
        if self._task is not None:
            self._task.cancel()
        left, self._unresolved = len(self._unresolved), []
        return left

    def _disinherit(self) -> None:
        """In a forked child: what the parent began is none of ours."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._unresolved, self._task, self._showed = [], None, None

    async def _run(self, showed: asyncio.Event) -> None:
        while self._unresolved:
            first = min(start.until for start in self._unresolved)
            await _woken(showed, min(LOOK_EVERY, max(first - time.monotonic(), 0.0)))
            showed.clear()
            # A job: what it has claimed is to be stopped, even if the client is closed meanwhile.
            await self._jobs.submit(self.look, bound=_RELEASE_TIMEOUT).wait()
            await asyncio.sleep(_LEAST_PAUSE)

    def _listed(self, listing: Listing[InstanceState]) -> None:
        """See whether a list that somebody reads, on any thread, has what was not looked at yet."""
        unresolved, showed, looked_at = self._unresolved, self._showed, self._looked_at
        if showed is None or not unresolved:
            return
        if any(not state.is_stopped and state.instance_id not in looked_at for state in listing):
            loop().call_soon_threadsafe(showed.set)

    async def _look_for(self, start: _Unresolved, listing: Listing[InstanceState]) -> bool:
        """Claim and stop what this start has made. `False` if what is new may yet be somebody else's to claim."""
        seen = await sight(self._lookup, self._ledger, start.journal.intent, listing)
        start.is_nothing_there = seen.shows_nothing
        if not seen.is_adoptable:
            for state in seen.fitting:
                await self._tell(start, state)
            return True
        late = {other.journal.intent.journal for other in self._unresolved}
        rivals = [record for record in seen.unresolved if record.intent.journal not in late and _is_under_way(record)]
        free = [state for state in seen.fitting if not may_come_from(rivals, state)]
        for state in free:
            if await self._ledger.claim(start.journal, state.instance_id, is_answered=False):
                self.remove(start.journal)
                self._stop(start.journal, state)
                return True
        return len(free) == len(seen.fitting)

    async def _tell(self, start: _Unresolved, state: InstanceState) -> None:
        if state.instance_id in start.told:
            return
        start.told.add(state.instance_id)
        model = start.journal.intent.args.hf_name
        note = await self._announcer.cost_note(state.instance_id, state.instance_args)
        log.warning(
            "a start of %s whose answer was lost may have made instance %s%s; it is left as it is",
            model,
            state.instance_id,
            note,
        )

    def _stop(self, journal: Journal, state: InstanceState) -> None:
        instance_id = state.instance_id
        self._lookup.born(instance_id)
        self._jobs.submit(
            lambda: self._stopped(journal, instance_id),
            bound=_RELEASE_TIMEOUT,
            describe=lambda: f"stopping {instance_id}; if this process is killed: inferlease stop {instance_id}",
        )
        log.warning(
            "instance %s of %s showed up late, after its start was given up: it is stopped",
            instance_id,
            journal.intent.args.hf_name,
        )

    async def _stopped(self, journal: Journal, instance_id: str) -> None:
        try:
            await self._releaser.release(instance_id, delete=False, timeout=_RELEASE_TIMEOUT)
        except InferleaseError as error:
            log.warning("%s", error)
            return
        await self._ledger.end(journal, "stopped")


def _is_under_way(record: StartRecord) -> bool:
    """Whether its owner may still wait for the answer, or look for what it has made."""
    age = (now() - record.intent.at).total_seconds()
    return record.owner == "alive" and age < record.intent.settle_time + _ANSWER_TIME


async def _woken(event: asyncio.Event, timeout: float) -> None:
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        pass
