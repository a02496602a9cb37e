"""What a benchmark yields, and how it is shown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        name: What was measured.
        samples: One per pair of runs; the median is the figure.
        unit: `x` for a ratio, else such as `ms`.
        target: The median must not exceed it; `None` where the figure is only reported.
        missing: Why there are no samples.
    """

    name: str
    samples: Sequence[float] = ()
    unit: str = "x"
    target: float | None = None
    missing: str | None = None

    @property
    def measured(self) -> str:
        if self.missing is not None:
            return "not measured"
        if len(self.samples) == 1:
            return self._number(self.samples[0])
        low, median, high = statistics.quantiles(self.samples, n=4)
        return f"{self._number(median)}  ({self._number(low)} to {self._number(high)})"

    @property
    def limit(self) -> str:
        return "" if self.target is None else f"<= {self._number(self.target)}"

    @property
    def verdict(self) -> str:
        if self.missing is not None:
            return f"MISSING: {self.missing}"
        if self.target is None:
            return ""
        median = statistics.median(self.samples)
        return "ok" if median <= self.target else f"TOO MUCH, by {median / self.target - 1:.1%}"

    def _number(self, value: float) -> str:
        return f"{value:.3f}{self.unit}" if self.unit == "x" else f"{value:.1f} {self.unit}"


def table(figures: Iterable[Figure]) -> str:
    """The figures in columns; in brackets, the middle half of the samples."""
    rows = [("figure", "median (middle half)", "target", "verdict")]
    rows += [(figure.name, figure.measured, figure.limit, figure.verdict) for figure in figures]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def not_installed(*modules: str) -> str | None:
    """Which of these top-level modules are not there, in words; `None` if all are."""
    absent = [module for module in modules if find_spec(module) is None]
    return f"{', '.join(absent)} not installed" if absent else None


def interleaved(rounds: int, measures: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Take every measure once per round, so that the samples of one round pair up.

    Every other round goes backwards: a machine that gets slower or faster favours nobody.
    """
    samples: dict[str, list[float]] = {name: [] for name in measures}
    order = list(measures)
    for _ in range(rounds):
        for name in order:
            samples[name].append(measures[name]())
        order.reverse()
    return samples


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """The ratio of each pair."""
    return [a / b for a, b in zip(above, below, strict=True)]


def differences(more: Sequence[float], less: Sequence[float]) -> list[float]:
    """The difference of each pair."""
    return [a - b for a, b in zip(more, less, strict=True)]
