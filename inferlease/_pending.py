"""One start on the keeper: its caller takes the instance, or the start is undone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
import warnings

from . import _keeper, _sigterm
from ._keeper import Job
from ._start import Starter
from .errors import InferleaseError, StartOutcomeUnknownError
from .objects import InstanceArgs, InstanceState
from .pricing import Price

__all__ = ["PendingStart"]

log = logging.getLogger("inferlease")


class PendingStart:
    """A start on the keeper, once `begin` was called. Either its caller takes the instance, or the start is undone.

    Args:
        starter: Of the client.
        args: What to start.
        is_lease: Whether it has to be undone sooner or later.
        delete: Whether undoing it deletes the stopped instance.
        release_timeout: Seconds that undoing it may take, from the answer on.
    """

    def __init__(
        self, starter: Starter, args: InstanceArgs, *, is_lease: bool, delete: bool, release_timeout: float
    ) -> None:
        self.is_lease = is_lease
        self._starter = starter
        self._args = args
        self._delete = delete
        self._release_timeout = release_timeout
        self._release_deadline: float | None = None
        self._began = time.monotonic()
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._given_up = False
        self._started_id: str | None = None
        self._release: Job[InstanceState | None] | None = None
        self._baseline: asyncio.Task[set[str | None]] | None = None
        self._job: Job[InstanceState] = Job(
            self._start,
            bound=6 * starter.timeout,
            describe=lambda: f"waiting for the answer to the start of {args.model_id}",
        )

    def begin(self) -> None:
        """Begin it. A signal may come between any two lines: whoever has to undo it knows of it before this."""
        _keeper.call_at_exit(self, self._exit)
        self._starter.jobs.begin(self._job)

    @property
    def is_ours(self) -> bool:
        """Whether this process began the start: a forked child owns nothing."""
        return os.getpid() == self._pid

    @property
    def is_over(self) -> bool:
        """Whether it is undone: stopped, or given up before it was sent, or its release has failed."""
        return self._release is not None and self._release.done

    async def taken(self) -> InstanceState:
        """The started instance, which is the caller's from here on; a cancellation undoes the start."""
        try:
            state = await self._job.wait()
        except InferleaseError:
            raise
        except BaseException:
            if self.is_ours:
                self.undo()
            raise
        finally:
            _keeper.forget_at_exit(self)
        self._starter.claimed.discard(state.instance_id)
        return state

    async def wait(self) -> InstanceState:
        """The started instance, which still is to be undone."""
        return await self._job.wait()

    async def instance_id(self) -> str | None:
        """The id of what was started, once that is known; `None` if nothing was, or nothing is known of it."""
        if self.is_ours:
            with contextlib.suppress(Exception):
                await self._job.wait()
        return self._started_id

    def undo(self) -> Job[InstanceState | None]:
        """Give the start up: not sent if it was not sent yet, else released once its answer is there."""
        with self._lock:
            self._given_up = True
            self._starter.jobs.begin(self._job)  # whoever was to begin it may have been interrupted before
            if self._release is None:
                self._release = self._starter.jobs.submit(
                    self._undo, bound=7 * self._starter.timeout + self._release_timeout, describe=self._describe
                )
        _keeper.forget_at_exit(self)
        return self._release

    def warn_if_forgotten(self) -> None:
        """A ResourceWarning for a lease that nobody released."""
        if self.is_lease and self.is_ours and not self._given_up:
            warnings.warn(
                f"a lease of {self._args.model_id} was never released; "
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

    def _note_id(self, instance_id: str) -> None:
        self._started_id = instance_id
        self._starter.claimed.add(instance_id)

    async def _start(self) -> InstanceState:
        self._baseline = asyncio.ensure_future(self._starter.baseline())
        await asyncio.wait([self._baseline])
        # At an exit, also if it was begun in the moment before, when the exit did not see it yet.
        if self._given_up or _keeper.is_exiting():
            if not self._baseline.cancelled():
                self._baseline.exception()
            raise InferleaseError(
                f"the start of {self._args.model_id} was given up before it was sent: nothing was started"
            )
        return await self._starter.post(
            self._args, self._baseline.result(), is_wanted=lambda: not self._given_up, on_id=self._note_id
        )

    async def _undo(self) -> InstanceState | None:
        if self._baseline is not None:
            # Nothing has been sent yet: there is no use in waiting for these reads.
            self._baseline.cancel()
        instance_id = await self.instance_id()
        if instance_id is None:
            self._raise_if_unknown()
            return None
        self._release_deadline = time.monotonic() + self._release_timeout
        try:
            state = await self._starter.releaser.release(
                instance_id, delete=self._delete, timeout=self._release_timeout
            )
        except InferleaseError as error:
            log.warning("%s", error)
            raise
        finally:
            self._starter.claimed.discard(instance_id)
        price = f", at most {price}" if (price := self._price()) is not None else ""
        log.info("instance %s stopped after %.0f s%s", instance_id, time.monotonic() - self._began, price)
        return state

    def _raise_if_unknown(self) -> None:
        """What may have been started can't be undone: whoever gave the start up has to hear of it."""
        if self._job.done and isinstance(error := self._job.error(), StartOutcomeUnknownError):
            raise error

    def _price(self) -> Price | None:
        if not self._job.done or self._job.error() is not None:
            return None
        return self._starter.price(self._job.result())

    def _describe(self) -> str:
        if self._started_id is None:
            return f"waiting for the answer to the start of {self._args.model_id}, to stop it"
        costs = f", {price} until then" if (price := self._price()) is not None else ""
        left = self._release_timeout if self._release_deadline is None else self._release_deadline - time.monotonic()
        return (
            f"stopping {self._started_id} (up to {max(left, 0):.0f} s{costs}); "
            f"if this process is killed: inferlease stop {self._started_id}"
        )
