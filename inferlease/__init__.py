"""Inferlease: lease a dedicated LLM instance for as long as the work takes.

The names below are loaded when they are first used, so that importing the package stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

_HOME = {
    "client": ("Client",),
    "instances": ("Instance", "Instances"),
    "lease": ("Lease",),
    "leases": ("Leases",),
    "models": ("Models",),
    "hardware_types": ("HardwareTypes",),
    "account": ("Account",),
    "_checkup": ("Check",),
    "_convert": ("InvalidItem", "Listing"),
    "_costs": ("CostGroup",),
    "_orphans": ("Orphan",),
    "quotes": ("HardwareQuote", "Quote"),
    "ledger": ("StartRecord",),
    "objects": (
        "Balance",
        "Creator",
        "HardwareConfig",
        "HardwareInfo",
        "HardwareType",
        "InitProgress",
        "InstanceArgs",
        "InstanceEvent",
        "InstanceState",
        "InstanceStatus",
        "ModelDetail",
        "ModelPreview",
        "PriceInfo",
        "WorkerStatus",
    ),
    "money": ("CostEstimate", "Receipt"),
    "errors": (
        "APIError",
        "AuthenticationError",
        "ConfigurationError",
        "ConflictError",
        "DecodeError",
        "DetachedInstanceError",
        "InferleaseError",
        "InstanceGoneError",
        "InstanceStoppedError",
        "InvalidArgumentError",
        "LeaseLimitError",
        "LedgerError",
        "NoCapacityError",
        "NotFoundError",
        "OutcomeUnknownError",
        "PaymentRequiredError",
        "PermissionDeniedError",
        "RateLimitError",
        "ServerError",
        "StartOutcomeUnknownError",
        "StartRefusedError",
        "TransportError",
        "WaitStalledError",
        "WaitTimeoutError",
    ),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ._checkup import Check
    from ._convert import InvalidItem, Listing
    from ._costs import CostGroup
    from ._orphans import Orphan
    from .account import Account
    from .client import Client
    from .errors import (
        APIError,
        AuthenticationError,
        ConfigurationError,
        ConflictError,
        DecodeError,
        DetachedInstanceError,
        InferleaseError,
        InstanceGoneError,
        InstanceStoppedError,
        InvalidArgumentError,
        LeaseLimitError,
        LedgerError,
        NoCapacityError,
        NotFoundError,
        OutcomeUnknownError,
        PaymentRequiredError,
        PermissionDeniedError,
        RateLimitError,
        ServerError,
        StartOutcomeUnknownError,
        StartRefusedError,
        TransportError,
        WaitStalledError,
        WaitTimeoutError,
    )
    from .hardware_types import HardwareTypes
    from .instances import Instance, Instances
    from .lease import Lease
    from .leases import Leases
    from .ledger import StartRecord
    from .models import Models
    from .money import CostEstimate, Receipt
    from .objects import (
        Balance,
        Creator,
        HardwareConfig,
        HardwareInfo,
        HardwareType,
        InitProgress,
        InstanceArgs,
        InstanceEvent,
        InstanceState,
        InstanceStatus,
        ModelDetail,
        ModelPreview,
        PriceInfo,
        WorkerStatus,
    )
    from .quotes import HardwareQuote, Quote
else:

    def __getattr__(name: str) -> object:
        module = _MODULE_OF.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f".{module}", __name__), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_MODULE_OF})


__all__ = [
    "APIError",
    "Account",
    "AuthenticationError",
    "Balance",
    "Check",
    "Client",
    "ConfigurationError",
    "ConflictError",
    "CostEstimate",
    "CostGroup",
    "Creator",
    "DecodeError",
    "DetachedInstanceError",
    "HardwareConfig",
    "HardwareInfo",
    "HardwareQuote",
    "HardwareType",
    "HardwareTypes",
    "InferleaseError",
    "InitProgress",
    "Instance",
    "InstanceArgs",
    "InstanceEvent",
    "InstanceGoneError",
    "InstanceState",
    "InstanceStatus",
    "InstanceStoppedError",
    "Instances",
    "InvalidArgumentError",
    "InvalidItem",
    "Lease",
    "LeaseLimitError",
    "Leases",
    "LedgerError",
    "Listing",
    "ModelDetail",
    "ModelPreview",
    "Models",
    "NoCapacityError",
    "NotFoundError",
    "Orphan",
    "OutcomeUnknownError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "PriceInfo",
    "Quote",
    "RateLimitError",
    "Receipt",
    "ServerError",
    "StartOutcomeUnknownError",
    "StartRecord",
    "StartRefusedError",
    "TransportError",
    "WaitStalledError",
    "WaitTimeoutError",
    "WorkerStatus",
]
