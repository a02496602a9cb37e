"""Types of options, and options, that commands share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click

from inferlease.cli._completion import complete_hardware, complete_models

__all__ = ["AGE", "SECONDS", "ids_only", "in_json", "model_argument", "spec_options", "wait_options"]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

F = TypeVar("F", bound=Callable[..., Any])


class _Seconds(click.ParamType[float]):
    """A duration: a finite number that is not negative."""

    name = "seconds"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(str(value))
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds < math.inf:
            self.fail(f"{value!r} is not a number of seconds, such as 0.5 or 90", param, ctx)
        return seconds


class _Age(click.ParamType[timedelta]):
    """How long ago: a whole number and a unit."""

    name = "age"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"([0-9]{1,5})([smhdw])", str(value), re.ASCII)
        if found is None:
            self.fail(f"{value!r:.80} is not an age, such as 90m, 12h or 7d", param, ctx)
        return timedelta(**{_UNITS[found[2]]: int(found[1])})


SECONDS = _Seconds()
AGE = _Age()


def in_json(what: str) -> Callable[[F], F]:
    """The option --json, which makes `form` "json"."""
    return click.option("--json", "form", flag_value="json", help=what)


def ids_only(what: str = "Ids only, one a line.") -> Callable[[F], F]:
    """The option -q, which makes `form` "ids"."""
    return click.option("-q", "--quiet", "form", flag_value="ids", help=what)


model_argument = click.argument("model", shell_complete=complete_models)

_SPEC = (
    click.option(
        "--hardware-type",
        metavar="ID",
        multiple=True,
        shell_complete=complete_hardware,
        help="Such as NVIDIA_L4_1; by default the recommended one. Of several, the first that is available.",
    ),
    click.option("--context-length", type=int, metavar="TOKENS", help="By default the most that fits, up to 32,000."),
    click.option("--billing-interval", type=click.Choice(["per_minute", "per_hour"]), help="By default per_minute."),
    click.option("--num-workers", type=click.IntRange(1, 8), help="Each is billed; by default 1."),
    click.option("--wait-for-capacity", type=SECONDS, help="At most until there is hardware; by default 0."),
)

_WAIT = (
    click.option("--timeout", type=SECONDS, default=900.0, show_default=True, help="At most until it is usable."),
    click.option("--stall-timeout", type=SECONDS, help="At most without a step of any worker; by default no limit."),
)


def spec_options(function: F) -> F:
    """The options that say what is started."""
    for option in reversed(_SPEC):
        function = option(function)
    return function


def wait_options(function: F) -> F:
    """The options of a wait until an instance is usable."""
    for option in reversed(_WAIT):
        function = option(function)
    return function
