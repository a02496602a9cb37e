"""A client of the account that the environment names, for a command that starts and stops nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from inferlease import Client
from inferlease.cli import _signals
from inferlease.cli._terminal import Terminal

__all__ = ["ask"]


def ask(work: Callable[[Client, Terminal], Awaitable[int | None]]) -> int:
    """Run `work`, and let a signal end it without a word; returns the exit code, by default 0."""
    terminal = Terminal()

    async def answer() -> int:
        async with Client() as client:
            return await work(client, terminal) or 0

    return _signals.run_reader(answer)
