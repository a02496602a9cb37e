"""Lease cycles through the asynchronous API: `python -m tests.chaos.drive_async PLAN`."""

from __future__ import annotations

import asyncio

from inferlease import Client, InferleaseError
from tests.chaos import reporting, unreconciled
from tests.chaos.reporting import Plan, tell, tell_error


async def heard() -> None:
    """Wait for a line on stdin, or its end; a thread that waits would outlast an interrupt."""
    came = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(0, came.set)
    try:
        await came.wait()
    finally:
        loop.remove_reader(0)
    reporting.take_line()


async def cycle(client: Client, plan: Plan, number: int, turn: asyncio.Semaphore) -> None:
    async with turn:
        try:
            lease = client.lease(
                plan.model,
                timeout=plan.lease_timeout,
                release_timeout=plan.release_timeout,
                max_duration=plan.max_duration,
                keep=plan.keep,
            )
            async with lease as instance:
                await asyncio.to_thread(reporting.ask, instance.base_url, plan.model)
                tell("answered", number=number, id=instance.instance_id)
                if plan.stays:
                    await heard()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            tell_error(number, error, typed=isinstance(error, InferleaseError))


async def main() -> None:
    plan = reporting.read_plan()
    turn = asyncio.Semaphore(plan.at_once)
    async with Client(**reporting.client_arguments(Client, plan)) as client:
        await asyncio.gather(*(cycle(client, plan, number, turn) for number in range(plan.cycles)))
        tell("done")
        if not plan.stays:
            await heard()
    tell("closed")


if __name__ == "__main__":
    reporting.tell_warnings()
    unreconciled.apply(reporting.read_plan())
    asyncio.run(main())
