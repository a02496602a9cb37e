"""`client.leases`: what the ledger remembers, and whose the instances of ended processes are."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from inferlease import InvalidArgumentError, OutcomeUnknownError, PermissionDeniedError, StartRefusedError, _recovery
from inferlease.ledger import now
from inferlease.pricing import Price
from tests.emulator.support import until
from tests.faults import MODEL, FaultyEmulator, edited, emulated
from tests.recovery.support import ledger_of, left, reaped, record, strays, verdicts

if TYPE_CHECKING:
    from inferlease import APIError, Client
    from tests.worlds import Api

pytestmark = pytest.mark.asyncio


class TestList:
    async def test_a_live_lease_is_listed(self, client: Client) -> None:
        async with client.lease(MODEL) as instance:
            (found,) = await client.leases.list()
            assert (found.kind, found.owner, found.ending) == ("lease", "alive", None)
            assert (found.instance_id, found.args.hf_name) == (instance.instance_id, MODEL)

    async def test_one_that_has_ended_is_listed(self, client: Client) -> None:
        async with client.lease(MODEL):
            pass
        (found,) = await client.leases.list()
        assert (found.owner, found.ending) == ("none", "stopped")

    async def test_to_look_makes_no_folder(self, client: Client, emulator: FaultyEmulator) -> None:
        assert (await client.leases.list(), await client.costs(), await verdicts(client)) == ([], [], [])
        assert await reaped(client) == []
        assert not await asyncio.to_thread(ledger_of(emulator).folder.exists)

    async def test_a_plain_start_was_handed_over(self, client: Client) -> None:
        await client.instances.start(MODEL)
        (found,) = await client.leases.list()
        assert (found.kind, found.ending, found.reason) == ("start", "handed over", None)

    @pytest.mark.parametrize(("status", "error"), [(422, StartRefusedError), (403, PermissionDeniedError)])
    async def test_of_a_refused_one_the_reason_is_told(
        self, client: Client, emulator: FaultyEmulator, status: int, error: type[APIError]
    ) -> None:
        emulator.fault("start", status, body={"message": "no such thing"}, handled=False)
        with pytest.raises(error):
            await client.lease(MODEL).acquire()
        (found,) = await client.leases.list()
        assert found.ending == "refused"
        assert found.reason == f"POST /instances/start was answered {status}: no such thing"

    async def test_a_reason_is_one_short_line_without_a_secret(self, client: Client, emulator: FaultyEmulator) -> None:
        await client.instances.list()
        token = (emulator.asked("list")[0].authorization or "").removeprefix("Bearer ")
        said = f"{token}\n\x1b[2J" + "\U0001fbf0\U000e0001" * 1000
        emulator.fault("start", 422, body={"message": said}, handled=False)
        with pytest.raises(StartRefusedError):
            await client.instances.start(MODEL)
        (found,) = await client.leases.list()
        assert found.reason is not None
        assert r"422: …\n\x1b[2J" in found.reason
        assert (found.reason.isprintable(), len(found.reason) <= 301, token in found.reason) == (True, True, False)

    @pytest.mark.parametrize("zone", [UTC, None])
    async def test_what_ended_before_then_is_not(self, client: Client, zone: Any) -> None:
        await client.instances.start(MODEL)
        soon = (now() + timedelta(seconds=60)).astimezone(UTC)
        assert await client.leases.list(soon.replace(tzinfo=zone)) == []

    async def test_what_has_not_ended_is_listed_whenever_it_began(
        self, client: Client, emulator: FaultyEmulator
    ) -> None:
        journal = left(emulator, ago=10_000)
        assert [each.id for each in await client.leases.list(datetime.now(UTC))] == [journal]


class TestOurs:
    async def test_the_lease_of_a_dead_process_is_stopped(
        self, client: Client, stranger: Client, emulator: FaultyEmulator
    ) -> None:
        ids = await strays(stranger, 2)
        journal = left(emulator, ids[0])
        assert await verdicts(client) == [("ours", ids[0])]
        assert await reaped(client) == [ids[0]]
        assert emulator.books().still_billed == [ids[1]]
        assert record(emulator, journal).ending == "stopped"

    async def test_an_orphan_has_its_price_and_reason(
        self, client: Client, stranger: Client, emulator: FaultyEmulator
    ) -> None:
        left(emulator, *await strays(stranger, 1, num_workers=2))
        (orphan,) = await client.leases.orphans()
        assert orphan.price == Price(2.4, "EUR")
        assert orphan.reason == "the process that leased it is gone"
        assert orphan.until is None

    async def test_a_start_that_never_returned_is_stopped(
        self, client: Client, stranger: Client, emulator: FaultyEmulator
    ) -> None:
        ids = await strays(stranger, 1)
        left(emulator, *ids, kind="start")
        assert await reaped(client) == ids

    async def test_to_list_stops_nothing(self, client: Client, stranger: Client, emulator: FaultyEmulator) -> None:
        left(emulator, *await strays(stranger, 1))
        await client.leases.orphans()
        assert not emulator.asked("stop")

    @pytest.mark.parametrize(
        "how",
        [
            ({"kind": "lease", "is_answered": True}, True),
            ({"kind": "lease", "is_answered": False}, False),
            ({"kind": "start", "is_answered": True}, False),
        ],
        ids=str,
    )
    async def test_only_a_lease_is_deleted_and_only_if_an_answer_carried_its_id(
        self, client: Client, stranger: Client, emulator: FaultyEmulator, how: tuple[dict[str, Any], bool]
    ) -> None:
        ids = await strays(stranger, 1)
        left(emulator, *ids, **how[0])
        await client.leases.reap()
        assert emulator.books().instances[ids[0]].deleted is how[1]

    async def test_many_are_stopped_and_one_that_fails_is_told(
        self, client: Client, stranger: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_recovery, "RELEASE_TIMEOUT", 0.5)
        ids = await strays(stranger, 3)
        journals = [left(emulator, each) for each in ids]
        emulator.fault("stop", 403, handled=False, times=None)
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.leases.reap()
        assert len(caught.value.__notes__) == 2
        assert [record(emulator, each).owner for each in journals] == ["dead"] * 3

    async def test_one_that_is_too_new_to_be_shown_is_not_gone(
        self, client: Client, stranger: Client, emulator: FaultyEmulator
    ) -> None:
        ids = await strays(stranger, 1)
        left(emulator, *ids)
        emulator.fault("get", 404)
        assert await verdicts(client) == [("ours", ids[0])]

    async def test_the_price_does_not_delay_the_stop(
        self, client: Client, stranger: Client, emulator: FaultyEmulator
    ) -> None:
        left(emulator, *await strays(stranger, 1))
        with emulator.hold("hardware_types", "before") as hold:
            reaping = asyncio.create_task(reaped(client))
            await hold.arrived_async()
            assert emulator.books().still_billed == []
        await reaping


class TestNotOurs:
    @pytest.mark.fault(79)
    async def test_what_is_seen_stopped_is_not_ours_when_it_is_started_again(
        self, client: Client, stranger: Client, emulator: FaultyEmulator
    ) -> None:
        ids = await strays(stranger, 1)
        journal = left(emulator, *ids)
        await stranger.instances.stop(ids[0])
        assert await verdicts(client) == []
        assert record(emulator, journal).ending == "stopped"
        await stranger.instances.restart(ids[0])
        assert await reaped(client) == []
        assert emulator.books().still_billed == ids

    async def test_what_this_client_restarts_is_the_user_s(
        self, client: Client, stranger: Client, emulator: FaultyEmulator
    ) -> None:
        ids = await strays(stranger, 1)
        left(emulator, *ids)
        await stranger.instances.stop(ids[0])
        await client.instances.restart(ids[0])
        assert await reaped(client) == []
        assert emulator.books().still_billed == ids

    async def test_what_is_gone_is_over(
        self, client: Client, stranger: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = await strays(stranger, 1)
        await stranger.instances.stop(ids[0])
        await stranger.instances.delete(ids[0])
        journal = left(emulator, *ids)
        monkeypatch.setattr("inferlease._recovery.GRACE", 0.0)
        assert await verdicts(client) == []
        assert record(emulator, journal).ending == "stopped"

    async def test_what_ensure_has_taken_is_the_user_s(
        self, client: Client, stranger: Client, emulator: FaultyEmulator
    ) -> None:
        ids = await strays(stranger, 1)
        journal = left(emulator, *ids, kind="start")
        assert (await client.instances.ensure(MODEL)).instance_id == ids[0]
        assert await reaped(client) == []
        assert emulator.books().still_billed == ids
        assert record(emulator, journal).ending == "handed over"

    @pytest.mark.fault(80)
    async def test_a_living_lease_is_untouched(self, client: Client, either: Api, emulator: FaultyEmulator) -> None:
        async with either.connect(emulator, poll_interval=0.02) as other, other.lease(MODEL):
            assert await verdicts(client) == []
            assert await reaped(client) == []
            assert len(emulator.books().still_billed) == 1

    @pytest.mark.fault(80)
    async def test_a_plain_start_is_untouched(self, client: Client, either: Api, emulator: FaultyEmulator) -> None:
        async with either.connect(emulator) as other:
            await other.instances.start(MODEL)
        assert await reaped(client) == []
        assert len(emulator.books().still_billed) == 1


class TestNamed:
    async def refusal(self, client: Client, instance_id: str) -> str:
        with pytest.raises(InvalidArgumentError, match=f"to stop it all the same: inferlease stop {instance_id}") as at:
            await client.leases.reap(instance_id)
        return str(at.value)

    async def test_what_a_living_lease_has_is_refused(
        self, client: Client, either: Api, emulator: FaultyEmulator
    ) -> None:
        async with either.connect(emulator, poll_interval=0.02) as other, other.lease(MODEL) as instance:
            assert "a living process has it" in await self.refusal(client, instance.instance_id)
            assert emulator.books().still_billed == [instance.instance_id]

    async def test_what_was_handed_over_is_refused(self, client: Client) -> None:
        instance = await client.instances.start(MODEL)
        assert "its lease has ended" in await self.refusal(client, instance.instance_id)

    async def test_what_the_ledger_does_not_know_is_refused(
        self, client: Client, stranger: Client, emulator: FaultyEmulator
    ) -> None:
        (foreign,) = await strays(stranger, 1)
        assert "does not know it" in await self.refusal(client, foreign)
        assert emulator.books().still_billed == [foreign]

    async def test_a_refusal_keeps_nothing_else_running(
        self, client: Client, stranger: Client, emulator: FaultyEmulator
    ) -> None:
        ids = await strays(stranger, 1)
        left(emulator, *ids)
        await self.refusal(client, "instance-unknown")
        assert emulator.books().still_billed == []

    async def test_what_is_ours_may_be_named_too(
        self, client: Client, stranger: Client, emulator: FaultyEmulator
    ) -> None:
        ids = await strays(stranger, 1)
        left(emulator, *ids)
        assert await reaped(client, *ids) == ids


async def test_two_reaps_stop_each_orphan_once(
    client: Client, either: Api, stranger: Client, emulator: FaultyEmulator
) -> None:
    ids = await strays(stranger, 6)
    for each in ids[:3]:
        left(emulator, each)
    for _ in range(3):
        left(emulator)
    async with either.connect(emulator, poll_interval=0.02) as other:
        first, second = await asyncio.gather(reaped(client), reaped(other))
    assert sorted(map(str, [*first, *second])) == sorted(ids)
    assert [len(emulator.books().instances[each].stop_requests) for each in ids] == [1] * 6


class TestInBackground:
    async def test_it_begins_when_the_client_is_entered_and_close_waits_for_it(
        self, either: Api, stranger: Client, emulator: FaultyEmulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        ids = await strays(stranger, 1)
        left(emulator, *ids)
        with caplog.at_level(logging.WARNING, "inferlease"):
            async with either.connect(emulator, reap=True, poll_interval=0.02):
                pass
        assert emulator.books().still_billed == []
        assert f"instance {ids[0]} of " in caplog.text
        assert "the process that leased it is gone; it is stopped" in caplog.text

    async def test_it_begins_with_the_first_start(
        self, either: Api, stranger: Client, emulator: FaultyEmulator
    ) -> None:
        left(emulator, *await strays(stranger, 1))
        unentered = either.connect(emulator, reap=True, poll_interval=0.02)
        instance = await unentered.instances.start(MODEL)
        await unentered.close()
        assert emulator.books().still_billed == [instance.instance_id]

    async def test_nobody_waits_for_it(self, either: Api, stranger: Client, emulator: FaultyEmulator) -> None:
        left(emulator, *await strays(stranger, 1))
        async with either.connect(emulator, reap=True, poll_interval=0.02) as entered:
            with emulator.hold("stop", "before") as hold:
                await entered.models.list()
                await hold.arrived_async()

    async def test_close_does_not_wait_for_what_may_show(self, either: Api, emulator: FaultyEmulator) -> None:
        """Else this would take a minute."""
        left(emulator, settle_time=100.0)
        async with either.connect(emulator, reap=True):
            pass

    async def test_without_it_nothing_is_stopped(self, either: Api, stranger: Client, emulator: FaultyEmulator) -> None:
        ids = await strays(stranger, 1)
        left(emulator, *ids)
        async with either.connect(emulator) as entered:
            await entered.instances.list()
        assert emulator.books().still_billed == ids

    async def test_its_failure_is_a_warning(
        self, either: Api, emulator: FaultyEmulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        left(emulator)
        emulator.fault("list", 403, times=None)
        with caplog.at_level(logging.WARNING, "inferlease"):
            async with either.connect(emulator, reap=True):
                pass
        assert "what earlier processes have left was not looked for" in caplog.text

    async def test_what_is_possible_is_told_and_left(
        self, either: Api, stranger: Client, emulator: FaultyEmulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        left(emulator, exclusive=False)
        ids = await strays(stranger, 1)
        with caplog.at_level(logging.WARNING, "inferlease"):
            async with either.connect(emulator, reap=True):
                pass
        assert f"if it is yours: inferlease reap --yes {ids[0]}" in caplog.text
        assert emulator.books().still_billed == ids


@emulated(stop_delay=0.3)
async def test_a_reap_goes_on_without_its_caller(client: Client, stranger: Client, emulator: FaultyEmulator) -> None:
    left(emulator, *await strays(stranger, 1))
    reaping = asyncio.create_task(client.leases.reap())
    while not emulator.asked("stop"):  # noqa: ASYNC110 - nothing tells of the request
        await asyncio.sleep(0.005)
    reaping.cancel()
    await asyncio.wait([reaping])
    await until(lambda: not client._core.jobs._open)
    assert emulator.books().still_billed == []


async def test_an_orphan_whose_state_can_t_be_read_is_ours_still(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    ids = await strays(stranger, 1)
    left(emulator, *ids)
    emulator.fault("get", edit=edited(status=None))
    assert await verdicts(client) == [("ours", ids[0])]
