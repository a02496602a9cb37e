"""`inferlease rm`: instances taken off the list."""

from __future__ import annotations

import click

from inferlease import Client, InferleaseError
from inferlease._printing import printable
from inferlease.cli._completion import complete_stopped
from inferlease.cli._ending import absent, end_each, with_cost
from inferlease.cli._ids import confirm, distinct, id_arguments, yes_option
from inferlease.cli._options import POSITIVE_SECONDS
from inferlease.cli._remembered import Remembered

__all__ = ["command"]


@click.command("rm")
@id_arguments(complete_stopped)
@click.option("-f", "--force", is_flag=True, help="Stop what is not stopped, and see it stopped, first.")
@click.option("--timeout", type=POSITIVE_SECONDS, default="2m", show_default=True, help="At most until one is stopped.")
@yes_option
def command(*, instance_ids: tuple[str, ...], force: bool, timeout: float, yes: bool) -> int:
    """Delete stopped instances.

    One that is gone already is fine, if the ledger remembers it. An id that nobody knows is an error. An ID of -
    stands for those that stdin has, one a line. Exits with 0 only if none is left.
    """
    ids = distinct(instance_ids)
    confirm("stop and delete" if force else "delete", ids, yes=yes)
    return end_each(
        ids,
        lambda client, instance_id, remembered: _removed(client, instance_id, remembered, force=force, timeout=timeout),
        "deleting",
        "what is being deleted may still be",
    )


async def _removed(client: Client, instance_id: str, remembered: Remembered, *, force: bool, timeout: float) -> str:
    """What became of the instance, in words."""
    state = await client.instances._core.lookup.find(instance_id)
    if state is None:
        return await absent(remembered, instance_id, "deleted")
    if not state.is_stopped and not force:
        raise InferleaseError(
            f"it is {printable(state.instance_status.status, 30)}, and only what is stopped is deleted: "
            f"inferlease stop {instance_id}, or --force"
        )
    cost = ""
    if not state.is_stopped and (instance := await client.instances.stop(instance_id)) is not None:
        await instance.wait_until_stopped(timeout)
        cost = await remembered.cost_of(instance)
    await client.instances.delete(instance_id)
    return with_cost("deleted", cost)
