"""The converter: strict on what comes in, total on what goes out, exact about where it is wrong."""

from __future__ import annotations

import logging
import math
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import cattrs
import orjson
import pytest
from attrs import define
from hypothesis import given
from hypothesis import strategies as st

from inferlease._convert import Listing, decode, decode_list, make_converter
from inferlease.errors import DecodeError
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

if TYPE_CHECKING:
    from collections.abc import Callable

CONVERTER = make_converter()


def instance(**changes: Any) -> dict[str, Any]:
    return {
        "instance_id": "i-1",
        "base_url": None,
        "instance_args": {
            "model_id": "org--model",
            "hardware_type_id": "NVIDIA_L4_1",
            "context_length": 16000,
            "billing_interval": "per_minute",
            "num_workers": 2,
        },
        "instance_status": {"status": "pending", "started_at": "2024-11-29T09:05:47.788Z", "stopped_at": None},
        "worker_statuses": [
            {"init_progress": {"current_step": 3, "num_steps": 5, "description": "Loading"}},
            {"init_progress": None},
        ],
    } | changes


def named(instance_id: str, **changes: Any) -> dict[str, Any]:
    return instance(instance_id=instance_id, **changes)


MODEL: dict[str, Any] = {
    "model_id": "org--model",
    "model_name": "org--model",
    "hf_name": "org/model",
    "instant_provisioned": True,
    "creator": {"name": "Org", "url": "https://org.example"},
    "description": "A model.",
    "screen_name": "Model",
    "size": 8030000000,
    "hardware_info": {"hardware_configs": ["NVIDIA_L4_1", "NVIDIA_H100_1"]},
}
DETAIL: dict[str, Any] = MODEL | {
    "recommended_config": "NVIDIA_L4_1",
    "hardware_configs": {"NVIDIA_L4_1": {"params": {"--max-model-len": 16000}, "requirements": {}}},
}
HARDWARE: dict[str, Any] = {
    "hardware_type_id": "NVIDIA_L4_1",
    "price_info": {"price_per_hour": 1.2, "price_per_minute": 0.02, "currency": "EUR"},
    "hardware_info": {"gpu_type": "NVIDIA L4", "num_gpus": 1, "gpu_ram_gb": 24},
}
BALANCE: dict[str, Any] = {"current_balance": 1234.56, "currency": "EUR"}


