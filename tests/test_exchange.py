"""One logical request, from its first attempt to its data or its error."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import orjson
import pytest

from inferlease import (
    APIError,
    Client,
    ConflictError,
    DecodeError,
    InferleaseError,
    InvalidArgumentError,
    NotFoundError,
    OutcomeUnknownError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TransportError,
    _lookup,
    _requests,
    _transport,
)
from inferlease._protocol import Action
from tests.raw_server import (
    EOF,
    HANG,
    RESET,
    TOKEN_CALL,
    RawServer,
    Reply,
    Seen,
    Then,
    answer,
    give_token,
    instance,
    one,
    raw_client,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from aioresponses import aioresponses

    from inferlease import Instance
    from inferlease._retry import Settled
    from inferlease.objects import InstanceState
    from tests.worlds import Api

pytestmark = pytest.mark.asyncio

GET, LIST = "GET /instances/i-1", "GET /instances/"
STOP, RESTART, DELETE = "POST /instances/stop", "POST /instances/restart", "DELETE /instances/i-1"
START = "POST /instances/start"
CAP = 10_000

HTML = answer(b"<html>busy</html>", content_type="text/html")
EMPTY = Reply(b"HTTP/1.1 204 No Content\r\n\r\n")
SHORT = Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}", Then.CLOSE)
HUGE = answer(b" " * 3 * CAP)
DRIP = Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", Then.HANG)
SLOW = pytest.mark.parametrize("reply", [HANG, DRIP], ids=["nothing", "a drip"])
OTHER = one("i-2", "stopped")


def status(code: int, **headers: str) -> Reply:
    return answer({"message": f"said {code}"}, code, headers={k.replace("_", "-"): v for k, v in headers.items()})


LATER = status(429, Retry_After="0")


@pytest.fixture(autouse=True)
def _small_and_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_transport, "MAX_BODY", CAP)
    monkeypatch.setattr(_lookup, "LIST_INTERVAL", 0)


@pytest.fixture
def on_retry() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Have something done, in the thread that makes the request, before its next attempt."""
    logger, handler = logging.getLogger("inferlease"), logging.NullHandler()
    level = logger.level

    def register(call: Callable[[], object]) -> None:
        def handle(record: logging.LogRecord) -> bool:
            if "again in" in record.msg:
                call()
            return False

        handler.handle = handle  # type: ignore[method-assign]

    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield register
    logger.removeHandler(handler)
    logger.setLevel(level)


# ---- reads ----------------------------------------------------------------------------------------

PASSING = {
    "reset": RESET,
    "end of file": EOF,
    "truncated": SHORT,
    "garbage": Reply(b"garbage\r\n\r\n"),
    "408": status(408),
    "429": LATER,
    "500": status(500),
    "502 in HTML": answer(b"<html>", 502, content_type="text/html"),
    "503": status(503),
    "504": status(504),
    "204": EMPTY,
}
"""What a read is tried again after."""


@pytest.mark.fault(6, 8, 9)
@pytest.mark.parametrize("fault", PASSING)
async def test_a_read_outlasts_a_passing_fault(api: Client, server: RawServer, fault: str) -> None:
    server.script(GET, PASSING[fault], PASSING[fault], one())  # aiohttp outlasts one lost answer by itself
    assert (await api.instances.get("i-1")).instance_id == "i-1"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("truncated", TransportError),
        ("garbage", TransportError),
        ("408", APIError),
        ("429", RateLimitError),
        ("500", ServerError),
        ("503", ServerError),
        ("204", DecodeError),
    ],
)
async def test_a_read_makes_eight_attempts_and_raises_the_last_error(
    api: Client, server: RawServer, fault: str, error: type[InferleaseError]
) -> None:
    server.script(GET, PASSING[fault])
    with pytest.raises(InferleaseError) as caught:
        await api.instances.get("i-1")
    assert type(caught.value) is error
    assert server.count(GET) == 8


