"""An emulator in a child process, which ends with its parent, however that ends."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import click
import orjson
from attrs import field, frozen
from yarl import URL

from inferlease import Client

__all__ = ["Books", "EmulatorGoneError", "RunningEmulator", "emulator_process"]

_START_SECONDS, _END_SECONDS = 60.0, 5.0


class EmulatorGoneError(click.ClickException):
    """The child process does not answer, or never did."""


@frozen
class Books:
    """What the emulator's books say."""

    starts: int
    still_billed: list[str]
    billed_seconds: float
    cost: float


@frozen
class RunningEmulator:
    """An emulator that serves; `variables` are those that point a client at it."""

    variables: Mapping[str, str] = field(repr=False)

    @property
    def inference_key(self) -> str:
        return self.variables["INFERLEASE_INFERENCE_KEY"]

    def client(self, *, poll_interval: float) -> Client:
        """A client of it, whatever the environment of this process says."""
        return Client(
            self.variables["CORTECS_CLIENT_ID"],
            self.variables["CORTECS_CLIENT_SECRET"],
            base_url=self.variables["CORTECS_API_BASE_URL"],
            inference_key=self.inference_key,
            poll_interval=poll_interval,
            proxy=False,
            ledger=self.variables["INFERLEASE_STATE_DIR"],
        )

    async def books(self) -> Books:
        """What its books say now.

        Raises:
            EmulatorGoneError: They can't be read.
        """
        url = URL(self.variables["CORTECS_API_BASE_URL"]).origin() / "emulator/books"
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
                session.get(url) as response,
            ):
                books = orjson.loads(await response.read())
        except (aiohttp.ClientError, OSError) as error:
            raise EmulatorGoneError(
                f"the emulator's books can't be read: {str(error) or type(error).__name__}"
            ) from None
        return Books(books["starts"], books["still_billed"], books["billed_seconds"], books["cost"])


@asynccontextmanager
async def emulator_process(seconds_per_step: float) -> AsyncIterator[RunningEmulator]:
    """An emulator that serves while the block lasts."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "inferlease.cli", "emulator", "--until-eof"),
        *("--seconds-per-step", repr(seconds_per_step)),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("CORTECS_")},
        # A Ctrl-C at the terminal must not end it: its instance is still to be stopped.
        start_new_session=True,
    )
    try:
        yield RunningEmulator(await _variables(process))
    finally:
        await _end(process)


async def _variables(process: Process) -> dict[str, str]:
    """What it prints once it serves: `export NAME=value` lines, after which it closes stdout."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    assert process.stderr is not None  # noqa: S101 - it is a pipe
    try:
        async with asyncio.timeout(_START_SECONDS):
            printed = (await process.stdout.read()).decode()
            if not printed:
                said = (await process.stderr.read()).decode(errors="replace").strip()
                raise EmulatorGoneError(f"the emulator did not start: {said or 'it said nothing'}")
    except TimeoutError:
        raise EmulatorGoneError(f"the emulator did not start within {_START_SECONDS:.0f} s") from None
    pairs = [shlex.split(line)[1].partition("=") for line in printed.splitlines()]
    return {name: value for name, _, value in pairs}


async def _end(process: Process) -> None:
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    process.stdin.close()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