def at(payload: dict[str, Any], path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """A copy of `payload` with `value` at `path`."""
    copied: dict[str, Any] = orjson.loads(orjson.dumps(payload))
    parent: Any = copied
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return copied


def without(payload: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in payload.items() if key not in names}


# What the documentation shows


def test_an_instance_is_read() -> None:
    assert decode(CONVERTER, instance(), InstanceState, "instance") == InstanceState(
        "i-1",
        None,
        InstanceArgs("org--model", "NVIDIA_L4_1", "per_minute", 16000, 2),
        InstanceStatus("pending", datetime(2024, 11, 29, 9, 5, 47, 788000, tzinfo=UTC)),
        [WorkerStatus(InitProgress(3, 5, "Loading")), WorkerStatus()],
    )


@pytest.mark.parametrize("configs", [["L4", "H100"], {"L4": {}, "H100": {}}])
@pytest.mark.parametrize("inside", [True, False])
def test_the_hardware_of_a_model_is_read_from_either_place(configs: object, inside: bool) -> None:
    wire = {"hardware_info": {"hardware_configs": configs}} if inside else {"hardware_configs": configs}
    assert decode(CONVERTER, {"model_id": "a--b", **wire}, ModelPreview, "model").hardware_configs == ["L4", "H100"]


def test_a_model_detail_is_read() -> None:
    assert decode(CONVERTER, DETAIL, ModelDetail, "model") == ModelDetail(
        "org--model",
        "org/model",
        instant_provisioned=True,
        creator=Creator("Org", "https://org.example"),
        description="A model.",
        screen_name="Model",
        size=8030000000,
        hardware_configs=["NVIDIA_L4_1"],
        recommended_config="NVIDIA_L4_1",
        configs={"NVIDIA_L4_1": HardwareConfig({"--max-model-len": 16000}, {})},
    )


def test_a_hardware_type_and_a_balance_are_read() -> None:
    assert decode(CONVERTER, HARDWARE, HardwareType, "h") == HardwareType(
        "NVIDIA_L4_1", PriceInfo(1.2, 0.02, "EUR"), HardwareInfo("NVIDIA L4", 1, 24.0)
    )
    assert decode(CONVERTER, BALANCE, Balance, "balance") == Balance(1234.56, "EUR")


# What is missing, more, or named otherwise


@pytest.mark.parametrize(
    ("payload", "cls", "expected"),
    [
        ({"model_id": "a--b"}, InstanceArgs, InstanceArgs("a--b")),
        ({"status": "odd"}, InstanceStatus, InstanceStatus("odd")),
        ({}, WorkerStatus, WorkerStatus()),
        ({"init_progress": {}}, WorkerStatus, WorkerStatus(InitProgress())),
        ({"model_id": "a--b"}, ModelPreview, ModelPreview("a--b", "a/b")),
        ({"model_name": "a--b"}, ModelPreview, ModelPreview("a--b")),
        ({"model_id": "x", "model_name": "a--b"}, ModelPreview, ModelPreview("a--b")),
        ({"model_id": "a--b", "model_name": None}, ModelPreview, ModelPreview("a--b")),
        ({"model_id": "a--b", "model_name": ""}, ModelPreview, ModelPreview("a--b")),
        ({"model_id": "a--b", "hardware_info": None}, ModelPreview, ModelPreview("a--b")),
        ({"model_id": "a--b", "hardware_info": {}}, ModelPreview, ModelPreview("a--b")),
        ({"model_id": "a--b"}, ModelDetail, ModelDetail("a--b")),
        ({"model_id": "a--b", "hardware_configs": ["L4"]}, ModelDetail, ModelDetail("a--b", hardware_configs=["L4"])),
        (
            {"model_id": "a--b", "hardware_configs": {"L4": None}},
            ModelDetail,
            ModelDetail("a--b", hardware_configs=["L4"], configs={"L4": HardwareConfig()}),
        ),
        ({"params": None}, HardwareConfig, HardwareConfig({}, {})),
        ({"hardware_type_id": "L4"}, HardwareType, HardwareType("L4", PriceInfo(), HardwareInfo())),
        ({"hardware_type_id": "L4", "price_info": None}, HardwareType, HardwareType("L4")),
    ],
)
def test_what_the_server_leaves_out_is_unknown(payload: object, cls: type, expected: object) -> None:
    assert decode(CONVERTER, payload, cls, "x") == expected


@pytest.mark.parametrize("left_out", ["base_url", "worker_statuses"])
@pytest.mark.parametrize("null", [True, False])
def test_an_instance_may_lack_its_url_and_workers(left_out: str, null: bool) -> None:
    payload = instance(**{left_out: None}) if null else without(instance(), left_out)
    decoded = decode(CONVERTER, payload, InstanceState, "instance")
    assert getattr(decoded, left_out) == {"base_url": None, "worker_statuses": []}[left_out]


def test_unknown_keys_are_ignored_on_objects_and_kept_on_mappings() -> None:
    payload = at(instance(zone="eu"), ("instance_args", "x"), 1)
    payload = at(payload, ("worker_statuses", 0, "init_progress", "eta"), [9])
    decoded = decode(CONVERTER, payload, InstanceState, "instance")
    assert decoded.worker_statuses[0].init_progress == {
        "current_step": 3, "num_steps": 5, "description": "Loading", "eta": [9],
    }  # fmt: skip
    assert list(CONVERTER.unstructure(decoded)) == list(instance())
    assert decoded.instance_args == decode(CONVERTER, instance(), InstanceState, "instance").instance_args


def test_an_unknown_status_is_kept_as_it_is() -> None:
    payload = at(instance(), ("instance_status", "status"), "Migrating…")
    assert decode(CONVERTER, payload, InstanceState, "i").instance_status.status == "Migrating…"


# Strict leaves

BAD_TEXT: list[object] = [None, 5, 1.5, True, [], {}]
BAD_INTEGER: list[object] = ["5", 1.0, True, [], {}, 2**63, -(2**63) - 1]
BAD_NUMBER: list[object] = ["5", True, [], {}, math.nan, math.inf, 2**63]
BAD_TIME: list[object] = [
    "",
    "now",
    5,
    True,
    "2024-11-29",
    "2024-13-01T00:00:00Z",
    "09:05:47Z",
    [],
    "2024-11-29T\ud800",
]

LEAVES: list[tuple[type, dict[str, Any], tuple[str | int, ...], list[object]]] = [
    (InstanceState, instance(), ("instance_id",), BAD_TEXT),
    (InstanceState, instance(), ("base_url",), BAD_TEXT[1:]),
    (InstanceState, instance(), ("instance_args",), [None, 5, "x", []]),
    (InstanceState, instance(), ("instance_args", "model_id"), BAD_TEXT),
    (InstanceState, instance(), ("instance_args", "hardware_type_id"), BAD_TEXT[1:]),
    (InstanceState, instance(), ("instance_args", "billing_interval"), BAD_TEXT[1:]),
    (InstanceState, instance(), ("instance_args", "context_length"), BAD_INTEGER),
    (InstanceState, instance(), ("instance_args", "num_workers"), BAD_INTEGER),
    (InstanceState, instance(), ("instance_status",), [None, 5, "x", []]),
    (InstanceState, instance(), ("instance_status", "status"), BAD_TEXT),
    (InstanceState, instance(), ("instance_status", "started_at"), BAD_TIME),
    (InstanceState, instance(), ("instance_status", "stopped_at"), BAD_TIME),
    (InstanceState, instance(), ("worker_statuses",), [5, "", "x", {}, True]),
    (InstanceState, instance(), ("worker_statuses", 1), [None, 5, "x", []]),
    (InstanceState, instance(), ("worker_statuses", 1, "init_progress"), [5, "x", [], True]),
    (InstanceState, instance(), ("worker_statuses", 0, "init_progress", "current_step"), BAD_INTEGER),
    (InstanceState, instance(), ("worker_statuses", 0, "init_progress", "num_steps"), BAD_INTEGER),
    (InstanceState, instance(), ("worker_statuses", 0, "init_progress", "description"), BAD_TEXT[1:]),
    (ModelPreview, MODEL, ("model_name",), [5, True, [], {}, 0]),
    (ModelPreview, without(MODEL, "model_name"), ("model_id",), BAD_TEXT),
    (ModelPreview, MODEL, ("hf_name",), BAD_TEXT[1:]),
    (ModelPreview, MODEL, ("instant_provisioned",), [0, 1, "true", []]),
    (ModelPreview, MODEL, ("creator",), [5, "x", []]),
    (ModelPreview, MODEL, ("creator", "url"), BAD_TEXT[1:]),
    (ModelPreview, MODEL, ("size",), BAD_INTEGER),
    (ModelPreview, MODEL, ("hardware_info",), [5, "x", []]),
    (ModelPreview, MODEL, ("hardware_info", "hardware_configs"), [5, "x", True]),
    (ModelPreview, MODEL, ("hardware_info", "hardware_configs", 1), BAD_TEXT),
    (ModelDetail, DETAIL, ("hardware_configs",), [5, "x", True]),
    (ModelDetail, DETAIL, ("hardware_configs", "NVIDIA_L4_1"), [5, "x", []]),
    (ModelDetail, DETAIL, ("hardware_configs", "NVIDIA_L4_1", "params"), [5, "x", []]),
    (ModelDetail, DETAIL, ("recommended_config",), BAD_TEXT[1:]),
    (HardwareType, HARDWARE, ("hardware_type_id",), BAD_TEXT),
    (HardwareType, HARDWARE, ("price_info",), [5, "x", []]),
    (HardwareType, HARDWARE, ("price_info", "price_per_hour"), BAD_NUMBER),
    (HardwareType, HARDWARE, ("price_info", "currency"), BAD_TEXT[1:]),
    (HardwareType, HARDWARE, ("hardware_info", "num_gpus"), BAD_INTEGER),
    (HardwareType, HARDWARE, ("hardware_info", "gpu_ram_gb"), BAD_NUMBER),
    (Balance, BALANCE, ("current_balance",), [None, *BAD_NUMBER]),
    (Balance, BALANCE, ("currency",), BAD_TEXT),
]


def mutate(payload: Any, path: tuple[str | int, ...], value: object) -> Any:
    """As `at`, for values that JSON cannot hold."""
    if not path:
        return value
    copied = payload.copy()
    copied[path[0]] = mutate(copied[path[0]], path[1:], value)
    return copied


def rendered(root: str, path: tuple[str | int, ...]) -> str:
    return root + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)


