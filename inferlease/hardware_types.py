"""Hardware types: what an instance can be started on."""

from __future__ import annotations

from ._convert import Listing
from ._core import Core
from ._requests import LIST_AVAILABLE, LIST_HARDWARE_TYPES
from .objects import HardwareType

__all__ = ["HardwareTypes"]


class HardwareTypes:
    """Reads hardware types and their prices; needs no credentials."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def list(self) -> Listing[HardwareType]:
        """All hardware types. What could not be read is in the list's `.invalid`.

        Raises:
            TransportError: No answer arrived.
            APIError: The server answered with an error.
        """
        return await self._core.exchange.read(LIST_HARDWARE_TYPES, self._core.prices.decode_types)

    async def list_available(self) -> Listing[HardwareType]:
        """Those that can be started now, as `list` returns them.

        Example:
            for hardware in await client.hardware_types.list_available():
                print(hardware.hardware_type_id, hardware.price_info.price_per_hour)
        """
        return await self._core.exchange.read(LIST_AVAILABLE, self._core.prices.decode_types)
