"""What leases have cost, by the ledger: sums for whoever pays."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, TypeAlias, get_args

from attrs import frozen

from .errors import InvalidArgumentError
from .ledger import StartRecord
from .money import DEFAULT_INTERVAL, amount, billed, charge, duration

__all__ = ["CostGroup", "GroupBy", "Spent", "checked_by", "grouped", "spent"]


GroupBy: TypeAlias = Literal["label", "model", "hardware", "day"]
"""What leases can be summed up by; the day is that of the start, in UTC."""


@frozen
class CostGroup:
    """What some leases came to together. A start whose answer was lost counts once its instance is known.

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


@frozen
class Spent:
    """What an instance has cost at most; `None` where its price, or the billing interval's length, is unknown."""

    seconds: float
    amount: float | None
    currency: str | None

    def __str__(self) -> str:
        cost = "cost unknown" if self.amount is None else f"at most {amount(self.amount, self.currency)}"
        return f"{cost} for {duration(self.seconds)}"


def spent(record: StartRecord, until: datetime) -> Spent:
    """From its start call on, as if it had run all the time."""
    seconds = max((until - record.began).total_seconds(), 0.0)
    interval = record.facts.billing_interval or record.args.billing_interval or DEFAULT_INTERVAL
    price = record.facts.price or record.intent.price
    if price is None:
        return Spent(seconds, None, None)
    return Spent(seconds, charge(price.amount, billed(seconds, interval)), price.currency)


def checked_by(by: object) -> GroupBy:
    """`by`, if leases can be grouped by it; raises InvalidArgumentError otherwise."""
    for known in get_args(GroupBy):
        if by == known:
            grouping: GroupBy = known
            return grouping
    raise InvalidArgumentError(f"by={by!r:.80} is unknown: it is one of {', '.join(get_args(GroupBy))}")


def grouped(records: Iterable[StartRecord], by: GroupBy, at: datetime) -> list[CostGroup]:
    """The leases among the records, summed up by group, the dearest first; what lives is counted up to `at`."""
    groups: dict[str | None, CostGroup] = {}
    for record in records:
        if record.intent.kind != "lease" or record.instance_id is None:
            continue  # it is the user's, or has started nothing, as far as is known
        name = _name(record, by)
        group = groups.setdefault(name, CostGroup(name, 0, 0, 0.0, {}, 0))
        groups[name] = _with(group, record, at)
    return sorted(groups.values(), key=lambda group: (-max(group.amounts.values(), default=0.0), group.name or ""))


def _name(record: StartRecord, by: GroupBy) -> str | None:
    intent = record.intent
    if by == "label":
        return intent.label
    if by == "model":
        return intent.args.hf_name
    if by == "hardware":
        return record.facts.hardware_type_id or intent.args.hardware_type_id or "unknown"
    return intent.at.date().isoformat()


def _with(group: CostGroup, record: StartRecord, at: datetime) -> CostGroup:
    cost = spent(record, record.ended_at or at)
    amounts = dict(group.amounts)
    if cost.amount is not None and cost.currency is not None:
        amounts[cost.currency] = amounts.get(cost.currency, 0.0) + cost.amount
    return CostGroup(
        group.name,
        group.leases + 1,
        group.live + (record.ending is None),
        group.seconds + cost.seconds,
        amounts,
        group.unknown + (cost.amount is None),
    )
