"""`inferlease run`: a command with an instance of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import time
from pathlib import Path

import click

from inferlease import Client, ConfigurationError, InferleaseError, Receipt
from inferlease._auth import Credentials, InferenceKey
from inferlease._probe import check_inference_url
from inferlease.cli import _signals
from inferlease.cli._advice import with_advice
from inferlease.cli._completion import complete_files
from inferlease.cli._leasing import LeaseArguments, estimated, leased
from inferlease.cli._options import POSITIVE_SECONDS, model_argument, spec_options, wait_options
from inferlease.cli._signals import Interrupts
from inferlease.cli._terminal import Terminal
from inferlease.cli._told import is_news

__all__ = ["command"]

# Seconds that the command has to end when its instance is gone.
_PATIENCE = 10.0


@click.command("run", options_metavar="[OPTIONS]", short_help="Run a command with an instance of its own.")
@model_argument
@click.argument(
    "command_line",
    metavar="-- COMMAND...",
    nargs=-1,
    required=True,
    type=click.UNPROCESSED,
    shell_complete=complete_files,
)
@spec_options
@wait_options
@click.option(
    "--release-timeout", type=POSITIVE_SECONDS, default="2m", show_default=True, help="At most until it is stopped."
)
@click.option("--max-cost", type=float, help="Stop it before it costs more; by default no limit.")
@click.option("--max-duration", type=POSITIVE_SECONDS, help="Stop it so long after the start; by default no limit.")
@click.option("--min-balance", type=float, help="Stop it when less is left on the account; by default no limit.")
@click.option("--label", metavar="TEXT", help="For `inferlease costs`.")
@click.option("--probe/--no-probe", help="Also wait until the instance answers requests; by default not.")
def command(
    *,
    model: str,
    command_line: tuple[str, ...],
    hardware_type: tuple[str, ...],
    context_length: int | None,
    billing_interval: str | None,
    num_workers: int | None,
    timeout: float,
    wait_for_capacity: float | None,
    stall_timeout: float | None,
    release_timeout: float,
    probe: bool,
    max_cost: float | None,
    max_duration: float | None,
    min_balance: float | None,
    label: str | None,
) -> int:
    """Lease an instance of MODEL (org/model), run COMMAND with it, and stop it again.

    COMMAND finds OPENAI_BASE_URL, OPENAI_API_KEY, OPENAI_MODEL and INFERLEASE_MODEL in its environment, and no
    CORTECS_CLIENT_SECRET. It gets SIGINT, SIGTERM and SIGHUP. The exit code is that of COMMAND, 128+n if signal n
    ended it.

    \b
    Example:
      inferlease run meta-llama/Llama-3.1-8B-Instruct -- python my_script.py
    """
    executable = _find(command_line[0])
    arguments = LeaseArguments(
        hardware_type_id=hardware_type or None,
        context_length=context_length,
        billing_interval=billing_interval,
        num_workers=num_workers,
        timeout=timeout,
        wait_for_capacity=wait_for_capacity,
        stall_timeout=stall_timeout,
        probe=probe,
        release_timeout=release_timeout,
        max_cost=max_cost,
        max_duration=max_duration,
        min_balance=min_balance,
        label=label,
    )
    terminal = Terminal()
    terminal.show_log(logging.INFO)
    return _signals.run(
        lambda interrupts: _lease_and_run(
            model, arguments, executable, command_line, terminal=terminal, interrupts=interrupts
        ),
        terminal.say,
    )


class _NotFoundError(click.ClickException):
    exit_code = 127


class _NotExecutableError(click.ClickException):
    exit_code = 126


def _find(name: str) -> str:
    """The path of a command. Raises what has the exit code of a shell if it can't be run."""
    path = shutil.which(name)
    if path is not None:
        return path
    if shutil.which(name, mode=os.F_OK) or (os.sep in name and Path(name).exists()):
        raise _NotExecutableError(f"the command {name!r} is not an executable file; nothing was started")
    raise _NotFoundError(f"the command {name!r} was not found; nothing was started")


