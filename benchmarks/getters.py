"""Get one instance with several clients in turn: `python getters.py INSTANCE_ID NAME…`, CORTECS_* in the environment.

Prints JSON: the CPU microseconds of one get by each client, a number per round.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, TypeAlias
from urllib.request import Request, urlopen

Get: TypeAlias = Callable[[], Awaitable[object]]
ROUNDS, WARM_UP = 30, 100


def authorization() -> dict[str, str]:
    """The header of an access token."""
    credentials = {
        "grant_type": "client_credentials",
        "client_id": os.environ["CORTECS_CLIENT_ID"],
        "client_secret": os.environ["CORTECS_CLIENT_SECRET"],
    }
    request = Request(  # noqa: S310 (the emulator's address)
        f"{os.environ['CORTECS_API_BASE_URL']}/oauth2/token",
        json.dumps(credentials).encode(),
        {"Content-Type": "application/json"},
    )
    with urlopen(request, timeout=10) as response:  # noqa: S310 (as above)
        return {"Authorization": f"Bearer {json.load(response)['access_token']}"}


def instance_url(instance_id: str) -> str:
    return f"{os.environ['CORTECS_API_BASE_URL']}/instances/{instance_id}"


@asynccontextmanager
async def inferlease(instance_id: str) -> AsyncIterator[Get]:
    from inferlease import Client

    async with Client() as client:
        yield partial(client.instances.get, instance_id)


@asynccontextmanager
async def aiohttp(instance_id: str) -> AsyncIterator[Get]:
    import orjson
    from aiohttp import ClientSession

    url, headers = instance_url(instance_id), authorization()
    async with ClientSession() as session:

        async def get() -> Any:
            async with session.get(url, headers=headers) as response:
                return orjson.loads(await response.read())

        yield get


@asynccontextmanager
async def httpx(instance_id: str) -> AsyncIterator[Get]:
    from httpx import AsyncClient

    url, headers = instance_url(instance_id), authorization()
    async with AsyncClient() as client:

        async def get() -> Any:
            return (await client.get(url, headers=headers)).json()

        yield get


@asynccontextmanager
async def cortecs_py(instance_id: str) -> AsyncIterator[Get]:
    from cortecs_py import Cortecs

    client = Cortecs()

    async def get() -> object:
        return client.get_instance(instance_id)  # blocks, and there is nothing else to do

    yield get


# And how many gets make up one round: each takes some 20 ms.
CLIENTS: dict[str, tuple[Callable[[str], AbstractAsyncContextManager[Get]], int]] = {
    "inferlease": (inferlease, 100),
    "aiohttp": (aiohttp, 100),
    "httpx": (httpx, 30),
    "cortecs_py": (cortecs_py, 25),
}


def check(found: Any, instance_id: str) -> None:
    """That a get brought the instance, as JSON or as an object."""
    if isinstance(found, dict):
        found = found["instance"]
        assert (found["instance_id"], found["instance_status"]["status"]) == (instance_id, "running")
    else:
        assert (found.instance_id, found.instance_status.status) == (instance_id, "running")


async def microseconds(get: Get, count: int) -> float:
    """CPU of one get, over `count` of them."""
    start = time.process_time()
    for _ in range(count):
        await get()
    return (time.process_time() - start) / count * 1e6


async def measure(instance_id: str, names: list[str]) -> dict[str, list[float]]:
    async with AsyncExitStack() as stack:
        gets: dict[str, tuple[Get, int]] = {}
        for name in names:
            client, count = CLIENTS[name]
            gets[name] = await stack.enter_async_context(client(instance_id)), count
        for get, _ in gets.values():
            for _ in range(WARM_UP):
                check(await get(), instance_id)
        gc.collect()
        gc.freeze()  # what one client has imported slows down no other one's garbage collection
        samples: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(ROUNDS):
            # There and back, so that a machine that gets slower or faster favours nobody.
            for name in names if turn % 2 else reversed(names):
                samples[name].append(await microseconds(*gets[name]))
        return samples


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1], sys.argv[2:]))))
