# Generated from inferlease/instances.py by `python -m inferlease._tools.gen_sync`: do not edit.
"""Instances: start, find, watch and end them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

from inferlease import instances as _async
from inferlease._convert import Listing
from inferlease._port import OnProgress
from inferlease.instances import Ids
from inferlease.money import CostEstimate
from inferlease.objects import InstanceArgs, InstanceEvent, InstanceState, InstanceStatus, WorkerStatus

from . import _bridge, _facade

if TYPE_CHECKING:
    from openai import OpenAI

__all__ = ["Instance", "Instances"]


class Instance(_facade.StateFacade):
    """An instance and its verbs. A verb updates the object in place.

    Equal by value to any `InstanceState`; pickled, it loses its client and its verbs raise
    `DetachedInstanceError`.
    """

    def __init__(
        self,
        instance_id: str,
        base_url: str | None,
        instance_args: InstanceArgs,
        instance_status: InstanceStatus,
        worker_statuses: Sequence[WorkerStatus] = (),
    ) -> None:
        self._inner = _async.Instance(instance_id, base_url, instance_args, instance_status, list(worker_statuses))

    @property
    def instance_id(self) -> str:
        """Unique id."""
        return self._inner.instance_id

    @property
    def base_url(self) -> str | None:
        """Where inference requests go; `None` until the instance is usable."""
        return self._inner.base_url

    @property
    def instance_args(self) -> InstanceArgs:
        """What it was started with."""
        return self._inner.instance_args

    @property
    def instance_status(self) -> InstanceStatus:
        """Where it is in its life."""
        return self._inner.instance_status

    @property
    def worker_statuses(self) -> list[WorkerStatus]:
        """One entry per worker that the server reports; may be empty."""
        return self._inner.worker_statuses

    @property
    def progress(self) -> float | None:
        """From 0.0 to 1.0: the mean over the workers that report, `None` if none does; 1.0 once usable."""
        return self._inner.progress

    @property
    def description(self) -> str | None:
        """The current step in words, of the least advanced worker that says one; else `None`."""
        return self._inner.description

    @property
    def is_usable(self) -> bool:
        """Whether inference requests can be sent: it runs and has a `base_url`."""
        return self._inner.is_usable

    @property
    def is_stopped(self) -> bool:
        """Whether the server says `stopped`. Any other status may be billed."""
        return self._inner.is_stopped

    def snapshot(self) -> InstanceState:
        """A detached copy of the state as it is now, which no later update changes."""
        return self._inner.snapshot()

    @property
    def cost(self) -> CostEstimate | None:
        """What it has cost since this client started it: an estimate that says what it assumes.

        `None` where its price is unknown, or the time of its start, as of an object that did not start it.
        """
        return self._inner.cost

    def refresh(self) -> Self:
        """Read the state anew; returns the instance itself.

        Raises:
            APIError: The server answered with an error; a NotFoundError if the instance is gone.
        """
        _bridge.run(self._inner.refresh)
        return self

    def stop(self) -> Self:
        """Ask for a stop, which ends the billing. To see it stopped, `wait_until_stopped()`.

        Done as well if it is stopped already or gone. A caller that is interrupted
        leaves; the stop goes on.

        Raises:
            OutcomeUnknownError: The stop may or may not have arrived: ask again.
            APIError: The server refused.
        """
        _bridge.run(self._inner.stop)
        return self

    def restart(self) -> Self:
        """Start the stopped instance again; it is billed from here on, until it is stopped.

        Raises:
            OutcomeUnknownError: The restart may or may not have arrived.
            APIError: The server refused.
        """
        _bridge.run(self._inner.restart)
        return self

    def delete(self) -> None:
        """Delete the stopped instance. Done as well if it is gone already.

        Raises:
            APIError: The server refused, as it does while the instance is not stopped.
            OutcomeUnknownError: The deletion may or may not have arrived.
        """
        _bridge.run(self._inner.delete)

    def wait_until_running(
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
            instance = client.instances.get(instance.instance_id)
            instance.wait_until_running(timeout=900, on_progress=print)

        Args:
            timeout: Seconds at most.
            stall_timeout: Seconds at most without a step of any worker; `None` for no such bound.
            probe: Also wait until the instance answers inference requests.
            on_progress: Called with each change.

        Raises:
            WaitTimeoutError: `timeout` passed; a WaitStalledError if `stall_timeout` did.
            InstanceStoppedError: The instance stopped.
            InstanceGoneError: The instance no longer exists.
        """
        _bridge.run(self._inner.wait_until_running, timeout, stall_timeout, probe, _bridge.in_caller(on_progress))
        return self

    def wait_until_stopped(self, timeout: float = 120.0) -> Self:
        """Wait until the instance is stopped or gone. Returns the instance itself.

        Args:
            timeout: Seconds at most.

        Raises:
            WaitTimeoutError: `timeout` passed.
        """
        _bridge.run(self._inner.wait_until_stopped, timeout)
        return self

    def watch(self) -> Iterator[InstanceEvent]:
        """The state at the next poll, then each change, past usable, until the instance is stopped or gone.

        There is no deadline, but 60 seconds without a successful poll end the watch with the last error.

        Example:
            for event in instance.watch():
                print(event.state, event.progress)
                if event.instance.is_usable:
                    break

        Raises:
            InferleaseError: The last error of the polls, after 60 seconds; at once if it can't pass.
        """
        return _bridge.iterate(self._inner.watch)

    def openai(self) -> OpenAI:
        """A client of the `openai` package for this instance, with the key for inference; needs the extra `openai`.

        It goes by the proxy and the certificates of this client. It is yours to close.

        Example:
            instance.wait_until_running()
            with instance.openai() as llm:
                print(llm.models.list())

        Raises:
            ConfigurationError: The key, `base_url` or the package is missing; or the key would travel in the clear.
        """
        return self._inner._client()._openai.synchronous(self._inner)


