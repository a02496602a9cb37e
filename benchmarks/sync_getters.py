"""Get one instance with several blocking clients in turn: `python sync_getters.py INSTANCE_ID NAME…`.

CORTECS_* stand in the environment. Prints JSON: the microseconds of wall time of one get by each client, and of one
hop to another thread's event loop and back, a number per round.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any, TypeAlias

from getters import authorization, check, instance_url

Get: TypeAlias = Callable[[], object]
ROUNDS, WARM_UP = 30, 100


@contextmanager
def inferlease(instance_id: str) -> Iterator[Get]:
    from inferlease.sync import Client

    with Client() as client:
        yield partial(client.instances.get, instance_id)


@contextmanager
def requests(instance_id: str) -> Iterator[Get]:
    from requests import Session

    url, headers = instance_url(instance_id), authorization()
    with Session() as session:
        yield lambda: session.get(url, headers=headers).json()


@contextmanager
def httpx(instance_id: str) -> Iterator[Get]:
    from httpx import Client

    url, headers = instance_url(instance_id), authorization()
    with Client() as client:
        yield lambda: client.get(url, headers=headers).json()


@contextmanager
def cortecs_py(instance_id: str) -> Iterator[Get]:
    from cortecs_py import Cortecs

    client = Cortecs()
    yield lambda: client.get_instance(instance_id)


async def nothing() -> None:
    """Work that takes no time: what is left is the hop."""


@contextmanager
def hop(_: str) -> Iterator[Get]:
    from inferlease.sync import _bridge

    yield partial(_bridge.run, nothing)


@contextmanager
def run_coroutine_threadsafe(_: str) -> Iterator[Get]:
    from inferlease import _keeper

    yield lambda: asyncio.run_coroutine_threadsafe(nothing(), _keeper.loop()).result()


# And how many calls make up one round: each takes some 20 ms.
CLIENTS: dict[str, tuple[Callable[[str], AbstractContextManager[Get]], int]] = {
    "inferlease": (inferlease, 60),
    "requests": (requests, 25),
    "httpx": (httpx, 40),
    "cortecs_py": (cortecs_py, 20),
    "hop": (hop, 200),
    "run_coroutine_threadsafe": (run_coroutine_threadsafe, 200),
}


def microseconds(get: Get, count: int) -> float:
    """Wall time of one call, over `count` of them."""
    start = time.perf_counter()
    for _ in range(count):
        get()
    return (time.perf_counter() - start) / count * 1e6


def measure(instance_id: str, names: list[str]) -> dict[str, list[float]]:
    with ExitStack() as stack:
        gets: dict[str, tuple[Get, int]] = {}
        for name in names:
            client, count = CLIENTS[name]
            gets[name] = stack.enter_context(client(instance_id)), count
        for get, _ in gets.values():
            for _ in range(WARM_UP):
                found: Any = get()
                if found is not None:
                    check(found, instance_id)
        gc.collect()
        gc.freeze()  # what one client has imported slows down no other one's garbage collection
        samples: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(ROUNDS):
            # There and back, so that a machine that gets slower or faster favours nobody.
            for name in names if turn % 2 else reversed(names):
                samples[name].append(microseconds(*gets[name]))
        return samples


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2:])))
