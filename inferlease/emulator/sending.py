"""How an answer leaves: whole, held halfway, in part, drop by drop, or not at all."""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from aiohttp import web

from inferlease.emulator.replies import Reply

_GONE_INTERVAL = 0.02
"""Seconds between two looks whether a client is still there: aiohttp tells no handler."""

_HARD_CLOSE = struct.pack("ii", 1, 0)
"""`SO_LINGER` that makes the end of a connection an RST instead of a FIN."""


async def send(
    request: web.Request, reply: Reply, at_half: Callable[[], Awaitable[None]] | None = None
) -> web.StreamResponse:
    """Send `reply` as its `delivery` says; `at_half` is awaited once half of its body is sent."""
    transport = request.transport
    if reply.delivery == "never":
        while request.transport is not None:  # noqa: ASYNC110 - see _GONE_INTERVAL
            await asyncio.sleep(_GONE_INTERVAL)
    elif reply.delivery == "reset" and transport is not None:
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _HARD_CLOSE)
        transport.abort()
    elif reply.delivery == "eof" and transport is not None:
        transport.close()
    elif isinstance(reply.body, bytes) and reply.delivery == "whole" and at_half is None:
        return web.Response(status=reply.status, body=reply.body, headers=_headers(reply))
    else:
        try:
            return await _send_in_pieces(request, reply, at_half)
        except ConnectionError:
            pass  # the client has gone
    # aiohttp wants an answer, and drops it: the connection is closed.
    return web.Response()


async def _send_in_pieces(
    request: web.Request, reply: Reply, at_half: Callable[[], Awaitable[None]] | None
) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers=_headers(reply))
    if isinstance(reply.body, bytes) and reply.delivery != "half_chunked":
        response.content_length = len(reply.body)
    pieces, half = _pieces(reply)
    await response.prepare(request)
    async with aclosing(pieces):
        sent = 0
        async for piece in pieces:
            if sent == half:
                if at_half is not None:
                    await at_half()
                if reply.delivery in ("half", "half_chunked"):
                    if request.transport is not None:
                        request.transport.close()
                    return response
            await response.write(piece)
            sent += 1
            if reply.pause:
                await asyncio.sleep(reply.pause)
    await response.write_eof()
    return response


def _headers(reply: Reply) -> dict[str, str]:
    return {"Content-Type": reply.content_type, **reply.headers}


def _pieces(reply: Reply) -> tuple[AsyncGenerator[bytes, None], int]:
    """The body piece by piece, and the number of pieces that make up its first half."""
    body = reply.body
    if isinstance(body, bytes) and reply.delivery == "drip":
        body = [body[place : place + 1] for place in range(len(body))]
    elif isinstance(body, bytes):
        middle = len(body) // 2
        body = [body[:middle], body[middle:]]
    if isinstance(body, list):
        return _one_by_one(body), (len(body) + 1) // 2
    return body, 1


async def _one_by_one(pieces: list[bytes]) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece
