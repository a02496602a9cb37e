"""What brings an instance up: a start that happens once, and a restart."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, cast

from attrs import field, frozen

from . import _protocol, _requests
from ._announce import Announcer
from ._async_ledger import AsyncLedger
from ._candidates import Baseline, baseline
from ._capacity import Capacity, none_available
from ._exchange import Exchange, Look
from ._late import LateStarts
from ._limits import require_balance, timed
from ._lookup import Lookup
from ._order import Claim, Order
from ._protocol import REFUSALS, Action, Answer
from ._reconcile import Reconciler
from ._retry import Settled
from ._spec import resolve, spec_key
from .errors import (
    DecodeError,
    InferleaseError,
    NoCapacityError,
    NotFoundError,
    StartOutcomeUnknownError,
    StartRefusedError,
)
from .ledger import Intent, Journal
from .objects import InstanceArgs, InstanceState, ModelDetail
from .pricing import PriceList

__all__ = ["Guarding", "StartRules", "Starter"]

log = logging.getLogger("inferlease")

# How often a start is sent at most, where each before it has provably come to nothing.
POSTS = 3
# Seconds by which the list before a start may be older than the start: what others start in between looks new.
_BASELINE_AGE = 1.0
# Seconds that a start waits for others of its spec, in this process or another.
_LOCK_PATIENCE = 300.0


@frozen(eq=False, repr=False)
class StartRules:
    """How a client deals with a start whose answer was lost; the arguments of `Client`."""

    exclusive: bool | None
    settle_time: float
    late_window: float


class Guarding(Protocol):
    """What stops the starts of this process if it dies."""

    def begin(self, wanted: bool | None) -> None:
        """Get ready in the background, if that is `wanted`."""
        ...

    async def ready(self, wanted: bool | None) -> Callable[[Journal], Journal]:
        """Once it is: what has the start of a journal guarded. Raises ConfigurationError if it can't be and must."""
        ...

    async def due(self, journals: Iterable[Journal], at: float | None) -> None:
        """Have what these have started stopped from this monotonic time on, though the process lives; `None`: never."""
        ...

    def afterwards(self, journal: Journal) -> str:
        """What becomes of an instance that the process could not stop, as the end of a sentence; "" for nothing."""
        ...


