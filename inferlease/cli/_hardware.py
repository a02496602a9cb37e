"""`inferlease hardware`: what a model can be served on."""

from __future__ import annotations

import asyncio

import click

from inferlease import Client, HardwareType
from inferlease._printing import printable
from inferlease.cli._client import ask
from inferlease.cli._options import ids_only, in_json
from inferlease.cli._output import Form, is_terminal, write_json, write_lines, write_notes, write_table
from inferlease.cli._terminal import Terminal
from inferlease.pricing import hourly, listed_hourly

__all__ = ["command"]

_TITLES = ("hardware type", "available", "GPUs of a worker", "GPU memory", "at most", "listed")
_NOTE = "per hour of one worker; at most: if the listed price is one for each GPU, which is not documented"


@click.command("hardware")
@click.option("--available", is_flag=True, help="Only what can be started now.")
@in_json("A list of hardware types with all that the server says.")
@ids_only()
def command(*, available: bool, form: Form) -> int:
    """List hardware types, whether each is available now, and what one worker costs.

    Needs no credentials. Whether the listed price is one for the type or for each of its GPUs is not documented: at
    most it is the latter. Where stdout is no terminal, each is a line with tabs.
    """

    async def tell(client: Client, terminal: Terminal) -> None:
        free = client.hardware_types.list_available
        if form is None:
            every, startable = await asyncio.gather(client.hardware_types.list(), free())
            ids = {each.hardware_type_id for each in startable}
            shown = startable if available else every
            write_table(_TITLES, [_row(each, each.hardware_type_id in ids) for each in shown])
            if is_terminal():
                write_notes([_NOTE], terminal.say)
            return
        listed = await (free() if available else client.hardware_types.list())
        if form == "json":
            write_json(client.converter.unstructure([*listed]))
        else:
            write_lines([printable(each.hardware_type_id) for each in listed])

    return ask(tell)


def _row(hardware: HardwareType, is_available: bool) -> tuple[str, ...]:
    info = hardware.hardware_info
    return (
        printable(hardware.hardware_type_id, 100),
        "yes" if is_available else "no",
        f"{info.num_gpus or '?'} x {printable(info.gpu_type or '?', 60)}",
        "-" if info.gpu_ram_gb is None else f"{info.gpu_ram_gb:g} GB",
        str(hourly(hardware, 1) or "-"),
        str(listed_hourly(hardware, 1) or "-"),
    )
