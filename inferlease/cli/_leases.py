"""`inferlease leases`: what the ledger remembers."""

from __future__ import annotations

from datetime import timedelta

import click

from inferlease import Client, StartRecord
from inferlease._printing import printable
from inferlease.cli import _signals
from inferlease.cli._options import AGE
from inferlease.cli._output import is_terminal, write_json, write_rows, write_table
from inferlease.cli._terminal import Terminal
from inferlease.ledger import now

__all__ = ["command"]

_OWNERS = {"alive": "live", "dead": "orphaned", "none": "ended"}


@click.command("leases")
@click.option("--since", type=AGE, default="7d", show_default=True, help="How far back: 90m, 12h, 7d or 2w.")
@click.option("--json", "as_json", is_flag=True, help="A list of objects with all that is known.")
def command(*, since: timedelta, as_json: bool) -> int:
    """List the leases and starts of this account that the ledger remembers, oldest first.

    Those that have not ended are always listed: "live" ones, and "orphaned" ones, whose process is gone
    (`inferlease reap` deals with them). Of the others those that ended since then. Where stdout is no terminal, each
    is a line with tabs: kind, began, state, ended, instance, model.
    """
    terminal = Terminal()
    return _signals.run(lambda _: _list(since, as_json), terminal.say)


async def _list(since: timedelta, as_json: bool) -> int:
    async with Client() as client:
        records = await client.leases.list(now() - since)
    if as_json:
        write_json([_object(record) for record in records])
    elif is_terminal():
        rows = [_row(record, "%m-%d %H:%M") for record in records]
        write_table(("began", "state", "ended", "instance", "model"), [row[1:] for row in rows], whole="instance")
    else:
        write_rows([_row(record, "%Y-%m-%d %H:%M:%S") for record in records])
    return 0


def _row(record: StartRecord, times: str) -> tuple[str, ...]:
    return (
        record.kind,
        record.began.astimezone().strftime(times),
        record.ending or ("kept" if record.is_kept else _OWNERS[record.owner]),
        record.ended_at.astimezone().strftime(times) if record.ended_at is not None else "-",
        record.instance_id or "-",
        printable(record.args.hf_name, 100),
    )


def _object(record: StartRecord) -> dict[str, object]:
    args = record.args
    return {
        "id": record.id,
        "kind": record.kind,
        "model": args.hf_name,
        "hardware_type_id": args.hardware_type_id,
        "context_length": args.context_length,
        "billing_interval": args.billing_interval,
        "num_workers": args.num_workers,
        "instance_id": record.instance_id,
        "owner": record.owner,
        "is_kept": record.is_kept,
        "began": record.began.isoformat(),
        "claimed_at": record.claimed_at.isoformat() if record.claimed_at is not None else None,
        "ending": record.ending,
        "ended_at": record.ended_at.isoformat() if record.ended_at is not None else None,
    }
