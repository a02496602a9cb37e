"""A start whose answer was lost, where nothing is provably ours: it is sent once, and what it may have made is told."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from inferlease import InferleaseError, ServerError, StartOutcomeUnknownError
from tests.emulator.support import until
from tests.faults import MODEL, NO_JSON, FaultyEmulator, edited, emulated
from tests.worlds import connected

if TYPE_CHECKING:
    from inferlease import Client

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hurried"), connected(exclusive=False, settle_time=0.05)]


def posts(emulator: FaultyEmulator) -> int:
    return len(emulator.asked("start"))


AMBIGUOUS: dict[str, dict[str, Any]] = {
    "408": {"status": 408},
    "500": {"status": 500},
    "502": {"status": 502, "body": b"<html>Bad Gateway"},
    "503 with Retry-After": {"status": 503, "headers": {"Retry-After": "0"}},
    "504": {"status": 504},
    "lost": {"lost": True},
    "204": {"status": 204},
    "empty": {"body": b""},
    "HTML under its own type": {"body": b"<html>", "headers": {"Content-Type": "text/html"}},
    **{name: {"body": body} for name, body in NO_JSON.items()},
    "null": {"body": b"null"},
    "list": {"body": b"[]"},
    "no instance": {"body": {"message": "Instance started."}},
    "null instance": {"body": {"instance": None}},
    "no id": {"edit": lambda content: {"instance": content["instance"] | {"instance_id": None}}},
    "an id that is none": {"edit": edited(instance_id="../models")},
}
EACH_AMBIGUOUS = pytest.mark.parametrize("fault", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())


async def unknown(client: Client, **arguments: Any) -> StartOutcomeUnknownError:
    """What an ambiguous start raises."""
    with pytest.raises(StartOutcomeUnknownError) as caught:
        await client.instances.start(MODEL, **arguments)
    return caught.value


@pytest.mark.fault(21, 28)
@EACH_AMBIGUOUS
async def test_an_ambiguous_start_is_posted_once_and_its_instance_named(
    client: Client, emulator: FaultyEmulator, fault: dict[str, Any]
) -> None:
    emulator.fault("start", **fault)
    error = await unknown(client)
    assert [candidate.instance_id for candidate in error.candidates] == list(emulator.books().instances)
    assert posts(emulator) == 1


@EACH_AMBIGUOUS
async def test_an_ambiguous_start_without_effect_has_no_candidates(
    client: Client, emulator: FaultyEmulator, fault: dict[str, Any]
) -> None:
    if "edit" in fault:
        fault = {"body": {"instance": {"instance_id": None}}}
    emulator.fault("start", **fault, handled=False)
    error = await unknown(client)
    assert error.candidates == ()
    assert "no instance of it is listed" in str(error)
    assert posts(emulator) == 1


async def test_the_error_of_an_unknown_start_has_its_cause(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("start", 502)
    error = await unknown(client)
    assert error.status == 502
    assert isinstance(error.__cause__, ServerError)


async def test_a_candidate_is_named_with_its_price_and_how_to_stop_it(
    client: Client, emulator: FaultyEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.fault("start", 502)
    with caplog.at_level(logging.WARNING, "inferlease"):
        error = await unknown(client, num_workers=2)
    (candidate,) = error.candidates
    assert f"{candidate.instance_id} (at most 2.40 EUR/h; stop it with: inferlease stop {candidate.instance_id})" in (
        str(error)
    )
    looking, told = caplog.messages
    assert looking.endswith(f"; an instance of {MODEL} that this may have made is looked for, for 0.05 s")
    assert told == str(error)


async def test_what_was_there_before_is_no_candidate(client: Client, emulator: FaultyEmulator) -> None:
    await client.instances.start(MODEL)
    emulator.fault("start", 502, handled=False)
    assert (await unknown(client)).candidates == ()


async def test_what_has_stopped_is_no_candidate(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("start", 502)
    emulator.fault("list", times=1, edit=edited())
    emulator.fault("list", edit=edited(status="stopped"), times=None)
    assert (await unknown(client)).candidates == ()


@pytest.mark.fault(41)
@pytest.mark.parametrize("status", ["pending", "running", "hibernating"])
async def test_whatever_has_not_stopped_is_a_candidate(client: Client, emulator: FaultyEmulator, status: str) -> None:
    emulator.fault("start", 502)
    emulator.fault("list", edit=edited())
    emulator.fault("list", edit=edited(status=status), times=None)
    (candidate,) = (await unknown(client)).candidates
    assert candidate.instance_status.status == status


@pytest.mark.parametrize(
    "other",
    [
        {"model_id": "microsoft--phi-4"},
        {"hardware_type_id": "NVIDIA_L40S_1"},
        {"context_length": 8_000},
        {"billing_interval": "per_hour"},
        {"num_workers": 3},
    ],
    ids=str,
)
async def test_a_candidate_equals_every_argument_that_was_sent(
    client: Client, emulator: FaultyEmulator, other: dict[str, object]
) -> None:
    sent = {"hardware_type_id": "NVIDIA_L4_1", "context_length": 16_000, "billing_interval": "per_minute"}
    emulator.fault("start", 502)
    emulator.fault("list", edit=edited())
    emulator.fault("list", edit=edited(args=other), times=None)
    assert (await unknown(client, num_workers=2, **sent)).candidates == ()


async def test_an_argument_that_was_not_sent_may_be_anything(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("start", 502)
    emulator.fault("list", edit=edited())
    emulator.fault("list", edit=edited(args={"num_workers": 3, "context_length": 1}), times=None)
    assert len((await unknown(client)).candidates) == 1


@emulated(list_num_workers=False)
@pytest.mark.parametrize(("asked", "candidates"), [(2, 1), (None, 1)])
async def test_an_argument_that_the_list_lacks_is_read(
    client: Client, emulator: FaultyEmulator, asked: int | None, candidates: int
) -> None:
    emulator.fault("start", 502)
    error = await unknown(client, num_workers=asked)
    assert len(error.candidates) == candidates
    assert bool(emulator.asked("get")) is (asked is not None)


@emulated(list_num_workers=False)
async def test_an_argument_that_is_read_and_differs_is_no_candidate(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("start", 502)
    emulator.fault("get", edit=edited(args={"num_workers": 3}), times=None)
    assert (await unknown(client, num_workers=2)).candidates == ()


@emulated(list_num_workers=False)
@pytest.mark.parametrize(
    "fault", [{"status": 403}, {"status": 404}, {"edit": edited(status=None)}], ids=["403", "404", "null status"]
)
async def test_a_possible_candidate_that_cannot_be_read_is_named(
    client: Client, emulator: FaultyEmulator, fault: dict[str, Any]
) -> None:
    emulator.fault("start", 502)
    emulator.fault("get", **fault)
    error = await unknown(client, num_workers=2)
    (instance_id,) = emulator.books().instances
    assert f"inferlease stop {instance_id}" in str(error)


@pytest.mark.fault(42)
async def test_a_new_item_that_cannot_be_read_is_named(client: Client, emulator: FaultyEmulator) -> None:
    old, new = {"instance_id": "instance-old"}, {"instance_id": "instance-new"}
    emulator.fault("start", 502, handled=False)
    emulator.fault("list", body={"instances": [old]})
    emulator.fault("list", body={"instances": [old, new]}, times=None)
    error = await unknown(client)
    assert "inferlease stop instance-new" in str(error)
    assert "instance-old" not in str(error)


async def test_several_candidates_are_all_there(client: Client, emulator: FaultyEmulator, stranger: Client) -> None:
    with emulator.hold("start", "before") as hold:
        emulator.fault("start", edit=edited(instance_id=None))
        emulator.fault("start", edit=edited())
        ours = asyncio.create_task(unknown(client))
        await until(lambda: posts(emulator) == 1)
        await hold.arrived_async()
        await stranger.instances.start(MODEL)
    assert {candidate.instance_id for candidate in (await ours).candidates} == set(emulator.books().instances)


async def test_if_even_the_list_fails_the_error_says_so(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("start", 502)
    emulator.fault("list", edit=edited())
    emulator.fault("list", 403, times=None)
    error = await unknown(client)
    assert error.candidates == ()
    assert "could not be listed" in str(error)


@pytest.mark.fault(59)
async def test_nothing_secret_is_logged_or_raised(
    client: Client, emulator: FaultyEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.fault("start", 429, handled=False)
    emulator.fault("start", 502)
    with caplog.at_level(logging.DEBUG):
        error: InferleaseError = await unknown(client)
    secrets = {asked.authorization.removeprefix("Bearer ") for asked in emulator.asked("list") if asked.authorization}
    assert secrets
    assert not [secret for secret in secrets if secret in caplog.text + str(error) + repr(error.__cause__)]
