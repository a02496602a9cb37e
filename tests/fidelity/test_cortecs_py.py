"""The unmodified `cortecs-py` works against the emulator, as its documentation has it.

Where it takes an instance for ready that has no `base_url` yet, so do these tests: they ask for it again.
"""

from __future__ import annotations

import warnings
from datetime import UTC
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
import requests

from inferlease import sync

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it declares its models as pydantic 1 did
    from cortecs_py import Cortecs

if TYPE_CHECKING:
    from cortecs_py.schemas import Instance

    from inferlease.emulator import Emulator

MODEL = "mistralai/Mistral-7B-Instruct-v0.3"
POLL = 0.01


@pytest.fixture
def cortecs(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Cortecs:
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    return Cortecs()


def running(cortecs: Cortecs, instance: Instance) -> Instance:
    while instance.base_url is None:
        instance = cortecs.get_instance(instance.instance_id)
    return instance


def test_it_is_the_version_that_its_documentation_is_about() -> None:
    assert version("cortecs-py") == "0.1.2"


def test_it_starts_with_every_argument_and_polls(cortecs: Cortecs, emulator: Emulator) -> None:
    started = cortecs.start(MODEL, "NVIDIA_L40S_1", 9000, "per_hour", 2, poll_interval=POLL)
    assert started.worker_statuses[0].init_progress["current_step"] == 5
    instance = running(cortecs, started)
    assert instance.instance_args.model_dump() == {
        "model_id": "mistralai--Mistral-7B-Instruct-v0.3",
        "hardware_type_id": "NVIDIA_L40S_1",
        "context_length": 9000,
        "billing_interval": "per_hour",
        "num_workers": 2,
    }
    assert instance.instance_args.hf_name == MODEL
    assert instance.instance_status.status == "running"
    assert instance.instance_status.started_at.tzinfo == UTC
    assert instance.base_url.startswith(emulator.base_url.removesuffix("/api/v1"))
    assert len(cortecs.get_worker_statuses(instance.instance_id)) == 2


def test_a_start_that_is_not_polled_returns_at_once(cortecs: Cortecs) -> None:
    instance = cortecs.start(MODEL, poll=False)
    assert (instance.instance_status.status, instance.base_url) == ("pending", None)
    assert cortecs.get_instance_status(instance.instance_id).stopped_at is None
    assert cortecs.poll_instance(instance.instance_id, poll_interval=POLL).instance_id == instance.instance_id


def test_it_finds_lists_stops_restarts_and_deletes(cortecs: Cortecs, emulator: Emulator) -> None:
    instance = running(cortecs, cortecs.start(MODEL, poll_interval=POLL))
    assert cortecs.get_instance(instance.instance_id) == instance
    assert cortecs.get_running_instances() == cortecs.get_all_instances() == [instance]

    stopped = cortecs.stop(instance.instance_id)
    assert (stopped.instance_status.status, stopped.base_url) == ("stopped", None)
    assert [worker.init_progress for worker in stopped.worker_statuses] == [None]
    assert cortecs.get_running_instances() == []
    assert emulator.books().still_billed == []

    again = running(cortecs, cortecs.restart(instance.instance_id, poll_interval=POLL))
    assert again.instance_id == instance.instance_id
    assert len(emulator.books().instances[instance.instance_id].runs) == 2

    cortecs.stop(instance.instance_id)
    assert cortecs.delete(instance.instance_id) == instance.instance_id
    assert cortecs.get_all_instances() == []


def test_it_ensures_an_instance_whatever_the_state_it_finds_one_in(cortecs: Cortecs, emulator: Emulator) -> None:
    first = cortecs.ensure_instance(MODEL, poll=False)
    assert cortecs.ensure_instance(MODEL, poll_interval=POLL).instance_id == first.instance_id
    running(cortecs, first)
    assert cortecs.ensure_instance(MODEL).base_url is not None
    cortecs.stop(first.instance_id)
    assert cortecs.ensure_instance(MODEL, poll=False).instance_id == first.instance_id
    assert cortecs.ensure_instance(MODEL, num_workers=2, poll=False).instance_id != first.instance_id
    assert emulator.books().starts == 2


def test_it_stops_and_deletes_all(cortecs: Cortecs, emulator: Emulator) -> None:
    ids = [cortecs.start(MODEL, poll=False).instance_id for _ in range(3)]
    cortecs.stop(ids[0])
    assert cortecs.stop_all() == ids[1:]
    assert cortecs.stop_all() is None
    assert cortecs.delete_all() == ids
    live = cortecs.start(MODEL, poll=False).instance_id
    assert cortecs.delete_all() == []
    assert cortecs.delete_all(force=True) == [live]
    assert cortecs.get_all_instances() == []
    assert emulator.books().still_billed == []


def test_it_reads_models_and_hardware_without_credentials_as_we_do(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORTECS_API_BASE_URL", emulator.base_url)
    theirs = Cortecs()
    with sync.Client() as ours:
        assert [model.model_dump() for model in theirs.get_all_models()] == [
            ours.converter.unstructure(model) for model in ours.models.list()
        ]
        assert [each.model_dump() for each in theirs.get_all_hardware_types()] == [
            ours.converter.unstructure(each) for each in ours.hardware_types.list()
        ]
        assert theirs.get_available_hardware_types() == theirs.get_all_hardware_types()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda cortecs: cortecs.start("nobody/nothing"), "404 .*nobody--nothing.*not found"),
        (lambda cortecs: cortecs.start(MODEL, "NVIDIA_H100_4"), "400 .*does not run on"),
        (lambda cortecs: cortecs.stop("instance-unknown"), "404 .*instance-unknown.*not found"),
        (lambda cortecs: cortecs.restart(cortecs.start(MODEL, poll=False).instance_id), "400 .*is not stopped"),
        (lambda cortecs: cortecs.delete(cortecs.start(MODEL, poll=False).instance_id), "400 .*is not stopped"),
    ],
)
def test_a_refusal_is_its_error_with_the_message(cortecs: Cortecs, call: object, said: str) -> None:
    with pytest.raises(requests.exceptions.HTTPError, match=said):
        call(cortecs)  # type: ignore[operator]


def test_wrong_credentials_are_its_error_too(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORTECS_API_BASE_URL", emulator.base_url)
    with pytest.raises(requests.exceptions.HTTPError, match="401"):
        Cortecs("emulator", "wrong").get_all_instances()
