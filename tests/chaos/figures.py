"""What became of a load, by the emulator's books and by what its workers told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from inferlease.emulator import FaultKind
from tests.chaos.account import FOREIGN
from tests.chaos.worker import Worker


@frozen
class Figures:
    """The figures of one load.

    Attributes:
        cycles: Leases that were asked for.
        completed: Bodies whose inference request was answered.
        started: Instances that the workers' starts made.
        late: Those of them that came when the settle time was over.
        billed: Those of them whose bill still grows.
        unsaid: Those of the billed that no error and no warning names.
        said: The errors and warnings that name the others.
        unused: Those of the started that no body used.
        shared: Ids that two bodies had.
        touched: Foreign ids that somebody else asked to restart, stop or delete.
        errors: Typed errors by class, and how often.
        untyped: What was raised that is no error of the package, in full.
        faults: Faults delivered, by kind.
        left_open: Faults that left a start open.
        kills: How often their process was killed.
    """

    cycles: int
    completed: int
    started: int
    late: int
    billed: list[str]
    unsaid: list[str]
    said: list[str]
    unused: int
    shared: list[str]
    touched: list[str]
    errors: dict[str, int]
    untyped: list[str]
    faults: Counter[str]
    left_open: int
    kills: int = 0

    def __str__(self) -> str:
        typed = ", ".join(f"{number} {kind}" for kind, number in sorted(self.errors.items())) or "none"
        killed = f", {self.kills} times killed" if self.kills else ""
        return (
            f"{self.cycles} cycles{killed}: {self.completed} completed, {self.started} started ({self.late} late, "
            f"{self.unused} unused), {len(self.billed)} still billed ({len(self.unsaid)} of them not named anywhere), "
            f"{len(self.shared)} used twice, {len(self.touched)} foreign touched; {self.faults.total()} faults met, "
            f"{self.left_open} starts left open; errors: {typed}; untyped: {len(self.untyped)}"
        )


def unsaid(books: Any, workers: Sequence[Worker]) -> list[str]:
    """Those of what is billed that nothing has named so far."""
    said = _said(workers)
    return [each for each in _billed(_ours(books)) if not any(each in text for text in said)]


def _ours(books: Any) -> list[Any]:
    return [entry for entry in books["instances"].values() if entry["started_by"] != FOREIGN]


def _billed(entries: Sequence[Any]) -> list[str]:
    return [entry["instance_id"] for entry in entries if not entry["billed_until_stopped"]]


def _said(workers: Sequence[Worker]) -> list[str]:
    told = [told["said"] for worker in workers for told in list(worker.told) if "said" in told]
    return told + [worker.said() for worker in workers]


def judge(books: Any, workers: Sequence[Worker], *, cycles: int, seen_late: float) -> Figures:
    """The figures of a load whose workers have ended; `seen_late` is how late counts as late, in seconds."""
    entries = books["instances"].values()
    ours = _ours(books)
    foreign = {entry["instance_id"] for entry in entries if entry["started_by"] == FOREIGN}
    answered = [told["id"] for worker in workers for told in worker.events("answered")]
    failed = [told for worker in workers for told in worker.events("failed")]
    said = _said(workers)
    billed = _billed(ours)
    return Figures(
        cycles=cycles,
        completed=len(answered),
        started=len(ours),
        late=sum(entry["late_by"] > seen_late for entry in ours),
        billed=billed,
        unsaid=unsaid(books, workers),
        said=[text for text in said if any(instance_id in text for instance_id in billed)],
        unused=len({entry["instance_id"] for entry in ours} - set(answered)),
        shared=[instance_id for instance_id, number in Counter(answered).items() if number > 1],
        touched=sorted(
            instance_id
            for instance_id, asked in books["asked_by"].items()
            if instance_id in foreign and any(set(agents) - {FOREIGN} for agents in asked.values())
        ),
        errors=dict(Counter(told["kind"] for told in failed if told["typed"])),
        untyped=[told["said"] for told in failed if not told["typed"]],
        faults=Counter({kind: sum(numbers.values()) for kind, numbers in books["faults"].items()}),
        left_open=sum(
            numbers.get("start", 0)
            for kind, numbers in books["faults"].items()
            if FaultKind(kind).is_ambiguous_on("start")
        ),
    )
