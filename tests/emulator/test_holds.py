"""A held request waits at its phase, goes on when released, and is handled even if its client has gone."""

from __future__ import annotations

import asyncio
import threading

import aiohttp
import pytest

from inferlease.emulator import Emulator, Phase, expected_answer
from tests.emulator.support import HF_NAME, MODEL, Api, until


def start_in_background(api: Api) -> asyncio.Task[object]:
    return asyncio.create_task(api.call("POST", "/instances/start", {"model_id": MODEL}))


@pytest.mark.asyncio
async def test_held_before_a_request_is_not_handled_until_released(api: Api) -> None:
    with api.emulator.hold("start", "before") as hold:
        start = start_in_background(api)
        await hold.arrived_async(5.0)
        assert hold.arrived
        assert api.emulator.books().starts == 0
    await start
    assert api.emulator.books().starts == 1


@pytest.mark.asyncio
async def test_held_unanswered_a_request_is_handled_already(api: Api) -> None:
    with api.emulator.hold("start", "unanswered") as hold:
        start = start_in_background(api)
        await hold.arrived_async(5.0)
        assert api.emulator.books().starts == 1
        assert not start.done()
    await start


@pytest.mark.asyncio
async def test_held_mid_body_half_of_the_answer_is_sent(api: Api) -> None:
    url, headers = api.emulator.base_url + "/instances/start", {"Authorization": f"Bearer {api.token}"}
    with api.emulator.hold("start", "mid_body") as hold:
        async with api.session.post(url, json={"model_id": MODEL}, headers=headers) as response:
            assert response.content_length is not None
            half = await response.content.read(response.content_length // 2)
            assert len(half) == response.content_length // 2
            await hold.arrived_async(5.0)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(response.content.readany(), 0.05)
            hold.release()
            assert (await response.read()).endswith(b"}")


@pytest.mark.asyncio
async def test_held_mid_body_half_of_a_stream_is_sent(api: Api) -> None:
    instance = await api.start()
    body = {"model": HF_NAME, "messages": [{"role": "user", "content": "hello"}], "stream": True}
    headers = {"Authorization": "Bearer emulator"}
    with api.emulator.hold("inference", "mid_body") as hold:
        url = instance["base_url"] + "/chat/completions"
        async with api.session.post(url, json=body, headers=headers) as response:
            await hold.arrived_async(5.0)
            first = await response.content.readany()
            assert b"[DONE]" not in first
            hold.release()
            rest = await response.read()
    assert rest.endswith(b"data: [DONE]\n\n")
    assert (first + rest).count(b"\n\n") == len(expected_answer("hello").split()) + 3


@pytest.mark.asyncio
@pytest.mark.parametrize("phase", ["before", "unanswered"])
async def test_a_request_is_handled_even_if_its_client_has_gone(api: Api, phase: Phase) -> None:
    with api.emulator.hold("start", phase) as hold:
        start = start_in_background(api)
        await hold.arrived_async(5.0)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
        # Long enough for the server to see the connection end.
        await asyncio.sleep(0.05)
        assert api.emulator.books().starts == (0 if phase == "before" else 1)
    await until(lambda: api.emulator.books().starts == 1)


@pytest.mark.asyncio
async def test_a_request_is_handled_whose_client_leaves_right_after_sending(api: Api) -> None:
    root = api.emulator.base_url.removeprefix("http://").removesuffix("/api/v1")
    host, _, port = root.partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    body = b'{"model_id": "microsoft--phi-4"}'
    writer.write(
        f"POST /api/v1/instances/start HTTP/1.1\r\nHost: {root}\r\nAuthorization: Bearer {api.token}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    writer.close()
    await writer.wait_closed()
    await until(lambda: api.emulator.books().starts == 1)


@pytest.mark.asyncio
async def test_a_request_that_never_came_whole_is_not_handled(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    root = api.emulator.base_url.removeprefix("http://").removesuffix("/api/v1")
    host, _, port = root.partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /api/v1/instances/start HTTP/1.1\r\nHost: {root}\r\nAuthorization: Bearer {api.token}\r\n"
        'Content-Length: 100\r\n\r\n{"model_id": '.encode()
    )
    await asyncio.sleep(0.05)
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.05)
    assert "start" not in api.emulator.books().requests
    assert caplog.records == []


@pytest.mark.asyncio
async def test_an_unknown_operation_or_phase_is_refused(api: Api) -> None:
    with pytest.raises(ValueError, match="operation"):
        api.emulator.hold("begin", "before")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="phase"):
        api.emulator.hold("start", "after")  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_skip_lets_requests_go_by(api: Api) -> None:
    with api.emulator.hold("balance", "before", skip=2) as hold:
        for _ in range(2):
            assert (await api.call("GET", "/user/balance")).status == 200
        assert not hold.arrived
        third = asyncio.create_task(api.call("GET", "/user/balance"))
        await hold.arrived_async(5.0)
        assert (await api.call("GET", "/user/balance")).status == 200
    assert (await third).status == 200


@pytest.mark.asyncio
async def test_a_hold_concerns_its_operation_only(api: Api) -> None:
    with api.emulator.hold("list", "before") as hold:
        assert (await api.call("GET", "/user/balance")).status == 200
        assert not hold.arrived


@pytest.mark.asyncio
async def test_one_request_is_held_at_two_phases(api: Api) -> None:
    with api.emulator.hold("start", "before") as first, api.emulator.hold("start", "unanswered") as second:
        start = start_in_background(api)
        await first.arrived_async(5.0)
        assert not second.arrived
        first.release()
        await second.arrived_async(5.0)
        assert api.emulator.books().starts == 1
    await start


@pytest.mark.asyncio
async def test_a_hold_released_early_holds_nothing(api: Api) -> None:
    hold = api.emulator.hold("balance", "before")
    hold.release()
    hold.release()
    assert (await api.call("GET", "/user/balance")).status == 200
    assert not hold.arrived


@pytest.mark.asyncio
async def test_waiting_for_an_arrival_times_out_and_can_be_repeated(api: Api) -> None:
    with api.emulator.hold("balance", "before") as hold:
        with pytest.raises(TimeoutError):
            await hold.arrived_async(0.01)
        balance = asyncio.create_task(api.call("GET", "/user/balance"))
        await hold.arrived_async(5.0)
        await hold.arrived_async(5.0)
    assert (await balance).status == 200


@pytest.mark.asyncio
async def test_an_arrival_is_seen_and_released_from_another_thread(api: Api) -> None:
    hold = api.emulator.hold("balance", "before")

    def release_on_arrival() -> None:
        hold.wait_arrived(5.0)
        hold.release()

    thread = threading.Thread(target=release_on_arrival)
    thread.start()
    assert (await api.call("GET", "/user/balance")).status == 200
    await asyncio.to_thread(thread.join)
    assert hold.arrived


def test_blocking_for_an_arrival_times_out() -> None:
    with Emulator() as emulator, pytest.raises(TimeoutError):
        emulator.hold("start", "before").wait_arrived(0.01)


@pytest.mark.asyncio
async def test_a_stop_of_the_emulator_drops_what_is_held(api: Api) -> None:
    hold = api.emulator.hold("balance", "before")
    balance = asyncio.create_task(api.call("GET", "/user/balance"))
    await hold.arrived_async(5.0)
    await asyncio.to_thread(api.emulator.stop)
    with pytest.raises(aiohttp.ClientConnectionError):
        await balance
    hold.release()
