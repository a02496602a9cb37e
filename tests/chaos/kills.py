"""Processes that end by a signal: by SIGKILL in each phase of a lease, by SIGINT and SIGTERM at any time."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from inferlease.emulator import Operation, Phase
from tests.chaos.account import MODEL, OTHER_MODEL, PATIENCE, Account, comes_true, scrubbed, serving, wait_until
from tests.chaos.reporting import Plan
from tests.chaos.worker import Worker, driving, environment

HOLDS: Mapping[str, tuple[Operation, Phase] | None] = {
    "before the POST": ("list", "before"),
    "unanswered": ("start", "unanswered"),
    "waiting": ("get", "before"),
    "body": None,
    "releasing": ("stop", "before"),
}
"""The phases of a lease, and what keeps it in each."""
FIRST_OF_CORTECS: tuple[Operation, Phase] = ("token", "before")  # it lists nothing before it starts
REAP = (sys.executable, "-m", "inferlease.cli", "reap", "--yes")
SETTLE_TIME, LATE_WINDOW = 1.0, 6.0
DEFAULTS: Mapping[str, Any] = {
    "exclusive": None,
    "settle_time": 30.0,
    "late_window": 600.0,
    "timeout": 30.0,
    "poll_interval": None,
    "lease_timeout": 900.0,
    "release_timeout": 120.0,
}
"""Those of a client and a lease."""
GUARD_SECONDS = 10.0
"""Within which a guard stops what is open; what its process had not seen the answer of, later by the settle time."""
DOCKER_SECONDS = 10.0
"""From the SIGTERM of `docker stop` to its SIGKILL."""


@frozen
class Killed:
    """What is left of processes that were killed.

    Attributes:
        kills: How many, each in the phase that was asked for.
        billed: What they started and is billed still.
        disturbed: Ids beside them that should live on untouched, and did not.
        reaps: What the commands that recover said, where one failed.
    """

    kills: int
    billed: list[str] = field(factory=list[str])
    disturbed: list[str] = field(factory=list[str])
    reaps: list[str] = field(factory=list[str])

    def __str__(self) -> str:
        return (
            f"{self.kills} killed: {len(self.billed)} still billed, {len(self.disturbed)} others disturbed, "
            f"{len(self.reaps)} recoveries failed{': ' + self.reaps[0][-300:] if self.reaps else ''}"
        )


def killed_in(phase: str, world: str, kills: int) -> Killed:
    """Processes killed in a phase, each recovered by a new one, beside a living lease and somebody else's instance."""
    plan = Plan(MODEL, stays=True, timeout=10.0, settle_time=SETTLE_TIME, late_window=LATE_WINDOW)
    with TemporaryDirectory() as state, serving(seconds_per_step=0.02) as account:
        variables = environment(account.variables, Path(state))
        foreign = account.start_foreign(OTHER_MODEL)
        with driving(world, plan, variables) as living:
            beside = [foreign, living.wait_for("answered")["id"]]
            reaps: list[str] = []
            for _ in range(kills):
                _kill_one(phase, world, plan, account, variables)
                if world != "cortecs":
                    reaps += _reap(variables)
            books = account.books()
            living.go_on()
            living.finish()
    return Killed(
        kills,
        billed=[name for name in books["still_billed"] if name not in beside],
        disturbed=[name for name in beside if name not in books["still_billed"] or name in books["asked_by"]],
        reaps=reaps,
    )


def _kill_one(phase: str, world: str, plan: Plan, account: Account, variables: Mapping[str, str]) -> float:
    """Kill one: when that was, in monotonic time."""
    hold = FIRST_OF_CORTECS if (world, phase) == ("cortecs", "before the POST") else HOLDS[phase]
    before = account.books()
    with driving(world, plan, variables) as worker:
        if phase in ("body", "releasing"):
            worker.wait_for("answered")
        if hold is None:
            _confirm(phase, before, account.books())
            return _killed(worker)
        # What is held is not handled afterwards: nobody but the recovery stops the instance.
        if phase == "releasing":
            account.tell("inject_once", "reset_before", "stop")
        with account.hold(*hold) as has_arrived:
            if phase == "releasing":
                worker.go_on()
            wait_until(lambda: has_arrived() or worker.has_ended, phase)
            assert not worker.has_ended, worker.said()
            _confirm(phase, before, account.books())
            return _killed(worker)


def _killed(worker: Worker) -> float:
    at = time.monotonic()
    worker.kill()
    return at


def _confirm(phase: str, before: Any, now: Any) -> None:
    """Check by the books that the process is where it should be."""
    new = [name for name in now["instances"] if name not in before["instances"]]
    answered = now["requests"].get("inference", 0) - before["requests"].get("inference", 0)
    posted = now["requests"].get("start", 0) - before["requests"].get("start", 0)
    expected = {
        "before the POST": (0, 0, 0),
        "unanswered": (1, 1, 0),
        "waiting": (1, 1, 0),
        "body": (1, 1, 1),
        "releasing": (1, 1, 1),
    }
    assert (posted, len(new), answered) == expected[phase], phase
    asked = [name for name in new if "stop" in now["asked_by"].get(name, {})]
    assert asked == (new if phase == "releasing" else []), phase
    assert set(new) <= set(now["still_billed"]), phase


