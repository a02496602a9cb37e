"""Whether there is hardware to start on: what is available now, and the error where nothing wanted is."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from attrs import frozen

from . import _requests
from ._convert import Listing
from ._exchange import Exchange
from ._lookup import Lookup
from ._printing import printable
from ._retry import ATTEMPTS
from .errors import InferleaseError, NoCapacityError, NotFoundError
from .objects import HardwareType, InstanceArgs
from .pricing import PriceList

__all__ = ["Capacity", "listed", "no_capacity", "none_available", "offer"]


@frozen(eq=False, repr=False)
class Capacity:
    """What one client's server has to start on.

    Attributes:
        poll_interval: Seconds between looks of who waits for it; `None` for an interval that adapts.
    """

    exchange: Exchange
    lookup: Lookup
    prices: PriceList
    poll_interval: float | None

    async def available(self, *, attempts: int = ATTEMPTS) -> Listing[HardwareType]:
        """The hardware types that can be started now."""
        return await self.exchange.read(_requests.LIST_AVAILABLE, self.prices.decode_types, attempts=attempts)

    async def lacking(self, args: InstanceArgs, said: str) -> NoCapacityError | None:
        """The error of a start whose hardware is not available now; `None` if that is not so, or not known."""
        wanted, compatible = args.hardware_type_id, list[str]()
        with contextlib.suppress(InferleaseError):
            try:
                model = await self.lookup.model(args.model_id)
            except NotFoundError:
                return None
            wanted, compatible = wanted or model.recommended_config, model.hardware_configs or []
        try:
            available = await self.available()
        except InferleaseError:
            return None
        if wanted is None or wanted in listed(available):
            return None
        is_known = wanted in compatible or await self._exists(wanted)
        name = printable(wanted, 80)
        what = f"{name} is not available now" if is_known else f"there is no hardware type {name}"
        return no_capacity(f"{what} ({said})", available, compatible)

    async def _exists(self, hardware_type_id: str) -> bool:
        """Whether there is such a type at all; `True` where that can't be told."""
        try:
            every = await self.exchange.read(_requests.LIST_HARDWARE_TYPES, self.prices.decode_types, attempts=1)
        except InferleaseError:
            return True
        return hardware_type_id in listed(every)


def listed(available: Listing[HardwareType]) -> set[str]:
    """Ids of the types that a list has, those too of which nothing else could be read."""
    return {hardware.hardware_type_id for hardware in available} | {bad.id for bad in available.invalid if bad.id}


def no_capacity(said: str, available: Sequence[HardwareType], compatible: Sequence[str]) -> NoCapacityError:
    """The error that says so, and what else there is."""
    free = {hardware.hardware_type_id for hardware in available}
    fitting = [name for name in compatible if name in free]
    return NoCapacityError(f"{said}; {offer(fitting)}", available=available, compatible=fitting)


def offer(fitting: Sequence[str]) -> str:
    """What there is for a model, in words."""
    shown = printable(", ".join(fitting), 300)
    return f"available for this model: {shown}" if fitting else "nothing that fits is available"


def none_available(refusals: Sequence[NoCapacityError], wanted: Sequence[str]) -> NoCapacityError:
    """The error of a start that was refused on each of several types for want of them."""
    last = refusals[-1]
    error = NoCapacityError(
        f"none of {printable(', '.join(wanted), 300)} is available now; {offer(last.compatible)}",
        available=last.available,
        compatible=last.compatible,
        status=last.status,
        request_id=last.request_id,
    )
    error.__cause__ = last
    return error