@pytest.mark.parametrize(
    ("cls", "payload", "path", "value"),
    [(cls, payload, path, value) for cls, payload, path, values in LEAVES for value in values],
)
def test_a_wrong_value_is_refused_with_its_path(
    cls: type, payload: dict[str, Any], path: tuple[str | int, ...], value: object
) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(CONVERTER, mutate(payload, path, value), cls, "root")
    assert caught.value.path == rendered("root", path)
    assert caught.value.message.startswith(f"{caught.value.path}: expected ")
    assert ", found " in caught.value.message


@pytest.mark.parametrize(
    ("cls", "payload", "path"),
    [
        (InstanceState, instance(), ("instance_id",)),
        (InstanceState, instance(), ("instance_args",)),
        (InstanceState, instance(), ("instance_args", "model_id")),
        (InstanceState, instance(), ("instance_status",)),
        (InstanceState, instance(), ("instance_status", "status")),
        (ModelPreview, without(MODEL, "model_name"), ("model_id",)),
        (HardwareType, HARDWARE, ("hardware_type_id",)),
        (Balance, BALANCE, ("current_balance",)),
        (Balance, BALANCE, ("currency",)),
    ],
)
def test_a_missing_required_key_is_named(cls: type, payload: dict[str, Any], path: tuple[str, ...]) -> None:
    payload = at(payload, path, None)
    parent = payload if len(path) == 1 else payload[path[0]]
    del parent[path[-1]]
    with pytest.raises(DecodeError, match="found nothing") as caught:
        decode(CONVERTER, payload, cls, "root")
    assert caught.value.path == rendered("root", path)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2024-11-29T09:05:47.788Z", datetime(2024, 11, 29, 9, 5, 47, 788000, tzinfo=UTC)),
        ("2024-11-29T09:05:47Z", datetime(2024, 11, 29, 9, 5, 47, tzinfo=UTC)),
        ("2024-11-29t09:05:47z", datetime(2024, 11, 29, 9, 5, 47, tzinfo=UTC)),
        ("2024-11-29 09:05:47", datetime(2024, 11, 29, 9, 5, 47, tzinfo=UTC)),
        ("2024-11-29T11:05:47+02:00", datetime(2024, 11, 29, 9, 5, 47, tzinfo=UTC)),
        ("2024-11-29T09:05:47.7881239999Z", datetime(2024, 11, 29, 9, 5, 47, 788123, tzinfo=UTC)),
        ("2024-11-29T09:05:47.7+00:00", datetime(2024, 11, 29, 9, 5, 47, 700000, tzinfo=UTC)),
    ],
)
def test_a_time_is_the_instant_it_names(text: str, instant: datetime) -> None:
    payload = at(instance(), ("instance_status", "started_at"), text)
    started_at = decode(CONVERTER, payload, InstanceState, "i").instance_status.started_at
    assert started_at == instant
    assert CONVERTER.structure(text, datetime) == instant


