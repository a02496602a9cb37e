"""The lease: start, wait, use, release."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from types import TracebackType

import anyio
from attrs import frozen

from . import _keeper, _sigterm, _worlds
from ._capacity_wait import CapacityWait
from ._core import Core
from ._limits import Holder, Interruption, Limits
from ._pending import PendingStart
from ._port import OnProgress
from ._transport import require_asyncio
from .errors import InferleaseError, LeaseLimitError, NoCapacityError, WaitTimeoutError
from .guard import require_possible
from .instances import Instance, Instances
from .money import Receipt
from .objects import InstanceArgs, InstanceState

__all__ = ["Lease"]

log: logging.Logger = logging.getLogger("inferlease")

# Seconds that whoever has pressed Ctrl-C waits without a word.
_SILENCE = 1.0


@frozen(eq=False, repr=False)
class LeaseOptions:
    """How a lease waits and releases; the arguments of `Client.lease`."""

    timeout: float
    stall_timeout: float | None
    probe: bool
    on_progress: OnProgress | None
    delete: bool
    release_timeout: float
    keep: bool
    wait_for_capacity: float | None
    guard: bool | None
    label: str | None
    limits: Limits


@_worlds.entered_by_async_with
class Lease:
    """A dedicated instance for as long as the work takes. Made by `client.lease()`.

    `async with lease as instance:` starts the instance, waits until it is usable, and stops it at the end,
    whatever happens in between. `acquire()` and `release()` are for code that can't use `with`.

    Example:
        lease = client.lease("meta-llama/Llama-3.1-8B-Instruct")
        instance = await lease.acquire()
        try:
            print(instance.base_url)
        finally:
            await lease.release()
    """

    def __init__(
        self, core: Core, instances: Instances, choices: tuple[InstanceArgs, ...], options: LeaseOptions
    ) -> None:
        self._core = core
        self._instances = instances
        self._choices = choices
        self._options = options
        self._is_acquired = False
        self._wait: CapacityWait | None = None
        self._start: PendingStart | None = None
        self._instance: Instance | None = None
        self._holder = Holder()

    @property
    def instance(self) -> Instance | None:
        """The leased instance, once it was started; after the release as it was last seen."""
        return self._instance

    @property
    def receipt(self) -> Receipt | None:
        """What the lease came to, once the release is over; an estimate that says what it assumes.

        `None` before that, and where nothing was started.
        """
        return self._start.receipt() if self._start is not None else None

    async def acquire(self) -> Instance:
        """Start the instance and wait until it is usable. If that fails, it is released before this raises.

        Raises:
            StartRefusedError: The server refused; a NoCapacityError if the hardware is not available, or was not
                within `wait_for_capacity`.
            StartOutcomeUnknownError: It may have been started: the error has the candidates.
            WaitTimeoutError: It was not usable within `timeout`.
            InstanceStoppedError: It stopped.
            InstanceGoneError: It no longer exists.
            LeaseLimitError: A limit was reached, or can't be kept to; where nothing was started, it says so.
            ConfigurationError: Credentials are missing, or with `probe` the key for inference; or with `guard=True`
                there can be no guard.
            APIError: The server refused for another reason, such as a PaymentRequiredError.
            TransportError: Nothing was sent.
        """
        require_asyncio()
        if self._is_acquired:
            raise InferleaseError("this lease was acquired before: make a new one with client.lease()")
        if self._options.probe:
            self._core.probe.check()
        if self._options.guard:
            require_possible()
        options = self._options
        self._is_acquired = True
        interruption = self._holder.interruption = Interruption()
        try:
            start, began, state = await self._started()
            instance = self._instance = self._instances._instance(state, start.meter)
            await self._instances._wait_until_running(
                instance,
                timeout=options.timeout,
                stall_timeout=options.stall_timeout,
                probe=options.probe,
                on_progress=options.on_progress,
                began=began,
                advice=None,
            )
            start.note_usable()
            if options.keep:
                await start.keep()
        except BaseException as error:
            is_ours = interruption.left(error)
            self._holder.interruption = None
            limit = self._limit() if is_ours or isinstance(error, InferleaseError) else None
            if self._instance is not None and limit is None and isinstance(error, InferleaseError):
                with contextlib.suppress(Exception):  # a log handler that raises must not keep it from being released
                    log.warning("%s", error)
            await self._leave(limit or error, even_kept=True)
            if limit is None:
                raise
            raise limit from error
        interruption.left(None)
        self._holder.interruption = None
        if (limit := self._limit()) is not None:  # reached just now
            await self._leave(limit, even_kept=True)
            raise limit
        _keeper.call_unless_delivered(lambda: self._core.undo(start, even_kept=True))
        return instance

    async def _started(self) -> tuple[PendingStart, float, InstanceState]:
        """A start, when it began, and what it has started; where it is to wait, once there is hardware."""
        options, choices = self._options, self._choices
        if options.wait_for_capacity is not None:
            self._wait = CapacityWait(self._core.capacity, choices, options.wait_for_capacity, options.on_progress)
        while True:
            if self._wait is not None:
                choices = await self._wait.available()
            await _sigterm.expect()
            start = self._start = self._core.begin(
                choices,
                is_lease=True,
                delete=options.delete,
                release_timeout=options.release_timeout,
                timeout=options.timeout,
                guard=options.guard,
                label=options.label,
                limits=options.limits,
                on_limit=self._holder.interrupt,
            )
            _sigterm.hold(start)
            began = time.monotonic()
            try:
                return start, began, await self._answered(start)
            except NoCapacityError as refusal:
                if self._wait is None or start.is_doubtful:
                    raise
                self._wait.lost(refusal)
            await self._release(even_kept=True)

    async def _answered(self, start: PendingStart) -> InstanceState:
        timeout = self._options.timeout
        scope = asyncio.timeout(timeout)
        try:
            async with scope:
                return await start.wait()
        except TimeoutError:
            if not scope.expired():
                raise
        raise WaitTimeoutError(
            f"the start of {self._choices[0].hf_name} was not answered within {timeout:g} s; "
            "whatever it starts is stopped"
        )

    async def release(self) -> None:
        """Stop the instance, and wait until it is seen stopped or `release_timeout` is over. Idempotent.

        With `keep` the instance is left running. One that was stopped in between and started again is left too:
        the lease has ended with its first stop.
        A caller that is cancelled or interrupted no longer waits; the release goes on.

        Raises:
            LeaseLimitError: The lease reached a limit and was stopped because of that.
            OutcomeUnknownError: The instance was not seen to stop; the message says how to stop it by hand.
            StartOutcomeUnknownError: It is not known whether there is one: the error has the candidates.
        """
        if self._wait is not None:
            self._wait.give_up()
        if (limit := self._limit()) is not None:
            await self._leave(limit)
            raise limit
        await self._release(even_kept=False)

    def _limit(self) -> LeaseLimitError | None:
        """The limit that was reached, if one was."""
        return self._start.reached_limit() if self._start is not None and self._start.is_ours else None

    async def _release(self, *, even_kept: bool, is_interrupted: bool = False) -> None:
        start = self._start
        if start is None or not start.is_ours:
            return
        job = self._core.undo(start, even_kept=even_kept)
        saying = _keeper.say_later(job, _SILENCE) if is_interrupted else contextlib.nullcontext()
        state: InstanceState | None = None
        with anyio.CancelScope(shield=True), saying:
            try:
                state = await job.wait()
            finally:
                _sigterm.restore_unless_held()
        if state is not None and self._instance is not None:
            self._instance._assign(state)

    async def _leave(self, error: BaseException, *, even_kept: bool = False) -> None:
        """Release because of `error`, which is never replaced: trouble becomes a note on it."""
        if isinstance(error, GeneratorExit):
            # The coroutine is being thrown away and can't wait any more; the keeper does.
            if self._start is not None and self._start.is_ours:
                self._core.undo(self._start, even_kept=even_kept)
            return
        try:
            await self._release(even_kept=even_kept, is_interrupted=isinstance(error, KeyboardInterrupt))
        except Exception as trouble:  # noqa: BLE001 (whatever it is, it must not replace the user's error)
            if trouble is not error:
                error.add_note(str(trouble))

    def __repr__(self) -> str:
        if self._instance is not None:
            return f"<Lease of {self._instance!r}>"
        return f"<Lease of {self._choices[0].hf_name!r}, {'nothing started' if self._is_acquired else 'not acquired'}>"

    async def __aenter__(self) -> Instance:
        instance = await self.acquire()
        # The body of a synchronous `with` runs elsewhere, and can't be interrupted.
        if not _keeper.is_here():
            self._holder.interruption = Interruption()
            if self._limit() is not None:  # reached meanwhile
                self._holder.interrupt()
        return instance

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        interruption, self._holder.interruption = self._holder.interruption, None
        is_ours = interruption is not None and interruption.left(error)
        limit = self._limit()
        if error is None or (is_ours and limit is not None):
            try:
                await self.release()
            except LeaseLimitError as reached:
                raise reached from error
        else:
            if limit is not None and limit is not error:
                error.add_note(str(limit))
            await self._leave(error)

    def __del__(self) -> None:
        start: PendingStart | None = getattr(self, "_start", None)
        if start is not None:
            start.warn_if_forgotten()
