"""The same over a real socket, with whatever a server may write on it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from inferlease._protocol import Answer, Outcome
from inferlease._requests import LIST_MODELS, start, start_arguments
from tests.fuzz.answers import DOCUMENTS, MODEL, bodies, compressed, fuzzed, headers, statuses
from tests.fuzz.calls import CALLS
from tests.fuzz.conftest import CAP
from tests.fuzz.judging import KEY, Judge
from tests.raw_server import SECRET, TOKEN, TOKEN_CALL, RawServer, Reply, Then, answer, raw_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from hypothesis.strategies import DrawFn

    from inferlease import Client
    from inferlease._requests import Request

PATIENCE = 0.5
"""Seconds that a request may take: what a server leaves open ends with them."""

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
NO_ANSWERS = (
    b"",
    b"\r\n\r\n",
    b"SSH-2.0-x\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"HTTP/0.9 200 OK\r\n\r\n",
    b"HTTP/2 200\r\n\r\n",
    b"HTTP/1.1 \r\n\r\n",
    b"HTTP/1.1 -1 X\r\n\r\n",
    b"HTTP/1.1 0200 X\r\n\r\n",
    b"HTTP/1.1 200\r\n\r\n{}",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n{}",
    f"HTTP/1.1 401 {TOKEN}\r\nContent-Length: 0\r\n\r\n".encode(),
    f"{TOKEN} {SECRET}\r\n\r\n".encode(),
    HEAD,
    HEAD + b"\r\n{}",
    HEAD + b"a" * 100_000,
    HEAD + b"A: b\r\n" * 10_000 + b"\r\n{}",
    HEAD + b"A\r\n: b\r\n\r\n{}",
    HEAD + b"\xff: \xff\r\n\r\n{}",
    HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    CHUNKED + b"-1\r\n{}\r\n0\r\n\r\n",
    CHUNKED + b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    CHUNKED + b'2;x="' + b"y" * 9000 + b'"\r\n{}\r\n0\r\nA: b\r\n\r\n',
)
"""Bytes that hardly are an answer."""
LENGTHS = ("-1", "+2", "0x2", "1_0", "2, 2", "", "99999999999999999999", "\u00b2", " 2 ", "2")


@st.composite
def replies(draw: DrawFn, call: str) -> Reply:
    """A reply to `call`: mostly an answer with something odd, else bytes that are not even that."""
    kind = draw(st.integers(0, 9))
    then = draw(st.sampled_from([Then.CLOSE, Then.CLOSE, Then.RESET]))
    if kind == 0:
        return Reply(draw(st.sampled_from(NO_ANSWERS) | st.binary(max_size=200)), then)
    said = {name: value.encode().decode("latin-1") for name, value in draw(headers).items()}
    body = draw(bodies(call))
    if draw(st.booleans()):
        body = compressed(said.get("Content-Encoding", ""), body)
    if draw(st.integers(0, 4)) == 0:
        said["Content-Length"] = draw(st.sampled_from(LENGTHS)).encode().decode("latin-1")
    reply = answer(body, draw(statuses), headers=said, content_type=None, then=then)
    if kind == 1:
        at = draw(st.integers(0, len(reply.data)))
        return Reply(reply.data[:at] + draw(st.binary(max_size=8)) + reply.data[at + draw(st.integers(0, 8)) :], then)
    return reply


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[RawServer, Client]]:
    async with RawServer() as server:
        for known, document in DOCUMENTS.items():
            server.script(known, answer(document))
        async with raw_client(
            server.url, inference_key=KEY, timeout=PATIENCE, poll_interval=0.01, settle_time=0.02
        ) as client:
            yield server, client


@st.composite
def scripts(draw: DrawFn, names: Sequence[str]) -> tuple[str, dict[str, list[Reply]]]:
    """A call, and odd replies to one of its requests."""
    name = draw(st.sampled_from(names))
    request = draw(st.sampled_from(CALLS[name][1]))
    return name, {request: draw(st.lists(replies(request), min_size=1, max_size=2))}


async def heard(name: str, odd: dict[str, list[Reply]], judge: Judge) -> str:
    async with serving() as (server, client):
        judge.secrets = (SECRET, KEY)
        if TOKEN_CALL not in odd:
            await client._core.exchange._tokens.fresh()
            judge.secrets += (TOKEN,)
        for request, replies_to_it in odd.items():
            server.script(request, *replies_to_it)
        return await judge.hear(client, CALLS[name][0](client))


@given(scripts(list(CALLS)))
@fuzzed(2)
def test_a_call_over_a_socket_returns_valid_data_or_raises_a_typed_error(
    runner: asyncio.Runner, judge: Judge, script: tuple[str, dict[str, list[Reply]]]
) -> None:
    runner.run(heard(*script, judge))


async def attempted(request: Request, reply: Reply) -> Outcome:
    async with serving() as (server, client):
        server.script(str(request), reply)
        return await client._transport.send(request, {}, time.monotonic() + PATIENCE)


@given(replies("GET /models/"), st.sampled_from([LIST_MODELS, start(start_arguments(MODEL))]))
@fuzzed()
def test_an_attempt_comes_to_an_outcome_and_keeps_no_more_of_a_body_than_the_cap(
    runner: asyncio.Runner, reply: Reply, request_: Request
) -> None:
    outcome = runner.run(attempted(request_, reply))
    assert isinstance(outcome, Outcome)
    assert not isinstance(outcome, Answer) or len(outcome.body or b"") <= CAP
