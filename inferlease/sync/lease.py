# Generated from inferlease/lease.py by `python -m inferlease._tools.gen_sync`: do not edit.
"""The lease: start, wait, use, release."""

from __future__ import annotations

from types import TracebackType

from inferlease import lease as _async
from inferlease.money import Receipt

from . import _bridge, _facade
from .instances import Instance

__all__ = ["Lease"]


class Lease(_facade.Facade[_async.Lease]):
    """A dedicated instance for as long as the work takes. Made by `client.lease()`.

    `with lease as instance:` starts the instance, waits until it is usable, and stops it at the end,
    whatever happens in between. `acquire()` and `release()` are for code that can't use `with`.

    Example:
        lease = client.lease("meta-llama/Llama-3.1-8B-Instruct")
        instance = lease.acquire()
        try:
            print(instance.base_url)
        finally:
            lease.release()
    """

    @property
    def instance(self) -> Instance | None:
        """The leased instance, once it was started; after the release as it was last seen."""
        return _bridge.optional(Instance._of)(self._inner.instance)

    @property
    def receipt(self) -> Receipt | None:
        """What the lease came to, once the release is over; an estimate that says what it assumes.

        `None` before that, and where nothing was started.
        """
        return self._inner.receipt

    def acquire(self) -> Instance:
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
        return _bridge.run_to(Instance._of, self._inner.acquire)

    def release(self) -> None:
        """Stop the instance, and wait until it is seen stopped or `release_timeout` is over. Idempotent.

        With `keep` the instance is left running. One that was stopped in between and started again is left too:
        the lease has ended with its first stop.
        A caller that is interrupted no longer waits; the release goes on.

        Raises:
            LeaseLimitError: The lease reached a limit and was stopped because of that.
            OutcomeUnknownError: The instance was not seen to stop; the message says how to stop it by hand.
            StartOutcomeUnknownError: It is not known whether there is one: the error has the candidates.
        """
        _bridge.run(self._inner.release)

    def __enter__(self) -> Instance:
        return _bridge.run_to(Instance._of, self._inner.__aenter__)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            _bridge.leave(self._inner, kind, error, traceback)
        except BaseException:  # an interrupt may come before it has begun
            _bridge.throw_away(self._inner)
            raise
