"""`inferlease stop`: the end of instances, seen."""

from __future__ import annotations

import asyncio
import time

import click

from inferlease import Client, InferleaseError
from inferlease.cli import _signals
from inferlease.cli._completion import complete_live
from inferlease.cli._ids import confirm, distinct, each, id_arguments, yes_option
from inferlease.cli._options import POSITIVE_SECONDS
from inferlease.cli._signals import Interrupts
from inferlease.cli._terminal import Terminal

__all__ = ["command"]

REFUSALS = (400, 409, 422)
_PAUSE = 1.0  # seconds


@click.command("stop")
@id_arguments(complete_live)
@click.option(
    "--timeout", type=POSITIVE_SECONDS, default=120.0, show_default=True, help="At most until all are stopped."
)
@yes_option
def command(*, instance_ids: tuple[str, ...], timeout: float, yes: bool) -> int:
    """Stop instances and wait until they are seen to be stopped.

    One that is stopped already, or does not exist, is fine. An ID of - stands for those that stdin has, one a line.
    Exits with 0 only if none is left.
    """
    ids, terminal = distinct(instance_ids), Terminal()
    confirm("stop", ids, yes=yes)

    async def stop(interrupts: Interrupts) -> int:
        interrupts.consequence = "what was asked for goes on, and is not waited for"
        async with Client() as client:

            async def stop_one(instance_id: str) -> None:
                terminal.say(f"{instance_id}: {await _stopped(client, instance_id, timeout)}")

            with terminal.bars() as bars:
                bars.waiting_for("stopping")
                return (await each(ids, stop_one, terminal, goal="stopped"))[1]

    return _signals.run(stop, terminal.say)


async def _stopped(client: Client, instance_id: str, timeout: float) -> str:
    """What became of the instance, in words."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            instance = await client.instances.stop(instance_id)
            if instance is None:
                return "there is no such instance"
            await instance.wait_until_stopped(max(deadline - time.monotonic(), _PAUSE))
        except InferleaseError as error:
            # Some refuse a stop for as long as the instance is pending.
            if error.status in REFUSALS and time.monotonic() + _PAUSE < deadline:
                await asyncio.sleep(_PAUSE)
                continue
            raise
        return "stopped"
