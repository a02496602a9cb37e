"""A bare HTTP client of the API, so that the emulator is tested without the SDK that is tested against it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
from attrs import define, frozen

from inferlease.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

CREDENTIALS = {"grant_type": "client_credentials", "client_id": "emulator", "client_secret": "emulator"}
MODEL = "microsoft--phi-4"
HF_NAME = "microsoft/phi-4"


@frozen
class Answer:
    """A whole answer, its body read as JSON."""

    status: int
    body: Any


@define
class Api:
    """Calls paths below the base URL, or whole URLs; `token` is sent where there is one."""

    emulator: Emulator
    session: aiohttp.ClientSession
    token: str | None = None

    async def call(self, method: str, path: str, body: object = None, *, key: str | None = None) -> Answer:
        url = path if path.startswith("http") else self.emulator.base_url + path
        bearer = key or self.token
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        content: dict[str, Any] = {} if body is None else {"json": body}
        async with self.session.request(method, url, headers=headers, **content) as response:
            assert response.content_type == "application/json"
            return Answer(response.status, await response.json())

    async def log_in(self) -> None:
        self.token = (await self.call("POST", "/oauth2/token", CREDENTIALS)).body["access_token"]

    async def start(self, model_id: str = MODEL, **arguments: object) -> dict[str, Any]:
        return await self._instance("POST", "/instances/start", {"model_id": model_id} | arguments)

    async def get(self, instance_id: str) -> dict[str, Any]:
        return await self._instance("GET", f"/instances/{instance_id}")

    async def stop(self, instance_id: str) -> dict[str, Any]:
        return await self._instance("POST", "/instances/stop", {"instance_id": instance_id})

    async def infer(self, instance: dict[str, Any], path: str, body: object = None, key: str = "emulator") -> Answer:
        method = "GET" if body is None else "POST"
        return await self.call(method, instance["base_url"] + path, body, key=key)

    async def _instance(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        answer = await self.call(method, path, body)
        assert answer.status == 200, answer
        instance: dict[str, Any] = answer.body["instance"]
        return instance


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Api]:
    """A logged-in caller of an emulator with these options; instances are usable at once unless they say so."""
    options.setdefault("seconds_per_step", 0.0)
    async with Emulator(**options) as emulator, aiohttp.ClientSession() as session:
        api = Api(emulator, session)
        await api.log_in()
        yield api


async def until(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - what it looks at happens on another thread
            await asyncio.sleep(0.005)


@define
class SetClock:
    """Stands for the module `time`: time passes only where a test says so."""

    instant: float = 1000.0

    def monotonic(self) -> float:
        return self.instant

    def advance(self, seconds: float) -> None:
        self.instant += seconds
