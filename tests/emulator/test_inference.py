"""A running instance answers as an OpenAI-compatible server, to the real `openai` package and to bad requests."""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import openai
import pytest
from aiohttp import web

from inferlease.emulator import Emulator, expected_answer, expected_embedding
from tests.emulator.support import HF_NAME, MODEL, Api, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from openai.types.chat import ChatCompletionMessageParam

PROMPT = "Why is the sky blue, and the sea?"
CHAT: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "An earlier question"},
    {"role": "assistant", "content": "An earlier answer"},
    {"role": "user", "content": PROMPT},
]


@asynccontextmanager
async def inference(api: Api, **arguments: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    """The real client of a new instance."""
    instance = await api.start(**arguments)
    async with openai.AsyncOpenAI(base_url=instance["base_url"], api_key="emulator", max_retries=0) as client:
        yield client


def test_an_answer_holds_a_digest_and_the_words_of_its_prompt() -> None:
    long = " ".join(f"word{number}" for number in range(20))
    assert expected_answer(PROMPT) == expected_answer(PROMPT)
    assert PROMPT in expected_answer(PROMPT)
    assert expected_answer(long + " a") != expected_answer(long + " b")
    assert "20 words: word0 word1" in expected_answer(long)
    assert "a prompt of 1 word: Hello" in expected_answer("Hello")


@pytest.mark.asyncio
async def test_a_chat_is_answered_from_its_last_user_message(api: Api) -> None:
    async with inference(api) as client:
        completion = await client.chat.completions.create(model=HF_NAME, messages=CHAT)
    (choice,) = completion.choices
    assert choice.message.role == "assistant"
    assert choice.message.content == expected_answer(PROMPT)
    assert choice.finish_reason == "stop"
    assert completion.model == HF_NAME
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == 2 + 3 + 3 + 8
    assert completion.usage.completion_tokens == len(expected_answer(PROMPT).split())
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens


@pytest.mark.asyncio
async def test_the_same_request_gets_the_same_answer(api: Api) -> None:
    instance = await api.start()
    body = {"model": HF_NAME, "messages": CHAT}
    assert await api.infer(instance, "/chat/completions", body) == await api.infer(instance, "/chat/completions", body)


@pytest.mark.asyncio
async def test_a_streamed_chat_is_the_same_text_in_pieces_with_usage_when_asked(api: Api) -> None:
    async with inference(api) as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=CHAT, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    deltas = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(deltas) == expected_answer(PROMPT)
    assert sum(bool(delta) for delta in deltas) == len(expected_answer(PROMPT).split())
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert [chunk.usage is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]


@pytest.mark.asyncio
async def test_a_stream_has_no_usage_unless_asked(api: Api) -> None:
    async with inference(api) as client:
        stream = await client.chat.completions.create(model=HF_NAME, messages=CHAT, stream=True)
        assert all([chunk.usage is None and chunk.choices async for chunk in stream])


@pytest.mark.asyncio
async def test_a_chat_honours_its_limits(api: Api) -> None:
    async with inference(api) as client:
        limited = await client.chat.completions.create(model=HF_NAME, messages=CHAT, max_completion_tokens=2, n=3)
        stopped = await client.chat.completions.create(model=HF_NAME, messages=CHAT, stop=[" to", "never"])
    assert [choice.message.content for choice in limited.choices] == [" ".join(expected_answer(PROMPT).split()[:2])] * 3
    assert {choice.finish_reason for choice in limited.choices} == {"length"}
    assert stopped.choices[0].message.content == expected_answer(PROMPT).partition(" to")[0]
    assert stopped.choices[0].finish_reason == "stop"


@pytest.mark.asyncio
async def test_a_chat_reads_the_text_parts_of_a_message(api: Api) -> None:
    parts: list[ChatCompletionMessageParam] = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "one"},
                {"type": "text", "text": "two"},
            ],
        }
    ]
    async with inference(api) as client:
        completion = await client.chat.completions.create(model=HF_NAME, messages=parts)
    assert completion.choices[0].message.content == expected_answer("one\ntwo")


@pytest.mark.asyncio
async def test_completions_answer_each_prompt(api: Api) -> None:
    async with inference(api) as client:
        completion = await client.completions.create(model=HF_NAME, prompt=["first", "second"], n=2)
        stream = await client.completions.create(model=HF_NAME, prompt="first", stream=True)
        streamed = "".join([chunk.choices[0].text async for chunk in stream])
    assert [choice.text for choice in completion.choices] == [
        expected_answer(prompt) for prompt in ("first", "first", "second", "second")
    ]
    assert [choice.index for choice in completion.choices] == [0, 1, 2, 3]
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == 2
    assert streamed == expected_answer("first")


