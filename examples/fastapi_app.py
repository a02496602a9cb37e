"""A web application that leases an instance for as long as it serves.

    uvicorn fastapi_app:app

Credentials come from CORTECS_CLIENT_ID and CORTECS_CLIENT_SECRET, the key for the instance from
INFERLEASE_INFERENCE_KEY; `inferlease emulator` prints values to try it with. Needs the extra `openai`, fastapi and
uvicorn. Each process of the server has an instance of its own: more requests at a time need no more processes.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

from fastapi import FastAPI, Request
from openai import AsyncOpenAI
from pydantic import BaseModel

from inferlease import Client

MODEL = "meta-llama/Llama-3.1-8B-Instruct"


class State(TypedDict):
    """What every request finds in `request.state`."""

    llm: AsyncOpenAI


class Question(BaseModel):
    """The body of a request."""

    text: str


class Answer(BaseModel):
    """The body of a response."""

    text: str


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
    """The server answers once the instance does; it is stopped when the server is, by Ctrl-C or SIGTERM."""
    async with Client() as client, client.lease(MODEL, probe=True) as instance, instance.openai() as llm:
        yield {"llm": llm}


app = FastAPI(lifespan=lifespan)


@app.post("/ask")
async def ask(question: Question, request: Request) -> Answer:
    """Let the instance answer."""
    answer = await request.state.llm.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": question.text}]
    )
    return Answer(text=answer.choices[0].message.content or "")
