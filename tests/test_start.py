"""A start happens once, or what became of it is a typed unknown."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, get_args

import pytest

from inferlease import (
    APIError,
    DecodeError,
    InvalidArgumentError,
    NoCapacityError,
    PaymentRequiredError,
    PermissionDeniedError,
    StartRefusedError,
)
from inferlease.emulator import Phase
from tests.emulator.support import until
from tests.faults import MODEL, MODEL_ID, FaultyEmulator, edited, emulated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from inferlease import Client, Instance
    from tests.faults import Edit

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hurried")]

PHASES: tuple[Phase, ...] = get_args(Phase)


def posts(emulator: FaultyEmulator) -> int:
    return len(emulator.asked("start"))


# ---- what is sent -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"hardware_type_id": "NVIDIA_L40S_1"},
        {"context_length": 8_000},
        {"billing_interval": "per_hour"},
        {"num_workers": 8},
        {
            "hardware_type_id": "NVIDIA_L4_1",
            "context_length": 1,
            "billing_interval": "per_minute",
            "num_workers": 1,
        },
    ],
    ids=lambda arguments: "+".join(arguments) or "nothing",
)
@pytest.mark.parametrize("name", [MODEL, MODEL_ID])
async def test_only_what_was_given_is_sent(
    client: Client, emulator: FaultyEmulator, name: str, arguments: dict[str, Any]
) -> None:
    instance = await client.instances.start(name, **arguments)
    assert [asked.json for asked in emulator.asked("start")] == [{"model_id": MODEL_ID} | arguments]
    assert instance.instance_args.model_id == MODEL_ID


@pytest.mark.fault(63)
@pytest.mark.parametrize("verb", ["start", "ensure"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"num_workers": 0},
        {"num_workers": 9},
        {"num_workers": "2"},
        {"num_workers": True},
        {"num_workers": 2.0},
        {"context_length": -1},
        {"context_length": 0},
        {"context_length": True},
        {"context_length": "16000"},
        {"billing_interval": "per_day"},
        {"billing_interval": ""},
        {"hardware_type_id": "a/b"},
        {"hardware_type_id": ""},
        {"model": "a/b/c"},
        {"model": ""},
        {"model": "a--b--c"},
        {"model": None},
    ],
    ids=str,
)
async def test_an_argument_out_of_bounds_is_refused_unsent(
    client: Client, emulator: FaultyEmulator, verb: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await getattr(client.instances, verb)(**({"model": MODEL} | arguments))
    assert isinstance(caught.value, ValueError)
    assert emulator.order == []


@pytest.mark.parametrize(
    ("client", "lists"),
    [({"exclusive": True}, 1), ({"exclusive": None}, 2), ({"exclusive": False}, 1)],
    indirect=["client"],
    ids=str,
)
async def test_the_first_start_lists_and_posts_once(client: Client, emulator: FaultyEmulator, lists: int) -> None:
    """Whether the account has other instances is not decided on a single list."""
    instance = await client.instances.start(MODEL)
    asked = [asked for asked in emulator.order if asked in {"list", "start", "get"}]
    assert asked == ["list"] * lists + ["start"]
    assert list(emulator.books().instances) == [instance.instance_id]


async def test_a_further_start_lists_once(client: Client, emulator: FaultyEmulator) -> None:
    await client.instances.start(MODEL)
    lists = len(emulator.asked("list"))
    await client.instances.start(MODEL)
    assert len(emulator.asked("list")) == lists + 1


@emulated(seconds_per_step=1000)
async def test_the_started_instance_is_what_the_server_answered(client: Client) -> None:
    instance = await client.instances.start(MODEL, num_workers=2)
    assert instance.instance_status.status == "pending"
    assert instance.base_url is None
    assert instance.instance_args.hardware_type_id == "NVIDIA_L4_1"


async def test_without_the_list_nothing_is_posted(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("list", 403)
    with pytest.raises(PermissionDeniedError):
        await client.instances.start(MODEL)
    assert posts(emulator) == 0


async def test_an_unreadable_instance_in_the_baseline_does_not_hinder_a_start(
    client: Client, emulator: FaultyEmulator
) -> None:
    emulator.fault("list", body={"instances": [{"instance_id": "bad"}, None]})
    await client.instances.start(MODEL)
    assert emulator.books().starts == 1


async def test_too_many_requests_are_waited_out(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("start", 429, headers={"Retry-After": "0"}, handled=False, times=2)
    await client.instances.start(MODEL)
    assert (posts(emulator), emulator.books().starts) == (3, 1)


async def test_a_retried_start_is_a_warning(
    client: Client, emulator: FaultyEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.fault("start", 429, handled=False)
    with caplog.at_level(logging.WARNING, "inferlease"):
        await client.instances.start(MODEL)
    (warning,) = caplog.records
    assert "POST /instances/start was answered 429" in warning.getMessage()


async def test_an_expired_token_is_renewed_and_the_start_replayed(client: Client, emulator: FaultyEmulator) -> None:
    await client.instances.list()
    emulator.fault("start", 401, handled=False)
    await client.instances.start(MODEL)
    assert (posts(emulator), emulator.books().starts, emulator.books().tokens_issued) == (2, 1, 2)


# ---- refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 404, 409, 422])
async def test_a_refusal_carries_the_servers_message(client: Client, emulator: FaultyEmulator, status: int) -> None:
    headers = {"X-Request-Id": "request-7"}
    emulator.fault("start", status, body={"message": "no such thing"}, headers=headers, handled=False)
    with pytest.raises(StartRefusedError, match="no such thing") as caught:
        await client.instances.start(MODEL)
    assert type(caught.value) is StartRefusedError
    assert (caught.value.status, caught.value.request_id) == (status, "request-7")
    assert isinstance(caught.value.__cause__, APIError)
    assert posts(emulator) == 1


async def test_an_unknown_model_is_refused(client: Client) -> None:
    with pytest.raises(StartRefusedError, match=r"org--model.*not found"):
        await client.instances.start("org/model")


@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b'{"message": 7}'])
async def test_a_refusal_without_a_message_names_its_status(
    client: Client, emulator: FaultyEmulator, body: bytes
) -> None:
    emulator.fault("start", 422, body=body, handled=False)
    with pytest.raises(StartRefusedError, match="422"):
        await client.instances.start(MODEL)


@emulated(capacity={"NVIDIA_L4_1": 0, "NVIDIA_H100_4": 0})
@pytest.mark.parametrize("arguments", [{}, {"hardware_type_id": "NVIDIA_L4_1"}], ids=["recommended", "named"])
async def test_without_capacity_the_error_says_what_there_is(client: Client, arguments: dict[str, Any]) -> None:
    with pytest.raises(NoCapacityError, match=r"NVIDIA_L4_1 is not available.*NVIDIA_L40S_1") as caught:
        await client.instances.start(MODEL, **arguments)
    available = {hardware.hardware_type_id for hardware in caught.value.available}
    assert available == {"NVIDIA_L4_2", "NVIDIA_L40S_1", "NVIDIA_L40S_2", "NVIDIA_H100_1", "NVIDIA_H100_2"}
    assert caught.value.compatible == ("NVIDIA_L40S_1",)
    assert caught.value.status == 400


@emulated(capacity={"NVIDIA_L4_1": 0})
async def test_where_nothing_fits_the_error_says_so(client: Client) -> None:
    with pytest.raises(NoCapacityError, match="nothing that fits") as caught:
        await client.instances.start("BAAI/bge-m3")
    assert caught.value.compatible == ()


@emulated(capacity={"NVIDIA_L4_1": 0})
@pytest.mark.parametrize("operation", ["available", "model"])
async def test_a_refusal_is_told_even_if_its_reason_cannot_be_read(
    client: Client, emulator: FaultyEmulator, operation: Any
) -> None:
    emulator.fault(operation, 403, times=None)
    with pytest.raises(StartRefusedError, match="not available") as caught:
        await client.instances.start(MODEL)
    assert type(caught.value) is StartRefusedError


@emulated(balance=0)
async def test_without_money_a_start_is_a_payment_error(client: Client) -> None:
    with pytest.raises(PaymentRequiredError, match="used up"):
        await client.instances.start(MODEL)


@pytest.mark.parametrize(("status", "error"), [(302, APIError), (403, PermissionDeniedError), (405, APIError)])
async def test_another_refusal_is_its_error(
    client: Client, emulator: FaultyEmulator, status: int, error: type[APIError]
) -> None:
    emulator.fault("start", status, handled=False)
    with pytest.raises(error) as caught:
        await client.instances.start(MODEL)
    assert caught.value.status == status
    assert posts(emulator) == 1


# ---- the wrong shape, with an id ----------------------------------------------------------------------

WITH_ID: dict[str, Edit] = {
    "null status": edited(status=None),
    "no arguments": lambda content: {"instance": {"instance_id": content["instance"]["instance_id"]}},
    "a step in words": edited(workers=[{"current_step": "one"}]),
}
EACH_WITH_ID = pytest.mark.parametrize("edit", WITH_ID.values(), ids=WITH_ID.keys())


@pytest.mark.fault(38, 39)
@EACH_WITH_ID
async def test_an_unreadable_answer_with_an_id_is_read_once_and_kept(
    client: Client, emulator: FaultyEmulator, edit: Edit
) -> None:
    emulator.fault("start", edit=edit)
    instance = await client.instances.start(MODEL)
    assert list(emulator.books().instances) == [instance.instance_id]
    assert emulator.order_but_prices[-2:] == ["start", "get"]


@pytest.mark.fault(38, 39)
@EACH_WITH_ID
async def test_if_it_stays_unreadable_the_error_carries_the_id(
    client: Client, emulator: FaultyEmulator, edit: Edit
) -> None:
    emulator.fault("start", edit=edit)
    emulator.fault("get", edit=edit)
    with pytest.raises(DecodeError, match="inferlease stop instance-") as caught:
        await client.instances.start(MODEL)
    assert [caught.value.instance_id] == list(emulator.books().instances)
    assert caught.value.path.startswith("instance.")
    assert (posts(emulator), len(emulator.asked("get"))) == (1, 1)


@pytest.mark.fault(30)
async def test_an_answer_under_another_content_type_is_kept(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("start", edit=edited(), headers={"Content-Type": "text/plain"})
    instance = await client.instances.start(MODEL)
    assert list(emulator.books().instances) == [instance.instance_id]


# ---- cancelled --------------------------------------------------------------------------------------


async def cancel_at(emulator: FaultyEmulator, operation: Any, phase: Phase, call: Awaitable[Instance]) -> None:
    """Cancel the caller while `operation` is held at `phase`, then let it go on."""
    with emulator.hold(operation, phase) as hold:
        task = asyncio.ensure_future(call)
        await hold.arrived_async()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def jobs_end(client: Client) -> None:
    """Wait until nothing that the client began is under way."""
    await until(lambda: not client._core.jobs._open)


def bill_is_closed(emulator: FaultyEmulator, starts: int) -> Callable[[], bool]:
    return lambda: emulator.books().starts == starts and not emulator.books().still_billed


@pytest.mark.fault(84)
@pytest.mark.async_only(reason="a synchronous caller is interrupted, not cancelled")
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("verb", ["start", "ensure"])
async def test_a_start_whose_caller_was_cancelled_is_stopped(
    client: Client, emulator: FaultyEmulator, verb: str, phase: Phase
) -> None:
    await cancel_at(emulator, "start", phase, getattr(client.instances, verb)(MODEL))
    await until(bill_is_closed(emulator, starts=1))
    assert posts(emulator) == 1


@pytest.mark.async_only(reason="a synchronous caller is interrupted, not cancelled")
async def test_a_start_cancelled_before_its_post_is_not_sent(client: Client, emulator: FaultyEmulator) -> None:
    await cancel_at(emulator, "list", "unanswered", client.instances.start(MODEL))
    await jobs_end(client)
    assert posts(emulator) == 0


@pytest.mark.fault(84)
@pytest.mark.async_only(reason="a synchronous caller is interrupted, not cancelled")
async def test_a_start_cancelled_in_the_tick_of_its_answer_is_stopped(client: Client, emulator: FaultyEmulator) -> None:
    """Whoever gets a CancelledError has no instance to stop."""
    with emulator.hold("start", "unanswered") as hold:
        task = asyncio.create_task(client.instances.start(MODEL))
        await hold.arrived_async()
    while client._core.jobs._open:
        time.sleep(0.001)  # noqa: ASYNC251 - the loop must not see the answer before the cancellation
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(bill_is_closed(emulator, starts=1))


@pytest.mark.async_only(reason="a synchronous caller is interrupted, not cancelled")
async def test_a_cancelled_start_that_comes_back_unreadable_is_stopped_by_its_id(
    client: Client, emulator: FaultyEmulator
) -> None:
    emulator.fault("start", edit=edited(status=None))
    emulator.fault("get", edit=edited(status=None))
    with emulator.hold("get", "before"):
        await cancel_at(emulator, "start", "unanswered", client.instances.start(MODEL))
    await until(bill_is_closed(emulator, starts=1))


@pytest.mark.async_only(reason="a synchronous caller is interrupted, not cancelled")
async def test_a_cancelled_start_is_not_deleted(client: Client, emulator: FaultyEmulator) -> None:
    await cancel_at(emulator, "start", "unanswered", client.instances.start(MODEL))
    await until(bill_is_closed(emulator, starts=1))
    await jobs_end(client)
    assert "delete" not in emulator.order


async def test_a_started_instance_is_the_callers(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    await client.close()
    assert emulator.books().still_billed == [instance.instance_id]


# ---- what it says -----------------------------------------------------------------------------------


async def test_a_start_logs_its_price_and_how_to_stop_it(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "inferlease"):
        instance = await client.instances.start(MODEL, num_workers=2)
        await until(lambda: len(caplog.records) == 1)
    (message,) = caplog.messages
    assert f"instance {instance.instance_id} started (2 workers, at most 2.40 EUR/h" in message
    assert f"stop it with: inferlease stop {instance.instance_id})" in message


async def test_a_restart_logs_its_price_and_how_to_stop_it(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    instance = await client.instances.start(MODEL)
    await instance.stop()
    caplog.clear()
    with caplog.at_level(logging.INFO, "inferlease"):
        await instance.restart()
        await until(lambda: bool(caplog.messages))
    assert f"instance {instance.instance_id} restarted (at most 1.20 EUR/h; stop it with:" in caplog.text