@frozen(eq=False, repr=False)
class Starter:
    """Starts and restarts the instances of one client. Runs on the keeper."""

    exchange: Exchange
    lookup: Lookup
    prices: PriceList
    announcer: Announcer
    capacity: Capacity
    ledger: AsyncLedger
    reconciler: Reconciler
    late: LateStarts
    guard: Guarding
    rules: StartRules
    models: dict[str, ModelDetail] = field(factory=dict[str, ModelDetail], init=False)  # as last read, by id

    def bound(self, order: Order) -> float:
        """Seconds within which a start ends by itself."""
        refused = (len(order.choices) - 1) * 4 * self.exchange.timeout
        return refused + _LOCK_PATIENCE + POSTS * (4 * self.exchange.timeout + 2 * self.rules.settle_time)

    async def restart(self, instance_id: str) -> InstanceState:
        """Restart a stopped instance: its state after that."""
        request = _requests.restart(instance_id)
        self.prices.fetch_soon()
        state = await self.exchange.change(
            request,
            lambda payload: self.lookup.decode_instance(payload, instance_id),
            Look(lambda: self.lookup.get(instance_id), _is_up),
        )
        self.announcer.up(state, "restarted")
        return state

    async def start(self, order: Order) -> InstanceState:
        """Start what is ordered, once: its state after that, and `order.claim` says whose it is.

        Raises what `Instances.start` raises, and InferleaseError if the order is given up before it was sent.
        """
        self.guard.begin(order.guard)
        self.prices.fetch_soon()
        refusals: list[StartRefusedError] = []
        for args in order.choices:
            order.choose(args)
            try:
                return await self._start(order)
            except StartRefusedError as refusal:
                refusals.append(refusal)
                # What may have been started must not be joined by a second one on other hardware.
                if order.is_doubtful or not order.is_wanted or await self._is_about_model(order, refusal):
                    raise
                if len(refusals) < len(order.choices):
                    log.info("%s; the next hardware type is tried", refusal)
        raise _refused_everywhere(order, refusals)

    async def _is_about_model(self, order: Order, refusal: StartRefusedError) -> bool:
        """Whether a refusal would be the same on any hardware: there is no such model."""
        if refusal.status != 404 or len(order.choices) == 1:
            return False
        try:
            await order.prepare(self.lookup.model(order.args.model_id))
        except NotFoundError:
            return True
        except InferleaseError:
            pass
        return False

    async def _start(self, order: Order) -> InstanceState:
        """Start the choice that is being tried."""
        order.resolved = await order.prepare(self._resolved(order.args))
        spec = spec_key(order.resolved)
        await order.prepare(self._check_limits(order))
        for left in reversed(range(POSTS)):
            journal, settled, state = await self._post(order, spec)
            if state is None:
                state = await self._reconciled(order, journal, settled, is_last=not left)
            if state is not None:
                if order.meter is not None:
                    order.meter.learn(state.instance_args)
                self.announcer.up(state, "started")
                return state
        raise AssertionError("the last start was neither found nor told")

    async def _check_limits(self, order: Order) -> None:
        """See when the limits are reached. Raises where one can't be kept to, or is reached already."""
        limits = order.limits
        price = await self.prices.required(order.resolved) if limits.max_cost is not None else None
        order.timed = timed(limits, order.resolved, price)
        if limits.min_balance is not None:
            order.balance = await require_balance(self.lookup, limits.min_balance)

    async def _resolved(self, args: InstanceArgs) -> InstanceArgs:
        """What the server would start; what was asked for where its defaults have never been read."""
        with contextlib.suppress(InferleaseError):
            self.models[args.model_id] = await self.lookup.model(args.model_id)
        model = self.models.get(args.model_id)
        return args if model is None else resolve(args, model)

    async def _post(self, order: Order, spec: str) -> tuple[Journal, Settled[InstanceState], InstanceState | None]:
        """Ask for the start, once: what was started, `None` if that is not known."""
        lock = await order.prepare(self.ledger.acquire(spec, patience=_LOCK_PATIENCE))
        try:
            before = await order.prepare(baseline(self.lookup, self.ledger, self.rules.exclusive))
            listed = time.monotonic()
            watch = await order.prepare(self.guard.ready(order.guard))
            if time.monotonic() - listed > _BASELINE_AGE:
                before = await order.prepare(baseline(self.lookup, self.ledger, self.rules.exclusive))
            journal = await self.ledger.begin(self._intent(order, spec, before), watch)
            settled = await self._sent(order, journal)
            instance_id = _answered_id(settled)
            is_ours = (
                _requests.is_valid_id(instance_id)
                and instance_id not in before.ids
                and await self._claim(journal, instance_id)
            )
        finally:
            lock.release()
        if is_ours:
            order.claimed(Claim(journal, instance_id, is_answered=True))
            self.lookup.born(instance_id)
            return journal, settled, settled.value or await self._salvage(settled, instance_id)
        if settled.action not in (Action.DONE, Action.SALVAGE, Action.AMBIGUOUS):
            await self.ledger.end(journal, "refused", str(self.exchange.error(_requests.start(order.args), settled)))
            raise await self._refused(order.args, settled)
        return journal, settled, None

    def _intent(self, order: Order, spec: str, before: Baseline) -> Intent:
        return Intent(
            spec=spec,
            args=order.args,
            kind=order.kind,
            baseline=before.ids,
            foreign=before.foreign,
            unclaimed=before.unclaimed,
            # Whoever recovers it has not seen what this client has.
            exclusive=self.rules.exclusive if self.rules.exclusive is not None or self.ledger.is_alone else False,
            settle_time=self.rules.settle_time,
            late_window=self.rules.late_window,
            label=order.label,
            price=self.prices.known(order.resolved),
        )

    async def _sent(self, order: Order, journal: Journal) -> Settled[InstanceState]:
        try:
            await order.prepare(self.guard.ready(order.guard))  # it may have gone since
            _require_wanted(order)
            order.sent(journal, self.prices)
            if order.due is not None:
                await self.guard.due(order.journals, order.due)
                _require_wanted(order)
        except BaseException as error:
            # Of what is not ours nobody knows what it says.
            said = str(error) if isinstance(error, InferleaseError) else type(error).__name__
            await self.ledger.end(journal, "refused", said)
            raise
        request = _requests.start(order.args)
        try:
            return await self.exchange.settle(request, self.lookup.decode_instance, is_wanted=lambda: order.is_wanted)
        except BaseException:
            order.is_doubtful = True
            self.late.add(journal)
            raise

    async def _claim(self, journal: Journal, instance_id: str) -> bool:
        try:
            return await self.ledger.claim(journal, instance_id, is_answered=True)
        except Exception as error:  # noqa: BLE001 (also what a store of the user's raises)
            # It runs, and this process knows it: that is no reason to lose it.
            log.warning("instance %s was started but can't be remembered: %s", instance_id, error)
            return True

    async def _reconciled(
        self, order: Order, journal: Journal, settled: Settled[InstanceState], *, is_last: bool
    ) -> InstanceState | None:
        """What an ambiguous start has made, `None` if nothing, so that it is sent again."""
        order.is_doubtful = True
        cause = _doubt(settled) or self.exchange.error(_requests.start(order.args), settled)
        self._tell_of_looking(order, journal, cause)
        try:
            found = await self.reconciler.resolve(order, journal, settled, cause)
        except BaseException:
            self.late.add(journal)
            raise
        if found is not None:
            claim, state = found
            order.claimed(claim)
            self.lookup.born(state.instance_id)
            return state
        self.late.add(journal)
        said = f"no instance showed within {journal.intent.settle_time:g} s ({cause})"
        no_capacity = await self.capacity.lacking(order.args, said)
        if no_capacity is not None:
            raise no_capacity from cause
        if is_last or not order.is_wanted or (order.deadline is not None and time.monotonic() >= order.deadline):
            raise StartOutcomeUnknownError(
                f"whether {order.args.hf_name} was started is unknown: {said}; "
                f"one that shows up within {journal.intent.late_window:g} s is stopped",
                status=cause.status,
            ) from cause
        log.warning("%s: the start of %s is sent again", said, order.args.hf_name)
        return None

    @staticmethod
    def _tell_of_looking(order: Order, journal: Journal, cause: InferleaseError) -> None:
        with contextlib.suppress(Exception):  # a log handler that raises must not end the search
            log.warning(
                "%s; an instance of %s that this may have made is looked for, for %g s",
                cause,
                order.args.hf_name,
                journal.intent.settle_time,
            )

    async def _salvage(self, settled: Settled[InstanceState], instance_id: str) -> InstanceState:
        """The answer is unusable but for its id: one GET, else the decode error, which carries the id."""
        try:
            return await self.lookup.get(instance_id)
        except InferleaseError as error:
            raise DecodeError(
                f"instance {instance_id} was started, but what the server says of it can't be read: "
                f"{settled.error}; stop it with: inferlease stop {instance_id}",
                path=settled.error.path if isinstance(settled.error, DecodeError) else "",
                status=settled.error.status if settled.error is not None else None,
                instance_id=instance_id,
            ) from error

    async def _refused(self, args: InstanceArgs, settled: Settled[InstanceState]) -> InferleaseError:
        """The error of a start that was definitely not carried out."""
        error = self.exchange.error(_requests.start(args), settled)
        outcome = settled.outcome
        if not isinstance(outcome, Answer) or outcome.status not in REFUSALS:
            return error
        said = _protocol.server_message(outcome) or f"status {outcome.status}"
        refused: StartRefusedError = StartRefusedError(
            f"the start of {args.hf_name} was refused: {said}",
            status=outcome.status,
            request_id=error.request_id,
        )
        no_capacity = await self.capacity.lacking(args, said)
        if no_capacity is not None:
            no_capacity.status, no_capacity.request_id = refused.status, refused.request_id
            refused = no_capacity
        refused.__cause__ = error
        return refused


