"""What is under way on the library's loop, as tests of the facade ask for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from inferlease import _keeper
from inferlease.sync import _bridge

if TYPE_CHECKING:
    from inferlease.sync import Client


def tasks() -> set[asyncio.Task[Any]]:
    """What is under way on the keeper's loop, once cancelled tasks have had the turn in which they end."""
    for _ in range(3):
        _bridge.run(asyncio.sleep, 0)
    return {task for task in asyncio.all_tasks(_keeper.loop()) if not task.done()}


def at_rest(client: Client) -> None:
    _bridge.run(_idle, client)


async def _idle(client: Client) -> None:
    while client._inner._core.jobs._open:  # noqa: ASYNC110 - the jobs tell of no end
        await asyncio.sleep(0.005)
