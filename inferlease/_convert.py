"""From JSON to objects and back: a strict cattrs converter whose errors name the place in the JSON."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar, cast

from attrs import frozen
from cattrs import Converter

from ._mapping import TypedMapping
from ._plans import (
    LEAVES,
    MismatchError,
    Raw,
    decode_error,
    is_planned,
    iso_format,
    plan_of,
    read_leaf,
    readable_id,
    state_hook,
)
from .errors import DecodeError
from .objects import InstanceState, ModelDetail

__all__ = ["InvalidItem", "Listing", "decode", "decode_list", "make_converter"]

T = TypeVar("T")

logger = logging.getLogger("inferlease")

# Different problems of list items that one client warns of.
MAX_WARNED = 1000


@frozen
class InvalidItem:
    """An item of a list that could not be read.

    Attributes:
        id: The item's id; `None` if that could not be read either.
        error: What is wrong with it, and where.
    """

    id: str | None
    error: DecodeError


class Listing(list[T]):
    """A list as the server sent it, without what could not be read.

    Attributes:
        invalid: The items that could not be read.
        conflicting: Ids that came more than once with different content; the list has the first.
    """

    def __init__(
        self, items: Iterable[T] = (), *, invalid: Iterable[InvalidItem] = (), conflicting: Iterable[str] = ()
    ) -> None:
        super().__init__(items)
        self.invalid: list[InvalidItem] = list(invalid)
        self.conflicting: list[str] = list(conflicting)


def decode(converter: Converter, payload: object, cls: type[T], path: str) -> T:
    """Structure `payload` as `cls`.

    Args:
        converter: The client's, with the user's hooks.
        payload: What the JSON parser returned.
        cls: A class of `objects`.
        path: What the payload is called in errors, such as `instance`.

    Raises:
        DecodeError: It is not what the API documents.
    """
    hook: Callable[[object, type[T]], T] = converter.get_structure_hook(cls)
    try:
        return hook(payload, cls)
    except Exception as error:  # noqa: BLE001 (a user's hook may raise anything)
        problem = decode_error(error, payload, path)
    raise problem


def decode_list(
    converter: Converter,
    payload: object,
    cls: type[T],
    path: str,
    id_key: str,
    *,
    warned: set[str] | None = None,
) -> Listing[T]:
    """Structure each item of `payload` as `cls`; one bad item does not cost the others.

    Args:
        converter: The client's, with the user's hooks.
        payload: What the JSON parser returned: the list itself.
        cls: A class of `objects`.
        path: What the list is called in errors, such as `instances`.
        id_key: The attribute, and the key in the JSON, that tells one item from another.
        warned: What has been warned of already and is not again: a poll meets the same item every time.

    Raises:
        DecodeError: It is not a list.
    """
    if not isinstance(payload, list):
        raise decode_error(MismatchError("", "a list", payload), payload, path)
    hook: Callable[[object, type[T]], T] = converter.get_structure_hook(cls)
    listing = Listing[T]()
    seen: dict[str, T] = {}
    for index, raw in enumerate(cast("list[object]", payload)):
        try:
            item = hook(raw, cls)
        except Exception as error:  # noqa: BLE001 (as above)
            problem = decode_error(error, raw, f"{path}[{index}]")
            _warn(str(problem), warned)
            listing.invalid.append(InvalidItem(readable_id(raw, id_key), problem))
            continue
        identity = getattr(item, id_key, None)
        if type(identity) is not str or identity not in seen:
            listing.append(item)
            if type(identity) is str:
                seen[identity] = item
        elif identity not in listing.conflicting and seen[identity] != item:
            listing.conflicting.append(identity)
    return listing


def _warn(problem: str, warned: set[str] | None) -> None:
    if warned is not None:
        if problem in warned or len(warned) >= MAX_WARNED:
            return
        warned.add(problem)
    logger.warning("an item of a list cannot be read: %s", problem)


def make_converter() -> Converter:
    """A converter for the objects of the API. Hooks registered on it win over ours, at any depth."""
    converter = Converter()
    for leaf in LEAVES:
        converter.register_structure_hook(leaf, read_leaf)
    # cattrs asks the factories anew whenever a hook is registered, so what a hook looked up for its parts
    # is never stale.
    converter.register_structure_hook_factory(is_planned, plan_of)
    converter.register_structure_hook_factory(_is_state, state_hook)
    # By class, else a user's hook for ModelPreview would be taken for its subclass too.
    converter.register_structure_hook(ModelDetail, lambda raw, cls: plan_of(cls, converter)(raw, cls))

    converter.register_unstructure_hook(datetime, iso_format)
    converter.register_unstructure_hook(TypedMapping, dict[str, Any])
    converter.register_unstructure_hook_factory(_is_state, _state_unstructure_hook)
    return converter


def _is_state(cls: object) -> bool:
    """Whether it is `InstanceState`, or a class whose objects stand for one and are made of the same attributes."""
    return isinstance(cls, type) and getattr(cls, "_stands_for_a_state", False) is True


def _state_unstructure_hook(_: type, converter: Converter) -> Callable[[InstanceState], Raw]:
    def unstructure(state: InstanceState) -> Raw:
        return {name: converter.unstructure(value) for name, value in state.snapshot().__dict__.items()}

    return unstructure
