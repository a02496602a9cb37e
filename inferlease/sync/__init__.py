# Generated from inferlease/__init__.py by `python -m inferlease._tools.gen_sync`: do not edit.
"""Inferlease for synchronous code: the names of `inferlease`, without `await`.

Data and errors are the same objects in both. The work runs on a thread of the library's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

_HOME = {
    "APIError": "inferlease.errors",
    "Account": "inferlease.sync.account",
    "AuthenticationError": "inferlease.errors",
    "Balance": "inferlease.objects",
    "Check": "inferlease._checkup",
    "Client": "inferlease.sync.client",
    "ConfigurationError": "inferlease.errors",
    "ConflictError": "inferlease.errors",
    "CostEstimate": "inferlease.money",
    "CostGroup": "inferlease._costs",
    "Creator": "inferlease.objects",
    "DecodeError": "inferlease.errors",
    "DetachedInstanceError": "inferlease.errors",
    "HardwareConfig": "inferlease.objects",
    "HardwareInfo": "inferlease.objects",
    "HardwareQuote": "inferlease.quotes",
    "HardwareType": "inferlease.objects",
    "HardwareTypes": "inferlease.sync.hardware_types",
    "InferleaseError": "inferlease.errors",
    "InitProgress": "inferlease.objects",
    "Instance": "inferlease.sync.instances",
    "InstanceArgs": "inferlease.objects",
    "InstanceEvent": "inferlease.objects",
    "InstanceGoneError": "inferlease.errors",
    "InstanceState": "inferlease.objects",
    "InstanceStatus": "inferlease.objects",
    "InstanceStoppedError": "inferlease.errors",
    "Instances": "inferlease.sync.instances",
    "InvalidArgumentError": "inferlease.errors",
    "InvalidItem": "inferlease._convert",
    "Lease": "inferlease.sync.lease",
    "LeaseLimitError": "inferlease.errors",
    "Leases": "inferlease.sync.leases",
    "LedgerError": "inferlease.errors",
    "Listing": "inferlease._convert",
    "ModelDetail": "inferlease.objects",
    "ModelPreview": "inferlease.objects",
    "Models": "inferlease.sync.models",
    "NoCapacityError": "inferlease.errors",
    "NotFoundError": "inferlease.errors",
    "Orphan": "inferlease._orphans",
    "OutcomeUnknownError": "inferlease.errors",
    "PaymentRequiredError": "inferlease.errors",
    "PermissionDeniedError": "inferlease.errors",
    "PriceInfo": "inferlease.objects",
    "Quote": "inferlease.quotes",
    "RateLimitError": "inferlease.errors",
    "Receipt": "inferlease.money",
    "ServerError": "inferlease.errors",
    "StartOutcomeUnknownError": "inferlease.errors",
    "StartRecord": "inferlease.ledger",
    "StartRefusedError": "inferlease.errors",
    "TransportError": "inferlease.errors",
    "WaitStalledError": "inferlease.errors",
    "WaitTimeoutError": "inferlease.errors",
    "WorkerStatus": "inferlease.objects",
}

if TYPE_CHECKING:
    from inferlease._checkup import Check
    from inferlease._convert import InvalidItem, Listing
    from inferlease._costs import CostGroup
    from inferlease._orphans import Orphan
    from inferlease.errors import (
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
    from inferlease.ledger import StartRecord
    from inferlease.money import CostEstimate, Receipt
    from inferlease.objects import (
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
    from inferlease.quotes import HardwareQuote, Quote

    from .account import Account
    from .client import Client
    from .hardware_types import HardwareTypes
    from .instances import Instance, Instances
    from .lease import Lease
    from .leases import Leases
    from .models import Models
else:

    def __getattr__(name: str) -> object:
        module = _HOME.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(module), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_HOME})


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
