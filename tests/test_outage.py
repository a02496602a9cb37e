"""A total outage: calls fail fast, the load stays near what it would be, and releases go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from inferlease import ServerError
from tests.faults import MODEL

if TYPE_CHECKING:
    from inferlease import Client
    from tests.faults import FaultyEmulator

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hurried"), pytest.mark.fault(20)]

CALLS = 200


async def storm(client: Client) -> None:
    """Calls that all fail."""
    for _ in range(CALLS):
        with pytest.raises(ServerError):
            await client.instances.list()


async def test_the_load_is_at_most_a_tenth_above_the_calls(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("list", 503, handled=False, times=None)
    await storm(client)
    assert emulator.books().requests["list"] <= 1.1 * CALLS


async def test_in_the_end_every_call_fails_with_its_first_request(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("list", 503, handled=False, times=None)
    await storm(client)
    before = emulator.books().requests["list"]
    await storm(client)
    assert emulator.books().requests["list"] - before == CALLS


@pytest.mark.parametrize("refused", [1, 20], ids=["once", "more often than a call is attempted"])
async def test_a_lease_that_is_held_meanwhile_is_released(
    client: Client, emulator: FaultyEmulator, refused: int
) -> None:
    async with client.lease(MODEL) as instance:
        emulator.fault("list", 503, handled=False, times=None)
        emulator.fault("get", 503, handled=False, times=refused)
        emulator.fault("stop", 503, handled=False, times=refused)
        await storm(client)
    assert emulator.books().still_billed == []
    assert instance.is_stopped
    assert len(emulator.asked("stop")) == refused + 1


async def test_a_release_does_not_wait_for_the_budget(
    client: Client, emulator: FaultyEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A stop that was given up would be asked for again after this time.
    monkeypatch.setattr("inferlease._release._ASK_AGAIN", 60.0)
    async with client.lease(MODEL, release_timeout=5):
        emulator.fault("list", 503, handled=False, times=None)
        await storm(client)
        emulator.fault("get", 503, handled=False, times=3)
        emulator.fault("stop", 503, handled=False, times=3)
    assert emulator.books().still_billed == []


async def test_after_it_calls_are_retried_again(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("list", 503, handled=False, times=None)
    await storm(client)
    emulator.mend("list")
    await client.instances.list()
    emulator.fault("list", 503, handled=False)
    assert await client.instances.list() == []
