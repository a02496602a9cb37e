"""`inferlease quote`: what a model would cost, on each hardware type."""

from __future__ import annotations

import json

import attrs
import click

from inferlease import Client
from inferlease.cli import _signals
from inferlease.cli._options import SECONDS
from inferlease.cli._stdout import printed
from inferlease.cli._terminal import Terminal

__all__ = ["command"]


@click.command("quote")
@click.argument("model")
@click.option("--hardware-type", metavar="ID", multiple=True, help="Only this one; may be given several times.")
@click.option("--num-workers", type=click.IntRange(1, 8), help="Each is billed; by default 1.")
@click.option("--duration", type=SECONDS, help="Tell what so long costs, from the start call to the stop.")
@click.option("--json", "as_json", is_flag=True, help="One object of JSON instead of a table.")
def command(
    *, model: str, hardware_type: tuple[str, ...], num_workers: int | None, duration: float | None, as_json: bool
) -> int:
    """Tell what MODEL (org/model) would cost on each hardware type, the cheapest available first.

    Every figure is an estimate, and what it assumes is told. Works without credentials, but then without how long the
    balance lasts.
    """
    terminal = Terminal()

    async def tell() -> int:
        async with Client() as client:
            quote = await client.quote(model, hardware_type or None, num_workers, duration)
        return printed(json.dumps(attrs.asdict(quote)) if as_json else str(quote))

    return _signals.run(lambda _: tell(), terminal.say)
