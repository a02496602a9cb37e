"""Ask many questions at a time, on asyncio.

    python async_app.py

Credentials come from CORTECS_CLIENT_ID and CORTECS_CLIENT_SECRET, the key for the instance from
INFERLEASE_INFERENCE_KEY; `inferlease emulator` prints values to try it with. Needs the extra `openai`.
"""

import asyncio

from openai import AsyncOpenAI

from inferlease import Client, InstanceEvent

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
QUESTIONS = [f"What is {number} squared?" for number in range(20)]


def show(event: InstanceEvent) -> None:
    """Called with each change while the instance starts."""
    print(f"{event.state}: {event.description or '...'}")


async def ask(llm: AsyncOpenAI, question: str) -> str:
    """One answer of the instance."""
    answer = await llm.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": question}])
    return answer.choices[0].message.content or ""


async def main() -> None:
    """Lease, ask, release."""
    async with Client() as client:
        # With `probe` the key is looked for first: without it there is nothing to pay for.
        lease = client.lease(MODEL, probe=True, on_progress=show, max_cost=5.0, label="async_app")
        # Leaving the block stops the instance, whatever happened in it.
        async with lease as instance, instance.openai() as llm:
            for answer in await asyncio.gather(*(ask(llm, question) for question in QUESTIONS)):
                print(answer)
        print(lease.receipt)


if __name__ == "__main__":
    asyncio.run(main())
