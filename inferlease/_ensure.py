"""Which instance of the account has the arguments that are wanted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet

from ._lookup import Lookup
from ._requests import is_valid_id, sent_arguments
from ._spec import may_fit
from .errors import DecodeError, NotFoundError
from .objects import InstanceArgs, InstanceState

__all__ = ["choose"]

_ORDER = ("running", "pending", "stopped")


async def choose(
    lookup: Lookup,
    wanted: Sequence[tuple[InstanceArgs, InstanceArgs]],
    leased: Callable[[Sequence[InstanceState]], Awaitable[AbstractSet[str]]],
) -> InstanceState | None:
    """The best instance that has the wanted arguments: running before pending before stopped, then as in `wanted`.

    `wanted` has what was asked for beside what the server would start for it, what is preferred first.
    `leased` tells which of them belong to leases; it is asked after the list was read, when all of them are known.
    """
    listing = await lookup.list()
    # A list may leave arguments out, or garble an item, that a GET tells.
    unclear = [bad.id for bad in listing.invalid if is_valid_id(bad.id)]
    fitting: list[InstanceState] = []
    for state in listing:
        if state.instance_status.status in _ORDER and _rank(wanted, state) < len(wanted):
            if None in _values(state.instance_args).values():
                unclear.append(state.instance_id)
            else:
                fitting.append(state)
    for instance_id in filter(None, unclear):
        try:
            state = await lookup.get(instance_id)
        except (NotFoundError, DecodeError):
            continue
        if state.instance_status.status in _ORDER and any(
            _fits(asked, whole, state.instance_args) for asked, whole in wanted
        ):
            fitting.append(state)
    taken = await leased(fitting) if fitting else frozenset[str]()
    free = [state for state in fitting if state.instance_id not in taken]
    return min(free, key=lambda state: (_ORDER.index(state.instance_status.status), _rank(wanted, state)), default=None)


def _rank(wanted: Sequence[tuple[InstanceArgs, InstanceArgs]], state: InstanceState) -> int:
    """The place in `wanted` of the first that the instance may be; past the end if it is none of them."""
    ranks = (rank for rank, (_, whole) in enumerate(wanted) if may_fit(whole, state.instance_args))
    return next(ranks, len(wanted))


def _values(args: InstanceArgs) -> dict[str, object]:
    return {
        "hardware_type_id": args.hardware_type_id,
        "context_length": args.context_length,
        "billing_interval": args.billing_interval,
        "num_workers": args.num_workers,
    }


def _fits(asked: InstanceArgs, wanted: InstanceArgs, found: InstanceArgs) -> bool:
    """Whether all known arguments are the wanted ones; one still unknown fits only if nobody asked for it."""
    have = sent_arguments(found)
    return may_fit(wanted, found) and all(name in have for name in sent_arguments(asked))