@pytest.mark.fault(5)
async def test_a_read_outlasts_a_connection_that_is_reset_as_it_begins(api: Client, server: RawServer) -> None:
    give_token(api)
    server.on_accept += [Then.RESET] * 2  # aiohttp outlasts one by itself
    server.script(GET, one())
    assert (await api.instances.get("i-1")).instance_id == "i-1"
    assert server.connections == 3


async def test_a_connection_that_is_reset_for_ever_is_a_transport_error(api: Client, server: RawServer) -> None:
    server.script(GET, RESET)
    with pytest.raises(TransportError, match="no whole answer came back"):
        await api.instances.get("i-1")


FINAL: dict[str, tuple[Reply, type[InferleaseError]]] = {
    "301": (status(301), APIError),
    "304": (Reply(b"HTTP/1.1 304 Not Modified\r\n\r\n"), APIError),
    "400": (status(400), APIError),
    "402": (status(402), PaymentRequiredError),
    "403": (status(403), PermissionDeniedError),
    "404": (status(404), NotFoundError),
    "409": (status(409), ConflictError),
    "422": (status(422), APIError),
    "no instance": (answer({"message": "ok"}), DecodeError),
    "another instance": (OTHER, DecodeError),
    "too large": (HUGE, DecodeError),
}
"""What a read is not tried again after."""


@pytest.mark.parametrize("fault", FINAL)
async def test_a_read_ends_at_once_where_trying_again_is_no_use(api: Client, server: RawServer, fault: str) -> None:
    reply, error = FINAL[fault]
    server.script(GET, reply)
    with pytest.raises(InferleaseError) as caught:
        await api.instances.get("i-1")
    assert type(caught.value) is error
    assert server.calls == [GET]


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/problem+json", None],
)
async def test_json_may_be_called_so_in_many_ways(api: Client, server: RawServer, content_type: str | None) -> None:
    server.script(GET, answer({"instance": instance()}, content_type=content_type))
    assert (await api.instances.get("i-1")).instance_id == "i-1"


@pytest.mark.parametrize(
    ("code", "body", "error"),
    [
        (200, b"<html>", DecodeError),
        (200, b'{"current_balance": "5", "currency": "EUR"}', DecodeError),
        (200, b'{"current_balance": 1e999, "currency": "EUR"}', DecodeError),
        (200, b'{"current_balance": 5, "currency": "\\ud800"}', DecodeError),
        (402, b'{"message": "empty"}', PaymentRequiredError),
        (418, b"", APIError),
        (503, b"<html>", ServerError),
    ],
)
async def test_a_status_and_a_body_make_an_error(
    http: aioresponses, code: int, body: bytes, error: type[InferleaseError]
) -> None:
    base = "http://127.0.0.1:9"
    http.post(f"{base}/oauth2/token", payload={"access_token": "t"}, repeat=True)
    http.get(f"{base}/user/balance", status=code, body=body, repeat=True)
    async with raw_client(base) as client:
        with pytest.raises(InferleaseError) as caught:
            await client.account.balance()
    assert type(caught.value) is error
    assert str(caught.value).isprintable()
    assert caught.value.status == code


# ---- not sent -------------------------------------------------------------------------------------


@pytest.mark.fault(1)
@pytest.mark.parametrize("verb", ["get", "stop", "restart", "delete", "stop_all", "delete_all"])
async def test_a_request_that_finds_nobody_is_sent_once_somebody_is_there(
    on_retry: Callable[[Callable[[], object]], None], either: Api, verb: str
) -> None:
    loop = asyncio.get_running_loop()
    async with RawServer(listening=False) as server, raw_client(server.url, either) as client:
        for call in (GET, STOP, RESTART, DELETE):
            server.script(call, one())
        for call in ("POST /instances/stop-all", "DELETE /instances/delete-all?force_deletion=false"):
            server.script(call, answer({"instance_ids": []}))
        server.script("GET /hardware-types/", answer({"hardware_types": []}))
        give_token(client)
        on_retry(lambda: server.listen(loop))
        await getattr(client.instances, verb)(*(() if verb.endswith("_all") else ("i-1",)))
    assert len([call for call in server.calls if "hardware" not in call]) == 1