def test_a_time_is_written_in_iso_8601_with_z() -> None:
    noon = datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert CONVERTER.unstructure(noon) == "2024-01-01T10:00:00Z"


@pytest.mark.fault(36)
def test_a_lone_surrogate_neither_crashes_nor_gets_raw_into_a_message() -> None:
    payload = instance(instance_id="\ud800", base_url=5)
    with pytest.raises(DecodeError) as caught:
        decode(CONVERTER, payload, InstanceState, "i")
    assert caught.value.instance_id is None
    assert decode(CONVERTER, instance(base_url="\ud800"), InstanceState, "i").base_url == "\ud800"
    with pytest.raises(DecodeError) as caught:
        decode(CONVERTER, "\ud800\n" * 1000, InstanceState, "i")
    assert caught.value.message.isascii()
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 150


def test_an_error_carries_the_instance_id_when_it_can_be_read() -> None:
    for payload, known in ((instance(instance_status=None), "i-1"), (instance(instance_id=5), None), ([], None)):
        with pytest.raises(DecodeError) as caught:
            decode(CONVERTER, payload, InstanceState, "i")
        assert caught.value.instance_id == known


def test_a_key_that_is_no_identifier_is_quoted_in_the_path() -> None:
    payload = {"model_id": "a--b", "hardware_configs": {"L4 \n x": 5}}
    with pytest.raises(DecodeError) as caught:
        decode(CONVERTER, payload, ModelDetail, "model")
    assert caught.value.path == 'model.hardware_configs["L4 \\n x"]'


