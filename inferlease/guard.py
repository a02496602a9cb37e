"""The guard: one small process beside this one that stops what this one has left, should it be killed.

`_guard_process` starts it, `_guarded` tells it what is open, and `_guardian` is what runs there. All of it is loaded
with the first start.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from ._async_ledger import AsyncLedger, aside
from ._exchange import Exchange
from .errors import GUARD_GOES_ON, ConfigurationError, LedgerError
from .ledger import Journal

if TYPE_CHECKING:
    from ._guarded import GuardedJournal

__all__ = ["Guard", "require_possible"]


class Guard:
    """The guard, as one client uses it. Runs on the keeper."""

    def __init__(self, exchange: Exchange, ledger: AsyncLedger) -> None:
        self._exchange = exchange
        self._ledger = ledger
        ledger.rewatch = _guarded_again

    def begin(self, wanted: bool | None) -> None:
        """Have the guard start beside what else prepares a start."""
        if not _is_on(wanted):
            return
        from ._guard_process import lacks, side

        if lacks() is None:
            side().begin()

    async def ready(self, wanted: bool | None) -> Callable[[Journal], Journal]:
        """Wait for the guard: what has a journal guarded. Raises ConfigurationError if it is refused."""
        if not _is_on(wanted):
            return _unguarded
        from ._guard_process import lacks, side, warn_unguarded

        trouble = lacks() or await side().ready()
        if trouble is None:
            return self._guarded
        if wanted:
            raise _refusal(trouble)
        warn_unguarded(trouble)
        # It may come up late, or the next one may.
        return self._guarded if lacks() is None else _unguarded

    async def due(self, journals: Iterable[Journal], at: float | None) -> None:
        """Have what these have started stopped from this monotonic time on, though this process lives; `None`: never.

        That it can't be told is no reason to fail: it only matters if this process stands still.
        """
        from ._guard_process import side

        with contextlib.suppress(LedgerError):
            for journal in journals:
                await aside(partial(side().due, journal.intent.journal, at))

    def afterwards(self, journal: Journal) -> str:
        """What becomes of an instance that this process could not stop, as the end of a sentence; "" for nothing."""
        from ._guard_process import side

        return GUARD_GOES_ON if side().is_watching(journal.intent.journal) else ""

    def _guarded(self, journal: Journal) -> GuardedJournal:
        from ._guarded import guarded

        return guarded(journal, self._exchange, self._ledger)


def require_possible() -> None:
    """Raises ConfigurationError where the platform lacks what a guard takes."""
    from ._guard_process import lacks

    if trouble := lacks():
        raise _refusal(trouble)


def _refusal(trouble: str) -> ConfigurationError:
    return ConfigurationError(f"there can be no guard: {trouble}; nothing was started")


def _is_on(wanted: bool | None) -> bool:
    return os.environ.get("INFERLEASE_GUARD") != "0" if wanted is None else wanted


def _guarded_again(journal: Journal) -> Journal:
    """What this process had let go of, and has taken over: its guard hears of the rest too."""
    from ._guard_process import side

    is_carried = side().is_carried(journal.intent.journal)
    if is_carried is None:
        return journal
    from ._guarded import GuardedJournal

    return GuardedJournal(journal, is_carried=is_carried)


def _unguarded(journal: Journal) -> Journal:
    return journal
