"""Both worlds have the same names, with the same kinds, defaults and docstrings."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import pytest

import inferlease
from inferlease import objects, sync
from inferlease._tools._reading import HOME, adapted
from inferlease.sync._facade import Facade

if TYPE_CHECKING:
    from collections.abc import Iterator

CLASSES = sorted(HOME)
DUNDERS = {"__aenter__": "__enter__", "__aexit__": "__exit__"}


def pair(name: str) -> tuple[type, type]:
    return getattr(inferlease, name), getattr(sync, name)


def public(cls: type) -> dict[str, Any]:
    """What users see of a class, by the name that it has in the synchronous world."""
    found = {name: inspect.getattr_static(cls, name) for name in dir(cls) if not name.startswith("_")}
    for name, plain in DUNDERS.items():
        known = inspect.getattr_static(cls, plain if issubclass(cls, Facade) else name, None)
        if known is not None:
            found[plain] = known
    return found


def members() -> Iterator[tuple[str, str]]:
    for cls in CLASSES:
        for name in public(pair(cls)[0]):
            yield cls, name


MEMBERS = pytest.mark.parametrize(("cls", "name"), list(members()), ids="-".join)


def test_the_packages_export_the_same_names() -> None:
    assert sync.__all__ == inferlease.__all__
    assert set(sync.__all__) <= set(dir(sync))


@pytest.mark.parametrize("name", sorted(set(inferlease.__all__) - set(CLASSES)))
def test_data_and_errors_are_the_same_objects(name: str) -> None:
    assert getattr(sync, name) is getattr(inferlease, name)
    homes = {"objects", "errors", "ledger", "money", "quotes", "_checkup", "_convert", "_costs", "_orphans"}
    assert getattr(inferlease, name).__module__ in {f"inferlease.{home}" for home in homes}


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Cleint'"):
        sync.Cleint  # type: ignore[attr-defined] # noqa: B018


@pytest.mark.parametrize("cls", CLASSES)
def test_a_class_has_the_same_public_names(cls: str) -> None:
    ours, theirs = pair(cls)
    attributes = set() if cls != "Instance" else {field.name for field in objects.InstanceState.__attrs_attrs__}  # type: ignore[attr-defined]
    assert set(public(theirs)) == set(public(ours)) | attributes


@pytest.mark.parametrize("cls", CLASSES)
def test_a_class_has_the_same_docstring(cls: str) -> None:
    ours, theirs = pair(cls)
    assert inspect.getdoc(theirs) == adapted(inspect.getdoc(ours) or "")


@MEMBERS
def test_a_member_has_the_same_docstring(cls: str, name: str) -> None:
    ours, theirs = (public(each)[name] for each in pair(cls))
    assert (inspect.getdoc(theirs) or "") == adapted(inspect.getdoc(ours) or "")
    assert inspect.getdoc(theirs) or name.startswith("__"), "a public name without a docstring"


@MEMBERS
def test_a_member_is_of_the_same_kind(cls: str, name: str) -> None:
    ours, theirs = (public(each)[name] for each in pair(cls))
    assert type(theirs) is type(ours)
    assert not inspect.iscoroutinefunction(theirs)
    assert not inspect.isasyncgenfunction(theirs)


@MEMBERS
def test_a_member_takes_the_same_arguments(cls: str, name: str) -> None:
    ours, theirs = (public(each)[name] for each in pair(cls))
    if isinstance(ours, property):
        return
    assert arguments(theirs) == arguments(ours)


def test_a_client_takes_the_same_arguments() -> None:
    assert arguments(sync.Client) == arguments(inferlease.Client)


def test_an_instance_is_made_of_the_same_arguments() -> None:
    made = [(name, kind) for name, kind, _, _ in arguments(sync.Instance)]
    assert made == [(name, kind) for name, kind, _, _ in arguments(inferlease.Instance)]


def arguments(function: Any) -> list[tuple[str, Any, Any, Any]]:
    parameters = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default, each.annotation) for each in parameters]


@MEMBERS
def test_no_annotation_or_docstring_speaks_of_the_other_world(cls: str, name: str) -> None:
    member = public(pair(cls)[1])[name]
    function = member.fget if isinstance(member, property) else member
    told = " ".join(map(str, function.__annotations__.values()))
    assert not re.search(r"Async|Awaitable|Coroutine|Future", told)
    assert not re.search(r"await |async ", inspect.getdoc(member) or "")


def test_a_client_made_in_either_world_has_the_same_attributes() -> None:
    ours, theirs = inferlease.Client(), sync.Client()
    names = {name for name in vars(ours) if not name.startswith("_")}
    assert {name for name in vars(theirs) if not name.startswith("_")} == names
    for name in names - {"converter"}:
        assert type(getattr(theirs, name)) is getattr(sync, type(getattr(ours, name)).__name__)
