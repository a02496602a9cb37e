"""A start whose answer was lost: where nobody else can have made it, the instance that shows is taken for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from inferlease import NoCapacityError, StartOutcomeUnknownError
from inferlease._memory_ledger import MemoryLedger
from inferlease.emulator import Fault
from tests.emulator.support import until
from tests.faults import MODEL, FaultyEmulator, edited, emulated, without_ids
from tests.worlds import connected

if TYPE_CHECKING:
    from inferlease import Client

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hurried")]

FIRST = "NVIDIA_L4_1"
ours_alone = connected(exclusive=True, settle_time=0.1)
EACH_EXCLUSIVE = pytest.mark.parametrize("client", [{"exclusive": True}, {"exclusive": None}], indirect=True, ids=str)


def posts(emulator: FaultyEmulator) -> int:
    return len(emulator.asked("start"))


async def unknown(client: Client, **arguments: Any) -> StartOutcomeUnknownError:
    with pytest.raises(StartOutcomeUnknownError) as caught:
        await client.instances.start(MODEL, **arguments)
    return caught.value


# ---- taken --------------------------------------------------------------------------------------------


@EACH_EXCLUSIVE
async def test_the_lost_instance_is_taken(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("start", lost=True)
    instance = await client.instances.start(MODEL)
    assert list(emulator.books().instances) == [instance.instance_id]
    assert posts(emulator) == 1


@EACH_EXCLUSIVE
async def test_a_lease_stops_the_lost_instance_that_it_took(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("start", 502)
    async with client.lease(MODEL) as instance:
        assert instance.is_usable
    assert (emulator.books().starts, emulator.books().still_billed) == (1, [])


@EACH_EXCLUSIVE
async def test_where_none_shows_it_is_sent_again(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("start", lost=True, handled=False)
    instance = await client.instances.start(MODEL)
    assert emulator.books().still_billed == [instance.instance_id]
    assert posts(emulator) == 2


@ours_alone
@pytest.mark.parametrize("earlier", [True, False], ids=["before", "in between"])
async def test_a_model_that_can_not_be_read_makes_no_other_spec(
    client: Client, emulator: FaultyEmulator, earlier: bool
) -> None:
    """An unresolved start whose defaults could not be read does not keep a later one from its instance."""
    if earlier:
        async with client.lease(MODEL):
            pass
    emulator.fault("model", 404)
    emulator.fault("start", lost=True, handled=False)
    async with client.lease(MODEL):
        pass
    emulator.fault("start", lost=True)
    async with client.lease(MODEL):
        pass
    assert emulator.books().still_billed == []


@ours_alone
@pytest.mark.parametrize(
    ("kind", "is_before"),
    [("absent_item", False), ("bad_item", False), ("bad_item", True)],
    ids=["lacking", "garbled", "garbled before the later start too"],
)
async def test_where_a_start_takes_a_later_instance_its_own_is_not_lost(
    client: Client, emulator: FaultyEmulator, kind: str, is_before: bool
) -> None:
    emulator.fault("start", lost=True)
    with emulator.hold("list", "before", skip=1) as look, emulator.hold("start", "unanswered", skip=1) as answer:
        starting = asyncio.create_task(client.instances.start(MODEL))
        await look.arrived_async()
        if is_before:
            emulator.inject(Fault(kind, "list"))
        later = asyncio.create_task(client.instances.start(MODEL))
        await answer.arrived_async()
        if not is_before:
            emulator.inject(Fault(kind, "list"))
        look.release()
        first = await starting
        emulator.mend()
    ids = [first.instance_id, (await later).instance_id]
    assert ids == list(reversed(emulator.books().instances))
    assert posts(emulator) == 2


@ours_alone
async def test_one_seen_before_and_lacking_now_is_not_lost(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("start", lost=True)
    with emulator.hold("list", "before", skip=1) as look, emulator.hold("start", "unanswered", skip=2) as answer:
        starting = asyncio.create_task(client.instances.start(MODEL))
        await look.arrived_async()
        between = await client.instances.start(MODEL)  # sees the first in its list
        emulator.inject(Fault("absent_item", "list"))
        later = asyncio.create_task(client.instances.start(MODEL))
        await answer.arrived_async()
        look.release()
        first = await starting
        emulator.mend()
    ids = {first.instance_id, between.instance_id, (await later).instance_id}
    assert ids == set(emulator.books().instances)


@ours_alone
async def test_a_list_with_an_item_that_is_nobody_s_proves_nothing(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("start", lost=True)
    emulator.fault("list", edit=without_ids, times=None)
    with pytest.raises(StartOutcomeUnknownError):
        await client.instances.start(MODEL)
    assert len(emulator.asked("start")) == 1


@connected(exclusive=None, settle_time=0.1)
async def test_a_later_start_takes_nothing_that_was_there_before_it(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    """One of two is the first start's, the other somebody else's; the later start has made neither."""
    emulator.fault("start", lost=True)
    with emulator.hold("list", "before", skip=2) as look:  # the first start lists twice
        starting = asyncio.create_task(unknown(client))
        await look.arrived_async()
        foreign = asyncio.create_task(stranger.instances.start(MODEL))
        await until(lambda: len(emulator.books().instances) == 2)
    assert len((await starting).candidates) == 2
    await foreign
    emulator.fault("start", lost=True, handled=False, times=None)
    await unknown(client)
    for _ in range(2):
        await client._core.jobs.submit(client._core.late.look, bound=60).wait()
    await until(lambda: not client._core.jobs._open)
    assert emulator.asked("stop") == []


@connected(exclusive=None, settle_time=0.1)
async def test_one_that_was_there_before_without_an_id_is_not_taken(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    theirs = await stranger.instances.start(MODEL)
    emulator.fault("list", edit=without_ids, times=2)
    emulator.fault("start", lost=True, handled=False, times=None)
    with pytest.raises(StartOutcomeUnknownError):
        await client.instances.start(MODEL)
    await client.leases.orphans()
    assert emulator.asked("stop") == []
    assert theirs.instance_id not in {each.instance_id for each in await client.leases.list()}


@connected(settle_time=0.1)
async def test_a_foreign_instance_that_one_list_lacks_is_not_taken(
    client: Client, emulator: FaultyEmulator, stranger: Client
) -> None:
    theirs = await stranger.instances.start(MODEL)
    emulator.inject(Fault("absent_item", "list", times=1), Fault("reset_before", "start", times=1))
    assert (await unknown(client)).candidates == ()
    assert emulator.books().still_billed == [theirs.instance_id]
    assert emulator.asked("stop") == []


@connected(settle_time=0.1)
async def test_a_foreign_instance_that_a_later_list_lacks_is_not_taken(
    client: Client, emulator: FaultyEmulator, stranger: Client
) -> None:
    theirs = await stranger.instances.start(MODEL)
    ours = await client.instances.start(MODEL)
    emulator.inject(Fault("absent_item", "list", times=1), Fault("reset_before", "start", times=1))
    assert (await unknown(client)).candidates == ()
    assert set(emulator.books().still_billed) == {theirs.instance_id, ours.instance_id}


@ours_alone
async def test_an_instance_with_other_defaults_is_told_and_not_taken(client: Client, emulator: FaultyEmulator) -> None:
    """It has all that was sent, but it is not what the server makes of that."""
    emulator.fault("start", lost=True, handled=False)
    async with emulator.client(ledger=MemoryLedger()) as other:
        with emulator.hold("list", "before", skip=1) as look:
            starting = asyncio.create_task(unknown(client))
            await look.arrived_async()
            theirs = await other.instances.start(MODEL, num_workers=3)
    assert [candidate.instance_id for candidate in (await starting).candidates] == [theirs.instance_id]
    assert emulator.asked("stop") == []


@connected(settle_time=0.1)
async def test_whoever_recovers_a_start_knows_that_others_start_on_the_account(
    client: Client, stranger: Client
) -> None:
    theirs = await stranger.instances.start(MODEL)
    await client.instances.start(MODEL)
    await stranger.instances.stop(theirs.instance_id)
    await client.instances.start(MODEL)
    first, second = await client.leases.list()
    assert (first.intent.exclusive, second.intent.exclusive) == (False, False)


async def test_an_instance_that_a_store_fails_to_note_is_not_lost(
    client: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> bool:
        raise OSError

    monkeypatch.setattr("inferlease._journals.FolderJournal.claim", fail)
    async with client.lease(MODEL) as instance:
        assert instance.is_usable
    assert (emulator.books().starts, emulator.books().still_billed) == (1, [])


@ours_alone
async def test_it_is_sent_three_times_at_most(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("start", 502, handled=False, times=None)
    error = await unknown(client)
    assert error.candidates == ()
    assert posts(emulator) == 3


@ours_alone
async def test_instances_of_the_same_ledger_are_nobody_elses(client: Client, emulator: FaultyEmulator) -> None:
    async with emulator.client(poll_interval=0.02) as other:
        theirs = await other.instances.start(MODEL)
        emulator.fault("start", lost=True)
        assert (await client.instances.start(MODEL)).instance_id != theirs.instance_id
    assert posts(emulator) == 2


async def test_by_default_another_spec_of_somebody_else_makes_it_unknown(
    client: Client, emulator: FaultyEmulator, stranger: Client
) -> None:
    """Who starts one thing on the account may start another one too."""
    await stranger.instances.start(MODEL, num_workers=2)
    emulator.fault("start", lost=True)
    assert len((await unknown(client)).candidates) == 1


# ---- told ---------------------------------------------------------------------------------------------


@pytest.mark.fault(76)
@ours_alone
async def test_more_candidates_than_lost_starts_are_all_told_and_none_is_stopped(
    client: Client, emulator: FaultyEmulator, stranger: Client
) -> None:
    emulator.fault("start", lost=True)
    with emulator.hold("list", "before", skip=1) as hold:
        starting = asyncio.create_task(unknown(client))
        await hold.arrived_async()
        foreign = asyncio.create_task(stranger.instances.start(MODEL))
        await until(lambda: len(emulator.books().instances) == 2)
    error = await starting
    await foreign
    assert {candidate.instance_id for candidate in error.candidates} == set(emulator.books().instances)
    assert (posts(emulator), len(emulator.asked("stop"))) == (2, 0)


@pytest.mark.fault(77)
@connected(exclusive=False, settle_time=0.1)
async def test_where_others_start_the_same_one_candidate_is_told_not_taken(
    client: Client, emulator: FaultyEmulator
) -> None:
    emulator.fault("start", lost=True)
    error = await unknown(client)
    assert [candidate.instance_id for candidate in error.candidates] == list(emulator.books().instances)
    assert (posts(emulator), len(emulator.asked("stop"))) == (1, 0)


@pytest.mark.fault(77)
async def test_beside_foreign_instances_one_candidate_is_told_not_taken(
    client: Client, emulator: FaultyEmulator, stranger: Client
) -> None:
    foreign = await stranger.instances.start(MODEL)
    emulator.fault("start", lost=True)
    error = await unknown(client)
    assert {candidate.instance_id for candidate in error.candidates} == (
        set(emulator.books().instances) - {foreign.instance_id}
    )
    assert len(emulator.asked("stop")) == 0


@pytest.mark.fault(77)
async def test_a_stopped_foreign_instance_makes_nothing_unknown(
    client: Client, emulator: FaultyEmulator, stranger: Client
) -> None:
    await (await stranger.instances.start(MODEL)).stop()
    emulator.fault("start", lost=True)
    await client.instances.start(MODEL)
    assert emulator.books().starts == 2


# ---- what the list lacks --------------------------------------------------------------------------------


@pytest.mark.fault(78)
@ours_alone
@emulated(list_num_workers=False)
async def test_a_candidate_is_read_where_the_list_lacks_an_argument(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("start", lost=True)
    instance = await client.instances.start(MODEL, num_workers=2)
    assert instance.instance_args.num_workers == 2
    assert emulator.books().starts == 1
    assert emulator.asked("get")


@pytest.mark.fault(78)
@ours_alone
@emulated(list_num_workers=False)
async def test_a_candidate_that_turns_out_to_be_another_is_not_taken(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("start", lost=True)
    emulator.fault("get", edit=edited(args={"num_workers": 3}), times=None)
    await client.instances.start(MODEL, num_workers=2)
    assert posts(emulator) == 2


# ---- without hardware -------------------------------------------------------------------------------------


@pytest.mark.fault(86)
@ours_alone
@emulated(capacity={FIRST: 0})
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 503}, {"lost": True}], ids=str)
async def test_a_lost_start_without_hardware_is_not_sent_again(
    client: Client, emulator: FaultyEmulator, fault: dict[str, Any]
) -> None:
    emulator.fault("start", **fault, handled=False, times=None)
    with pytest.raises(NoCapacityError, match=rf"{FIRST} is not available now .*NVIDIA_L40S_1") as caught:
        await client.instances.start(MODEL)
    assert caught.value.compatible == ("NVIDIA_L40S_1",)
    assert posts(emulator) == 1


@pytest.mark.fault(86)
@emulated(capacity={FIRST: 0})
async def test_a_refusal_without_hardware_is_one_post(client: Client, emulator: FaultyEmulator) -> None:
    with pytest.raises(NoCapacityError):
        await client.instances.start(MODEL)
    assert posts(emulator) == 1
