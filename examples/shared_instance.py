"""An orchestration worker: one instance for all jobs of the moment, and none while there is nothing to do.

    python shared_instance.py

Credentials come from CORTECS_CLIENT_ID and CORTECS_CLIENT_SECRET, the key for the instance from
INFERLEASE_INFERENCE_KEY; `inferlease emulator` prints values to try it with. Needs the extra `openai`.
"""

import asyncio
from dataclasses import dataclass, field

from openai import AsyncOpenAI, OpenAIError

from inferlease import Client

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
IDLE = 300.0  # seconds without a job until the instance is given up: a new one takes minutes to start


@dataclass
class Job:
    """A question, and the future of its answer."""

    question: str
    answer: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


async def serve(client: Client, jobs: asyncio.Queue[Job]) -> None:
    """Answer jobs until cancelled. An error of the lease ends it; one of a job is for whoever waits for that job."""
    while True:
        job: Job | None = await jobs.get()  # nothing is leased, nor billed, before there is a job
        async with (
            client.lease(MODEL, probe=True, label="worker") as instance,
            instance.openai() as llm,
            asyncio.TaskGroup() as group,
        ):
            running: set[asyncio.Task[None]] = set()
            while job is not None:
                task = group.create_task(answer(llm, job))
                running.add(task)
                task.add_done_callback(running.discard)
                job = await next_job(jobs, running)


async def next_job(jobs: asyncio.Queue[Job], running: set[asyncio.Task[None]]) -> Job | None:
    """The next job; `None` when none came for IDLE seconds and none is under way."""
    while True:
        try:
            async with asyncio.timeout(IDLE):
                return await jobs.get()
        except TimeoutError:
            if not running:
                return None


async def answer(llm: AsyncOpenAI, job: Job) -> None:
    """Let the instance answer one job, beside all others: it works on many at a time."""
    try:
        said = await llm.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": job.question}])
    except OpenAIError as error:
        if not job.answer.done():  # nobody waits any more for one that is cancelled
            job.answer.set_exception(error)
    else:
        if not job.answer.done():
            job.answer.set_result(said.choices[0].message.content or "")


async def ask(jobs: asyncio.Queue[Job], question: str) -> str:
    """Hand in a job, from anywhere in the program, and wait for its answer."""
    job = Job(question)
    jobs.put_nowait(job)
    return await job.answer


async def main() -> None:
    """Forty callers at a time."""
    jobs: asyncio.Queue[Job] = asyncio.Queue()
    # In this order: the worker releases what it has leased before the client is closed.
    async with Client() as client, asyncio.TaskGroup() as group:
        worker = group.create_task(serve(client, jobs))
        for text in await asyncio.gather(*(ask(jobs, f"What is {number} squared?") for number in range(40))):
            print(text)
        worker.cancel()


if __name__ == "__main__":
    asyncio.run(main())
