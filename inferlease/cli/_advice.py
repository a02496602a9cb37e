"""The way out of an error, where its message does not name it: it was written for programs, and a person types."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

from inferlease._printing import printable
from inferlease.cli._wording import at_shell
from inferlease.errors import (
    CHECK_ADDRESS,
    APIError,
    AuthenticationError,
    ConfigurationError,
    DecodeError,
    InferleaseError,
    InvalidArgumentError,
    NoCapacityError,
    NotFoundError,
    OutcomeUnknownError,
    PaymentRequiredError,
    RateLimitError,
    ServerError,
    StartRefusedError,
    TransportError,
    WaitTimeoutError,
)

__all__ = ["FIND_ID", "Goal", "is_about_model", "suggest", "with_advice"]

Goal: TypeAlias = Literal["usable", "stopped"]
"""What an instance was waited for to be."""

_ADDRESS = "the address in CORTECS_API_BASE_URL"
FIND_ID = "if the id is mistyped, find the right one with: inferlease ps --all"
_MODELS = "list models with: inferlease models"
_WHATEVER: dict[type[InferleaseError], str] = {
    PaymentRequiredError: "top up the account; what is left shows: inferlease balance",
    NoCapacityError: "name others with --hardware-type, or wait with --wait-for-capacity",
    RateLimitError: "try again later",
    ServerError: "try again later",
}
"""What is to be done about errors of a kind, whatever else they say."""


_suggested: list[str] = []


def suggest(models: Sequence[str]) -> None:
    """Have the error of a model that does not exist name these."""
    _suggested[:] = models


def is_about_model(error: InferleaseError) -> bool:
    """Whether it says that there is no such model."""
    return _advice(error, None) == _MODELS


def with_advice(error: InferleaseError, goal: Goal | None = None) -> str:
    """The error in one line, with what to do about it.

    Args:
        goal: What a verb waited for that leaves the instance as it is; `None` where nothing is left to wait for.
    """
    advice = _advice(error, goal)
    said = str(error).removesuffix(CHECK_ADDRESS) if advice else str(error)
    if advice == _MODELS:
        if _suggested:
            advice = f"did you mean {_either(_suggested)}? {_MODELS}"
        said = re.sub(r"^GET /models/(\S+) was answered 404\b.*", r"there is no model \1", said)
    if goal is not None:
        said = said.replace(": wait again or stop it", "", 1)  # for which there are commands
    if advice == FIND_ID:
        said = f"there is no instance {printable(error.instance_id or '', 80)}"
    return at_shell(f"{said.rstrip('.')}; {advice}" if advice else said)


def _advice(error: InferleaseError, goal: Goal | None) -> str:
    match error:
        case AuthenticationError():
            return f"check CORTECS_CLIENT_ID and CORTECS_CLIENT_SECRET, and {_ADDRESS}"
        case ConfigurationError():
            return _of_setting(str(error))
        case NoCapacityError() if "there is no hardware type" in str(error):
            return "list hardware with: inferlease hardware"
        case StartRefusedError(status=404):
            return _MODELS
        case InvalidArgumentError() if str(error).startswith("not a model name"):
            return _MODELS
        case NotFoundError():
            return _of_unknown(error)
        case TransportError():
            return f"check the network and {_ADDRESS}, or see: inferlease doctor"
        case (
            WaitTimeoutError(instance_id=str() as instance_id) | OutcomeUnknownError(instance_id=str() as instance_id)
        ) if goal is not None:
            return _of_goal(instance_id, goal, is_known=isinstance(error, WaitTimeoutError))
        case DecodeError() if error.instance_id is None:
            return f"check {_ADDRESS}"
        case APIError() if error.status is not None and error.status < 400:
            return f"check {_ADDRESS}"
        case _:
            return next((advice for kind, advice in _WHATEVER.items() if isinstance(error, kind)), "")


def _of_goal(instance_id: str, goal: Goal, *, is_known: bool) -> str:
    """How to go on with an instance that was not seen to get there; `is_known`: whether it was asked to."""
    if not is_known:
        look = f"look with inferlease show {instance_id}"
        return f"until it is stopped it is billed: {look}, or stop it: inferlease stop {instance_id}"
    if goal == "usable":
        go_on = f"to go on waiting: inferlease watch --until usable {instance_id}"
        return f"{go_on}, or to stop it: inferlease stop {instance_id}"
    return f"to stop it, and wait again: inferlease stop {instance_id}"


def _either(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def _of_setting(said: str) -> str:
    if said.startswith("no credentials: set CORTECS_CLIENT_ID and "):
        return "to try it without an account: inferlease demo"
    return "mend it, or unset it" if said.startswith("base_url") and "CORTECS_API_BASE_URL" in os.environ else ""


def _of_unknown(error: NotFoundError) -> str:
    if error.instance_id is not None:
        return FIND_ID
    return _MODELS if " /models/" in str(error) else f"check {_ADDRESS}"
