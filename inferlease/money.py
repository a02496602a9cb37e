"""What is told of money: quotes, running costs, receipts. Plain data, and every figure an estimate."""

from __future__ import annotations

import math
import textwrap
from datetime import datetime
from typing import Literal, TypeAlias

from attrs import frozen

from ._printing import printable
from .objects import Balance

__all__ = [
    "ASSUMPTION",
    "DEFAULT_INTERVAL",
    "INTERVALS",
    "CostEstimate",
    "CostGroup",
    "GroupBy",
    "HardwareQuote",
    "Price",
    "Quote",
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

# Columns that the narrowest of usual terminals shows, but for the last, at which some begin a new line.
_WIDTH = 79

GroupBy: TypeAlias = Literal["label", "model", "hardware", "day"]
"""What leases can be summed up by; the day is that of the start, in UTC."""

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


@frozen
class HardwareQuote:
    """What a model would cost on one hardware type. `None` is unknown.

    Attributes:
        hardware_type_id: Such as `NVIDIA_L4_1`.
        price_per_hour: At most this much for all workers, the listed price being taken for each GPU.
        listed_per_hour: The listed price times the workers, were it one for the type.
        currency: Of all amounts here.
        is_available: Whether it can be started now.
        is_recommended: Whether a start takes it by default.
        cost: Of the quote's `duration`, at most.
        listed_cost: The same at the listed price.
        runway: Seconds that the account's balance lasts at `price_per_hour`.
    """

    hardware_type_id: str
    price_per_hour: float | None
    listed_per_hour: float | None
    currency: str | None
    is_available: bool
    is_recommended: bool
    cost: float | None = None
    listed_cost: float | None = None
    runway: float | None = None


@frozen
class Quote:
    """What a model would cost, on each hardware type that serves it: the cheapest that is available comes first.

    Attributes:
        model_id: The model's internal id.
        num_workers: How many workers are counted.
        billing_interval: What `duration` is rounded up to.
        duration: The seconds that `cost` is for; `None` if none were given.
        billed_seconds: `duration`, rounded up.
        balance: What is left on the account; `None` if it could not be read.
        balance_trouble: Why not.
        hardware: One entry for each hardware type.
        assumption: What the figures rest on.
    """

    model_id: str
    num_workers: int
    billing_interval: str
    duration: float | None
    billed_seconds: float | None
    balance: Balance | None
    balance_trouble: str | None
    hardware: tuple[HardwareQuote, ...]
    assumption: str = ASSUMPTION

    def __str__(self) -> str:
        titles, rows = self.table()
        widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (titles, *rows)
        ]
        return "\n".join([*table, *(part for note in self.notes() for part in textwrap.wrap(note, _WIDTH))])

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The titles of its columns, and a row for each hardware type, as a person reads them."""
        titles = ["hardware type", "available", "at most/h", "listed/h"]
        if self.duration is not None:
            titles.append(f"for {duration(self.duration)}")
        if self.balance is not None:
            titles.append("balance lasts")
        return titles, [self._row(each) for each in self.hardware]

    def notes(self) -> list[str]:
        """What the table rests on, and what a start takes by default."""
        workers = f"{self.num_workers} worker" + "s" * (self.num_workers > 1)
        notes = [f"{workers}, {self.billing_interval}; an estimate: {self.assumption}"]
        default = [printable(each.hardware_type_id, 60) for each in self.hardware if each.is_recommended]
        if default:
            notes.append(f"recommended, and taken unless another is named: {default[0]}")
        if self.balance is None:
            notes.append(f"how long the balance lasts is unknown: {self.balance_trouble}")
        return notes

    def _row(self, each: HardwareQuote) -> list[str]:
        row = [printable(each.hardware_type_id, 60), "yes" if each.is_available else "no"]
        row += [amount(each.price_per_hour, each.currency, 2), amount(each.listed_per_hour, each.currency, 2)]
        if self.duration is not None:
            row.append(amount(each.cost, each.currency))
        if self.balance is not None:
            row.append("unknown" if each.runway is None else duration(each.runway))
        return row


@frozen
class CostGroup:
    """What some leases came to together.

    Attributes:
        name: What they have in common: a label, model, hardware type or day; `None` for those without a label.
        leases: How many there are.
        live: How many of them have not ended, as far as is known: they are counted up to now.
        seconds: In all, from each start call to the end.
        amounts: By currency, what those of a known price have cost at most.
        unknown: How many have an unknown price: they are in no amount.
    """

    name: str | None
    leases: int
    live: int
    seconds: float
    amounts: dict[str, float]
    unknown: int


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
