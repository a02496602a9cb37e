"""`inferlease restart`: stopped instances, started again."""

from __future__ import annotations

import click

from inferlease import Client, Instance
from inferlease.cli import _signals
from inferlease.cli._completion import complete_stopped
from inferlease.cli._ids import confirm, distinct, each, id_arguments, yes_option
from inferlease.cli._options import ids_only, in_json, require_wait, wait_options
from inferlease.cli._output import Form
from inferlease.cli._signals import Interrupts
from inferlease.cli._terminal import Terminal
from inferlease.cli._upcoming import Upcoming, billed_is_told

__all__ = ["command"]


@click.command("restart")
@id_arguments(complete_stopped)
@click.option("--wait", is_flag=True, help="Wait until it is usable, and show how far each worker is.")
@wait_options
@yes_option
@in_json("A list of instances with all that the server says.")
@ids_only("Nothing but their ids.")
def command(
    *,
    instance_ids: tuple[str, ...],
    wait: bool,
    timeout: float,
    stall_timeout: float | None,
    yes: bool,
    form: Form,
) -> int:
    """Start stopped instances again, and print their ids. They are billed until you stop them.

    One that runs already is fine. An ID of - stands for those that stdin has, one a line. Exits with 0 only if all are
    started.
    """
    require_wait(wait)
    ids, terminal = distinct(instance_ids), Terminal()
    confirm("restart", ids, yes=yes)
    upcoming = Upcoming(form, wait, timeout, stall_timeout)

    async def restart(interrupts: Interrupts) -> int:
        interrupts.consequence = "what is being restarted goes on"
        restarted: list[str] = []
        running: set[str] = set()
        async with Client() as client:

            async def restart_one(instance_id: str) -> Instance:
                instance = await client.instances.get(instance_id)
                if not instance.is_stopped:
                    running.add(instance_id)
                    return instance
                instance = await client.instances.restart(instance_id)
                restarted.append(instance_id)
                return instance

            with billed_is_told(restarted, terminal), terminal.bars() as bars:
                bars.waiting_for("restarting")
                instances, code = await each(ids, restart_one, terminal)
            return await upcoming.follow(client, instances, terminal, interrupts, running=running) or code

    return _signals.run(restart, terminal.say)
