"""What ends an instance: stop, delete, and the release that goes on until the stop was observed."""

from __future__ import annotations

import asyncio
import logging
import time

from . import _requests
from ._exchange import Decode, Exchange, Look
from ._lookup import Lookup
from ._printing import printable
from ._protocol import Action
from ._requests import Request
from ._retry import Settled
from ._wait import Wait
from .errors import InferleaseError, OutcomeUnknownError, WaitTimeoutError
from .objects import InstanceState

__all__ = ["Releaser"]

log = logging.getLogger("inferlease")

# A stop that was accepted and does not show is asked for again after this many seconds.
_ASK_AGAIN = 15.0


class Releaser:
    """Stops and deletes the instances of one client. Its methods run on the keeper."""

    def __init__(self, exchange: Exchange, lookup: Lookup) -> None:
        self._exchange = exchange
        self._lookup = lookup

    async def stop(self, instance_id: str) -> InstanceState | None:
        """Ask for a stop: the state after it, `None` if the instance is gone."""
        request = _requests.stop(instance_id)
        return await self._exchange.change(request, self._decode(instance_id), self._look(instance_id))

    async def delete(self, instance_id: str) -> None:
        """Delete a stopped instance; that it is gone already will do."""
        request = _requests.delete(instance_id)
        gone = Look(lambda: self._lookup.find(instance_id), lambda state: state is None)
        await self._exchange.change(request, _no_instance, gone)

    async def release(self, instance_id: str, *, delete: bool, timeout: float) -> InstanceState | None:
        """Stop, and go on until the stop was observed or `timeout` seconds are over; then delete.

        Returns:
            The stopped state, `None` if the instance is gone.

        Raises:
            OutcomeUnknownError: No stop was observed. The message says how to stop the instance by hand.
        """
        stopped = await self._stop_observed(instance_id, time.monotonic() + timeout)
        if delete and stopped is not None:
            try:
                await self.delete(instance_id)
            except InferleaseError as error:
                log.warning("instance %s is stopped but could not be deleted: %s", instance_id, error)
        return stopped

    async def _stop_observed(self, instance_id: str, deadline: float) -> InstanceState | None:
        trouble: BaseException | None = None
        while time.monotonic() < deadline:
            settled = await self._ask(instance_id, deadline)
            if settled.action is Action.DONE and (settled.value is None or settled.value.is_stopped):
                return settled.value
            if settled.action is Action.FAIL:
                trouble = self._exchange.error(_requests.stop(instance_id), settled)
                break
            wait = Wait(
                self._lookup.poller(),
                instance_id,
                timeout=min(_ASK_AGAIN, deadline - time.monotonic()),
                on_state=lambda _: None,
            )
            try:
                return await wait.until_stopped()
            except WaitTimeoutError as error:
                trouble = error
            except InferleaseError as error:
                trouble = error
                await asyncio.sleep(min(1.0, max(deadline - time.monotonic(), 0)))
        raise OutcomeUnknownError(
            f"instance {instance_id} was not seen to stop and may still be billed; "
            f"stop it with: inferlease stop {instance_id}" + _last(trouble),
            instance_id=instance_id,
        ) from trouble

    async def _ask(self, instance_id: str, deadline: float) -> Settled[InstanceState | None]:
        request: Request = _requests.stop(instance_id)
        return await self._exchange.settle(
            request, self._decode(instance_id), look=self._look(instance_id), attempts=None, until=deadline
        )

    def _decode(self, instance_id: str) -> Decode[InstanceState | None]:
        return lambda payload: self._lookup.decode_instance(payload, instance_id)

    def _look(self, instance_id: str) -> Look[InstanceState | None]:
        return Look(lambda: self._lookup.find(instance_id), lambda state: state is None or state.is_stopped)


def _last(trouble: BaseException | None) -> str:
    if isinstance(trouble, WaitTimeoutError):
        seen = trouble.last_state
        return f" (last seen {printable(seen.instance_status.status, 40)})" if seen is not None else ""
    return f" (last trouble: {trouble})" if trouble is not None else ""


def _no_instance(payload: object) -> None:
    """Of the answer to a delete nothing is needed."""
