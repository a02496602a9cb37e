"""`inferlease leases`: what the ledger remembers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import click

from inferlease import Client, StartRecord
from inferlease._costs import Spent, spent
from inferlease._printing import printable
from inferlease._spec import with_defaults
from inferlease.cli._client import ask
from inferlease.cli._instances import brief_duration
from inferlease.cli._options import AGE, ids_only, in_json
from inferlease.cli._output import (
    Form,
    Table,
    fits,
    is_terminal,
    rounded,
    write_json,
    write_lines,
    write_rows,
    write_table,
)
from inferlease.cli._remembered import say_nothing_is
from inferlease.cli._terminal import Terminal
from inferlease.ledger import now
from inferlease.money import Price, amount, duration

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
    and may run or not: inferlease ps tells. Below one that was refused stands why. Where stdout is no terminal, each
    is a line with tabs: kind, began, state, ended, instance, model, price per hour at most, why it was refused,
    and what it has cost at most, to its end or so far.
    """

    async def tell(client: Client, terminal: Terminal) -> None:
        records = await client.leases.list(now() - since)
        if form == "json":
            write_json([_object(record) for record in records])
        elif form == "ids":
            write_lines(list(dict.fromkeys(record.instance_id for record in records if record.instance_id is not None)))
        elif not records:
            last = brief_duration(since.total_seconds())
            say_nothing_is(terminal, f"no lease or start is live, or ended in the last {last} (further back: --since)")
        else:
            _write(records)
            if any(_state(record) == _OWNERS["dead"] for record in records):
                terminal.say("some are orphaned: look with inferlease reap")

    return ask(tell)


def _write(records: Sequence[StartRecord]) -> None:
    if not is_terminal():
        write_rows([_row(record) for record in records])
        return
    times = [(_time(record.began, "%m-%d %H:%M"), _lasted(record, duration)) for record in records]
    wide: Table = (
        ("instance", "state", "began", "lasted", "cost", "at most", "model"),
        [_cells(record, *told, _cost(record)) for record, told in zip(records, times, strict=True)],
    )
    if not fits(*wide):
        wide = (
            ("instance", "state", "began", "lasted", "at most", "model"),
            [_cells(record, *told) for record, told in zip(records, times, strict=True)],
        )
    write_table(
        *wide,
        folds=("model",),
        brief=(
            ("instance", "state", "lasted", "at most", "model"),
            [_cells(record, _lasted(record, brief_duration)) for record in records],
        ),
        below=[_reason(record) for record in records],
    )


def _row(record: StartRecord) -> tuple[str, ...]:
    """All that there is to be told, for a program."""
    instance_id, state, price, model = _cells(record)
    began, ended = (_time(when, "%Y-%m-%d %H:%M:%S") for when in (record.began, _ended_at(record)))
    return record.kind, began, state, ended, instance_id, model, price, _reason(record) or "-", _cost(record)


def _cells(record: StartRecord, *times: str) -> tuple[str, ...]:
    price = _price(record)
    return (
        record.instance_id or "-",
        _state(record),
        *times,
        str(price) if price is not None else "-",
        printable(record.args.hf_name, 100),
    )


def _state(record: StartRecord) -> str:
    return record.ending or ("kept" if record.may_stay else _OWNERS[record.owner])


def _ended_at(record: StartRecord) -> datetime | None:
    # What was handed over runs on.
    return None if record.ending == "handed over" else record.ended_at


def _lasted(record: StartRecord, told: Callable[[float], str]) -> str:
    """From its start to its end, or up to now."""
    if record.ending == "handed over" or _is_nothing(record):
        return "-"
    return told(max(round(((record.ended_at or now()) - record.began).total_seconds()), 0))


def _time(when: datetime | None, form: str) -> str:
    return "-" if when is None else when.astimezone().strftime(form)


def _price(record: StartRecord) -> Price | None:
    """Per hour at most; none of what was never started."""
    return None if _is_nothing(record) else record.facts.price or record.intent.price


def _spent(record: StartRecord) -> Spent | None:
    """At most, to its end or up to now; `None` if no instance is known, or nobody notes when it ends."""
    if record.instance_id is None or record.ending == "handed over":
        return None
    return spent(record, record.ended_at or now())


def _cost(record: StartRecord) -> str:
    cost = _spent(record)
    return "-" if cost is None or cost.amount is None else amount(cost.amount, cost.currency)


def _is_nothing(record: StartRecord) -> bool:
    """Whether it came to no instance."""
    return record.instance_id is None and record.ending is not None


def _reason(record: StartRecord) -> str:
    args = record.args
    return printable((record.reason or "").replace(args.model_id, args.hf_name))


def _object(record: StartRecord) -> dict[str, object]:
    args, price, cost = with_defaults(record.args), _price(record), _spent(record)
    return {
        "id": record.id,
        "kind": record.kind,
        "label": record.intent.label,
        "model": args.hf_name,
        "hardware_type_id": record.facts.hardware_type_id or args.hardware_type_id,
        "context_length": args.context_length,
        "billing_interval": record.facts.billing_interval or args.billing_interval,
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
        "reason": record.reason,
        "price_per_hour": price.amount if price is not None else None,
        "currency": price.currency if price is not None else None,
        "at_most": rounded(cost.amount) if cost is not None else None,
    }
