"""`inferlease demo`: a whole lease without credentials and without a network."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Sequence

import click
from attrs import define, field

from inferlease import Instance, Receipt
from inferlease._printing import printable
from inferlease.cli import _signals
from inferlease.cli._chat import Answer, answers
from inferlease.cli._emulator_process import EmulatorGoneError, RunningEmulator, emulator_process
from inferlease.cli._leasing import LeaseArguments, estimated, leased
from inferlease.cli._options import SECONDS
from inferlease.cli._output import STDOUT_GONE
from inferlease.cli._prompts import read_prompts
from inferlease.cli._signals import Interrupts
from inferlease.cli._terminal import Terminal
from inferlease.cli._wording import hide_stop_hints, remember_model

__all__ = ["command"]

# How many answers a person is shown.
_SHOWN = 5


@click.command("demo")
@click.argument(
    "source", metavar="[FILE|-]", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.option(
    "--model",
    default="meta-llama/Llama-3.1-8B-Instruct",
    show_default=True,
    callback=lambda _ctx, _param, name: remember_model(name),
    help="One that is emulated.",
)
@click.option("--concurrency", type=click.IntRange(1, 1000), default=32, show_default=True, help="Requests at a time.")
@click.option("--seconds-per-step", type=SECONDS, default=0.3, show_default=True, help="A start has five steps.")
def command(*, source: str | None, model: str, concurrency: int, seconds_per_step: float) -> int:
    """Lease an emulated instance of two workers and let it answer prompts, one a line; by default 100 of its own.

    Needs no credentials and no network. The answers are written to stdout, one line of JSON each, in the order of
    the prompts; at a terminal the first few are shown. At the end the emulator's books have to show that nothing is
    billed any more: stderr tells.
    """
    if sys.stdout is None:
        raise click.ClickException("stdout is closed: there is nowhere to write the answers to")
    prompts = read_prompts(source)
    # Its instances are those of an emulator of its own: a command that stops them would go elsewhere.
    hide_stop_hints()
    terminal = Terminal()
    if terminal.is_interactive:
        terminal.show_log(logging.INFO)
    demo = _Demo(prompts, model, concurrency, terminal)
    return _signals.run(lambda interrupts: demo.run(seconds_per_step, interrupts), terminal.say)


class _StdoutGone(Exception):
    """Whoever read the answers has closed the pipe."""


@define
class _Demo:
    """One demo, and what came of it."""

    prompts: Sequence[str]
    model: str
    concurrency: int
    terminal: Terminal
    failed: list[Answer] = field(factory=list[Answer])
    tokens: int = 0
    seconds: float = 0.0

    async def run(self, seconds_per_step: float, interrupts: Interrupts) -> int:
        """The whole demo; returns the exit code.

        Raises:
            ClickException: A prompt failed, or something is still billed.
        """
        async with emulator_process(seconds_per_step) as emulator:
            try:
                code = await self._lease(emulator, interrupts, poll_interval=min(max(seconds_per_step / 2, 0.02), 1.0))
            except BaseException as error:
                if (problem := await self._settle(emulator, self.terminal.tell)) is not None:
                    error.add_note(problem)
                raise
            problem = await self._settle(emulator, self.terminal.tell if code else self.terminal.say)
        if problem is None and self.failed:
            first = self.failed[0]
            problem = (
                f"{len(self.failed)} of {len(self.prompts)} prompts failed; number {first.index + 1}: {first.error}"
            )
        if problem is not None:
            raise click.ClickException(problem)
        return code

    async def _lease(self, emulator: RunningEmulator, interrupts: Interrupts, poll_interval: float) -> int:
        arguments = LeaseArguments(num_workers=2, timeout=600.0, release_timeout=15.0)
        try:
            async with (
                emulator.client(poll_interval=poll_interval) as client,
                leased(
                    client, self.model, arguments, self.terminal, interrupts=interrupts, tell=self._tell_cost
                ) as instance,
            ):
                await self._ask(instance, emulator.inference_key)
                self._tell_speed()
        except _StdoutGone:
            return STDOUT_GONE
        return 0

    async def _ask(self, instance: Instance, key: str) -> None:
        """Send the prompts and write the answers."""
        began = time.monotonic()
        to_person = self.terminal.is_interactive and _is_stdout_stderr()
        # Whatever else reads stdout may show the answers on the same terminal, and a bar would get in their way.
        has_bar = to_person or stat.S_ISREG(os.fstat(1).st_mode)
        with self.terminal.counting("answers", len(self.prompts), visible=has_bar) as count:
            async with answers(
                self.prompts,
                base_url=instance.base_url or "",
                key=key,
                model=instance.instance_args.hf_name,
                concurrency=self.concurrency,
            ) as found:
                async for answer in found:
                    if to_person:
                        self._show(answer)
                    else:
                        await asyncio.to_thread(_write, answer.line())
                    count()
                    self.tokens += answer.tokens
                    if answer.error is not None:
                        self.failed.append(answer)
        self.seconds = time.monotonic() - began
        if to_person and len(self.prompts) > _SHOWN:
            self.terminal.say(f"… and {len(self.prompts) - _SHOWN} more; for all of them add: > answers.jsonl")

    def _show(self, answer: Answer) -> None:
        """Show one of the first answers to a person, in two lines."""
        if answer.index < _SHOWN:
            room = shutil.get_terminal_size().columns - len("> …")
            told = answer.text if answer.error is None else f"error: {answer.error}"
            self.terminal.say(f"> {printable(answer.prompt, room)}\n  {printable(told or '', room)}")

    def _tell_speed(self) -> None:
        done, seconds = len(self.prompts) - len(self.failed), max(self.seconds, 0.001)
        self.terminal.say(
            f"{done} of {len(self.prompts)} prompts answered in {seconds:.1f} s: "
            f"{done / seconds:,.0f} answers/s, {self.tokens / seconds:,.0f} tokens/s"
        )

    def _tell_cost(self, receipt: Receipt) -> None:
        self.terminal.tell(f"emulated, nothing is owed; {estimated(receipt)}")

    async def _settle(self, emulator: RunningEmulator, say: Callable[[str], object]) -> str | None:
        """What is wrong by the emulator's books, in one line; `None` if nothing is still billed, as `say` tells."""
        try:
            books = await emulator.books()
        except EmulatorGoneError as error:
            return str(error)
        if books.still_billed:
            return f"still billed at the end: {', '.join(books.still_billed)}"
        say(
            f"the emulator's books: {books.starts} started, 0 still billed; {books.billed_seconds:.1f} s were billed, "
            f"{books.cost:.4f} EUR"
        )
        return None


def _is_stdout_stderr() -> bool:
    return os.path.sameopenfile(1, 2)


def _write(line: bytes) -> None:
    """Write to stdout, and nothing less than the whole line."""
    try:
        while line:
            line = line[os.write(1, line) :]
    except BrokenPipeError:
        raise _StdoutGone from None
    except OSError as error:
        raise click.ClickException(f"stdout can't be written: {error.strerror}") from None
