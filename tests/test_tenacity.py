"""Whatever is tried again is tried by tenacity: with its loop broken, only the first attempt is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from inferlease import OutcomeUnknownError
from inferlease._protocol import NotSent
from inferlease._requests import Operation
from tests.faults import MODEL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from inferlease import Client
    from inferlease._requests import Request
    from tests.faults import FaultyEmulator

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("hurried")]


class NoLoopError(Exception):
    """tenacity's loop was entered."""


@pytest.fixture
def break_tenacity(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    class Broken:
        def __init__(self, **_: Any) -> None:
            raise NoLoopError

    return lambda: monkeypatch.setattr("inferlease._retry.AsyncRetrying", Broken)


async def stopped(client: Client) -> str:
    instance = await client.instances.start(MODEL)
    await instance.stop()
    return instance.instance_id


async def read(client: Client, emulator: FaultyEmulator) -> Awaitable[object]:
    emulator.fault("balance", 503)
    return client.account.balance()


async def token(client: Client, emulator: FaultyEmulator) -> Awaitable[object]:
    emulator.fault("token", 503)
    return client.account.balance()


async def start_not_sent(client: Client, emulator: FaultyEmulator) -> Awaitable[object]:
    transport = client._core.exchange.transport
    send, refusals = transport.send, [NotSent(ConnectionRefusedError())]

    async def refused_once(request: Request, headers: dict[str, str], deadline: float) -> Any:
        if request.operation is Operation.START and refusals:
            return refusals.pop()
        return await send(request, headers, deadline)

    transport.send = refused_once  # type: ignore[method-assign]
    return client.instances.start(MODEL)


async def stop(client: Client, emulator: FaultyEmulator) -> Awaitable[object]:
    instance = await client.instances.start(MODEL)
    emulator.fault("stop", 503, handled=False)
    return instance.stop()


async def delete(client: Client, emulator: FaultyEmulator) -> Awaitable[object]:
    instance_id = await stopped(client)
    emulator.fault("delete", 503, handled=False)
    return client.instances.delete(instance_id)


async def restart(client: Client, emulator: FaultyEmulator) -> Awaitable[object]:
    instance_id = await stopped(client)
    emulator.fault("restart", 503, handled=False)
    return client.instances.restart(instance_id)


async def bulk(client: Client, emulator: FaultyEmulator) -> Awaitable[object]:
    emulator.fault("stop_all", 429, handled=False)
    return client.instances.stop_all()


OPERATIONS = {each.__name__: each for each in (read, token, start_not_sent, stop, delete, restart, bulk)}
EACH = pytest.mark.parametrize("operation", OPERATIONS)


@EACH
async def test_with_tenacity_it_is_tried_again(client: Client, emulator: FaultyEmulator, operation: str) -> None:
    await (await OPERATIONS[operation](client, emulator))


@EACH
async def test_without_tenacity_it_is_not(
    client: Client, emulator: FaultyEmulator, break_tenacity: Callable[[], None], operation: str
) -> None:
    call = await OPERATIONS[operation](client, emulator)
    break_tenacity()
    with pytest.raises(NoLoopError):
        await call


@pytest.fixture
def long_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a release does about an error that nobody foresaw is no repeat of a request."""
    monkeypatch.setattr("inferlease._release._PAUSE", 60.0)


@pytest.mark.usefixtures("long_pause")
async def test_a_release_repeats_its_stop(client: Client, emulator: FaultyEmulator) -> None:
    emulator.fault("stop", 503, handled=False, times=2)
    async with client.lease(MODEL, release_timeout=5):
        pass
    assert emulator.books().still_billed == []


@pytest.mark.usefixtures("long_pause")
async def test_without_tenacity_a_release_does_not(
    client: Client, emulator: FaultyEmulator, break_tenacity: Callable[[], None]
) -> None:
    emulator.fault("stop", 503, handled=False, times=2)
    lease = client.lease(MODEL, release_timeout=0.3)
    await lease.acquire()
    break_tenacity()
    with pytest.raises(OutcomeUnknownError) as caught:
        await lease.release()
    assert isinstance(caught.value.__cause__, NoLoopError)
    assert len(emulator.asked("stop")) == 1
