"""What brings an instance up: a start that happens once and can be undone, and a restart."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
import warnings

from . import _keeper, _protocol, _requests
from ._exchange import Exchange, Look
from ._keeper import Job, Jobs
from ._lookup import Lookup
from ._protocol import REFUSALS, Action, Answer
from ._release import Releaser
from ._retry import Settled
from ._transport import require_asyncio
from .errors import (
    DecodeError,
    InferleaseError,
    NoCapacityError,
    StartOutcomeUnknownError,
    StartRefusedError,
)
from .objects import InstanceArgs, InstanceState
from .pricing import Price, PriceList

__all__ = ["PendingStart", "Starter"]

log = logging.getLogger("inferlease")

# An ambiguous start is looked for once more, this many seconds after its answer was lost.
RECONCILE_AFTER = 2.0


class _Abandoned(InferleaseError):
    """Nobody wants the start any more, and nothing has been sent."""


class Starter:
    """Starts and restarts the instances of one client."""

    def __init__(self, exchange: Exchange, lookup: Lookup, releaser: Releaser, prices: PriceList, jobs: Jobs) -> None:
        self._exchange = exchange
        self._lookup = lookup
        self._prices = prices
        self.releaser = releaser
        self.jobs = jobs

    @property
    def timeout(self) -> float:
        """Seconds that one request may take, its retries included."""
        return self._exchange.timeout

    def begin(
        self, args: InstanceArgs, *, leased: bool = False, delete: bool = False, release_timeout: float = 120.0
    ) -> PendingStart:
        """Begin a start on the keeper.

        Args:
            args: What to start.
            leased: Whether it is a lease that has to undo it.
            delete: Whether undoing the start deletes the stopped instance.
            release_timeout: Seconds that undoing it may take.
        """
        require_asyncio()
        self._exchange.transport.require_open()
        return PendingStart(self, args, leased, delete, release_timeout)

    async def restart(self, instance_id: str) -> InstanceState:
        """Restart a stopped instance: its state after that. Runs on the keeper."""
        request = _requests.restart(instance_id)
        prices = self._prices.fetch_soon()
        state = await self._exchange.change(
            request,
            lambda payload: self._lookup.decode_instance(payload, instance_id),
            Look(lambda: self._lookup.get(instance_id), _is_up),
        )
        self._log_up(state, "restarted", prices)
        return state

    async def baseline(self) -> set[str | None]:
        """Ids of all instances there are, those that can't be read too. Runs on the keeper."""
        listing = await self._lookup.list()
        return {state.instance_id for state in listing} | {bad.id for bad in listing.invalid}

    async def post(self, args: InstanceArgs, known: set[str | None]) -> InstanceState:
        """Ask for the start, once; `known` is the baseline before it. Runs on the keeper."""
        prices = self._prices.fetch_soon()
        request = _requests.start(args)
        settled = await self._exchange.settle(request, self._lookup.decode_instance)
        if settled.action is Action.DONE and settled.value is not None:
            state = settled.value
        elif settled.action is Action.SALVAGE and _requests.is_valid_id(_salvaged_id(settled)):
            state = await self._salvage(settled)
        elif settled.action in (Action.AMBIGUOUS, Action.SALVAGE):
            raise await self._unknown(args, known, settled)
        else:
            raise await self._refused(args, settled)
        self._lookup.born(state.instance_id)
        self._log_up(state, "started", prices)
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

    def _log_up(self, state: InstanceState, how: str, prices: asyncio.Task[None] | None) -> None:
        """Tell of an instance that is billed from here on, once its price is known or known to be unknown."""
        if prices is not None and not prices.done():
            prices.add_done_callback(lambda _: self._log_up(state, how, None))
            return
        log.info("instance %s %s%s", state.instance_id, how, _cost_note(state.instance_id, self.price(state)))

    async def _salvage(self, settled: Settled[InstanceState]) -> InstanceState:
        """The answer is unusable but for its id: one GET, else the decode error, which carries the id."""
        instance_id = _salvaged_id(settled)
        self._lookup.born(instance_id)
        try:
            return await self._lookup.get(instance_id)
        except InferleaseError as error:
            raise DecodeError(
                f"instance {instance_id} was started, but what the server says of it can't be read: "
                f"{settled.error}; stop it with: inferlease stop {instance_id}",
                path=getattr(settled.error, "path", ""),
                status=getattr(settled.error, "status", None),
                instance_id=instance_id,
            ) from error

    async def _refused(self, args: InstanceArgs, settled: Settled[InstanceState]) -> BaseException:
        """The error of a start that was definitely not carried out."""
        error = self._exchange.error(_requests.start(args), settled)
        outcome = settled.outcome
        if not isinstance(outcome, Answer) or outcome.status not in REFUSALS:
            return error
        status, request_id = outcome.status, getattr(error, "request_id", None)
        said = _protocol.server_message(outcome) or f"status {status}"
        refused = StartRefusedError(
            f"the start of {args.model_id} was refused: {said}", status=status, request_id=request_id
        )
        refused.__cause__ = error
        try:
            available = await self._exchange.read(_requests.LIST_AVAILABLE, self._prices.decode_types)
            wanted, compatible = await self._hardware(args)
        except InferleaseError:
            return refused
        free = {hardware.hardware_type_id for hardware in available}
        if wanted is None or wanted in free or wanted in {bad.id for bad in available.invalid}:
            return refused
        fitting = [name for name in compatible if name in free]
        shown = f"available for this model: {', '.join(fitting)}" if fitting else "nothing that fits is available"
        no_capacity = NoCapacityError(
            f"{wanted} is not available now ({said}); {shown}",
            available=available,
            compatible=fitting,
            status=status,
            request_id=request_id,
        )
        no_capacity.__cause__ = error
        return no_capacity

    async def _hardware(self, args: InstanceArgs) -> tuple[str | None, list[str]]:
        """The hardware type that the start would have had, and all that fit the model."""
        model = await self._lookup.model(args.model_id)
        return args.hardware_type_id or model.recommended_config, model.hardware_configs or []

    async def _unknown(
        self, args: InstanceArgs, known: set[str | None], settled: Settled[InstanceState]
    ) -> StartOutcomeUnknownError:
        """Look once more for what an ambiguous start may have made."""
        cause = self._exchange.error(_requests.start(args), settled)
        await asyncio.sleep(max(RECONCILE_AFTER, _protocol.retry_after(settled.outcome) or 0.0))
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
            status=getattr(cause, "status", None),
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


