"""Requests: what is asked of the server, and the checks of arguments and ids before anything is sent."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import cast

from attrs import evolve, field, frozen

from ._names import model_id_of
from .errors import InvalidArgumentError
from .objects import InstanceArgs

MAX_WORKERS = 8
MAX_SECONDS = 1_000_000_000
MAX_LABEL = 200
BILLING_INTERVALS = ("per_minute", "per_hour")


class Operation(enum.Enum):
    """What a request does, as far as it matters when its outcome is in doubt."""

    READ = "read"
    START = "start"
    STOP = "stop"
    DELETE = "delete"
    RESTART = "restart"
    BULK = "bulk"

    @property
    def mutates(self) -> bool:
        return self is not Operation.READ


@frozen(eq=False, repr=False)
class Request:
    """One request: `path` is below the base URL, `body` is JSON to be."""

    operation: Operation
    method: str
    path: str
    body: Mapping[str, object] | None = field(default=None, repr=False)  # it may carry the secret
    instance_id: str | None = None
    authenticated: bool = True

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,199}", re.ASCII)
# As the last part of a path these are other calls: DELETE /instances/delete-all wipes the account.
_RESERVED = frozenset({"delete-all", "stop-all", "start", "restart", "stop", "available"})


def is_valid_id(value: object) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None and value.lower() not in _RESERVED


def checked_id(value: str, what: str = "instance id") -> str:
    """`value`, if it is safe as the last part of a path; raises InvalidArgumentError otherwise."""
    if not is_valid_id(value):
        raise InvalidArgumentError(
            f"{value!r:.80} is not a valid {what}: letters, digits, '-', '_' and single '.' only, "
            "at most 200 of them, and no name of another call"
        )
    return value


def checked_seconds(name: str, value: object) -> float:
    """`value` as seconds; raises InvalidArgumentError unless it is a positive number that makes sense."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_SECONDS:
        raise InvalidArgumentError(f"{name}={value!r:.80} is not a positive number of seconds up to {MAX_SECONDS:,}")
    return float(value)


def checked_label(value: object) -> str | None:
    """`value`, if it may be a label; raises InvalidArgumentError otherwise."""
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_LABEL or not value.isprintable():
        raise InvalidArgumentError(f"label={value!r:.80} is not a text of 1 to {MAX_LABEL} printable characters")
    return value


def checked_model(name: str) -> str:
    """The model id of a Hugging Face name or model id; raises InvalidArgumentError if it is neither."""
    try:
        return model_id_of(name)
    except (ValueError, TypeError) as error:
        raise InvalidArgumentError(str(error)) from None


def start_arguments(
    model: str,
    *,
    hardware_type_id: str | None = None,
    context_length: int | None = None,
    billing_interval: str | None = None,
    num_workers: int | None = None,
) -> InstanceArgs:
    """Check a start's arguments. `None` is not sent: the server's default applies."""
    if hardware_type_id is not None:
        checked_id(hardware_type_id, "hardware type id")
    if context_length is not None and (type(context_length) is not int or not 0 < context_length < 2**31):
        raise InvalidArgumentError(f"context_length={context_length!r:.80} is not a positive whole number of tokens")
    if billing_interval is not None and billing_interval not in BILLING_INTERVALS:
        raise InvalidArgumentError(
            f"billing_interval={billing_interval!r:.80} is unknown: it is one of {', '.join(BILLING_INTERVALS)}"
        )
    if num_workers is not None and (type(num_workers) is not int or not 1 <= num_workers <= MAX_WORKERS):
        raise InvalidArgumentError(f"num_workers={num_workers!r:.80} is not a whole number from 1 to {MAX_WORKERS}")
    return InstanceArgs(
        model_id=checked_model(model),
        hardware_type_id=hardware_type_id,
        context_length=context_length,
        billing_interval=billing_interval,
        num_workers=num_workers,
    )


def start_choices(
    model: str,
    *,
    hardware_type_id: str | Sequence[str] | None = None,
    context_length: int | None = None,
    billing_interval: str | None = None,
    num_workers: int | None = None,
) -> tuple[InstanceArgs, ...]:
    """Check a start's arguments, of which the hardware may be several: the arguments for each, in their order."""
    args = start_arguments(
        model, context_length=context_length, billing_interval=billing_interval, num_workers=num_workers
    )
    if hardware_type_id is None:
        return (args,)
    given: object = (hardware_type_id,) if isinstance(hardware_type_id, str) else hardware_type_id
    if not isinstance(given, Sequence) or not given:
        raise InvalidArgumentError(
            f"hardware_type_id={hardware_type_id!r:.80} is neither an id nor a list of ids to try in this order"
        )
    chosen = tuple(checked_id(name, "hardware type id") for name in cast("Sequence[str]", given))
    if len(set(chosen)) < len(chosen):
        raise InvalidArgumentError(f"hardware_type_id={','.join(chosen):.80} names a hardware type more than once")
    return tuple(evolve(args, hardware_type_id=name) for name in chosen)


def sent_arguments(args: InstanceArgs) -> dict[str, object]:
    """The arguments of a start that are sent, by wire name."""
    values = {
        "model_id": args.model_id,
        "hardware_type_id": args.hardware_type_id,
        "context_length": args.context_length,
        "billing_interval": args.billing_interval,
        "num_workers": args.num_workers,
    }
    return {name: value for name, value in values.items() if value is not None}


def get(path: str, *, authenticated: bool = True, instance_id: str | None = None) -> Request:
    return Request(Operation.READ, "GET", path, authenticated=authenticated, instance_id=instance_id)


def token(client_id: str, client_secret: str) -> Request:
    body = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
    return Request(Operation.READ, "POST", "/oauth2/token", body, authenticated=False)


def get_instance(instance_id: str) -> Request:
    return _get_instance(instance_id if type(instance_id) is str else checked_id(instance_id))


@lru_cache(maxsize=1024)  # a poll asks for the same ones again and again
def _get_instance(instance_id: str) -> Request:
    return get(f"/instances/{checked_id(instance_id)}", instance_id=instance_id)


LIST_INSTANCES = get("/instances/")
LIST_MODELS = get("/models/", authenticated=False)
LIST_HARDWARE_TYPES = get("/hardware-types/", authenticated=False)
LIST_AVAILABLE = get("/hardware-types/available", authenticated=False)
GET_BALANCE = get("/user/balance")
STOP_ALL = Request(Operation.BULK, "POST", "/instances/stop-all")


def get_model(model: str) -> Request:
    return get(f"/models/{checked_model(model)}", authenticated=False)


def start(args: InstanceArgs) -> Request:
    return Request(Operation.START, "POST", "/instances/start", sent_arguments(args))


def stop(instance_id: str) -> Request:
    return _by_id(Operation.STOP, "/instances/stop", instance_id)


def restart(instance_id: str) -> Request:
    return _by_id(Operation.RESTART, "/instances/restart", instance_id)


def delete(instance_id: str) -> Request:
    path = f"/instances/{checked_id(instance_id)}"
    return Request(Operation.DELETE, "DELETE", path, instance_id=instance_id)


def delete_all(force: bool) -> Request:
    if type(force) is not bool:
        raise InvalidArgumentError(f"force={force!r:.80} is neither True nor False")
    return Request(Operation.BULK, "DELETE", f"/instances/delete-all?force_deletion={str(force).lower()}")


def _by_id(operation: Operation, path: str, instance_id: str) -> Request:
    return Request(operation, "POST", path, {"instance_id": checked_id(instance_id)}, instance_id)
