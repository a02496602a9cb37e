"""The parts of one client, as its resources and leases share them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import field, frozen
from cattrs import Converter

from . import _keeper
from ._announce import Announcer
from ._async_ledger import AsyncLedger, is_unresolved
from ._capacity import Capacity
from ._capacity_wait import CapacityWait
from ._cost import Meter
from ._exchange import Exchange
from ._job import Job
from ._keeper import Jobs
from ._late import LateStarts
from ._limits import Limits
from ._lookup import Lookup
from ._openai import OpenAIClients
from ._order import NO_LIMITS
from ._pending import PendingStart
from ._probe import Probe
from ._release import Releaser
from ._spec import may_fit
from ._start import Starter
from ._transport import require_asyncio
from .errors import ConfigurationError, NoCapacityError
from .objects import InstanceArgs, InstanceState
from .pricing import PriceList

if TYPE_CHECKING:
    from ._recovery import Recovery

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
    announcer: Announcer
    capacity: Capacity
    ledger: AsyncLedger
    late: LateStarts
    reaps: bool  # what killed processes have left, once, in the background
    probe: Probe
    openai: OpenAIClients
    jobs: Jobs
    held: set[PendingStart] = field(factory=set[PendingStart])  # neither handed over nor undone

    @cached_property
    def recovery(self) -> Recovery:
        """Of what killed processes have left; most clients never need it, and it is loaded with its first use."""
        from ._recovery import Recovery

        return Recovery(self.lookup, self.ledger, self.releaser, self.prices, self.jobs, patience=self.exchange.timeout)

    def reap_in_background(self) -> None:
        """Stop what is ours of it, once, if this client is to."""
        if self.reaps:
            self.recovery.in_background()

    def begin(
        self,
        choices: tuple[InstanceArgs, ...],
        *,
        is_lease: bool = False,
        delete: bool = False,
        release_timeout: float = 120.0,
        timeout: float | None = None,
        guard: bool | None = None,
        label: str | None = None,
        limits: Limits = NO_LIMITS,
        on_limit: Callable[[], object] = lambda: None,
    ) -> PendingStart:
        """Begin a start on the keeper; the arguments are those of `PendingStart`.

        Raises ConfigurationError where there are no credentials, or nothing may be started any more.
        """
        require_asyncio()
        self.exchange.transport.require_open()
        self.exchange.account()
        if _keeper.is_exiting():
            raise ConfigurationError("the process is ending: nothing is started any more")
        self.reap_in_background()
        start = PendingStart(
            self.starter,
            self.releaser,
            self.jobs,
            choices,
            is_lease=is_lease,
            delete=delete,
            release_timeout=release_timeout,
            timeout=timeout,
            guard=guard,
            label=label,
            limits=limits,
            on_limit=on_limit,
        )
        self.held.add(start)
        start.begin()
        return start

    async def take(self, choices: tuple[InstanceArgs, ...], *, wait_for_capacity: float | None = None) -> PendingStart:
        """Start an instance that is the caller's once this returns; where it is to wait, once there is hardware.

        Returns the start, whose `state` is that of the instance.
        """
        require_asyncio()
        wait = None if wait_for_capacity is None else CapacityWait(self.capacity, choices, wait_for_capacity)
        while True:
            start = self.begin(choices if wait is None else await wait.available())
            try:
                await start.taken()
            except NoCapacityError as refusal:
                if wait is None or start.is_doubtful:
                    raise
                wait.lost(refusal)
            else:
                _keeper.call_unless_delivered(start.undo)
                return start
            finally:
                self.held.discard(start)

    def undo(self, start: PendingStart, *, even_kept: bool = False) -> Job[InstanceState | None]:
        """Undo a start that is held; `even_kept` as in `PendingStart.undo`."""
        release = start.undo(even_kept=even_kept)
        release.add_done_callback(lambda: self.held.discard(start))
        return release

    async def leased(self, states: Sequence[InstanceState]) -> set[str]:
        """Ids of those instances that belong to leases, or may; waits for the starts that are under way here."""
        ids = [await start.instance_id() for start in list(self.held) if start.is_lease]
        leased = {instance_id for instance_id in ids if instance_id is not None}
        for record in await self.jobs.submit(self.ledger.open_records, bound=self.exchange.timeout).wait():
            # Also what a living start has made and not handed over: its caller may yet be cancelled.
            if record.instance_id is not None and (record.intent.kind == "lease" or record.owner == "alive"):
                leased.add(record.instance_id)
            elif is_unresolved(record):
                leased |= {
                    state.instance_id
                    for state in states
                    if state.instance_id not in record.intent.baseline - record.intent.unclaimed
                    and may_fit(record.intent.args, state.instance_args)
                }
        return leased

    async def carry(self, what: str, work: Callable[[], Coroutine[Any, Any, T]], *, bound: float | None = None) -> T:
        """Run a mutation on the keeper; a cancelled caller leaves, the mutation goes on.

        Args:
            what: The mutation in words, for whoever has to wait for it at exit.
            work: Makes the coroutine.
            bound: Seconds within which it ends by itself; by default what a request takes.
        """
        require_asyncio()
        self.exchange.transport.require_open()
        bound = 4 * self.exchange.timeout if bound is None else bound
        job = self.jobs.submit(
            work,
            bound=bound,
            describe=lambda: f"waiting for {what}",
            conclude=lambda error: "" if error is None else f"{what}: {error}",
        )
        return await job.wait()

    async def restart(self, instance_id: str) -> tuple[InstanceState, Meter]:
        """Restart a stopped instance: its state after that, and what counts its cost from here on."""
        meter = Meter(self.prices, InstanceArgs(model_id=""))
        state = await self.carry(f"the restart of {instance_id}", lambda: self._restarted(instance_id))
        self.lookup.poller().outdate(instance_id)
        meter.learn(state.instance_args)
        return state, meter

    async def _restarted(self, instance_id: str) -> InstanceState:
        state = await self.starter.restart(instance_id)
        # What a dead process had leased ended with its stop: from here on it is the caller's.
        await self.recovery.close_dead(instance_id, "stopped")
        return state
