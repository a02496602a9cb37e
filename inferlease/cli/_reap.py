"""`inferlease reap`: the end of what killed processes have left."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import click

from inferlease import Client, InferleaseError, Orphan
from inferlease._printing import printable
from inferlease.cli import _signals
from inferlease.cli._advice import with_advice
from inferlease.cli._completion import complete_live
from inferlease.cli._options import ids_only, in_json
from inferlease.cli._output import Form, is_terminal, rounded, write_entry, write_json, write_lines, write_rows
from inferlease.cli._remembered import say_nothing_is
from inferlease.cli._signals import Interrupts
from inferlease.cli._terminal import Terminal
from inferlease.cli._told import is_news

__all__ = ["command"]

_NOTHING = "nothing is left"


@click.command("reap")
@click.argument("instance_ids", metavar="[ID]...", nargs=-1, shell_complete=complete_live)
@click.option("-y", "--yes", is_flag=True, help="Stop what is ours, and each ID.")
@in_json("An object with the lists stopped, left and errors.")
@ids_only()
def command(*, instance_ids: tuple[str, ...], yes: bool, form: Form) -> int:
    """Find what killed processes have left running, and with --yes stop it.

    \b
    ours        started by this ledger, and its process is gone: --yes stops it
    possible    a start whose answer was lost may have made it: give its ID
    unresolved  such a start, and nothing of it has shown: look again later

    A living lease, and whatever was handed over to you, is never listed or stopped. Where stdout is no terminal, each
    is a line with tabs: verdict (or "stopped"), instance, model, price, reason.

    \b
    Exit codes:
      0  nothing was left, or all of it is stopped
      1  something is left: listed, possible, unresolved, or not seen to stop
      2  wrong usage
    """
    if instance_ids and not yes:
        raise click.UsageError("an ID is stopped only with --yes")
    terminal = Terminal()
    if yes:
        return _signals.run(lambda interrupts: _stop(terminal, interrupts, instance_ids, form), terminal.say)
    return _signals.run_reader(lambda: _list(terminal, form))


async def _list(terminal: Terminal, form: Form) -> int:
    async with Client() as client:
        with terminal.bars() as bars:
            bars.waiting_for("looking for orphans")
            orphans = await client.leases.orphans()
    _tell((), orphans, (), form)
    if any(orphan.verdict == "ours" for orphan in orphans):
        terminal.tell("to stop what is ours: inferlease reap --yes")
    _tell_when_to_look_again(orphans, terminal)
    if not orphans and form is None:
        say_nothing_is(terminal, _NOTHING)
    return 1 if orphans else 0


async def _stop(terminal: Terminal, interrupts: Interrupts, instance_ids: Sequence[str], form: Form) -> int:
    interrupts.consequence = "what is being stopped goes on"
    async with Client() as client:
        with terminal.bars() as bars:
            bars.waiting_for("looking for orphans, and stopping them")
            reaped = await client.leases._reap(*instance_ids)
    _tell(reaped.stopped, reaped.left, reaped.troubles, form)
    if not (reaped.stopped or reaped.left or reaped.troubles) and form is None:
        say_nothing_is(terminal, _NOTHING)
    _tell_when_to_look_again(reaped.left, terminal)
    for trouble in reaped.troubles:
        if is_news(str(trouble)):
            terminal.say(f"error: {with_advice(trouble)}")
    return 1 if reaped.left or reaped.troubles else 0


def _tell(stopped: Sequence[Orphan], left: Sequence[Orphan], troubles: Sequence[InferleaseError], form: Form) -> None:
    if form == "json":
        write_json(
            {
                "stopped": [_object(orphan) for orphan in stopped],
                "left": [_object(orphan) for orphan in left],
                "errors": [str(trouble) for trouble in troubles],
            }
        )
        return
    if form == "ids":
        write_lines([orphan.instance_id for orphan in (*stopped, *left) if orphan.instance_id is not None])
        return
    rows = [_row("stopped", orphan) for orphan in stopped] + [_row(orphan.verdict, orphan) for orphan in left]
    if is_terminal():
        # Not in columns: an id has to be whole to be copied.
        for what, instance_id, model, price, reason in rows:
            write_entry(f"{what:<10}  ", [instance_id, model, *([f"at most {price}"] if price != "-" else [])], reason)
    else:
        write_rows(rows)


def _tell_when_to_look_again(left: Sequence[Orphan], terminal: Terminal) -> None:
    """When the last of those that are unresolved is settled, if there are any."""
    until = max((orphan.until for orphan in left if orphan.until is not None), default=None)
    if until is not None:
        terminal.tell(f"look again after {_local(until)} with: inferlease reap")


def _row(what: str, orphan: Orphan) -> tuple[str, str, str, str, str]:
    reason = f"{orphan.reason} (started {_local(orphan.began)})"
    if orphan.until is not None:
        reason = f"{orphan.reason} (started {_local(orphan.began)}, unresolved until {_local(orphan.until)})"
    elif what == "possible":
        reason = f"{reason}; if it is yours: inferlease reap --yes {orphan.instance_id}"
    price = str(orphan.price) if orphan.price is not None else "-"
    return what, orphan.instance_id or "-", printable(orphan.args.hf_name, 100), price, reason


def _local(when: datetime) -> str:
    return f"{when.astimezone():%H:%M}"


def _object(orphan: Orphan) -> dict[str, object]:
    price = orphan.price
    return {
        "verdict": orphan.verdict,
        "instance_id": orphan.instance_id,
        "reason": orphan.reason,
        "record": orphan.record,
        "model": orphan.args.hf_name,
        "began": orphan.began.isoformat(),
        "price_per_hour": rounded(price.amount) if price is not None else None,
        "currency": price.currency if price is not None else None,
        "until": orphan.until.isoformat() if orphan.until is not None else None,
        "stop_command": f"inferlease reap --yes {orphan.instance_id}" if orphan.instance_id is not None else None,
    }
