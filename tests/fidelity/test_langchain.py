"""A leased chat model passes LangChain's own suite for chat models, with the lease of either API."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from inferlease import ConfigurationError, InvalidArgumentError
from inferlease.emulator import Emulator, expected_answer
from inferlease.emulator.inference import INFERENCE_KEY
from inferlease.integrations.langchain import LeasedChatModel
from tests.processes import environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.language_models import BaseChatModel

MODEL = "meta-llama/Llama-3.1-8B-Instruct"


class Suite(ChatModelIntegrationTests):
    """What the emulator answers is text: it calls no tools, and reads no images."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def has_structured_output(self) -> bool:
        return False

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return MODEL  # an instance serves one

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": MODEL}  # of a model that the suite makes itself, which `findable` leads to the instance

    def options(self, request: Any) -> dict[str, Any]:
        """What the suite wants a model of a test to be made with."""
        return self.standard_chat_model_params | getattr(request, "param", {})


def findable(model: ChatOpenAI, monkeypatch: pytest.MonkeyPatch) -> ChatOpenAI:
    monkeypatch.setenv("OPENAI_API_BASE", str(model.openai_api_base))
    monkeypatch.setenv("OPENAI_API_KEY", INFERENCE_KEY)
    return model


class TestSynchronousLease(Suite):
    @pytest.fixture
    def model(
        self, request: pytest.FixtureRequest, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[BaseChatModel]:
        with (
            emulator.sync_client(poll_interval=0.02) as client,
            LeasedChatModel(client.lease(MODEL), **self.options(request)) as model,
        ):
            yield findable(model, monkeypatch)
        assert emulator.books().still_billed == []


class TestAsynchronousLease(Suite):
    @pytest_asyncio.fixture
    async def model(
        self, request: pytest.FixtureRequest, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[BaseChatModel]:
        async with (
            emulator.client(poll_interval=0.02) as client,
            LeasedChatModel(client.lease(MODEL), **self.options(request)) as model,
        ):
            yield findable(model, monkeypatch)
        assert emulator.books().still_billed == []


def leased(client: Any, **options: Any) -> Any:
    return LeasedChatModel(client.lease(MODEL), **options)


def test_options_reach_the_model_and_its_connections(emulator: Emulator) -> None:
    with (
        emulator.sync_client(poll_interval=0.02) as client,
        leased(client, temperature=0.5, timeout=7.0, max_retries=1, default_headers={"X-Team": "a"}) as model,
    ):
        assert (model.model_name, model.temperature) == (MODEL, 0.5)
        for each in (model.root_client, model.root_async_client):
            assert (each.timeout, each.max_retries, each.default_headers["X-Team"]) == (7.0, 1, "a")


def test_a_model_of_a_synchronous_lease_is_asked_by_one_event_loop_after_another(emulator: Emulator) -> None:
    with emulator.sync_client(poll_interval=0.02) as client, leased(client) as model:
        for question in ("one", "two"):
            assert asyncio.run(model.ainvoke(question)).content == expected_answer(question)
        assert model.invoke("three").content == expected_answer("three")


def test_an_error_in_the_block_stops_the_instance_and_closes_the_connections(emulator: Emulator) -> None:
    with emulator.sync_client(poll_interval=0.02) as client:
        with pytest.raises(ZeroDivisionError), leased(client) as model:
            raise ZeroDivisionError
        assert model.root_client.is_closed()
    assert [entry.status for entry in emulator.books().instances.values()] == ["stopped"]


@pytest.mark.asyncio
async def test_an_error_in_the_asynchronous_block_does_so_too(emulator: Emulator) -> None:
    async with emulator.client(poll_interval=0.02) as client:
        with pytest.raises(ZeroDivisionError):
            async with leased(client) as model:
                raise ZeroDivisionError
        assert model.root_client.is_closed()
        assert model.root_async_client.is_closed()
    assert [entry.status for entry in emulator.books().instances.values()] == ["stopped"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_retries": "often"}, "max_retries"),
        ({"model": "org/other"}, "^model: that of the lease is taken; leave it out$"),
        ({"base_url": "http://127.0.0.1", "api_key": "a"}, "^api_key, base_url: that of the lease"),
        ({"openai_api_key": "a"}, "^openai_api_key: that of the lease"),
        ({"http_client": None}, "^http_client: that of the lease"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_an_option_that_is_refused_starts_nothing(emulator: Emulator, options: dict[str, Any], said: str) -> None:
    with emulator.sync_client(poll_interval=0.02) as client, pytest.raises(ValueError, match=said):
        leased(client, **options)
    assert emulator.books().starts == 0


def test_an_option_that_is_none_is_left_to_the_clients(emulator: Emulator) -> None:
    with emulator.sync_client(poll_interval=0.02) as client, leased(client, max_retries=None) as model:
        assert model.root_client.max_retries == model.root_async_client.max_retries == 2


@pytest.mark.asyncio
async def test_nothing_is_started_without_a_key_nor_in_the_wrong_kind_of_block(emulator: Emulator) -> None:
    async with emulator.client(inference_key=None) as client:
        with pytest.raises(ConfigurationError, match="no key for inference"):
            await leased(client).__aenter__()
        with pytest.raises(InvalidArgumentError, match="the lease is asynchronous: enter it by `async with`"):
            leased(client).__enter__()
    other = leased(emulator.sync_client())
    with pytest.raises(InvalidArgumentError, match="the lease is synchronous: enter it by `with`"):
        await other.__aenter__()
    assert emulator.books().starts == 0


def test_without_langchain_the_error_names_the_extra(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_openai", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'inferlease\[langchain\]'"):
        leased(emulator.sync_client())


def test_what_its_page_shows_runs(emulator: Emulator) -> None:
    page = (Path(__file__).parents[2] / "docs" / "inference.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```py\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    command = [sys.executable, "-W", "error", "-c", code]
    answer = subprocess.check_output(command, env=environment(emulator), text=True, timeout=50)
    assert answer.strip() == expected_answer("Say hello.")
