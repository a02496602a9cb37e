"""`inferlease ps`: the instances of the account."""

from __future__ import annotations

import asyncio

import click

from inferlease import Client
from inferlease._printing import printable
from inferlease.cli._client import ask
from inferlease.cli._instances import BRIEF_TITLES, TITLES, brief_row, prices, row
from inferlease.cli._options import ids_only, in_json
from inferlease.cli._output import Form, write_json, write_lines, write_table
from inferlease.cli._terminal import Terminal

__all__ = ["command"]


@click.command("ps")
@click.option("-a", "--all", "with_stopped", is_flag=True, help="Also those that are stopped.")
@in_json("A list of instances with all that the server says.")
@ids_only()
def command(*, with_stopped: bool, form: Form) -> int:
    """List the instances of the account that are not stopped, whoever started them.

    Where stdout is no terminal, each is a line with tabs: instance, state, age, price, workers and hardware, model. One
    that can't be read is listed as "unreadable", and the exit code is 1: it may be billed. On a narrow terminal the
    hardware and parts of the model's name are left out, and "at 40%" is one that is not up yet.
    """

    async def tell(client: Client, terminal: Terminal) -> int:
        listing, known = await asyncio.gather(client.instances.list(), prices(client))
        shown = [instance for instance in listing if with_stopped or not instance.is_stopped]
        unreadable = [printable(item.id, 200) for item in listing.invalid if item.id is not None]
        if form == "json":
            write_json(client.converter.unstructure(shown))
        elif form == "ids":
            write_lines([printable(instance.instance_id) for instance in shown] + unreadable)
        elif shown or unreadable:
            rows = [row(instance, known) for instance in shown]
            rows += [(instance_id, "unreadable", "-", "-", "-", "-") for instance_id in unreadable]
            brief = [brief_row(instance, known) for instance in shown]
            brief += [(instance_id, "unreadable", "-", "-", "-") for instance_id in unreadable]
            write_table(TITLES, rows, folds=("model",), brief=(BRIEF_TITLES, brief))
        else:
            none = "all are stopped, or there is none (see: inferlease ps --all)"
            terminal.tell("there is no instance" if with_stopped else none)
        return 1 if listing.invalid else 0

    return ask(tell)
