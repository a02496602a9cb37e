# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What the extra `openai` adds to both APIs, as a user writes it: checked where it is installed, never run."""

from __future__ import annotations

from typing import assert_type

from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion

from inferlease import Instance, sync


async def asynchronous(instance: Instance) -> None:
    async with instance.openai() as llm:
        assert_type(llm, AsyncOpenAI)
        answer = await llm.chat.completions.create(model="org/model", messages=[{"role": "user", "content": "Hello"}])
        assert_type(answer, ChatCompletion)


def synchronous(instance: sync.Instance) -> None:
    with instance.openai() as llm:
        assert_type(llm, OpenAI)
        answer = llm.chat.completions.create(model="org/model", messages=[{"role": "user", "content": "Hello"}])
        assert_type(answer, ChatCompletion)
    instance.openai(timeout=3)  # type: ignore[call-arg]
