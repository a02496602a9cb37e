"""What is told of instances that come up and end: ids, seconds, and what they cost."""

from __future__ import annotations

import asyncio
import logging

from .objects import InstanceArgs, InstanceState
from .pricing import Price, PriceList

__all__ = ["Announcer"]

log = logging.getLogger("inferlease")

# Seconds that the log line of a start waits for the prices.
_PRICE_PATIENCE = 2.0


class Announcer:
    """Tells on the logger what happens to the instances of one client."""

    def __init__(self, prices: PriceList) -> None:
        self._prices = prices
        self._telling: set[asyncio.Task[None]] = set()
        # Instances that are up, of which the line still waits for the prices.
        self._untold: dict[str, tuple[InstanceState, str]] = {}

    def price(self, state: InstanceState) -> Price | None:
        """The price per hour of an instance, as far as it is known without asking."""
        return self._prices.known(state.instance_args)

    def up(self, state: InstanceState, how: str) -> None:
        """Tell of an instance that is billed from here on, soon with its price, else without. Runs on the keeper."""
        self._untold[state.instance_id] = state, how
        task = asyncio.get_running_loop().create_task(self._tell_up(state.instance_id))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def change(self, state: InstanceState, what: str, seconds: float) -> None:
        """Tell that an instance is usable or has stopped, after the line that it is up."""
        self._say_up(state.instance_id)
        price = f", at most {price}" if (price := self.price(state)) is not None else ""
        log.info("instance %s %s after %.0f s%s", state.instance_id, what, seconds, price)

    async def cost_note(self, instance_id: str, args: InstanceArgs) -> str:
        """How a message tells what an instance costs and how it is stopped. Runs on the keeper."""
        return _cost_note(instance_id, await self._prices.hourly(args))

    async def _tell_up(self, instance_id: str) -> None:
        reading = self._prices.fetch_soon()
        if reading is not None:
            await asyncio.wait([reading], timeout=_PRICE_PATIENCE)
        self._say_up(instance_id)

    def _say_up(self, instance_id: str) -> None:
        if (untold := self._untold.pop(instance_id, None)) is not None:
            state, how = untold
            workers = state.instance_args.num_workers or 1
            log.info("instance %s %s%s", instance_id, how, _cost_note(instance_id, self.price(state), workers))


def _cost_note(instance_id: str, price: Price | None, workers: int = 1) -> str:
    costs = f"at most {price}" if price is not None else "price unknown"
    if workers > 1:
        costs = f"{workers} workers, {costs}"
    return f" ({costs}; stop it with: inferlease stop {instance_id})"
