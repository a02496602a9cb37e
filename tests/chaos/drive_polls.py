"""Leases one after the other beside many polls: `python -m tests.chaos.drive_polls PLAN`; `at_once` is how many."""

from __future__ import annotations

import asyncio
import time

from inferlease import Client
from tests.chaos import reporting
from tests.chaos.reporting import tell


async def poll(client: Client, instance_id: str, polled: asyncio.Semaphore) -> None:
    while True:
        await client.instances.get(instance_id)
        polled.release()


async def main() -> None:
    plan = reporting.read_plan()
    options = reporting.client_arguments(Client, plan)
    async with Client(**options) as client, client.lease(plan.model) as polled:
        for _ in range(plan.cycles):
            lease = client.lease(plan.model)
            instance = await lease.acquire()
            answered = asyncio.Semaphore(0)
            polls = [asyncio.create_task(poll(client, polled.instance_id, answered)) for _ in range(plan.at_once)]
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
