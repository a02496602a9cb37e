"""Which instance of the account has the arguments that are wanted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet

from attrs import evolve

from ._lookup import Lookup
from ._requests import is_valid_id, sent_arguments
from .errors import DecodeError, NotFoundError
from .objects import InstanceArgs, InstanceState, ModelDetail

__all__ = ["choose", "resolve"]

# The server's default where the configuration allows more.
_DEFAULT_CONTEXT = 32_000
_MAX_LENGTH = "--max-model-len"
_ORDER = ("running", "pending", "stopped")


def resolve(asked: InstanceArgs, model: ModelDetail) -> InstanceArgs:
    """What the server would start: `asked`, with its documented defaults. What they do not tell stays `None`."""
    hardware = asked.hardware_type_id or model.recommended_config
    context = asked.context_length
    if context is None and hardware in model.configs:
        longest = model.configs[hardware].params.get(_MAX_LENGTH)
        context = min(_DEFAULT_CONTEXT, longest) if type(longest) is int else None
    return evolve(
        asked,
        hardware_type_id=hardware,
        context_length=context,
        billing_interval=asked.billing_interval or "per_minute",
        num_workers=asked.num_workers or 1,
    )


async def choose(
    lookup: Lookup, asked: InstanceArgs, wanted: InstanceArgs, leased: Callable[[], Awaitable[AbstractSet[str]]]
) -> InstanceState | None:
    """The best instance that has the wanted arguments: running before pending before stopped.

    `leased` tells which belong to leases; it is asked after the list was read, when all of them are known.
    """
    listing = await lookup.list()
    # A list may leave arguments out, or garble an item, that a GET tells.
    unclear = [bad.id for bad in listing.invalid if is_valid_id(bad.id)]
    fitting: list[InstanceState] = []
    for state in listing:
        if state.instance_status.status in _ORDER and _may_fit(wanted, state.instance_args):
            if None in _values(state.instance_args).values():
                unclear.append(state.instance_id)
            else:
                fitting.append(state)
    for instance_id in filter(None, unclear):
        try:
            state = await lookup.get(instance_id)
        except (NotFoundError, DecodeError):
            continue
        if state.instance_status.status in _ORDER and _fits(asked, wanted, state.instance_args):
            fitting.append(state)
    taken = await leased() if fitting else frozenset[str]()
    free = [state for state in fitting if state.instance_id not in taken]
    return min(free, key=lambda state: _ORDER.index(state.instance_status.status), default=None)


def _values(args: InstanceArgs) -> dict[str, object]:
    return {
        "hardware_type_id": args.hardware_type_id,
        "context_length": args.context_length,
        "billing_interval": args.billing_interval,
        "num_workers": args.num_workers,
    }


def _may_fit(wanted: InstanceArgs, found: InstanceArgs) -> bool:
    have = sent_arguments(found)
    return all(have.get(name, value) == value for name, value in sent_arguments(wanted).items())


def _fits(asked: InstanceArgs, wanted: InstanceArgs, found: InstanceArgs) -> bool:
    """Whether all known arguments are the wanted ones; one still unknown fits only if nobody asked for it."""
    have = sent_arguments(found)
    return _may_fit(wanted, found) and all(name in have for name in sent_arguments(asked))
