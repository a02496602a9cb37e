"""How long a stop takes beside many polls: from the call that releases to the request as the emulator saw it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
from attrs import frozen

from tests.chaos.account import MODEL, PATIENCE, serving
from tests.chaos.reporting import Plan
from tests.chaos.worker import environment, running

SECONDS_PER_RELEASE = 120.0
"""More than one takes, whoever runs it, on a busy machine."""


@frozen
class Latencies:
    """Seconds.

    Attributes:
        asked: From the release to its stop request.
        seen: From the release to its end, when the stop was seen.
        failed_polls: Polls that ended by an error.
    """

    asked: list[float]
    seen: list[float]
    failed_polls: int
    billed: list[str]

    def __str__(self) -> str:
        return (
            f"{len(self.asked)} releases: the stop asked for after {_p(self.asked, 50):.3f} s (median), "
            f"{_p(self.asked, 99):.3f} s (p99); seen after {_p(self.seen, 50):.3f} s, {_p(self.seen, 99):.3f} s; "
            f"{self.failed_polls} polls failed, {len(self.billed)} still billed"
        )


def beside_polls(world: str, polls: int, releases: int) -> Latencies:
    """Leases released one after the other while so many polls are in flight."""
    plan = Plan(MODEL, cycles=releases, at_once=polls, timeout=60.0)
    with TemporaryDirectory() as state, serving(seconds_per_step=0.0) as account:
        variables = environment(account.variables, Path(state))
        with running(f"drive_polls_{world}", json.dumps(attrs.asdict(plan)), variables=variables) as worker:
            worker.wait_for("closed", PATIENCE + SECONDS_PER_RELEASE * releases)
            books = account.books()
    released = worker.events("released")
    first_asked = [books["instances"][told["id"]]["stop_requests"][0] for told in released]
    return Latencies(
        asked=[asked - told["at"] for asked, told in zip(first_asked, released, strict=True)],
        seen=[told["seconds"] for told in released],
        failed_polls=sum(told["failed"] for told in worker.events("polled")),
        billed=books["still_billed"],
    )


def _p(values: Sequence[float], percent: int) -> float:
    """The percentile by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, -(-percent * len(ordered) // 100) - 1)]
