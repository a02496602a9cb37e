"""The lines that make aioresponses work, and whether they are still needed."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import patch

import aiohttp
import pytest
from aioresponses import CallbackResult, aioresponses

from tests.aiohttp_mock import _Response

if TYPE_CHECKING:
    from typing import Any

    from yarl import URL

ADDRESS = "http://127.0.0.1:9/resource"


@pytest.mark.asyncio
async def test_answers_with_status_headers_and_body(http: aioresponses) -> None:
    http.get(ADDRESS, status=429, payload={"message": "slow down"}, headers={"Retry-After": "3"})
    async with aiohttp.ClientSession() as session, session.get(ADDRESS) as response:
        assert response.status == 429
        assert response.headers["Retry-After"] == "3"
        assert await response.json() == {"message": "slow down"}


@pytest.mark.asyncio
async def test_answers_from_a_callback(http: aioresponses) -> None:
    def answer(url: URL, **_: Any) -> CallbackResult:
        return CallbackResult(status=404, body=f"no {url.path}", content_type="text/plain")

    http.get(ADDRESS, callback=answer)
    async with aiohttp.ClientSession() as session, session.get(ADDRESS) as response:
        assert (response.status, await response.text()) == (404, "no /resource")


@pytest.mark.asyncio
async def test_raises_what_it_is_told_to(http: aioresponses) -> None:
    http.get(ADDRESS, exception=aiohttp.ServerDisconnectedError())
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.get(ADDRESS)


@pytest.mark.asyncio
async def test_a_body_may_be_large(http: aioresponses) -> None:
    http.get(ADDRESS, body=b" " * 200_000)
    async with aiohttp.ClientSession() as session, session.get(ADDRESS) as response:
        assert len(await response.read()) == 200_000


@pytest.mark.asyncio
async def test_upstream_still_needs_the_patch() -> None:
    """Once this fails, replace `mocked_aiohttp()` by `aioresponses()` and remove `aiohttp_mock.py`."""
    with aioresponses() as mock:
        mock.get(ADDRESS)
        async with aiohttp.ClientSession() as session:
            with pytest.raises(TypeError, match="stream_writer"):
                await session.get(ADDRESS)


@pytest.mark.asyncio
async def test_upstream_still_refuses_a_large_body() -> None:
    """Once this fails, the stream without a limit is no longer needed."""
    with patch("aioresponses.core.ClientResponse", _Response), aioresponses() as mock:
        mock.get(ADDRESS, body=b" " * 200_000)
        async with aiohttp.ClientSession() as session:
            with pytest.raises(AssertionError):
                await session.get(ADDRESS)
