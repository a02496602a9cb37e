"""The loads whose figures stand in `docs/reliability.md`; each returns what the books say at its end."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import evolve

from tests.chaos import faults
from tests.chaos.account import MODEL, PATIENCE, Account, comes_true, serving, wait_until
from tests.chaos.figures import Figures, judge, unsaid
from tests.chaos.reporting import Plan
from tests.chaos.worker import Worker, driving, environment, running

STARTUP = 0.1
"""Seconds from a start to a usable instance."""
LIST_LAG = 0.2
LATE = (0.0, 0.0, 0.3, 2.5)
"""Seconds by which the instances of starts that were left open are late, in turn: within the settle time, or not."""
SETTLE_TIME, LATE_WINDOW = 1.0, 60.0
"""Seconds; what is late is looked for every 20 s, whatever the window is."""
AT_ONCE = 8
LOOKED_FOR = 60.0
"""Seconds within which what shows up late has to be stopped."""
KILLED_EVERY = 200
"""Cycles, on average, after which a process is killed."""
ACCOUNTS_AT_ONCE = 6
SECONDS_PER_CYCLE = 20.0
"""More than a cycle takes, eight at a time, on a busy machine."""


def plan_of(cycles: int, **changes: object) -> Plan:
    """Cycles of one spec, many at a time."""
    plan = Plan(MODEL, cycles=cycles, at_once=AT_ONCE, settle_time=SETTLE_TIME, late_window=LATE_WINDOW)
    return evolve(plan, **changes)


def for_each(seeds: Sequence[int], load: Callable[[int], Figures]) -> dict[int, Figures]:
    """The figures of a load by its seed, each on an account of its own, several of them at the same time."""
    with ThreadPoolExecutor(ACCOUNTS_AT_ONCE) as pool:
        return dict(zip(seeds, pool.map(load, seeds), strict=True))


def lease_cycles(
    world: str, seed: int, cycles: int, *, reconciles: bool = True, late_window: float = LATE_WINDOW
) -> Figures:
    """Lease cycles through faults of every kind."""
    plan = plan_of(cycles, reconciles=reconciles, late_window=late_window)
    with TemporaryDirectory() as state, _chaotic(seed, faults.of_every_kind()) as account:
        variables = environment(account.variables, Path(state))
        with driving(world, plan, variables) as worker:
            _run_to_the_end(account, [worker], cycles, looks=world != "cortecs" and reconciles)
            return judge(account.books(), [worker], cycles=cycles, seen_late=SETTLE_TIME - LIST_LAG)


def killed_cycles(world: str, seed: int, cycles: int, *, every: int = KILLED_EVERY, are_alone: bool = False) -> Figures:
    """Lease cycles through faults of every kind, whose guarded process is killed again and again, at any moment.

    Where the guards `are_alone`, the next process begins once the guard has stopped all, else at once.
    """
    dice = random.Random(seed)
    with (
        # A guard may still look for what its process has started when everything else is over.
        TemporaryDirectory(ignore_cleanup_errors=True) as state,
        _chaotic(seed, faults.of_every_kind()) as account,
        ExitStack() as stack,
    ):
        variables = environment(account.variables, Path(state), guarded=True)
        workers: list[Worker] = []
        while (left := cycles - sum(worker.ended for worker in workers)) > 0:
            worker = stack.enter_context(driving(world, plan_of(left), variables))
            workers.append(worker)
            number = dice.randint(every // 2, every * 3 // 2)
            if number >= left:
                _run_to_the_end(account, [worker], left, looks=True)
                break
            wait_until(
                lambda: worker.ended >= number or worker.has_ended,  # noqa: B023 (used at once)
                f"{number} cycles",
                PATIENCE + number * SECONDS_PER_CYCLE,
            )
            time.sleep(dice.uniform(0.0, 1.0))  # the moment is drawn, nothing is waited for
            worker.kill()
            if are_alone:
                _wait_for_guards(account)
        _wait_for_guards(account)  # the last process too may have left something to its own
        figures = judge(account.books(), workers, cycles=cycles, seen_late=SETTLE_TIME - LIST_LAG)
        return evolve(figures, kills=len(workers) - 1)


def beside_a_foreign_client(world: str, seed: int, cycles: int, *, exclusive: bool | None) -> Figures:
    """The same beside somebody who starts and stops instances of the same spec, and shares no ledger."""
    plan = plan_of(cycles, exclusive=exclusive)
    with (
        TemporaryDirectory() as state,
        _chaotic(seed, []) as account,
        running("foreign", plan.model, variables=account.variables) as foreign,
    ):
        (first,) = foreign.wait_for("ready")["ids"]
        shown = time.monotonic() + LIST_LAG
        wait_until(lambda: time.monotonic() > shown, f"{first} is listed")
        account.tell("inject", *faults.of_every_kind())
        with driving(world, plan, environment(account.variables, Path(state))) as worker:
            # What is late is named by a look, as long as its process lives.
            _run_to_the_end(account, [worker], cycles, until=lambda: not unsaid(account.books(), [worker]))
            foreign.go_on()
            foreign.finish()
            return judge(account.books(), [worker], cycles=cycles, seen_late=SETTLE_TIME - LIST_LAG)


def on_one_ledger(worlds: Sequence[str], seed: int, cycles: int) -> Figures:
    """Processes that start the same spec at the same moment, on one ledger, each `cycles` times."""
    plan = plan_of(cycles, at_once=3)
    with TemporaryDirectory() as state, _chaotic(seed, faults.ambiguous_starts()) as account, ExitStack() as stack:
        variables = environment(account.variables, Path(state))
        workers = [stack.enter_context(driving(world, plan, variables)) for world in worlds]
        _run_to_the_end(account, workers, cycles * len(worlds), looks="cortecs" not in worlds)
        return judge(account.books(), workers, cycles=cycles * len(worlds), seen_late=SETTLE_TIME - LIST_LAG)


def _chaotic(seed: int, texts: list[str]) -> AbstractContextManager[Account]:
    return serving(seconds_per_step=STARTUP / 5, list_lag=LIST_LAG, late_creation=LATE, faults=texts, seed=seed)


def _wait_for_guards(account: Account) -> None:
    comes_true(lambda: not account.books()["still_billed"], LATE_WINDOW + LOOKED_FOR)


def _run_to_the_end(
    account: Account,
    workers: Sequence[Worker],
    cycles: int,
    *,
    looks: bool = True,
    until: Callable[[], bool] | None = None,
) -> None:
    """Wait for all cycles, then for whatever still shows up, then for the end of the processes.

    Args:
        looks: Whether anybody looks for what is late, so that it is worth waiting for.
        until: What it is then waited for; by default that nothing is billed.
    """
    for worker in workers:
        worker.wait_for("done", PATIENCE + cycles * SECONDS_PER_CYCLE)
    shown = time.monotonic() + max(LATE) + LIST_LAG
    is_over = until or (lambda: not account.books()["still_billed"])
    comes_true(
        lambda: time.monotonic() > shown and is_over(),
        LATE_WINDOW + LOOKED_FOR if looks else max(LATE) + LIST_LAG,
    )
    for worker in workers:
        worker.go_on()
    for worker in workers:
        worker.finish()