# Lists


def test_one_bad_item_does_not_cost_the_others(caplog: pytest.LogCaptureFixture) -> None:
    bad = at(instance(instance_id="bad\u202e"), ("instance_status", "status"), None)
    with caplog.at_level(logging.WARNING, logger="inferlease"):
        payload = [instance(), named("named", instance_status=5), bad, 7]
        listing = decode_list(CONVERTER, payload, InstanceState, "instances", "instance_id")
    assert [item.instance_id for item in listing] == ["i-1"]
    assert [(item.id, item.error.path) for item in listing.invalid] == [
        ("named", "instances[1].instance_status"),
        (None, "instances[2].instance_status.status"),
        (None, "instances[3]"),
    ]
    assert listing.invalid[0].error.instance_id == "named"
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    assert "instances[1].instance_status: expected an object, found 5" in caplog.text
    assert all(record.getMessage().isprintable() for record in caplog.records)


def warnings_of(caplog: pytest.LogCaptureFixture, *polls: list[object], warned: set[str] | None) -> list[str]:
    for poll in polls:
        decode_list(CONVERTER, poll, Balance, "list", "currency", warned=warned)
    assert {record.levelname for record in caplog.records} <= {"WARNING"}
    return [record.getMessage() for record in caplog.records]


def test_a_problem_is_warned_of_once_by_whoever_remembers_it(caplog: pytest.LogCaptureFixture) -> None:
    told = warnings_of(caplog, [1], [1, 2], [1], warned=set())
    assert told == [f"an item of a list cannot be read: list[{i}]: expected an object, found {i + 1}" for i in (0, 1)]


def test_without_a_memory_it_is_warned_of_each_time(caplog: pytest.LogCaptureFixture) -> None:
    assert len(warnings_of(caplog, [1], [1], warned=None)) == 2


def test_a_server_with_ever_new_problems_is_warned_of_a_bounded_number_of_times(
    caplog: pytest.LogCaptureFixture,
) -> None:
    warned: set[str] = set()
    assert len(warnings_of(caplog, list(range(1200)), warned=warned)) == len(warned) == 1000


def test_an_item_twice_is_listed_once() -> None:
    listing = decode_list(CONVERTER, [instance(), instance()], InstanceState, "instances", "instance_id")
    assert len(listing) == 1
    assert listing.conflicting == []


def test_a_conflict_keeps_the_first_and_names_the_id_once() -> None:
    other = instance(base_url="https://x/v1")
    payload = [instance(), other, other, named("i-2")]
    listing = decode_list(CONVERTER, payload, InstanceState, "instances", "instance_id")
    assert [(item.instance_id, item.base_url) for item in listing] == [("i-1", None), ("i-2", None)]
    assert listing.conflicting == ["i-1"]


def test_models_are_told_apart_by_the_id_that_wins() -> None:
    payload = [{"model_id": "x", "model_name": "a--b"}, {"model_id": "x", "model_name": "c--d"}]
    listing = decode_list(CONVERTER, payload, ModelPreview, "models", "model_id")
    assert [model.model_id for model in listing] == ["a--b", "c--d"]
    assert listing.conflicting == []


@pytest.mark.parametrize(
    ("payload", "found"), [(None, "null"), ({"instance_id": "i-1"}, "an object"), ("x", '"x"'), (5, "5")]
)
def test_what_is_no_list_is_refused(payload: object, found: str) -> None:
    with pytest.raises(DecodeError, match=f"^instances: expected a list, found {found}$") as caught:
        decode_list(CONVERTER, payload, InstanceState, "instances", "instance_id")
    assert caught.value.path == "instances"
    assert caught.value.instance_id == ("i-1" if isinstance(payload, dict) else None)


