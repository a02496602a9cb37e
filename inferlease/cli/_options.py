"""Types of options, and options, that commands share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from inferlease._requests import MAX_SECONDS
from inferlease.cli._completion import complete_hardware, complete_models
from inferlease.cli._wording import remember_model

__all__ = [
    "AGE",
    "POSITIVE_SECONDS",
    "SECONDS",
    "billing_option",
    "ids_only",
    "in_json",
    "model_argument",
    "require_wait",
    "spec_options",
    "wait_options",
]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

F = TypeVar("F", bound=Callable[..., Any])


class _Seconds(click.ParamType[float]):
    """A duration, within the bounds of those that are arguments of the client: seconds, unless it has a unit."""

    name = "seconds"

    def __init__(self, *, may_be_zero: bool) -> None:
        self._may_be_zero = may_be_zero

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002 - click's signature
        return "N[s|m|h|d|w]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value)
        number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
        try:
            seconds = float(number) * timedelta(**{_UNITS[unit]: 1}).total_seconds()
        except ValueError:
            seconds = math.nan
        if not (0 < seconds <= MAX_SECONDS or (self._may_be_zero and seconds == 0)):
            kind = "number" if self._may_be_zero else "positive number"
            self.fail(f"{value!r} is not a {kind} of seconds up to {MAX_SECONDS:,}, such as 0.5, 90 or 10m", param, ctx)
        return seconds


class _Age(click.ParamType[timedelta]):
    """How long ago: a whole number and a unit."""

    name = "age"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002 - click's signature
        return "N{s|m|h|d|w}"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"([0-9]{1,5})([smhdw])", str(value), re.ASCII)
        if found is None:
            self.fail(f"{value!r:.80} is not an age, such as 90m, 12h or 7d", param, ctx)
        return timedelta(**{_UNITS[found[2]]: int(found[1])})


SECONDS = _Seconds(may_be_zero=True)
POSITIVE_SECONDS = _Seconds(may_be_zero=False)
AGE = _Age()


def in_json(what: str) -> Callable[[F], F]:
    """The option --json, which makes `form` "json"."""
    return click.option("--json", "form", flag_value="json", help=what)


def ids_only(what: str = "Ids only, one a line.") -> Callable[[F], F]:
    """The option -q, which makes `form` "ids"."""
    return click.option("-q", "--quiet", "form", flag_value="ids", help=what)


model_argument = click.argument(
    "model", shell_complete=complete_models, callback=lambda _ctx, _param, name: remember_model(name)
)

billing_option = click.option(
    "--billing-interval", type=click.Choice(["per_minute", "per_hour"]), help="By default per_minute."
)

_SPEC = (
    click.option(
        "--hardware-type",
        metavar="ID",
        multiple=True,
        shell_complete=complete_hardware,
        help="Such as NVIDIA_L4_1; by default the recommended one. Of several, the first that is available.",
    ),
    click.option("--context-length", type=int, metavar="TOKENS", help="By default the most that fits, up to 32,000."),
    billing_option,
    click.option("--num-workers", type=click.IntRange(1, 8), help="Each is billed; by default 1."),
    click.option(
        "--wait-for-capacity",
        type=SECONDS,
        callback=lambda _ctx, _param, seconds: seconds or None,
        help="At most until there is hardware; by default 0.",
    ),
)

_WAIT = (
    click.option(
        "--timeout", type=POSITIVE_SECONDS, default="15m", show_default=True, help="At most until it is usable."
    ),
    click.option(
        "--stall-timeout", type=POSITIVE_SECONDS, help="At most without a step of any worker; by default no limit."
    ),
)


def spec_options(function: F) -> F:
    """The options that say what is started."""
    for option in reversed(_SPEC):
        function = option(function)
    return function


def require_wait(wait: bool) -> None:
    """Raise UsageError for an option of a wait where there is none."""
    context = click.get_current_context()
    for option in (each for each in context.command.params if each.name in ("timeout", "stall_timeout")):
        if not wait and context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{option.opts[0]} is about a wait: add --wait", context)


def wait_options(function: F) -> F:
    """The options of a wait until an instance is usable."""
    for option in reversed(_WAIT):
        function = option(function)
    return function
