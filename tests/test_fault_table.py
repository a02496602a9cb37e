"""Statuses, bodies and instances that are wrong lead to what the fault table says.

Each case runs with the answers of a mocked aiohttp and of a server on a real socket, through both APIs.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import pytest_asyncio
from aioresponses import CallbackResult
from attrs import define, field

from inferlease import InferleaseError, Listing
from inferlease._retry import Backoff
from tests.emulator.support import until
from tests.fault_cases import CASES, Case, Said, Verb, json
from tests.raw_server import CLIENT_ID, SECRET, TOKEN_CALL, RawServer, answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yarl import URL

    from inferlease import Client, InstanceEvent
    from tests.worlds import Api

TOKEN = json({"access_token": "t0ken", "token_type": "Bearer", "expires_in": 3600})
PRICES = "GET /hardware-types/"  # asked for when an instance comes up, at no certain time
MODEL_CALL = "GET /models/org--model"  # a start first asks what the server's defaults are


# ---- two ways to answer ---------------------------------------------------------------------------


class Server(Protocol):
    """Answers calls as it is told to, and remembers them."""

    @property
    def url(self) -> str: ...
    @property
    def asked(self) -> list[str]: ...
    def script(self, call: str, said: list[Said]) -> None: ...


@define(eq=False)
class Mocked:
    """aiohttp, answering without a connection."""

    http: Any
    url: str = "http://127.0.0.1:9"
    asked: list[str] = field(factory=list)
    _scripts: dict[str, deque[Said]] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        for method in ("GET", "POST", "DELETE"):
            self.http.add(re.compile(re.escape(self.url)), method, callback=self._answering(method), repeat=True)

    def script(self, call: str, said: list[Said]) -> None:
        self._scripts[call] = deque(said)

    def _answering(self, method: str) -> Any:
        def reply(url: URL, **_: Any) -> CallbackResult:
            call = f"{method} {url.path_qs}"
            self.asked.append(call)
            script = self._scripts[call]
            said = script.popleft() if len(script) > 1 else script[0]
            return CallbackResult(
                status=said.status, body=said.body, content_type=said.content_type, headers=said.headers
            )

        return reply


@define(eq=False)
class OnSocket:
    """A server on loopback."""

    server: RawServer

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def asked(self) -> list[str]:
        return [seen.call for seen in self.server.requests]

    def script(self, call: str, said: list[Said]) -> None:
        self.server.script(
            call,
            *(
                answer(
                    each.body,
                    each.status,
                    headers={name: value.encode().decode("latin-1") for name, value in each.headers.items()},
                    content_type=each.content_type,
                )
                for each in said
            ),
        )


@pytest_asyncio.fixture(params=["mocked", "socket"])
async def answering(request: pytest.FixtureRequest) -> Any:
    if request.param == "mocked":
        yield Mocked(request.getfixturevalue("http"))
        return
    async with RawServer() as server:
        yield OnSocket(server)


# ---- time -----------------------------------------------------------------------------------------


@pytest.fixture
def _noon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """It is noon of 1 January 2025, UTC, on a machine whose own zone is far from that."""
    noon = datetime(2025, 1, 1, 12, tzinfo=UTC)
    monkeypatch.setattr("inferlease._protocol.datetime", SimpleNamespace(now=lambda _: noon))
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would be waited between requests, without the jitter; nobody waits, the clock just goes on."""
    seconds: list[float] = []

    async def sleep(delay: float) -> None:
        seconds.append(delay)

    monkeypatch.setattr("inferlease._exchange.Backoff", lambda: Backoff(first=0, most=0))
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(seconds))
    monkeypatch.setattr("inferlease._reconcile.time", clock)
    for module in ("_retry", "_reconcile", "_lookup"):
        monkeypatch.setattr(f"inferlease.{module}.asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
    return seconds


# ---- the table ------------------------------------------------------------------------------------


async def wait_until_running(client: Client) -> list[tuple[str, float | None, float | None]]:
    """What is told meanwhile: the state, the progress that is shown, and the one on the object.

    Nothing is polled again before the last change has been told.
    """
    told = []

    def note(event: InstanceEvent) -> None:
        told.append((event.state, event.progress, instance.progress))
        if not event.instance.is_usable:
            for loop, poller in list(client._core.lookup._pollers.items()):
                loop.call_soon_threadsafe(poller.poll_now)

    instance = await client.instances.get("i-1")
    await instance.wait_until_running(timeout=30, on_progress=note)
    return told


async def outcome(verb: Verb, client: Client) -> Any:
    """What the call returns, or raises."""
    arguments = {"list": (), "stop_all": (), "delete_all": (), "start": ("org/model",)}.get(verb, ("i-1",))
    try:
        if verb == "wait":
            return await wait_until_running(client)
        return await getattr(client.instances, verb)(*arguments)
    except InferleaseError as error:
        return error


def told_of(ended: Any) -> dict[str, Any]:
    """What a case may say of a value or an error."""
    if isinstance(ended, InferleaseError):
        candidates = [state.instance_id for state in getattr(ended, "candidates", ())]
        return {**vars(ended), "raises": type(ended), "candidates": candidates}
    if ended is None:
        return {"raises": None, "nothing": True}
    if isinstance(ended, Listing):
        return {
            "raises": None,
            "ids": [each.instance_id for each in ended],
            "states": [each.instance_status.status for each in ended],
            "invalid": [bad.id for bad in ended.invalid],
        }
    if isinstance(ended, list):
        return {"raises": None, "ids": ended, "told": ended}
    return {
        "raises": None,
        "status": ended.instance_status.status,
        "stopped": ended.is_stopped,
        "usable": ended.is_usable,
        "workers": [worker.init_progress for worker in ended.worker_statuses],
    }


@pytest.mark.asyncio
@pytest.mark.usefixtures("_noon")
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=str(case), marks=pytest.mark.fault(case.row)) for case in CASES]
)
async def test_a_fault_leads_to_what_the_table_says(
    answering: Server, either: Api, waits: list[float], caplog: pytest.LogCaptureFixture, case: Case
) -> None:
    asides = {
        TOKEN_CALL: [TOKEN],
        PRICES: [json({"hardware_types": []})],
        MODEL_CALL: [json({"model": {"model_id": "org--model"}})],
    }
    for call, said in {**asides, **case.answers}.items():
        answering.script(call, said)
    options: dict[str, Any] = {"timeout": case.timeout, "poll_interval": 3600, "settle_time": 2.0, "exclusive": False}
    async with either.make(CLIENT_ID, SECRET, base_url=answering.url, **options) as client:
        ended = await outcome(case.does, client)
        await until(lambda: not client._core.jobs._open and not client._core.announcer._telling)
    told = told_of(ended)
    assert {name: told.get(name, "not told") for name in case.ends.told} == case.ends.told
    assert case.ends.says in str(ended)
    assert [call for call in answering.asked if call not in asides] == case.asked
    assert answering.asked.count(TOKEN_CALL) == case.tokens
    assert waits == case.waits
    assert [text for text in [*caplog.messages, str(ended)] if not text.isprintable()] == []
