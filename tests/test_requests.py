"""What is refused before anything is sent, and what is sent otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from inferlease import _requests
from inferlease._requests import Operation
from inferlease.errors import InvalidArgumentError
from inferlease.objects import InstanceArgs

BAD_IDS: list[Any] = [
    "i-1\r", "i-1\n", "i\r\nX: y", "i\x00", "ï-1", "\u0661", "i-1 ", " i-1",
    "..", ".", "../models", "%2e%2e", "", "a/b", "a\\b", "a?b", "a#f", "a;b", "a..b", "-a", "_a", ".a", "a" * 201,
    "delete-all", "Delete-All", "DELETE-ALL", "stop-all", "start", "restart", "stop", "available",
    None, 5, b"i-1", True, ["i-1"],
]  # fmt: skip
GOOD_IDS = ["i-1", "instance-id-1234", "a", "0", "a.b", "A_b-c.9", "starting", "delete-all-2", "a" * 200]


@pytest.mark.fault(60, 61, 62)
@pytest.mark.parametrize("value", BAD_IDS, ids=repr)
@pytest.mark.parametrize("make", [_requests.get_instance, _requests.stop, _requests.restart, _requests.delete])
def test_no_request_is_made_with_a_bad_id(make: Any, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="is not a valid instance id"):
        make(value)


@pytest.mark.parametrize("value", GOOD_IDS)
def test_a_good_id_is_the_last_part_of_the_path(value: str) -> None:
    assert _requests.delete(value).path == f"/instances/{value}"


@pytest.mark.parametrize("value", BAD_IDS, ids=repr)
def test_a_bad_id_is_shown_in_one_short_line(value: Any) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        _requests.checked_id(value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.fault(63)
@pytest.mark.parametrize(
    "arguments",
    [
        {"num_workers": 0},
        {"num_workers": 9},
        {"num_workers": -1},
        {"num_workers": "2"},
        {"num_workers": True},
        {"num_workers": 2.0},
        {"context_length": -1},
        {"context_length": 0},
        {"context_length": 2**31},
        {"context_length": "16000"},
        {"context_length": True},
        {"context_length": 16000.0},
        {"billing_interval": "per_second"},
        {"billing_interval": ""},
        {"billing_interval": 60},
        {"billing_interval": ["per_minute"]},
        {"hardware_type_id": "../models"},
        {"hardware_type_id": ""},
        {"hardware_type_id": 4},
    ],
    ids=str,
)
def test_a_bad_argument_of_a_start_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        _requests.start_arguments("org/model", **arguments)
    assert isinstance(caught.value, ValueError)
    assert next(iter(arguments)).removesuffix("_type_id").replace("_", " ") in str(caught.value).replace("_", " ")


@pytest.mark.parametrize("model", ["", "a/b/c", "a--b--c", "../x", "org/", "/model", "org/mo del", "org/m\n", None, 3])
def test_a_name_that_is_no_model_is_refused(model: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        _requests.get_model(model)


@pytest.mark.parametrize("model", ["org/model", "org--model"])
def test_a_model_is_asked_for_by_its_id(model: str) -> None:
    assert _requests.get_model(model).path == "/models/org--model"


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ({}, {}),
        ({"num_workers": 8}, {"num_workers": 8}),
        ({"billing_interval": "per_hour", "context_length": 1}, {"billing_interval": "per_hour", "context_length": 1}),
        ({"hardware_type_id": "NVIDIA_L4_1"}, {"hardware_type_id": "NVIDIA_L4_1"}),
    ],
)
def test_an_argument_that_was_not_given_is_not_sent(arguments: dict[str, Any], sent: dict[str, Any]) -> None:
    request = _requests.start(_requests.start_arguments("org/model", **arguments))
    assert request.body == {"model_id": "org--model", **sent}


SECRET = "s3cret-of-the-test"


@pytest.mark.parametrize(
    ("request_", "operation", "call", "body", "authenticated"),
    [
        (_requests.LIST_INSTANCES, Operation.READ, "GET /instances/", None, True),
        (_requests.LIST_MODELS, Operation.READ, "GET /models/", None, False),
        (_requests.get_model("org/model"), Operation.READ, "GET /models/org--model", None, False),
        (_requests.LIST_HARDWARE_TYPES, Operation.READ, "GET /hardware-types/", None, False),
        (_requests.LIST_AVAILABLE, Operation.READ, "GET /hardware-types/available", None, False),
        (_requests.GET_BALANCE, Operation.READ, "GET /user/balance", None, True),
        (_requests.get_instance("i-1"), Operation.READ, "GET /instances/i-1", None, True),
        (
            _requests.token("me", SECRET),
            Operation.READ,
            "POST /oauth2/token",
            {"grant_type": "client_credentials", "client_id": "me", "client_secret": SECRET},
            False,
        ),
        (
            _requests.start(InstanceArgs("org--model")),
            Operation.START,
            "POST /instances/start",
            {"model_id": "org--model"},
            True,
        ),
        (_requests.stop("i-1"), Operation.STOP, "POST /instances/stop", {"instance_id": "i-1"}, True),
        (_requests.restart("i-1"), Operation.RESTART, "POST /instances/restart", {"instance_id": "i-1"}, True),
        (_requests.delete("i-1"), Operation.DELETE, "DELETE /instances/i-1", None, True),
        (_requests.STOP_ALL, Operation.BULK, "POST /instances/stop-all", None, True),
        (_requests.delete_all(True), Operation.BULK, "DELETE /instances/delete-all?force_deletion=true", None, True),
        (_requests.delete_all(False), Operation.BULK, "DELETE /instances/delete-all?force_deletion=false", None, True),
    ],
    ids=str,
)
def test_a_call_of_the_contract(
    request_: _requests.Request, operation: Operation, call: str, body: dict[str, Any] | None, authenticated: bool
) -> None:
    assert str(request_) == call
    assert (request_.operation, request_.body, request_.authenticated) == (operation, body, authenticated)


def test_a_request_does_not_show_its_body() -> None:
    assert SECRET not in repr(_requests.token("me", SECRET))
