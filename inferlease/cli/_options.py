"""Types of options that commands share."""

from __future__ import annotations

import math
import re
from datetime import timedelta

import click

__all__ = ["AGE", "SECONDS"]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


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
            self.fail(f"{value!r} is not an age, such as 90m, 12h or 7d", param, ctx)
        return timedelta(**{_UNITS[found[2]]: int(found[1])})


SECONDS = _Seconds()
AGE = _Age()
