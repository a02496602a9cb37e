"""`inferlease stop`: the end of instances, seen."""

from __future__ import annotations

import asyncio
import time

import click

from inferlease import Client, InferleaseError
from inferlease.cli import _signals
from inferlease.cli._options import SECONDS
from inferlease.cli._terminal import Terminal

__all__ = ["command"]

REFUSALS = (400, 409, 422)
_PAUSE = 1.0  # seconds


@click.command("stop")
@click.argument("instance_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--timeout", type=SECONDS, default=120.0, show_default=True, help="At most until all are stopped.")
def command(*, instance_ids: tuple[str, ...], timeout: float) -> int:
    """Stop instances and wait until they are seen to be stopped.

    One that is stopped already, or does not exist, is fine. Exits with 0 only if none is left.
    """
    terminal = Terminal()
    distinct = list(dict.fromkeys(instance_ids))
    return _signals.run(lambda _: _stop_all(distinct, timeout, terminal), terminal.say)


async def _stop_all(instance_ids: list[str], timeout: float, terminal: Terminal) -> int:
    async with Client() as client:
        with terminal.bars() as bars:
            bars.waiting_for("stopping")
            stopped = await asyncio.gather(*(_stop(client, each, timeout, terminal) for each in instance_ids))
    return 0 if all(stopped) else 1


async def _stop(client: Client, instance_id: str, timeout: float, terminal: Terminal) -> bool:
    deadline = time.monotonic() + timeout
    while True:
        try:
            instance = await client.instances.stop(instance_id)
            if instance is None:
                terminal.say(f"{instance_id}: there is no such instance")
                return True
            await instance.wait_until_stopped(max(deadline - time.monotonic(), _PAUSE))
        except InferleaseError as error:
            # Some refuse a stop for as long as the instance is pending.
            if error.status in REFUSALS and time.monotonic() + _PAUSE < deadline:
                await asyncio.sleep(_PAUSE)
                continue
            terminal.say(f"error: {instance_id}: {error}")
            return False
        terminal.say(f"{instance_id}: stopped")
        return True
