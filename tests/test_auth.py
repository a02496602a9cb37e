"""Credentials, the access token, and the keys that never show."""

from __future__ import annotations

import asyncio
import gc
import logging
import pickle
import traceback
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from attrs import define, field

from inferlease import (
    AuthenticationError,
    Client,
    ConfigurationError,
    DecodeError,
    InferleaseError,
    PermissionDeniedError,
    ServerError,
    TransportError,
    _auth,
)
from inferlease._auth import Credentials, InferenceKey, Token, TokenCache, decode_token
from tests.raw_server import (
    EOF,
    HANG,
    RESET,
    SECRET,
    TOKEN,
    TOKEN_CALL,
    RawServer,
    Reply,
    Seen,
    Then,
    answer,
    one,
    raw_client,
    token_answer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

BALANCE_CALL = "GET /user/balance"
BALANCE = answer({"current_balance": 5.0, "currency": "EUR"})
KEY = "key-for-inference-of-the-test"


@define
class Clock:
    now: float = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that tokens live by."""
    clock = Clock()
    monkeypatch.setattr(_auth, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def bearers(server: RawServer, call: str = BALANCE_CALL) -> list[str | None]:
    return [seen.headers.get("authorization") for seen in server.requests if seen.call == call]


def accepting(*good: str, reply: Reply = BALANCE) -> Any:
    """A reply to requests with one of these tokens; 401 to others."""

    async def answered(seen: Seen) -> Reply:
        if seen.headers.get("authorization") in {f"Bearer {value}" for value in good}:
            return reply
        return answer({"message": "expired"}, 401)

    return answered


# ---- credentials ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "environment", "resolved"),
    [
        (("a", "b"), {}, ("a", "b")),
        ((None, None), {"CORTECS_CLIENT_ID": "c", "CORTECS_CLIENT_SECRET": "d"}, ("c", "d")),
        (("a", "b"), {"CORTECS_CLIENT_ID": "c", "CORTECS_CLIENT_SECRET": "d"}, ("a", "b")),
        (("a", None), {"CORTECS_CLIENT_SECRET": "d"}, ("a", "d")),
    ],
)
def test_arguments_win_over_the_environment(
    arguments: tuple[str | None, str | None],
    environment: dict[str, str],
    resolved: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Credentials(*arguments).resolve() == resolved


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [((None, None), "CORTECS_CLIENT_ID"), (("a", None), "CORTECS_CLIENT_SECRET"), ((None, "b"), "CORTECS_CLIENT_ID")],
)
@pytest.mark.asyncio
async def test_missing_credentials_are_an_error_of_the_first_call_that_needs_them(
    server: RawServer, arguments: tuple[str | None, str | None], missing: str
) -> None:
    async with Client(*arguments, base_url=server.url) as client:
        with pytest.raises(ConfigurationError, match=missing):
            await client.account.balance()
        with pytest.raises(ConfigurationError, match=missing):
            await client.instances.stop("i-1")
        with pytest.raises(ConfigurationError, match=missing):
            await client.instances.start("org/model")
    assert list(server.calls) == []


@pytest.mark.asyncio
async def test_models_and_hardware_types_are_read_without_credentials(server: RawServer) -> None:
    server.script("GET /models/", answer({"models": []}))
    server.script("GET /models/org--model", answer({"model": {"model_id": "org--model"}}))
    server.script("GET /hardware-types/", answer({"hardware_types": []}))
    server.script("GET /hardware-types/available", answer({"hardware_types": []}))
    async with Client(base_url=server.url) as client:
        await client.models.list()
        await client.models.get("org/model")
        await client.hardware_types.list()
        await client.hardware_types.list_available()
    assert len(server.requests) == 4
    assert not any("authorization" in seen.headers for seen in server.requests)


@pytest.mark.parametrize(
    ("argument", "environment", "key"),
    [
        ("a", {"INFERLEASE_INFERENCE_KEY": "b", "OPENAI_API_KEY": "c"}, "a"),
        (None, {"INFERLEASE_INFERENCE_KEY": "b", "OPENAI_API_KEY": "c"}, "b"),
        (None, {"OPENAI_API_KEY": "c"}, "c"),
        (None, {"INFERLEASE_INFERENCE_KEY": "", "OPENAI_API_KEY": "c"}, "c"),
        ("sk-proj-x", {}, "sk-proj-x"),
    ],
)
def test_the_key_for_inference_is_found(
    argument: str | None, environment: dict[str, str], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert InferenceKey(argument).resolve() == key


@pytest.mark.parametrize(
    ("argument", "environment"),
    [
        (None, {}),
        (None, {"OPENAI_API_KEY": "sk-proj-of-another"}),
        ("a\r\nX-Evil: b", {}),
        ("schlüssel", {}),
        ("a b", {}),
        ("a\x00", {}),
    ],
)
def test_a_key_that_is_missing_or_unfit_is_a_configuration_error(
    argument: str | None, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        InferenceKey(argument).resolve()
    assert "of-another" not in str(caught.value)
    assert not argument or argument not in str(caught.value)


# ---- the answer that carries the token ------------------------------------------------------------


@pytest.mark.fault(57)
@pytest.mark.parametrize(
    ("expires_in", "renewed_after"),
    [
        ({}, 3540),
        ({"expires_in": 3600}, 3540),
        ({"expires_in": 3600.5}, 3540.5),
        ({"expires_in": 300}, 270),
        ({"expires_in": 30}, 27),
        ({"expires_in": 0}, 27),
        ({"expires_in": -1}, 27),
        ({"expires_in": -1e308}, 27),
        ({"expires_in": 1e308}, 86340),
        ({"expires_in": 2**63}, 86340),
        ({"expires_in": "3600"}, 3540),
        ({"expires_in": "soon"}, 3540),
        ({"expires_in": True}, 3540),
        ({"expires_in": False}, 3540),
        ({"expires_in": None}, 3540),
        ({"expires_in": []}, 3540),
    ],
    ids=str,
)
def test_the_lifetime_is_clamped_and_the_token_renewed_early(
    clock: Clock, expires_in: dict[str, Any], renewed_after: float
) -> None:
    payload = orjson.loads(orjson.dumps({"access_token": "t", **expires_in}))
    assert decode_token(payload).renew_at - clock.now == renewed_after


@pytest.mark.fault(60)
@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        "t",
        {},
        {"access_token": None},
        {"access_token": 5},
        {"access_token": ""},
        *(
            {"access_token": f"tok{bad}en"}
            for bad in ("\r", "\n", "\r\nX-Evil: 1\r\n", "\x00", " ", "\t", "é", "\u0661")
        ),
        {"access_token": "token\n"},
    ],
    ids=str,
)
def test_a_token_that_no_header_can_carry_is_refused(payload: Any) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_token(payload)
    assert caught.value.path == "access_token"
    assert "tok" not in str(caught.value).replace("access_token", "").replace("a token", "").replace("/token", "")


@pytest.mark.fault(60)
@pytest.mark.asyncio
async def test_an_unusable_token_is_not_asked_for_again_and_never_sent(api: Client, server: RawServer) -> None:
    server.script(TOKEN_CALL, token_answer("to\r\nken"))
    with pytest.raises(DecodeError, match="access_token"):
        await api.account.balance()
    assert [seen.call for seen in server.requests] == [TOKEN_CALL]


# ---- the cache ------------------------------------------------------------------------------------


@define(eq=False)
class Fetches:
    """A fetch of tokens that waits until it is let go."""

    clock: Clock
    lifetime: float = 100.0
    count: int = 0
    failure: Exception | None = None
    go: asyncio.Event = field(factory=asyncio.Event)

    async def __call__(self) -> Token:
        self.count += 1
        value = f"token-{self.count}"
        await self.go.wait()
        if self.failure is not None:
            raise self.failure
        return Token(value, self.clock.now + self.lifetime)


@pytest.fixture
def fetches(clock: Clock) -> Fetches:
    return Fetches(clock)


@pytest.mark.asyncio
async def test_one_fetch_serves_all_who_wait(fetches: Fetches) -> None:
    cache = TokenCache(fetches)
    waiting = [asyncio.create_task(cache.fresh()) for _ in range(100)]
    await asyncio.sleep(0)
    fetches.go.set()
    assert set(await asyncio.gather(*waiting)) == {"token-1"}
    assert fetches.count == 1


@pytest.mark.fault(58)
@pytest.mark.asyncio
async def test_a_cancelled_leader_does_not_fail_its_followers(fetches: Fetches) -> None:
    cache = TokenCache(fetches)
    leader, *followers = (asyncio.create_task(cache.fresh()) for _ in range(3))
    await asyncio.sleep(0)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    fetches.go.set()
    assert await asyncio.gather(*followers) == ["token-1", "token-1"]
    assert fetches.count == 1


@pytest.mark.asyncio
async def test_a_failed_fetch_fails_all_who_wait_and_the_next_one_tries_anew(fetches: Fetches) -> None:
    cache = TokenCache(fetches)
    fetches.failure = TransportError("down")
    fetches.go.set()
    results = await asyncio.gather(*(cache.fresh() for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [TransportError] * 3
    fetches.failure = None
    assert await cache.fresh() == "token-2"


@pytest.mark.asyncio
async def test_a_fetch_that_fails_with_nobody_waiting_is_no_error_of_the_loop(fetches: Fetches) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    fetches.failure = TransportError("down")
    leader = asyncio.create_task(TokenCache(fetches).fresh())
    await asyncio.sleep(0)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    fetches.go.set()
    for _ in range(5):
        await asyncio.sleep(0)
    fetches.failure = None  # its traceback holds the task
    gc.collect()
    assert complaints == []


@pytest.mark.asyncio
async def test_a_token_is_renewed_before_it_expires(fetches: Fetches, clock: Clock) -> None:
    cache = TokenCache(fetches)
    fetches.go.set()
    await cache.fresh()
    clock.now += 99
    assert cache.current() == "token-1"
    clock.now += 1
    assert cache.current() is None
    assert await cache.fresh() == "token-2"


@pytest.mark.asyncio
async def test_a_refused_token_is_replaced_only_once(fetches: Fetches) -> None:
    cache = TokenCache(fetches)
    fetches.go.set()
    refused = await cache.fresh()
    assert await asyncio.gather(*(cache.fresh(stale=refused) for _ in range(50))) == ["token-2"] * 50
    assert await cache.fresh(stale=refused) == "token-2"
    assert fetches.count == 2


def test_each_loop_has_its_own_fetch(fetches: Fetches, clock: Clock) -> None:
    cache = TokenCache(fetches)
    fetches.go.set()
    assert asyncio.run(cache.fresh()) == "token-1"
    assert asyncio.run(cache.fresh()) == "token-1"
    clock.now += 1000
    assert asyncio.run(cache.fresh()) == "token-2"


# ---- over the wire --------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_hundred_calls_at_once_fetch_one_token(api: Client, server: RawServer) -> None:
    server.script(BALANCE_CALL, BALANCE)
    await asyncio.gather(*(api.account.balance() for _ in range(100)))
    assert (server.count(TOKEN_CALL), server.count(BALANCE_CALL)) == (1, 100)
    assert set(bearers(server)) == {f"Bearer {TOKEN}"}


@pytest.mark.fault(58)
@pytest.mark.async_only(reason="a synchronous caller is interrupted, not cancelled")
@pytest.mark.asyncio
async def test_a_call_cancelled_while_it_fetches_the_token_does_not_fail_the_others(
    api: Client, server: RawServer
) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(_: Seen) -> Reply:
        asked.set()
        await go.wait()
        return token_answer()

    server.script(TOKEN_CALL, slow)
    server.script(BALANCE_CALL, BALANCE)
    leader = asyncio.create_task(api.account.balance())
    followers = [asyncio.create_task(api.account.balance()) for _ in range(5)]
    await asked.wait()
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    go.set()
    await asyncio.gather(*followers)
    assert server.count(TOKEN_CALL) == 1


@pytest.mark.asyncio
async def test_a_token_from_the_users_loop_serves_the_keeper_too(api: Client, server: RawServer) -> None:
    server.script(BALANCE_CALL, BALANCE)
    server.script("POST /instances/stop", one(status="stopped"))
    await api.account.balance()
    await api.instances.stop("i-1")
    assert server.count(TOKEN_CALL) == 1


@pytest.mark.fault(56)
@pytest.mark.asyncio
async def test_a_token_is_renewed_early_without_anybody_noticing(api: Client, server: RawServer, clock: Clock) -> None:
    server.script(TOKEN_CALL, token_answer("first", expires_in=100), token_answer("second", expires_in=100))
    server.script(BALANCE_CALL, BALANCE)
    await api.account.balance()
    clock.now += 89
    await api.account.balance()
    clock.now += 2
    await api.account.balance()
    assert bearers(server) == ["Bearer first", "Bearer first", "Bearer second"]


@pytest.mark.fault(57)
@pytest.mark.parametrize("expires_in", [None, 0, -5, "x", True, 10**400], ids=lambda value: str(value)[:8])
@pytest.mark.asyncio
async def test_no_lifetime_makes_every_call_fetch_a_token(api: Client, server: RawServer, expires_in: Any) -> None:
    huge = b'{"access_token": "t", "expires_in": 18446744073709551615}'
    server.script(TOKEN_CALL, token_answer("t", expires_in=expires_in) if expires_in != 10**400 else answer(huge))
    server.script(BALANCE_CALL, BALANCE)
    for _ in range(5):
        await api.account.balance()
    assert server.count(TOKEN_CALL) == 1


@pytest.mark.fault(23)
@pytest.mark.asyncio
async def test_a_401_renews_the_token_and_replays_the_call(api: Client, server: RawServer) -> None:
    server.script(TOKEN_CALL, token_answer("old"), token_answer("new"))
    server.script(BALANCE_CALL, accepting("new"))
    assert (await api.account.balance()).current_balance == 5.0
    assert bearers(server) == ["Bearer old", "Bearer new"]


@pytest.mark.fault(23)
@pytest.mark.parametrize(
    ("call", "verb"),
    [("POST /instances/stop", "stop"), ("POST /instances/restart", "restart"), ("DELETE /instances/i-1", "delete")],
)
@pytest.mark.asyncio
async def test_a_mutation_is_replayed_after_a_401_too(api: Client, server: RawServer, call: str, verb: str) -> None:
    server.script(TOKEN_CALL, token_answer("old"), token_answer("new"))
    server.script(call, accepting("new", reply=one(status="stopped")))
    server.script("GET /hardware-types/", answer({"hardware_types": []}))
    await getattr(api.instances, verb)("i-1")
    assert bearers(server, call) == ["Bearer old", "Bearer new"]


@pytest.mark.asyncio
async def test_many_calls_with_the_same_refused_token_renew_it_once(api: Client, server: RawServer) -> None:
    server.script(TOKEN_CALL, token_answer("old"), token_answer("new"))
    server.script(BALANCE_CALL, accepting("new"))
    await asyncio.gather(*(api.account.balance() for _ in range(20)))
    assert server.count(TOKEN_CALL) == 2


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.asyncio
async def test_refused_credentials_are_an_authentication_error_at_once(
    api: Client, server: RawServer, status: int
) -> None:
    server.script(TOKEN_CALL, answer({"message": "unknown client"}, status))
    with pytest.raises(AuthenticationError, match=r"client id and secret were not accepted.*unknown client") as caught:
        await api.account.balance()
    assert (caught.value.status, len(server.requests)) == (status, 1)


@pytest.mark.parametrize("fault", [RESET, EOF, answer(None, 503), answer(b"<html>")], ids=str)
@pytest.mark.asyncio
async def test_a_fault_of_the_token_request_is_tried_again(api: Client, server: RawServer, fault: Reply) -> None:
    server.script(TOKEN_CALL, fault, fault, fault, token_answer())
    server.script(BALANCE_CALL, BALANCE)
    await api.account.balance()
    assert server.count(BALANCE_CALL) == 1


@pytest.mark.asyncio
async def test_without_a_token_a_mutation_is_not_sent_and_not_unknown(api: Client, server: RawServer) -> None:
    server.script(TOKEN_CALL, answer(None, 500))
    with pytest.raises(ServerError):
        await api.instances.stop("i-1")
    assert server.calls == []


@pytest.mark.asyncio
async def test_a_token_that_never_comes_ends_with_the_timeout(server: RawServer) -> None:
    server.script(TOKEN_CALL, HANG)
    async with raw_client(server.url, timeout=0.2) as client:
        with pytest.raises(TransportError):
            await client.account.balance()
        with pytest.raises(TransportError):
            await client.instances.stop("i-1")
    assert server.calls == []


# ---- secrets --------------------------------------------------------------------------------------

FAULTS: dict[str, dict[str, Reply]] = {
    "401": {BALANCE_CALL: answer({"message": "no"}, 401)},
    "500": {BALANCE_CALL: answer(b"<html>", 500)},
    "not JSON": {BALANCE_CALL: answer(b"<html>")},
    "wrong shape": {BALANCE_CALL: answer([])},
    "garbage": {BALANCE_CALL: Reply(b"garbage\r\n\r\n")},
    "redirect": {BALANCE_CALL: answer(None, 302, headers={"Location": "http://127.0.0.1:9/"})},
    "reset": {BALANCE_CALL: RESET},
    "truncated": {BALANCE_CALL: Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", EOF.then)},
    "refused credentials": {TOKEN_CALL: answer({"message": "no"}, 401)},
    "no token": {TOKEN_CALL: Reply(b"garbage\r\n\r\n")},
    "token of the wrong shape": {TOKEN_CALL: token_answer(TOKEN + "\n" + SECRET)},
    "token not JSON": {TOKEN_CALL: answer(b'{"access_token": "' + TOKEN.encode())},
}


def shown(error: BaseException) -> Iterator[str]:
    """Whatever an error and all that led to it may show."""
    yield "".join(traceback.format_exception(error))
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        current = todo.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield f"{current} {current!r} {current.args!r} {vars(current)!r}"
        todo += [current.__cause__, current.__context__]


@pytest.mark.fault(59)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.asyncio
async def test_no_error_or_log_shows_a_secret(
    api: Client, server: RawServer, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    caplog.set_level(logging.DEBUG)
    for call, reply in FAULTS[fault].items():
        server.script(call, reply)
    with pytest.raises(InferleaseError) as caught:
        await api.account.balance()
    everything = [*shown(caught.value), caplog.text, repr(pickle.dumps(caught.value))]
    for secret in (SECRET, TOKEN):
        assert not [text for text in everything if secret in text]


@pytest.mark.fault(59)
@pytest.mark.parametrize("fault", ["401", "500", "garbage", "reset", "redirect"])
@pytest.mark.asyncio
async def test_no_error_or_log_of_a_mutation_shows_a_secret(
    api: Client, server: RawServer, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    caplog.set_level(logging.DEBUG)
    server.script("POST /instances/stop", *FAULTS[fault].values())
    server.script("GET /instances/i-1", one(status="running"))
    with pytest.raises(InferleaseError) as caught:
        await api.instances.stop("i-1")
    everything = [*shown(caught.value), caplog.text, repr(pickle.dumps(caught.value))]
    for secret in (SECRET, TOKEN):
        assert not [text for text in everything if secret in text]


@pytest.mark.fault(59)
@pytest.mark.asyncio
async def test_no_part_of_a_client_shows_a_secret(server: RawServer) -> None:
    server.script(BALANCE_CALL, BALANCE)
    async with raw_client(server.url, inference_key=KEY) as client:
        await client.account.balance()
        core = client._core
        parts = [client, core, core.exchange, core.exchange._credentials, core.exchange._tokens]
        parts += [core.exchange._tokens._token, core.exchange.transport, core.probe, core.probe._key]
        for part in parts:
            text = f"{part!r} {part}"
            assert not [secret for secret in (SECRET, TOKEN, KEY) if secret in text], part


@pytest.mark.fault(59)
@pytest.mark.asyncio
async def test_no_pickle_of_a_client_or_an_instance_carries_a_secret(server: RawServer) -> None:
    server.script("GET /instances/i-1", one())
    async with raw_client(server.url, inference_key=KEY) as client:
        instance = await client.instances.get("i-1")
        for part in (client, client.instances, client.lease("org/model"), client._core.exchange, instance):
            try:
                pickled = repr(pickle.dumps(part))
            except Exception as error:  # noqa: BLE001 - whichever way pickle refuses
                pickled = repr(error)
            assert not [secret for secret in (SECRET, TOKEN, KEY) if secret in pickled], part


@pytest.mark.asyncio
async def test_what_has_a_body_says_that_it_is_json_and_what_has_none_says_nothing(
    api: Client, server: RawServer
) -> None:
    server.script("GET /instances/", answer({"instances": []}))
    server.script("POST /instances/stop", one("i-1", "stopped"))
    await api.instances.list()
    await api.instances.stop("i-1")
    said = {seen.call: seen.headers.get("content-type") for seen in server.requests}
    assert said == {
        "POST /oauth2/token": "application/json",
        "GET /instances/": None,
        "POST /instances/stop": "application/json",
    }


@pytest.mark.fault(59)
@pytest.mark.asyncio
async def test_a_secret_that_the_server_echoes_is_taken_out_of_the_error(api: Client, server: RawServer) -> None:
    server.script("POST /oauth2/token", answer({"message": f"unknown secret {SECRET}"}, 401))
    with pytest.raises(AuthenticationError) as caught:
        await api.account.balance()
    assert "unknown secret …" in str(caught.value)
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r}"


ECHO = f"Bearer {TOKEN}"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "reply",
    [
        answer({"message": f"bad token: {ECHO}"}, 403),
        answer({"message": "x" * 280 + ECHO}, 403),
        answer({"message": "denied"}, 403, headers={"X-Request-Id": TOKEN}),
        answer({}, content_type=ECHO),
        answer({"currency": ECHO}),
        Reply(f"HTTP/1.1 {ECHO}\r\n\r\n".encode(), Then.CLOSE),
    ],
    ids=["message", "cut message", "request id", "content type", "data", "status line"],
)
async def test_a_token_that_the_server_echoes_is_in_no_error_and_no_log(
    api: Client, server: RawServer, reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "inferlease")
    server.script("GET /user/balance", reply)
    with pytest.raises(InferleaseError) as caught:
        await api.account.balance()
    shown = "".join(traceback.format_exception(caught.value))
    # Not even its beginning, where a message was cut.
    assert TOKEN[:8] not in f"{shown} {caught.value.request_id} {caplog.text}"


@pytest.mark.asyncio
async def test_a_slash_that_the_server_escapes_does_not_hide_the_token(api: Client, server: RawServer) -> None:
    server.script("POST /oauth2/token", token_answer("to/ken"))
    server.script("GET /user/balance", answer(rb'{"message": "bad token to\/ken"}', 403))
    with pytest.raises(PermissionDeniedError, match=r"bad token …$"):
        await api.account.balance()
