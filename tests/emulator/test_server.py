"""The emulator starts and stops promptly from either world, leaves nothing behind and keeps its hands off signals."""

from __future__ import annotations

import asyncio
import gc
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from inferlease.emulator import Emulator
from tests.emulator.support import HF_NAME, serving, until

if TYPE_CHECKING:
    from collections.abc import Iterator


def threads() -> list[threading.Thread]:
    """Those of emulators."""
    return [thread for thread in threading.enumerate() if thread.name == "inferlease-emulator"]


def is_up(emulator: Emulator) -> bool:
    try:
        with urllib.request.urlopen(emulator.base_url + "/hardware-types/", timeout=5.0) as answer:  # noqa: S310 - a fixed scheme
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture
def _no_resource_warning() -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


@pytest.mark.usefixtures("_no_resource_warning")
def test_it_serves_within_the_block_only() -> None:
    with Emulator() as emulator:
        assert is_up(emulator)
        assert len(threads()) == 1
    assert not is_up(emulator)
    assert threads() == []


@pytest.mark.asyncio
@pytest.mark.usefixtures("_no_resource_warning")
async def test_it_serves_within_the_async_block_only() -> None:
    tasks = asyncio.all_tasks()
    async with Emulator() as emulator:
        assert await asyncio.to_thread(is_up, emulator)
    assert threads() == []
    assert asyncio.all_tasks() == tasks


@pytest.mark.asyncio
async def test_the_async_block_lets_the_loop_run_on() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    async with serving() as api:
        assert ticks > 0
        hold = api.emulator.hold("balance", "before")
        held = asyncio.create_task(api.call("GET", "/user/balance"))
        await hold.arrived_async(5.0)
        before_stop = ticks
        await api.emulator.__aexit__(None, None, None)
        assert ticks > before_stop
        with pytest.raises(aiohttp.ClientConnectionError):
            await held
    ticking.cancel()


@pytest.mark.asyncio
@pytest.mark.usefixtures("_no_resource_warning")
async def test_open_streams_and_idle_clients_do_not_delay_the_stop() -> None:
    async with serving() as api:
        instance = await api.start()
        api.emulator.hold("inference", "mid_body")
        body = {"model": HF_NAME, "messages": [{"role": "user", "content": "hello"}], "stream": True}
        headers = {"Authorization": "Bearer emulator"}
        url = instance["base_url"] + "/chat/completions"
        async with api.session.post(url, json=body, headers=headers) as response:
            assert response.status == 200
            before = time.monotonic()
            await api.emulator.__aexit__(None, None, None)
            assert time.monotonic() - before < 1.0
    assert threads() == []


@pytest.mark.asyncio
@pytest.mark.usefixtures("_no_resource_warning")
async def test_a_client_that_does_not_read_does_not_delay_the_stop() -> None:
    async with serving() as api:
        instance = await api.start()
        root = api.emulator.base_url.removeprefix("http://").removesuffix("/api/v1")
        host, _, port = root.partition(":")
        body = b'{"model": "microsoft/phi-4", "dimensions": 4096, "input": [' + b",".join([b'"x"'] * 200) + b"]}"
        with socket.create_connection((host, int(port))) as client:
            path = instance["base_url"].partition(root)[2]
            client.sendall(
                f"POST {path}/embeddings HTTP/1.1\r\nHost: {root}\r\nAuthorization: Bearer emulator\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            await until(lambda: "inference" in api.emulator.books().requests)
            before = time.monotonic()
            await api.emulator.__aexit__(None, None, None)
            assert time.monotonic() - before < 5.0
    assert threads() == []


def test_stop_may_be_repeated_and_start_may_not() -> None:
    emulator = Emulator()
    emulator.stop()
    assert emulator.start() is emulator
    emulator.stop()
    emulator.stop()
    with pytest.raises(RuntimeError, match="serves once"):
        emulator.start()


def test_a_taken_port_is_an_error_at_the_start() -> None:
    with Emulator() as first:
        port = int(first.base_url.split(":")[2].partition("/")[0])
        with pytest.raises(OSError, match="in use"):
            Emulator(port=port).start()
        assert is_up(first)


def test_the_base_url_is_known_once_started() -> None:
    with pytest.raises(RuntimeError, match="not been started"):
        _ = Emulator().base_url
    with Emulator() as emulator:
        assert emulator.base_url.startswith("http://127.0.0.1:")
        assert emulator.base_url.endswith("/api/v1")


@pytest.mark.parametrize(
    "options",
    [{"steps": 0}, {"seconds_per_step": -1.0}, {"stop_delay": -1.0}, {"token_lifetime": -1.0}, {"capacity": {"A": 1}}],
)
def test_an_impossible_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|unknown hardware types: A"):
        Emulator(**options)


def test_the_environment_and_its_export_lines() -> None:
    with Emulator() as emulator:
        assert emulator.environment() == {
            "CORTECS_API_BASE_URL": emulator.base_url,
            "CORTECS_CLIENT_ID": "emulator",
            "CORTECS_CLIENT_SECRET": "emulator",
            "INFERLEASE_INFERENCE_KEY": "emulator",
            "INFERLEASE_STATE_DIR": str(emulator._state),
        }
        words = [shlex.split(line) for line in emulator.export_lines()]
        assert words == [["export", f"{name}={value}"] for name, value in emulator.environment().items()]


def test_signal_handlers_stay_the_users() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Emulator():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_program_that_forgets_its_emulator_ends() -> None:
    script = "from inferlease.emulator import Emulator; emulator = Emulator().start(); print(emulator.base_url)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=30, check=True, env={**os.environ}
    )
    assert done.stdout.startswith(b"http://127.0.0.1:")
    assert done.stderr == b""


def test_many_emulators_run_side_by_side() -> None:
    with Emulator() as one, Emulator() as two:
        assert one.base_url != two.base_url
        assert is_up(one)
        assert is_up(two)


@pytest.mark.asyncio
async def test_its_client_is_configured_for_it_and_takes_overrides() -> None:
    async with Emulator(seconds_per_step=0.0) as emulator, emulator.client(timeout=5.0) as client:
        assert len(await client.instances.list()) == 0
        with pytest.raises(TypeError):
            emulator.client(no_such_argument=1)
    assert emulator.books().requests == {"token": 1, "list": 1}