@pytest.mark.fault(1)
async def test_a_start_that_finds_nobody_is_sent_once_somebody_is_there(
    on_retry: Callable[[Callable[[], object]], None],
) -> None:
    loop = asyncio.get_running_loop()
    async with RawServer(listening=False) as server, raw_client(server.url) as client:
        server.script(START, one())
        give_token(client)
        on_retry(lambda: server.listen(loop))
        assert (await started(client)).action is Action.DONE
    assert server.calls == [START]


@pytest.mark.parametrize("verb", ["get", "stop", "restart", "delete"])
async def test_a_request_that_never_finds_anybody_is_a_transport_error(either: Api, verb: str) -> None:
    async with RawServer(listening=False) as server, raw_client(server.url, either) as client:
        give_token(client)
        with pytest.raises(TransportError, match="could not be sent"):
            await getattr(client.instances, verb)("i-1")


@pytest.mark.fault(4)
async def test_a_stop_that_waits_in_vain_for_a_slot_of_the_pool_is_sent_once_there_is_one(
    on_retry: Callable[[Callable[[], object]], None], server: RawServer, either: Api
) -> None:
    loop, arrived, go = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    async def held(_: Seen) -> Reply:
        arrived.set()
        await go.wait()
        return STOPPED

    server.script(STOP, STOPPED, held, STOPPED)
    async with raw_client(server.url, either, timeout=3) as client:
        await client.instances.stop("i-1")
        for session in client._core.exchange.transport._mutating.values():
            session.connector._limit = 1  # type: ignore[union-attr]
        holder = asyncio.create_task(client.instances.stop("i-1"))
        await arrived.wait()
        on_retry(lambda: loop.call_soon_threadsafe(go.set))
        await client.instances.stop("i-1")
        await holder
    assert server.count(STOP) == 3


# ---- stop, delete, restart ------------------------------------------------------------------------

GONE, RUNNING, STOPPED, PENDING = status(404), one(status="running"), one(status="stopped"), one(status="pending")
NONE_LISTED, LISTED = answer({"instances": []}), answer({"instances": [instance(status="running")]})
UNREADABLE = answer({"instances": [{"instance_id": "i-1"}]})

