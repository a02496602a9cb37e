"""What `stop` and `rm` have in common: each instance is ended, and what became of it is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from inferlease import Client, InferleaseError
from inferlease.cli import _signals
from inferlease.cli._advice import FIND_ID
from inferlease.cli._ids import each
from inferlease.cli._remembered import Remembered
from inferlease.cli._signals import Interrupts
from inferlease.cli._terminal import Terminal

__all__ = ["absent", "end_each", "with_cost"]


def end_each(
    ids: Sequence[str], end: Callable[[Client, str, Remembered], Awaitable[str]], doing: str, consequence: str
) -> int:
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
            remembered = Remembered(client)

            async def end_one(instance_id: str) -> None:
                terminal.say(f"{instance_id}: {await end(client, instance_id, remembered)}")

            with terminal.bars() as bars:
                bars.waiting_for(doing)
                return (await each(ids, end_one, terminal, goal="stopped"))[1]

    return _signals.run(end_all, terminal.say)


async def absent(remembered: Remembered, instance_id: str, done: str) -> str:
    """What is said, in words, of an instance that the server does not know: if the ledger does, it was there once.

    Args:
        done: What would have been done with it.

    Raises:
        InferleaseError: Nobody knows the id. If it is mistyped, the instance that was meant is still billed.
    """
    if await remembered.start_of(instance_id) is not None:
        return "it is gone already"
    raise InferleaseError(f"there is no such instance, and nothing was {done}; {FIND_ID}")


def with_cost(done: str, cost: str) -> str:
    """What was done, in words, and what the instance has cost, if that is known."""
    return f"{done}; {cost}" if cost else done
