"""Which instances of the account may be what a start has made whose answer was lost."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from ._async_ledger import AsyncLedger, is_unresolved
from ._convert import Listing
from ._lookup import Lookup
from ._requests import is_valid_id
from ._spec import fits, is_of_spec, lacks_an_argument, may_fit
from .errors import InferleaseError
from .ledger import Intent, StartRecord
from .objects import InstanceArgs, InstanceState

__all__ = ["Baseline", "Sighting", "baseline", "fuller_list", "is_same", "may_come_from", "sight"]


@frozen(eq=False, repr=False)
class Baseline:
    """The instances before a start: `ids` is what its `Intent` calls `baseline`, the others are called the same."""

    ids: frozenset[str]
    foreign: frozenset[str]
    unclaimed: frozenset[str]


@frozen(eq=False, repr=False)
class Sighting:
    """What one look at the account shows of a start whose answer was lost.

    Attributes:
        fitting: New, live, unknown to the ledger, and equal on every argument that was sent.
        doubtful: Ids of those that may be, but can't be read or may come from another start of the ledger.
        is_exclusive: Whether nobody outside the ledger starts this spec.
        has_nameless: Whether the list has an item whose id can't be read.
        makers: How many of the unresolved starts may have made any of the fitting.
        unresolved: The starts of this spec that the ledger does not know the outcome of, this one among them.
    """

    fitting: tuple[InstanceState, ...]
    doubtful: tuple[str, ...]
    is_exclusive: bool
    has_nameless: bool
    makers: int
    unresolved: tuple[StartRecord, ...]

    @property
    def is_adoptable(self) -> bool:
        """Whether each of the fitting instances is provably of this ledger."""
        return self.is_exclusive and 0 < len(self.fitting) <= self.makers

    @property
    def is_nothing(self) -> bool:
        """Whether there is provably nothing that this start has made, as far as this look tells."""
        return self.is_exclusive and self.shows_nothing

    @property
    def shows_nothing(self) -> bool:
        """Whether the list has nothing that this start may have made."""
        return not self.fitting and not self.doubtful and not self.has_nameless


async def fuller_list(lookup: Lookup) -> Listing[InstanceState]:
    """What either of two lists has: a list may lack an instance."""
    listing, again = await lookup.list(), await lookup.list()
    listed = {state.instance_id for state in listing}
    listing.extend(state for state in again if state.instance_id not in listed)
    readable = {state.instance_id for state in listing}
    listing.invalid[:] = [bad for bad in (*listing.invalid, *again.invalid) if bad.id not in readable]
    return listing


async def baseline(lookup: Lookup, ledger: AsyncLedger, exclusive: bool | None) -> Baseline:
    """All instances that there are, and that this client has seen before other starts."""
    # Whether the account has others is not decided on a single list.
    is_first = exclusive is None and ledger.seen is None
    listing = await (fuller_list(lookup) if is_first else lookup.list())
    ids = _ids(listing)
    ledger.seen = ids if ledger.seen is None else ledger.seen | ids
    lost = await _lost(ledger)
    unresolved = [record for record in lost if is_unresolved(record)]
    known = await ledger.known(ids | ledger.unclaimed)
    live = [state for state in listing if not state.is_stopped and state.instance_id not in known]
    unreadable = {bad.id for bad in listing.invalid if bad.id is not None and bad.id not in known}
    explained = {state.instance_id for state in live if _is_explained(unresolved, state)}
    foreign = {state.instance_id for state in live} - explained | unreadable
    if len(explained) > len(lost):  # each has made one at most
        foreign |= explained
    unknown = {state.instance_id: state.instance_args for state in live} | dict.fromkeys(unreadable)
    ledger.unclaimed |= {
        each
        for each, args in unknown.items()
        if any(_may_have_made(record, each, args) or each in record.intent.unclaimed for record in lost)
    }
    ledger.unclaimed -= known
    ledger.is_alone = ledger.is_alone and not foreign and not _has_nameless(listing)
    return Baseline(frozenset(ledger.seen), frozenset(foreign), frozenset(ledger.unclaimed))


async def sight(lookup: Lookup, ledger: AsyncLedger, intent: Intent, listing: Listing[InstanceState]) -> Sighting:
    """What a list of the account shows of a start. Raises LedgerError."""
    # In this order, after the list was read: what a start has made is either claimed by now, or its start is known.
    lost = await _lost(ledger)
    unresolved = [record for record in lost if is_unresolved(record)]
    known = await ledger.known(_ids(listing))
    others = [record for record in unresolved if not is_same(record, intent)]
    fitting: list[InstanceState] = []
    unreadable = {bad.id for bad in listing.invalid if bad.id is not None and bad.id not in known}
    doubtful = [each for each in sorted(unreadable) if each not in intent.baseline or _is_left_to(intent, lost, each)]
    if _has_nameless(listing) or not unreadable.isdisjoint(intent.baseline):
        ledger.is_alone = False
    live = [state for state in listing if not state.is_stopped and state.instance_id not in known]
    if len(live) + len(unreadable) > len(lost):  # each has made one at most
        ledger.is_alone = False
    for listed in live:
        if not _may_take(intent, lost, listed):
            ledger.is_alone = ledger.is_alone and _is_explained(unresolved, listed)
            continue
        try:
            state = await _whole(lookup, intent, listed)
        except InferleaseError:  # also a 404: what is listed may be too new for a GET
            doubtful.append(listed.instance_id)
            continue
        is_another_starts = may_come_from(others, state)
        if not fits(intent.args, state.instance_args):
            ledger.is_alone = ledger.is_alone and is_another_starts
        elif is_another_starts:
            doubtful.append(state.instance_id)
        else:
            fitting.append(state.snapshot())
    is_exclusive = intent.exclusive is True or (intent.exclusive is None and ledger.is_alone and not intent.foreign)
    # One with other defaults than the server's may be ours, if those are not as documented: told, never taken.
    is_exclusive = is_exclusive and all(is_of_spec(intent.spec, state.instance_args) for state in fitting)
    # This start itself, if it is open in the ledger, however late it is.
    same = [
        record
        for record in await ledger.open_records()
        if is_same(record, intent) and (is_unresolved(record) or record.intent.journal == intent.journal)
    ]
    makers = [record for record in same if any(_may_take(record.intent, lost, state) for state in fitting)]
    return Sighting(tuple(fitting), tuple(doubtful), is_exclusive, _has_nameless(listing), len(makers), tuple(same))


def _has_nameless(listing: Listing[InstanceState]) -> bool:
    return any(bad.id is None for bad in listing.invalid)


async def _lost(ledger: AsyncLedger) -> list[StartRecord]:
    """The open starts of which no instance is known, however late it is for one."""
    return [record for record in await ledger.open_records() if record.instance_id is None]


def is_same(record: StartRecord, intent: Intent) -> bool:
    """Whether a start is of the same spec."""
    # What the server's defaults are can be unknown to one of them.
    return record.intent.spec == intent.spec or record.intent.args == intent.args


def _ids(listing: Listing[InstanceState]) -> set[str]:
    return {state.instance_id for state in listing} | {bad.id for bad in listing.invalid if bad.id is not None}


async def _whole(lookup: Lookup, intent: Intent, listed: InstanceState) -> InstanceState:
    """The instance with every argument that was asked for, as far as the server tells it."""
    is_unclear = lacks_an_argument(intent.args, listed.instance_args) and may_fit(intent.args, listed.instance_args)
    return await lookup.get(listed.instance_id) if is_unclear and is_valid_id(listed.instance_id) else listed


def may_come_from(records: Iterable[StartRecord], state: InstanceState) -> bool:
    """Whether any of these starts may have made an instance."""
    return any(_may_have_made(record, state.instance_id, state.instance_args) for record in records)


def _may_have_made(record: StartRecord, instance_id: str, args: InstanceArgs | None) -> bool:
    """The same of one start; `args` are `None` where they can't be read."""
    intent = record.intent
    return instance_id not in intent.baseline and (args is None or is_of_spec(intent.spec, args))


def _is_explained(records: Iterable[StartRecord], state: InstanceState) -> bool:
    """Whether an instance may be accounted for by one of these starts: it has made it, or it is left to it."""
    records = list(records)
    return may_come_from(records, state) or any(
        state.instance_id in record.intent.unclaimed - record.intent.foreign for record in records
    )


def _may_take(intent: Intent, lost: Iterable[StartRecord], state: InstanceState) -> bool:
    """Whether an instance is new to a start, or left to it."""
    return state.instance_id not in intent.baseline or _is_left_to(intent, lost, state.instance_id, state.instance_args)


def _is_left_to(
    intent: Intent, lost: Iterable[StartRecord], instance_id: str, args: InstanceArgs | None = None
) -> bool:
    """Whether it was there before, and the start that has made it can only have taken a later one for it.

    A list may lack an instance, or have it in a form that can't be read, while a later one of the same spec is there.
    """
    return instance_id in intent.unclaimed and not any(_may_have_made(record, instance_id, args) for record in lost)
