"""One start on the keeper: its caller takes the instance, or the start is undone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from . import _keeper, _sigterm
from ._cost import Meter, tell_every_hour
from ._job import Job
from ._keeper import Jobs
from ._limits import Limits, enforce, exceeded, watch_balance
from ._order import NO_LIMITS, Claim, Order, undoing, undone
from ._release import Releaser
from ._requests import MAX_SECONDS
from ._start import Starter
from .errors import InferleaseError, LeaseLimitError, LedgerError, StartOutcomeUnknownError
from .ledger import Bounds, Ending, now
from .money import Price, Receipt
from .objects import InstanceArgs, InstanceState

__all__ = ["PendingStart"]

log = logging.getLogger("inferlease")

# Seconds that a line in the ledger may take.
_WRITING = 30.0


class PendingStart:
    """A start on the keeper, once `begin` was called. Either its caller takes the instance, or the start is undone.

    Args:
        starter: Of the client.
        releaser: Of the client.
        jobs: Of the client.
        choices: What to start, in the order of preference.
        is_lease: Whether it has to be undone sooner or later.
        delete: Whether undoing it deletes the stopped instance.
        release_timeout: Seconds that undoing it may take, from the answer on.
        timeout: Seconds after which it is not sent again.
        guard: Whether it must be guarded, or must not; `None` where it can be.
        label: For whoever pays.
        limits: What a lease may cost and take: once one is reached, the start is undone.
        on_limit: Called on the keeper then.

    Attributes:
        limit: The limit that was reached, if one was.
    """

    def __init__(
        self,
        starter: Starter,
        releaser: Releaser,
        jobs: Jobs,
        choices: tuple[InstanceArgs, ...],
        *,
        is_lease: bool,
        delete: bool,
        release_timeout: float,
        timeout: float | None,
        guard: bool | None,
        label: str | None = None,
        limits: Limits = NO_LIMITS,
        on_limit: Callable[[], object] = lambda: None,
    ) -> None:
        self.is_lease = is_lease
        self.limit: LeaseLimitError | None = None
        self._on_limit = on_limit
        self._starter = starter
        self._releaser = releaser
        self._jobs = jobs
        self._delete = delete
        self._release_timeout = release_timeout
        self._release_deadline: float | None = None
        self._began = time.monotonic()
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._is_kept = False
        self._may_be_noted_kept = False
        self._noting_kept = asyncio.Lock()
        self._is_handed_over = False
        self._was_stopped = False
        self._release: Job[InstanceState | None] | None = None
        self._watching: set[asyncio.Task[None]] = set()
        self._order = Order(
            choices,
            "lease" if is_lease else "start",
            label=label,
            limits=limits,
            deadline=None if timeout is None else self._began + timeout,
            guard=guard,
            on_claim=self._claimed,
            on_sent=self._sent,
        )
        self._job: Job[InstanceState] = Job(
            lambda: starter.start(self._order),
            bound=starter.bound(self._order),
            describe=None,  # whoever has to wait for it has given it up, and that tells
        )

    def begin(self) -> None:
        """Begin it. A signal may come between any two lines: whoever has to undo it knows of it before this."""
        _keeper.call_at_exit(self, self._exit)
        self._jobs.begin(self._job)

    @property
    def is_ours(self) -> bool:
        """Whether this process began the start: a forked child owns nothing."""
        return os.getpid() == self._pid

    @property
    def is_handed_over(self) -> bool:
        """Whether it is its caller's now, who alone may still undo it."""
        return self._is_handed_over

    @property
    def is_doubtful(self) -> bool:
        """Whether something may have been started although the start has failed."""
        return self._order.is_doubtful

    @property
    def is_over(self) -> bool:
        """Whether it is undone: stopped, or given up before it was sent, or its release has failed."""
        return self._release is not None and self._release.done

    @property
    def meter(self) -> Meter | None:
        """Counts its cost, once it was sent."""
        return self._order.meter

    def receipt(self) -> Receipt | None:
        """What it came to, once it is undone; `None` if nothing was started, as far as is known."""
        claim, meter = self._order.claim, self._order.meter
        return meter.receipt(claim.instance_id, self._order.label) if claim and meter and self.is_over else None

    def _sent(self, meter: Meter) -> None:
        """It is billed from here on, as far as anybody knows. Runs on the keeper."""
        self._unwatch()
        order, limits = self._order, self._order.limits
        if not self.is_lease:
            return
        if not limits.are_set:
            self._watch(tell_every_hour(meter, lambda: self._name()[0]))
        if order.timed:
            self._watch(enforce(order.timed, meter, self._name, self._reached))
        if limits.min_balance is not None and order.balance is not None:
            self._watch(
                watch_balance(self._starter.lookup, limits.min_balance, order.balance, self._name, self._reached)
            )

    def _reached(self, limit: LeaseLimitError) -> None:
        """A limit is reached: it is stopped, whatever its user does."""
        with self._lock:
            if self._release is not None:
                return  # it ends anyway
            self.limit = limit
        self.undo(even_kept=True)
        self._on_limit()
        # Last: a log handler of the user's may raise.
        log.warning("%s", limit)

    def reached_limit(self) -> LeaseLimitError | None:
        """The limit that was reached, if one was. Callable from any thread.

        After a suspension its time may have passed before the keeper gets round to it; the guard has then.
        """
        order, meter = self._order, self._order.meter
        if self.limit is None and meter is not None and order.timed and meter.seconds >= order.timed[0].seconds:
            self._reached(exceeded(order.timed[0], meter, self._name))
        return self.limit

    def _watch(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    def _unwatch(self) -> None:
        for task in list(self._watching):
            task.cancel()

    def _name(self) -> tuple[str, str | None]:
        """What it is about: in words, and by its id."""
        claim = self._order.claim
        if claim is None:
            return f"a lease of {self._order.args.hf_name}", None
        return f"instance {claim.instance_id}", claim.instance_id

    def note_usable(self) -> None:
        """Have the ledger remember what is known by now."""
        self._jobs.submit(self._note, bound=_WRITING)

    async def _note(self) -> None:
        claim, meter = self._order.claim, self._order.meter
        if claim is not None and meter is not None:
            await self._starter.ledger.note(claim.journal, meter.facts())

    def _claimed(self, claim: Claim) -> None:
        self._starter.lookup.own(claim.instance_id, self._seen_stopped)

    def _seen_stopped(self) -> None:
        """Its first stop ends the lease of an instance: whoever starts it again owns that."""
        claim, self._was_stopped = self._order.claim, True
        self._meter_stop()
        if claim is not None and self.is_ours:
            self._jobs.submit(lambda: self._stopped(claim), bound=_WRITING)

    async def _stopped(self, claim: Claim) -> None:
        self.reached_limit()  # if the guard has stopped it, this process may not have got round to that yet
        self._unwatch()
        await self._end(claim, "stopped")

    async def _end(self, claim: Claim, how: Ending) -> None:
        await self._note()
        await self._starter.ledger.end(claim.journal, how)

    def _meter_stop(self) -> None:
        if self._order.meter is not None:
            self._order.meter.stop()

    async def taken(self) -> InstanceState:
        """The started instance, which is the caller's from here on; a cancellation undoes the start."""
        try:
            state = await self._job.wait()
            await self._jobs.submit(self._hand_over, bound=_WRITING).wait()
        except InferleaseError:
            raise
        except BaseException:
            if self.is_ours:
                self.undo()
            raise
        finally:
            _keeper.forget_at_exit(self)
        return state

    @property
    def state(self) -> InstanceState:
        """The started instance, once it is known."""
        return self._job.result()

    async def wait(self) -> InstanceState:
        """The started instance, which still is to be undone."""
        return await self._job.wait()

    async def instance_id(self) -> str | None:
        """The id of what was started, once that is known; `None` if nothing was, or nothing is known of it."""
        if self.is_ours:
            await self._job.ended()
        return self._order.claim.instance_id if self._order.claim is not None else None

    async def keep(self) -> None:
        """From here on undoing it leaves the instance to the user."""
        order = self._order
        left = None if order.due is None else timedelta(seconds=min(order.due - time.monotonic(), MAX_SECONDS))
        bounds = Bounds(None if left is None else now() + left, order.limits.min_balance)
        self._may_be_noted_kept = True
        await self._jobs.submit(lambda: self._note_kept(bounds), bound=_WRITING).wait()
        with self._lock:
            self._is_kept = self._release is None

    async def _note_kept(self, bounds: Bounds) -> None:
        claim = self._order.claim
        if claim is not None:
            async with self._noting_kept:  # the last one counts
                await self._starter.ledger.keep(claim.journal, bounds)

    async def _keep_no_longer(self) -> None:
        """Should this process be killed before it is stopped: whoever recovers it has to stop it too."""
        with contextlib.suppress(LedgerError):  # it is being stopped
            await self._note_kept(Bounds(limit_at=now()))

    def undo(self, *, even_kept: bool = False) -> Job[InstanceState | None]:
        """Give the start up: not sent if it was not sent yet, else released once its answer is there.

        Args:
            even_kept: Whether also an instance that is to stay is released.
        """
        with self._lock:
            self._order.give_up()
            if even_kept:
                self._is_kept = False
            self._jobs.begin(self._job)  # whoever was to begin it may have been interrupted before
            if self._release is None:
                if self._may_be_noted_kept and not self._is_kept:
                    self._jobs.submit(self._keep_no_longer, bound=_WRITING)
                self._release = self._jobs.submit(
                    self._undo,
                    bound=self._starter.bound(self._order) + self._release_timeout,
                    describe=self._describe,
                    conclude=self._conclude,
                )
        _keeper.forget_at_exit(self)
        return self._release

    def warn_if_forgotten(self) -> None:
        """A ResourceWarning for a lease that nobody released."""
        if self.is_lease and self.is_ours and not self._is_kept and not self._order.is_given_up:
            warnings.warn(
                f"a lease of {self._order.args.hf_name} was never released; "
                "it is when its client is closed, or when the interpreter exits",
                ResourceWarning,
                stacklevel=3,
            )

    def _exit(self) -> None:
        try:
            if not _sigterm.is_ending():
                self.warn_if_forgotten()
        finally:
            self.undo()

    async def _hand_over(self) -> None:
        with self._lock:
            if self._release is not None:  # its client was closed meanwhile
                raise InferleaseError(
                    f"the client was closed before the start of {self._order.args.hf_name} returned: "
                    "what it has started is stopped"
                )
            self._is_handed_over = True
        if self._order.claim is not None:
            self._starter.lookup.disown(self._order.claim.instance_id)
            await self._starter.ledger.end(self._order.claim.journal, "handed over")

    async def _undo(self) -> InstanceState | None:
        try:
            return await self._undone()
        finally:
            if self._starter.late.has_unresolved:
                self._jobs.submit(self._starter.late.look, bound=2 * self._starter.exchange.timeout)

    async def _undone(self) -> InstanceState | None:
        # What only prepares the start is not waited for.
        self._order.abandon()
        self._tell_guard(self._release_timeout)
        await self.instance_id()
        self._unwatch()
        claim = self._order.claim
        if claim is None:
            self._tell_guard(None)  # what shows up late is looked for here
            self._raise_if_unknown()
            return None
        self._tell_guard(self._release_timeout)
        self._starter.lookup.disown(claim.instance_id)
        if self._is_kept:
            await self._leave(claim, "is kept")
            return None
        if self._was_stopped and await self._may_run_again(claim):
            await self._leave(claim, "has stopped once and may have been started again: it is left as it is")
            return None
        return await self._released(claim)

    def _tell_guard(self, within: float | None) -> None:
        """This process stops it within so many seconds: before that, the guard need not."""
        order, guard = self._order, self._starter.guard
        if order.due is not None:
            # The end of its lease is no limit of what is kept.
            at = None if within is None or self._is_kept else time.monotonic() + within
            self._jobs.submit(lambda: guard.due(order.journals, at), bound=_WRITING)

    async def _may_run_again(self, claim: Claim) -> bool:
        try:
            state = await self._starter.lookup.find(claim.instance_id)
        except InferleaseError:
            return True
        return state is not None and not state.is_stopped

    async def _leave(self, claim: Claim, why: str) -> None:
        await self._end(claim, "handed over")
        args = self._order.args if self._job.error() is not None else self._job.result().instance_args
        note = await self._starter.announcer.cost_note(claim.instance_id, args)
        log.warning("instance %s %s%s", claim.instance_id, why, note)

    async def _released(self, claim: Claim) -> InstanceState | None:
        self._release_deadline = time.monotonic() + self._release_timeout
        # The deletion that follows is not billed.
        self._starter.lookup.own(claim.instance_id, self._meter_stop)
        try:
            state = await self._releaser.release(
                claim.instance_id,
                delete=self._delete and claim.is_answered,
                timeout=self._release_timeout,
                afterwards=lambda: self._starter.guard.afterwards(claim.journal),
            )
        except InferleaseError as error:
            log.warning("%s", error)
            raise
        finally:
            self._starter.lookup.disown(claim.instance_id)
        self._meter_stop()
        await self._end(claim, "stopped")
        price = f", at most {price}" if (price := self._price()) is not None else ""
        log.info("instance %s stopped after %.0f s%s", claim.instance_id, time.monotonic() - self._began, price)
        return state

    def _raise_if_unknown(self) -> None:
        """What may have been started can't be undone: whoever gave the start up has to hear of it."""
        if self._job.done and isinstance(error := self._job.error(), StartOutcomeUnknownError):
            raise error

    def _price(self) -> Price | None:
        if not self._job.done or self._job.error() is not None:
            return None
        return self._starter.announcer.price(self._job.result())

    def _describe(self) -> str:
        left = self._release_timeout if self._release_deadline is None else self._release_deadline - time.monotonic()
        return undoing(self._order, max(left, 0), self._price())

    def _conclude(self, error: BaseException | None) -> str:
        # Of all else a log line has told.
        return "" if error is not None or self._is_kept or self._was_stopped else undone(self._order)
