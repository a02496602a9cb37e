"""The reads that decisions rest on: instances, whether one is gone, models, and the balance."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

from cattrs import Converter

from . import _protocol, _requests
from ._convert import InvalidItem, Listing, decode, decode_list
from ._exchange import Exchange
from ._job import is_in_job
from ._retry import ATTEMPTS
from ._watch import LONGEST_INTERVAL, Poller
from .errors import APIError, DecodeError, InferleaseError, NotFoundError
from .objects import Balance, InstanceState, ModelDetail

__all__ = ["Lookup", "decode_ids"]

# How long a new instance may be unknown to the server's reads.
GRACE = 30.0
# What a 400 means is not documented: two lists this far apart tell whether the instance exists.
LIST_INTERVAL = 1.0


class Lookup:
    """What one client knows of the account's instances."""

    def __init__(self, exchange: Exchange, converter: Converter, poll_interval: float | None) -> None:
        self._exchange = exchange
        self._converter = converter
        self._poll_interval = poll_interval
        self._born: dict[str, float] = {}
        self._owned: dict[str, Callable[[], None]] = {}
        self.on_list: Callable[[Listing[InstanceState]], None] | None = None
        self._warned: set[str] = set()
        self._pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, Poller] = WeakKeyDictionary()
        self._release_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, Poller] = WeakKeyDictionary()

    def decode_instance(self, payload: object, asked: str | None = None) -> InstanceState:
        """The instance of an answer. Raises DecodeError, also where it is another one than was asked for."""
        raw = _protocol.member(payload, "instance")
        state = decode(self._converter, raw, InstanceState, "instance")
        _protocol.check_answer_id(state.instance_id, asked)
        if state.is_stopped:
            # Known to the server and not billed: a 404 from here on means that it is gone.
            self._born.pop(state.instance_id, None)
            self._note_stopped(state.instance_id)
        return state

    async def get(self, instance_id: str, *, attempts: int = ATTEMPTS) -> InstanceState:
        """The instance as it is now. Raises an APIError class if it is gone."""
        return await self._exchange.read(
            _requests.get_instance(instance_id),
            lambda payload: self.decode_instance(payload, instance_id),
            attempts=attempts,
        )

    async def list(self, *, attempts: int = ATTEMPTS) -> Listing[InstanceState]:
        """All instances of the account, each once: where a list contradicts itself, a GET decides.

        What even that leaves open is invalid: whoever decides about money must not overlook it.
        """
        listing = await self._exchange.read(
            _requests.LIST_INSTANCES,
            lambda payload: decode_list(
                self._converter,
                _protocol.member(payload, "instances"),
                InstanceState,
                "instances",
                "instance_id",
                warned=self._warned,
            ),
            attempts=attempts,
        )
        for state in list(listing):
            if state.instance_id in listing.conflicting and _requests.is_valid_id(state.instance_id):
                index = listing.index(state)
                try:
                    listing[index] = await self.get(state.instance_id, attempts=attempts)
                except InferleaseError as error:
                    del listing[index]
                    if not isinstance(error, NotFoundError) or self._is_new(state.instance_id):
                        listing.invalid.append(InvalidItem(state.instance_id, _unclear(state.instance_id, error)))
        for state in listing:
            if state.is_stopped:
                self._note_stopped(state.instance_id)
        if self.on_list is not None:
            self.on_list(listing)
        return listing

    async def find(self, instance_id: str, *, attempts: int = ATTEMPTS) -> InstanceState | None:
        """The instance as it is now, `None` if it is gone: a 404, or a 400 and in none of two lists."""
        try:
            return await self.get(instance_id, attempts=attempts)
        except APIError as error:
            if error.status not in (400, 404) or self._is_new(instance_id):
                raise
            if error.status == 404:
                return None
            for pause in (0.0, LIST_INTERVAL):
                await asyncio.sleep(pause)
                if await self.is_listed(instance_id, attempts=attempts):
                    raise
            return None

    async def model(self, model: str, *, attempts: int = ATTEMPTS) -> ModelDetail:
        """A model with its hardware configurations."""
        return await self._exchange.read(
            _requests.get_model(model),
            lambda payload: decode(self._converter, _protocol.member(payload, "model"), ModelDetail, "model"),
            attempts=attempts,
        )

    async def balance(self) -> Balance:
        """What is left on the account."""
        return await self._exchange.read(
            _requests.GET_BALANCE, lambda payload: decode(self._converter, payload, Balance, "balance")
        )

    async def is_listed(self, instance_id: str, *, attempts: int = ATTEMPTS) -> bool:
        """Whether the list has it, be it readable or not."""
        listing = await self.list(attempts=attempts)
        return instance_id in {state.instance_id for state in listing} | {bad.id for bad in listing.invalid}

    def own(self, instance_id: str, on_stopped: Callable[[], None]) -> None:
        """Have `on_stopped` called, on any thread, when this instance is first seen stopped."""
        self._owned[instance_id] = on_stopped

    def disown(self, instance_id: str) -> None:
        """Watch this instance no longer."""
        self._owned.pop(instance_id, None)

    def _note_stopped(self, instance_id: str) -> None:
        if self._owned and (on_stopped := self._owned.pop(instance_id, None)) is not None:
            on_stopped()

    def born(self, instance_id: str) -> None:
        """Note that the server has just made this instance: for a while a 404 does not mean that it is gone."""
        now = time.monotonic()
        # A copy: other threads take away what they see stopped.
        self._born = {known: at for known, at in list(self._born.items()) if now - at < GRACE}
        self._born[instance_id] = now

    def _is_new(self, instance_id: str) -> bool:
        return time.monotonic() - self._born.get(instance_id, float("-inf")) < GRACE

    # ---- polling: a single attempt each, the next tick is the retry --------------------------------

    def poller(self) -> Poller:
        """The poller of the running loop; releases have one of their own."""
        loop = asyncio.get_running_loop()
        pollers, interval = self._pollers, self._poll_interval
        if is_in_job():
            pollers = self._release_pollers
            # A release has to see the stop in time, whatever suits the user's waits.
            interval = None if interval is None else min(interval, LONGEST_INTERVAL)
        poller = pollers.get(loop)
        if poller is None:
            poller = pollers[loop] = Poller(self, interval)
        return poller

    async def one(self, instance_id: str) -> InstanceState | None:
        try:
            return await self.find(instance_id, attempts=1)
        except APIError as error:
            # It is new, or a list still has it: a later poll will know.
            error._passes = error._passes or error.status in (400, 404)
            raise

    async def many(self, instance_ids: set[str]) -> dict[str, InstanceState | None | Exception]:
        listed = {state.instance_id: state for state in await self.list(attempts=1)}
        seen: dict[str, InstanceState | None | Exception] = {}
        for instance_id in instance_ids:
            state = listed.get(instance_id)
            if state is not None and not state.is_stopped:
                seen[instance_id] = state
                continue
            # A list may lag, and an item that could not be read says nothing: a GET decides.
            try:
                seen[instance_id] = await self.one(instance_id)
            except InferleaseError as error:
                seen[instance_id] = error
        return seen


def decode_ids(converter: Converter, payload: object) -> list[str]:
    """The ids that an answer about many instances names; some name none where nothing was done."""
    raw = _protocol.member(payload, "instance_ids", optional=True)
    if raw is not None and not isinstance(raw, list):
        raise DecodeError(f"instance_ids: expected a list, found {type(raw).__name__}", path="instance_ids")
    return [] if raw is None else decode(converter, raw, list[str], "instance_ids")


def _unclear(instance_id: str, error: InferleaseError) -> DecodeError:
    if isinstance(error, DecodeError):
        return error
    unclear = DecodeError(
        f"instance {instance_id} is listed twice, not alike, and could not be read: {error}",
        path="instances",
        instance_id=instance_id,
    )
    unclear.__cause__ = error
    return unclear
