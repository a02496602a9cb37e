"""The guards of `conftest.py` hold."""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from blockbuster import BlockingError

import inferlease
from tests.conftest import NetworkRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OUTSIDE = ["192.0.2.1", "2001:db8::1", "10.0.0.1", "0.0.0.0", "example.com"]  # noqa: S104 - nothing binds to it
SECRETS = ["CORTECS_CLIENT_SECRET", "OPENAI_API_KEY", "INFERLEASE_INFERENCE_KEY", "HTTPS_PROXY", "no_proxy"]


@pytest.fixture(scope="module", autouse=True)
def _dirty_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in SECRETS:
            patch.setenv(name, "from outside")
        yield


@pytest.mark.parametrize("name", SECRETS)
def test_environment_is_scrubbed(name: str) -> None:
    assert name not in os.environ


def test_environment_of_a_child_process_is_scrubbed() -> None:
    program = "import os; print('from outside' in os.environ.values())"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False\n"


@pytest.mark.parametrize("host", OUTSIDE)
@pytest.mark.parametrize("method", ["connect", "connect_ex"])
def test_a_socket_stays_on_loopback(host: str, method: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock, pytest.raises(NetworkRefusedError, match="loopback only"):
        getattr(sock, method)((host, 80))


def test_names_are_not_looked_up() -> None:
    with pytest.raises(NetworkRefusedError, match=r"not example\.com"):
        socket.getaddrinfo("example.com", 443)


def test_a_reserved_name_fails_as_it_would_outside() -> None:
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("api.invalid", 443)


@pytest.mark.asyncio
@pytest.mark.parametrize("host", ["192.0.2.1", "example.com"])
async def test_aiohttp_stays_on_loopback(host: str) -> None:
    async with aiohttp.ClientSession(trust_env=True) as session:
        with pytest.raises(NetworkRefusedError):
            await session.get(f"http://{host}/")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_allowed(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection((host, server.getsockname()[1]), timeout=5).close()


def test_unix_sockets_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as sock:
        server.bind("s")
        server.listen()
        sock.connect("s")


def in_the_package(statement: str) -> Callable[[], Any]:
    """A function that runs `statement` as if a module of the package did."""
    file = Path(inferlease.__file__).with_name("made_up.py")
    scope: dict[str, Any] = {}
    exec(compile(f"import os, time\ndef function():\n    {statement}", file, "exec"), scope)  # noqa: S102 - own text
    function: Callable[[], Any] = scope["function"]
    return function


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "statement", ["time.sleep(0)", "os.stat('.')", "with open(os.devnull, 'rb') as file: file.read()"]
)
async def test_the_package_may_not_block_the_loop(statement: str) -> None:
    with pytest.raises(BlockingError):
        in_the_package(statement)()


def test_the_package_may_not_block_a_loop_on_another_thread() -> None:
    caught: list[BaseException] = []

    async def main() -> None:
        try:
            in_the_package("time.sleep(0)")()
        except BlockingError as error:
            caught.append(error)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join()
    assert len(caught) == 1


@pytest.mark.asyncio
@pytest.mark.may_block(reason="the marker is what is tested")
async def test_a_marker_allows_it() -> None:
    in_the_package("time.sleep(0)")()


def test_without_a_loop_it_is_allowed() -> None:
    in_the_package("time.sleep(0)")()


@pytest.mark.asyncio
async def test_a_test_may_block_and_modules_may_be_imported_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time.sleep(0)  # noqa: ASYNC251 - what is tested
    (tmp_path / "late_module.py").write_text("ANSWER = 42")
    monkeypatch.syspath_prepend(tmp_path)
    load = in_the_package("import late_module; return late_module.ANSWER")
    importlib.invalidate_caches()
    assert load() == 42
