# Generated from inferlease/hardware_types.py by `python -m inferlease._tools.gen_sync`: do not edit.
"""Hardware types: what an instance can be started on."""

from __future__ import annotations

from inferlease import hardware_types as _async
from inferlease._convert import Listing
from inferlease.objects import HardwareType

from . import _bridge, _facade

__all__ = ["HardwareTypes"]


class HardwareTypes(_facade.Facade[_async.HardwareTypes]):
    """Reads hardware types and their prices; needs no credentials."""

    def list(self) -> Listing[HardwareType]:
        """All hardware types. What could not be read is in the list's `.invalid`.

        Raises:
            TransportError: No answer arrived.
            APIError: The server answered with an error.
        """
        return _bridge.run(self._inner.list)

    def list_available(self) -> Listing[HardwareType]:
        """Those that can be started now, as `list` returns them.

        Example:
            for hardware in client.hardware_types.list_available():
                print(hardware.hardware_type_id, hardware.price_info.price_per_hour)
        """
        return _bridge.run(self._inner.list_available)
