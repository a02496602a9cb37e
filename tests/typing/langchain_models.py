"""What the extra `langchain` adds, as a user writes it: checked where it is installed, never run."""

from __future__ import annotations

from typing import assert_type

from langchain_openai import ChatOpenAI  # pyright: ignore[reportMissingImports] - an extra, which may be missing

from inferlease import Client, sync
from inferlease.integrations.langchain import LeasedChatModel


async def asynchronous(client: Client) -> None:
    async with LeasedChatModel(client.lease("org/model"), temperature=0.0) as model:
        assert_type(model, ChatOpenAI)
    with LeasedChatModel(client.lease("org/model")):  # type: ignore[misc]
        pass


def synchronous(client: sync.Client) -> None:
    with LeasedChatModel(client.lease("org/model"), timeout=5.0) as model:
        assert_type(model, ChatOpenAI)
