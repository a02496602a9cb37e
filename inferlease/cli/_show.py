"""`inferlease show`: all that is known of instances."""

from __future__ import annotations

import asyncio

import click

from inferlease import Client
from inferlease.cli._client import ask
from inferlease.cli._ids import distinct, each, id_arguments
from inferlease.cli._instances import described, prices
from inferlease.cli._options import in_json
from inferlease.cli._output import Form, write_json, write_lines
from inferlease.cli._remembered import Remembered
from inferlease.cli._terminal import Terminal

__all__ = ["command"]


@click.command("show")
@id_arguments()
@in_json("A list of instances with all that the server says.")
def command(*, instance_ids: tuple[str, ...], form: Form) -> int:
    """Show all that is known of instances: address, hardware, price, and how far each worker is.

    An ID of - stands for those that stdin has, one a line. Exits with 1 if one does not exist; the others are shown.
    """
    ids = distinct(instance_ids)

    async def tell(client: Client, terminal: Terminal) -> int:
        (found, code), known = await asyncio.gather(each(ids, client.instances.get, terminal), prices(client))
        if form == "json":
            write_json(client.converter.unstructure(found))
        else:
            remembered = Remembered(client)
            blocks = [
                "\n".join(described(instance, known, await remembered.cost_of(instance))) + "\n" for instance in found
            ]
            write_lines("\n".join(blocks).splitlines())
        return code

    return ask(tell)