Case = tuple[list[Reply], dict[str, list[Reply]], str, list[str]]
CHANGES: dict[str, dict[str, Case]] = {
    # What the change is answered, what reads are answered, how it ends, what was asked.
    STOP: {
        "answered": ([STOPPED], {}, "stopped", [STOP]),
        "lost, then answered": ([RESET, STOPPED], {}, "stopped", [STOP] * 2),
        "cut off, then answered": ([SHORT, STOPPED], {}, "stopped", [STOP] * 2),
        "408, 500, 503, then answered": (
            [status(408), status(500), status(503), STOPPED], {}, "stopped", [STOP] * 4,
        ),
        "HTML, still running": ([HTML], {GET: [RUNNING]}, "OutcomeUnknownError", [STOP, GET]),
        "nothing": ([EMPTY], {GET: [RUNNING]}, "running", [STOP, GET]),
        "too much": ([HUGE], {GET: [STOPPED]}, "stopped", [STOP, GET]),
        "another instance": ([OTHER], {GET: [STOPPED]}, "stopped", [STOP, GET]),
        "HTML, then gone": ([HTML], {GET: [GONE]}, "gone", [STOP, GET]),
        "HTML, then unreadable": ([HTML], {GET: [answer([])]}, "OutcomeUnknownError", [STOP, GET]),
        "404, gone": ([status(404)], {GET: [GONE]}, "gone", [STOP, GET]),
        "409, stopped": ([status(409)], {GET: [STOPPED]}, "stopped", [STOP, GET]),
        "409, running": ([status(409)], {GET: [RUNNING]}, "ConflictError", [STOP, GET]),
        "400, stopped": ([status(400)], {GET: [STOPPED]}, "stopped", [STOP, GET]),
        "400, not listed": (
            [status(400)], {GET: [status(400)], LIST: [NONE_LISTED]}, "gone", [STOP, GET, LIST, LIST],
        ),
        "400, listed in the end": (
            [status(400)], {GET: [status(400)], LIST: [NONE_LISTED, LISTED]}, "APIError", [STOP, GET, LIST, LIST],
        ),
        "400, listed unreadably": (
            [status(400)], {GET: [status(400)], LIST: [UNREADABLE]}, "APIError", [STOP, GET, LIST],
        ),
        "403": ([status(403)], {GET: [RUNNING]}, "PermissionDeniedError", [STOP, GET]),
        "402, and the read fails": ([status(402)], {GET: [status(403)]}, "PaymentRequiredError", [STOP, GET]),
        "302": ([status(302)], {GET: [RUNNING]}, "APIError", [STOP, GET]),
        "lost for ever": ([RESET], {}, "OutcomeUnknownError", [STOP] * 8),
        "503 for ever": ([status(503)], {}, "OutcomeUnknownError", [STOP] * 8),
        "429 for ever": ([LATER], {}, "RateLimitError", [STOP] * 8),
        "503, then 429 for ever": ([status(503), LATER], {}, "OutcomeUnknownError", [STOP] * 8),
    },
    DELETE: {
        "answered": ([answer({"instance_id": "i-1"})], {}, "done", [DELETE]),
        "lost, then answered": ([RESET, answer({})], {}, "done", [DELETE] * 2),
        "lost, then 404": ([EOF, GONE], {GET: [GONE]}, "done", [DELETE, DELETE, GET]),
        "503, 429, then answered": ([status(503), LATER, answer({})], {}, "done", [DELETE] * 3),
        "nothing": ([EMPTY], {}, "done", [DELETE]),
        "too much": ([HUGE], {}, "done", [DELETE]),
        "404, gone": ([GONE], {GET: [GONE]}, "done", [DELETE, GET]),
        "400, not listed": (
            [status(400)], {GET: [status(400)], LIST: [NONE_LISTED]}, "done", [DELETE, GET, LIST, LIST],
        ),
        "409, running": ([status(409)], {GET: [RUNNING]}, "ConflictError", [DELETE, GET]),
        "409, stopped": ([status(409)], {GET: [STOPPED]}, "ConflictError", [DELETE, GET]),
        "lost for ever": ([EOF], {}, "OutcomeUnknownError", [DELETE] * 8),
        "500 for ever": ([status(500)], {}, "OutcomeUnknownError", [DELETE] * 8),
    },
    RESTART: {
        "answered": ([PENDING], {}, "pending", [RESTART]),
        "lost, but pending": ([RESET], {GET: [PENDING]}, "pending", [RESTART, GET]),
        "503, but running": ([status(503)], {GET: [RUNNING]}, "running", [RESTART, GET]),
        "lost, stopped, then answered": ([RESET, PENDING], {GET: [STOPPED]}, "pending", [RESTART, GET, RESTART]),
        "HTML, still stopped": ([HTML], {GET: [STOPPED]}, "OutcomeUnknownError", [RESTART, GET]),
        "nothing": ([EMPTY], {GET: [PENDING]}, "pending", [RESTART, GET]),
        "a list": ([answer([])], {GET: [RUNNING]}, "running", [RESTART, GET]),
        "HTML, then unreadable": ([HTML], {GET: [answer([])]}, "OutcomeUnknownError", [RESTART, GET]),
        "409, running": ([status(409)], {GET: [RUNNING]}, "running", [RESTART, GET]),
        "409, stopped": ([status(409)], {GET: [STOPPED]}, "ConflictError", [RESTART, GET]),
        "404, gone": ([GONE], {GET: [GONE]}, "NotFoundError", [RESTART, GET]),
        "402, stopped": ([status(402)], {GET: [STOPPED]}, "PaymentRequiredError", [RESTART, GET]),
        "lost for ever, stopped": ([RESET], {GET: [STOPPED]}, "OutcomeUnknownError", [RESTART, GET] * 8),
    },
}  # fmt: skip


