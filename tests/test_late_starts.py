"""An instance that shows up after its start was given up: stopped if it is provably ours, else told and left."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import pytest

from inferlease import StartOutcomeUnknownError
from inferlease.emulator import Fault
from tests.emulator.support import until
from tests.faults import MODEL, FaultyEmulator, emulated, without_ids
from tests.worlds import connected

if TYPE_CHECKING:
    from inferlease import Client

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hurried", "_often")]

late = emulated(late_creation=0.6, faults=[Fault("reset_after", "start", times=1)])
lost_for_long = emulated(late_creation=0.6, faults=[Fault("reset_after", "start", times=3)])


@pytest.fixture
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inferlease._late.LOOK_EVERY", 0.05)
    monkeypatch.setattr("inferlease._late._LEAST_PAUSE", 0.02)


async def give_up(client: Client) -> None:
    with pytest.raises(StartOutcomeUnknownError):
        await client.instances.start(MODEL)


@pytest.mark.fault(75)
@connected(exclusive=True, settle_time=0.05, late_window=60.0)
@late
async def test_one_that_shows_after_it_was_started_again_is_stopped(client: Client, emulator: FaultyEmulator) -> None:
    instance = await client.instances.start(MODEL)
    await until(lambda: emulator.books().starts == 2)
    await until(lambda: emulator.books().still_billed == [instance.instance_id])
    assert (await instance.wait_until_running()).is_usable


@pytest.mark.fault(75)
@connected(exclusive=True, settle_time=0.05, late_window=60.0)
@lost_for_long
async def test_those_that_show_after_it_was_given_up_are_stopped(client: Client, emulator: FaultyEmulator) -> None:
    await give_up(client)
    await until(lambda: emulator.books().starts == 3 and not emulator.books().still_billed)


@pytest.mark.fault(75)
@connected(exclusive=True, settle_time=0.05, late_window=60.0)
@late
async def test_beside_a_lease_only_the_late_one_is_stopped(client: Client, emulator: FaultyEmulator) -> None:
    async with client.lease(MODEL) as instance:
        await until(lambda: emulator.books().starts == 2)
        await until(lambda: emulator.books().still_billed == [instance.instance_id])
        assert (await instance.refresh()).is_usable
    assert emulator.books().still_billed == []


@pytest.mark.fault(75)
@connected(exclusive=False, settle_time=0.05, late_window=60.0)
@late
async def test_where_it_may_be_somebody_elses_it_is_told_and_left(
    client: Client, emulator: FaultyEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "inferlease"):
        await give_up(client)
        await until(lambda: "may have made instance" in caplog.text)
    (instance_id,) = emulator.books().instances
    assert f"inferlease stop {instance_id}" in caplog.text
    assert emulator.asked("stop") == []


@pytest.mark.fault(75)
@connected(exclusive=False, settle_time=0.05, late_window=60.0)
@late
async def test_it_is_told_once(client: Client, emulator: FaultyEmulator, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "inferlease"):
        await give_up(client)
        await until(lambda: "may have made instance" in caplog.text)
        seen = len(emulator.asked("list"))
        await until(lambda: len(emulator.asked("list")) > seen + 3)
    assert caplog.text.count("may have made instance") == 1


@connected(exclusive=True, settle_time=0.05, late_window=0.2)
@emulated(late_creation=2.0, faults=[Fault("reset_after", "start", times=3)])
async def test_after_the_window_it_is_not_ours_any_more(client: Client, emulator: FaultyEmulator) -> None:
    await give_up(client)
    await until(lambda: not client._core.late._unresolved)
    await until(lambda: emulator.books().starts == 3)
    await client.instances.list()
    assert emulator.asked("stop") == []


@connected(exclusive=True, settle_time=0.05, late_window=60.0)
@late
async def test_starts_that_began_after_it_had_shown_do_not_keep_it_from_being_stopped(
    client: Client, emulator: FaultyEmulator
) -> None:
    """There is always one under way, and the late one is in the baseline of each."""
    instance = await client.instances.start(MODEL)
    await until(lambda: emulator.books().starts == 2)
    with emulator.hold("start", "before") as hold:
        another = asyncio.create_task(client.instances.start(MODEL))
        await hold.arrived_async()
        await until(lambda: emulator.books().still_billed == [instance.instance_id])
    others = await another
    assert set(emulator.books().still_billed) == {instance.instance_id, others.instance_id}


@connected(exclusive=True, settle_time=0.05, late_window=1.0)
@late
async def test_the_look_at_the_end_of_the_window_still_counts(
    client: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inferlease._late.LOOK_EVERY", 60.0)
    instance = await client.instances.start(MODEL)
    await until(lambda: emulator.books().still_billed == [instance.instance_id] and emulator.books().starts == 2)


async def lose(client: Client, emulator: FaultyEmulator) -> None:
    """Start what is made, and can't be looked for."""
    with emulator.hold("start", "before"):
        starting = asyncio.create_task(give_up(client))
        await until(lambda: emulator.asked("start"))
        emulator.fault("list", 403, times=None)
    await starting


@connected(exclusive=True, settle_time=0.05, late_window=1.0)
@emulated(faults=[Fault("reset_after", "start", times=1)])
async def test_a_look_that_has_begun_before_the_end_of_the_window_is_not_the_last(
    client: Client, emulator: FaultyEmulator
) -> None:
    await lose(client, emulator)
    with emulator.hold("list", "before") as look:
        await look.arrived_async()
        emulator.mend("list")
        emulator.inject(Fault("absent_item", "list", times=1))
        (start,) = client._core.late._unresolved
        await until(lambda: time.monotonic() >= start.until)
    await until(lambda: not emulator.books().still_billed)


@connected(exclusive=True, settle_time=0.05, late_window=1.0)
@emulated(faults=[Fault("reset_after", "start", times=1)])
async def test_the_last_look_is_not_at_a_single_list(
    client: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inferlease._late.LOOK_EVERY", 60.0)
    await lose(client, emulator)
    emulator.mend("list")
    emulator.inject(Fault("absent_item", "list", times=1))
    await until(lambda: not emulator.books().still_billed)


@connected(exclusive=True, settle_time=0.05, late_window=0.5)
@lost_for_long
async def test_a_start_that_nobody_could_look_for_stays_open_in_the_ledger(
    client: Client, emulator: FaultyEmulator
) -> None:
    await give_up(client)
    emulator.fault("list", 403, times=None)
    await until(lambda: not client._core.late._unresolved)
    assert {record.ending for record in await client.leases.list()} == {None}


@connected(exclusive=True, settle_time=0.05, late_window=0.5)
@emulated(faults=[Fault("reset_after", "start", times=1)])
async def test_a_list_with_an_item_that_is_nobody_s_ends_no_start(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("list", edit=without_ids, times=None)
    await give_up(client)
    await until(lambda: not client._core.late._unresolved)
    assert {record.ending for record in await client.leases.list()} == {None}


@connected(settle_time=30.0, late_window=1.0)
async def test_a_window_is_not_over_before_what_was_started_has_had_time_to_show(client: Client) -> None:
    await client.instances.start(MODEL)
    (record,) = await client.leases.list()
    assert record.intent.late_window == 30.0
