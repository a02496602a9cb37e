"""What an instance needs of the client that it belongs to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Protocol, TypeAlias, TypeVar

from ._cost import Meter
from ._openai import OpenAIClients
from .objects import InstanceEvent, InstanceState

__all__ = ["OnProgress", "Port"]

OnProgress: TypeAlias = Callable[[InstanceEvent], object]
Bound_contra = TypeVar("Bound_contra", bound=InstanceState, contravariant=True)


class Port(Protocol[Bound_contra]):
    """The verbs of an instance, as its client carries them out."""

    @property
    def _openai(self) -> OpenAIClients: ...
    async def _read(self, instance: Bound_contra) -> None: ...
    async def _stop(self, instance_id: str) -> InstanceState | None: ...
    async def _restart(self, instance_id: str) -> tuple[InstanceState, Meter]: ...
    async def _delete(self, instance_id: str) -> None: ...
    async def _wait_until_running(
        self,
        instance: Bound_contra,
        *,
        timeout: float,
        stall_timeout: float | None,
        probe: bool,
        on_progress: OnProgress | None,
    ) -> None: ...
    async def _wait_until_stopped(self, instance: Bound_contra, timeout: float) -> None: ...
    def _watch(self, instance: Bound_contra) -> AsyncGenerator[InstanceEvent, None]: ...
