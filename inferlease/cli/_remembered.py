"""What the ledger of this machine remembers of instances."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from inferlease import Client, InferleaseError, InstanceState, StartRecord
from inferlease._costs import spent
from inferlease._printing import printable
from inferlease.cli._terminal import Terminal
from inferlease.ledger import now

__all__ = ["Remembered", "say_nothing_is"]


def say_nothing_is(terminal: Terminal, told: str) -> None:
    """Tell a person that nothing is remembered; whoever named a folder that is not there, that it is not."""
    named = os.environ.get("INFERLEASE_STATE_DIR")
    if named and not Path(named).expanduser().is_dir():
        where = printable(named)
        terminal.say(f"INFERLEASE_STATE_DIR={where} does not exist: nothing was started with it, or it was deleted")
    else:
        terminal.tell(told)


class Remembered:
    """The last start of each instance; read once, when it is first asked for.

    That the ledger can't be read is no reason to fail: then nothing is remembered.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._reading: asyncio.Task[dict[str, StartRecord]] | None = None

    async def start_of(self, instance_id: str) -> StartRecord | None:
        """Of an instance that a client of this machine has started."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        return (await asyncio.shield(self._reading)).get(instance_id)

    async def cost_of(self, state: InstanceState) -> str:
        """What it has cost since its start, in words; "" where that is not known."""
        record = await self.start_of(state.instance_id)
        if record is None:
            return ""
        ended_at = record.ended_at if record.ending == "stopped" else None
        if ended_at is not None and not state.is_stopped:
            return ""  # it was started again, and nobody has noted when
        cost = spent(record, ended_at or state.instance_status.stopped_at or now())
        return f"{cost} since its start, if never restarted"

    async def _read(self) -> dict[str, StartRecord]:
        try:
            records = await self._client.leases.list()
        except InferleaseError:
            return {}
        return {record.instance_id: record for record in records if record.instance_id is not None}