class PendingStart:
    """A start on the keeper. Either its caller takes the instance, or the start is undone."""

    def __init__(
        self, starter: Starter, args: InstanceArgs, leased: bool, delete: bool, release_timeout: float
    ) -> None:
        self._starter = starter
        self._args = args
        self._leased = leased
        self._delete = delete
        self._release_timeout = release_timeout
        self._began = time.monotonic()
        self._pid = os.getpid()
        self._release: Job[InstanceState | None] | None = None
        self._baseline: asyncio.Task[set[str | None]] | None = None
        self._job = starter.jobs.submit(
            self._start,
            bound=6 * starter.timeout,
            describe=lambda: f"waiting for the answer to the start of {args.model_id}",
        )
        _keeper.call_at_exit(self, self._exit)

    @property
    def is_ours(self) -> bool:
        """Whether this process began the start: a forked child owns nothing."""
        return os.getpid() == self._pid

    @property
    def is_undone(self) -> bool:
        return self._release is not None

    async def taken(self) -> InstanceState:
        """The started instance, which is the caller's from here on; a cancellation undoes the start."""
        try:
            return await self._job.wait()
        except Exception:
            raise
        except BaseException:
            self.undo()
            raise
        finally:
            _keeper.forget_at_exit(self)

    async def wait(self) -> InstanceState:
        """The started instance, which still is to be taken or undone."""
        return await self._job.wait()

    def undo(self) -> Job[InstanceState | None]:
        """Give the start up: not sent if it was not sent yet, else released once its answer is there."""
        if self._release is None:
            deadline = time.monotonic() + self._release_timeout
            self._release = self._starter.jobs.submit(
                self._undo,
                bound=7 * self._starter.timeout + self._release_timeout,
                describe=lambda: self._describe(deadline),
            )
            _keeper.forget_at_exit(self)
        return self._release

    def warn_if_forgotten(self) -> None:
        """A ResourceWarning for a lease that nobody released."""
        if self._leased and self.is_ours and not self.is_undone:
            warnings.warn(
                f"a lease of {self._args.model_id} was never released; "
                "it is when its client is closed, or when the interpreter exits",
                ResourceWarning,
                stacklevel=3,
            )

    def _exit(self) -> None:
        try:
            self.warn_if_forgotten()
        finally:
            self.undo()

    async def instance_id(self) -> str | None:
        """The id of what was started, once that is known; `None` if nothing was, or nothing is known of it."""
        if self.is_ours:
            with contextlib.suppress(InferleaseError):
                await self._job.wait()
        return self._instance_id()

    async def _start(self) -> InstanceState:
        self._baseline = asyncio.ensure_future(self._starter.baseline())
        await asyncio.wait([self._baseline])
        if self._release is not None:
            raise _Abandoned(f"the start of {self._args.model_id} was given up before it was sent: nothing was started")
        return await self._starter.post(self._args, self._baseline.result())

    async def _undo(self) -> InstanceState | None:
        if self._baseline is not None:
            # Nothing has been sent yet: there is no use in waiting for these reads.
            self._baseline.cancel()
        instance_id = await self.instance_id()
        if instance_id is None:
            return None
        try:
            state = await self._starter.releaser.release(
                instance_id, delete=self._delete, timeout=self._release_timeout
            )
        except InferleaseError as error:
            log.warning("%s", error)
            raise
        price = f", at most {price}" if (price := self._price()) is not None else ""
        log.info("instance %s stopped after %.0f s%s", instance_id, time.monotonic() - self._began, price)
        return state

    def _price(self) -> Price | None:
        return None if self._job.error() is not None else self._starter.price(self._job.result())

    def _instance_id(self) -> str | None:
        """The id that the answer to our POST carried, whether or not the rest of it was readable."""
        if not self._job.done:
            return None
        error = self._job.error()
        if error is None:
            return self._job.result().instance_id
        return error.instance_id if isinstance(error, DecodeError) else None

    def _describe(self, deadline: float) -> str:
        instance_id = self._instance_id()
        if instance_id is None:
            return f"waiting for the answer to the start of {self._args.model_id}, to stop it"
        costs = f", {price} until then" if (price := self._price()) is not None else ""
        left = max(deadline - time.monotonic(), 0)
        return (
            f"stopping {instance_id} (up to {left:.0f} s{costs}); "
            f"if this process is killed: inferlease stop {instance_id}"
        )


def fits(asked: InstanceArgs, found: InstanceArgs) -> bool:
    """Whether an instance has every argument that was asked for; what is unknown does not fit."""
    have = _requests.sent_arguments(found)
    return all(have.get(name) == value for name, value in _requests.sent_arguments(asked).items())


def _lacks_an_argument(asked: InstanceArgs, found: InstanceArgs) -> bool:
    return not _requests.sent_arguments(asked).keys() <= _requests.sent_arguments(found).keys()


def _salvaged_id(settled: Settled[InstanceState]) -> str:
    return getattr(settled.error, "instance_id", None) or ""


def _is_up(state: InstanceState) -> bool:
    return state.instance_status.status in ("pending", "running")


def _cost_note(instance_id: str, price: Price | None) -> str:
    costs = f"at most {price}" if price is not None else "price unknown"
    return f" ({costs}; stop it with: inferlease stop {instance_id})"