async def ended(change: Awaitable[Instance | None], call: str) -> str:
    try:
        state = await change
    except InferleaseError as error:
        return type(error).__name__ if error.instance_id == "i-1" else f"{error!r} without the id"
    if call == DELETE:
        return "done"
    return "gone" if state is None else state.instance_status.status


@pytest.mark.fault(6, 8, 11, 27)
@pytest.mark.parametrize(("change", "case"), [(change, case) for change, cases in CHANGES.items() for case in cases])
async def test_a_change_ends_as_the_table_says(api: Client, server: RawServer, change: str, case: str) -> None:
    replies, reads, end, asked = CHANGES[change][case]
    server.script(change, *replies)
    for call, answers in reads.items():
        server.script(call, *answers)
    server.script("GET /hardware-types/", answer({"hardware_types": []}))
    verb = {STOP: "stop", DELETE: "delete", RESTART: "restart"}[change]
    assert await ended(getattr(api.instances, verb)("i-1"), change) == end
    assert [call for call in server.calls if "hardware" not in call] == asked


async def test_an_unknown_outcome_tells_the_last_error(api: Client, server: RawServer) -> None:
    server.script(STOP, status(503))
    with pytest.raises(OutcomeUnknownError, match=r"said 503; it may or may not have taken effect") as caught:
        await api.instances.stop("i-1")
    assert isinstance(caught.value.__cause__, ServerError)
    assert (caught.value.status, caught.value.instance_id) == (503, "i-1")


async def test_a_change_that_may_have_arrived_once_is_unknown_though_the_server_went_away(
    on_retry: Callable[[Callable[[], object]], None], api: Client, server: RawServer
) -> None:
    loop = asyncio.get_running_loop()
    server.script(STOP, RESET)
    on_retry(lambda: loop.call_soon_threadsafe(server._server.close))
    with pytest.raises(OutcomeUnknownError):
        await api.instances.stop("i-1")


