"""A request over a bare socket: what arrives byte by byte, and how the connection ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
from attrs import frozen
from yarl import URL

from tests.emulator.support import CREDENTIALS, HF_NAME, MODEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from inferlease.emulator import Operation
    from tests.emulator.support import Api


START: tuple[str, str, object] = ("POST", "/instances/start", {"model_id": MODEL})


def call(operation: Operation, instance: dict[str, Any]) -> tuple[str, str, object]:
    """Method, path and body of a request of `operation` that concerns `instance`."""
    instance_id = instance["instance_id"]
    calls: dict[Operation, tuple[str, str, object]] = {
        "token": ("POST", "/oauth2/token", CREDENTIALS),
        "balance": ("GET", "/user/balance", None),
        "list": ("GET", "/instances/", None),
        "get": ("GET", f"/instances/{instance_id}", None),
        "start": START,
        "restart": ("POST", "/instances/restart", {"instance_id": instance_id}),
        "stop": ("POST", "/instances/stop", {"instance_id": instance_id}),
        "stop_all": ("POST", "/instances/stop-all", None),
        "delete": ("DELETE", f"/instances/{instance_id}", None),
        "delete_all": ("DELETE", "/instances/delete-all", None),
        "models": ("GET", "/models/", None),
        "model": ("GET", f"/models/{MODEL}", None),
        "hardware_types": ("GET", "/hardware-types/", None),
        "available": ("GET", "/hardware-types/available", None),
        "inference": ("POST", f"{instance['base_url']}/completions", {"model": HF_NAME, "prompt": "hello"}),
    }
    return calls[operation]


@frozen
class Seen:
    """Everything that came until the connection ended."""

    status: int | None
    """None if it ended without an answer."""
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes
    """As sent, with the framing of chunks."""
    is_reset: bool

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@asynccontextmanager
async def sent(
    api: Api, method: str, path: str, body: object = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection over which the request has been sent; the server is to close it after its answer."""
    url = URL(path if path.startswith("http") else api.emulator.base_url + path)
    content = b"" if body is None else orjson.dumps(body)
    key = "emulator" if path.startswith("http") else api.token
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(
        f"{method} {url.raw_path_qs} HTTP/1.1\r\nHost: {url.authority}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode()
        + content
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def exchanged(api: Api, method: str, path: str, body: object = None) -> Seen:
    """What the request leads to."""
    async with sent(api, method, path, body) as (reader, _):
        received, is_reset = bytearray(), False
        try:
            while block := await reader.read(2**20):
                received += block
        except ConnectionResetError:
            is_reset = True
    head, _, rest = bytes(received).partition(b"\r\n\r\n")
    if not head:
        return Seen(None, {}, b"", is_reset)
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    return Seen(int(line.split()[1]), headers, rest, is_reset)
