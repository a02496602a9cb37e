"""`inferlease start`: an instance that runs until you stop it."""

from __future__ import annotations

import click

from inferlease import Client
from inferlease.cli import _signals
from inferlease.cli._near import suggesting
from inferlease.cli._options import ids_only, in_json, model_argument, require_wait, spec_options, wait_options
from inferlease.cli._output import Form
from inferlease.cli._signals import Interrupts
from inferlease.cli._terminal import Terminal
from inferlease.cli._upcoming import Upcoming

__all__ = ["command"]


class _Start(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            from inferlease.cli._run import command as run

            if not any(error.option_name in parameter.opts for parameter in run.params):
                raise
            raise click.UsageError(
                f"{error.option_name} is an option of a lease, and what this starts runs until you stop it: "
                f"inferlease run MODEL {error.option_name} ... -- COMMAND",
                ctx,
            ) from None


@click.command("start", cls=_Start)
@model_argument
@spec_options
@click.option("--wait", is_flag=True, help="Wait until it is usable, and show how far each worker is.")
@wait_options
@in_json("An object with all that the server says of the instance.")
@ids_only("Nothing but its id.")
def command(
    *,
    model: str,
    hardware_type: tuple[str, ...],
    context_length: int | None,
    billing_interval: str | None,
    num_workers: int | None,
    wait_for_capacity: float | None,
    wait: bool,
    timeout: float,
    stall_timeout: float | None,
    form: Form,
) -> int:
    """Start an instance of MODEL (org/model), and print its id. It is billed until you stop it.

    stderr tells its price, and how to stop it. To have it stopped whatever happens, take: inferlease run.

    \b
    Example:
      id=$(inferlease start --wait meta-llama/Llama-3.1-8B-Instruct)
      inferlease show "$id"
      inferlease stop "$id"
    """
    require_wait(wait)
    terminal = Terminal()
    upcoming = Upcoming(form, wait, timeout, stall_timeout)

    async def start(interrupts: Interrupts) -> int:
        interrupts.consequence = "what was started is stopped again"
        async with Client() as client:
            async with suggesting(client, model):
                with terminal.bars() as bars:
                    bars.waiting_for("waiting for hardware" if wait_for_capacity else "starting")
                    instance = await client.instances.start(
                        model,
                        hardware_type_id=hardware_type or None,
                        context_length=context_length,
                        billing_interval=billing_interval,
                        num_workers=num_workers,
                        wait_for_capacity=wait_for_capacity,
                    )
            return await upcoming.follow(client, [instance], terminal, interrupts, as_list=False)

    return _signals.run(start, terminal.say)
