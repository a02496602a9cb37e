"""`inferlease watch`: what instances are doing, as it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import click

from inferlease import Client, InferleaseError, InstanceEvent
from inferlease._printing import printable
from inferlease.cli._client import ask
from inferlease.cli._ids import distinct, each, id_arguments
from inferlease.cli._options import in_json
from inferlease.cli._output import Form, is_terminal, reader_gone, write_line_of_json, write_lines
from inferlease.cli._terminal import Terminal
from inferlease.money import duration

__all__ = ["command"]

T = TypeVar("T")


@click.command("watch")
@id_arguments()
@click.option(
    "--until",
    type=click.Choice(["usable", "stopped"]),
    default="stopped",
    show_default=True,
    help="When to end. Exits with 1 if an instance stops before it is usable.",
)
@in_json("A line for each event: instance, state, progress, description, elapsed.")
def command(*, instance_ids: tuple[str, ...], until: str, form: Form) -> int:
    """Show what instances are doing, with a bar for each worker, until all are stopped or gone, or Ctrl-C.

    An ID of - stands for those that stdin has, one a line. Where stdout is no terminal, each change is a line with
    tabs: instance, state, progress, step, seconds.
    """
    ids = distinct(instance_ids)

    async def watch(client: Client, terminal: Terminal) -> int:
        with terminal.bars(several=len(ids) > 1) as bars:
            shows_bars = form is None and terminal.is_interactive and is_terminal()
            if shows_bars:
                bars.waiting_for("looking")
            is_told = until != "stopped"

            async def watch_one(instance_id: str) -> None:
                nonlocal is_told
                told = None
                instance = await client.instances.get(instance_id)
                if shows_bars and not is_told:
                    is_told = True
                    terminal.say(f"until {'it stops' if len(ids) == 1 else 'all are stopped'}; Ctrl-C ends the watch")
                async for event in instance.watch():
                    if form == "json":
                        write_line_of_json(client.converter.unstructure(event))
                    elif not shows_bars:
                        write_lines(["\t".join(_row(event))])
                    else:
                        bars.show(event)
                        if event.state != told:
                            terminal.say(_sentence(event))
                            told = event.state
                    if until == "usable" and event.instance.is_usable:
                        return
                if until == "usable":
                    raise InferleaseError("it stopped before it was usable")

            return (await _while_somebody_reads(each(ids, watch_one, terminal)))[1]

    return ask(watch)


async def _while_somebody_reads(work: Coroutine[Any, Any, T]) -> T:
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(reader_gone())
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else gone.result()
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


def _row(event: InstanceEvent) -> tuple[str, ...]:
    progress = "-" if event.progress is None else f"{event.progress:.0%}"
    step = printable(event.description or "-", 100)
    return printable(event.instance.instance_id), printable(event.state, 30), progress, step, f"{event.elapsed:.0f}"


def _sentence(event: InstanceEvent) -> str:
    where = f" at {event.instance.base_url}" if event.instance.is_usable else ""
    # Not since its start, of which a watch knows nothing.
    when = f" ({duration(event.elapsed)} into the watch)" if event.elapsed >= 1 else ""
    return printable(f"{event.instance.instance_id}: {event.state}{where}{when}")
