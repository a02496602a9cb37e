"""A lease that a person can watch, as `run` and `demo` have it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TypedDict

from inferlease import Client, Instance, Receipt
from inferlease.cli._near import suggesting
from inferlease.cli._signals import Interrupts
from inferlease.cli._terminal import Bars, Terminal

__all__ = ["LeaseArguments", "estimated", "leased"]


class LeaseArguments(TypedDict, total=False):
    """Arguments of `Client.lease`."""

    hardware_type_id: Sequence[str] | None
    context_length: int | None
    billing_interval: str | None
    num_workers: int | None
    timeout: float
    wait_for_capacity: float | None
    stall_timeout: float | None
    probe: bool
    release_timeout: float
    max_cost: float | None
    max_duration: float | None
    min_balance: float | None
    label: str | None


@asynccontextmanager
async def leased(
    client: Client,
    model: str,
    arguments: LeaseArguments,
    terminal: Terminal,
    *,
    interrupts: Interrupts,
    tell: Callable[[Receipt], object],
) -> AsyncIterator[Instance]:
    """A usable instance of `model`; the bars of its start, and of its end, are shown on `terminal`.

    However it ends, `tell` gets the receipt, if anything was started.
    """
    bars = terminal.bars()
    async with suggesting(client, model):
        lease = client.lease(model, on_progress=bars.show, **arguments)
        try:
            with bars:
                bars.waiting_for("waiting for hardware" if arguments.get("wait_for_capacity") else "starting")
                async with AsyncExitStack() as stack:
                    with _end_shown(bars, terminal, interrupts):
                        instance = await stack.enter_async_context(lease)
                    bars.clear()
                    try:
                        yield instance
                    finally:
                        bars.waiting_for("stopping")
        finally:
            if lease.receipt is not None:
                tell(lease.receipt)


@contextmanager
def _end_shown(bars: Bars, terminal: Terminal, interrupts: Interrupts) -> Iterator[None]:
    """From a signal or an error on, the bar is that of the release. Not while a command has the terminal."""
    interrupts.on_first = terminal.on_error = lambda: bars.waiting_for("stopping")
    try:
        yield
    finally:
        interrupts.on_first = terminal.on_error = lambda: None


def estimated(receipt: Receipt) -> str:
    """What a lease came to, in one line. How it is counted stands in figures already, but for the price."""
    assumed = "" if receipt.amount is None else "; assuming the listed price for each GPU"
    return f"estimated cost: {receipt.brief()}{assumed}"
