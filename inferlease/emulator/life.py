"""How an instance comes to life and ends, computed from instants; nothing here ticks."""

import math
import time
from datetime import UTC, datetime, timedelta
from typing import Literal

from attrs import define, frozen

INTERVAL_SECONDS = {"per_minute": 60.0, "per_hour": 3600.0}

State = Literal["pending", "running", "stopped"]

_STEPS = (
    "Reserving the hardware",
    "Pulling the container image",
    "Downloading the model weights",
    "Loading the weights onto the GPU",
    "Starting the inference server",
)


class Clock:
    """Monotonic seconds for every decision, and the wall time that belongs to each."""

    def __init__(self) -> None:
        self._monotonic = time.monotonic()
        self._wall = datetime.now(UTC)
        self._end: float | None = None

    def now(self) -> float:
        """Seconds on the monotonic clock, which for the emulator ends with its server."""
        return time.monotonic() if self._end is None else self._end

    def stop(self) -> None:
        """Let no more time pass, so that the books of a stopped emulator don't grow."""
        self._end = self.now()

    def wall(self, instant: float) -> datetime:
        """The wall time in UTC of a monotonic instant."""
        return self._wall + timedelta(seconds=instant - self._monotonic)

    def stamp(self, instant: float | None) -> str | None:
        """`instant` as the API writes it, such as `2024-11-29T09:05:47.788Z`."""
        if instant is None:
            return None
        return self.wall(instant).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@frozen
class Pace:
    """How fast a worker comes up: `steps` steps of `seconds_per_step` each."""

    steps: int
    seconds_per_step: float

    @property
    def startup(self) -> float:
        """Seconds from the start to a worker that runs."""
        return self.steps * self.seconds_per_step


@frozen
class Billing:
    """What the emulated provider bills.

    Attributes:
        pending: Whether the time before an instance is usable.
        per_gpu: Whether a price is one for each GPU, else for the hardware type.
        rounding: Whether each life is rounded up to the billing interval.
    """

    pending: bool
    per_gpu: bool
    rounding: bool

    def seconds(self, run: "Run", now: float, billing_interval: str) -> float:
        """Seconds on the bill of one life so far."""
        exact = run.billed_seconds(now, bill_pending=self.pending)
        length = INTERVAL_SECONDS[billing_interval]
        return math.ceil(exact / length) * length if self.rounding else exact


@define
class Run:
    """One life of an instance, from a start or a restart to its stop; all instants in monotonic seconds."""

    pace: Pace
    pending_at: float
    stop_at: float | None = None
    """When it stops or has stopped; None while nobody asked for it."""

    def state(self, now: float) -> State:
        """`running` from the moment the first worker is up."""
        if self.stop_at is not None and self.stop_at <= now:
            return "stopped"
        return "pending" if self.running_at(now) is None else "running"

    def running_at(self, now: float) -> float | None:
        """When it became usable, or None if it has not or was stopped before."""
        usable_at = self.pending_at + self.pace.startup
        return usable_at if usable_at <= self._end(now) else None

    def stopped_at(self, now: float) -> float | None:
        """When it stopped, or None if it has not yet."""
        return self.stop_at if self.state(now) == "stopped" else None

    def billed_seconds(self, now: float, *, bill_pending: bool) -> float:
        """Seconds on the bill so far, from the start on or, without `bill_pending`, only those of running."""
        begin = self.pending_at if bill_pending else self.pending_at + self.pace.startup
        return max(0.0, self._end(now) - begin)

    def worker_statuses(self, now: float, num_workers: int) -> list[dict[str, object]]:
        """The workers as the API shows them; each begins one step after the one before it."""
        if self.state(now) == "stopped":
            return [{"init_progress": None} for _ in range(num_workers)]
        return [{"init_progress": self._init_progress(now, worker)} for worker in range(num_workers)]

    def _init_progress(self, now: float, worker: int) -> dict[str, object] | None:
        elapsed = now - self.pending_at - worker * self.pace.seconds_per_step
        steps = self.pace.steps
        if elapsed < 0:
            return None
        if elapsed >= self.pace.startup:
            return {"current_step": steps, "num_steps": steps, "description": "Running"}
        step = min(steps, 1 + int(elapsed / self.pace.seconds_per_step))
        return {
            "current_step": step,
            "num_steps": steps,
            "description": _STEPS[(step - 1) * len(_STEPS) // steps],
        }

    def _end(self, now: float) -> float:
        return now if self.stop_at is None else min(now, self.stop_at)
