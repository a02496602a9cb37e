"""Connections: what becomes of a request when they fail, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import pytest
import pytest_asyncio
import trio
from yarl import URL

from inferlease import (
    APIError,
    Client,
    ConfigurationError,
    DecodeError,
    TransportError,
    _requests,
    _transport,
)
from inferlease._protocol import MAX_BODY, Answer, Lost, NotSent, Outcome
from inferlease._requests import Request
from inferlease._transport import Transport, checked_base_url
from tests.raw_server import (
    EOF,
    HANG,
    RESET,
    SECRET,
    Proxy,
    RawServer,
    Reply,
    Seen,
    Then,
    answer,
    client_tls,
    give_token,
    one,
    raw_client,
    server_tls,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.worlds import Api

READ = _requests.get_instance("i-1")
START = _requests.start(_requests.start_arguments("org/model"))
STOP = _requests.stop("i-1")
DELETE = _requests.delete("i-1")
MUTATIONS = pytest.mark.parametrize("request_", [START, STOP, DELETE, _requests.STOP_ALL], ids=str)
HEADERS = {"Authorization": "Bearer t"}
CAP = 10_000


@pytest_asyncio.fixture
async def transport(server: RawServer) -> AsyncIterator[Transport]:
    async with opened(server.url) as made:
        yield made


@pytest_asyncio.fixture
async def tls_server() -> AsyncIterator[RawServer]:
    async with RawServer(server_tls()) as serving:
        yield serving


@asynccontextmanager
async def opened(
    base_url: str, *, seconds: float = 5.0, proxy: str | bool | None = None, tls: Any = None
) -> AsyncIterator[Transport]:
    """A transport; `seconds` are what a connection may take."""
    made = Transport(base_url, connect_timeout=seconds, proxy=proxy, ssl=tls)
    try:
        yield made
    finally:
        await made.close()


async def send(transport: Transport, request: Request, seconds: float = 5.0) -> Outcome:
    return await transport.send(request, dict(HEADERS), time.monotonic() + seconds)


# ---- not sent, lost, answered ---------------------------------------------------------------------


@MUTATIONS
@pytest.mark.asyncio
async def test_an_answer_is_told_whole(transport: Transport, server: RawServer, request_: Request) -> None:
    server.script(str(request_), answer({"message": "ok"}, 202, headers={"X-Request-Id": "r-1"}))
    outcome = await send(transport, request_)
    assert isinstance(outcome, Answer)
    assert (outcome.status, outcome.headers["x-request-id"], outcome.body) == (202, "r-1", b'{"message":"ok"}')


@pytest.mark.fault(1)
@MUTATIONS
@pytest.mark.asyncio
async def test_a_refused_connection_is_not_sent(request_: Request) -> None:
    async with RawServer(listening=False) as server, opened(server.url) as transport:
        outcome = await send(transport, request_)
    assert isinstance(outcome, NotSent)
    assert not outcome.permanent


@pytest.mark.fault(1)
@MUTATIONS
@pytest.mark.asyncio
async def test_a_name_that_is_not_found_is_not_sent(request_: Request) -> None:
    async with opened("https://api.invalid") as transport:
        outcome = await send(transport, request_)
    assert isinstance(outcome, NotSent)
    assert not outcome.permanent
    assert outcome.reason == f"no connection to api.invalid port 443: {cast('OSError', outcome.error).strerror}"


def test_an_error_of_the_system_without_words_is_told_by_its_class() -> None:
    key = cast("Any", SimpleNamespace(host="h", port=1, ssl=True))
    outcome = _transport._not_reached(aiohttp.ClientConnectorError(key, ConnectionResetError()), URL("https://h:1"))
    assert outcome.reason == "no connection to h port 1: ConnectionResetError"


@pytest.mark.parametrize(
    ("base_url", "proxy", "reached"),
    [
        ("http://127.0.0.1:9", None, "127.0.0.1 port 9"),
        ("https://api.invalid", "http://127.0.0.1:9", "the proxy 127.0.0.1 port 9"),
    ],
    ids=["server", "proxy"],
)
@pytest.mark.asyncio
async def test_whoever_is_not_reached_is_named_and_the_system_s_error_is_the_only_cause(
    either: Api, base_url: str, proxy: str | None, reached: str
) -> None:
    async with raw_client(base_url, either, proxy=proxy) as client:
        with pytest.raises(TransportError) as caught:
            await client.models.list()
    reason = f"no connection to {reached}: Connection refused"
    assert str(caught.value) == f"GET /models/ could not be sent: {reason}; check the network and base_url"
    cause = caught.value.__cause__
    assert type(cause) is ConnectionRefusedError
    assert (cause.__cause__, cause.__context__, cause.__traceback__) == (None, None, None)


@pytest.mark.fault(2)
@MUTATIONS
@pytest.mark.parametrize(
    ("then", "seconds", "told"),
    [
        (Then.HANG, 0.05, " in time"),
        (Then.RESET, 5, ": Connection reset by peer"),
        (Then.CLOSE, 5, ": Connection reset by peer"),
    ],
)
@pytest.mark.asyncio
async def test_a_tls_handshake_that_fails_is_not_sent(
    tls_server: RawServer, request_: Request, then: Then, seconds: float, told: str
) -> None:
    tls_server.on_accept.append(then)
    async with opened(tls_server.url, seconds=seconds, tls=client_tls()) as transport:
        outcome = await send(transport, request_)
    assert isinstance(outcome, NotSent)
    assert not outcome.permanent
    assert outcome.reason == f"no connection to 127.0.0.1 port {tls_server.port}{told}"


@pytest.mark.fault(2)
@pytest.mark.asyncio
async def test_a_server_that_speaks_no_tls_is_told_in_openssl_s_words() -> None:
    async def speak_plainly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(speak_plainly, "127.0.0.1", 0) as plain:
        port = plain.sockets[0].getsockname()[1]
        async with opened(f"https://127.0.0.1:{port}", tls=client_tls()) as transport:
            outcome = await send(transport, START)
    assert isinstance(outcome, NotSent)
    assert outcome.reason.startswith(f"no connection to 127.0.0.1 port {port}: [SSL: ")


@pytest.mark.fault(2)
@pytest.mark.parametrize("verb", ["get", "stop"])
@pytest.mark.asyncio
async def test_a_tls_handshake_that_hangs_leaves_time_for_another(
    tls_server: RawServer, either: Api, verb: str
) -> None:
    tls_server.on_accept.append(Then.HANG)
    tls_server.script(str(READ), one())
    tls_server.script(str(STOP), one(status="stopped"))
    async with raw_client(tls_server.url, either, timeout=1.5, ssl=client_tls()) as client:
        await getattr(client.instances, verb)("i-1")
    assert len(tls_server.calls) == 1


@pytest.mark.fault(4)
@pytest.mark.asyncio
async def test_waiting_in_vain_for_a_slot_of_the_pool_is_not_sent(server: RawServer) -> None:
    arrived = asyncio.Event()

    async def held(_: Seen) -> Reply:
        arrived.set()
        return HANG

    server.script(str(STOP), held)
    async with opened(server.url, seconds=0.05) as transport:
        connector = transport._session(mutating=True).connector
        assert connector is not None
        connector._limit = 1
        holder = asyncio.create_task(send(transport, STOP))
        await arrived.wait()
        outcome = await send(transport, START)
        holder.cancel()
    assert isinstance(outcome, NotSent)
    assert not outcome.permanent
    assert isinstance(outcome.error, aiohttp.ConnectionTimeoutError)  # and no deadline, after which nothing follows
    assert server.calls == [str(STOP)]


LOSSES = {
    "reset": RESET,
    "end of file": EOF,
    "nothing until the deadline": HANG,
    "half a status line": Reply(b"HTTP/1.1 20", Then.CLOSE),
    "garbage for a status line": Reply(b"garbage\r\n\r\n"),
    "a status that is none": Reply(b"HTTP/1.1 abc OK\r\n\r\n"),
    "half a header": Reply(b"HTTP/1.1 200 OK\r\nContent-Le", Then.RESET),
    "an endless header": Reply(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000),
    "a length that is none": Reply(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"),
    "a short body": Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}", Then.CLOSE),
    "a short body and a reset": Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}", Then.RESET),
    "a body that drips": Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}", Then.HANG),
    "chunks without an end": Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", Then.CLOSE),
    "chunks that are none": Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n"),
    "a cut gzip body": Reply(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n" + gzip.compress(b"{}")[:15],
        Then.CLOSE,
    ),
    "gzip that is none": answer(b"not gzip at all", headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.fault(6, 8, 9, 10)
@pytest.mark.parametrize("request_", [START, DELETE], ids=str)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.asyncio
async def test_a_mutation_without_a_whole_answer_is_lost_and_reaches_the_server_once(
    transport: Transport, server: RawServer, request_: Request, loss: str
) -> None:
    server.script(str(request_), LOSSES[loss])
    outcome = await send(transport, request_, 0.1 if LOSSES[loss].then is Then.HANG else 5)
    assert isinstance(outcome, Lost)
    assert server.calls == [str(request_)]


@pytest.mark.fault(6, 8, 9, 10)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.asyncio
async def test_a_read_without_a_whole_answer_brings_none(transport: Transport, server: RawServer, loss: str) -> None:
    server.script(str(READ), LOSSES[loss])
    outcome = await send(transport, READ, 0.1 if LOSSES[loss].then is Then.HANG else 5)
    assert isinstance(outcome, Lost)


@pytest.mark.fault(5)
@MUTATIONS
@pytest.mark.parametrize("then", [Then.RESET, Then.CLOSE])
@pytest.mark.asyncio
async def test_a_connection_that_ends_as_it_begins_is_lost(
    transport: Transport, server: RawServer, request_: Request, then: Then
) -> None:
    server.on_accept.append(then)
    outcome = await send(transport, request_)
    assert isinstance(outcome, Lost)
    assert server.connections == 1


@pytest.mark.parametrize("request_", [READ, START], ids=str)
@pytest.mark.asyncio
async def test_no_time_left_is_not_sent(transport: Transport, server: RawServer, request_: Request) -> None:
    outcome = await send(transport, request_, -1)
    assert isinstance(outcome, NotSent if request_ is START else NotSent | Lost)
    assert server.connections == 0


@pytest.mark.asyncio
async def test_a_cancellation_from_outside_is_no_outcome(transport: Transport, server: RawServer) -> None:
    arrived = asyncio.Event()

    async def held(_: Seen) -> Reply:
        arrived.set()
        return HANG

    server.script(str(START), held)
    task = asyncio.create_task(send(transport, START))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# ---- keep-alive -----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_reads_share_a_connection(transport: Transport, server: RawServer) -> None:
    server.script(str(READ), answer({}))
    for _ in range(5):
        await send(transport, READ)
    assert server.connections == 1


@pytest.mark.fault(7)
@MUTATIONS
@pytest.mark.asyncio
async def test_each_mutation_has_a_connection_of_its_own(
    transport: Transport, server: RawServer, request_: Request
) -> None:
    server.script(str(request_), answer({}))
    for _ in range(5):
        assert isinstance(await send(transport, request_), Answer)
    assert [seen.connection for seen in server.requests] == [1, 2, 3, 4, 5]


@pytest.mark.fault(7)
@pytest.mark.asyncio
async def test_a_mutation_never_takes_a_connection_that_reads_left_behind(
    transport: Transport, server: RawServer
) -> None:
    server.script(str(READ), answer({}))
    server.script(str(DELETE), answer({}))
    await send(transport, READ)
    await send(transport, DELETE)
    assert [seen.connection for seen in server.requests] == [1, 2]


@pytest.mark.fault(7)
@pytest.mark.asyncio
async def test_each_call_that_changes_something_has_a_connection_of_its_own(api: Client, server: RawServer) -> None:
    give_token(api)
    server.script(str(STOP), one(status="stopped"))
    server.script(str(DELETE), answer({}))
    for _ in range(2):
        await api.instances.stop("i-1")
        await api.instances.delete("i-1")
    assert [seen.connection for seen in server.requests] == [1, 2, 3, 4]


@pytest.mark.asyncio
async def test_a_stale_connection_does_not_cost_a_read(transport: Transport, server: RawServer) -> None:
    server.script(str(READ), answer({}), RESET, answer({}))
    assert isinstance(await send(transport, READ), Answer)
    assert isinstance(await send(transport, READ), Answer)


@pytest.mark.fault(7)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("fault", [RESET, EOF], ids=["reset", "end of file"])
@pytest.mark.asyncio
async def test_no_session_for_mutations_sends_a_request_twice(
    transport: Transport, server: RawServer, method: str, fault: Reply
) -> None:
    """Whatever the method: aiohttp takes GET and DELETE for its own to repeat."""
    server.script(f"{method} /x", fault)
    session = transport._session(mutating=True)
    with pytest.raises(_transport._Interrupted):
        await session.request(method, f"{server.url}/x", trace_request_ctx=_transport._Progress())
    assert server.calls == [f"{method} /x"]


@pytest.mark.asyncio
async def test_aiohttp_would_send_a_delete_twice(server: RawServer) -> None:
    """Once this fails, the middleware that stops it is no longer needed."""
    server.script("DELETE /x", RESET)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        with pytest.raises(aiohttp.ClientError):
            await session.delete(f"{server.url}/x")
    assert server.calls == ["DELETE /x"] * 2


@pytest.mark.asyncio
async def test_cookies_are_not_kept(transport: Transport, server: RawServer) -> None:
    server.script(str(READ), answer({}, headers={"Set-Cookie": "a=b"}))
    await send(transport, READ)
    await send(transport, READ)
    assert "cookie" not in server.requests[1].headers


# ---- how much -------------------------------------------------------------------------------------


def gzipped(data: bytes, members: int = 1) -> Reply:
    return answer(gzip.compress(data) * members, headers={"Content-Encoding": "gzip"})


def chunked(size: int) -> Reply:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return Reply(head + b"%x\r\n%s\r\n0\r\n\r\n" % (size, b" " * size))


def until_eof(size: int) -> Reply:
    return Reply(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * size, Then.CLOSE)


@pytest.fixture
def _small_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_transport, "MAX_BODY", CAP)


@pytest.mark.fault(11, 12, 13)
@pytest.mark.usefixtures("_small_cap")
@pytest.mark.parametrize("request_", [READ, START, DELETE], ids=str)
@pytest.mark.parametrize(
    "reply",
    [
        answer(b" " * (CAP + 1)),
        answer(b" " * 40 * CAP),
        chunked(CAP + 1),
        chunked(40 * CAP),
        until_eof(40 * CAP),
        gzipped(b" " * (CAP + 1)),
        gzipped(b" " * 1000 * CAP),
        gzipped(b" " * CAP, 100),
        gzipped(b"", 1_100),
        gzipped(b"{}", 100_000),
    ],
    ids=[
        "one byte", "much", "one byte in a chunk", "much in a chunk", "much until the end of file",
        "one inflated byte", "a gzip bomb", "a bomb of members", "just too many members", "far too many members",
    ],
)  # fmt: skip
@pytest.mark.asyncio
async def test_a_body_above_the_cap_is_dropped(
    transport: Transport, server: RawServer, request_: Request, reply: Reply
) -> None:
    server.script(str(request_), reply)
    outcome = await send(transport, request_)
    assert isinstance(outcome, Answer)
    assert (outcome.status, outcome.body) == (200, None)


@pytest.mark.usefixtures("_small_cap")
@pytest.mark.parametrize(
    "reply",
    [answer(b" " * CAP), chunked(CAP), until_eof(CAP), gzipped(b" " * CAP), gzipped(b" " * (CAP // 1000), 1000)],
    ids=["at once", "in a chunk", "until the end of file", "inflated", "in a thousand members"],
)
@pytest.mark.asyncio
async def test_a_body_up_to_the_cap_is_read(transport: Transport, server: RawServer, reply: Reply) -> None:
    server.script(str(READ), reply)
    outcome = await send(transport, READ)
    assert isinstance(outcome, Answer)
    assert outcome.body == b" " * CAP


@pytest.mark.fault(11)
@pytest.mark.asyncio
async def test_an_endless_body_is_not_read_to_its_end(transport: Transport, server: RawServer) -> None:
    """It would be 1 TiB; the cap is the real one."""

    async def endless(_: Seen) -> Reply:
        return Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n" + b" " * (MAX_BODY + 1), Then.HANG)

    server.script(str(READ), endless)
    outcome = await send(transport, READ)
    assert isinstance(outcome, Answer)
    assert outcome.body is None


@pytest.mark.fault(11)
def test_the_cap_is_64_mebibytes() -> None:
    assert MAX_BODY == 64 * 1024 * 1024


@pytest.mark.usefixtures("_small_cap")
@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(answer(b" " * 2 * CAP), id="plain", marks=pytest.mark.fault(11)),
        pytest.param(gzipped(b" " * 100 * CAP), id="a gzip bomb", marks=pytest.mark.fault(12)),
        pytest.param(gzipped(b"{}", 2_000), id="many members", marks=pytest.mark.fault(13)),
    ],
)
@pytest.mark.asyncio
async def test_a_body_that_is_too_large_is_a_decode_error_and_not_asked_for_again(
    api: Client, server: RawServer, reply: Reply
) -> None:
    server.script("GET /instances/", reply)
    with pytest.raises(DecodeError, match="larger than"):
        await api.instances.list()
    assert server.calls == ["GET /instances/"]


# ---- redirects ------------------------------------------------------------------------------------


@pytest.mark.fault(14)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("call", [str(READ), str(START), str(DELETE)])
@pytest.mark.asyncio
async def test_no_redirect_is_followed(server: RawServer, api: Client, status: int, call: str) -> None:
    async with RawServer() as elsewhere:
        server.script(call, answer({}, status, headers={"Location": f"{elsewhere.url}/instances/i-1"}))
        server.script("GET /instances/", answer({"instances": []}))
        verbs = {str(READ): api.instances.get("i-1"), str(DELETE): api.instances.delete("i-1")}
        if call == str(DELETE):
            server.script(str(READ), one())
        verb = verbs.pop(call, None) or api.instances.start("org/model")
        for unused in verbs.values():
            unused.close()
        with pytest.raises(APIError, match="a redirect, which is never followed") as caught:
            await verb
        assert caught.value.status == status
        assert (server.count(call), elsewhere.connections) == (1, 0)


@pytest.mark.fault(15)
@pytest.mark.parametrize("verb", ["get", "stop"])
@pytest.mark.asyncio
async def test_no_redirect_leaves_https(tls_server: RawServer, server: RawServer, either: Api, verb: str) -> None:
    moved = answer({}, 307, headers={"Location": f"{server.url}/instances/i-1"})
    tls_server.script(str(READ), moved)
    tls_server.script(str(STOP), moved)
    async with raw_client(tls_server.url, either, ssl=client_tls()) as client:
        with pytest.raises(APIError, match="a redirect, which is never followed"):
            await getattr(client.instances, verb)("i-1")
    assert server.connections == 0


# ---- certificates ---------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [READ, START], ids=str)
@pytest.mark.asyncio
async def test_a_trusted_certificate_is_accepted(tls_server: RawServer, request_: Request) -> None:
    tls_server.script(str(request_), answer({}))
    async with opened(tls_server.url, tls=client_tls()) as transport:
        assert isinstance(await send(transport, request_), Answer)


@pytest.mark.fault(3)
@pytest.mark.parametrize("request_", [READ, START, DELETE], ids=str)
@pytest.mark.asyncio
async def test_an_untrusted_certificate_is_permanent(tls_server: RawServer, request_: Request) -> None:
    async with opened(tls_server.url) as transport:
        outcome = await send(transport, request_)
    assert isinstance(outcome, NotSent)
    assert outcome.permanent
    assert tls_server.requests == []


@pytest.mark.fault(3)
@pytest.mark.asyncio
async def test_a_certificate_of_another_host_is_permanent(tls_server: RawServer) -> None:
    async with (
        Proxy(tls_server.port) as proxy,
        opened("https://other.invalid", proxy=proxy.url, tls=client_tls()) as transport,
    ):
        outcome = await send(transport, START)
    assert isinstance(outcome, NotSent)
    assert outcome.permanent
    assert tls_server.requests == []


@pytest.mark.fault(3)
@pytest.mark.parametrize("verb", ["get", "stop", "delete"])
@pytest.mark.asyncio
async def test_an_untrusted_certificate_is_an_error_at_once(tls_server: RawServer, either: Api, verb: str) -> None:
    async with raw_client(tls_server.url, either) as client:
        with pytest.raises(TransportError, match=r"[Cc]ertificate"):
            await getattr(client.instances, verb)("i-1")
    assert tls_server.requests == []
    assert tls_server.connections <= 1


# ---- proxies --------------------------------------------------------------------------------------

REMOTE = "https://api.invalid"


@pytest_asyncio.fixture
async def proxy(tls_server: RawServer) -> AsyncIterator[Proxy]:
    """A proxy through which every host is `tls_server`."""
    tls_server.script(str(READ), answer({}))
    tls_server.script(str(START), answer({}))
    async with Proxy(tls_server.port) as serving:
        yield serving


@pytest.mark.fault(16)
@pytest.mark.parametrize("request_", [READ, START], ids=str)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
@pytest.mark.asyncio
async def test_the_proxy_of_the_environment_is_used(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, name: str, request_: Request
) -> None:
    monkeypatch.setenv(name, proxy.url)
    async with opened(REMOTE, tls=client_tls()) as transport:
        assert isinstance(await send(transport, request_), Answer)
    assert [seen.call for seen in proxy.connects] == ["CONNECT api.invalid:443"]
    assert "authorization" not in proxy.connects[0].headers


@pytest.mark.fault(16)
@pytest.mark.parametrize("verb", ["get", "stop"])
@pytest.mark.asyncio
async def test_a_call_goes_through_the_proxy_of_the_environment(
    proxy: Proxy, tls_server: RawServer, monkeypatch: pytest.MonkeyPatch, either: Api, verb: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    tls_server.script(str(READ), one())
    tls_server.script(str(STOP), one(status="stopped"))
    async with raw_client(REMOTE, either, ssl=client_tls()) as client:
        give_token(client)
        await getattr(client.instances, verb)("i-1")
    assert [seen.call for seen in proxy.connects] == ["CONNECT api.invalid:443"]


@pytest.mark.asyncio
async def test_a_proxy_that_was_passed_is_used(proxy: Proxy) -> None:
    async with opened(REMOTE, proxy=proxy.url, tls=client_tls()) as transport:
        assert isinstance(await send(transport, READ), Answer)
    assert len(proxy.connects) == 1


@pytest.mark.fault(16)
@pytest.mark.parametrize(
    ("base_url", "no_proxy", "argument"),
    [
        (REMOTE, "", False),
        (REMOTE, "api.invalid", None),
        (REMOTE, ".invalid", None),
        (REMOTE, "elsewhere, api.invalid", None),
        (REMOTE, "api.invalid:443", None),
        (REMOTE, "*", None),
        ("https://127.0.0.1:9", "", None),
        ("https://127.0.0.2:9", "", None),
        ("https://[::1]:9", "", None),
        ("https://localhost:9", "", None),
        ("http://localhost:9", "", None),
    ],
)
@pytest.mark.asyncio
async def test_the_proxy_of_the_environment_is_not_used(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, base_url: str, no_proxy: str, argument: bool | None
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    async with opened(base_url, proxy=argument, tls=client_tls()) as transport:
        assert isinstance(await send(transport, START), NotSent)
    assert proxy.connects == []


@pytest.mark.fault(16)
@pytest.mark.parametrize("option", ["from the environment", "passed"])
@pytest.mark.asyncio
async def test_an_instance_on_loopback_is_not_asked_through_the_proxy_of_the_environment(
    proxy: Proxy, server: RawServer, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """The key for inference would pass it in the clear."""
    if option == "from the environment":
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    server.script("GET /v1/models", answer({}))
    argument = proxy.url if option == "passed" else None
    async with opened(REMOTE, proxy=argument, tls=client_tls()) as transport:
        outcome = await transport.fetch(f"{server.url}/v1/models", dict(HEADERS), time.monotonic() + 5)
    assert isinstance(outcome, Answer)
    assert (server.calls, proxy.connects) == (["GET /v1/models"], [])


@pytest.mark.fault(3)
@pytest.mark.parametrize("request_", [READ, START], ids=str)
@pytest.mark.asyncio
async def test_a_proxy_that_asks_for_credentials_is_permanent(proxy: Proxy, request_: Request) -> None:
    proxy.refusal = answer(b"", 407, headers={"Proxy-Authenticate": "Basic"})
    async with opened(REMOTE, proxy=proxy.url, tls=client_tls()) as transport:
        outcome = await send(transport, request_)
    assert isinstance(outcome, NotSent)
    assert outcome.permanent


@pytest.mark.fault(3)
@pytest.mark.parametrize("verb", ["get", "stop", "delete"])
@pytest.mark.asyncio
async def test_a_proxy_that_asks_for_credentials_is_an_error_at_once(proxy: Proxy, either: Api, verb: str) -> None:
    proxy.refusal = answer(b"", 407, headers={"Proxy-Authenticate": "Basic"})
    async with raw_client(REMOTE, either, proxy=proxy.url, ssl=client_tls()) as client:
        give_token(client)
        with pytest.raises(TransportError, match="407"):
            await getattr(client.instances, verb)("i-1")
    assert len(proxy.connects) == 1


@pytest.mark.parametrize(
    "refusal", [answer(b"", 502), answer(b"", 503), RESET, EOF, Reply(b"garbage\r\n\r\n", Then.CLOSE)], ids=str
)
@MUTATIONS
@pytest.mark.asyncio
async def test_a_request_that_a_proxy_did_not_let_through_is_not_sent(
    proxy: Proxy, tls_server: RawServer, request_: Request, refusal: Reply
) -> None:
    proxy.refusal = refusal
    async with opened(REMOTE, proxy=proxy.url, tls=client_tls()) as transport:
        outcome = await send(transport, request_)
    assert isinstance(outcome, NotSent)
    assert not outcome.permanent
    assert tls_server.requests == []


@pytest.mark.asyncio
async def test_the_password_of_a_proxy_is_in_no_error(proxy: Proxy) -> None:
    proxy.refusal = answer(b"", 407)
    url = proxy.url.replace("//", f"//me:{SECRET}@")
    async with raw_client(REMOTE, proxy=url, ssl=client_tls()) as client:
        with pytest.raises(TransportError) as caught:
            await client.instances.get("i-1")
    causes = [caught.value, caught.value.__cause__]
    assert not [cause for cause in causes if SECRET in f"{cause} {cause!r}"]


@pytest.mark.fault(16)
@pytest.mark.asyncio
async def test_netrc_is_ignored(
    transport: Transport, server: RawServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login me password {SECRET}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.script(str(_requests.LIST_MODELS), answer({}))
    await transport.send(_requests.LIST_MODELS, {}, time.monotonic() + 5)
    assert "authorization" not in server.requests[0].headers


# ---- where to -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base_url", "kept"),
    [
        ("https://cortecs.ai/api/v1", "https://cortecs.ai/api/v1"),
        ("https://cortecs.ai/api/v1/", "https://cortecs.ai/api/v1"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://localhost:1/v1/", "http://localhost:1/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_a_base_url_is_accepted(base_url: str, kept: str) -> None:
    assert checked_base_url(base_url) == kept


@pytest.mark.parametrize(
    "base_url",
    [
        "http://cortecs.ai/api/v1",
        "http://127.evil.com",
        "http://127.0.0.1.evil.com",
        "http://localhost.evil.com",
        "http://evil.com/127.0.0.1",
        "http://evil.com#127.0.0.1",
        "http://127.0.0.1@evil.com",
        "http://localhost:x@evil.com",
        "http://0.0.0.0",
        "http://10.0.0.1",
        "http://[::2]",
        f"https://me:{SECRET}@cortecs.ai",
        f"https://:{SECRET}@cortecs.ai",
        "https://me@cortecs.ai",
        f"me:{SECRET}@cortecs.ai",
        f"https:me:{SECRET}@cortecs.ai",
        f"ftp://me:{SECRET}@cortecs.ai",
        f"http://me:{SECRET}@cortecs.ai:99999",
        "https://cortecs.ai/?a=b",
        "https://cortecs.ai/#a",
        "https://",
        "https:///api",
        "//cortecs.ai",
        "cortecs.ai",
        "file:///etc/passwd",
        "unix:///socket",
        "https://cortecs.ai:99999",
        "https://[::1",
        " ",
    ],
)
def test_a_base_url_is_refused_without_showing_a_password(base_url: str) -> None:
    with pytest.raises(ConfigurationError, match="base_url") as caught:
        Client(base_url=base_url)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.__cause__)


def test_the_environment_has_the_base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORTECS_API_BASE_URL", "http://evil.com")
    with pytest.raises(ConfigurationError):
        Client()
    assert Client(base_url="https://cortecs.ai")._transport.base_url == "https://cortecs.ai"


@pytest.mark.asyncio
async def test_calls_go_below_the_path_of_the_base_url(server: RawServer) -> None:
    server.script("GET /api/v1/models/", answer({"models": []}))
    async with raw_client(f"{server.url}/api/v1/") as client:
        assert await client.models.list() == []


# ---- closing --------------------------------------------------------------------------------------


def calls_of(client: Client) -> dict[str, Callable[[], Awaitable[Any]]]:
    return {
        "get": lambda: client.instances.get("i-1"),
        "models": client.models.list,
        "start": lambda: client.instances.start("org/model"),
        "ensure": lambda: client.instances.ensure("org/model"),
        "stop": lambda: client.instances.stop("i-1"),
        "restart": lambda: client.instances.restart("i-1"),
        "delete": lambda: client.instances.delete("i-1"),
        "stop_all": client.instances.stop_all,
        "delete_all": client.instances.delete_all,
        "acquire": lambda: client.lease("org/model").acquire(),
    }


@pytest.mark.parametrize(
    "call", ["get", "models", "start", "ensure", "stop", "restart", "delete", "stop_all", "delete_all", "acquire"]
)
@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
@pytest.mark.asyncio
async def test_a_closed_client_refuses_every_call(server: RawServer, call: str, used: bool) -> None:
    server.script("GET /instances/i-1", one(status="stopped"))
    server.script("POST /instances/stop", one(status="stopped"))
    client = raw_client(server.url)
    if used:
        await client.instances.get("i-1")
        await client.instances.stop("i-1")
    await client.close()
    server.requests.clear()
    with pytest.raises(ConfigurationError, match="closed"):
        await calls_of(client)[call]()
    assert server.requests == []


@pytest.mark.asyncio
async def test_closing_twice_is_fine(server: RawServer) -> None:
    server.script("GET /instances/i-1", one())
    client = raw_client(server.url)
    await client.instances.get("i-1")
    await client.close()
    await client.close()


def test_a_client_serves_one_loop_after_another() -> None:
    async def main(client: Client | None) -> Client:
        async with RawServer() as server:
            server.script("GET /models/", answer({"models": []}, headers={"Connection": "close"}))
            if client is None:
                client = raw_client(server.url)
            client._transport.base_url = server.url
            assert await client.models.list() == []
            return client

    client = asyncio.run(main(None))
    asyncio.run(main(client))
    asyncio.run(client.close())


# ---- trio -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["get", "models", "start", "ensure", "stop", "restart", "delete", "acquire"])
@pytest.mark.parametrize("entered", [False, True], ids=["bare", "entered"])
def test_under_trio_there_is_one_clear_error(call: str, entered: bool) -> None:
    async def main() -> None:
        if not entered:
            await calls_of(client)[call]()
            return
        async with client:
            await calls_of(client)[call]()

    client = raw_client("http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="asyncio only") as caught:
        trio.run(main)
    assert not hasattr(caught.value, "__notes__")
    assert not client._transport.is_open


def test_under_trio_no_start_is_sent(emulator: Any) -> None:
    client = emulator.client()
    with pytest.raises(ConfigurationError, match="asyncio only"):
        trio.run(lambda: client.instances.start("org/model"))
    asyncio.run(client.close())
    assert emulator.books().starts == 0


@pytest.mark.parametrize(
    "proxy", ["user:s3cret@host:3128", "http://user:s3cret@", "http://user:s3cret@host:port", "host"]
)
def test_a_proxy_that_is_no_url_is_refused_without_showing_it(proxy: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Client(base_url="https://api.invalid/v1", proxy=proxy)
    assert "s3cret" not in str(caught.value)


@pytest.mark.fault(16)
def test_no_proxy_sees_what_goes_to_loopback() -> None:
    assert Client(base_url="http://127.0.0.1:1/v1", proxy="http://proxy.invalid:3128")._transport.proxy is None
