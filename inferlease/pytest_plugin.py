"""Fixtures for the tests of whoever uses this package: the emulator, clients of it, and a check that nothing leaks.

pytest loads this module in every run of an environment where the package is installed: nothing is imported from
the package, nor from what it depends on, before a fixture is used.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from aiohttp import ClientSession

    import inferlease.sync
    from inferlease import Client
    from inferlease.emulator import Emulator
    from inferlease.emulator.books import InstanceBooks

__all__ = [
    "inferlease_client",
    "inferlease_client_options",
    "inferlease_emulator",
    "inferlease_emulator_options",
    "inferlease_sync_client",
    "no_leaks",
]

_MARKER = "inferlease_emulator"
_INI = "inferlease_no_leaks"
# A release whose caller no longer waits for it may still be under way at the end of a test.
_GRACE = 2.0

_Items: TypeAlias = "pytest.Item | pytest.Collector"
_fresh = pytest.StashKey["Emulator"]()  # the emulator of this test alone
_is_judged = pytest.StashKey[bool]()
_left_to_client = pytest.StashKey[set[str]]()  # ids of what only the end of a fixture's client has stopped


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the ini option."""
    parser.addini(_INI, "whether each test that uses `inferlease_emulator` gets `no_leaks`", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers", f"{_MARKER}(**options): arguments of inferlease.emulator.Emulator for the fixture of that name"
    )


@pytest.fixture
def inferlease_emulator_options() -> dict[str, Any]:
    """Arguments of `inferlease.emulator.Emulator` for `inferlease_emulator`: override it. A marker's come on top."""
    return {}


@pytest.fixture
def inferlease_client_options() -> dict[str, Any]:
    """Arguments of `Client` for `inferlease_client` and `inferlease_sync_client`: override it."""
    return {}


@pytest.fixture
def inferlease_emulator(
    request: pytest.FixtureRequest, inferlease_emulator_options: dict[str, Any]
) -> Iterator[Emulator]:
    """A server of the API on loopback, for this test alone; an instance is usable after some 50 ms."""
    from inferlease.emulator import Emulator

    options: dict[str, Any] = {"seconds_per_step": 0.01} | inferlease_emulator_options
    for marker in reversed(list(request.node.iter_markers(_MARKER))):
        if marker.args:
            raise pytest.UsageError(f"the marker {_MARKER} takes keywords only, such as {_MARKER}(stop_delay=0.5)")
        options |= marker.kwargs
    node = request.node
    if request.config.getini(_INI):
        node.stash[_is_judged] = True
    with Emulator(**options) as emulator:
        node.stash[_fresh] = emulator
        yield emulator
        # Here and not in `no_leaks`: what the user's own fixtures stop at their end is stopped by now.
        if node.stash.get(_is_judged, False):
            _judge(emulator, node, known=set())


@pytest.fixture
def inferlease_client(
    request: pytest.FixtureRequest, inferlease_emulator: Emulator, inferlease_client_options: dict[str, Any]
) -> Iterator[Client]:
    """An asynchronous client of `inferlease_emulator` that polls fast; it need be neither entered nor closed."""
    client = inferlease_emulator.client(**_client_options(inferlease_client_options))
    with _closed_in_its_loops(client):
        yield client
        if not client._transport.closed:
            from inferlease.sync import _bridge

            # The loop of the test may be gone: what is still held is released from the library's own.
            _close(inferlease_emulator, request.node, lambda: _bridge.run(client.close))


@pytest.fixture
def inferlease_sync_client(
    request: pytest.FixtureRequest, inferlease_emulator: Emulator, inferlease_client_options: dict[str, Any]
) -> Iterator[inferlease.sync.Client]:
    """A synchronous client of `inferlease_emulator` that polls fast; it need be neither entered nor closed."""
    client = inferlease_emulator.sync_client(**_client_options(inferlease_client_options))
    yield client
    _close(inferlease_emulator, request.node, client.close)