@pytest.mark.asyncio
@pytest.mark.parametrize("encoding", ["default", "float", "base64"])
async def test_embeddings_are_unit_vectors_in_either_encoding(api: Api, encoding: str) -> None:
    options: dict[str, Any] = {} if encoding == "default" else {"encoding_format": encoding}
    if encoding == "base64":
        # The package leaves an encoding that it was told to ask for as it is.
        instance = await api.start()
        body = {"model": HF_NAME, "input": ["one"], "dimensions": 4} | options
        answer = await api.infer(instance, "/embeddings", body)
        assert isinstance(answer.body["data"][0]["embedding"], str)
        return
    async with inference(api) as client:
        answered = await client.embeddings.create(model=HF_NAME, input=["one", "two words"], dimensions=64, **options)
    for embedding, text in zip(answered.data, ["one", "two words"], strict=True):
        assert embedding.embedding == pytest.approx(expected_embedding(text, 64), abs=1e-6)
        assert math.hypot(*embedding.embedding) == pytest.approx(1.0, abs=1e-5)
    assert answered.usage.prompt_tokens == 3


@pytest.mark.asyncio
async def test_embeddings_take_token_ids(api: Api) -> None:
    async with inference(api) as client:
        one = await client.embeddings.create(model=HF_NAME, input=[1, 2])
        two = await client.embeddings.create(model=HF_NAME, input=[[1, 2], [3]])
    assert len(one.data) == 1
    assert len(one.data[0].embedding) == 384
    assert two.data[0].embedding == one.data[0].embedding != two.data[1].embedding


@pytest.mark.asyncio
async def test_models_lists_the_one_that_is_served(api: Api) -> None:
    async with inference(api, context_length=1000) as client:
        (model,) = (await client.models.list()).data
    assert (model.id, model.owned_by) == (HF_NAME, "Microsoft")
    assert model.to_dict()["max_model_len"] == 1000


def test_the_sync_openai_package_works_too() -> None:
    with Emulator(seconds_per_step=0.0) as emulator:
        instance = start_blocking(emulator)
        with openai.OpenAI(base_url=instance["base_url"], api_key="emulator") as client:
            completion = client.chat.completions.create(model=HF_NAME, messages=CHAT)
            stream = client.chat.completions.create(model=HF_NAME, messages=CHAT, stream=True)
            streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            embedded = client.embeddings.create(model=HF_NAME, input="one")
    assert completion.choices[0].message.content == streamed == expected_answer(PROMPT)
    assert embedded.data[0].embedding == pytest.approx(expected_embedding("one"), abs=1e-6)


def start_blocking(emulator: Emulator) -> dict[str, Any]:
    """A new instance, without an event loop."""

    async def start() -> dict[str, Any]:
        async with aiohttp.ClientSession() as session:
            api = Api(emulator, session)
            await api.log_in()
            return await api.start()

    return asyncio.run(start())


@pytest.mark.asyncio
async def test_only_the_inference_key_is_accepted(api: Api) -> None:
    instance = await api.start()
    answer = await api.infer(instance, "/models", key="something-else")
    assert answer.status == 401
    assert answer.body["error"]["code"] == "invalid_api_key"
    assert api.emulator.books().api_tokens_at_inference == 0


@pytest.mark.asyncio
async def test_an_api_token_is_refused_and_noted(api: Api) -> None:
    instance = await api.start()
    assert api.token is not None
    api.emulator.revoke_tokens()
    assert (await api.infer(instance, "/models", key=api.token)).status == 401
    assert api.emulator.books().api_tokens_at_inference == 1


@pytest.mark.asyncio
async def test_a_stopped_or_unknown_instance_does_not_answer(api: Api) -> None:
    instance = await api.start()
    await api.stop(instance["instance_id"])
    unknown = {"base_url": instance["base_url"].replace("instance-", "another-")}
    for gone in (instance, unknown):
        answer = await api.infer(gone, "/models")
        assert answer.status == 404
        assert answer.body["error"]["type"] == "invalid_request_error"


@pytest.mark.asyncio
async def test_a_pending_instance_is_not_ready() -> None:
    async with serving(seconds_per_step=60.0) as api:
        instance = await api.start()
        root = api.emulator.base_url.removesuffix("/api/v1")
        answer = await api.call("GET", f"{root}/inference/{instance['instance_id']}/v1/models", key="emulator")
        assert answer.status == 503
        assert answer.body["error"]["type"] == "server_error"


@pytest.mark.asyncio
async def test_another_model_is_not_found(api: Api) -> None:
    async with inference(api) as client:
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            await client.chat.completions.create(model="Qwen/Qwen2.5-72B-Instruct", messages=CHAT)


