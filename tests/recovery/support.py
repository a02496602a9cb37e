"""Starts whose process is gone, as a ledger has them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from inferlease._journals import FolderLedger
from inferlease._ledgers import account_key
from inferlease._requests import start_arguments
from inferlease._spec import spec_key
from inferlease.ledger import Bounds, Intent, Journal, SpecLock, StartRecord, now
from tests.faults import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferlease import Client
    from inferlease.emulator import Emulator

P = ParamSpec("P")
T = TypeVar("T")


def off_the_loop(function: Callable[P, T]) -> Callable[P, T]:
    """In a thread of its own: a ledger blocks, which no event loop's thread may."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with ThreadPoolExecutor(1) as threads:
            return threads.submit(function, *args, **kwargs).result()

    return call


def ledger_of(emulator: Emulator) -> FolderLedger:
    """The ledger of the clients that `emulator` makes, and of the tool that is pointed at it."""
    return FolderLedger(emulator._state / account_key(emulator.base_url, "emulator"))


@off_the_loop
def begun(emulator: Emulator, *, ago: float = 0.0, **changes: Any) -> Journal:
    """The journal of a start that was sent `ago` seconds ago, in our hands."""
    given: dict[str, Any] = {
        "args": start_arguments(MODEL),
        "kind": "lease",
        "baseline": frozenset(),
        "foreign": frozenset(),
        "exclusive": True,
        "settle_time": 0.0,
        "late_window": 600.0,
        "at": now() - timedelta(seconds=ago),
    } | changes
    return ledger_of(emulator).begin(Intent(**{"spec": spec_key(given["args"])} | given))


@off_the_loop
def left(
    emulator: Emulator,
    instance_id: str | None = None,
    *,
    is_answered: bool = True,
    keep: Bounds | None = None,
    **changes: Any,
) -> str:
    """A start that a killed process has left in the ledger; the id of its record."""
    journal = begun(emulator, **changes)
    if instance_id is not None:
        assert journal.claim(instance_id, is_answered=is_answered)
    if keep is not None:
        journal.keep(keep)
    journal.let_go()
    return journal.intent.journal


@off_the_loop
def record(emulator: Emulator, journal: str) -> StartRecord:
    """What the ledger says of it now."""
    ledger = ledger_of(emulator)
    (found,) = [each for each in [*ledger.open_records(), *ledger.past_records()] if each.id == journal]
    return found


async def strays(client: Client, count: int, **arguments: Any) -> list[str]:
    """Instances that another client has started, whose ledger is not ours."""
    return [(await client.instances.start(MODEL, **arguments)).instance_id for _ in range(count)]


async def verdicts(client: Client) -> list[tuple[str, str | None]]:
    """What a reap would find: whose it is, and its id."""
    return [(orphan.verdict, orphan.instance_id) for orphan in await client.leases.orphans()]


async def reaped(client: Client, *named: str) -> list[str | None]:
    """The ids of what a reap has stopped."""
    return [orphan.instance_id for orphan in await client.leases.reap(*named)]


@off_the_loop
def locked(emulator: Emulator, spec: str) -> SpecLock:
    """The lock of a spec, as a start has it that waits for its answer."""
    lock = ledger_of(emulator).try_lock(spec)
    assert lock is not None
    return lock


@off_the_loop
def known(emulator: Emulator, ids: list[str]) -> set[str]:
    """Those of them that the ledger has claimed."""
    return ledger_of(emulator).known(ids)
