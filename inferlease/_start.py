"""What brings an instance up: a start that happens once and can be undone, and a restart."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from . import _protocol, _requests
from ._exchange import Exchange, Look
from ._keeper import Jobs
from ._lookup import Lookup
from ._printing import printable
from ._protocol import REFUSALS, Action, Answer
from ._release import Releaser
from ._retry import Settled
from .errors import (
    DecodeError,
    InferleaseError,
    NoCapacityError,
    StartOutcomeUnknownError,
    StartRefusedError,
)
from .objects import InstanceArgs, InstanceState
from .pricing import Price, PriceList

__all__ = ["Starter"]

log = logging.getLogger("inferlease")

# Seconds that the log line of a start waits for the prices.
_PRICE_PATIENCE = 2.0
# An ambiguous start is looked for once more, this many seconds after its answer was lost.
RECONCILE_AFTER = 2.0


class Starter:
    """Starts and restarts the instances of one client.

    Attributes:
        claimed: Ids of what was started and is neither handed over nor released yet.
    """

    def __init__(self, exchange: Exchange, lookup: Lookup, releaser: Releaser, prices: PriceList, jobs: Jobs) -> None:
        self._exchange = exchange
        self._lookup = lookup
        self._prices = prices
        self._telling: set[asyncio.Task[None]] = set()
        self.releaser = releaser
        self.jobs = jobs
        self.claimed: set[str] = set()

    @property
    def timeout(self) -> float:
        """Seconds that one request may take, its retries included."""
        return self._exchange.timeout

    async def restart(self, instance_id: str) -> InstanceState:
        """Restart a stopped instance: its state after that. Runs on the keeper."""
        request = _requests.restart(instance_id)
        self._prices.fetch_soon()
        state = await self._exchange.change(
            request,
            lambda payload: self._lookup.decode_instance(payload, instance_id),
            Look(lambda: self._lookup.get(instance_id), _is_up),
        )
        self._log_up(state, "restarted")
        return state

    async def baseline(self) -> set[str | None]:
        """Ids of all instances there are, those that can't be read too. Runs on the keeper."""
        self._prices.fetch_soon()
        listing = await self._lookup.list()
        return {state.instance_id for state in listing} | {bad.id for bad in listing.invalid}

    async def post(
        self,
        args: InstanceArgs,
        known: set[str | None],
        *,
        is_wanted: Callable[[], bool],
        on_id: Callable[[str], None],
    ) -> InstanceState:
        """Ask for the start, once. Runs on the keeper.

        Args:
            args: What to start.
            known: The baseline before it.
            is_wanted: Asked before each attempt after the first, which follows only what was not carried out.
            on_id: Given the id of what was started as soon as the answer is there.
        """
        settled = await self._exchange.settle(_requests.start(args), self._lookup.decode_instance, is_wanted=is_wanted)
        if settled.action not in (Action.DONE, Action.SALVAGE, Action.AMBIGUOUS):
            raise await self._refused(args, settled)
        instance_id = _answered_id(settled)
        if not _requests.is_valid_id(instance_id) or instance_id in known or instance_id in self.claimed:
            # No id, or that of an instance which is provably not the one that was asked for.
            raise await self._unknown(args, known, settled)
        on_id(instance_id)
        self._lookup.born(instance_id)
        state = settled.value if settled.value is not None else await self._salvage(settled, instance_id)
        self._log_up(state, "started")
        return state

    def price(self, state: InstanceState) -> Price | None:
        """The price per hour of an instance, as far as it is known without asking."""
        return self._prices.known(state.instance_args)

    def log_change(self, state: InstanceState, what: str, seconds: float) -> None:
        """Tell that an instance is usable or has stopped."""
        price = f", at most {price}" if (price := self.price(state)) is not None else ""
        log.info("instance %s %s after %.0f s%s", state.instance_id, what, seconds, price)

    async def cost_note(self, state: InstanceState) -> str:
        """How a message tells what an instance costs and how it is stopped."""
        return _cost_note(state.instance_id, await self._prices.hourly(state.instance_args))

    def _log_up(self, state: InstanceState, how: str) -> None:
        """Tell of an instance that is billed from here on, soon with its price, else without."""
        task = asyncio.get_running_loop().create_task(self._tell_up(state, how))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell_up(self, state: InstanceState, how: str) -> None:
        reading = self._prices.fetch_soon()
        if reading is not None:
            await asyncio.wait([reading], timeout=_PRICE_PATIENCE)
        log.info("instance %s %s%s", state.instance_id, how, _cost_note(state.instance_id, self.price(state)))

    async def _salvage(self, settled: Settled[InstanceState], instance_id: str) -> InstanceState:
        """The answer is unusable but for its id: one GET, else the decode error, which carries the id."""
        try:
            return await self._lookup.get(instance_id)
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
        error = self._exchange.error(_requests.start(args), settled)
        outcome = settled.outcome
        if not isinstance(outcome, Answer) or outcome.status not in REFUSALS:
            return error
        said = _protocol.server_message(outcome) or f"status {outcome.status}"
        refused: StartRefusedError = StartRefusedError(
            f"the start of {args.model_id} was refused: {said}",
            status=outcome.status,
            request_id=error.request_id,
        )
        no_capacity = await self._no_capacity(args, said)
        if no_capacity is not None:
            no_capacity.status, no_capacity.request_id = refused.status, refused.request_id
            refused = no_capacity
        refused.__cause__ = error
        return refused

    async def _no_capacity(self, args: InstanceArgs, said: str) -> NoCapacityError | None:
        """The error of a refused start whose hardware is not available now; `None` if that is not so, or not known."""
        wanted, compatible = args.hardware_type_id, list[str]()
        with contextlib.suppress(InferleaseError):
            model = await self._lookup.model(args.model_id)
            wanted, compatible = wanted or model.recommended_config, model.hardware_configs or []
        try:
            available = await self._exchange.read(_requests.LIST_AVAILABLE, self._prices.decode_types)
        except InferleaseError:
            return None
        free = {hardware.hardware_type_id for hardware in available}
        if wanted is None or wanted in free or wanted in {bad.id for bad in available.invalid}:
            return None
        fitting = [name for name in compatible if name in free]
        shown = printable(", ".join(fitting), 300)
        return NoCapacityError(
            f"{printable(wanted, 80)} is not available now ({said}); "
            + (f"available for this model: {shown}" if fitting else "nothing that fits is available"),
            available=available,
            compatible=fitting,
        )

    async def _unknown(
        self, args: InstanceArgs, known: set[str | None], settled: Settled[InstanceState]
    ) -> StartOutcomeUnknownError:
        """Look once more for what an ambiguous start may have made."""
        cause = _doubt(settled) or self._exchange.error(_requests.start(args), settled)
        asked = _protocol.retry_after(settled.outcome) or 0.0
        await asyncio.sleep(max(RECONCILE_AFTER, min(asked, self.timeout)))
        try:
            candidates, unreadable = await self._candidates(args, known)
            found = [f"{state.instance_id}{await self.cost_note(state)}" for state in candidates]
            found += [f"{name} (unreadable; stop it with: inferlease stop {name})" for name in unreadable]
            shown = f"it may be: {'; '.join(found)}" if found else "no instance of it is listed so far"
        except InferleaseError as error:
            candidates, shown = [], f"and the instances could not be listed: {error}"
        unknown = StartOutcomeUnknownError(
            f"whether {args.model_id} was started is unknown ({cause}); {shown}",
            candidates=candidates,
            status=cause.status,
        )
        unknown.__cause__ = cause
        log.warning("%s", unknown)
        return unknown

    async def _candidates(self, args: InstanceArgs, known: set[str | None]) -> tuple[list[InstanceState], list[str]]:
        listing = await self._lookup.list()
        fitting: list[InstanceState] = []
        unreadable = [bad.id or "an id that can't be read" for bad in listing.invalid if bad.id not in known]
        for listed in listing:
            state = listed
            if state.instance_id in known or state.is_stopped:
                continue
            if _lacks_an_argument(args, state.instance_args) and _requests.is_valid_id(state.instance_id):
                try:
                    state = await self._lookup.get(state.instance_id)
                except InferleaseError:
                    unreadable.append(state.instance_id)
                    continue
            if fits(args, state.instance_args):
                fitting.append(state.snapshot())
        return fitting, unreadable


def fits(asked: InstanceArgs, found: InstanceArgs) -> bool:
    """Whether an instance has every argument that was asked for; what is unknown does not fit."""
    have = _requests.sent_arguments(found)
    return all(have.get(name) == value for name, value in _requests.sent_arguments(asked).items())


def _lacks_an_argument(asked: InstanceArgs, found: InstanceArgs) -> bool:
    return not _requests.sent_arguments(asked).keys() <= _requests.sent_arguments(found).keys()


def _answered_id(settled: Settled[InstanceState]) -> str:
    """The id that the answer to the POST carried, "" if it carried none."""
    if settled.value is not None:
        return settled.value.instance_id
    return (settled.error.instance_id if settled.error is not None else None) or ""


def _doubt(settled: Settled[InstanceState]) -> InferleaseError | None:
    if settled.value is None:
        return None
    return InferleaseError(f"the answer names instance {settled.value.instance_id}, which was there before")


def _is_up(state: InstanceState) -> bool:
    return state.instance_status.status in ("pending", "running")


def _cost_note(instance_id: str, price: Price | None) -> str:
    costs = f"at most {price}" if price is not None else "price unknown"
    return f" ({costs}; stop it with: inferlease stop {instance_id})"
