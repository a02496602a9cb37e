"""What is remembered of every start, so that nothing is lost with the process that began it.

The types here are what a ledger has to offer; `open_ledger` finds the one that a client uses. A shared store
may take its place by implementing `Ledger`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from os import PathLike
from typing import Literal, Protocol, TypeAlias

from attrs import field, frozen

from .money import Price
from .objects import InstanceArgs

__all__ = [
    "Bounds",
    "Ending",
    "Facts",
    "Intent",
    "Journal",
    "Kind",
    "Ledger",
    "LedgerPlace",
    "Owner",
    "SpecLock",
    "StartRecord",
    "in_order",
    "now",
]

Ending: TypeAlias = Literal["stopped", "handed over", "refused", "not found"]
"""How a start ended: its instance was seen stopped (or is gone); it became the user's; it was not carried out;
nothing that it may have made showed within its late window."""

Kind: TypeAlias = Literal["lease", "start"]
"""Whether a lease owns what is started, or it becomes the user's once the call returns."""

Owner: TypeAlias = Literal["alive", "dead", "none"]
"""Whether the process that began a start still lives; "none" once the start has ended."""


def now() -> datetime:
    """The time of day: what outlives a process can be dated by nothing else."""
    return datetime.now(UTC)


@frozen
class Intent:
    """One POST that is about to start an instance; written before it is sent.

    Attributes:
        spec: Key of what is started: equal for equal resolved arguments.
        args: The arguments that are sent.
        kind: Whether a lease owns the instance, or it becomes the user's once the call returns.
        baseline: Ids of all instances that the account had before, as it lists them.
        foreign: Those of them that were live and unknown to the ledger.
        unclaimed: Those of them that no start had claimed, but one of the ledger whose answer was lost may have made,
            also such as could not be read: one is this start's where that other has taken a later one for its own.
        exclusive: As the client was told: whether nobody outside this ledger starts this spec.
        settle_time: Seconds within which an instance shows in the list, as a rule.
        late_window: Seconds within which an instance that shows up may still come from this POST.
        journal: Name of its journal.
        at: When it was written.
        label: As the lease was given it, for whoever pays.
        price: At most, per hour, if it was known then.
    """

    spec: str
    args: InstanceArgs
    kind: Kind
    baseline: frozenset[str]
    foreign: frozenset[str]
    exclusive: bool | None
    settle_time: float
    late_window: float
    journal: str = field(factory=lambda: uuid.uuid4().hex)
    at: datetime = field(factory=now)
    label: str | None = None
    price: Price | None = None
    unclaimed: frozenset[str] = frozenset()


@frozen
class Facts:
    """What became known of an instance after its start; `None` is unknown.

    Attributes:
        hardware_type_id: The hardware of one worker.
        billing_interval: `per_minute` or `per_hour`.
        price: At most, per hour, for all workers.
        usable_at: When it was seen usable.
    """

    hardware_type_id: str | None = None
    billing_interval: str | None = None
    price: Price | None = None
    usable_at: datetime | None = None


@frozen
class Bounds:
    """Up to where an instance that is to stay may run, should its process be killed before the lease ends.

    Attributes:
        limit_at: When a limit of its lease is reached, in UTC.
        min_balance: What has to stay on the account.
    """

    limit_at: datetime | None = None
    min_balance: float | None = None

    @property
    def are_set(self) -> bool:
        return self != Bounds()


@frozen
class StartRecord:
    """What a ledger knows of one start.

    Attributes:
        intent: What was about to be sent, and under which rules.
        owner: Whether the process that began it lives; "none" once it has ended.
        instance_id: What it started, once that is known.
        is_answered: Whether an answer to the POST itself carried the id; else it was found in a list.
        is_kept: Whether the instance stays when its lease ends.
        bounds: Up to where, if its process is killed before.
        claimed_at: When the id became known, in UTC.
        ending: How it ended: "stopped", "handed over", "refused" or "not found"; `None` while it is open.
        ended_at: When it ended, in UTC.
        reason: Why it was refused, in one line; `None` where it was not, or nobody said why.
        facts: What became known of the instance.
    """

    intent: Intent
    owner: Owner
    instance_id: str | None = None
    is_answered: bool = False
    is_kept: bool = False
    claimed_at: datetime | None = None
    ending: Ending | None = None
    ended_at: datetime | None = None
    facts: Facts = field(factory=Facts)
    bounds: Bounds = field(factory=Bounds)
    reason: str | None = None

    @property
    def may_stay(self) -> bool:
        """Whether the instance is to stay, as far as time tells."""
        limit_at = self.bounds.limit_at
        return self.is_kept and (limit_at is None or now() < limit_at)

    @property
    def id(self) -> str:
        """What the ledger calls it."""
        return self.intent.journal

    @property
    def kind(self) -> Kind:
        """Whether it is a "lease", or a plain "start" that became the user's once the call returned."""
        return self.intent.kind

    @property
    def args(self) -> InstanceArgs:
        """The arguments that were asked for."""
        return self.intent.args

    @property
    def began(self) -> datetime:
        """When it was about to be sent, in UTC."""
        return self.intent.at


def in_order(records: Iterable[StartRecord]) -> list[StartRecord]:
    """The oldest first."""
    return sorted(records, key=lambda record: (record.began, record.id))


class Journal(Protocol):
    """The journal of one start, in the hands of its owner. Every call returns once its line is safe."""

    @property
    def intent(self) -> Intent: ...

    def claim(self, instance_id: str, *, is_answered: bool) -> bool:
        """Note what was started: `False`, and nothing is noted, if the ledger knows this id already.

        Atomic among all processes. Raises LedgerError if it can't be written.
        """
        ...

    def keep(self, bounds: Bounds) -> None:
        """Note that the instance stays when its lease ends; the last note counts. Raises LedgerError.

        One that is not to stay after all is noted with a limit that has passed.
        """
        ...

    def note(self, facts: Facts) -> None:
        """Note what became known of the instance; the last note counts. Raises LedgerError."""
        ...

    def end(self, how: Ending, reason: str | None = None) -> None:
        """Note how it ended, and let go of it. Idempotent. Raises LedgerError.

        `reason` says why it was refused, in one short line for people. A ledger may do without it.
        """
        ...

    def let_go(self) -> None:
        """Own it no longer, without an end: another process may take it over. Idempotent, never raises."""
        ...


class SpecLock(Protocol):
    """The lock of one spec, held."""

    def release(self) -> None:
        """Let go of it. Idempotent, never raises."""
        ...


class Ledger(Protocol):
    """Where starts are remembered. Its methods may block, are called from any thread, and raise LedgerError."""

    def begin(self, intent: Intent) -> Journal:
        """Remember what is about to be sent. The caller owns the journal until it ends or lets go of it."""
        ...

    def try_lock(self, spec: str) -> SpecLock | None:
        """The lock of a spec among all processes that share the ledger, `None` if somebody holds it now."""
        ...

    def known(self, instance_ids: Iterable[str]) -> set[str]:
        """Those of the ids that any start of this ledger has claimed, whatever became of it."""
        ...

    def open_records(self) -> list[StartRecord]:
        """The starts that have not ended, oldest first."""
        ...

    def past_records(self, since: datetime | None = None) -> list[StartRecord]:
        """The starts that have ended, since then or ever, oldest first."""
        ...

    def take_over(self, record: StartRecord) -> Journal | None:
        """Own the open journal of a dead owner, `None` if its owner lives, or it has ended meanwhile."""
        ...


LedgerPlace: TypeAlias = str | PathLike[str] | Ledger
"""A folder for journals, or a store of one's own."""
