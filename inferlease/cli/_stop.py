"""`inferlease stop`: the end of instances, seen."""

from __future__ import annotations

import asyncio
import time

import click

from inferlease import Client, InferleaseError
from inferlease.cli._completion import complete_live
from inferlease.cli._ending import absent, end_each, with_cost
from inferlease.cli._ids import confirm, distinct, id_arguments, yes_option
from inferlease.cli._options import POSITIVE_SECONDS
from inferlease.cli._remembered import Remembered

__all__ = ["command"]

REFUSALS = (400, 409, 422)
_PAUSE = 1.0  # seconds


@click.command("stop")
@id_arguments(complete_live)
@click.option(
    "--timeout", type=POSITIVE_SECONDS, default="2m", show_default=True, help="At most until all are stopped."
)
@yes_option
def command(*, instance_ids: tuple[str, ...], timeout: float, yes: bool) -> int:
    """Stop instances and wait until they are seen to be stopped, and tell what each has cost at most.

    One that is stopped already is fine, and so is one that is gone, if the ledger remembers it. An id that nobody
    knows is an error. An ID of - stands for those that stdin has, one a line. Exits with 0 only if none is left.
    """
    ids = distinct(instance_ids)
    confirm("stop", ids, yes=yes)
    return end_each(
        ids,
        lambda client, instance_id, remembered: _stopped(client, instance_id, remembered, timeout),
        "stopping",
        "what was asked for goes on, and is not waited for",
    )


async def _stopped(client: Client, instance_id: str, remembered: Remembered, timeout: float) -> str:
    """What became of the instance, in words."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            instance = await client.instances.stop(instance_id)
            if instance is None:
                return await absent(remembered, instance_id, "stopped")
            await instance.wait_until_stopped(max(deadline - time.monotonic(), _PAUSE))
        except InferleaseError as error:
            # Some refuse a stop for as long as the instance is pending.
            if error.status in REFUSALS and time.monotonic() + _PAUSE < deadline:
                await asyncio.sleep(_PAUSE)
                continue
            raise
        return with_cost("stopped", await remembered.cost_of(instance))
