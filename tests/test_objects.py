"""The data objects: what a user sees, compares, pickles and prints."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest

from inferlease._names import model_id_of
from inferlease.objects import (
    Balance,
    Creator,
    HardwareConfig,
    HardwareInfo,
    HardwareType,
    InitProgress,
    InstanceArgs,
    InstanceEvent,
    InstanceState,
    InstanceStatus,
    ModelDetail,
    ModelPreview,
    PriceInfo,
    WorkerStatus,
)

ARGS = InstanceArgs("org--model", "NVIDIA_L4_1", "per_minute", 16000, 2)


def state(
    *progresses: InitProgress | None, status: str = "pending", base_url: str | None = None, instance_id: str = "i-1"
) -> InstanceState:
    workers = [WorkerStatus(progress) for progress in progresses]
    return InstanceState(instance_id, base_url, ARGS, InstanceStatus(status), workers)


@attrs.define(slots=False, eq=False, repr=False)
class WithPort(InstanceState):
    """As `Instance` does it: a port in `__dict__` that is no part of the data."""

    @classmethod
    def bound(cls, data: InstanceState, port: object) -> WithPort:
        bound = cls(**data.snapshot().__dict__)
        bound.__dict__["_port"] = port
        return bound


# Names


@pytest.mark.parametrize(
    ("model_id", "name"),
    [
        ("org--model", "org/model"),
        ("neuralmagic--Meta-Llama-3.1-8B-Instruct-FP8", "neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8"),
        ("gpt2", "gpt2"),
        ("a--b", "a/b"),
    ],
)
def test_a_name_and_an_id_give_the_same_id(model_id: str, name: str) -> None:
    assert model_id_of(name) == model_id_of(model_id) == model_id


@pytest.mark.parametrize(
    "name",
    [
        "", "/", "--", "a/", "/a", "a--", "--a", "a/b/c", "a--b--c", "a/b--c", "a--b/c", "a---b", "a/-b", "a-/b",
        "a b/c", "a/b\n", "a\x00/b", "ä/b", "a/b\u0661", "..", "../a", "..--a", ".", "a/..", "a/b?c", "a/\ud800",
        "a%2Fb", "x" * 10_000 + "\n",
    ],
)  # fmt: skip
def test_a_name_that_does_not_map_one_to_one_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ValueError, match="not a model name") as caught:
        model_id_of(name)
    message = str(caught.value)
    assert ascii(name[:20])[1:-1] in message
    assert message.isascii()
    assert "\n" not in message
    assert len(message) < 250


def test_the_hf_name_of_arguments_replaces_the_first_separator_only() -> None:
    assert InstanceArgs("a--b--c").hf_name == "a/b--c"


# Typed mappings

MAPPINGS = [
    (InitProgress(3, 5, "Loading"), {"current_step": 3, "num_steps": 5, "description": "Loading"}),
    (InitProgress(3, extra={"x": [1]}), {"current_step": 3, "num_steps": None, "description": None, "x": [1]}),
    (Creator("Org"), {"name": "Org", "url": None}),
    (PriceInfo(1.2, 0.02, "EUR"), {"price_per_hour": 1.2, "price_per_minute": 0.02, "currency": "EUR"}),
    (HardwareInfo("NVIDIA L4", 1, 24.0), {"gpu_type": "NVIDIA L4", "num_gpus": 1, "gpu_ram_gb": 24.0}),
    (Creator(extra={"_extra": 1, "name": 2}), {"name": None, "url": None, "_extra": 1}),
]


@pytest.mark.parametrize(("typed", "plain"), MAPPINGS)
def test_a_typed_mapping_reads_like_the_plain_dict(typed: Mapping[str, Any], plain: dict[str, Any]) -> None:
    assert dict(typed) == {**typed} == plain
    assert list(typed) == list(plain)
    assert len(typed) == len(plain)
    assert all(key in typed and typed[key] == typed.get(key) == value for key, value in plain.items())
    assert "absent" not in typed
    assert typed.get("absent", 7) == 7
    with pytest.raises(KeyError):
        typed["absent"]


@pytest.mark.parametrize(("typed", "plain"), MAPPINGS)
def test_a_typed_mapping_equals_the_plain_dict_both_ways(typed: Any, plain: dict[str, Any]) -> None:
    assert typed == plain
    assert plain == typed
    assert typed != {**plain, "more": 1}
    assert {**plain, "more": 1} != typed
    assert typed != "text"


def test_a_typed_mapping_has_attributes_and_is_frozen() -> None:
    progress = InitProgress(3, 5, "Loading")
    assert (progress.current_step, progress.num_steps, progress.description) == (3, 5, "Loading")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        progress.current_step = 4  # type: ignore[misc]


@pytest.mark.parametrize(("typed", "plain"), MAPPINGS)
def test_the_repr_of_a_typed_mapping_evaluates_to_it(typed: object, plain: dict[str, Any]) -> None:
    assert eval(repr(typed)) == typed == plain  # noqa: S307


# Progress


@pytest.mark.parametrize(
    ("instance", "progress"),
    [
        (state(), None),
        (state(None, None), None),
        (state(InitProgress(3, 5)), 0.6),
        (state(InitProgress(1, 5), InitProgress(3, 5)), 0.4),
        (state(None, InitProgress(3, 5)), 0.6),
        (state(InitProgress(), InitProgress(3, 5)), 0.6),
        (state(InitProgress(3, 0)), None),
        (state(InitProgress(3, -1)), None),
        (state(InitProgress(3, None)), None),
        (state(InitProgress(None, 5)), None),
        (state(InitProgress(9, 5)), 1.0),
        (state(InitProgress(-9, 5)), 0.0),
        (state(InitProgress(2**62, 1), InitProgress(0, 2**62)), 0.5),
        (state(InitProgress(1, 5), status="running"), 0.2),
        (state(InitProgress(1, 5), status="running", base_url="https://x/v1"), 1.0),
        (state(None, status="stopped"), None),
    ],
)
def test_progress_is_the_mean_over_the_workers_that_report(instance: InstanceState, progress: float | None) -> None:
    assert instance.progress == (None if progress is None else pytest.approx(progress))


@pytest.mark.parametrize(
    ("instance", "description"),
    [
        (state(), None),
        (state(None), None),
        (state(InitProgress(1, 5)), None),
        (state(InitProgress(4, 5, "late"), InitProgress(2, 5, "early")), "early"),
        (state(InitProgress(4, 5, "late"), InitProgress(2, 5, None)), "late"),
        (state(InitProgress(4, 5, "late"), InitProgress(2, 5, "")), "late"),
        (state(InitProgress(None, 5, "unknown"), InitProgress(5, 5, "known")), "known"),
        (state(InitProgress(None, None, "unknown")), "unknown"),
    ],
)
def test_the_description_is_of_the_least_advanced_worker_with_one(
    instance: InstanceState, description: str | None
) -> None:
    assert instance.description == description


@pytest.mark.parametrize(
    ("status", "base_url", "usable", "stopped"),
    [
        ("pending", None, False, False),
        ("pending", "https://x/v1", False, False),
        ("running", None, False, False),
        ("running", "", False, False),
        ("running", "https://x/v1", True, False),
        ("stopped", None, False, True),
        ("terminated", "https://x/v1", False, False),
    ],
)
def test_usable_means_running_with_a_base_url(status: str, base_url: str | None, usable: bool, stopped: bool) -> None:
    instance = state(status=status, base_url=base_url)
    assert instance.is_usable is usable
    assert instance.is_stopped is stopped


# InstanceState


def test_states_are_equal_by_the_documented_attributes_across_subclasses() -> None:
    bound = WithPort.bound(state(), object())
    assert bound == state()
    assert state() == bound
    assert bound != state(status="running")
    assert state() != "i-1"


@pytest.mark.parametrize("name", ["instance_id", "base_url", "instance_args", "instance_status", "worker_statuses"])
def test_each_documented_attribute_takes_part_in_equality(name: str) -> None:
    other = state(InitProgress(1, 5))
    setattr(other, name, {"worker_statuses": []}.get(name, "other"))
    assert other != state(InitProgress(1, 5))


def test_a_state_is_not_hashable() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(state())


def test_a_snapshot_is_detached_and_of_the_exact_class() -> None:
    live = WithPort.bound(state(InitProgress(1, 5)), object())
    snapshot = live.snapshot()
    live.worker_statuses.append(WorkerStatus())
    live.base_url = "https://x/v1"
    assert type(snapshot) is InstanceState
    assert snapshot == state(InitProgress(1, 5))
    assert "_port" not in snapshot.__dict__


def test_assign_updates_in_place_and_keeps_the_port() -> None:
    port = object()
    live = WithPort.bound(state(), port)
    newer = state(InitProgress(2, 5), status="running", base_url="https://x/v1")
    live._assign(newer)
    newer.worker_statuses.clear()
    assert live == state(InitProgress(2, 5), status="running", base_url="https://x/v1")
    assert live.__dict__["_port"] is port


def test_assign_keeps_the_last_known_argument_where_the_new_state_leaves_it_out() -> None:
    live = state()
    newer = state()
    newer.instance_args = InstanceArgs("org--model", None, "per_hour", None, None)
    live._assign(newer)
    assert live.instance_args == InstanceArgs("org--model", "NVIDIA_L4_1", "per_hour", 16000, 2)
    assert newer.instance_args.context_length is None


def test_threads_never_see_half_an_update() -> None:
    rounds = 20_000
    states = [state(InitProgress(n, n), status=f"s{n}", base_url=f"u{n}", instance_id=f"i{n}") for n in (1, 2)]
    live = WithPort.bound(states[0], object())
    seen_torn: list[InstanceState] = []

    def write() -> None:
        for count in range(rounds):
            live._assign(states[count % 2])

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        now = live.snapshot()
        if now not in states:
            seen_torn.append(now)
    writer.join()
    assert not seen_torn
    assert "_port" in live.__dict__


@pytest.mark.parametrize("duplicate", [lambda x: pickle.loads(pickle.dumps(x)), copy.copy, copy.deepcopy])  # noqa: S301
def test_a_copy_of_a_state_has_the_data_and_not_the_port(duplicate: Any) -> None:
    bound = WithPort.bound(state(InitProgress(1, 5, extra={"k": "v"})), threading.Lock())
    copied = duplicate(bound)
    assert type(copied) is WithPort
    assert copied == bound
    assert "_port" not in copied.__dict__


@pytest.mark.parametrize(
    "value",
    [
        InitProgress(1, 5, "x", extra={"k": 1}),
        Creator("n", "u"),
        PriceInfo(1.2, 0.02, "EUR"),
        HardwareInfo("L4", 1, 24.0),
        ARGS,
        InstanceStatus("running", datetime(2024, 1, 1, tzinfo=UTC)),
        WorkerStatus(InitProgress()),
        state(InitProgress(1, 5)),
        InstanceEvent(state(), "gone", None, None, 1.5),
        ModelPreview("org--model"),
        ModelDetail("org--model", configs={"L4": HardwareConfig({"a": 1})}),
        HardwareType("L4"),
        Balance(-1.5, "EUR"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_object_pickles(value: object) -> None:
    restored = pickle.loads(pickle.dumps(value))  # noqa: S301
    assert restored == value
    assert type(restored) is type(value)


def test_the_repr_of_a_state_is_one_readable_line() -> None:
    assert repr(state(InitProgress(3, 5))) == (
        "<InstanceState 'i-1', pending, model='org/model', hardware='NVIDIA_L4_1', workers=1, progress=60%, "
        "base_url=None>"
    )
    hostile = repr(state(status="a\nb\x1b[2J\ud800", instance_id="x\r\n"))
    assert hostile.isprintable()


def test_the_repr_names_the_class_and_not_the_port() -> None:
    shown = repr(WithPort.bound(state(), "secret-port"))
    assert shown.startswith("<WithPort ")
    assert "secret-port" not in shown


def test_the_html_escapes_what_the_server_sent() -> None:
    hostile = "<script>alert('x')</script>&\ud800"
    instance = InstanceState(hostile, hostile, InstanceArgs(hostile), InstanceStatus(hostile), [])
    instance.worker_statuses.append(WorkerStatus(InitProgress(1, 5, hostile)))
    html = instance._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    html.encode()


def test_an_event_prints_as_one_readable_line() -> None:
    event = InstanceEvent(state(), "pending", 0.6, "Loading\nweights", 12.4)
    assert str(event).split() == ["12", "s", "i-1", "pending", "60%", "Loading\\nweights"]
    assert str(InstanceEvent(state(), "gone", None, None, 3.0)).split() == ["3", "s", "i-1", "gone"]


# The rest


@pytest.mark.parametrize(
    "given",
    [
        datetime(2024, 11, 29, 9, 5),  # noqa: DTZ001 (zone-less on purpose)
        datetime(2024, 11, 29, 9, 5, tzinfo=UTC),
        datetime(2024, 11, 29, 11, 5, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_times_are_held_in_utc(given: datetime) -> None:
    started = InstanceStatus("running", given).started_at
    assert started == datetime(2024, 11, 29, 9, 5, tzinfo=UTC)
    assert started is not None
    assert started.tzinfo is UTC


def test_the_hf_name_of_a_model_is_derived_unless_given() -> None:
    assert ModelPreview("org--model").hf_name == "org/model"
    assert ModelPreview("org--model", "Org/Model").hf_name == "Org/Model"
