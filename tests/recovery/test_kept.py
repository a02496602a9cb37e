"""What was to stay when its lease ends, and whose process was killed before: held to the limits of the lease."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from inferlease import InvalidArgumentError, PermissionDeniedError, _recovery
from inferlease.ledger import Bounds, now
from tests.faults import MODEL
from tests.recovery.support import left, record, strays

if TYPE_CHECKING:
    from inferlease import Client
    from tests.faults import FaultyEmulator

pytestmark = pytest.mark.asyncio

BALANCE = 100.0
"""On the emulator's account."""
PASSED, TO_COME = now() - timedelta(seconds=1), now() + timedelta(days=1)


async def reaped(client: Client) -> list[str | None]:
    return [orphan.instance_id for orphan in await client.leases.reap()]


@pytest.mark.fault(80)
async def test_without_a_limit_it_is_handed_over(client: Client, stranger: Client, emulator: FaultyEmulator) -> None:
    ids = await strays(stranger, 1)
    journal = left(emulator, *ids, keep=Bounds())
    assert await reaped(client) == []
    assert emulator.books().still_billed == ids
    assert record(emulator, journal).ending == "handed over"


@pytest.mark.parametrize(
    "bounds",
    [Bounds(limit_at=TO_COME), Bounds(min_balance=BALANCE - 1), Bounds(limit_at=TO_COME, min_balance=BALANCE - 1)],
    ids=["in time", "enough balance", "both"],
)
async def test_within_its_limits_it_stays_and_is_remembered(
    client: Client, stranger: Client, emulator: FaultyEmulator, bounds: Bounds
) -> None:
    ids = await strays(stranger, 1)
    journal = left(emulator, *ids, keep=bounds)
    assert await client.leases.orphans() == []
    assert await reaped(client) == []
    assert emulator.books().still_billed == ids
    assert record(emulator, journal).ending is None


@pytest.mark.parametrize(
    "bounds",
    [
        Bounds(limit_at=PASSED),
        Bounds(limit_at=PASSED, min_balance=BALANCE - 1),
        Bounds(limit_at=TO_COME, min_balance=BALANCE + 1),
    ],
    ids=["time", "time, though the balance is enough", "balance, though there is time"],
)
async def test_at_a_limit_it_is_ours_to_stop(
    client: Client, stranger: Client, emulator: FaultyEmulator, bounds: Bounds
) -> None:
    ids = await strays(stranger, 1)
    journal = left(emulator, *ids, keep=bounds)
    (orphan,) = await client.leases.orphans()
    assert (orphan.verdict, orphan.reason) == ("ours", "it was to stay, and has reached a limit of its lease")
    assert await reaped(client) == ids
    assert emulator.books().still_billed == []
    assert not emulator.books().instances[ids[0]].deleted
    assert record(emulator, journal).ending == "stopped"


async def test_what_was_seen_stopped_is_held_to_no_limit_when_it_is_started_again(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    ids = await strays(stranger, 1)
    journal = left(emulator, *ids, keep=Bounds(limit_at=TO_COME))
    await stranger.instances.stop(ids[0])
    assert await reaped(client) == []
    assert record(emulator, journal).ending == "stopped"
    await stranger.instances.restart(ids[0])
    assert await reaped(client) == []
    assert emulator.books().still_billed == ids


async def test_a_restart_by_a_client_of_the_ledger_ends_the_limit_at_once(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    ids = await strays(stranger, 1)
    journal = left(emulator, *ids, keep=Bounds(limit_at=TO_COME))
    await stranger.instances.stop(ids[0])
    await client.instances.restart(ids[0])
    assert record(emulator, journal).ending == "stopped"


async def test_one_404_of_something_in_between_is_not_its_end(
    client: Client, stranger: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_recovery, "GRACE", 0.0)
    ids = await strays(stranger, 1)
    journal = left(emulator, *ids, keep=Bounds(limit_at=TO_COME))
    emulator.fault("get", 404, body=b"<html>no such page</html>")
    assert await reaped(client) == []
    assert record(emulator, journal).ending is None


async def test_one_that_is_named_while_it_may_stay_is_left(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    ids = await strays(stranger, 1)
    left(emulator, *ids, keep=Bounds(limit_at=TO_COME))
    with pytest.raises(InvalidArgumentError, match="it is to stay up to a limit of its lease; to stop it all the same"):
        await client.leases.reap(*ids)
    assert emulator.books().still_billed == ids


async def test_ensure_does_not_take_what_will_reach_a_limit(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    ids = await strays(stranger, 1)
    left(emulator, *ids, keep=Bounds(limit_at=TO_COME))
    assert (await client.instances.ensure(MODEL)).instance_id not in ids


@pytest.mark.parametrize("call", ["get", "balance"])
async def test_one_that_cannot_be_looked_at_stays_and_is_told(
    client: Client, stranger: Client, emulator: FaultyEmulator, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    caplog.set_level(logging.WARNING, "inferlease")
    ids = await strays(stranger, 1)
    journal = left(emulator, *ids, keep=Bounds(limit_at=TO_COME, min_balance=BALANCE - 1))
    emulator.fault(call, 403, times=None)
    with pytest.raises(PermissionDeniedError):
        await client.leases.reap()
    assert emulator.books().still_billed == ids
    assert (record(emulator, journal).ending, record(emulator, journal).owner) == (None, "dead")


async def test_one_that_cannot_be_looked_at_is_stopped_all_the_same_once_its_time_is_over(
    client: Client, stranger: Client, emulator: FaultyEmulator
) -> None:
    ids = await strays(stranger, 1)
    left(emulator, *ids, keep=Bounds(limit_at=PASSED))
    emulator.fault("get", 403)
    assert await reaped(client) == ids
    assert emulator.books().still_billed == []
