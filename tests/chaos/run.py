"""Runs a load and prints its figures: `python -m tests.chaos.run cycles --world async --seed 1 --cycles 500`."""

from __future__ import annotations

import random
from typing import get_args

import click

from tests.chaos import kills, latency, loads
from tests.chaos.figures import Figures
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
@click.option("--late-window", default=loads.LATE_WINDOW, show_default=True, help="Seconds.")
def cycles(
    *, world: str, seeds: tuple[int, ...], cycles: int, unreconciled: bool, details: bool, late_window: float
) -> None:
    """Lease cycles through faults of every kind; several seeds at the same time."""

    def load(seed: int) -> Figures:
        return loads.lease_cycles(world, seed, cycles, reconciles=not unreconciled, late_window=late_window)

    for seed, figures in loads.for_each(seeds_or_random(seeds), load).items():
        show(f"{world}, seed {seed}", figures, details=details)


@main.command()
@WORLD
@SEED
@click.option("--cycles", default=600, show_default=True)
@click.option("--every", default=loads.KILLED_EVERY, show_default=True, help="Cycles between two kills, on average.")
@click.option("--alone", is_flag=True, help="Begin the next process only once the guard has stopped all.")
@click.option("--details", is_flag=True, help="Also the errors in full, and the faults by kind.")
def guarded(*, world: str, seeds: tuple[int, ...], cycles: int, every: int, alone: bool, details: bool) -> None:
    """The same with the guard on, and SIGKILL of the whole process from time to time."""

    def load(seed: int) -> Figures:
        return loads.killed_cycles(world, seed, cycles, every=every, are_alone=alone)

    for seed, figures in loads.for_each(seeds_or_random(seeds), load).items():
        show(f"{world}, killed, seed {seed}", figures, details=details)


@main.command()
@WORLD
@SEED
@click.option("--cycles", default=200, show_default=True)
@click.option("--exclusive", type=click.Choice(["none", "false"]), default="none", show_default=True)
@click.option("--details", is_flag=True, help="Also the errors in full, and the faults by kind.")
def foreign(*, world: str, seeds: tuple[int, ...], cycles: int, exclusive: str, details: bool) -> None:
    """The same beside somebody else who starts and stops the same spec."""
    for seed in seeds_or_random(seeds):
        figures = loads.beside_a_foreign_client(world, seed, cycles, exclusive=None if exclusive == "none" else False)
        show(f"{world}, exclusive {exclusive}, seed {seed}", figures, details=details)


@main.command()
@click.option("--world", "worlds", type=click.Choice(WORLDS), multiple=True, help="Of each process; else a mix.")
@SEED
@click.option("--cycles", default=100, show_default=True, help="Of each process.")
@click.option("--details", is_flag=True, help="Also the errors in full, and the faults by kind.")
def ledger(*, worlds: tuple[str, ...], seeds: tuple[int, ...], cycles: int, details: bool) -> None:
    """Three processes that start the same spec on one ledger."""
    worlds = worlds or ("async", "sync", "async")
    for seed in seeds_or_random(seeds):
        show(f"{', '.join(worlds)}, seed {seed}", loads.on_one_ledger(worlds, seed, cycles), details=details)


@main.command()
@WORLD
@click.option("--number", default=40, show_default=True, help="In each phase.")
def kill(*, world: str, number: int) -> None:
    """SIGKILL in each phase of a lease, then `inferlease reap --yes`."""
    for phase in kills.HOLDS:
        click.echo(f"{world}, {phase}: {kills.killed_in(phase, world, number)}")


@main.command()
@WORLD
@click.option("--number", default=20, show_default=True, help="In each phase.")
def guard(*, world: str, number: int) -> None:
    """SIGKILL in each phase of a lease with default options: what the guard makes of it."""
    for phase in kills.HOLDS:
        click.echo(f"{world}, {phase}: {kills.guarded_in(phase, world, number)}")


@main.command()
@WORLD
@click.option("--number", default=20, show_default=True, help="Of each fate.")
def limit(*, world: str, number: int) -> None:
    """Leases that reach `max_duration`, of processes that go on, are suspended, or are killed before."""
    for fate in get_args(kills.Fate):
        late = sorted(kills.at_its_limit(fate, world, number))
        click.echo(f"{world}, the process {fate}: {number} stops, {late[0]:.2f} to {late[-1]:.2f} s after the limit")


@main.command()
@WORLD
@SEED
@click.option("--interrupts", default=200, show_default=True, help="How many processes get five SIGINTs.")
@click.option("--terminations", default=100, show_default=True, help="How many get a SIGTERM.")
def signals(*, world: str, seeds: tuple[int, ...], interrupts: int, terminations: int) -> None:
    """Five SIGINTs, or SIGTERM and SIGKILL ten seconds later, at a random moment."""
    for seed in seeds_or_random(seeds):
        for how, number in (("five SIGINTs", interrupts), ("SIGTERM, then SIGKILL", terminations)):
            click.echo(f"{world}, seed {seed}, {how}: {kills.signalled(how, world, seed, number)}")


@main.command()
@click.option("--world", type=click.Choice(["async", "cortecs"]), default="async", show_default=True)
@click.option("--polls", default=1000, show_default=True, help="In flight at any time.")
@click.option("--releases", default=100, show_default=True)
def stop(*, world: str, polls: int, releases: int) -> None:
    """How long a stop takes beside many polls."""
    click.echo(f"{world}: {latency.beside_polls(world, polls, releases)}")


def show(title: str, figures: Figures, *, details: bool) -> None:
    click.echo(f"{title}: {figures}")
    if details:
        click.echo("\n".join([*figures.untyped[:5], *figures.said, repr(figures.faults), f"billed: {figures.billed}"]))


if __name__ == "__main__":
    main()
