"""Starts of ended processes whose answer was lost: which instances are theirs."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from inferlease._async_ledger import is_unresolved
from inferlease._requests import start_arguments
from inferlease.emulator import Fault
from inferlease.pricing import Price
from tests.emulator.support import until
from tests.faults import MODEL, FaultyEmulator, emulated, without_ids
from tests.recovery.support import begun, known, left, locked, off_the_loop, reaped, record, strays, verdicts

if TYPE_CHECKING:
    from inferlease import Client
    from inferlease.ledger import Intent

pytestmark = pytest.mark.asyncio


async def newest(client: Client) -> Intent:
    return max(await client.leases.list(), key=lambda each: each.began).intent


async def test_exclusive_what_fits_is_stopped(client: Client, stranger: Client, emulator: FaultyEmulator) -> None:
    journal = left(emulator)
    ids = await strays(stranger, 1)
    assert await verdicts(client) == [("ours", ids[0])]
    assert await reaped(client) == ids
    assert record(emulator, journal).ending == "stopped"
    assert not emulator.books().instances[ids[0]].deleted


async def test_exclusive_each_of_several_is_told_once(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    for _ in range(2):
        left(emulator)
    ids = await strays(stranger, 2)
    assert sorted(await verdicts(client)) == sorted(("ours", each) for each in ids)
    assert sorted(map(str, await reaped(client))) == sorted(ids)


async def test_exclusive_more_than_were_started_are_only_possible(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    left(emulator)
    ids = await strays(stranger, 2)
    assert sorted(await verdicts(client)) == sorted(("possible", each) for each in ids)
    assert await reaped(client) == []
    assert emulator.books().still_billed == ids


async def test_what_a_living_start_may_have_made_is_left_to_it(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    left(emulator)
    living = begun(emulator)
    await strays(stranger, 1)
    assert await verdicts(client) == [("unresolved", None)]
    assert await reaped(client) == []
    living.let_go()


async def test_beside_steady_starts_what_they_can_t_have_made_is_stopped(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    left(emulator)
    ids = await strays(stranger, 1)
    living = begun(emulator, baseline=frozenset(ids))
    lock = locked(emulator, living.intent.spec)
    assert await reaped(client) == ids
    lock.release()
    living.let_go()


@pytest.mark.parametrize("exclusive", [None, False])
async def test_beside_foreign_instances_it_is_possible_and_left(
    client: Client, stranger: Client, emulator: FaultyEmulator, exclusive: bool | None
) -> None:
    left(emulator, exclusive=exclusive, foreign=frozenset({"instance-foreign"}))
    ids = await strays(stranger, 1)
    (orphan,) = await client.leases.orphans()
    assert (orphan.verdict, orphan.instance_id, orphan.price) == ("possible", ids[0], Price(1.2, "EUR"))
    assert await reaped(client) == []
    assert emulator.books().still_billed == ids


async def test_what_is_possible_is_stopped_when_it_is_named(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    journal = left(emulator, exclusive=False)
    ids = await strays(stranger, 2)
    assert await reaped(client, ids[1]) == [ids[1]]
    assert emulator.books().still_billed == [ids[0]]
    assert record(emulator, journal).ending == "stopped"


async def test_all_that_is_named_is_stopped(client: Client, stranger: Client, emulator: FaultyEmulator) -> None:
    left(emulator, exclusive=False)
    ids = await strays(stranger, 2)
    assert sorted(map(str, await reaped(client, *ids))) == sorted(ids)
    assert emulator.books().still_billed == []


async def test_what_has_other_arguments_is_neither(client: Client, stranger: Client, emulator: FaultyEmulator) -> None:
    left(emulator, args=start_arguments(MODEL, num_workers=1))
    ids = await strays(stranger, 1, num_workers=2)
    assert await verdicts(client) == [("unresolved", None)]
    assert await reaped(client) == []
    assert emulator.books().still_billed == ids


async def test_it_is_waited_for_until_the_settle_time(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    left(emulator, settle_time=60.0)
    reaping = asyncio.create_task(reaped(client))
    await until(lambda: len(emulator.asked("list")) >= 2)
    ids = await strays(stranger, 1)
    assert await reaping == ids
    assert emulator.books().still_billed == []


async def test_after_that_it_stays_unresolved(client: Client, emulator: FaultyEmulator) -> None:
    journal = left(emulator, ago=5.0)
    assert await reaped(client) == []
    (orphan,) = await client.leases.orphans()
    assert (orphan.verdict, orphan.until) == ("unresolved", record(emulator, journal).began + timedelta(minutes=10))
    assert record(emulator, journal).ending is None


async def test_what_shows_within_the_late_window_is_stopped(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    left(emulator, ago=500.0)
    ids = await strays(stranger, 1)
    assert await reaped(client) == ids


@pytest.mark.fault(85)
async def test_what_shows_after_it_is_never_claimed_but_possible(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    journal = left(emulator, ago=601.0)
    ids = await strays(stranger, 1)
    assert await verdicts(client) == [("possible", ids[0])]
    assert await reaped(client) == []
    assert emulator.books().still_billed == ids
    assert known(emulator, ids) == set()
    assert record(emulator, journal).ending is None


async def test_a_start_that_is_too_old_keeps_no_later_one_from_its_instance(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    left(emulator, ago=601.0)
    journal = left(emulator)
    ids = await strays(stranger, 1)
    assert await reaped(client) == ids
    assert record(emulator, journal).ending == "stopped"


async def test_with_nothing_after_it_the_start_is_over(client: Client, emulator: FaultyEmulator) -> None:
    journal = left(emulator, ago=601.0)
    assert await verdicts(client) == []
    assert record(emulator, journal).ending == "not found"


async def test_a_list_with_an_item_that_is_nobody_s_ends_nothing(client: Client, emulator: FaultyEmulator) -> None:
    journal = left(emulator, ago=601.0)
    emulator.fault("list", body={"instances": [{"instance_id": None}]})
    assert await verdicts(client) == [("unresolved", None)]
    assert record(emulator, journal).ending is None


async def test_an_item_that_can_t_be_read_is_possible(client: Client, emulator: FaultyEmulator) -> None:
    left(emulator)
    emulator.fault("list", body={"instances": [{"instance_id": "instance-garbled"}]})
    assert await verdicts(client) == [("possible", "instance-garbled")]


async def test_while_another_start_of_it_is_made_nothing_is_decided(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    journal = left(emulator)
    await strays(stranger, 1)
    lock = locked(emulator, record(emulator, journal).intent.spec)
    assert await verdicts(client) == [("unresolved", None)]
    lock.release()


# ---- where a list is not all that there is, or there is more than was started ---------------------------


async def test_one_list_that_lacks_it_does_not_end_an_old_start(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    journal = left(emulator, ago=601.0)
    (own,) = await strays(stranger, 1)
    emulator.inject(Fault("absent_item", "list", times=1))
    await verdicts(client)
    assert record(emulator, journal).ending is None
    assert await verdicts(client) == [("possible", own)]


async def test_nor_does_one_that_was_read_before_it_became_so_old(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    journal = left(emulator, ago=599.0)
    await strays(stranger, 1)
    emulator.inject(Fault("absent_item", "list", times=1))
    with emulator.hold("list", "before") as look:
        looking = asyncio.create_task(verdicts(client))
        await look.arrived_async()
        await until(lambda: not is_unresolved(record(emulator, journal)))
    await looking
    assert record(emulator, journal).ending is None


async def test_what_a_younger_start_takes_does_not_end_an_old_one(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    left(emulator, ago=601.0)
    left(emulator)
    await strays(stranger, 2)
    emulator.inject(Fault("absent_item", "list", times=1))
    await reaped(client)
    assert set(emulator.books().still_billed) <= {instance_id for _, instance_id in await verdicts(client)}


@emulated(list_num_workers=False)
async def test_one_that_is_listed_and_that_a_get_does_not_know_ends_nothing(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    journal = left(emulator, ago=601.0, args=start_arguments(MODEL, num_workers=2))
    (own,) = await strays(stranger, 1, num_workers=2)
    emulator.fault("get", 404, times=1)
    await verdicts(client)
    assert record(emulator, journal).ending is None
    assert await verdicts(client) == [("possible", own)]


async def test_a_later_start_does_not_make_room_for_what_was_there_before_it(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    """The first can have made one of them; the second neither: one is somebody else's."""
    ids = await strays(stranger, 2)
    left(emulator, exclusive=None)
    left(emulator, exclusive=None, baseline=frozenset(ids), unclaimed=frozenset(ids))
    assert await reaped(client) == []
    assert emulator.books().still_billed == ids


