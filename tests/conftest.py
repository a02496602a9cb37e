"""What every test gets: a clean environment, no network but loopback, no blocking call in an event loop."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import uuid
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import pytest_asyncio
from blockbuster import blockbuster_ctx

from tests.aiohttp_mock import mocked_aiohttp
from tests.fault_rows import pytest_collection_finish, pytest_deselected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from aioresponses import aioresponses

    from inferlease import Client
    from tests.faults import FaultyEmulator
    from tests.raw_server import RawServer
    from tests.worlds import Api, World

__all__ = ["pytest_collection_finish", "pytest_deselected"]

SCRUBBED_PREFIXES = ("CORTECS_", "OPENAI_", "INFERLEASE_", "LANGCHAIN_", "LANGSMITH_")
SCRUBBED_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NETRC")

hypothesis.settings.register_profile("local", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
# The long form of the tests that search for faults: `nox -s fuzz`.
hypothesis.settings.register_profile("fuzz", deadline=None, print_blob=True, max_examples=1000)
# The two forms of what compares with a document: `nox -s schemas`.
hypothesis.settings.register_profile("documented", deadline=None, print_blob=True, max_examples=200)
hypothesis.settings.register_profile(
    "documented-short", deadline=None, print_blob=True, derandomize=True, max_examples=6
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


class NetworkRefusedError(RuntimeError):
    """A test tried to leave this machine. It is no OSError, which a client would retry."""


def is_loopback(host: str | bytes | None) -> bool:
    """Whether `host` names this machine without asking a name server."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in {None, "", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(str(name).partition("%")[0]).is_loopback
    except ValueError:
        return False


def pytest_configure() -> None:
    # A shell starts a job in the background with these ignored, and whatever the tests start would inherit that.
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--storm", choices=["short", "full"], default="short", help="the size of the tests marked `storm`")


@pytest.fixture
def is_full(request: pytest.FixtureRequest) -> bool:
    """Whether a test marked `storm` runs at its full size."""
    return bool(request.config.getoption("--storm") == "full")


@pytest.fixture(autouse=True, scope="session")
def _loopback_only() -> Iterator[None]:
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def check(sock: socket.socket, address: Any) -> None:
        if sock.family in {socket.AF_INET, socket.AF_INET6} and not is_loopback(address[0]):
            raise NetworkRefusedError(f"a test may connect to loopback only, not to {address[0]}")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        check(self, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        check(self, address)
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name and name.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        try:
            ipaddress.ip_address(str(name).partition("%")[0])
        except ValueError:
            if not is_loopback(name):
                raise NetworkRefusedError(f"a test may look up localhost only, not {name}") from None
        return getaddrinfo(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
        yield


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in list(os.environ):
        if name.upper().startswith(SCRUBBED_PREFIXES) or name.upper() in SCRUBBED_NAMES:
            monkeypatch.delenv(name)
    # One more process for each that a test starts: those that need it turn it on.
    monkeypatch.setenv("INFERLEASE_GUARD", "0")
    monkeypatch.setenv("INFERLEASE_STATE_DIR", str(tmp_path_factory.getbasetemp() / f"state-{uuid.uuid4().hex}"))


@pytest.fixture(autouse=True)
def _no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[None]:
    """Refuse a call that blocks and comes from the package, in whichever thread an event loop runs.

    The tests' own frames do not count: an async test may read a file. So do imports.
    """
    if request.node.get_closest_marker("may_block"):
        yield
        return
    with blockbuster_ctx("inferlease"):
        yield


@pytest.fixture
def emulator(request: pytest.FixtureRequest) -> Iterator[FaultyEmulator]:
    """A server of the API on loopback, with faults on demand; an instance is usable after some 50 ms.

    `tests.faults.emulated` gives it other options.
    """
    from tests.faults import FaultyEmulator

    options: dict[str, Any] = {"seconds_per_step": 0.01} | getattr(request, "param", {})
    with FaultyEmulator(**options) as server:
        yield server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "world" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("async_only")
        metafunc.parametrize("world", ["async"] if only else ["async", "sync"], indirect=True)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> World:
    """Which of the two APIs: what is tested through `either` or `client` is tested through both."""
    world: World = request.param
    return world


@pytest.fixture
def either(world: World) -> Api:
    """One of the two APIs, to be used as the asynchronous one."""
    from tests.worlds import Api

    return Api(world)


@pytest_asyncio.fixture
async def client(request: pytest.FixtureRequest, emulator: FaultyEmulator, either: Api) -> AsyncIterator[Client]:
    """A client of `emulator` that polls fast; whatever it still has to do ends before the emulator does.

    `tests.worlds.connected` gives it other options.
    """
    from tests.emulator.support import until

    options: dict[str, Any] = {"poll_interval": 0.02, "settle_time": 0.2} | getattr(request, "param", {})
    async with either.connect(emulator, **options) as entered:
        yield entered
    await until(lambda: not entered._core.jobs._open)


@pytest_asyncio.fixture
async def stranger(emulator: FaultyEmulator, tmp_path: Path) -> AsyncIterator[Client]:
    """Somebody else on the same account, whose starts our ledger knows nothing of."""
    async with emulator.client(poll_interval=0.02, ledger=tmp_path / "a ledger of their own") as entered:
        yield entered


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients made after this don't pause between attempts, nor before they look or list again."""
    from inferlease._retry import Backoff

    monkeypatch.setattr("inferlease._exchange.Backoff", lambda: Backoff(first=0.0, most=0.0))
    monkeypatch.setattr("inferlease._reconcile.RECONCILE_AFTER", 0.0)
    monkeypatch.setattr("inferlease._lookup.LIST_INTERVAL", 0.0)


@pytest.fixture
def http() -> Iterator[aioresponses]:
    """Answers to aiohttp's client without a server: for statuses and bodies, not for connections."""
    with mocked_aiohttp() as mock:
        yield mock


@pytest_asyncio.fixture
async def server() -> AsyncIterator[RawServer]:
    """A server on loopback that answers byte by byte as the test tells it to."""
    from tests.raw_server import RawServer

    async with RawServer() as serving:
        yield serving


@pytest_asyncio.fixture
async def api(server: RawServer, either: Api) -> AsyncIterator[Client]:
    """A client of `server` that does not wait between attempts."""
    from tests.raw_server import raw_client

    async with raw_client(server.url, either) as entered:
        yield entered
