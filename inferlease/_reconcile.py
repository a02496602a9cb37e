"""What became of a start whose answer was lost: looked for until an instance has had time to show."""

from __future__ import annotations

import asyncio
import logging
import time

from attrs import frozen

from . import _protocol
from ._announce import Announcer
from ._async_ledger import AsyncLedger
from ._candidates import Sighting, sight
from ._lookup import Lookup
from ._order import Claim, Order
from ._retry import Settled
from .errors import InferleaseError, LedgerError, StartOutcomeUnknownError
from .ledger import Journal
from .objects import InstanceState

__all__ = ["Reconciler"]

log = logging.getLogger("inferlease")

# Seconds from a lost answer to the first look, and at most between two.
RECONCILE_AFTER = 2.0
_LONGEST_PAUSE = 5.0
_SHORTEST_PAUSE = 0.05


@frozen(eq=False, repr=False)
class Reconciler:
    """Runs on the keeper.

    Attributes:
        patience: Seconds after the settle time within which a look has to succeed.
    """

    lookup: Lookup
    ledger: AsyncLedger
    announcer: Announcer
    patience: float

    async def resolve(
        self, order: Order, journal: Journal, settled: Settled[InstanceState], cause: InferleaseError
    ) -> tuple[Claim, InstanceState] | None:
        """Look until the settle time has passed.

        Returns:
            What was found and claimed; `None` if there is provably nothing so far, and a start may be sent again.

        Raises:
            StartOutcomeUnknownError: Neither can be proven.
        """
        intent = journal.intent
        settles_at = time.monotonic() + intent.settle_time
        pause = min(RECONCILE_AFTER, intent.settle_time)
        await asyncio.sleep(max(pause, min(_protocol.retry_after(settled.outcome) or 0.0, self.patience)))
        while True:
            is_settled = time.monotonic() >= settles_at
            try:
                seen = await sight(self.lookup, self.ledger, intent, await self.lookup.list())
                if seen.is_adoptable:
                    found = await self._adopt(journal, seen, is_settled=is_settled)
                    if found is not None:
                        return found
                elif is_settled and seen.is_nothing and order.is_wanted:
                    return None
                elif is_settled:
                    raise await self._unknown_seen(order, cause, seen)
            except StartOutcomeUnknownError:
                raise
            except InferleaseError as error:
                is_hopeless = not error._passes or time.monotonic() >= settles_at + self.patience
                if isinstance(error, LedgerError) or (is_settled and is_hopeless):
                    raise self._unknown(order, cause, f"and the instances could not be listed: {error}") from cause
            pause = min(max(pause * 1.5, _SHORTEST_PAUSE), _LONGEST_PAUSE)
            left = settles_at - time.monotonic()
            await asyncio.sleep(min(pause, left) if left > 0 else pause)

    async def _adopt(self, journal: Journal, seen: Sighting, *, is_settled: bool) -> tuple[Claim, InstanceState] | None:
        lock = await self.ledger.try_acquire(journal.intent.spec)
        if lock is None and not is_settled:
            # A start of this spec is waiting for its answer: the instance may be the one that it will name.
            return None
        try:
            for state in seen.fitting:
                if await self.ledger.claim(journal, state.instance_id, is_answered=False):
                    return Claim(journal, state.instance_id, is_answered=False), state
        finally:
            if lock is not None:
                lock.release()
        return None

    async def _unknown_seen(self, order: Order, cause: InferleaseError, seen: Sighting) -> StartOutcomeUnknownError:
        found = [
            f"{state.instance_id}{await self.announcer.cost_note(state.instance_id, state.instance_args)}"
            for state in seen.fitting
        ]
        found += [f"{name} (it can't be told; stop it with: inferlease stop {name})" for name in seen.doubtful]
        shown = f"it may be: {'; '.join(found)}" if found else "no instance of it is listed so far"
        return self._unknown(order, cause, shown, seen.fitting)

    def _unknown(
        self, order: Order, cause: InferleaseError, shown: str, candidates: tuple[InstanceState, ...] = ()
    ) -> StartOutcomeUnknownError:
        unknown = StartOutcomeUnknownError(
            f"whether {order.args.hf_name} was started is unknown ({cause}); {shown}",
            candidates=candidates,
            status=cause.status,
        )
        unknown.__cause__ = cause
        log.warning("%s", unknown)
        return unknown
