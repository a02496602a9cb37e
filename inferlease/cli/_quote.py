"""`inferlease quote`: what a model would cost, on each hardware type."""

from __future__ import annotations

import click

from inferlease import Client
from inferlease.cli._client import ask
from inferlease.cli._completion import complete_hardware
from inferlease.cli._near import suggesting
from inferlease.cli._options import POSITIVE_SECONDS, billing_option, in_json, model_argument
from inferlease.cli._output import Form, rounded, write_json, write_notes, write_table
from inferlease.cli._terminal import Terminal
from inferlease.cli._wording import at_shell

__all__ = ["command"]


@click.command("quote")
@model_argument
@click.option(
    "--hardware-type",
    metavar="ID",
    multiple=True,
    shell_complete=complete_hardware,
    help="Only this one; may be given several times.",
)
@billing_option
@click.option("--num-workers", type=click.IntRange(1, 8), help="Each is billed; by default 1.")
@click.option("--duration", type=POSITIVE_SECONDS, help="Tell what so long costs, from the start call to the stop.")
@in_json("An object instead of a table.")
def command(
    *,
    model: str,
    hardware_type: tuple[str, ...],
    billing_interval: str | None,
    num_workers: int | None,
    duration: float | None,
    form: Form,
) -> int:
    """Tell what MODEL (org/model) would cost on each hardware type, the cheapest available first.

    Every figure is at most, and an estimate; what it assumes is told. Works without credentials, but then without how
    long the balance lasts. Where stdout is no terminal, each type is a line with tabs: hardware type, available, at
    most per hour, listed per hour, for the duration, balance lasts; what they rest on goes to stderr.
    """

    async def tell(client: Client, terminal: Terminal) -> None:
        async with suggesting(client, model):
            quote = await client.quote(model, hardware_type or None, num_workers, duration, billing_interval)
        if form == "json":
            write_json(rounded(client.converter.unstructure(quote)))
        else:
            write_table(*quote.table())
            write_notes([at_shell(note) for note in quote.notes()], terminal.say)

    return ask(tell)
