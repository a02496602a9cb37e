"""Runs a load and prints its figures: `python -m tests.chaos.run cycles --world async --seed 1 --cycles 500`."""

from __future__ import annotations

import random

import click

from tests.chaos import loads
from tests.chaos.worker import WORLDS

WORLD = click.option("--world", type=click.Choice(WORLDS), default="async", show_default=True)
SEED = click.option("--seed", "seeds", type=int, multiple=True, help="May be given several times; else a random one.")


def seeds_or_random(seeds: tuple[int, ...]) -> tuple[int, ...]:
    return seeds or (random.randrange(10**6),)


@click.group()
def main() -> None:
    """The loads of `docs/reliability.md`."""


@main.command()
@WORLD
@SEED
@click.option("--cycles", default=500, show_default=True)
@click.option("--unreconciled", is_flag=True, help="Without what looks for the instances of starts left open.")
@click.option("--details", is_flag=True, help="Also the errors in full, and the faults by kind.")
def cycles(*, world: str, seeds: tuple[int, ...], cycles: int, unreconciled: bool, details: bool) -> None:
    """Lease cycles through faults of every kind."""
    for seed in seeds_or_random(seeds):
        figures = loads.lease_cycles(world, seed, cycles, reconciles=not unreconciled)
        click.echo(f"{world}, seed {seed}: {figures}")
        if details:
            click.echo("\n".join([*figures.untyped[:5], repr(figures.faults), f"billed: {figures.billed}"]))


if __name__ == "__main__":
    main()