async def test_beside_one_that_can_t_be_read_none_is_stopped(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    left(emulator, exclusive=None)
    ids = await strays(stranger, 2)
    emulator.inject(Fault("bad_item", "list"))
    assert await reaped(client) == []
    assert emulator.books().still_billed == ids


async def test_beside_one_that_is_nobody_s_none_is_stopped(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    left(emulator, exclusive=None)
    ids = await strays(stranger, 2)
    emulator.fault("list", edit=lambda content: without_ids({"instances": content["instances"][:1]}) and content)
    assert await reaped(client) == []
    assert emulator.books().still_billed == ids


async def test_what_one_list_garbles_and_another_does_not_is_told_once(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    left(emulator, ago=601.0)
    ids = await strays(stranger, 1)
    emulator.inject(Fault("bad_item", "list", times=1))
    assert await verdicts(client) == [("possible", ids[0])]


async def test_more_than_the_lost_starts_can_have_made_are_not_all_of_the_ledger(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    left(emulator)
    await strays(stranger, 2)
    await client.instances.start(MODEL)
    assert (await newest(client)).exclusive is False


# ---- what another start has taken a later one for ------------------------------------------------------


async def test_what_its_own_start_has_taken_a_later_one_for_is_the_later_ones(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    earlier, later = await strays(stranger, 2)
    left(emulator, later)
    journal = left(emulator, baseline=frozenset({earlier}), unclaimed=frozenset({earlier}))
    assert sorted(map(str, await reaped(client))) == sorted([earlier, later])
    assert record(emulator, journal).ending == "stopped"


async def test_what_another_start_may_have_made_after_all_is_not(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    """That one is too late to take it; whose it is nobody can prove."""
    living = begun(emulator, ago=601.0)
    ids = await strays(stranger, 1)
    left(emulator, baseline=frozenset(ids), unclaimed=frozenset(ids))
    assert await reaped(client) == []
    assert emulator.books().still_billed == ids
    living.let_go()


async def test_what_is_left_to_a_start_makes_nobody_foreign(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    earlier, later = await strays(stranger, 2)
    left(emulator, later)
    living = begun(emulator, baseline=frozenset({earlier}), unclaimed=frozenset({earlier}))
    await client.instances.start(MODEL)
    intent = await newest(client)
    assert (intent.exclusive, intent.foreign, intent.unclaimed) == (None, frozenset(), {earlier})
    living.let_go()


async def test_what_is_left_to_a_start_and_can_t_be_read_does_not_end_it(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    earlier, later = await strays(stranger, 2)
    left(emulator, later)
    journal = left(emulator, ago=601.0, baseline=frozenset({earlier}), unclaimed=frozenset({earlier}))
    emulator.inject(Fault("bad_item", "list"))
    told = await verdicts(client)
    assert ("possible", earlier) in told
    assert record(emulator, journal).ending is None


async def test_what_could_not_be_read_before_a_start_may_be_somebody_elses(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    ids = frozenset(await strays(stranger, 1))
    living = begun(emulator, baseline=ids, unclaimed=ids, foreign=ids)
    await client.instances.start(MODEL)
    assert ((await newest(client)).exclusive, (await newest(client)).foreign) == (False, ids)
    living.let_go()


async def test_what_a_start_that_is_too_old_may_have_made_may_be_left_to_a_later_one_until_it_is_claimed(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    old = begun(emulator, ago=601.0)
    ids = await strays(stranger, 1)
    await client.instances.start(MODEL)
    assert (await newest(client)).unclaimed == set(ids)
    assert off_the_loop(old.claim)(ids[0], is_answered=False)
    await client.instances.start(MODEL)
    assert (await newest(client)).unclaimed == set()
    old.let_go()
