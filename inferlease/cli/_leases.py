"""`inferlease leases`: what the ledger remembers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import click

from inferlease import Client, StartRecord
from inferlease._printing import printable
from inferlease.cli._client import ask
from inferlease.cli._options import AGE, ids_only, in_json
from inferlease.cli._output import Form, is_terminal, write_json, write_lines, write_rows, write_table
from inferlease.cli._terminal import Terminal
from inferlease.ledger import now

__all__ = ["command"]

_OWNERS = {"alive": "live", "dead": "orphaned", "none": "ended"}


@click.command("leases")
@click.option("--since", type=AGE, default="7d", show_default=True, help="How far back: 90m, 12h, 7d or 2w.")
@in_json("A list of objects with all that is known.")
@ids_only("Ids of their instances only, one a line.")
def command(*, since: timedelta, form: Form) -> int:
    """List the leases and starts of this account that the ledger remembers, oldest first.

    Those that have not ended are always listed: "live" ones, and "orphaned" ones, whose process is gone
    (`inferlease reap` deals with them). Of the others those that ended since then. What was "handed over" is yours,
    and may run or not: inferlease ps tells. Where stdout is no terminal, each is a line with tabs: kind, began, state,
    ended, instance, model.
    """

    async def tell(client: Client, terminal: Terminal) -> None:
        records = await client.leases.list(now() - since)
        if form == "json":
            write_json([_object(record) for record in records])
        elif form == "ids":
            write_lines(list(dict.fromkeys(record.instance_id for record in records if record.instance_id is not None)))
        else:
            _write(records)
            if any(_state(record) == _OWNERS["dead"] for record in records):
                terminal.say("some are orphaned: look with inferlease reap")

    return ask(tell)


def _write(records: Sequence[StartRecord]) -> None:
    if not is_terminal():
        write_rows([_row(record, "%Y-%m-%d %H:%M:%S") for record in records])
        return
    rows = [_row(record, "%m-%d %H:%M") for record in records]
    write_table(
        ("instance", "state", "began", "ended", "model"),
        [(instance, state, began, ended, model) for _, began, state, ended, instance, model in rows],
        folds=("model",),
    )


def _state(record: StartRecord) -> str:
    return record.ending or ("kept" if record.may_stay else _OWNERS[record.owner])


def _row(record: StartRecord, times: str) -> tuple[str, ...]:
    # What was handed over runs on.
    ended_at = None if record.ending == "handed over" else record.ended_at
    return (
        record.kind,
        record.began.astimezone().strftime(times),
        _state(record),
        ended_at.astimezone().strftime(times) if ended_at is not None else "-",
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
        "state": _state(record),
        "owner": record.owner,
        "is_kept": record.is_kept,
        "limit_at": record.bounds.limit_at.isoformat() if record.bounds.limit_at is not None else None,
        "min_balance": record.bounds.min_balance,
        "began": record.began.isoformat(),
        "claimed_at": record.claimed_at.isoformat() if record.claimed_at is not None else None,
        "ending": record.ending,
        "ended_at": record.ended_at.isoformat() if record.ended_at is not None else None,
    }
