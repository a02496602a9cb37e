"""`inferlease emulator`: a server to try everything with."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import signal
from typing import get_args

import click
from click.shell_completion import CompletionItem

from inferlease.cli import _signals
from inferlease.cli._options import SECONDS
from inferlease.cli._output import write_lines
from inferlease.cli._terminal import Terminal
from inferlease.emulator import Books, Emulator, Fault, FaultKind, Operation

__all__ = ["command"]


def _loopback(_ctx: click.Context, _param: click.Parameter, host: str) -> str:
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise click.BadParameter(f"{host!r} is not loopback, such as 127.0.0.1 or ::1: the credentials are public")
    return host


class _FaultType(click.ParamType[Fault]):
    """A fault as `Fault.parse` reads it."""

    name = "fault"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002 - click's signature
        found = [kind.value for kind in FaultKind]
        if ":" in incomplete:
            found = [f"{kind}:{operation}" for kind in FaultKind for operation in kind.operations]
        return [CompletionItem(each) for each in found if each.startswith(incomplete)]

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Fault:
        try:
            return Fault.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _OutageType(click.ParamType[tuple[str, tuple[float, float]]]):
    """A hardware type, and for how many of how many seconds it is not available."""

    name = "outage"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[float, float]]:
        hardware_type_id, _, numbers = str(value).partition("=")
        seconds, _, every = numbers.partition("/")
        try:
            return hardware_type_id, (float(seconds), float(every))
        except ValueError:
            self.fail(f"{value!r:.100} is no outage, such as NVIDIA_L4_1=10/60: 10 s of every 60 s", param, ctx)


class _CapacityType(click.ParamType[tuple[str, int]]):
    """A hardware type, and for how many instances of it there is room."""

    name = "capacity"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        hardware_type_id, _, number = str(value).partition("=")
        try:
            return hardware_type_id, int(number)
        except ValueError:
            self.fail(f"{value!r:.100} is no capacity, such as NVIDIA_L4_1=2: room for 2 instances", param, ctx)


def _list_faults(ctx: click.Context, _param: click.Parameter, is_asked_for: bool) -> None:
    """Print the catalogue of faults instead of doing anything, as `--help` does."""
    if not is_asked_for or ctx.resilient_parsing:
        return
    formatter = ctx.make_formatter()
    with formatter.section("Kinds of faults"):
        formatter.write_dl([(kind.value, kind.description.replace("`", "")) for kind in FaultKind])
    with formatter.section("Operations"):
        formatter.write_text(", ".join(get_args(Operation)))
    write_lines(formatter.getvalue().splitlines())
    ctx.exit()


@click.command("emulator")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="By default any that is free.")
@click.option("--host", default="127.0.0.1", show_default=True, callback=_loopback, help="A loopback address.")
@click.option("--seconds-per-step", type=SECONDS, default=1.0, show_default=True, help="A worker has five steps.")
@click.option("--stop-delay", type=SECONDS, default=0.0, show_default=True, help="From a stop request to the stop.")
@click.option("--balance", type=float, default=100.0, show_default=True, help="EUR on the account.")
@click.option(
    "--capacity",
    "capacities",
    type=_CapacityType(),
    multiple=True,
    metavar="TYPE=N",
    help="There is room for N live instances of a hardware type; by default no limit. May be given several times.",
)
@click.option(
    "--upstream",
    metavar="URL",
    help="An OpenAI-compatible server that answers for the instances, such as http://127.0.0.1:8000/v1.",
)
@click.option(
    "--fault",
    "faults",
    type=_FaultType(),
    multiple=True,
    metavar="KIND[:OPERATION][=RATE]",
    help="Let something go wrong, such as status_503:get=0.1: for all operations unless one is named, and always "
    "unless there is a rate from 0 to 1. May be given several times; rates add up. --list-faults tells the kinds.",
)
@click.option(
    "--list-faults",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_faults,
    help="List the kinds of faults and the operations, and exit.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed draws the same faults again.")
@click.option("--list-lag", type=SECONDS, default=0.0, help="The list of instances is so much behind.")
@click.option(
    "--late-creation",
    type=SECONDS,
    multiple=True,
    help="From a start that a fault left open to its instance. Several take turns.",
)
@click.option("--refuse-stops", type=click.IntRange(0), default=0, help="The first so many of each instance, with 409.")
@click.option(
    "--outage",
    "outages",
    type=_OutageType(),
    multiple=True,
    metavar="TYPE=SECONDS/EVERY",
    help="A hardware type is not available for the first SECONDS of EVERY. May be given several times.",
)
@click.option("--until-eof", is_flag=True, hidden=True, help="End with stdin, and so with whoever holds its other end.")
def command(
    *,
    port: int,
    host: str,
    seconds_per_step: float,
    stop_delay: float,
    balance: float,
    capacities: tuple[tuple[str, int], ...],
    upstream: str | None,
    faults: tuple[Fault, ...],
    seed: int,
    list_lag: float,
    late_creation: tuple[float, ...],
    refuse_stops: int,
    outages: tuple[tuple[str, tuple[float, float]], ...],
    until_eof: bool,
) -> int:
    """Serve an emulator of the whole API, until Ctrl-C or SIGTERM.

    It prints the variables that point any client at it, and then closes stdout. Its ledger is deleted with it. The key
    of an upstream server is read from INFERLEASE_UPSTREAM_KEY.

    \b
    Examples:
      eval "$(inferlease emulator --port 8080 &)"
      inferlease emulator --fault reset_after=0.05 --fault status_503:get=0.1
    """
    try:
        emulator = Emulator(
            host=host,
            port=port,
            seconds_per_step=seconds_per_step,
            stop_delay=stop_delay,
            balance=balance,
            capacity=dict(capacities),
            upstream=upstream,
            upstream_key=os.environ.get("INFERLEASE_UPSTREAM_KEY"),
            faults=faults,
            seed=seed,
            list_lag=list_lag,
            late_creation=late_creation or 0.0,
            refused_stops=refuse_stops,
            outages=dict(outages),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    terminal = Terminal()
    return _signals.run(
        lambda interrupts: _serve(emulator, f"{host}:{port}", until_eof, terminal, interrupts), say=lambda _: None
    )


async def _serve(
    emulator: Emulator, address: str, until_eof: bool, terminal: Terminal, interrupts: _signals.Interrupts
) -> int:
    ended = asyncio.Event()

    def end_by_signal(number: signal.Signals, from_terminal: bool) -> None:
        is_ctrl_c = from_terminal and number is signal.SIGINT
        if is_ctrl_c and _is_left_by_its_shell():
            return
        if is_ctrl_c:
            terminal.tell("")  # the terminal shows ^C where the next line would begin
        ended.set()

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
        _print(emulator.export_lines())
        by_ctrl_c = "" if _is_left_by_its_shell() else " Ctrl-C, or with"
        terminal.tell(f"serving {emulator.base_url}; ends with{by_ctrl_c}: kill {os.getpid()}")
        _close_stdout()
        with interrupts.going_to(end_by_signal):
            await ended.wait()
    except asyncio.CancelledError:
        pass  # by a signal before it served
    finally:
        emulator.stop()
    terminal.say(_summary(emulator.books()))
    return 0


def _is_left_by_its_shell() -> bool:
    """Whether what started it is gone, as the subshell of `eval "$(inferlease emulator &)"` is.

    Such a process is in the group of the shell itself, to which the terminal sends a Ctrl-C at the prompt.
    """
    session = os.getsid(0)
    try:
        return os.getpid() != session != os.getsid(os.getppid())
    except (ProcessLookupError, PermissionError):
        return True


def _print(lines: list[str]) -> None:
    with contextlib.suppress(OSError):
        os.write(1, "".join(f"{line}\n" for line in lines).encode())


def _close_stdout() -> None:
    """Let go of stdout: a shell's `$(...)` lasts until everybody has."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _summary(books: Books) -> str:
    billed = f": {', '.join(books.still_billed)}" if books.still_billed else ""
    delivered = sum(number for numbers in books.faults.values() for number in numbers.values())
    faults = f"; faults delivered: {delivered}" if delivered else ""
    return (
        f"the emulator's books: {books.starts} started, {len(books.still_billed)} still billed{billed}; "
        f"{books.billed_seconds:.1f} s were billed, {books.cost:.4f} EUR{faults}; its ledger is deleted"
    )
