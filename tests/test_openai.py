"""`instance.openai()`: a client of the `openai` package, in both worlds and with either major version of it."""

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import TYPE_CHECKING, Any

import openai
import pytest

from inferlease import ConfigurationError, DetachedInstanceError, Instance, InstanceArgs, InstanceStatus, sync
from inferlease.emulator import expected_answer, expected_embedding
from tests.raw_server import Proxy, RawServer, answer, client_tls, raw_client, server_tls
from tests.raw_server import instance as raw_instance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inferlease import Client
    from inferlease.emulator import Emulator
    from tests.worlds import Api, World

openai.DefaultHttpxClient().close()  # loads what it needs, which blocks a loop once

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
HELLO = [{"role": "user", "content": "Say hello."}]


async def told(value: Any) -> Any:
    """What a client of the package answers, of whichever world it is."""
    return await value if inspect.isawaitable(value) else value


async def pieces(stream: Any) -> list[Any]:
    stream = await told(stream)
    return [piece async for piece in stream] if hasattr(stream, "__aiter__") else list(stream)


async def list_models(llm: Any) -> None:
    """For a server that serves in the loop of the test, which a synchronous call would block."""
    if isinstance(llm, openai.OpenAI):
        await asyncio.to_thread(llm.models.list)
    else:
        await llm.models.list()


async def instance_at(client: Client, server: RawServer, url: str | None, status: str = "running") -> Instance:
    server.script("GET /instances/i-1", answer({"instance": raw_instance("i-1", status, base_url=url)}))
    return await client.instances.get("i-1")


async def client_at(
    client: Client, server: RawServer, url: str | None, monkeypatch: pytest.MonkeyPatch, status: str = "running"
) -> Any:
    """The client of an instance at `url`, with the key `ours`; `/v1/models` of `server` knows no model."""
    monkeypatch.setenv("INFERLEASE_INFERENCE_KEY", "ours")
    if "GET /v1/models" not in server._scripts:
        server.script("GET /v1/models", answer({"object": "list", "data": []}))
    return (await instance_at(client, server, url, status)).openai()


@pytest.mark.asyncio
async def test_a_leased_instance_chats_streams_embeds_and_lists_its_model(
    client: Client, emulator: Emulator, world: World
) -> None:
    async with client.lease(MODEL) as instance:
        llm: Any = instance.openai()
        assert type(llm) is (openai.AsyncOpenAI if world == "async" else openai.OpenAI)
        asked = {"model": MODEL, "messages": HELLO}
        chat = await told(llm.chat.completions.create(**asked))
        chunks = await pieces(llm.chat.completions.create(**asked, stream=True))
        vectors = await told(llm.embeddings.create(model=MODEL, input=["one", "two"]))
        models = await told(llm.models.list())
        await told(llm.close())
    assert chat.choices[0].message.content == expected_answer("Say hello.")
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == expected_answer("Say hello.")
    for text, each in zip(["one", "two"], vectors.data, strict=True):
        assert each.embedding == pytest.approx(expected_embedding(text), abs=1e-6)
    assert [model.id for model in models.data] == [MODEL]
    assert emulator.books().still_billed == []
    assert emulator.books().api_tokens_at_inference == 0


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("change", "error", "param"),
    [
        ({"model": "nobody/nothing"}, openai.NotFoundError, "model"),
        ({"messages": []}, openai.BadRequestError, "messages"),
        ({"max_tokens": 1_000_000}, openai.BadRequestError, "messages"),
        ({"extra_headers": {"Authorization": "Bearer wrong"}}, openai.AuthenticationError, None),
    ],
)
async def test_a_bad_request_gets_the_error_of_the_package(
    client: Client, change: Mapping[str, object], error: type[openai.APIStatusError], param: str | None
) -> None:
    async with client.lease(MODEL) as instance:
        llm: Any = instance.openai()
        with pytest.raises(error) as raised:
            await told(llm.chat.completions.create(**{"model": MODEL, "messages": HELLO, **change}))
        await told(llm.close())
    assert raised.value.param == param
    assert raised.value.type == "invalid_request_error"


