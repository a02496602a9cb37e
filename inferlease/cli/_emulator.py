"""`inferlease emulator`: a server to try everything with."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os

import click

from inferlease.cli import _signals
from inferlease.cli._options import SECONDS
from inferlease.cli._terminal import Terminal
from inferlease.emulator import Books, Emulator

__all__ = ["command"]


def _loopback(_ctx: click.Context, _param: click.Parameter, host: str) -> str:
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise click.BadParameter(f"{host!r} is not loopback, such as 127.0.0.1 or ::1: the credentials are public")
    return host


@click.command("emulator")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="By default any that is free.")
@click.option("--host", default="127.0.0.1", show_default=True, callback=_loopback, help="A loopback address.")
@click.option("--seconds-per-step", type=SECONDS, default=1.0, show_default=True, help="A worker has five steps.")
@click.option("--stop-delay", type=SECONDS, default=0.0, show_default=True, help="From a stop request to the stop.")
@click.option(
    "--upstream",
    metavar="URL",
    help="An OpenAI-compatible server that answers for the instances, such as http://127.0.0.1:8000/v1.",
)
@click.option("--until-eof", is_flag=True, hidden=True, help="End with stdin, and so with whoever holds its other end.")
def command(
    *, port: int, host: str, seconds_per_step: float, stop_delay: float, upstream: str | None, until_eof: bool
) -> int:
    """Serve an emulator of the whole API, until Ctrl-C or SIGTERM.

    It prints the variables that point any client at it, and then closes stdout. The key of an upstream server is
    read from INFERLEASE_UPSTREAM_KEY.

    \b
    Example:
      eval "$(inferlease emulator --port 8080 &)"
    """
    try:
        emulator = Emulator(
            host=host,
            port=port,
            seconds_per_step=seconds_per_step,
            stop_delay=stop_delay,
            upstream=upstream,
            upstream_key=os.environ.get("INFERLEASE_UPSTREAM_KEY"),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    terminal = Terminal()
    return _signals.run(lambda _: _serve(emulator, f"{host}:{port}", until_eof, terminal), say=lambda _: None)


async def _serve(emulator: Emulator, address: str, until_eof: bool, terminal: Terminal) -> int:
    ended = asyncio.Event()

    def end_with_stdin() -> None:
        if not os.read(0, 4096):
            ended.set()

    try:
        emulator.start()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise click.ClickException(f"can't listen on {address}: {reason}; choose another --port or --host") from None
    try:
        if until_eof:
            asyncio.get_running_loop().add_reader(0, end_with_stdin)
        _print_and_close(emulator.export_lines())
        terminal.tell(f"serving {emulator.base_url}; ends with Ctrl-C, or with: kill {os.getpid()}")
        await ended.wait()
    except asyncio.CancelledError:
        pass  # by a signal: the way in which a server ends
    finally:
        emulator.stop()
    terminal.say(_summary(emulator.books()))
    return 0


def _print_and_close(lines: list[str]) -> None:
    """Print, and let go of stdout: a shell's `$(...)` lasts until everybody has."""
    with contextlib.suppress(OSError):
        os.write(1, "".join(f"{line}\n" for line in lines).encode())
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _summary(books: Books) -> str:
    billed = ", ".join(books.still_billed) or "none"
    return (
        f"the emulator's books: {books.starts} started; {books.billed_seconds:.1f} s were billed, "
        f"{books.cost:.4f} EUR; still billed: {billed}"
    )
