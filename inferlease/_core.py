"""The parts of one client, as its resources and leases share them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from attrs import field, frozen
from cattrs import Converter

from ._exchange import Exchange
from ._keeper import Jobs
from ._lookup import Lookup
from ._probe import Probe
from ._release import Releaser
from ._start import PendingStart, Starter
from ._transport import require_asyncio
from .pricing import PriceList

__all__ = ["Core"]

T = TypeVar("T")


@frozen(eq=False, repr=False)
class Core:
    exchange: Exchange
    converter: Converter
    lookup: Lookup
    prices: PriceList
    releaser: Releaser
    starter: Starter
    probe: Probe
    jobs: Jobs
    held: set[PendingStart] = field(factory=set[PendingStart])  # of leases that were not released

    async def leased(self) -> set[str]:
        """Ids of the instances that belong to leases; waits for the starts that are under way."""
        ids = [await start.instance_id() for start in list(self.held)]
        return {instance_id for instance_id in ids if instance_id is not None}

    async def carry(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a mutation on the keeper; a cancelled caller leaves, the mutation goes on."""
        require_asyncio()
        self.exchange.transport.require_open()
        return await self.jobs.submit(work, bound=4 * self.exchange.timeout).wait()