@pytest.fixture
def no_leaks(request: pytest.FixtureRequest, inferlease_emulator: Emulator) -> Iterator[None]:
    """Fail the test if `inferlease_emulator` still bills an instance at its end, its fixtures' ends included.

    An emulator of a wider scope, from a fixture of the user's, is judged by what was started since this was set up.
    """
    node = request.node
    node.stash[_is_judged] = True
    if node.stash.get(_fresh, None) is inferlease_emulator:
        yield
        return
    known = set(inferlease_emulator.books().still_billed)
    yield
    _judge(inferlease_emulator, node, known)


def _client_options(options: dict[str, Any]) -> dict[str, Any]:
    return {"poll_interval": 0.02, "settle_time": 0.2} | options


@contextmanager
def _closed_in_its_loops(client: Client) -> Iterator[None]:
    """Have the connections closed in each loop that they were opened in: here, or before that with the loop.

    Which plugin runs the loop of a test, and when that loop ends, does not matter: every loop ends its generators.
    """
    from inferlease import _keeper

    transport = client._transport
    open_session = transport._open
    closings: dict[AbstractEventLoop, AsyncGenerator[None, None]] = {}

    async def until_the_end() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await transport.close()

    def open_to_be_closed(loop: AbstractEventLoop, *, mutating: bool) -> ClientSession:
        if loop not in closings and not _keeper.owns(loop):
            closing = closings[loop] = until_the_end()
            with suppress(StopIteration):  # it has come to its `yield`
                closing.asend(None).send(None)
        return open_session(loop, mutating=mutating)

    vars(transport)["_open"] = open_to_be_closed
    try:
        yield
    finally:
        del vars(transport)["_open"]
        for loop, closing in closings.items():
            if not (loop.is_closed() or loop.is_running()):
                loop.run_until_complete(closing.aclose())


def _close(emulator: Emulator, node: _Items, close: Callable[[], object]) -> None:
    """Close a client, and note what nothing else would have stopped."""
    billed = _billed(emulator, node)
    emulator.mend()  # a fault that is meant for the test must not keep its end waiting
    close()
    node.stash.setdefault(_left_to_client, set()).update(billed.difference(emulator.books().still_billed))


def _billed(emulator: Emulator, node: _Items) -> set[str]:
    """Ids of what is billed, once that which is being released is."""
    from inferlease import _keeper

    end = time.monotonic() + (_GRACE if node.stash.get(_is_judged, False) else 0.0)
    while emulator.books().still_billed and _keeper.is_at_work() and time.monotonic() < end:
        time.sleep(0.01)
    return set(emulator.books().still_billed)


def _judge(emulator: Emulator, node: _Items, known: set[str]) -> None:
    left = node.stash.get(_left_to_client, set())
    leaked = (_billed(emulator, node) | left) - known
    lines = [
        _described(entry, node.nodeid, is_left_to_client=entry.instance_id in left)
        for entry in emulator.books().instances.values()
        if entry.instance_id in leaked
    ]
    if lines:
        what = "1 instance was" if len(lines) == 1 else f"{len(lines)} instances were"
        pytest.fail(
            f"{what} still billed at the end of the test:\n"
            + "".join(f"  {line}\n" for line in lines)
            + "`with client.lease(...)`, or `async with`, stops its instance whatever happens. What is started by\n"
            "`client.instances` needs `stop()` and `wait_until_stopped()` in a `finally`, or at the end of a fixture.",
            pytrace=False,
        )


def _described(entry: InstanceBooks, test: str, *, is_left_to_client: bool) -> str:
    from inferlease._names import shown_hf_name

    now, run = time.monotonic(), entry.runs[-1]
    asked = [instant for instant in entry.stop_requests if instant >= run.pending_at]
    told = (
        f"{entry.instance_id}: {shown_hf_name(entry.model_id)} on {entry.hardware_type_id},"
        f" {'started' if len(entry.runs) == 1 else 'restarted'} {now - run.pending_at:.1f} s ago by {test}"
    )
    if is_left_to_client:
        return f"{told}; its lease ended only when the fixture closed the client"
    if asked:
        return f"{told}; asked to stop {now - asked[-1]:.1f} s ago, not stopped yet"
    return told