def _key() -> str:
    """The key for inference. Raises one ConfigurationError for all that is missing, credentials too."""
    key, missing = "", list[str]()
    try:
        Credentials().resolve()
    except ConfigurationError as error:
        missing.append(str(error))
    try:
        key = InferenceKey().resolve()
    except ConfigurationError as error:
        missing.append(str(error))
    if missing:
        raise ConfigurationError("; ".join(missing))
    return key


async def _lease_and_run(
    model: str,
    arguments: LeaseArguments,
    executable: str,
    command_line: tuple[str, ...],
    *,
    terminal: Terminal,
    interrupts: Interrupts,
) -> int:
    key = _key()
    code: int | None = None

    def tell(receipt: Receipt) -> None:
        terminal.say(estimated(receipt))

    try:
        async with (
            Client() as client,
            leased(client, model, arguments, terminal, interrupts=interrupts, tell=tell) as instance,
        ):
            check_inference_url(instance.base_url or "")
            leased_model = instance.instance_args.hf_name
            environment = {name: value for name, value in os.environ.items() if name != "CORTECS_CLIENT_SECRET"}
            environment |= {
                "OPENAI_BASE_URL": instance.base_url or "",
                "OPENAI_API_KEY": key,
                "OPENAI_MODEL": leased_model,
                "INFERLEASE_MODEL": leased_model,
            }
            child = _Child(executable, command_line, environment, interrupts.outer_mask, terminal)
            with interrupts.going_to(child.pass_on):
                try:
                    code = await child.exit_code()
                except asyncio.CancelledError:  # the lease has reached a limit
                    await child.end()
                    raise
    except InferleaseError as error:
        # What the command has to say by a code of its own goes on to be said.
        if not code:
            raise
        if is_news(str(error)):
            terminal.say(f"error: {with_advice(error)}")
    return code or 0


class _Child:
    """The command, in this process's group: a terminal treats both as one job."""

    def __init__(
        self,
        executable: str,
        command_line: tuple[str, ...],
        environment: dict[str, str],
        mask: set[int],
        terminal: Terminal,
    ) -> None:
        self._terminal = terminal
        # Python ignores these two; a command expects their defaults.
        defaults = [signal.SIGPIPE, signal.SIGXFSZ]
        try:
            self._pid = os.posix_spawn(executable, command_line, environment, setsigmask=mask, setsigdef=defaults)
        except OSError as error:
            raise _NotExecutableError(f"the command {executable!r} can't be executed: {error.strerror}") from None

    def pass_on(self, number: signal.Signals, from_terminal: bool) -> None:
        """Pass a signal on, unless the terminal gave it to the command itself."""
        has_it = from_terminal and number is signal.SIGINT and os.getpgid(self._pid) == os.getpgrp()
        if not has_it:
            self._send(number)

    def _send(self, number: signal.Signals) -> bool:
        """Whether it can be sent a signal: one that runs as another user, as below sudo, can't."""
        try:
            os.kill(self._pid, number)
        except PermissionError:
            self._terminal.say(f"{number.name} can't be sent to the command, which runs as another user: it goes on")
            return False
        return True

    async def end(self) -> None:
        """Have it end, if it can be, and wait for that: by a signal that it may handle, then by one that it can't."""
        for number, seconds in ((signal.SIGTERM, _PATIENCE), (signal.SIGKILL, _PATIENCE)):
            if not self._send(number):
                return
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if os.waitpid(self._pid, os.WNOHANG)[0]:  # noqa: ASYNC222 - it does not wait
                    return
                await asyncio.sleep(0.02)

    async def exit_code(self) -> int:
        """Wait for the end; as a shell tells it, 128+n after signal n."""
        # Not reaped in the thread: as long as signals are passed on, the pid has to stay the command's.
        await asyncio.to_thread(os.waitid, os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])  # noqa: ASYNC222 - it has ended
        return code if code >= 0 else 128 - code
