"""What follows once instances are up: their ids are printed, how to stop them is told, and they are waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterator, Sequence

from attrs import frozen

from inferlease import Client, Instance, InstanceEvent
from inferlease.cli._ids import each
from inferlease.cli._instances import Prices, prices
from inferlease.cli._output import Form, write_json, write_lines
from inferlease.cli._signals import Interrupts
from inferlease.cli._terminal import Terminal
from inferlease.money import duration

__all__ = ["Upcoming", "billed_is_told"]

# Seconds that the price of what was started is waited for.
_PRICE_PATIENCE = 2.0


@contextlib.contextmanager
def billed_is_told(ids: Collection[str], terminal: Terminal) -> Iterator[None]:
    """Tell what is billed, and how to stop it, before any error leaves the block; `ids` may grow in it."""
    try:
        yield
    except Exception:
        # Perhaps nobody has read the ids, and they are what is needed most.
        if ids:
            terminal.say(_still_billed(ids))
        raise


def _still_billed(ids: Collection[str]) -> str:
    return f"still billed: {', '.join(ids)}; stop with: inferlease stop {' '.join(ids)}"


@frozen
class Upcoming:
    """How a command goes on with what it has started; durations are seconds.

    Attributes:
        form: Of the answer on stdout.
        wait: Whether to wait until all are usable.
    """

    form: Form
    wait: bool
    timeout: float
    stall_timeout: float | None

    async def follow(
        self,
        client: Client,
        instances: Sequence[Instance],
        terminal: Terminal,
        interrupts: Interrupts,
        *,
        as_list: bool = True,
        running: Collection[str] = (),
    ) -> int:
        """Tell of instances that are billed from here on, and wait for them; returns the exit code.

        `running` are the ids of those that ran already.
        """
        ids = [instance.instance_id for instance in instances]
        interrupts.consequence = _still_billed(ids)
        with billed_is_told(ids, terminal):
            # Before anything is asked for: however this process ends, the ids are out.
            if self.form != "json":
                write_lines(ids)
            if self.form is None:
                await _tell_prices(client, instances, terminal, running)
            code = await self._waited(instances, terminal) if self.wait else 0
            if self.form == "json":
                write_json(client.converter.unstructure([*instances] if as_list else instances[0]))
        return code

    async def _waited(self, instances: Sequence[Instance], terminal: Terminal) -> int:
        by_id = {instance.instance_id: instance for instance in instances}

        async def wait(instance_id: str) -> None:
            instance = by_id[instance_id]
            seconds = 0.0

            def show(event: InstanceEvent) -> None:
                nonlocal seconds
                seconds = event.elapsed
                bars.show(event)

            await instance.wait_until_running(self.timeout, self.stall_timeout, on_progress=show)
            if self.form is None:
                name = f"{instance_id}: " if len(by_id) > 1 else ""
                terminal.say(f"{name}usable after {duration(seconds)} at {instance.base_url}")

        with terminal.bars(several=len(by_id) > 1) as bars:
            bars.waiting_for("starting")
            _, code = await each([*by_id], wait, terminal, goal="usable")
        return code


async def _tell_prices(
    client: Client, instances: Sequence[Instance], terminal: Terminal, running: Collection[str]
) -> None:
    try:
        async with asyncio.timeout(_PRICE_PATIENCE):
            known = await prices(client)
    except TimeoutError:
        known = Prices()
    for instance in instances:
        price = known.told(instance.instance_args)
        costs = "price unknown" if price == "-" else f"at most {price}"
        # The id is on stdout, and in the command that stops it.
        how = "runs already" if instance.instance_id in running else "started"
        terminal.say(f"{how}, {costs}; stop it with: inferlease stop {instance.instance_id}")
