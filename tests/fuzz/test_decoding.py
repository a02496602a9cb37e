"""Whatever whole answer arrives, a call returns valid data or raises a typed error: without sockets, for speed."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from inferlease import Client
from inferlease._protocol import Answer, Lost, NotSent, Outcome
from inferlease._transport import Transport
from tests.fuzz.answers import DOCUMENTS, ECHOES, bodies, encode, fuzzed, headers, statuses, strings
from tests.fuzz.calls import CALLS
from tests.fuzz.judging import KEY, Judge
from tests.raw_server import CLIENT_ID, SECRET, TOKEN, TOKEN_CALL

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

    from inferlease._requests import Request

NOWHERE = "http://127.0.0.1:1"
RIGHT = {call: Answer(200, {"Content-Type": "application/json"}, encode(body)) for call, body in DOCUMENTS.items()}

UNKNOWN = Answer(404, {}, b'{"message": "no such thing"}')


class ScriptedTransport(Transport):
    """Answers without a socket; the last outcome of a call stands for all that follow."""

    def __init__(self, odd: dict[str, list[Outcome]]) -> None:
        super().__init__(NOWHERE, connect_timeout=1, proxy=False, ssl=None)
        self._odd = {call: deque(outcomes) for call, outcomes in odd.items()}

    async def send(self, request: Request, *_: object) -> Outcome:
        await asyncio.sleep(0)
        odd = self._odd.get(str(request))
        if odd:
            return odd.popleft() if len(odd) > 1 else odd[0]
        return RIGHT.get(str(request), UNKNOWN)

    async def fetch(self, *_: object) -> Outcome:
        return Answer(200, {}, b"{}")


def client_of(transport: Transport) -> Client:
    client = Client(
        CLIENT_ID, SECRET, base_url=NOWHERE, inference_key=KEY, timeout=0.2, poll_interval=0.01, settle_time=0.02
    )
    client._core.exchange.transport = client._core.probe._transport = client._transport = transport
    return client


@st.composite
def outcomes(draw: DrawFn, call: str) -> Outcome:
    if draw(st.integers(0, 9)) == 0:
        error = OSError(draw(strings | st.sampled_from(ECHOES)))
        return draw(st.sampled_from([NotSent(error), NotSent(error, permanent=True), Lost(error)]))
    body = None if draw(st.integers(0, 19)) == 0 else draw(bodies(call))
    return Answer(draw(statuses), CIMultiDict(draw(headers)), body)


@st.composite
def scripts(draw: DrawFn, names: list[str]) -> tuple[str, dict[str, list[Outcome]]]:
    """A call, and odd answers to one or two of its requests."""
    name = draw(st.sampled_from(names))
    requests = CALLS[name][1]
    chosen = draw(st.lists(st.sampled_from(requests), min_size=1, max_size=2, unique=True))
    return name, {request: draw(st.lists(outcomes(request), min_size=1, max_size=3)) for request in chosen}


async def heard(name: str, odd: dict[str, list[Outcome]], judge: Judge) -> str:
    client = client_of(ScriptedTransport(odd))
    try:
        if TOKEN_CALL in odd:
            judge.secrets = (SECRET, KEY)
        else:
            judge.secrets = (SECRET, KEY, TOKEN)
            await client._core.exchange._tokens.fresh()
        return await judge.hear(client, CALLS[name][0](client))
    finally:
        await client.close()


WAITING = ["wait_until_running", "wait_until_stopped", "watch", "lease"]
QUICK = [name for name in CALLS if name not in WAITING]


@given(scripts(QUICK))
@fuzzed(3)
def test_a_call_returns_valid_data_or_raises_a_typed_error(
    runner: asyncio.Runner, judge: Judge, script: tuple[str, dict[str, list[Outcome]]]
) -> None:
    runner.run(heard(*script, judge))


@given(scripts(WAITING))
@fuzzed(0.5)
def test_a_wait_or_lease_ends_with_valid_data_or_a_typed_error(
    runner: asyncio.Runner, judge: Judge, script: tuple[str, dict[str, list[Outcome]]]
) -> None:
    runner.run(heard(*script, judge))


@pytest.mark.parametrize("name", QUICK)
def test_the_right_answers_are_data(runner: asyncio.Runner, judge: Judge, name: str) -> None:
    assert runner.run(heard(name, {}, judge)) == "data"
