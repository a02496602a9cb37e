"""What an instance costs per hour, as an upper bound."""

from __future__ import annotations

import asyncio
import logging

from cattrs import Converter

from ._convert import Listing, decode_list
from ._exchange import Exchange
from ._protocol import member
from ._requests import LIST_HARDWARE_TYPES
from .errors import InferleaseError
from .money import Price
from .objects import HardwareType, InstanceArgs

__all__ = ["Price", "PriceList", "hourly", "listed_hourly"]

log: logging.Logger = logging.getLogger("inferlease")


def hourly(hardware: HardwareType, num_workers: int | None) -> Price | None:
    """The price of `num_workers` on `hardware`, `None` where anything it rests on is unknown.

    Whether the API's price is one for the type or for each of its GPUs is not documented: this is the
    upper bound, one for each GPU.
    """
    price, info = hardware.price_info, hardware.hardware_info
    if price.price_per_hour is None or price.currency is None or info.num_gpus is None or num_workers is None:
        return None
    return Price(price.price_per_hour * max(info.num_gpus, 1) * num_workers, price.currency)


def listed_hourly(hardware: HardwareType, num_workers: int | None) -> Price | None:
    """The price of `num_workers` as it is listed, were it one for the type; `None` where that is unknown."""
    price = hardware.price_info
    if price.price_per_hour is None or price.currency is None or num_workers is None:
        return None
    return Price(price.price_per_hour * num_workers, price.currency)


class PriceList:
    """The hardware types of one client, read once. That it can't be read is never a reason to fail."""

    def __init__(self, exchange: Exchange, converter: Converter) -> None:
        self._exchange = exchange
        self._converter = converter
        self._types: dict[str, HardwareType] | None = None
        self._reading: asyncio.Task[None] | None = None

    def known(self, args: InstanceArgs) -> Price | None:
        """The price per hour of an instance, as far as it is known without asking."""
        hardware = (self._types or {}).get(args.hardware_type_id or "")
        return hourly(hardware, args.num_workers) if hardware is not None else None

    def listed(self, args: InstanceArgs) -> Price | None:
        """The same as it is listed, were it a price for the hardware type."""
        hardware = (self._types or {}).get(args.hardware_type_id or "")
        return listed_hourly(hardware, args.num_workers) if hardware is not None else None

    async def hourly(self, args: InstanceArgs) -> Price | None:
        """The price per hour of an instance, `None` if it is not known. Runs on the keeper."""
        reading = self.fetch_soon()
        if reading is not None:
            await asyncio.wait([reading])
        return self.known(args)

    async def required(self, args: InstanceArgs) -> Price | None:
        """As `hourly`, for what must not be begun without: it is asked for more than once."""
        for pause in (0.0, 0.5, 2.0):
            await asyncio.sleep(0.0 if self._types is not None else pause)
            price = await self.hourly(args)
            if price is not None:
                return price
        return None

    def fetch_soon(self) -> asyncio.Task[None] | None:
        """Begin to read the prices, unless they are known or being read. Runs on the keeper."""
        if self._types is not None:
            return None
        loop = asyncio.get_running_loop()
        # A forked child has a keeper of its own, and its parent's task never ends there.
        if self._reading is None or self._reading.done() or self._reading.get_loop() is not loop:
            self._reading = loop.create_task(self._read())
        return self._reading

    def abandon(self) -> None:
        """Don't wait for prices any more: the connections are about to be closed. Runs on the keeper."""
        if self._reading is not None and self._reading.get_loop() is asyncio.get_running_loop():
            self._reading.cancel()

    async def _read(self) -> None:
        try:
            # A single attempt: the retry budget is for what matters.
            listing = await self._exchange.read(LIST_HARDWARE_TYPES, self.decode_types, attempts=1)
        except InferleaseError as error:
            log.debug("no prices: %s", error)
            return
        self._types = {hardware.hardware_type_id: hardware for hardware in listing}

    def decode_types(self, payload: object) -> Listing[HardwareType]:
        """The hardware types of an answer."""
        return decode_list(
            self._converter, member(payload, "hardware_types"), HardwareType, "hardware_types", "hardware_type_id"
        )
