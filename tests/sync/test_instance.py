"""The synchronous instance: the same data as the asynchronous one, read-only, with verbs that block."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
from typing import TYPE_CHECKING

import orjson
import pytest

import inferlease
from inferlease import DetachedInstanceError, InstanceState, sync
from tests.faults import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferlease.sync import Client
    from tests.faults import FaultyEmulator

ATTRIBUTES = ("instance_id", "base_url", "instance_args", "instance_status", "worker_statuses")
DERIVED = ("progress", "description", "is_usable", "is_stopped")
VERBS = ("refresh", "stop", "restart", "delete", "wait_until_running", "wait_until_stopped")


@pytest.fixture
def instance(sync_client: Client) -> sync.Instance:
    return sync_client.instances.start(MODEL, num_workers=2)


def twin(emulator: FaultyEmulator, instance: sync.Instance) -> inferlease.Instance:
    """The same instance, read through the other API."""

    async def get() -> inferlease.Instance:
        async with emulator.client() as client:
            return await client.instances.get(instance.instance_id)

    return asyncio.run(get())


@pytest.mark.parametrize("name", [*ATTRIBUTES, *DERIVED])
def test_an_attribute_is_that_of_the_state(instance: sync.Instance, name: str) -> None:
    assert getattr(instance, name) == getattr(instance.snapshot(), name)


@pytest.mark.parametrize("name", [*ATTRIBUTES, *DERIVED])
def test_an_attribute_is_read_only(instance: sync.Instance, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(instance, name, None)


@pytest.mark.parametrize("emulator", [{"seconds_per_step": 3600}], indirect=True)
def test_it_is_equal_to_the_same_state_in_either_world(emulator: FaultyEmulator, instance: sync.Instance) -> None:
    instance.refresh()
    other = twin(emulator, instance)
    for same in (other, other.snapshot(), instance.snapshot(), instance):
        assert instance == same
        assert same == instance


def test_it_differs_from_another_state_and_from_other_things(sync_client: Client, instance: sync.Instance) -> None:
    other = sync_client.instances.start(MODEL)
    for different in (other, other.snapshot(), "instance", None):
        assert instance != different
        assert different != instance


def test_it_is_not_hashable(instance: sync.Instance) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(instance)


@pytest.mark.parametrize("emulator", [{"seconds_per_step": 3600}], indirect=True)
def test_it_is_shown_like_the_other_one(emulator: FaultyEmulator, instance: sync.Instance) -> None:
    other = twin(emulator, instance.refresh())
    assert repr(instance) == repr(other)
    assert instance._repr_html_() == other._repr_html_()


def test_it_is_written_and_read_like_the_other_one(sync_client: Client, instance: sync.Instance) -> None:
    converter = sync_client.converter
    written = converter.unstructure(instance)
    assert written == converter.unstructure(instance.snapshot())
    read = converter.structure(orjson.loads(orjson.dumps(written)), sync.Instance)
    assert type(read) is sync.Instance
    assert read == instance


def pickled(instance: sync.Instance) -> sync.Instance:
    again: sync.Instance = pickle.loads(pickle.dumps(instance))  # noqa: S301 - the test wrote it itself
    return again


@pytest.mark.parametrize("again", [pickled, copy.copy, copy.deepcopy])
def test_pickled_and_copied_it_is_detached_and_of_its_own_class(
    instance: sync.Instance, again: Callable[[sync.Instance], sync.Instance]
) -> None:
    detached = again(instance)
    assert type(detached) is sync.Instance
    assert detached == instance
    for verb in VERBS:
        with pytest.raises(DetachedInstanceError, match=instance.instance_id):
            getattr(detached, verb)()
    with pytest.raises(DetachedInstanceError):
        next(detached.watch())


def test_a_copy_does_not_follow_the_original(instance: sync.Instance) -> None:
    before = copy.copy(instance)
    instance.stop()
    assert not before.is_stopped


def test_a_verb_updates_it_in_place_and_returns_it(instance: sync.Instance) -> None:
    alias = instance
    assert instance.stop() is instance
    assert alias.is_stopped


def test_a_snapshot_is_the_same_class_in_both_worlds(instance: sync.Instance) -> None:
    assert type(instance.snapshot()) is InstanceState


def test_a_lease_has_one_object_for_its_instance(sync_client: Client) -> None:
    lease = sync_client.lease(MODEL)
    assert lease.instance is None
    with lease as instance:
        assert lease.instance is instance


def test_nobody_else_keeps_it_alive(sync_client: Client) -> None:
    instance = sync_client.instances.start(MODEL)
    inner = instance._inner
    del instance
    gc.collect()
    assert inner.__dict__["_facade"]() is None
