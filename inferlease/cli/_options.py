"""Types of options that commands share."""

from __future__ import annotations

import math

import click

__all__ = ["SECONDS"]


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


SECONDS = _Seconds()
