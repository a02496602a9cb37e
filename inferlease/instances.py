"""Instances: start, find, watch and end them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, ClassVar, Self, TypeAlias

from attrs import define

from . import _requests
from ._convert import Listing
from ._core import Core
from ._cost import Meter
from ._ensure import choose
from ._lookup import decode_ids
from ._port import OnProgress, Port
from ._protocol import Action
from ._spec import resolve
from ._wait import Wait, watch
from .errors import DetachedInstanceError
from .money import CostEstimate
from .objects import InstanceArgs, InstanceEvent, InstanceState

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["Instance", "Instances"]

Ids: TypeAlias = list[str]


@define(slots=False, eq=False, repr=False)
class Instance(InstanceState):
    """An instance and its verbs. A verb updates the object in place.

    Equal by value to any `InstanceState`; pickled, it loses its client and its verbs raise
    `DetachedInstanceError`.
    """

    _meter: ClassVar[Meter | None] = None

    # What is bound is no attrs attribute: it takes no part in equality, repr, pickling or unstructuring.
    def _bind(self, port: Port[Instance], meter: Meter | None) -> Self:
        self.__dict__["_port"] = port
        self.__dict__["_meter"] = meter
        return self

    def _assign(self, other: InstanceState) -> None:
        super()._assign(other)
        if self._meter is not None and self.is_stopped:
            self._meter.stop()

    @property
    def cost(self) -> CostEstimate | None:
        """What it has cost since this client started it: an estimate that says what it assumes.

        `None` where its price is unknown, or the time of its start, as of an object that did not start it.
        """
        return self._meter.estimate() if self._meter is not None else None

    def _client(self) -> Port[Instance]:
        port: Port[Instance] | None = self.__dict__.get("_port")
        if port is None:
            raise DetachedInstanceError(
                f"instance {self.instance_id} belongs to no client: get it with client.instances.get(id)",
                instance_id=self.instance_id,
            )
        return port

    async def refresh(self) -> Self:
        """Read the state anew; returns the instance itself.

        Raises:
            APIError: The server answered with an error; a NotFoundError if the instance is gone.
        """
        await self._client()._read(self)
        return self

    async def stop(self) -> Self:
        """Ask for a stop, which ends the billing. To see it stopped, `wait_until_stopped()`.

        Done as well if it is stopped already or gone. A caller that is cancelled or interrupted
        leaves; the stop goes on.

        Raises:
            OutcomeUnknownError: The stop may or may not have arrived: ask again.
            APIError: The server refused.
        """
        state = await self._client()._stop(self.instance_id)
        if state is not None:
            self._assign(state)
        return self

    async def restart(self) -> Self:
        """Start the stopped instance again; it is billed from here on, until it is stopped.

        Raises:
            OutcomeUnknownError: The restart may or may not have arrived.
            APIError: The server refused.
        """
        was_stopped = self.is_stopped
        state, meter = await self._client()._restart(self.instance_id)
        if was_stopped:
            self.__dict__["_meter"] = meter
        self._assign(state)
        return self

    async def delete(self) -> None:
        """Delete the stopped instance. Done as well if it is gone already.

        Raises:
            APIError: The server refused, as it does while the instance is not stopped.
            OutcomeUnknownError: The deletion may or may not have arrived.
        """
        await self._client()._delete(self.instance_id)

    async def wait_until_running(
        self,
        timeout: float = 900.0,
        stall_timeout: float | None = None,
        probe: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Self:
        """Wait until the instance is usable: it runs and has a `base_url`. Returns the instance itself.

        All workers are watched; the first that runs makes the instance usable. The wait can be resumed,
        also from another process by the instance's id.

        Example:
            instance = await client.instances.get(instance.instance_id)
            await instance.wait_until_running(timeout=900, on_progress=print)

        Args:
            timeout: Seconds at most.
            stall_timeout: Seconds at most without a step of any worker; `None` for no such bound.
            probe: Also wait until the instance answers inference requests.
            on_progress: Called with each change; may be async.

        Raises:
            WaitTimeoutError: `timeout` passed; a WaitStalledError if `stall_timeout` did.
            InstanceStoppedError: The instance stopped.
            InstanceGoneError: The instance no longer exists.
        """
        await self._client()._wait_until_running(
            self, timeout=timeout, stall_timeout=stall_timeout, probe=probe, on_progress=on_progress
        )
        return self

    async def wait_until_stopped(self, timeout: float = 120.0) -> Self:
        """Wait until the instance is stopped or gone. Returns the instance itself.

        Args:
            timeout: Seconds at most.

        Raises:
            WaitTimeoutError: `timeout` passed.
        """
        await self._client()._wait_until_stopped(self, timeout)
        return self

    async def watch(self) -> AsyncIterator[InstanceEvent]:
        """The state at the next poll, then each change, past usable, until the instance is stopped or gone.

        There is no deadline, but 60 seconds without a successful poll end the watch with the last error.

        Example:
            async for event in instance.watch():
                print(event.state, event.progress)
                if event.instance.is_usable:
                    break

        Raises:
            InferleaseError: The last error of the polls, after 60 seconds; at once if it can't pass.
        """
        async with aclosing(self._client()._watch(self)) as events:
            async for event in events:
                yield event

    def openai(self) -> AsyncOpenAI:
        """A client of the `openai` package for this instance, with the key for inference; needs the extra `openai`.

        It goes by the proxy and the certificates of this client. It is yours to close.

        Example:
            await instance.wait_until_running()
            async with instance.openai() as llm:
                print(await llm.models.list())

        Raises:
            ConfigurationError: The key, `base_url` or the package is missing; or the key would travel in the clear.
        """
        return self._client()._openai.asynchronous(self)


class Instances:
    """The instances of the account."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._openai = core.openai

    async def start(
        self,
        model: str,
        *,
        hardware_type_id: str | Sequence[str] | None = None,
        context_length: int | None = None,
        billing_interval: str | None = None,
        num_workers: int | None = None,
        wait_for_capacity: float | None = None,
    ) -> Instance:
        """Start an instance and return it, not yet usable. It is billed until you stop it.

        What is left at `None` is not sent: the server's default applies. A caller that is cancelled or interrupted
        before this returns has started nothing: what was started is stopped again. To have an instance stopped
        whatever happens, use `client.lease()`.

        Example:
            instance = await client.instances.start("meta-llama/Llama-3.1-8B-Instruct", num_workers=2)
            await instance.wait_until_running(timeout=900)
            await instance.stop()

        Args:
            model: Hugging Face name (`org/model`) or model id (`org--model`).
            hardware_type_id: Such as `NVIDIA_L4_1`; by default the one that is recommended for the model. Of several,
                the first that the server does not refuse; after an answer that was lost no other one is tried.
            context_length: In tokens; by default the configuration's maximum, at most 32,000.
            billing_interval: `per_minute` (default) or `per_hour`.
            num_workers: From 1 (default) to 8; each has all GPUs of the hardware type and is billed.
            wait_for_capacity: Seconds at most to wait until the hardware, or one of several, is available; by default
                none. Nothing is started before; the wait is logged.

        Raises:
            InvalidArgumentError: An argument is refused before anything is sent.
            StartRefusedError: The server refused; a NoCapacityError if the hardware is not available.
            StartOutcomeUnknownError: It may have been started: the error has the candidates.
            DecodeError: It was started, but the answer can't be read: the error has its `instance_id`.
            APIError: The server refused for another reason, such as a PaymentRequiredError.
            ConfigurationError: There are no credentials.
            TransportError: Nothing was sent.
        """
        choices = _requests.start_choices(
            model,
            hardware_type_id=hardware_type_id,
            context_length=context_length,
            billing_interval=billing_interval,
            num_workers=num_workers,
        )
        if wait_for_capacity is not None:
            wait_for_capacity = _requests.checked_seconds("wait_for_capacity", wait_for_capacity)
        return await self._start(choices, wait_for_capacity)

    async def ensure(
        self,
        model: str,
        *,
        hardware_type_id: str | Sequence[str] | None = None,
        context_length: int | None = None,
        billing_interval: str | None = None,
        num_workers: int | None = None,
    ) -> Instance:
        """An instance with these arguments, started only if there is none.

        One that runs comes first, then a pending one, then a stopped one, which is restarted; of those in the same
        state one on the hardware that is named first, where `hardware_type_id` names several. Takes
        `start`'s arguments and raises what it raises. What is left at `None` is resolved to the server's
        default first. An instance under a lease of this client is never taken.

        Example:
            instance = await client.instances.ensure("meta-llama/Llama-3.1-8B-Instruct")
            await instance.wait_until_running()
        """
        choices = _requests.start_choices(
            model,
            hardware_type_id=hardware_type_id,
            context_length=context_length,
            billing_interval=billing_interval,
            num_workers=num_workers,
        )
        served = await self._core.lookup.model(choices[0].model_id)
        wanted = [(args, resolve(args, served)) for args in choices]
        found = await choose(self._core.lookup, wanted, self._core.leased)
        if found is None:
            return await self._start(choices)
        if found.is_stopped:
            return self._instance(*await self._restart(found.instance_id))
        # A start may have made it that never reached its caller: from here on it is this one's.
        taken = found.instance_id
        await self._core.carry("the ledger", lambda: self._core.recovery.close_dead(taken, "handed over"))
        return self._instance(found)

    async def get(self, instance_id: str) -> Instance:
        """The instance with this id.

        Raises:
            InvalidArgumentError: It is no id.
            NotFoundError: There is no such instance; some servers answer with another APIError.
        """
        return self._instance(await self._core.lookup.get(instance_id))

    async def list(self) -> Listing[Instance]:
        """All instances of the account, stopped ones too. What could not be read is in `.invalid`.

        Example:
            billed = [instance for instance in await client.instances.list() if not instance.is_stopped]
        """
        listing = await self._core.lookup.list()
        return Listing((self._instance(state) for state in listing), invalid=listing.invalid)

    async def stop(self, instance_id: str) -> Instance | None:
        """Stop by id, as `Instance.stop` does; `None` if the instance is gone."""
        state = await self._stop(instance_id)
        return self._instance(state) if state is not None else None

    async def restart(self, instance_id: str) -> Instance:
        """Restart by id, as `Instance.restart` does."""
        state, _ = await self._restart(instance_id)
        return self._instance(state)

    async def delete(self, instance_id: str) -> None:
        """Delete by id, as `Instance.delete` does."""
        await self._delete(instance_id)

    async def stop_all(self) -> Ids:
        """Stop every instance of the whole account, whoever started it. Returns the ids that were stopped.

        Raises:
            OutcomeUnknownError: Some may have been stopped: list them.
        """
        return await self._core.carry("the stop of all instances", lambda: self._bulk(_requests.STOP_ALL))

    async def delete_all(self, force: bool = False) -> Ids:
        """Delete every stopped instance of the whole account, whoever started it. Returns their ids.

        Args:
            force: Also those that are not stopped, which stops them.

        Raises:
            OutcomeUnknownError: Some may have been deleted: list them.
        """
        request = _requests.delete_all(force)
        return await self._core.carry("the deletion of all instances", lambda: self._bulk(request))

    async def _bulk(self, request: _requests.Request) -> Ids:
        settled = await self._core.exchange.settle(request, lambda payload: decode_ids(self._core.converter, payload))
        if settled.action is not Action.DONE:
            raise self._core.exchange.error(request, settled)
        return settled.value or []

    # ---- what an instance asks of its client ---------------------------------------------------------

    def _instance(self, state: InstanceState, meter: Meter | None = None) -> Instance:
        return Instance(
            state.instance_id, state.base_url, state.instance_args, state.instance_status, state.worker_statuses
        )._bind(self, meter)

    async def _start(self, choices: tuple[InstanceArgs, ...], wait_for_capacity: float | None = None) -> Instance:
        start = await self._core.take(choices, wait_for_capacity=wait_for_capacity)
        return self._instance(start.state, start.meter)

    async def _read(self, instance: Instance) -> None:
        instance._assign(await self._core.lookup.get(instance.instance_id))

    async def _stop(self, instance_id: str) -> InstanceState | None:
        _requests.checked_id(instance_id)
        return await self._core.carry(f"the stop of {instance_id}", lambda: self._core.releaser.stop(instance_id))

    async def _restart(self, instance_id: str) -> tuple[InstanceState, Meter]:
        return await self._core.restart(_requests.checked_id(instance_id))

    async def _delete(self, instance_id: str) -> None:
        _requests.checked_id(instance_id)
        await self._core.carry(f"the deletion of {instance_id}", lambda: self._core.releaser.delete(instance_id))

    async def _wait_until_running(
        self,
        instance: Instance,
        *,
        timeout: float,
        stall_timeout: float | None,
        probe: bool,
        on_progress: OnProgress | None,
        began: float | None = None,
        advice: str | None = "it may be billed: wait again or stop it",
    ) -> None:
        """Wait; `began` and `advice` are those of `Wait`."""
        if probe:
            self._core.probe.check()
        wait = Wait(
            self._core.lookup.poller(),
            instance.instance_id,
            timeout=_requests.checked_seconds("timeout", timeout),
            stall_timeout=None if stall_timeout is None else _requests.checked_seconds("stall_timeout", stall_timeout),
            on_state=instance._assign,
            on_progress=on_progress,
            began=began,
            advice=advice,
        )
        state = await wait.until_running(self._core.probe if probe else None)
        if instance._meter is not None:
            instance._meter.usable()
        self._core.announcer.change(state, "usable", wait.elapsed)

    async def _wait_until_stopped(self, instance: Instance, timeout: float) -> None:
        wait = Wait(
            self._core.lookup.poller(),
            instance.instance_id,
            timeout=_requests.checked_seconds("timeout", timeout),
            on_state=instance._assign,
        )
        state = await wait.until_stopped()
        if state is not None:
            self._core.announcer.change(state, "stopped", wait.elapsed)

    def _watch(self, instance: Instance) -> AsyncGenerator[InstanceEvent, None]:
        return watch(self._core.lookup.poller(), instance.snapshot(), instance._assign)
