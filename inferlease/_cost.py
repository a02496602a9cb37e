"""What one instance costs, counted from its start call on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from ._spec import with_defaults
from .ledger import Facts, now
from .money import CostEstimate, Price, Receipt, billed, charge
from .objects import InstanceArgs, completed
from .pricing import PriceList

__all__ = ["Meter", "tell_every_hour"]

log = logging.getLogger("inferlease")

# Seconds between two lines about what a lease has cost so far.
TELL_EVERY = 3600.0


class Meter:
    """Counts one life of an instance. Callable from any thread; it begins to count when it is made.

    Args:
        prices: Of the client.
        args: What was asked for, as far as the server's defaults are known.

    Attributes:
        began: Monotonic time of the start call.
        began_at: The same in UTC.
    """

    def __init__(self, prices: PriceList, args: InstanceArgs) -> None:
        self.began: float = time.monotonic()
        self.began_at: datetime = now()
        self._prices = prices
        self._asked = args
        self._args = with_defaults(args)
        self._usable: float | None = None
        self._ended: float | None = None

    @property
    def args(self) -> InstanceArgs:
        """What is billed, as far as it is known."""
        return self._args

    @property
    def price(self) -> Price | None:
        """At most, per hour; `None` where it is unknown."""
        return self._prices.known(self._args)

    @property
    def seconds(self) -> float:
        """From the start call until it was seen stopped, or up to now."""
        return (time.monotonic() if self._ended is None else self._ended) - self.began

    @property
    def usable_at(self) -> datetime | None:
        """When it was seen usable, in UTC."""
        return self._instant(self._usable)

    def learn(self, args: InstanceArgs) -> None:
        """Take over what an answer says was started."""
        self._args = with_defaults(completed(args, self._asked))

    def usable(self) -> None:
        """It is seen usable; only the first time counts."""
        if self._usable is None:
            self._usable = time.monotonic()

    def stop(self) -> None:
        """It is seen stopped; only the first time counts."""
        if self._ended is None:
            self._ended = time.monotonic()

    def estimate(self) -> CostEstimate | None:
        """What it has cost so far; `None` where the price, or the length of the billing interval, is unknown."""
        price, listed, seconds = self.price, self._prices.listed(self._args), self.seconds
        counted = billed(seconds, self._args.billing_interval or "")
        if price is None or listed is None or counted is None:
            return None
        return CostEstimate(
            amount=price.amount * counted / 3600,
            listed_amount=listed.amount * counted / 3600,
            currency=price.currency,
            seconds=seconds,
            billed_seconds=counted,
        )

    def facts(self) -> Facts:
        """What the ledger is to remember."""
        return Facts(self._args.hardware_type_id, self._args.billing_interval, self.price, self.usable_at)

    def receipt(self, instance_id: str, label: str | None) -> Receipt:
        """What it came to."""
        args, seconds, price, listed = self._args, self.seconds, self.price, self._prices.listed(self._args)
        counted = billed(seconds, args.billing_interval or "")
        startup = None if self._usable is None else self._usable - self.began
        return Receipt(
            instance_id=instance_id,
            model_id=args.model_id,
            hardware_type_id=args.hardware_type_id,
            num_workers=args.num_workers or 1,
            billing_interval=args.billing_interval or "",
            label=label,
            began_at=self.began_at,
            usable_at=self.usable_at,
            ended_at=self._instant(self._ended),
            seconds=seconds,
            startup_seconds=startup,
            billed_seconds=counted,
            amount=charge(None if price is None else price.amount, counted),
            listed_amount=charge(None if listed is None else listed.amount, counted),
            currency=None if listed is None else listed.currency,
            startup_share=1.0 if startup is None else min(startup / seconds, 1.0) if seconds > 0 else 0.0,
        )

    def _instant(self, at: float | None) -> datetime | None:
        return None if at is None else self.began_at + timedelta(seconds=at - self.began)


async def tell_every_hour(meter: Meter, name: Callable[[], str]) -> None:
    """Log what it has cost so far, every hour, until cancelled."""
    told = 0
    while True:
        told += 1
        await asyncio.sleep(max(meter.began + told * TELL_EVERY - time.monotonic(), 0))
        estimate = meter.estimate()
        cost = "at an unknown price" if estimate is None else f"at most {estimate.amount:.2f} {estimate.currency}"
        log.info("%s is held for %.1f h now: %s so far", name(), meter.seconds / 3600, cost)
