"""What a start is whose process has ended before it did: the words for it, decided without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from attrs import field, frozen

from ._async_ledger import is_unresolved
from ._candidates import Sighting
from ._convert import Listing
from .errors import InferleaseError
from .ledger import StartRecord, now
from .objects import InstanceArgs, InstanceState
from .pricing import Price

__all__ = ["Case", "Orphan", "Round", "Verdict", "orphan_of", "possible", "unresolved"]

Verdict: TypeAlias = Literal["ours", "possible", "unresolved"]
"""Whose the instance of a start is: provably this ledger's; perhaps; or none is known yet."""


@frozen
class Orphan:
    """A start whose process is gone, or an instance that it may have made.

    Attributes:
        verdict: "ours": `reap` stops it. "possible": it fits, but may be somebody else's: `reap` stops it only if it
            is named. "unresolved": what the start has made, if anything, has not shown yet.
        reason: Why, in one line.
        record: Id of the start in the ledger.
        args: What was asked for.
        began: When, in UTC.
        instance_id: The instance; `None` if none is known.
        price: Per hour, at most; `None` if it is not known.
        until: Until when an instance that shows up may still come from this start, in UTC; `None` if it has one.
    """

    verdict: Verdict
    reason: str
    record: str
    args: InstanceArgs
    began: datetime
    instance_id: str | None = None
    price: Price | None = None
    until: datetime | None = None


@frozen
class Case:
    """An orphan as it is decided about.

    Attributes:
        args: The instance's arguments, as far as they are known.
        may_change: Whether another look, soon, may tell more.
        trouble: Why it could not be taken over though it is ours.
        unread: Why its instance could not be looked at, so that it may have stopped.
    """

    orphan: Orphan
    record: StartRecord
    args: InstanceArgs
    may_change: bool = False
    trouble: InferleaseError | None = None
    unread: InferleaseError | None = None


@frozen
class Round:
    """One look. Each instance is told once, however many starts it may come from.

    Attributes:
        listing: What the account shows.
        may_end: Whether that is enough to say of a start that it has made nothing.
        told: Ids of the instances that were told.
    """

    listing: Listing[InstanceState]
    may_end: bool
    told: set[str] = field(factory=set[str])


def orphan_of(record: StartRecord, verdict: Verdict, reason: str, instance_id: str | None = None) -> Orphan:
    until = record.began + timedelta(seconds=record.intent.late_window) if instance_id is None else None
    return Orphan(verdict, reason, record.id, record.args, record.began, instance_id, until=until)


def unresolved(record: StartRecord, reason: str, patience: float = 0.0) -> Case:
    age = (now() - record.began).total_seconds()
    orphan = orphan_of(record, "unresolved", reason)
    return Case(orphan, record, record.args, may_change=age < record.intent.settle_time + patience)


def possible(record: StartRecord, sighting: Sighting, fitting: Sequence[InstanceState], seen: Round) -> list[Case]:
    reason = "a start whose answer was lost may have made it, or somebody else"
    if not is_unresolved(record):
        reason = "it fits a start whose answer was lost, but it may have come later and be somebody else's"
    cases = [
        Case(orphan_of(record, "possible", reason, state.instance_id), record, state.instance_args) for state in fitting
    ]
    unclear = "a start whose answer was lost may have made it, but what it is can't be told"
    cases += [
        Case(orphan_of(record, "possible", unclear, instance_id), record, record.args)
        for instance_id in sighting.doubtful
        if instance_id not in seen.told
    ]
    seen.told.update(case.orphan.instance_id or "" for case in cases)
    return cases
