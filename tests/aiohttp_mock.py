"""aioresponses on aiohttp 3.14.

aiohttp 3.14 gave `ClientResponse` a required argument `stream_writer`, of which it reads `output_size`.
aioresponses 0.7.9 does not pass it (pnuckowski/aioresponses, issue 289), so the response class that it builds
is replaced by one that fills it in. And its stream, which nothing drains, is given no limit: aiohttp 3.14 asserts that
a body above it came over a connection. `test_aiohttp_mock.py` fails once this is no longer needed.

aioresponses replaces `ClientSession._request` as a whole: trace hooks, middlewares and connectors are not
run. What concerns a connection is tested against the emulator.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock, patch

from aiohttp import ClientResponse, StreamReader
from aiohttp.client_proto import ResponseHandler
from aioresponses import aioresponses

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator


class _Response(ClientResponse):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, stream_writer=Mock(output_size=0), **kwargs)


def _stream(loop: asyncio.AbstractEventLoop) -> StreamReader:
    return StreamReader(ResponseHandler(loop=loop), limit=2**40, loop=loop)


@contextmanager
def mocked_aiohttp() -> Iterator[aioresponses]:
    """Enter `aioresponses()` in a form that works on aiohttp 3.14."""
    with (
        patch("aioresponses.core.ClientResponse", _Response),
        patch("aioresponses.core.stream_reader_factory", _stream),
        aioresponses() as mock,
    ):
        yield mock