def test_a_listing_is_a_list() -> None:
    listing = Listing([1, 2])
    assert listing == [1, 2]
    assert (listing.invalid, listing.conflicting) == ([], [])


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels - 1):
        value = [value] if levels % 2 else {"key": value}
    return value


DEEP_PLACES = [
    (InitProgress, lambda deep: {"other": deep}, "x.other"),
    (HardwareConfig, lambda deep: {"params": {"key": deep}}, "x.params"),
    (HardwareConfig, lambda deep: {"requirements": {"key": deep}}, "x.requirements"),
]


@pytest.mark.parametrize("levels", [200, 201, 1000])
@pytest.mark.parametrize(("cls", "around", "path"), DEEP_PLACES)
def test_what_is_kept_but_nested_too_deep_to_be_shown_is_refused(
    cls: type, around: Callable[[object], object], path: str, levels: int
) -> None:
    with pytest.raises(DecodeError, match="expected at most 100 levels") as caught:
        decode(CONVERTER, around(nested(levels)), cls, "x")
    assert caught.value.path == path


@pytest.mark.parametrize(("cls", "around", "path"), DEEP_PLACES)
def test_what_is_kept_can_be_shown_compared_and_pickled(
    cls: type, around: Callable[[object], object], path: str
) -> None:
    one, other = (decode(CONVERTER, around(nested(99)), cls, "x") for _ in range(2))
    assert (repr(one), pickle.loads(pickle.dumps(one))) == (repr(other), other)  # noqa: S301 (just pickled)


# The user's hooks


class OwnArgs(InstanceArgs):
    pass


@pytest.mark.parametrize("before", [True, False], ids=["before the first use", "after it"])
def test_a_users_hook_for_a_part_wins_in_one_and_in_a_list(before: bool) -> None:
    converter = make_converter()
    if not before:
        decode(converter, instance(), InstanceState, "i")
    converter.register_structure_hook(InstanceArgs, lambda raw, _: OwnArgs(raw["model_id"]))
    assert type(decode(converter, instance(), InstanceState, "i").instance_args) is OwnArgs
    [listed] = decode_list(converter, [instance()], InstanceState, "instances", "instance_id")
    assert type(listed.instance_args) is OwnArgs