async def test_each_attempt_of_a_mutation_is_warned_of(
    api: Client, server: RawServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.script(STOP, status(503), RESET, STOPPED)
    await api.instances.stop("i-1")
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [STOP in message for message in warned] == [True, True]


BULK_CASES: dict[str, tuple[list[Reply], str, int]] = {
    "answered": ([answer({"instance_ids": ["i-1"]})], "['i-1']", 1),
    "answered without ids": ([answer({"message": "nothing ran"})], "[]", 1),
    "lost": ([RESET], "OutcomeUnknownError", 1),
    "408": ([status(408)], "OutcomeUnknownError", 1),
    "503": ([status(503)], "OutcomeUnknownError", 1),
    "nothing": ([EMPTY], "OutcomeUnknownError", 1),
    "too much": ([HUGE], "OutcomeUnknownError", 1),
    "ids of the wrong shape": ([answer({"instance_ids": [5]})], "DecodeError", 1),
    "429 for ever": ([LATER], "RateLimitError", 8),
}


@pytest.mark.fault(6, 11)
@pytest.mark.parametrize(
    ("verb", "call"),
    [("stop_all", "POST /instances/stop-all"), ("delete_all", "DELETE /instances/delete-all?force_deletion=false")],
)
@pytest.mark.parametrize("case", BULK_CASES)
async def test_a_call_about_the_whole_account_ends_as_the_table_says(
    api: Client, server: RawServer, verb: str, call: str, case: str
) -> None:
    replies, end, attempts = BULK_CASES[case]
    server.script(call, *replies)
    try:
        ended = str(await getattr(api.instances, verb)())
    except InferleaseError as error:
        ended = type(error).__name__
    assert ended == end
    assert server.calls == [call] * attempts


# ---- start ----------------------------------------------------------------------------------------

STARTS: dict[str, tuple[list[Reply], Action, int]] = {
    "answered": ([one()], Action.DONE, 1),
    "429, then answered": ([LATER, one()], Action.DONE, 2),
    "401, then answered": ([status(401), one()], Action.DONE, 2),
    "401 for ever": ([status(401)], Action.FAIL, 2),
    "429 for ever": ([LATER], Action.RETRY, 8),
    **{f"{code}": ([status(code)], Action.FAIL, 1) for code in (302, 400, 402, 403, 404, 409, 422)},
    **{f"{code}": ([status(code)], Action.AMBIGUOUS, 1) for code in (408, 500, 502, 503, 504)},
    "503 with Retry-After": ([status(503, Retry_After="0")], Action.AMBIGUOUS, 1),
    "reset": ([RESET], Action.AMBIGUOUS, 1),
    "end of file": ([EOF], Action.AMBIGUOUS, 1),
    "cut off": ([SHORT], Action.AMBIGUOUS, 1),
    "garbage": ([Reply(b"garbage\r\n\r\n")], Action.AMBIGUOUS, 1),
    "nothing": ([EMPTY], Action.AMBIGUOUS, 1),
    "HTML": ([HTML], Action.AMBIGUOUS, 1),
    "cut JSON": ([answer(b'{"instance": {"instance_id": "i-1"')], Action.AMBIGUOUS, 1),
    "too much": ([HUGE], Action.AMBIGUOUS, 1),
    "null": ([answer(None)], Action.SALVAGE, 1),
    "a list": ([answer([])], Action.SALVAGE, 1),
    "no instance": ([answer({"message": "ok"})], Action.SALVAGE, 1),
    "a null status": ([one(instance_status=None)], Action.SALVAGE, 1),
    "JSON that calls itself HTML": ([answer({"instance": instance()}, content_type="text/html")], Action.SALVAGE, 1),
    "half a surrogate pair": (
        [answer(orjson.dumps({"instance": instance(base_url="?")}).replace(b"?", rb"\ud800"))], Action.SALVAGE, 1,
    ),
}  # fmt: skip


async def started(client: Client) -> Settled[InstanceState]:
    core = client._core
    return await core.exchange.settle(
        _requests.start(_requests.start_arguments("org/model")), core.lookup.decode_instance
    )


@pytest.mark.fault(6, 8, 9, 11, 21)
@pytest.mark.async_only(reason="what a start ends with is below both APIs")
@pytest.mark.parametrize("case", STARTS)
async def test_a_start_ends_as_the_table_says(api: Client, server: RawServer, case: str) -> None:
    replies, action, posts = STARTS[case]
    server.script(START, *replies)
    settled = await started(api)
    assert settled.action is action
    assert server.calls == [START] * posts


@pytest.mark.async_only(reason="what a start ends with is below both APIs")
@pytest.mark.parametrize("case", ["a null status", "JSON that calls itself HTML", "half a surrogate pair"])
async def test_a_readable_id_of_a_start_is_kept(api: Client, server: RawServer, case: str) -> None:
    server.script(START, *STARTS[case][0])
    error = (await started(api)).error
    assert isinstance(error, DecodeError)
    assert error.instance_id == "i-1"


@pytest.mark.fault(5)
async def test_a_start_whose_connection_is_reset_as_it_begins_is_ambiguous(server: RawServer) -> None:
    async with raw_client(server.url) as client:
        give_token(client)
        server.on_accept.append(Then.RESET)
        assert (await started(client)).action is Action.AMBIGUOUS
    assert server.connections == 1


@SLOW
@pytest.mark.fault(10)
async def test_a_start_that_gets_no_whole_answer_in_time_is_ambiguous(server: RawServer, reply: Reply) -> None:
    server.script(START, reply)
    async with raw_client(server.url, timeout=0.2) as client:
        assert (await started(client)).action is Action.AMBIGUOUS
    assert server.calls == [START]


async def test_a_start_with_bad_arguments_sends_nothing(api: Client, server: RawServer) -> None:
    for arguments in ({"num_workers": 0}, {"context_length": -1}, {"billing_interval": "x"}):
        with pytest.raises(InvalidArgumentError):
            await api.instances.start("org/model", **arguments)
    with pytest.raises(InvalidArgumentError):
        await api.instances.ensure("org/model", num_workers=9)
    with pytest.raises(InvalidArgumentError):
        api.lease("org/model", num_workers=9)
    assert server.requests == []


@pytest.mark.parametrize("verb", ["get", "stop", "restart", "delete"])
@pytest.mark.parametrize("value", ["delete-all", "..", "a/b", "i\r\n", ""])
async def test_a_bad_id_sends_nothing(api: Client, server: RawServer, verb: str, value: str) -> None:
    with pytest.raises(InvalidArgumentError):
        await getattr(api.instances, verb)(value)
    assert server.requests == []


# ---- bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (status(429, Retry_After="30"), RateLimitError),
        (status(503, Retry_After="30"), ServerError),
        (status(429, Retry_After="99999"), RateLimitError),
    ],
)
async def test_a_wait_that_does_not_fit_into_the_timeout_is_not_begun(
    api: Client, server: RawServer, reply: Reply, error: type[APIError]
) -> None:
    server.script(GET, reply)
    with pytest.raises(error) as caught:
        await api.instances.get("i-1")
    assert caught.value.retry_after in {30, 60}
    assert server.calls == [GET]


