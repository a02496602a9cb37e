"""What is told of money: running costs and receipts. Plain data, and every figure an estimate."""

from __future__ import annotations

import math
from datetime import datetime

from attrs import frozen

from ._printing import printable

__all__ = [
    "ASSUMPTION",
    "DEFAULT_INTERVAL",
    "INTERVALS",
    "CostEstimate",
    "Price",
    "Receipt",
    "amount",
    "billed",
    "charge",
    "duration",
]

INTERVALS = {"per_minute": 60.0, "per_hour": 3600.0}
"""Seconds of each billing interval."""

DEFAULT_INTERVAL = "per_minute"
"""What the server bills by where a start does not say."""

ASSUMPTION = (
    "billed from the start call until the stop is seen, rounded up to the billing interval, "
    "the listed price taken for each GPU of each worker"
)
"""What every upper bound rests on: what of it holds is not documented."""


@frozen
class Price:
    """An amount of money per hour.

    Attributes:
        amount: At most this much per hour.
        currency: Such as `EUR`.
    """

    amount: float
    currency: str

    def __str__(self) -> str:
        return f"{self.amount:.2f} {printable(self.currency, 10)}/h"


def billed(seconds: float, billing_interval: str) -> float | None:
    """`seconds` rounded up to the billing interval; `None` for an interval whose length is unknown."""
    length = INTERVALS.get(billing_interval)
    return None if length is None else math.ceil(max(seconds, 0.0) / length) * length


def charge(per_hour: float | None, seconds: float | None) -> float | None:
    """What so many seconds cost; `None` where either is unknown."""
    return None if per_hour is None or seconds is None else per_hour * seconds / 3600


@frozen
class CostEstimate:
    """What an instance has cost so far, or in all once it is stopped.

    Attributes:
        amount: At most this much.
        listed_amount: The same, were the listed price one for the hardware type, whatever its GPUs.
        currency: Of the amounts.
        seconds: From the start call on.
        billed_seconds: The same, rounded up to the billing interval.
        assumption: What the figures rest on.
    """

    amount: float
    listed_amount: float
    currency: str
    seconds: float
    billed_seconds: float
    assumption: str = ASSUMPTION

    def __str__(self) -> str:
        return f"at most {amount(self.amount, self.currency)} for {duration(self.seconds)} ({self.assumption})"


@frozen
class Receipt:
    """What a lease came to. Durations are seconds of the monotonic clock; `None` is unknown.

    Attributes:
        instance_id: The instance that was leased.
        model_id: The model's internal id.
        hardware_type_id: The hardware of one worker.
        num_workers: How many workers were billed.
        billing_interval: `per_minute` or `per_hour`.
        label: As given to the lease.
        began_at: When the start was sent, in UTC.
        usable_at: When the instance was seen usable; `None` if it was not.
        ended_at: When it was seen stopped; `None` if that was not seen, so that it may still be billed.
        seconds: From the start call until it was seen stopped, or up to now.
        startup_seconds: From the start call until it was seen usable.
        billed_seconds: `seconds`, rounded up to the billing interval.
        amount: At most this much.
        listed_amount: The same, were the listed price one for the hardware type, whatever its GPUs.
        currency: Of the amounts.
        startup_share: The share of `seconds` before it was usable, from 0.0 to 1.0; 1.0 if it never was.
        idle_share: Always `None`: requests go straight to the instance, so how busy it was is not known here.
        assumption: What the figures rest on.
    """

    instance_id: str
    model_id: str
    hardware_type_id: str | None
    num_workers: int
    billing_interval: str
    label: str | None
    began_at: datetime
    usable_at: datetime | None
    ended_at: datetime | None
    seconds: float
    startup_seconds: float | None
    billed_seconds: float | None
    amount: float | None
    listed_amount: float | None
    currency: str | None
    startup_share: float
    idle_share: float | None = None
    assumption: str = ASSUMPTION

    def __str__(self) -> str:
        return f"{self.brief()}; {self.assumption}"

    def brief(self) -> str:
        """In one line, without the assumption."""
        cost = "cost unknown" if self.amount is None else f"at most {amount(self.amount, self.currency)}"
        until = "never usable" if self.startup_seconds is None else f"usable after {duration(self.startup_seconds)}"
        counted = "" if self.billed_seconds is None else f", billed as {duration(self.billed_seconds)}"
        still = "" if self.ended_at is not None else "; not seen to stop: it may still be billed"
        return f"{cost} for {duration(self.seconds)} ({until}{counted}){still}"


def amount(value: float | None, currency: str | None, digits: int = 4) -> str:
    """An amount of money for people."""
    return "unknown" if value is None else f"{value:.{digits}f} {printable(currency or '?', 10)}"


def duration(seconds: float) -> str:
    """A duration for people."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 or seconds == int(seconds) else f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
