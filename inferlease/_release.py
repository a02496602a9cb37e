"""What ends an instance: stop, delete, and the release that goes on until the stop was observed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from . import _requests
from ._exchange import Decode, Exchange, Look
from ._lookup import Lookup
from ._printing import printable
from ._protocol import Action, Kind
from ._retry import Settled
from ._wait import Wait
from .errors import InferleaseError, OutcomeUnknownError, WaitTimeoutError
from .objects import InstanceState

__all__ = ["Releaser"]

log = logging.getLogger("inferlease")

# A stop that was accepted and does not show is asked for again after this many seconds.
_ASK_AGAIN = 15.0
# Seconds between attempts that failed in a way nobody foresaw.
_PAUSE = 1.0


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

    async def release(
        self, instance_id: str, *, delete: bool, timeout: float, afterwards: Callable[[], str] = str
    ) -> InstanceState | None:
        """Stop, and go on until the stop was observed or `timeout` seconds are over; then delete, if time is left.

        Args:
            afterwards: What of it goes on once it has failed, as the end of a sentence.

        Returns:
            The stopped state, `None` if the instance is gone.

        Raises:
            OutcomeUnknownError: No stop was observed. The message says how to stop the instance by hand.
        """
        deadline = time.monotonic() + timeout
        stopped = await self._stop_observed(instance_id, deadline, afterwards)
        if delete and stopped is not None:
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                    await self.delete(instance_id)
            except (InferleaseError, TimeoutError) as error:
                reason = str(error) or "no time was left"
                log.warning("instance %s is stopped but could not be deleted: %s", instance_id, reason)
        return stopped

    async def _stop_observed(
        self, instance_id: str, deadline: float, afterwards: Callable[[], str]
    ) -> InstanceState | None:
        seen: InstanceState | None = None
        trouble: Exception | None = None
        while time.monotonic() < deadline:
            # Whatever goes wrong in here, known or not, the instance is billed until it is stopped.
            try:
                settled = await self._ask(instance_id, deadline)
                if settled.action is Action.DONE and (settled.value is None or settled.value.is_stopped):
                    return settled.value
                if settled.action is not Action.DONE:
                    trouble = settled.cause(_requests.stop(instance_id))
                if settled.kind is Kind.IMPOSSIBLE:
                    break
                return await self._observed(instance_id, deadline)
            except WaitTimeoutError as error:
                seen = error.last_state or seen
            except Exception as error:  # noqa: BLE001
                trouble = error
                await asyncio.sleep(min(_PAUSE, max(deadline - time.monotonic(), 0)))
        raise OutcomeUnknownError(
            f"instance {instance_id} was not seen to stop and may still be billed; "
            f"stop it with: inferlease stop {instance_id}{afterwards()}{_last(seen, trouble)}",
            instance_id=instance_id,
            last_state=seen,
        ) from trouble

    async def _ask(self, instance_id: str, deadline: float) -> Settled[InstanceState | None]:
        look = Look(lambda: self._lookup.find(instance_id, attempts=1), _is_over)
        return await self._exchange.settle(
            _requests.stop(instance_id), self._decode(instance_id), look=look, attempts=None, until=deadline
        )

    async def _observed(self, instance_id: str, deadline: float) -> InstanceState | None:
        wait = Wait(
            self._lookup.poller(),
            instance_id,
            timeout=min(_ASK_AGAIN, max(deadline - time.monotonic(), 0)),
            on_state=lambda _: None,
        )
        return await wait.until_stopped()

    def _decode(self, instance_id: str) -> Decode[InstanceState | None]:
        return lambda payload: self._lookup.decode_instance(payload, instance_id)

    def _look(self, instance_id: str) -> Look[InstanceState | None]:
        return Look(lambda: self._lookup.find(instance_id), _is_over)


def _is_over(state: InstanceState | None) -> bool:
    return state is None or state.is_stopped


def _last(seen: InstanceState | None, trouble: Exception | None) -> str:
    parts = [f"last seen {printable(seen.instance_status.status, 40)}"] if seen is not None else []
    parts += [f"last trouble: {trouble}"] if trouble is not None else []
    return f" ({'; '.join(parts)})" if parts else ""


def _no_instance(payload: object) -> None:
    """Of the answer to a delete nothing is needed."""
