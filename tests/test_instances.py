"""What the verbs of instances do, and what they make of doubtful answers."""

from __future__ import annotations

import asyncio
import inspect
import logging
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from inferlease import (
    APIError,
    AuthenticationError,
    ConflictError,
    DecodeError,
    DetachedInstanceError,
    Instance,
    InvalidArgumentError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    ServerError,
)
from inferlease.objects import InstanceState
from tests.emulator.support import until
from tests.faults import MODEL, FaultyEmulator, edited, emulated

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferlease import Client
    from inferlease.emulator import Operation
    from tests.faults import Edit

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hurried")]

BROKEN: dict[str, dict[str, Any]] = {
    "408": {"status": 408},
    "500": {"status": 500},
    "502": {"status": 502},
    "504": {"status": 504},
    "lost": {"lost": True},
}
UNUSABLE: dict[str, dict[str, Any]] = {
    "empty": {"body": b""},
    "204": {"status": 204},
    "HTML": {"body": b"<html>", "headers": {"Content-Type": "text/html"}},
    "truncated": {"body": b'{"instance": {"instance_id'},
    "null": {"body": b"null"},
    "list": {"body": b"[]"},
    "no instance": {"body": {"message": "done"}},
    "another instance": {"edit": edited(instance_id="instance-other")},
}
EACH_BROKEN = pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN.keys())
EACH_UNUSABLE = pytest.mark.parametrize("fault", UNUSABLE.values(), ids=UNUSABLE.keys())


async def stopped(client: Client) -> Instance:
    return await (await client.instances.start(MODEL)).stop()


# ---- reading --------------------------------------------------------------------------------------


async def test_get_reads_an_instance_by_id(client: Client) -> None:
    instance = await client.instances.start(MODEL, num_workers=2)
    found = await client.instances.get(instance.instance_id)
    assert found.instance_id == instance.instance_id
    assert found.instance_args == instance.instance_args
    assert found.instance_args.num_workers == 2


async def test_get_of_an_unknown_id_is_not_found(client: Client) -> None:
    with pytest.raises(NotFoundError) as caught:
        await client.instances.get("instance-unknown")
    assert (caught.value.status, caught.value.instance_id) == (404, "instance-unknown")
    assert "instance-unknown" in str(caught.value)


async def test_list_is_empty_at_first(client: Client) -> None:
    assert await client.instances.list() == []


async def test_list_has_the_stopped_instances_too(client: Client) -> None:
    ended, live = await stopped(client), await client.instances.start(MODEL)
    listed = await client.instances.list()
    assert [instance.instance_id for instance in listed] == [ended.instance_id, live.instance_id]
    assert listed.invalid == []


async def test_a_listed_instance_has_its_verbs(client: Client) -> None:
    await client.instances.start(MODEL)
    (instance,) = await client.instances.list()
    assert (await instance.stop()).is_stopped


async def test_refresh_updates_in_place(client: Client) -> None:
    instance = await client.instances.start(MODEL)
    alias = instance
    await client.instances.stop(instance.instance_id)
    assert await instance.refresh() is instance
    assert alias.is_stopped


async def test_refresh_of_a_deleted_instance_is_not_found(client: Client) -> None:
    instance = await stopped(client)
    await instance.delete()
    with pytest.raises(NotFoundError):
        await instance.refresh()


async def test_an_argument_that_an_answer_leaves_out_is_kept(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL, num_workers=3)
    emulator.fault("get", edit=edited(without_args=("num_workers", "context_length")))
    await instance.refresh()
    assert (instance.instance_args.num_workers, instance.instance_args.context_length) == (3, 32_000)


@emulated(list_num_workers=False)
async def test_what_a_list_leaves_out_is_unknown_not_a_default(client: Client) -> None:
    await client.instances.start(MODEL, num_workers=2)
    (listed,) = await client.instances.list()
    assert listed.instance_args.num_workers is None