@pytest.mark.parametrize(
    ("part", "value"),
    [
        (InstanceStatus, InstanceStatus("mine")),
        (WorkerStatus, WorkerStatus(InitProgress(1, 1, "mine"))),
        (InitProgress, InitProgress(1, 1, "mine")),
        (datetime, datetime(2000, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_users_hook_wins_at_any_depth(part: type, value: object) -> None:
    converter = make_converter()
    converter.register_structure_hook(part, lambda _raw, _cls: value)
    decoded = decode(converter, instance(), InstanceState, "i")
    within = (
        decoded.instance_status,
        decoded.instance_status.started_at,
        decoded.worker_statuses[0],
        decoded.worker_statuses[0].init_progress,
    )
    assert any(found is value for found in within)


def test_a_users_hook_for_instances_wins_and_may_build_on_ours() -> None:
    converter = make_converter()
    ours = converter.get_structure_hook(InstanceState)

    def tagged(raw: Any, cls: Any) -> InstanceState:
        state: InstanceState = ours(raw, cls)
        state.base_url = "mine"
        return state

    converter.register_structure_hook(InstanceState, tagged)
    assert decode(converter, instance(), InstanceState, "i").base_url == "mine"
    [listed] = decode_list(converter, [instance()], InstanceState, "instances", "instance_id")
    assert listed.base_url == "mine"


def test_what_a_users_hook_makes_of_an_item_needs_no_id() -> None:
    converter = make_converter()
    converter.register_structure_hook(Balance, lambda *_: "own")
    assert decode_list(converter, [1, 2], Balance, "list", "currency") == ["own", "own"]


def test_a_users_hook_for_previews_does_not_touch_details() -> None:
    converter = make_converter()
    converter.register_structure_hook(ModelPreview, lambda _raw, _cls: ModelPreview("mine"))
    assert decode(converter, MODEL, ModelPreview, "m").model_id == "mine"
    assert decode(converter, DETAIL, ModelDetail, "m").model_id == "org--model"


def test_what_a_users_hook_raises_becomes_a_decode_error_at_its_place() -> None:
    def failing(_raw: object, _cls: object) -> InstanceArgs:
        raise ZeroDivisionError("oops\n")

    converter = make_converter()
    converter.register_structure_hook(InstanceArgs, failing)
    with pytest.raises(DecodeError, match=r"instance_args: ZeroDivisionError: oops\\n$") as caught:
        decode(converter, instance(), InstanceState, "i")
    assert caught.value.path == "i.instance_args"
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_users_unstructure_hook_wins() -> None:
    converter = make_converter()
    converter.register_unstructure_hook(InstanceArgs, lambda _: "mine")
    assert converter.unstructure(decode(converter, instance(), InstanceState, "i"))["instance_args"] == "mine"


def test_a_new_converter_reads_instances_the_fast_way() -> None:
    hook = make_converter().get_structure_hook(InstanceState)
    assert hook is not make_converter().get_structure_hook(InstanceStatus)
    assert not isinstance(hook, type(make_converter().get_structure_hook(InstanceStatus)))


def test_a_new_converter_writes_whatever_stands_for_a_state_as_the_state() -> None:
    state = decode(CONVERTER, instance(), InstanceState, "instance")

    class Standing:
        _stands_for_a_state = True

        def snapshot(self) -> InstanceState:
            return state

    assert make_converter().unstructure(Standing()) == CONVERTER.unstructure(state)


def test_a_new_converter_writes_times_as_the_wire_has_them() -> None:
    assert make_converter().unstructure(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00Z"


def test_converters_are_independent_and_a_copy_keeps_the_hooks() -> None:
    converter = make_converter()
    converter.register_structure_hook(InstanceArgs, lambda raw, _: OwnArgs(raw["model_id"]))
    assert type(decode(converter.copy(), instance(), InstanceState, "i").instance_args) is OwnArgs
    assert type(decode(make_converter(), instance(), InstanceState, "i").instance_args) is InstanceArgs


# Subclasses, such as an instance with its port


class Sub(InstanceState):
    pass


def test_a_subclass_is_structured_as_itself_and_unstructured_without_its_port() -> None:
    sub = decode(CONVERTER, instance(), Sub, "i")
    assert type(sub) is Sub
    sub.__dict__["_port"] = object()
    assert CONVERTER.unstructure(sub) == CONVERTER.unstructure(sub.snapshot())
    assert list(CONVERTER.unstructure(sub)) == list(instance())


def test_decoded_instances_share_no_list() -> None:
    first, second = (decode(CONVERTER, instance(), InstanceState, "i") for _ in range(2))
    first.worker_statuses.clear()
    assert second.worker_statuses


# Properties

texts = st.text(max_size=20)
integers = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
zones = st.timezones() | st.just(UTC) | st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m)))
times = st.datetimes(timezones=zones)
scalars = st.none() | st.booleans() | integers | floats | texts
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
extras = st.dictionaries(texts, json_values, max_size=2)
maybe_text, maybe_integer, maybe_float = (st.none() | kind for kind in (texts, integers, floats))

progresses = st.builds(InitProgress, maybe_integer, maybe_integer, maybe_text, extra=extras)
creators = st.builds(Creator, maybe_text, maybe_text, extra=extras)
prices = st.builds(PriceInfo, maybe_float, maybe_float, maybe_text, extra=extras)
hardware_infos = st.builds(HardwareInfo, maybe_text, maybe_integer, maybe_float, extra=extras)
arguments = st.builds(InstanceArgs, texts, maybe_text, maybe_text, maybe_integer, maybe_integer)
statuses = st.builds(InstanceStatus, texts, st.none() | times, st.none() | times)
workers = st.builds(WorkerStatus, st.none() | progresses)
states = st.builds(InstanceState, texts, maybe_text, arguments, statuses, st.lists(workers, max_size=3))
model_fields = (
    texts, texts, st.none() | st.booleans(), st.none() | creators, maybe_text, maybe_text, maybe_integer,
    st.none() | st.lists(texts, max_size=3),
)  # fmt: skip
configs = st.builds(HardwareConfig, extras, extras)
OBJECTS: dict[type, st.SearchStrategy[Any]] = {
    InitProgress: progresses,
    Creator: creators,
    PriceInfo: prices,
    HardwareInfo: hardware_infos,
    InstanceArgs: arguments,
    InstanceStatus: statuses,
    WorkerStatus: workers,
    InstanceState: states,
    InstanceEvent: st.builds(InstanceEvent, states, texts, maybe_float, maybe_text, floats),
    ModelPreview: st.builds(ModelPreview, *model_fields),
    ModelDetail: st.builds(ModelDetail, *model_fields, maybe_text, st.dictionaries(texts, configs, max_size=2)),
    HardwareConfig: configs,
    HardwareType: st.builds(HardwareType, texts, prices, hardware_infos),
    Balance: st.builds(Balance, floats, texts),
}


@pytest.mark.parametrize("cls", OBJECTS)
@given(data=st.data())
def test_structure_undoes_unstructure(cls: type, data: st.DataObject) -> None:
    value = data.draw(OBJECTS[cls])
    wire = CONVERTER.unstructure(value)
    restored: object = CONVERTER.structure(orjson.loads(orjson.dumps(wire)), cls)
    assert restored == value
    assert CONVERTER.unstructure(restored) == wire


WIRE: list[tuple[type, dict[str, Any]]] = [
    (InstanceState, instance()),
    (ModelPreview, MODEL),
    (ModelDetail, DETAIL),
    (HardwareType, HARDWARE),
    (Balance, BALANCE),
]


@pytest.mark.parametrize("cls", OBJECTS)
@given(payload=json_values)
def test_any_json_gives_an_object_or_a_decode_error(cls: type, payload: object) -> None:
    path = "root"
    try:
        decoded: object = decode(CONVERTER, payload, cls, "root")
    except DecodeError as error:
        path = error.path
    else:
        assert type(decoded) is cls
    assert path.startswith("root")


def paths(value: object, here: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict):
        return [here, *(path for key, inner in value.items() for path in paths(inner, (*here, key)))]
    if isinstance(value, list):
        return [here, *(path for index, inner in enumerate(value) for path in paths(inner, (*here, index)))]
    return [here]


@pytest.mark.parametrize(("cls", "payload"), WIRE)
@given(data=st.data())
def test_any_change_of_a_good_payload_gives_an_object_or_an_error_at_that_place(
    cls: type, payload: dict[str, Any], data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(paths(payload)))
    changed = mutate(payload, path, data.draw(json_values))
    decoded: object = None
    error: DecodeError | None = None
    try:
        decoded = decode(CONVERTER, changed, cls, "root")
    except DecodeError as caught:
        error = caught
    if error is None:
        assert CONVERTER.structure(CONVERTER.unstructure(decoded), cls) == decoded
    else:
        assert error.path.startswith(rendered("root", path))
        assert error.message.isprintable()
        assert len(error.message) < 400


@given(payload=json_values | st.builds(CONVERTER.unstructure, states))
def test_the_fast_way_reads_exactly_what_the_plan_reads(payload: object) -> None:
    planned = make_converter()
    ours = planned.get_structure_hook(InitProgress)

    def users(raw: Any, cls: Any) -> Any:  # with a user's hook for a part, the plan alone reads
        return ours(raw, cls)

    planned.register_structure_hook(InitProgress, users)

    def outcome(converter: cattrs.Converter) -> object:
        try:
            return decode(converter, payload, InstanceState, "root")
        except DecodeError as error:
            return error.message

    assert outcome(CONVERTER) == outcome(planned)


def test_long_texts_are_not_kept_in_memory() -> None:
    payload = at(instance(), ("instance_args", "model_id"), "x" * 10_000)
    first, second = (decode(CONVERTER, payload, InstanceState, "i").instance_args for _ in range(2))
    assert first == second
    assert first is not second


def test_a_class_of_the_users_with_a_snapshot_of_its_own_is_not_taken_for_an_instance() -> None:
    @define
    class Report:
        snapshot: str
        number: int

    converter = make_converter()
    report = Report("of yesterday", 3)
    assert converter.structure(converter.unstructure(report), Report) == report