def _reap(variables: Mapping[str, str]) -> list[str]:
    """Recover from a new process; what it said, if it failed."""
    ended = subprocess.run(
        REAP, env=scrubbed() | dict(variables), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return [] if ended.returncode == 0 else [ended.stdout + ended.stderr]


@frozen
class Guarded:
    """What became of what processes had started that were killed, by their guards alone.

    Attributes:
        kills: How many, each in the phase that was asked for.
        longest: Seconds from a kill until nothing of it was billed, at most.
        late: How many took longer than they may.
        billed: What was never stopped.
        disturbed: Ids beside them that should live on untouched, and did not.
    """

    kills: int
    longest: float
    late: int
    billed: list[str]
    disturbed: list[str]

    def __str__(self) -> str:
        return (
            f"{self.kills} killed: stopped within {self.longest:.2f} s, {self.late} not in time, "
            f"{len(self.billed)} still billed, {len(self.disturbed)} others disturbed"
        )


def guarded_in(phase: str, world: str, kills: int) -> Guarded:
    """Processes with the default options killed in a phase, beside a living lease of the same ledger."""
    plan = Plan(MODEL, stays=True, **DEFAULTS)
    within = GUARD_SECONDS + (plan.settle_time if phase == "unanswered" else 0.0)
    with TemporaryDirectory(ignore_cleanup_errors=True) as state, serving(seconds_per_step=0.02) as account:
        variables = environment(account.variables, Path(state), guarded=True)
        with driving(world, plan, variables) as living:
            beside = living.wait_for("answered")["id"]
            took: list[float] = []
            for _ in range(kills):
                killed_at = _kill_one(phase, world, plan, account, variables)
                comes_true(lambda: account.books()["still_billed"] == [beside], 2 * within)
                took.append(time.monotonic() - killed_at)
            books = account.books()
            living.go_on()
            living.finish()
    billed = [name for name in books["still_billed"] if name != beside]
    late = sum(seconds > within for seconds in took)
    return Guarded(kills, max(took), late, billed, [] if beside not in books["asked_by"] else [beside])


Fate: TypeAlias = Literal["goes on", "is suspended", "is killed", "is killed, and what it leased was to stay"]
LIMIT = 2.0
"""Seconds; more than it takes until an instance is in use, on a busy machine."""


def at_its_limit(fate: Fate, world: str, number: int) -> list[float]:
    """Leases that reach their limit: by how many seconds each stop was requested after that, or before."""
    is_kept = fate == "is killed, and what it leased was to stay"
    plan = Plan(MODEL, stays=True, max_duration=LIMIT, keep=is_kept, **DEFAULTS)
    with TemporaryDirectory(ignore_cleanup_errors=True) as state, serving(seconds_per_step=0.02) as account:
        variables = environment(account.variables, Path(state), guarded=True)
        for _ in range(number):
            with driving(world, plan, variables) as worker:
                worker.wait_for("answered")
                if fate == "is suspended":
                    worker.process.send_signal(signal.SIGSTOP)
                elif fate != "goes on":
                    worker.kill()
                wait_until(lambda: not account.books()["still_billed"], "the stop")
        entries = account.books()["instances"].values()
    return [entry["stop_requests"][0] - entry["started"] - LIMIT for entry in entries]


Signals: TypeAlias = Literal["five SIGINTs", "SIGTERM, then SIGKILL"]


def signalled(how: Signals, world: str, seed: int, number: int) -> Killed:
    """Processes that get signals at a random moment of entry, body or exit."""
    with TemporaryDirectory() as state, serving(seconds_per_step=0.1, stop_delay=0.2) as account:
        variables = environment(account.variables, Path(state))
        dice = random.Random(seed)
        moments = [(dice.uniform(0.0, 1.5), dice.random() < 0.5) for _ in range(number)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda moment: _signal_one(how, world, variables, *moment), moments))
        return Killed(number, billed=account.books()["still_billed"])


def _signal_one(how: Signals, world: str, variables: Mapping[str, str], delay: float, stays: bool) -> None:
    plan = Plan(MODEL, stays=stays, timeout=10.0, settle_time=SETTLE_TIME, late_window=LATE_WINDOW)
    with driving(world, plan, variables) as worker:
        worker.wait_for("ready")
        time.sleep(delay)  # the moment is drawn, nothing is waited for
        if how == "five SIGINTs":
            for _ in range(5):
                worker.process.send_signal(signal.SIGINT)
                time.sleep(0.05)  # two signals at once would be one
            worker.finish()
        else:
            worker.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.finish(DOCKER_SECONDS)
            worker.kill()
