"""The emulator keeps to the OpenAPI document that it serves: every operation, every default check of schemathesis."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis.core.failures import FailureGroup

from inferlease.emulator import Operation
from inferlease.emulator.catalogue import MODELS
from inferlease.emulator.openapi import document
from inferlease.emulator.replies import Reply
from tests.fidelity.account import Account, opened, patient, schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis import Case
    from schemathesis.schemas import APIOperation

OPERATIONS = set(get_args(Operation)) - {"inference"}
SECONDS_PER_STEP = 0.002


SCHEMA = schema()


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with opened(seconds_per_step=SECONDS_PER_STEP, balance=1e9) as made:
        yield made


@pytest.fixture(scope="module")
def counts() -> Counter[str]:
    """How many requests of each operation were checked."""
    return Counter()


def name_of(operation: APIOperation) -> str:
    return str(operation.definition.raw["operationId"])


BY_NAME = {name_of(each): each for each in (result.ok() for result in SCHEMA.get_all_operations())}


def test_the_emulator_serves_it(account: Account) -> None:
    assert account.call("GET", "/openapi.json") == document(account.emulator.base_url)


@SCHEMA.parametrize()
@patient
def test_right_and_wrong_requests_are_answered_as_the_document_says(
    case: Case, account: Account, counts: Counter[str]
) -> None:
    case.call_and_validate(base_url=account.emulator.base_url)
    counts[name_of(case.operation)] += 1


ACTS = ("start", "start", "start three workers", "stop", "restart", "delete", "pause")


def act(account: Account, what: str) -> None:
    """Change what there is on the account."""
    if what == "pause":
        time.sleep(SECONDS_PER_STEP)  # so that some instances are seen on their way
    elif what.startswith("start"):
        workers = 3 if "three" in what else None
        account.call("POST", "/instances/start", model_id="microsoft--phi-4", num_workers=workers)
    elif ids := instance_ids(account):
        if what == "delete":
            account.call("DELETE", f"/instances/{ids[0]}")
        else:
            account.call("POST", f"/instances/{what}", instance_id=ids[0])


def instance_ids(account: Account) -> list[str]:
    return [each["instance_id"] for each in account.call("GET", "/instances/")["instances"]]


def aimed(case: Case, ids: list[str], model: str) -> Case:
    """`case`, about an instance or a model that exists."""
    if ids and "instance_id" in case.path_parameters:
        case.path_parameters = {"instance_id": ids[-1]}
    elif ids and isinstance(case.body, dict) and "instance_id" in case.body:
        case.body = {"instance_id": ids[-1]}
    elif "model_id" in case.path_parameters:
        case.path_parameters = {"model_id": model}
    return case


def test_every_operation_is_answered_so_whatever_there_is_on_the_account(
    account: Account, counts: Counter[str]
) -> None:
    @given(acts=st.lists(st.sampled_from(ACTS), max_size=5), model=st.sampled_from(sorted(MODELS)), data=st.data())
    @patient
    def check(acts: list[str], model: str, data: st.DataObject) -> None:
        for what in acts:
            act(account, what)
        for name, operation in sorted(BY_NAME.items()):
            case = data.draw(operation.as_strategy(), label=name)
            aimed(case, instance_ids(account), model).call_and_validate(base_url=account.emulator.base_url)
            counts[name] += 1

    check()


def test_none_was_left_out(counts: Counter[str]) -> None:
    sys.stdout.write("requests checked: " + ", ".join(f"{name} {counts[name]}" for name in sorted(OPERATIONS)))
    assert set(BY_NAME) == OPERATIONS
    assert {name: counts[name] for name in OPERATIONS if counts[name] < settings.default.max_examples} == {}


def at(content: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        content = content[step]
    return content


INSTANCE = ("instances", 0)


@pytest.mark.parametrize(
    ("name", "path", "wrong"),
    [
        ("list", (*INSTANCE, "instance_id"), None),
        ("list", (*INSTANCE, "base_url"), 7),
        ("list", (*INSTANCE, "instance_args", "num_workers"), "2"),
        ("list", (*INSTANCE, "instance_args", "context_length"), 2**63),
        ("list", (*INSTANCE, "instance_status", "status"), None),
        ("list", (*INSTANCE, "instance_status", "started_at"), 1764000000),
        ("list", (*INSTANCE, "worker_statuses"), {}),
        ("list", (*INSTANCE, "worker_statuses", 0, "init_progress"), "loading"),
        ("balance", ("current_balance",), "12.5"),
        ("balance", ("currency",), None),
        ("hardware_types", ("hardware_types", 0, "price_info", "price_per_hour"), "1.2"),
        ("hardware_types", ("hardware_types", 0, "hardware_info", "num_gpus"), 1.5),
        ("models", ("models", 0, "model_name"), 5),
        ("models", ("models", 0, "hardware_info", "hardware_configs"), "NVIDIA_L4_1"),
        ("models", ("models", 0, "instant_provisioned"), "yes"),
        ("stop_all", ("instance_ids",), "i-1"),
    ],
)
def test_a_wrong_field_of_the_emulator_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, path: tuple[str | int, ...], wrong: object
) -> None:
    answer, is_wrong = Reply.json, False

    def spoiled(content: Any, status: int = 200) -> Reply:
        if is_wrong and status == 200:
            at(content, path[:-1])[path[-1]] = wrong
        return answer(content, status)

    monkeypatch.setattr(Reply, "json", spoiled)

    @given(case=BY_NAME[name].as_strategy())
    @settings(patient, max_examples=2)
    def check(case: Case) -> None:
        case.call_and_validate(base_url=account.emulator.base_url)

    with opened() as account:
        account.call("POST", "/instances/start", model_id="microsoft--phi-4")
        check()
        is_wrong = True
        with pytest.raises(FailureGroup, match="Response violates schema"):
            check()
