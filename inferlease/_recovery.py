"""Starts that outlived the process which began them: whose their instances are, and the end of those that are ours."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Container, Iterable, Mapping
from typing import TypeAlias

from attrs import evolve, frozen

from . import _keeper
from ._async_ledger import AsyncLedger, is_unresolved
from ._candidates import fuller_list, is_same, may_come_from, sight
from ._job import Job
from ._keeper import Jobs
from ._lookup import GRACE, Lookup
from ._orphans import Case, Orphan, Round, orphan_of, possible, unresolved
from ._release import Releaser
from .errors import InferleaseError, InvalidArgumentError, LedgerError
from .ledger import Ending, Journal, StartRecord, now
from .objects import InstanceState
from .pricing import PriceList

__all__ = ["Reaped", "Recovery"]

log = logging.getLogger("inferlease")

# Seconds that an orphan's release may take, that starts are waited for whose instance may be about to show, and
# between two looks at first and at most.
RELEASE_TIMEOUT = 120.0
LONGEST_WAIT = 120.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


@frozen
class Reaped:
    """What came of a reap.

    Attributes:
        stopped: What was ours, or named, and was seen to stop.
        left: The others, and those that were not seen to stop.
        troubles: What went wrong, one for each instance.
    """

    stopped: tuple[Orphan, ...]
    left: tuple[Orphan, ...]
    troubles: tuple[InferleaseError, ...]


Begin: TypeAlias = Callable[[Case, Journal], None]
"""Begins the release of what was taken over: at once, since nobody else can any more."""


class Recovery:
    """The orphans of one account. Runs on the keeper, but for `in_background` and `hurry`.

    Args:
        patience: Seconds that a start of the same arguments, under way elsewhere, is waited for.
    """

    def __init__(
        self,
        lookup: Lookup,
        ledger: AsyncLedger,
        releaser: Releaser,
        prices: PriceList,
        jobs: Jobs,
        *,
        patience: float,
    ) -> None:
        self._lookup = lookup
        self._ledger = ledger
        self._releaser = releaser
        self._prices = prices
        self._jobs = jobs
        self._patience = patience
        self._is_hurried = False
        self._background: Job[None] | None = None
        self._pid = os.getpid()

    @property
    def bound(self) -> float:
        """Seconds within which a reap ends by itself."""
        return LONGEST_WAIT + RELEASE_TIMEOUT + 8 * self._patience

    async def orphans(self) -> list[Orphan]:
        """What a reap would find now. What is over is noted as such. Raises InferleaseError."""
        cases = await self._look(None)
        unread = next((case.unread for case in cases if case.unread is not None), None)
        if unread is not None:
            log.warning("the account could not be read, what is listed may have stopped: %s", unread)
        return [await self._priced(case) for case in cases]

    async def reap(
        self,
        named: Iterable[str] = (),
        on_found: Callable[[Orphan], None] = lambda _: None,
        *,
        only: Container[str] | None = None,
    ) -> Reaped:
        """Stop what is ours and what is named. Raises InferleaseError if the orphans can't be told at all.

        Args:
            named: Ids of instances that are to be stopped though they are merely possible.
            on_found: Called once for each that is ours, before it is stopped.
            only: Ids of the records that are looked at; by default all.
        """
        found: dict[str, Case] = {}
        releases: dict[str, asyncio.Task[InferleaseError | None]] = {}
        troubles: list[InferleaseError] = []

        def begin(case: Case, journal: Journal) -> None:
            found[case.record.id] = case
            releases[case.record.id] = asyncio.create_task(self._stop(case, journal))
            on_found(case.orphan)

        try:
            cases = await self._settled(found, begin, only)
        except InferleaseError as error:
            if not found:
                raise
            cases = []
            troubles.append(error)
        stopped_here = {case.orphan.instance_id for case in found.values()}
        wanted = {instance_id for instance_id in named if instance_id not in stopped_here}
        for case in cases:
            instance_id = case.orphan.instance_id
            if case.orphan.verdict == "possible" and instance_id is not None and instance_id in wanted:
                found[instance_id] = case
                releases[instance_id] = asyncio.create_task(self._stop_named(case))
        refused = [await self._refusal(each) for each in sorted(wanted - found.keys())]
        failed = {key: trouble for key, task in releases.items() if (trouble := await task) is not None}
        left = [case for key, case in found.items() if key in failed]
        left += [case for case in cases if case.orphan.instance_id not in found]
        troubles += [*failed.values(), *(case.trouble for case in cases if case.trouble is not None), *refused]
        return Reaped(
            tuple([await self._priced(case) for key, case in found.items() if key not in failed]),
            tuple([await self._priced(case) for case in left]),
            tuple(troubles),
        )

    async def _settled(self, found: Mapping[str, Case], begin: Begin, only: Container[str] | None) -> list[Case]:
        """Look until another look would not tell more; what is not ours."""
        ends, pause = time.monotonic() + LONGEST_WAIT, _SHORTEST_PAUSE
        while True:
            cases = await self._look(begin, leave=found, only=only)
            left = ends - time.monotonic()
            if left <= 0 or self._is_hurried or _keeper.is_exiting() or not any(case.may_change for case in cases):
                return cases
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def in_background(self) -> None:
        """Reap once. Callable from any thread; nothing is raised, and nobody has to wait."""
        if self._background is None and os.getpid() == self._pid:
            self._background = self._jobs.submit(
                self._reap_and_tell, bound=self.bound, describe=lambda: "stopping what earlier processes have left"
            )

    def hurry(self) -> Job[None] | None:
        """Don't wait for what may show any more: the job in the background, if there is one."""
        self._is_hurried = True
        return self._background if os.getpid() == self._pid else None

    async def close_dead(self, instance_id: str, how: Ending) -> None:
        """End what a dead process had begun with an instance that is somebody's now. Raises nothing of ours."""
        try:
            for record in await self._ledger.open_records():
                if record.owner == "dead" and record.instance_id == instance_id:
                    await self._close(record, how)
        except InferleaseError as error:
            log.debug("the ledger was not asked who had %s: %s", instance_id, error)

    async def _reap_and_tell(self) -> None:
        try:
            reaped = await self.reap(on_found=lambda orphan: _tell(orphan, "it is stopped"))
        except Exception as error:  # noqa: BLE001 (nobody waits for this, and nobody is to fail by it)
            log.warning("what earlier processes have left was not looked for: %s", error)
            return
        for trouble in reaped.troubles:
            log.warning("%s", trouble)
        for orphan in reaped.left:
            if orphan.verdict == "possible":
                _tell(orphan, f"if it is yours: inferlease reap --yes {orphan.instance_id}")
            elif orphan.verdict == "unresolved":
                _tell(orphan, "look again with: inferlease reap")

    # ---- whose they are ------------------------------------------------------------------------------

    async def _look(
        self, begin: Begin | None, *, leave: Container[str] = (), only: Container[str] | None = None
    ) -> list[Case]:
        """What dead owners have left; what is ours goes to `begin`, if there is one."""
        dead = [each for each in await self._ledger.open_records() if each.owner == "dead" and each.id not in leave]
        dead = [each for each in dead if only is None or each.id in only]
        claimed = await asyncio.gather(*(self._claimed(record, begin) for record in dead if record.instance_id))
        cases = [case for case in claimed if case is not None]
        lost = [record for record in dead if not record.instance_id]
        if lost:
            # No start is over because a single list lacks what it has made.
            may_end = not all(map(is_unresolved, lost))
            seen = Round(await (fuller_list(self._lookup) if may_end else self._lookup.list()), may_end)
            # Those first that may take what fits: of the others each could only tell that it is possibly theirs.
            for record in sorted(lost, key=is_unresolved, reverse=True):
                cases += await self._lost(record, seen, begin)
        return cases

    async def _claimed(self, record: StartRecord, begin: Begin | None) -> Case | None:
        """What is known to be ours, unless it is over, may stay, or is being stopped."""
        if record.is_kept and not record.bounds.are_set:
            await self._close(record, "handed over")
            return None
        instance_id, args, unread = record.instance_id or "", record.args, None
        if record.claimed_at is not None and (now() - record.claimed_at).total_seconds() < GRACE:
            self._lookup.born(instance_id)
        try:
            state = await self._lookup.find(instance_id)
            if state is None and record.may_stay and await self._lookup.is_listed(instance_id):
                return None  # it is looked at for long: one 404 of something in between is not the end
            if state is None or state.is_stopped:
                # From its first observed stop on, whoever starts it again owns it.
                await self._close(record, "stopped")
                return None
            args = state.instance_args
            if record.may_stay and await self._leaves_enough(record):
                return None
        except InferleaseError as error:
            log.debug("looking at an orphan: %s", error)
            unread = error
            if record.may_stay:
                what = "it was to stay, and whether it still may can't be told"
                orphan = orphan_of(record, "unresolved", what, instance_id)
                return Case(orphan, record, args, trouble=error, unread=error)
        what = "the process that leased it is gone" if record.kind == "lease" else "its start never reached its caller"
        if record.is_kept:
            what = "it was to stay, and has reached a limit of its lease"
        return await self._ours(Case(orphan_of(record, "ours", what, instance_id), record, args, unread=unread), begin)

    async def _leaves_enough(self, record: StartRecord) -> bool:
        least = record.bounds.min_balance
        return least is None or (await self._lookup.balance()).current_balance >= least

    async def _ours(self, case: Case, begin: Begin | None, *, claim: str | None = None) -> Case | None:
        """Take it over, if it is to be stopped; what is left to tell."""
        if begin is None:
            return case
        try:
            journal = await self._taken_over(case.record, claim=claim)
        except LedgerError as error:
            return evolve(case, trouble=error)
        if journal is not None:
            begin(case, journal)
        return None

    async def _lost(self, record: StartRecord, seen: Round, begin: Begin | None) -> list[Case]:
        """What a start may have made whose answer nobody lived to see."""
        lock = await self._ledger.try_acquire(record.intent.spec)
        try:
            sighting = await sight(self._lookup, self._ledger, record.intent, seen.listing)
            fitting = [state for state in sighting.fitting if state.instance_id not in seen.told]
            if is_unresolved(record) and sighting.is_adoptable:
                # Beside steady starts of the same arguments there is nothing else to go by: the lock is never free.
                living = [each for each in sighting.unresolved if each.owner == "alive"]
                free = [state for state in fitting if not may_come_from(living, state)]
                if free and (lock is not None or living):
                    return await self._adopted(record, free[0], seen, begin)
            if lock is None:
                return [unresolved(record, "another start of the same arguments is just being made", self._patience)]
            if is_unresolved(record) and sighting.is_adoptable:
                if len(fitting) > await self._living_rivals(record):
                    return await self._adopted(record, fitting[0], seen, begin)
                if fitting:
                    return [unresolved(record, "a living process looks for what it has started of the same arguments")]
            elif cases := possible(record, sighting, fitting, seen):
                return cases
        finally:
            if lock is not None:
                lock.release()
        if is_unresolved(record):
            return [unresolved(record, "its answer was lost, and no instance of it has shown")]
        if sighting.has_nameless:
            return [unresolved(record, "its answer was lost, and the list has an instance that can't be read")]
        if sighting.shows_nothing and seen.may_end:
            await self._close(record, "not found")
        return []

    async def _adopted(self, record: StartRecord, state: InstanceState, seen: Round, begin: Begin | None) -> list[Case]:
        """What is provably of this ledger, and not of a living start."""
        seen.told.add(state.instance_id)
        self._lookup.born(state.instance_id)
        orphan = orphan_of(
            record, "ours", "its start's answer was lost, and nobody else starts the same", state.instance_id
        )
        case = await self._ours(Case(orphan, record, state.instance_args), begin, claim=state.instance_id)
        return [] if case is None else [case]

    async def _living_rivals(self, record: StartRecord) -> int:
        """How many living starts of the same arguments look for what they have made: that much is theirs."""
        return sum(
            other.owner == "alive" and is_same(other, record.intent) and is_unresolved(other)
            for other in await self._ledger.open_records()
        )

    async def _priced(self, case: Case) -> Orphan:
        """With its price: last, since that may take a while."""
        if case.unread is not None:  # a server that does not answer is not waited for once more
            return evolve(case.orphan, price=case.record.facts.price or case.record.intent.price)
        is_known = case.orphan.instance_id is not None
        return evolve(case.orphan, price=await self._prices.hourly(case.args)) if is_known else case.orphan

    # ---- their end -----------------------------------------------------------------------------------

    async def _taken_over(self, record: StartRecord, *, claim: str | None = None) -> Journal | None:
        """The journal of a dead owner, `None` if somebody else has it, or has claimed the instance."""
        journal = await self._ledger.take_over(record)
        if journal is None or claim is None:
            return journal
        try:
            if await self._ledger.claim(journal, claim, is_answered=False):
                return journal
        except LedgerError as error:
            log.debug("an orphan was not claimed: %s", error)
        self._ledger.drop(journal)
        return None

    async def _close(self, record: StartRecord, how: Ending) -> None:
        """Note how it ended; that it can't be noted is no reason to fail."""
        try:
            journal = await self._ledger.take_over(record)
        except LedgerError as error:
            log.debug("the end of a start was not noted: %s", error)
            return
        if journal is not None:
            await self._ledger.end(journal, how)

    async def _stop(self, case: Case, journal: Journal) -> InferleaseError | None:
        """Stop what was taken over; what went wrong, if anything did."""
        instance_id, is_over = case.orphan.instance_id or "", False
        delete = case.record.is_answered and case.record.kind == "lease" and not case.record.is_kept
        try:
            await self._releaser.release(instance_id, delete=delete, timeout=RELEASE_TIMEOUT)
            is_over = True
        except InferleaseError as error:
            return error
        finally:
            if is_over:
                await self._ledger.end(journal, "stopped")
            else:
                self._ledger.drop(journal)
        log.info("instance %s stopped: %s", instance_id, case.orphan.reason)
        return None

    async def _stop_named(self, case: Case) -> InferleaseError | None:
        """Stop what somebody has said is theirs: by that it is the one that the start has made."""
        instance_id = case.orphan.instance_id or ""
        try:
            journal = await self._taken_over(case.record, claim=instance_id)
            if journal is not None:
                return await self._stop(case, journal)
            if await self._ledger.known([instance_id]):
                return _refused(instance_id, "another start has claimed it meanwhile")
            await self._releaser.release(instance_id, delete=False, timeout=RELEASE_TIMEOUT)
        except InferleaseError as error:
            return error
        return None

    async def _refusal(self, instance_id: str) -> InferleaseError:
        """Why an instance that was named is not stopped."""
        for record in await self._ledger.open_records():
            if record.instance_id == instance_id:
                whose = "a living process has it" if record.owner == "alive" else "another process is stopping it"
                if record.owner == "dead" and record.may_stay:
                    whose = "it is to stay up to a limit of its lease"
                return _refused(instance_id, whose)
        if await self._ledger.known([instance_id]):
            return _refused(instance_id, "its lease has ended: whoever started it since owns it")
        return _refused(instance_id, "the ledger does not know it")


def _refused(instance_id: str, why: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{instance_id} is not reaped: {why}; to stop it all the same: inferlease stop {instance_id}",
        instance_id=instance_id,
    )


def _tell(orphan: Orphan, what: str) -> None:
    name = f"instance {orphan.instance_id} of " if orphan.instance_id is not None else "a start of "
    price = f", at most {orphan.price}" if orphan.price is not None else ""
    log.warning("%s%s%s: %s; %s", name, orphan.args.hf_name, price, orphan.reason, what)