async def test_a_snapshot_is_detached_and_stays_as_it_is(client: Client) -> None:
    instance = await client.instances.start(MODEL)
    before = instance.snapshot()
    await instance.stop()
    assert type(before) is InstanceState
    assert not before.is_stopped


@pytest.mark.parametrize(
    ("edit", "path"),
    [
        (lambda _: None, ""),
        (lambda _: [], ""),
        (lambda _: {}, "instance"),
        (lambda _: {"instance": None}, "instance"),
        (edited(instance_id=7), "instance.instance_id"),
        (edited(base_url=False), "instance.base_url"),
        (edited(instance_args=None), "instance.instance_args"),
        (edited(args={"num_workers": "2"}), "instance.instance_args.num_workers"),
        (edited(instance_status={}), "instance.instance_status.status"),
        (edited(workers=[None, {"current_step": 1.5}]), "instance.worker_statuses[1].init_progress.current_step"),
    ],
)
async def test_the_wrong_shape_is_a_decode_error_that_names_the_place(
    client: Client, emulator: FaultyEmulator, edit: Edit, path: str
) -> None:
    instance = await client.instances.start(MODEL)
    emulator.fault("get", edit=edit)
    with pytest.raises(DecodeError) as caught:
        await instance.refresh()
    assert caught.value.path == path
    assert len(emulator.asked("get")) == 1