def _require_wanted(order: Order) -> None:
    if not order.is_wanted:
        raise order.given_up()


def _refused_everywhere(order: Order, refusals: Sequence[StartRefusedError]) -> StartRefusedError:
    """The error of a start that was refused on all the hardware that it was to be tried on."""
    last = refusals[-1]
    if len(refusals) == 1:
        return last
    if all(isinstance(refusal, NoCapacityError) for refusal in refusals):
        wanted = [args.hardware_type_id or "" for args in order.choices]
        return none_available(cast("Sequence[NoCapacityError]", refusals), wanted)
    told = "; ".join(
        f"{args.hardware_type_id}: {refusal}" for args, refusal in zip(order.choices, refusals, strict=True)
    )
    error = StartRefusedError(
        f"the start of {order.args.hf_name} was refused on each hardware type: {told}",
        status=last.status,
        request_id=last.request_id,
    )
    error.__cause__ = last
    return error


def _answered_id(settled: Settled[InstanceState]) -> str:
    """The id that the answer to the POST carried, "" if it carried none."""
    if settled.value is not None:
        return settled.value.instance_id
    return (settled.error.instance_id if settled.error is not None else None) or ""


def _doubt(settled: Settled[InstanceState]) -> InferleaseError | None:
    if settled.value is None:
        return None
    return InferleaseError(f"the answer names instance {settled.value.instance_id}, which another start has made")


def _is_up(state: InstanceState) -> bool:
    return state.instance_status.status in ("pending", "running")
