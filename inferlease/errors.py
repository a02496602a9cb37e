"""The exception hierarchy. Every error is one line that a user can act on, with its facts as typed fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .objects import HardwareType, InstanceState

__all__ = [
    "APIError",
    "AuthenticationError",
    "ConfigurationError",
    "ConflictError",
    "DecodeError",
    "DetachedInstanceError",
    "InferleaseError",
    "InstanceGoneError",
    "InstanceStoppedError",
    "InvalidArgumentError",
    "LeaseLimitError",
    "LedgerError",
    "NoCapacityError",
    "NotFoundError",
    "OutcomeUnknownError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "RateLimitError",
    "ServerError",
    "StartOutcomeUnknownError",
    "StartRefusedError",
    "TransportError",
    "WaitStalledError",
    "WaitTimeoutError",
]

# How the message of a TransportError ends where nobody was reached.
CHECK_ADDRESS = "; check the network and base_url"
# How that of an OutcomeUnknownError goes on where a guard will stop what this process could not.
GUARD_GOES_ON = "; once this process has ended, its guard goes on trying, unless the machine or container ends too"


def _restore(cls: type[InferleaseError], args: tuple[Any, ...], fields: dict[str, Any]) -> InferleaseError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class InferleaseError(Exception):
    """Base of every error that this library raises.

    Attributes:
        message: The error in one line.
        status: HTTP status of the answer, `None` if there was none.
        request_id: The server's `X-Request-Id`, if it sent one.
        instance_id: The instance concerned, if one is known.
        last_state: The last state seen of that instance, detached, if any was seen.
    """

    # Whether the same request may succeed a little later: what a wait tolerates while it polls.
    _passes = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        instance_id: str | None = None,
        last_state: InstanceState | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.request_id = request_id
        self.instance_id: str | None = instance_id if instance_id or last_state is None else last_state.instance_id
        self.last_state = last_state

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


class InvalidArgumentError(InferleaseError, ValueError):
    """An argument or id was refused before any request was sent."""


class ConfigurationError(InferleaseError):
    """Credentials or a key are missing or unusable; the message says which and where they are read from."""


class DetachedInstanceError(InferleaseError):
    """A verb was called on an instance that belongs to no client, such as an unpickled one."""


class TransportError(InferleaseError):
    """No whole answer arrived, and nothing was changed on the server by this call."""

    _passes = True


class DecodeError(InferleaseError):
    """An answer arrived, but it is not what the API documents.

    Attributes:
        path: Where in the JSON, such as `instance.worker_statuses[1].init_progress.current_step`.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str,
        status: int | None = None,
        request_id: str | None = None,
        instance_id: str | None = None,
    ) -> None:
        super().__init__(message, status=status, request_id=request_id, instance_id=instance_id)
        self.path = path


class OutcomeUnknownError(InferleaseError):
    """A change may or may not have happened on the server; the message says how to find out."""


class StartOutcomeUnknownError(OutcomeUnknownError):
    """A start was sent and its outcome is unknown: it may be billed.

    Attributes:
        candidates: Instances that appeared since and fit what was asked for.
    """

    def __init__(self, message: str, *, candidates: Sequence[InstanceState] = (), status: int | None = None) -> None:
        super().__init__(message, status=status)
        self.candidates: tuple[InstanceState, ...] = tuple(candidates)


class StartRefusedError(InferleaseError):
    """The server refused the start (400, 404, 409 or 422): nothing runs and nothing is billed."""


class NoCapacityError(StartRefusedError):
    """The start was refused and the wanted hardware type is not available now.

    Attributes:
        available: The hardware types that can be started now.
        compatible: Ids of those of them that can serve the model.
    """

    def __init__(
        self,
        message: str,
        *,
        available: Sequence[HardwareType] = (),
        compatible: Sequence[str] = (),
        status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, status=status, request_id=request_id)
        self.available: tuple[HardwareType, ...] = tuple(available)
        self.compatible: tuple[str, ...] = tuple(compatible)


class WaitTimeoutError(InferleaseError, TimeoutError):
    """The deadline of a wait passed. The instance is as it was: wait again, or stop it."""


class WaitStalledError(WaitTimeoutError):
    """No worker made a step for `stall_timeout` seconds."""


class InstanceStoppedError(InferleaseError):
    """The instance stopped while it was waited for."""


class InstanceGoneError(InferleaseError):
    """The instance no longer exists on the server."""


class LedgerError(InferleaseError):
    """The ledger can't be written or read; the message says where it is and what to change."""


class LeaseLimitError(InferleaseError):
    """A lease reached a limit and is stopped, or its limit can't be kept to and nothing was started.

    Attributes:
        limit: `max_cost`, `max_duration` or `min_balance`.
        value: The limit: an amount of money, or seconds.
        reached: What was reached when it was stopped; `None` if that is unknown, or nothing was started.
    """

    def __init__(
        self,
        message: str,
        *,
        limit: Literal["max_cost", "max_duration", "min_balance"],
        value: float,
        reached: float | None = None,
        instance_id: str | None = None,
    ) -> None:
        super().__init__(message, instance_id=instance_id)
        self.limit: Literal["max_cost", "max_duration", "min_balance"] = limit
        self.value = value
        self.reached = reached


class APIError(InferleaseError):
    """The server answered with an error status.

    Attributes:
        retry_after: Seconds that the server asked to wait, `None` if it did not.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        instance_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status=status, request_id=request_id, instance_id=instance_id)
        self.retry_after = retry_after


class AuthenticationError(APIError):
    """401: the credentials were not accepted."""


class PaymentRequiredError(APIError):
    """402: the account's balance does not allow this."""


class PermissionDeniedError(APIError):
    """403: the account may not do this."""


class NotFoundError(APIError):
    """404: no such instance, model or path."""


class ConflictError(APIError):
    """409: the state of the instance does not allow this now."""


class RateLimitError(APIError):
    """429: too many requests, and the wait that the server asked for did not fit into the deadline."""

    _passes = True


class ServerError(APIError):
    """5xx: the server failed."""

    _passes = True