@pytest.mark.fault(42)
async def test_a_bad_item_of_a_list_does_not_cost_the_others(
    client: Client, emulator: FaultyEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    good = await client.instances.start(MODEL)
    emulator.fault("list", edit=lambda content: {"instances": [{"instance_id": "bad"}, *content["instances"]]})
    with caplog.at_level(logging.WARNING, "inferlease"):
        listed = await client.instances.list()
    assert [instance.instance_id for instance in listed] == [good.instance_id]
    assert [(bad.id, bad.error.path) for bad in listed.invalid] == [("bad", "instances[0].instance_args")]
    assert "instances[0].instance_args" in caplog.text


def contradicting(content: Any) -> object:
    (instance,) = content["instances"]
    return {"instances": [instance | {"instance_status": {"status": "hibernating"}}, instance]}


@pytest.mark.fault(43)
@pytest.mark.parametrize("fault", [{"status": 403}, {"status": 500}, {"lost": True}, {"body": b"[]"}], ids=str)
async def test_a_contradicting_item_that_no_get_decides_is_invalid(
    client: Client, emulator: FaultyEmulator, fault: dict[str, Any]
) -> None:
    instance = await stopped(client)
    emulator.fault("list", edit=contradicting)
    emulator.fault("get", **fault, times=None)
    listed = await client.instances.list()
    assert (listed, [bad.id for bad in listed.invalid]) == ([], [instance.instance_id])


@pytest.mark.fault(26, 43)
async def test_a_contradicting_item_that_is_new_is_not_left_out(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    emulator.fault("list", edit=contradicting)
    emulator.fault("get", 404)
    assert [bad.id for bad in (await client.instances.list()).invalid] == [instance.instance_id]


@pytest.mark.fault(60, 61, 62)
@pytest.mark.parametrize("verb", ["get", "stop", "restart", "delete"])
@pytest.mark.parametrize(
    "instance_id",
    [
        "a\rb", "a\nb", "a\x00b", "é", 7,
        "..", "../models", "%2e%2e", "", "a/b", "a?b", "a#f",
        "delete-all", "stop-all", "start", "restart", "stop",
    ],
)  # fmt: skip
async def test_an_id_that_no_path_may_carry_is_refused_unsent(
    client: Client, emulator: FaultyEmulator, verb: str, instance_id: Any
) -> None:
    with pytest.raises(InvalidArgumentError):
        await getattr(client.instances, verb)(instance_id)
    assert emulator.order == []


# ---- stop -----------------------------------------------------------------------------------------


async def test_stop_ends_the_billing_and_updates_in_place(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    assert await instance.stop() is instance
    assert instance.is_stopped
    assert emulator.books().still_billed == []


async def test_stop_by_id_returns_the_instance(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    after = await client.instances.stop(instance.instance_id)
    assert after is not None
    assert after.is_stopped
    assert emulator.books().still_billed == []


async def test_stop_of_a_stopped_instance_is_done(client: Client) -> None:
    instance = await stopped(client)
    assert (await instance.stop()).is_stopped


async def test_stop_of_a_gone_instance_is_done(client: Client) -> None:
    assert await client.instances.stop("instance-unknown") is None


@pytest.mark.fault(27)
@pytest.mark.parametrize("status", [400, 403, 409, 422])
async def test_a_refused_stop_is_done_if_the_instance_is_stopped(
    client: Client, emulator: FaultyEmulator, status: int
) -> None:
    instance = await client.instances.start(MODEL)
    emulator.fault("stop", status)
    assert (await instance.stop()).is_stopped
    assert len(emulator.asked("stop")) == len(emulator.asked("get")) == 1


@pytest.mark.fault(27)
@pytest.mark.parametrize(
    ("status", "error"), [(302, APIError), (400, APIError), (403, PermissionDeniedError), (409, ConflictError)]
)
async def test_a_refused_stop_of_a_live_instance_is_its_error(
    client: Client, emulator: FaultyEmulator, status: int, error: type[APIError]
) -> None:
    instance = await client.instances.start(MODEL)
    emulator.fault("stop", status, body={"message": "not now"}, handled=False)
    with pytest.raises(error, match="not now") as caught:
        await instance.stop()
    assert (caught.value.status, caught.value.instance_id) == (status, instance.instance_id)


@EACH_BROKEN
@pytest.mark.parametrize("handled", [True, False])
async def test_a_broken_stop_is_repeated(
    client: Client, emulator: FaultyEmulator, fault: dict[str, Any], handled: bool
) -> None:
    instance = await client.instances.start(MODEL)
    emulator.fault("stop", **fault, handled=handled, times=2)
    assert (await instance.stop()).is_stopped
    assert len(emulator.asked("stop")) == 3


@EACH_UNUSABLE
async def test_a_stop_whose_answer_is_unusable_is_read_once(
    client: Client, emulator: FaultyEmulator, fault: dict[str, Any]
) -> None:
    instance = await client.instances.start(MODEL)
    emulator.fault("stop", **fault)
    assert (await instance.stop()).is_stopped
    assert len(emulator.asked("stop")) == len(emulator.asked("get")) == 1


async def test_a_stop_whose_answer_and_state_are_unusable_is_unknown(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    emulator.fault("stop", body=b"")
    emulator.fault("get", edit=edited(status=None))
    with pytest.raises(OutcomeUnknownError) as caught:
        await instance.stop()
    assert caught.value.instance_id == instance.instance_id


# ---- delete ---------------------------------------------------------------------------------------


async def test_delete_removes_a_stopped_instance(client: Client, emulator: FaultyEmulator) -> None:
    instance = await stopped(client)
    await instance.delete()
    assert await client.instances.list() == []
    assert emulator.books().instances[instance.instance_id].deleted


async def test_delete_by_id(client: Client) -> None:
    instance = await stopped(client)
    await client.instances.delete(instance.instance_id)
    assert await client.instances.list() == []


async def test_delete_of_a_live_instance_is_refused(client: Client) -> None:
    instance = await client.instances.start(MODEL)
    with pytest.raises(APIError, match="not stopped") as caught:
        await instance.delete()
    assert caught.value.status == 400
    assert len(await client.instances.list()) == 1


async def test_delete_of_a_gone_instance_is_done(client: Client) -> None:
    await client.instances.delete("instance-unknown")


@EACH_BROKEN
@pytest.mark.parametrize("handled", [True, False])
async def test_a_broken_delete_is_repeated_until_it_is_gone(
    client: Client, emulator: FaultyEmulator, fault: dict[str, Any], handled: bool
) -> None:
    instance = await stopped(client)
    emulator.fault("delete", **fault, handled=handled)
    await instance.delete()
    assert len(emulator.asked("delete")) == 2
    assert emulator.books().instances[instance.instance_id].deleted


@EACH_UNUSABLE
async def test_a_delete_needs_nothing_of_its_answer(
    client: Client, emulator: FaultyEmulator, fault: dict[str, Any]
) -> None:
    instance = await stopped(client)
    emulator.fault("delete", **({"body": {"instance_id": "instance-other"}} if "edit" in fault else fault))
    await instance.delete()
    assert emulator.order_but_prices[-1] == "delete"


# ---- restart --------------------------------------------------------------------------------------


@emulated(seconds_per_step=1000)
async def test_restart_brings_a_stopped_instance_up_again(client: Client, emulator: FaultyEmulator) -> None:
    instance = await stopped(client)
    assert await instance.restart() is instance
    assert instance.instance_status.status == "pending"
    assert emulator.books().still_billed == [instance.instance_id]


@emulated(seconds_per_step=1000)
async def test_restart_by_id_returns_the_instance(client: Client) -> None:
    instance = await stopped(client)
    assert (await client.instances.restart(instance.instance_id)).instance_status.status == "pending"


async def test_restart_of_a_live_instance_is_done(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    await instance.restart()
    assert emulator.order_but_prices[-2:] == ["restart", "get"]
    assert len(emulator.books().instances[instance.instance_id].runs) == 1


async def test_restart_of_a_gone_instance_is_its_error(client: Client) -> None:
    with pytest.raises(NotFoundError):
        await client.instances.restart("instance-unknown")


async def test_a_refused_restart_of_a_stopped_instance_is_its_error(client: Client, emulator: FaultyEmulator) -> None:
    instance = await stopped(client)
    emulator.fault("restart", 409, body={"message": "no room"}, handled=False)
    with pytest.raises(ConflictError, match="no room"):
        await instance.restart()


@EACH_BROKEN
async def test_a_broken_restart_that_took_effect_is_not_repeated(
    client: Client, emulator: FaultyEmulator, fault: dict[str, Any]
) -> None:
    instance = await stopped(client)
    emulator.fault("restart", **fault)
    assert not (await instance.restart()).is_stopped
    assert len(emulator.asked("restart")) == 1


@EACH_BROKEN
async def test_a_broken_restart_without_effect_is_repeated(
    client: Client, emulator: FaultyEmulator, fault: dict[str, Any]
) -> None:
    instance = await stopped(client)
    emulator.fault("restart", **fault, handled=False)
    assert not (await instance.restart()).is_stopped
    assert len(emulator.asked("restart")) == 2


@EACH_UNUSABLE
async def test_a_restart_whose_answer_is_unusable_is_read_once(
    client: Client, emulator: FaultyEmulator, fault: dict[str, Any]
) -> None:
    instance = await stopped(client)
    emulator.fault("restart", **fault)
    assert not (await instance.restart()).is_stopped
    assert emulator.order_but_prices[-2:] != ["restart", "restart"]
    assert len(emulator.asked("get")) == 1


# ---- the same of stop, delete and restart -----------------------------------------------------------

MUTATIONS: tuple[Operation, ...] = ("stop", "delete", "restart")


@pytest.mark.parametrize("verb", MUTATIONS)
async def test_when_attempts_run_out_the_outcome_is_unknown(
    client: Client, emulator: FaultyEmulator, verb: Operation
) -> None:
    instance = await stopped(client)
    before = len(emulator.asked(verb))
    emulator.fault(verb, 502, handled=False, times=None)
    with pytest.raises(OutcomeUnknownError) as caught:
        await getattr(instance, verb)()
    assert isinstance(caught.value.__cause__, ServerError)
    assert (caught.value.status, caught.value.instance_id) == (502, instance.instance_id)
    assert len(emulator.asked(verb)) - before == 8


@pytest.mark.parametrize("verb", MUTATIONS)
async def test_a_repeated_mutation_is_a_warning(
    client: Client, emulator: FaultyEmulator, verb: Operation, caplog: pytest.LogCaptureFixture
) -> None:
    instance = await stopped(client)
    emulator.fault(verb, 502, handled=False)
    with caplog.at_level(logging.WARNING, "inferlease"):
        await getattr(instance, verb)()
    (warning,) = caplog.records
    assert "502" in warning.getMessage()


@pytest.mark.parametrize("verb", MUTATIONS)
async def test_without_credentials_a_mutation_is_an_authentication_error(
    client: Client, emulator: FaultyEmulator, verb: Operation
) -> None:
    instance = await stopped(client)
    emulator.fault("token", 401, times=None)
    emulator.revoke_tokens()
    with pytest.raises(AuthenticationError):
        await getattr(instance, verb)()


@pytest.mark.parametrize("verb", MUTATIONS)
async def test_a_cancelled_mutation_goes_on(client: Client, emulator: FaultyEmulator, verb: Operation) -> None:
    """Cancelled before its request was sent: nobody else would send it."""
    instance = await (client.instances.start(MODEL) if verb == "stop" else stopped(client))
    other = emulator.client()
    with emulator.hold("token", "before") as hold:
        call = asyncio.create_task(getattr(other.instances, verb)(instance.instance_id))
        await hold.arrived_async()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await other.close()

    def took_effect() -> bool:
        entry = emulator.books().instances[instance.instance_id]
        return {"stop": entry.status == "stopped", "delete": entry.deleted, "restart": len(entry.runs) == 2}[verb]

    await until(took_effect)


# ---- gone -----------------------------------------------------------------------------------------


@pytest.mark.fault(44)
async def test_gone_is_a_400_and_absent_from_two_lists(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("stop", 400, handled=False)
    emulator.fault("get", 400, handled=False)
    assert await client.instances.stop("instance-unknown") is None
    assert emulator.order_but_prices[-4:] == ["stop", "get", "list", "list"]


@pytest.mark.fault(44)
@pytest.mark.parametrize("lists_without_it", [0, 1])
async def test_a_listed_instance_is_not_gone(client: Client, emulator: FaultyEmulator, lists_without_it: int) -> None:
    instance = await client.instances.start(MODEL)
    async with emulator.client() as stranger:
        emulator.fault("stop", 400, body={"message": "odd"}, handled=False)
        emulator.fault("get", 400, handled=False)
        if lists_without_it:
            emulator.fault("list", body={"instances": []})
        with pytest.raises(APIError, match="odd"):
            await stranger.instances.stop(instance.instance_id)


@pytest.mark.fault(42)
async def test_an_unreadable_item_of_the_list_is_not_gone(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("stop", 400, body={"message": "odd"}, handled=False)
    emulator.fault("get", 400, handled=False)
    emulator.fault("list", body={"instances": [{"instance_id": "bad"}]})
    with pytest.raises(APIError, match="odd"):
        await client.instances.stop("bad")


# ---- the whole account ----------------------------------------------------------------------------


async def test_stop_all_returns_the_stopped_ids(client: Client, emulator: FaultyEmulator) -> None:
    started = {(await client.instances.start(MODEL)).instance_id for _ in range(2)}
    assert set(await client.instances.stop_all()) == started
    assert emulator.books().still_billed == []


async def test_stop_all_where_nothing_runs_returns_no_ids(client: Client) -> None:
    assert await client.instances.stop_all() == []


async def test_delete_all_leaves_what_is_live(client: Client) -> None:
    ended, live = await stopped(client), await client.instances.start(MODEL)
    assert await client.instances.delete_all() == [ended.instance_id]
    assert [instance.instance_id for instance in await client.instances.list()] == [live.instance_id]


async def test_delete_all_by_force_takes_the_live_too(client: Client, emulator: FaultyEmulator) -> None:
    live = await client.instances.start(MODEL)
    assert await client.instances.delete_all(force=True) == [live.instance_id]
    assert emulator.books().still_billed == []


@pytest.mark.parametrize(("force", "sent"), [(True, "true"), (False, "false")])
async def test_force_is_sent_in_lower_case(client: Client, emulator: FaultyEmulator, force: bool, sent: str) -> None:
    await client.instances.delete_all(force=force)
    assert [asked.path.partition("?")[2] for asked in emulator.asked("delete_all")] == [f"force_deletion={sent}"]


BULK: dict[Operation, Callable[[Client], Any]] = {
    "stop_all": lambda client: client.instances.stop_all(),
    "delete_all": lambda client: client.instances.delete_all(),
}
EACH_BULK = pytest.mark.parametrize("operation", BULK)


@EACH_BULK
@pytest.mark.parametrize("fault", [*BROKEN.values(), {"body": b"<html>"}], ids=[*BROKEN, "HTML"])
async def test_a_doubtful_bulk_call_is_unknown_and_never_repeated(
    client: Client, emulator: FaultyEmulator, operation: Operation, fault: dict[str, Any]
) -> None:
    emulator.fault(operation, **fault)
    with pytest.raises(OutcomeUnknownError):
        await BULK[operation](client)
    assert len(emulator.asked(operation)) == 1


@EACH_BULK
@pytest.mark.parametrize("body", [b"null", b"[]", b'{"instance_ids": "all"}', b'{"instance_ids": [1]}'])
async def test_a_bulk_answer_of_the_wrong_shape_is_a_decode_error(
    client: Client, emulator: FaultyEmulator, operation: Operation, body: bytes
) -> None:
    emulator.fault(operation, body=body)
    with pytest.raises(DecodeError):
        await BULK[operation](client)


@EACH_BULK
async def test_a_refused_bulk_call_is_its_error(client: Client, emulator: FaultyEmulator, operation: Operation) -> None:
    emulator.fault(operation, 403, handled=False)
    with pytest.raises(PermissionDeniedError):
        await BULK[operation](client)


# ---- detached -------------------------------------------------------------------------------------

VERBS = [
    name
    for name, member in inspect.getmembers(Instance, inspect.isfunction)
    if not name.startswith("_") and (inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member))
]


@pytest.mark.async_only(reason="the class differs: see tests/sync")
async def test_a_pickled_instance_keeps_its_data(client: Client) -> None:
    instance = await client.instances.start(MODEL, num_workers=2)
    copy = pickle.loads(pickle.dumps(instance))  # noqa: S301 - made here
    assert type(copy) is Instance
    assert copy == instance


@pytest.mark.async_only(reason="the class differs: see tests/sync")
@pytest.mark.parametrize("verb", VERBS)
async def test_a_detached_instance_has_no_verbs(client: Client, verb: str) -> None:
    copy = pickle.loads(pickle.dumps(await client.instances.start(MODEL)))  # noqa: S301 - made here
    call = getattr(copy, verb)()
    with pytest.raises(DetachedInstanceError) as caught:
        await (anext(call) if inspect.isasyncgen(call) else call)
    assert caught.value.instance_id == copy.instance_id


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 10**400, "5", None, True])
@pytest.mark.parametrize("wait", ["wait_until_running", "wait_until_stopped"])
async def test_a_wait_for_no_positive_number_of_seconds_is_refused(client: Client, wait: str, seconds: Any) -> None:
    instance = await client.instances.start(MODEL)
    with pytest.raises(InvalidArgumentError, match="is not a positive number of seconds"):
        await getattr(instance, wait)(timeout=seconds)


@pytest.mark.parametrize("force", ["no", 0, None])
async def test_force_is_true_or_false_and_nothing_else(client: Client, emulator: FaultyEmulator, force: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="neither True nor False"):
        await client.instances.delete_all(force=force)
    assert emulator.asked("delete_all") == []
