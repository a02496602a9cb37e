"""A lease that is cancelled anywhere leaves nothing billed: every suspension, every request, every way."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, get_args

import pytest

from inferlease._release import Releaser
from inferlease.emulator import Emulator, Fault, FaultKind
from inferlease.emulator.holds import Phase
from tests.stepping import KINDS, Kind, Victim

if TYPE_CHECKING:
    from inferlease import Client

pytestmark = pytest.mark.async_only(reason="a synchronous caller is interrupted: see tests/sync")

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
PHASES: tuple[Phase, ...] = get_args(Phase)
# What the wire calls the requests of a lease's life; a poll of one instance is a get, and a start lists first.
REQUESTS = ("token", "list", "start", "get", "stop", "delete")
LOST = pytest.mark.parametrize("lost", [FaultKind.STATUS_502, FaultKind.STATUS_502_HANDLED])
HELD = list(itertools.product(REQUESTS, PHASES, KINDS))


async def use(client: Client) -> None:
    async with client.lease(MODEL, release_timeout=20):
        await asyncio.sleep(0)


async def at_rest(client: Client) -> None:
    """Wait until the client's own work has ended by itself; the test's timeout bounds it."""
    while client._core.jobs._open:  # noqa: ASYNC110 - the jobs are another loop's
        await asyncio.sleep(0.005)


async def cancel_during(emulator: Emulator, client: Client, request_name: str, phase: Phase, kind: Kind) -> None:
    """Cancel a lease while that request is held, and wait for its end."""
    with emulator.hold(request_name, phase) as hold:
        victim = Victim(use(client), kind)
        await hold.arrived_async()
        victim.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
    await victim.ended()
    await at_rest(client)


@pytest.mark.async_only(reason="a synchronous caller is interrupted, not cancelled")
@pytest.mark.asyncio
@pytest.mark.parametrize("kind", KINDS)
async def test_a_lease_cancelled_at_any_suspension_is_released(
    emulator: Emulator, client: Client, kind: Kind, record_property: pytest.RecordProperty
) -> None:
    whole = Victim(use(client), kind)
    assert await whole.ended() is None
    points = 0
    for at in itertools.count():
        victim = Victim(use(client), kind, at)
        await victim.ended()
        if not victim.was_cancelled:
            break
        points += 1
        await at_rest(client)
        assert emulator.books().still_billed == []
    record_property("suspension points", points)
    print(f"{kind}: {points} suspension points, {whole.suspensions} undisturbed")  # noqa: T201 - a figure to read
    assert points >= 5


@pytest.mark.async_only(reason="a synchronous caller is interrupted, not cancelled")
@pytest.mark.asyncio
@LOST
@pytest.mark.parametrize("kind", KINDS)
async def test_a_lease_whose_start_is_lost_and_that_is_cancelled_at_any_suspension_is_released(
    emulator: Emulator, client: Client, kind: Kind, lost: FaultKind
) -> None:
    for at in itertools.count():
        emulator.inject(Fault(lost, "start", times=1))
        victim = Victim(use(client), kind, at)
        await victim.ended()
        emulator.mend()
        if not victim.was_cancelled:
            break
        await at_rest(client)
        assert emulator.books().still_billed == []
    assert at >= 3


def test_the_combinations_are_all_there() -> None:
    assert len(HELD) == len(set(HELD)) == 6 * 3 * 3


@pytest.mark.async_only(reason="a synchronous caller is interrupted, not cancelled")
@pytest.mark.asyncio
@pytest.mark.parametrize(("request_name", "phase", "kind"), HELD)
async def test_a_lease_cancelled_during_a_request_is_released(
    emulator: Emulator, client: Client, request_name: str, phase: Phase, kind: Kind
) -> None:
    await cancel_during(emulator, client, request_name, phase, kind)
    assert emulator.books().starts <= 1
    assert emulator.books().still_billed == []


@pytest.mark.async_only(reason="a synchronous caller is interrupted, not cancelled")
@pytest.mark.asyncio
@LOST
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("request_name", [name for name in REQUESTS if name != "delete"])  # of what was adopted, none
async def test_a_lease_whose_start_is_lost_and_that_is_cancelled_during_a_request_is_released(
    emulator: Emulator, client: Client, request_name: str, phase: Phase, lost: FaultKind
) -> None:
    emulator.inject(Fault(lost, "start", times=1))
    await cancel_during(emulator, client, request_name, phase, "native")
    assert emulator.books().starts <= 1
    assert emulator.books().still_billed == []


@pytest.mark.async_only(reason="a synchronous caller is interrupted, not cancelled")
@pytest.mark.asyncio
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("request_name", ["start", "get"])
async def test_without_the_release_it_would_leak(
    emulator: Emulator, client: Client, request_name: str, phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_release(*_: object, **__: object) -> None: ...

    monkeypatch.setattr(Releaser, "release", no_release)
    with emulator.hold(request_name, phase) as hold:
        victim = Victim(use(client), "native")
        await hold.arrived_async()
        victim.cancel()
        await asyncio.sleep(0)
    await victim.ended()
    await at_rest(client)
    assert len(emulator.books().still_billed) == 1
