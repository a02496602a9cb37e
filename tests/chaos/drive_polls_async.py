"""Leases one after the other beside many polls: `python -m tests.chaos.drive_polls_async PLAN`; `at_once` is how many.

A client has at most 100 requests under way, so the polls are those of several; one of them leases too.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

from inferlease import Client
from tests.chaos import reporting
from tests.chaos.reporting import tell

IN_FLIGHT = 100
"""Requests that one client has under way at most."""


async def poll(client: Client, instance_id: str, polled: asyncio.Semaphore) -> None:
    while True:
        await client.instances.get(instance_id)
        polled.release()


async def main() -> None:
    plan = reporting.read_plan()
    options = reporting.client_arguments(Client, plan)
    async with AsyncExitStack() as stack:
        number = -(-plan.at_once // IN_FLIGHT)
        clients = [await stack.enter_async_context(Client(**options)) for _ in range(number)]
        client = clients[0]
        polled = await stack.enter_async_context(client.lease(plan.model))
        for _ in range(plan.cycles):
            lease = client.lease(plan.model)
            instance = await lease.acquire()
            answered = asyncio.Semaphore(0)
            polls = [
                asyncio.create_task(poll(clients[turn % number], polled.instance_id, answered))
                for turn in range(plan.at_once)
            ]
            for _ in range(2 * plan.at_once):
                await answered.acquire()
            began = time.monotonic()
            await lease.release()
            tell("released", id=instance.instance_id, at=began, seconds=time.monotonic() - began)
            for task in polls:
                task.cancel()
            await asyncio.wait(polls)
            failed = [task for task in polls if not task.cancelled()]
            tell("polled", failed=len(failed))
    tell("closed")


if __name__ == "__main__":
    asyncio.run(main())
