"""What somebody wants to have started, for as long as they want it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

from attrs import frozen

from . import _keeper
from ._cost import Meter
from ._limits import Limits, TimedLimit
from .errors import InferleaseError
from .ledger import Journal
from .money import Price
from .objects import InstanceArgs
from .pricing import PriceList

__all__ = ["Claim", "Order", "undoing", "undone"]

T = TypeVar("T")

NO_LIMITS = Limits()


@frozen(eq=False, repr=False)
class Claim:
    """An instance that is provably what was ordered.

    Attributes:
        journal: Of the POST that started it.
        instance_id: Its id.
        is_answered: Whether an answer to the POST itself carried the id.
    """

    journal: Journal
    instance_id: str
    is_answered: bool


class Order:
    """One instance that is to be started, and what came of it.

    Args:
        choices: What to start; each but the first only if the one before was refused.
        kind: Whether a lease will own it.
        label: For whoever pays.
        limits: Of the lease.
        deadline: Monotonic time after which nothing is sent again; `None` for none.
        guard: Whether it must be guarded, or must not; `None` where it can be.
        on_claim: Called once it is known what was started.
        on_sent: Called just before it is sent, with what counts its cost from there on.

    Attributes:
        args: The choice that is being tried.
        claim: What was started, as soon as that is known.
        resolved: The same, with the server's defaults as far as they are known.
        timed: The limits that are reached after some time, the first one first.
        balance: What was on the account before the start, if `limits` has a say in it.
        journals: Of all that was sent for it.
        meter: Counts the cost of what was sent, from the first time on that it may have been carried out.
        is_doubtful: Whether any start that was sent may have been carried out although no answer says so.
    """

    def __init__(
        self,
        choices: tuple[InstanceArgs, ...],
        kind: Literal["lease", "start"],
        *,
        label: str | None = None,
        limits: Limits = NO_LIMITS,
        deadline: float | None = None,
        guard: bool | None = None,
        on_claim: Callable[[Claim], None],
        on_sent: Callable[[Meter], None],
    ) -> None:
        self.choices: tuple[InstanceArgs, ...] = choices
        self.args: InstanceArgs = choices[0]
        self.kind: Literal["lease", "start"] = kind
        self.label: str | None = label
        self.limits: Limits = limits
        self.timed: tuple[TimedLimit, ...] = ()
        self.balance: float | None = None
        self.deadline: float | None = deadline
        self.guard: bool | None = guard
        self.claim: Claim | None = None
        self.is_doubtful = False
        self.resolved: InstanceArgs = self.args
        self.journals: list[Journal] = []
        self.meter: Meter | None = None
        self._on_claim = on_claim
        self._on_sent = on_sent
        self._given_up = False
        self._preparing: asyncio.Task[Any] | None = None

    def choose(self, args: InstanceArgs) -> None:
        """This is tried now; whatever was tried before was refused."""
        self.args = self.resolved = args
        self.meter = None

    @property
    def due(self) -> float | None:
        """Monotonic time at which the first of its timed limits is reached, once it was sent."""
        return self.meter.began + self.timed[0].seconds if self.meter is not None and self.timed else None

    def sent(self, journal: Journal, prices: PriceList) -> None:
        """It is about to be sent. What is sent again counts from the first time on."""
        self.journals.append(journal)
        if self.meter is None:
            self.meter = Meter(prices, self.resolved)
            self._on_sent(self.meter)

    def claimed(self, claim: Claim) -> None:
        """This is what was started."""
        self.claim = claim
        self._on_claim(claim)

    @property
    def is_given_up(self) -> bool:
        return self._given_up

    @property
    def is_wanted(self) -> bool:
        """Whether it may be sent: also one that was begun just before an exit, which has not seen it, is not."""
        return not self._given_up and not _keeper.is_exiting()

    def give_up(self) -> None:
        """Nothing is sent for it from here on. Callable from any thread."""
        self._given_up = True

    def abandon(self) -> None:
        """Give it up, and don't wait for what only prepares it. Runs on the keeper."""
        self.give_up()
        if self._preparing is not None:
            self._preparing.cancel()

    async def prepare(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of work that changes nothing; raises InferleaseError once the order is given up."""
        self._preparing = task = asyncio.ensure_future(work)
        if self._given_up:
            task.cancel()
        await asyncio.wait([task])
        self._preparing = None
        if task.cancelled():
            raise self.given_up()
        return task.result()

    def given_up(self) -> InferleaseError:
        """The error of an order that was given up before it was sent."""
        return InferleaseError(f"the start of {self.args.hf_name} was given up before it was sent: nothing was started")


def undoing(order: Order, seconds: float, price: Price | None) -> str:
    """What is told while an order is undone; `seconds` are left for the stop of what was started."""
    if order.claim is None:
        return f"waiting for the answer to the start of {order.args.hf_name}, to stop it"
    instance_id = order.claim.instance_id
    costs = f", {price} until then" if price is not None else ""
    return (
        f"stopping {instance_id} (up to {seconds:.0f} s{costs}); "
        f"if this process is killed: inferlease stop {instance_id}"
    )


def undone(order: Order) -> str:
    """What is told then."""
    if order.claim is None:
        return f"of {order.args.hf_name} nothing was started"
    return f"instance {order.claim.instance_id} is stopped"