class Instances(_facade.Facade[_async.Instances]):
    """The instances of the account."""

    def start(
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

        What is left at `None` is not sent: the server's default applies. A caller that is interrupted
        before this returns has started nothing: what was started is stopped again. To have an instance stopped
        whatever happens, use `client.lease()`.

        Example:
            instance = client.instances.start("meta-llama/Llama-3.1-8B-Instruct", num_workers=2)
            instance.wait_until_running(timeout=900)
            instance.stop()

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
        return _bridge.run_to(
            Instance._of,
            self._inner.start,
            model,
            hardware_type_id=hardware_type_id,
            context_length=context_length,
            billing_interval=billing_interval,
            num_workers=num_workers,
            wait_for_capacity=wait_for_capacity,
        )

    def ensure(
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
            instance = client.instances.ensure("meta-llama/Llama-3.1-8B-Instruct")
            instance.wait_until_running()
        """
        return _bridge.run_to(
            Instance._of,
            self._inner.ensure,
            model,
            hardware_type_id=hardware_type_id,
            context_length=context_length,
            billing_interval=billing_interval,
            num_workers=num_workers,
        )

    def get(self, instance_id: str) -> Instance:
        """The instance with this id.

        Raises:
            InvalidArgumentError: It is no id.
            NotFoundError: There is no such instance; some servers answer with another APIError.
        """
        return _bridge.run_to(Instance._of, self._inner.get, instance_id)

    def list(self) -> Listing[Instance]:
        """All instances of the account, stopped ones too. What could not be read is in `.invalid`.

        Example:
            billed = [instance for instance in client.instances.list() if not instance.is_stopped]
        """
        return _bridge.run_to(_bridge.listing(Instance._of), self._inner.list)

    def stop(self, instance_id: str) -> Instance | None:
        """Stop by id, as `Instance.stop` does; `None` if the instance is gone."""
        return _bridge.run_to(_bridge.optional(Instance._of), self._inner.stop, instance_id)

    def restart(self, instance_id: str) -> Instance:
        """Restart by id, as `Instance.restart` does."""
        return _bridge.run_to(Instance._of, self._inner.restart, instance_id)

    def delete(self, instance_id: str) -> None:
        """Delete by id, as `Instance.delete` does."""
        _bridge.run(self._inner.delete, instance_id)

    def stop_all(self) -> Ids:
        """Stop every instance of the whole account, whoever started it. Returns the ids that were stopped.

        Raises:
            OutcomeUnknownError: Some may have been stopped: list them.
        """
        return _bridge.run(self._inner.stop_all)

    def delete_all(self, force: bool = False) -> Ids:
        """Delete every stopped instance of the whole account, whoever started it. Returns their ids.

        Args:
            force: Also those that are not stopped, which stops them.

        Raises:
            OutcomeUnknownError: Some may have been deleted: list them.
        """
        return _bridge.run(self._inner.delete_all, force)
