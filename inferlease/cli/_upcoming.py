"""What follows once instances are up: their ids are printed, how to stop them is told, and they are waited for."""

from __future__ import annotations

from collections.abc import Sequence

import click
from attrs import frozen
from click.exceptions import Exit

from inferlease import Client, Instance, InstanceEvent
from inferlease.cli._ids import each
from inferlease.cli._instances import prices
from inferlease.cli._output import Form, write_json, write_lines
from inferlease.cli._signals import Interrupts
from inferlease.cli._terminal import Terminal
from inferlease.money import duration

__all__ = ["Upcoming"]


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
    ) -> int:
        """Tell of instances that are billed from here on, and wait for them; returns the exit code."""
        ids = [instance.instance_id for instance in instances]
        billed = f"still billed: {', '.join(ids)}; stop with: inferlease stop {' '.join(ids)}"
        interrupts.consequence = billed
        try:
            if self.form is None:
                known = await prices(client)
                for each_one in instances:
                    cost = known.told(each_one.instance_args)
                    terminal.say(
                        f"{each_one.instance_id}: started, at most {cost}; "
                        f"stop it with: inferlease stop {each_one.instance_id}"
                    )
            if self.form != "json":
                write_lines(ids)
            code = await self._waited(instances, terminal) if self.wait else 0
            if self.form == "json":
                write_json(client.converter.unstructure([*instances] if as_list else instances[0]))
        except (Exit, click.ClickException):
            # Nobody has read the ids, and they are what is needed most.
            if ids:
                terminal.say(billed)
            raise
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
                terminal.say(f"{instance_id}: usable after {duration(seconds)} at {instance.base_url}")

        with terminal.bars(several=len(by_id) > 1) as bars:
            bars.waiting_for("starting")
            _, code = await each([*by_id], wait, terminal)
        return code