@pytest.mark.asyncio
async def test_a_prompt_beyond_the_context_is_refused(api: Api) -> None:
    async with inference(api, context_length=20) as client:
        with pytest.raises(openai.BadRequestError, match="maximum context length is 20 tokens"):
            await client.chat.completions.create(model=HF_NAME, messages=CHAT, max_tokens=10)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("/chat/completions", {"model": None}),
        ("/chat/completions", {"messages": []}),
        ("/chat/completions", {"messages": "hello"}),
        ("/chat/completions", {"messages": [{"content": "no role"}]}),
        ("/chat/completions", {"messages": [{"role": "user"}]}),
        ("/chat/completions", {"messages": [{"role": "user", "content": [{"type": "text"}]}]}),
        ("/chat/completions", {"messages": [{"role": "user", "content": ["text"]}]}),
        ("/chat/completions", {"max_tokens": 0}),
        ("/chat/completions", {"n": True}),
        ("/chat/completions", {"stop": 7}),
        ("/chat/completions", {"stream": "yes"}),
        ("/chat/completions", {"stream": True, "stream_options": []}),
        ("/completions", {}),
        ("/completions", {"prompt": []}),
        ("/completions", {"prompt": [1, "mixed"]}),
        ("/embeddings", {"input": ""}),
        ("/embeddings", {"input": "text", "dimensions": 0}),
        ("/embeddings", {"input": "text", "encoding_format": "binary"}),
    ],
)
async def test_a_malformed_request_gets_an_openai_error(api: Api, path: str, change: dict[str, object]) -> None:
    instance = await api.start()
    answer = await api.infer(instance, path, {"model": HF_NAME, "messages": CHAT} | change)
    assert answer.status == 400
    assert set(answer.body["error"]) == {"message", "type", "param", "code"}
    assert answer.body["error"]["type"] == "invalid_request_error"
    assert answer.body["error"]["param"] in {*change, "prompt", "stream_options"}


@pytest.mark.asyncio
async def test_a_body_that_is_no_json_gets_an_openai_error(api: Api) -> None:
    instance = await api.start()
    url, headers = instance["base_url"] + "/embeddings", {"Authorization": "Bearer emulator"}
    async with api.session.post(url, data=b"{", headers=headers) as response:
        assert response.status == 400
        assert (await response.json())["error"]["code"] == "invalid_json"


@pytest.mark.asyncio
async def test_an_unknown_endpoint_gets_an_openai_error(api: Api) -> None:
    instance = await api.start()
    for method, path in (("POST", "/images/generations"), ("GET", "/embeddings"), ("POST", "/models")):
        answer = await api.call(method, instance["base_url"] + path, key="emulator")
        assert (answer.status, answer.body["error"]["code"]) == (404, "not_found")


@asynccontextmanager
async def upstream_server() -> AsyncIterator[tuple[str, list[tuple[str, bytes, str | None]]]]:
    """A server that streams two chunks or echoes an error, and what it was asked."""
    seen: list[tuple[str, bytes, str | None]] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append((request.path_qs, await request.read(), request.headers.get("Authorization")))
        if request.path != "/v1/chat/completions":
            return web.json_response({"error": {"message": "no such thing"}}, status=418)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"choices": []}\n\n')
        await response.write(b"data: [DONE]\n\n")
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", seen
    finally:
        await runner.cleanup()


@pytest.mark.asyncio
async def test_an_upstream_answers_instead_and_everything_passes_unchanged() -> None:
    async with upstream_server() as (url, seen), serving(upstream=url, upstream_key="its-own") as api:
        instance = await api.start()
        headers = {"Authorization": "Bearer emulator"}
        path = instance["base_url"] + "/chat/completions?a=b"
        async with api.session.post(path, data=b'{"model": "any"}', headers=headers) as response:
            assert response.content_type == "text/event-stream"
            assert await response.read() == b'data: {"choices": []}\n\ndata: [DONE]\n\n'
        other = await api.infer(instance, "/other")
        assert (other.status, other.body) == (418, {"error": {"message": "no such thing"}})
        assert (await api.infer(instance, "/other", key="wrong")).status == 401
    assert seen == [
        ("/v1/chat/completions?a=b", b'{"model": "any"}', "Bearer its-own"),
        ("/v1/other", b"", "Bearer its-own"),
    ]


@pytest.mark.asyncio
async def test_an_upstream_that_is_down_is_a_bad_gateway() -> None:
    async with upstream_server() as (url, _):
        pass
    async with serving(upstream=url) as api:
        answer = await api.infer(await api.start(), "/models")
        assert answer.status == 502
        assert answer.body["error"]["type"] == "server_error"