@SLOW
@pytest.mark.fault(10)
async def test_an_answer_that_never_ends_does_so_with_the_timeout(server: RawServer, either: Api, reply: Reply) -> None:
    server.script(GET, reply)
    async with raw_client(server.url, either, timeout=0.2) as client:
        with pytest.raises(TransportError):
            await client.instances.get("i-1")
    assert server.calls == [GET]


async def test_the_attempts_of_a_read_share_one_timeout(server: RawServer) -> None:
    async def slow(_: Seen) -> Reply:
        await asyncio.sleep(0.1)
        return status(503)

    server.script(GET, slow)
    async with raw_client(server.url, timeout=0.25) as client:
        with pytest.raises((TransportError, ServerError)):
            await client.instances.get("i-1")
    assert server.count(GET) <= 3


@pytest.mark.fault(20)
async def test_in_a_total_outage_the_budget_bounds_the_load(api: Client, server: RawServer) -> None:
    server.script(LIST, status(503))
    for _ in range(200):
        with pytest.raises(ServerError):
            await api.instances.list()
    assert 200 < server.count(LIST) <= 220


@pytest.mark.fault(20)
async def test_in_a_total_outage_the_budget_bounds_the_load_of_calls_at_once(api: Client, server: RawServer) -> None:
    server.script(LIST, status(503))
    results = await asyncio.gather(*(api.instances.list() for _ in range(200)), return_exceptions=True)
    assert {type(result) for result in results} == {ServerError}
    assert 200 < server.count(LIST) <= 220


async def test_an_outage_of_the_token_endpoint_is_bounded_too(api: Client, server: RawServer) -> None:
    server.script(TOKEN_CALL, status(503))
    for _ in range(200):
        with pytest.raises(ServerError):
            await api.instances.list()
    assert 200 < server.count(TOKEN_CALL) <= 220


@pytest.mark.fault(20)
async def test_a_stop_goes_on_where_the_budget_is_spent(api: Client, server: RawServer) -> None:
    server.script(STOP, status(503), status(503), STOPPED)
    api._core.exchange.budget.tokens = 0
    assert await api.instances.stop("i-1") is not None
    assert server.count(STOP) == 3


async def test_successes_fill_the_budget_again(api: Client, server: RawServer) -> None:
    server.script(GET, one())
    api._core.exchange.budget.tokens = 0
    for _ in range(5):
        await api.instances.get("i-1")
    assert api._core.exchange.budget.tokens >= 5
