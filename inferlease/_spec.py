"""What is started: the server's defaults, and whether an instance is what was asked for."""

from __future__ import annotations

import json

from attrs import evolve

from ._requests import sent_arguments
from .money import DEFAULT_INTERVAL
from .objects import InstanceArgs, ModelDetail

__all__ = ["fits", "is_of_spec", "lacks_an_argument", "may_fit", "resolve", "spec_key", "with_defaults"]

# The server's default where the configuration allows more.
_DEFAULT_CONTEXT = 32_000
_MAX_LENGTH = "--max-model-len"


def resolve(asked: InstanceArgs, model: ModelDetail) -> InstanceArgs:
    """What the server would start: `asked`, with its documented defaults. What they do not tell stays `None`."""
    hardware = asked.hardware_type_id or model.recommended_config
    context = asked.context_length
    if context is None and hardware in model.configs:
        longest = model.configs[hardware].params.get(_MAX_LENGTH)
        context = min(_DEFAULT_CONTEXT, longest) if type(longest) is int else None
    return with_defaults(evolve(asked, hardware_type_id=hardware, context_length=context))


def with_defaults(asked: InstanceArgs) -> InstanceArgs:
    """`asked`, with those of the server's defaults that depend on no model."""
    return evolve(
        asked, billing_interval=asked.billing_interval or DEFAULT_INTERVAL, num_workers=asked.num_workers or 1
    )


def spec_key(args: InstanceArgs) -> str:
    """The same text for the same arguments."""
    return json.dumps(sent_arguments(args), sort_keys=True)


def is_of_spec(key: str, found: InstanceArgs) -> bool:
    """Whether nothing that is known of an instance contradicts the spec with this key."""
    have = sent_arguments(found)
    return all(have.get(name, value) == value for name, value in json.loads(key).items())


def fits(asked: InstanceArgs, found: InstanceArgs) -> bool:
    """Whether an instance has every argument that was asked for; what is unknown does not fit."""
    have = sent_arguments(found)
    return all(have.get(name) == value for name, value in sent_arguments(asked).items())


def may_fit(asked: InstanceArgs, found: InstanceArgs) -> bool:
    """Whether no argument that is known of an instance is another one than was asked for."""
    have = sent_arguments(found)
    return all(have.get(name, value) == value for name, value in sent_arguments(asked).items())


def lacks_an_argument(asked: InstanceArgs, found: InstanceArgs) -> bool:
    """Whether anything that was asked for is unknown of an instance."""
    return not sent_arguments(asked).keys() <= sent_arguments(found).keys()
