"""Quotes: what a model would cost on each hardware type that serves it."""

from __future__ import annotations

import asyncio
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TypeVar

from attrs import frozen

from . import _requests
from ._capacity import listed
from ._core import Core
from ._printing import printable
from .errors import InferleaseError, InvalidArgumentError
from .money import ASSUMPTION, DEFAULT_INTERVAL, amount, billed, charge, duration
from .objects import Balance, HardwareType, InstanceArgs, ModelDetail
from .pricing import hourly, listed_hourly

__all__ = ["HardwareQuote", "Quote", "quoted"]

T = TypeVar("T")

# Columns that the narrowest of usual terminals shows, but for the last, at which some begin a new line.
_WIDTH = 79


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


async def quoted(core: Core, choices: Sequence[InstanceArgs], seconds: float | None) -> Quote:
    """The quote for a start with these arguments. Raises what reading models and hardware types raises."""
    # All of them to their end: none goes on once this has raised.
    reads = await asyncio.gather(
        core.lookup.model(choices[0].model_id),
        core.exchange.read(_requests.LIST_HARDWARE_TYPES, core.prices.decode_types),
        core.capacity.available(),
        core.lookup.balance(),
        return_exceptions=True,
    )
    model, types, available = _value(reads[0]), _value(reads[1]), _value(reads[2])
    # A quote does not need what is left.
    balance = reads[3] if isinstance(reads[3], InferleaseError) else _value(reads[3])
    left, trouble = (None, str(balance)) if isinstance(balance, InferleaseError) else (balance, None)
    interval, workers = choices[0].billing_interval or DEFAULT_INTERVAL, choices[0].num_workers or 1
    counted = None if seconds is None else billed(seconds, interval)
    known, free = {hardware.hardware_type_id: hardware for hardware in types}, listed(available)
    quotes = [
        _quote(
            known.get(name, HardwareType(name)),
            workers,
            counted,
            left,
            is_available=name in free,
            is_recommended=name == model.recommended_config,
        )
        for name in _serving(model, choices, known)
    ]
    return Quote(
        model_id=model.model_id,
        num_workers=workers,
        billing_interval=interval,
        duration=seconds,
        billed_seconds=counted,
        balance=left,
        balance_trouble=trouble,
        hardware=tuple(sorted(quotes, key=_rank)),
    )


def _value(read: T | BaseException) -> T:
    if isinstance(read, BaseException):
        raise read
    return read


def _serving(model: ModelDetail, choices: Sequence[InstanceArgs], known: Mapping[str, HardwareType]) -> list[str]:
    """Ids of the types to quote: those that serve the model, or those of them that were asked for."""
    compatible = list(model.hardware_configs or [])
    compatible = compatible + [name for name in model.configs if name not in compatible] or list(known)
    asked = [args.hardware_type_id for args in choices if args.hardware_type_id is not None]
    unfit = [name for name in asked if name not in compatible]
    if unfit:
        raise InvalidArgumentError(
            f"{printable(model.hf_name, 120)} can't be served on {', '.join(unfit):.300}; "
            f"it can on: {printable(', '.join(compatible), 300)}"
        )
    return asked or compatible


def _quote(
    hardware: HardwareType,
    workers: int,
    counted: float | None,
    balance: Balance | None,
    *,
    is_available: bool,
    is_recommended: bool,
) -> HardwareQuote:
    price, as_listed = hourly(hardware, workers), listed_hourly(hardware, workers)
    at_most = price.amount if price is not None else None
    listed_per_hour = as_listed.amount if as_listed is not None else None
    return HardwareQuote(
        hardware_type_id=hardware.hardware_type_id,
        price_per_hour=at_most,
        listed_per_hour=listed_per_hour,
        currency=as_listed.currency if as_listed is not None else None,
        is_available=is_available,
        is_recommended=is_recommended,
        cost=charge(at_most, counted),
        listed_cost=charge(listed_per_hour, counted),
        runway=(
            max(balance.current_balance, 0.0) / at_most * 3600
            if balance is not None and price is not None and at_most and balance.currency == price.currency
            else None
        ),
    )


def _rank(each: HardwareQuote) -> tuple[bool, float, str]:
    """Those that are available first, then the cheapest; what is unknown is not cheap."""
    return (
        not each.is_available,
        math.inf if each.price_per_hour is None else each.price_per_hour,
        each.hardware_type_id,
    )
