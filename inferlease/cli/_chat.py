"""Prompts to an OpenAI-compatible server, several at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
import orjson
from attrs import frozen

from inferlease._printing import printable
from inferlease._probe import check_inference_url

__all__ = ["Answer", "answers"]

# A model may think for minutes; a server that says nothing for longer is not going to.
_TIMEOUT = aiohttp.ClientTimeout(total=600, connect=30)


@frozen
class Answer:
    """What became of the prompt at `index`, counted from 0.

    Attributes:
        text: What the model answered; `None` if there is an error.
        error: Why there is no answer, in one line.
        tokens: Of the answer, as far as the server says.
    """

    index: int
    prompt: str
    text: str | None = None
    error: str | None = None
    tokens: int = 0

    def line(self) -> bytes:
        """The answer as a line of JSON."""
        result = {"answer": self.text} if self.error is None else {"error": self.error}
        return orjson.dumps({"index": self.index, "prompt": self.prompt} | result) + b"\n"


class _Refused(Exception):
    """The server's answer is none to the prompt."""


@asynccontextmanager
async def answers(
    prompts: Sequence[str], *, base_url: str, key: str, model: str, concurrency: int
) -> AsyncIterator[AsyncIterator[Answer]]:
    """The answers in the order of the prompts, with at most `concurrency` requests at a time.

    Raises:
        ConfigurationError: The key must not go to `base_url`.
    """
    check_inference_url(base_url)
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=concurrency),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Authorization": f"Bearer {key}"},
            timeout=_TIMEOUT,
        ) as session,
        aclosing(_ask_all(session, base_url.rstrip("/") + "/chat/completions", model, prompts, concurrency)) as found,
    ):
        yield found


async def _ask_all(
    session: aiohttp.ClientSession, url: str, model: str, prompts: Sequence[str], concurrency: int
) -> AsyncGenerator[Answer, None]:
    free = asyncio.Semaphore(concurrency)

    async def ask(index: int, prompt: str) -> Answer:
        async with free:
            try:
                text, tokens = await _ask(session, url, model, prompt)
            except (aiohttp.ClientError, OSError, _Refused) as error:
                return Answer(index, prompt, error=printable(str(error) or type(error).__name__, 300))
            return Answer(index, prompt, text, tokens=tokens)

    tasks = [asyncio.create_task(ask(index, prompt)) for index, prompt in enumerate(prompts)]
    try:
        for task in tasks:
            yield await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ask(session: aiohttp.ClientSession, url: str, model: str, prompt: str) -> tuple[str, int]:
    """The answer to one prompt, and its tokens."""
    body = orjson.dumps({"model": model, "messages": [{"role": "user", "content": prompt}]})
    headers = {"Content-Type": "application/json"}
    async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
        content = await response.read()
    try:
        answer: Any = orjson.loads(content)
    except ValueError:
        answer = None
    try:
        text = answer["choices"][0]["message"]["content"]
        if response.status == 200 and isinstance(text, str):
            return text, int((answer.get("usage") or {}).get("completion_tokens") or 0)
    except (KeyError, IndexError, TypeError, ValueError):
        pass
    raise _Refused(f"status {response.status}{_said(answer)}")


def _said(answer: Any) -> str:
    """The message of an error in OpenAI's shape."""
    try:
        return f": {answer['error']['message']}"
    except (KeyError, TypeError):
        return ", and no answer to a chat"
