"""Inferlease: lease a dedicated LLM instance for as long as the work takes.

The names below are loaded when they are first used, so that importing the package stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

_HOME = {
    "client": ("Client",),
    "instances": ("Instance", "Instances"),
    "lease": ("Lease",),
    "models": ("Models",),
    "hardware_types": ("HardwareTypes",),
    "account": ("Account",),
    "_convert": ("InvalidItem", "Listing"),
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
    from ._convert import (
        InvalidItem as InvalidItem,
    )
    from ._convert import (
        Listing as Listing,
    )
    from .account import (
        Account as Account,
    )
    from .client import (
        Client as Client,
    )
    from .errors import (
        APIError as APIError,
    )
    from .errors import (
        AuthenticationError as AuthenticationError,
    )
    from .errors import (
        ConfigurationError as ConfigurationError,
    )
    from .errors import (
        ConflictError as ConflictError,
    )
    from .errors import (
        DecodeError as DecodeError,
    )
    from .errors import (
        DetachedInstanceError as DetachedInstanceError,
    )
    from .errors import (
        InferleaseError as InferleaseError,
    )
    from .errors import (
        InstanceGoneError as InstanceGoneError,
    )
    from .errors import (
        InstanceStoppedError as InstanceStoppedError,
    )
    from .errors import (
        InvalidArgumentError as InvalidArgumentError,
    )
    from .errors import (
        NoCapacityError as NoCapacityError,
    )
    from .errors import (
        NotFoundError as NotFoundError,
    )
    from .errors import (
        OutcomeUnknownError as OutcomeUnknownError,
    )
    from .errors import (
        PaymentRequiredError as PaymentRequiredError,
    )
    from .errors import (
        PermissionDeniedError as PermissionDeniedError,
    )
    from .errors import (
        RateLimitError as RateLimitError,
    )
    from .errors import (
        ServerError as ServerError,
    )
    from .errors import (
        StartOutcomeUnknownError as StartOutcomeUnknownError,
    )
    from .errors import (
        StartRefusedError as StartRefusedError,
    )
    from .errors import (
        TransportError as TransportError,
    )
    from .errors import (
        WaitStalledError as WaitStalledError,
    )
    from .errors import (
        WaitTimeoutError as WaitTimeoutError,
    )
    from .hardware_types import (
        HardwareTypes as HardwareTypes,
    )
    from .instances import (
        Instance as Instance,
    )
    from .instances import (
        Instances as Instances,
    )
    from .lease import (
        Lease as Lease,
    )
    from .models import (
        Models as Models,
    )
    from .objects import (
        Balance as Balance,
    )
    from .objects import (
        Creator as Creator,
    )
    from .objects import (
        HardwareConfig as HardwareConfig,
    )
    from .objects import (
        HardwareInfo as HardwareInfo,
    )
    from .objects import (
        HardwareType as HardwareType,
    )
    from .objects import (
        InitProgress as InitProgress,
    )
    from .objects import (
        InstanceArgs as InstanceArgs,
    )
    from .objects import (
        InstanceEvent as InstanceEvent,
    )
    from .objects import (
        InstanceState as InstanceState,
    )
    from .objects import (
        InstanceStatus as InstanceStatus,
    )
    from .objects import (
        ModelDetail as ModelDetail,
    )
    from .objects import (
        ModelPreview as ModelPreview,
    )
    from .objects import (
        PriceInfo as PriceInfo,
    )
    from .objects import (
        WorkerStatus as WorkerStatus,
    )
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
    "Client",
    "ConfigurationError",
    "ConflictError",
    "Creator",
    "DecodeError",
    "DetachedInstanceError",
    "HardwareConfig",
    "HardwareInfo",
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
    "Listing",
    "ModelDetail",
    "ModelPreview",
    "Models",
    "NoCapacityError",
    "NotFoundError",
    "OutcomeUnknownError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "PriceInfo",
    "RateLimitError",
    "ServerError",
    "StartOutcomeUnknownError",
    "StartRefusedError",
    "TransportError",
    "WaitStalledError",
    "WaitTimeoutError",
    "WorkerStatus",
]