@pytest.mark.asyncio
async def test_nothing_of_another_provider_s_account_is_sent(
    api: Client, server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, "sk-proj-foreign")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/foreign")
    llm = await client_at(api, server, f"{server.url}/v1", monkeypatch)
    for each in (llm, llm.with_options(timeout=5.0)):
        await list_models(each)
    await told(llm.close())
    seen = [request for request in server.requests if request.path == "/v1/models"]
    assert [request.headers["authorization"] for request in seen] == ["Bearer ours"] * 2
    assert "foreign" not in repr([request.headers for request in seen])


@pytest.mark.asyncio
async def test_a_redirect_is_not_followed(api: Client, server: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.script("GET /v1/models", answer({}, 307, headers={"Location": f"{server.url}/elsewhere"}))
    llm = await client_at(api, server, f"{server.url}/v1", monkeypatch)
    with pytest.raises(openai.APIStatusError):
        await list_models(llm)
    await told(llm.close())
    assert server.count("GET /elsewhere") == 0


@pytest.mark.asyncio
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
async def test_a_proxy_is_never_asked_for_loopback(
    api: Client, server: RawServer, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    llm = await client_at(api, server, f"{server.url}/v1", monkeypatch)
    await list_models(llm)
    await told(llm.close())


@pytest.mark.asyncio
async def test_it_goes_by_the_client_s_proxy_and_certificates(either: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async with RawServer(tls=server_tls()) as server, Proxy(server.port) as proxy:
        async with raw_client(server.url, either, proxy=proxy.url, ssl=client_tls()) as client:
            llm = await client_at(client, server, "https://api.invalid/v1", monkeypatch)
            await list_models(llm)
            await told(llm.close())
        assert [seen.path for seen in proxy.connects] == ["api.invalid:443"]
        assert proxy.connects[0].headers.get("authorization") is None


@pytest.mark.asyncio
@pytest.mark.parametrize("url", ["http://inference.example/v1", "ftp://127.0.0.1/v1", "inference.example/v1"])
async def test_a_base_url_that_would_take_the_key_in_the_clear_is_refused(
    api: Client, server: RawServer, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    with pytest.raises(ConfigurationError, match="neither https nor loopback") as raised:
        await client_at(api, server, url, monkeypatch)
    assert "ours" not in str(raised.value)


@pytest.mark.asyncio
async def test_an_instance_without_a_base_url_says_what_comes_first(
    api: Client, server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        ConfigurationError, match=r"i-1 is pending and has no base_url: wait_until_running\(\)"
    ) as raised:
        await client_at(api, server, None, monkeypatch, status="pending")
    assert raised.value.instance_id == "i-1"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("environment", "said"),
    [({}, "no key for inference"), ({"OPENAI_API_KEY": "sk-proj-foreign"}, "another provider's key")],
)
async def test_without_a_key_that_fits_there_is_no_client(
    api: Client, server: RawServer, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    instance = await instance_at(api, server, f"{server.url}/v1")
    with pytest.raises(ConfigurationError, match=said) as raised:
        instance.openai()
    assert "foreign" not in str(raised.value)


@pytest.mark.asyncio
async def test_without_the_package_the_error_names_the_extra(
    api: Client, server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'inferlease\[openai\]'"):
        await client_at(api, server, f"{server.url}/v1", monkeypatch)


@pytest.mark.parametrize("cls", [Instance, sync.Instance])
def test_a_detached_instance_has_none(cls: Any) -> None:
    detached = cls("i-1", "http://127.0.0.1:1/v1", InstanceArgs("org--model"), InstanceStatus("running"))
    with pytest.raises(DetachedInstanceError, match="belongs to no client"):
        detached.openai()
