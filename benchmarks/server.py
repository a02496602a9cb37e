"""The emulator in a process of its own, with one running instance; serves until its stdin is closed.

Prints one line of JSON: the environment that points a client at it, and the instance's id.
"""

from __future__ import annotations

import asyncio
import json
import sys

from inferlease.emulator import Emulator

WORKERS = 2


async def start_instance(emulator: Emulator) -> str:
    async with emulator.client() as client:
        instance = await client.instances.start("mistralai/Mistral-7B-Instruct-v0.3", num_workers=WORKERS)
        await instance.wait_until_running(timeout=10)
        return instance.instance_id


def main() -> None:
    with Emulator(seconds_per_step=0.0) as emulator:
        instance_id = asyncio.run(start_instance(emulator))
        print(json.dumps({"environment": emulator.environment(), "instance_id": instance_id}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
