"""What `stop` and `rm` have in common: each instance is ended, and what became of it is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from inferlease import Client
from inferlease.cli import _signals
from inferlease.cli._ids import each
from inferlease.cli._signals import Interrupts
from inferlease.cli._terminal import Terminal

__all__ = ["end_each"]


def end_each(ids: Sequence[str], end: Callable[[Client, str], Awaitable[str]], doing: str, consequence: str) -> int:
    """The exit code: 0 only if none is left.

    Args:
        end: Ends one instance, and says in words what became of it.
        doing: What the moving bar says.
        consequence: What a signal says of what was begun.
    """
    terminal = Terminal()

    async def end_all(interrupts: Interrupts) -> int:
        interrupts.consequence = consequence
        async with Client() as client:

            async def end_one(instance_id: str) -> None:
                terminal.say(f"{instance_id}: {await end(client, instance_id)}")

            with terminal.bars() as bars:
                bars.waiting_for(doing)
                return (await each(ids, end_one, terminal, goal="stopped"))[1]

    return _signals.run(end_all, terminal.say)
