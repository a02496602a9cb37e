"""`inferlease costs`: what leases have cost, for whoever pays."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import timedelta
from typing import Literal, get_args

import click

from inferlease import Client, CostGroup, StartRecord
from inferlease._costs import GroupBy
from inferlease.cli._client import ask
from inferlease.cli._instances import brief_duration
from inferlease.cli._options import AGE, in_json
from inferlease.cli._output import DECIMALS, is_terminal, rounded, write_json, write_lines, write_notes, write_table
from inferlease.cli._remembered import say_nothing_is
from inferlease.cli._terminal import Terminal
from inferlease.ledger import now
from inferlease.money import ASSUMPTION, amount, duration

__all__ = ["command"]


@click.command("costs")
@click.option("--since", type=AGE, default="7d", show_default=True, help="How far back: 90m, 12h, 7d or 2w.")
@click.option("--by", type=click.Choice(get_args(GroupBy)), default="label", show_default=True, help="What to sum up.")
@in_json("A list of objects instead of a table.")
@click.option("--csv", "form", flag_value="csv", help="One line for each group and currency.")
def command(*, since: timedelta, by: GroupBy, form: Literal["json", "csv"] | None) -> int:
    """Tell what the leases that live, or ended since then, have cost at most, by this machine's ledger.

    A lease counts whole, and for `--by day` on the day of its start in UTC. Instances that were started without a lease
    are not in it, nor are starts whose outcome is unknown: how many there are is told. Where stdout is no terminal,
    each group is a line with tabs: name, leases, hours, at most; the sum, and what it rests on, goes to stderr.
    """

    async def tell(client: Client, terminal: Terminal) -> None:
        groups = await client.costs(since.total_seconds(), by)
        if form == "json":
            write_json(rounded(client.converter.unstructure(groups)))
        elif form == "csv":
            write_lines(_csv(groups, by))
        else:
            records = await client.leases.list(now() - since)
            left_out = [*_started_without_lease(records), *_of_unknown_outcome(records)]
            if groups:
                titles = (by, "leases", "time", "at most")
                write_table(titles, [_row(group) for group in groups], folds=(by, "at most"))
                write_notes([_total(groups), *left_out, f"estimates: {ASSUMPTION}"], terminal.say)
            else:
                last = brief_duration(since.total_seconds())
                say_nothing_is(terminal, f"no lease is live, or ended in the last {last} (further back: --since)")
                write_notes(left_out, terminal.say)

    return ask(tell)


def _csv(groups: Sequence[CostGroup], by: GroupBy) -> list[str]:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([by, "leases", "live", "seconds", "unknown_prices", "at_most", "currency"])
    for group in groups:
        costs = [(f"{value:.{DECIMALS}f}", currency) for currency, value in sorted(group.amounts.items())]
        for cost, currency in costs or [("", "")]:
            name = group.name or ""
            # What begins like a formula would be one in a spreadsheet.
            shown = f"'{name}" if name.startswith(("=", "+", "-", "@")) else name
            writer.writerow([shown, group.leases, group.live, f"{group.seconds:.3f}", group.unknown, cost, currency])
    return text.getvalue().splitlines()


def _row(group: CostGroup) -> tuple[str, str, str, str]:
    costs = [amount(value, currency, 2) for currency, value in sorted(group.amounts.items())]
    if group.unknown:
        costs.append(f"{group.unknown} of unknown price")
    leases = f"{group.leases} ({group.live} live)" if group.live else str(group.leases)
    time = duration(group.seconds // 1) if is_terminal() else f"{group.seconds / 3600:.2f}"
    return group.name or "(none)", leases, time, " + ".join(costs)


def _total(groups: Sequence[CostGroup]) -> str:
    sums: dict[str, float] = {}
    for group in groups:
        for currency, value in group.amounts.items():
            sums[currency] = sums.get(currency, 0.0) + value
    told = [amount(value, currency, 2) for currency, value in sorted(sums.items())] or ["nothing of known price"]
    unknown = sum(group.unknown for group in groups)
    return f"in all: {' + '.join(told)}" + (f"; {unknown} of unknown price are not in it" if unknown else "")


def _started_without_lease(records: Sequence[StartRecord]) -> list[str]:
    """What the sum leaves out, if there is any: nobody notes when such an instance ends."""
    ids = {record.instance_id for record in records if record.kind != "lease" and record.instance_id is not None}
    if not ids:
        return []
    told = f"{len(ids)} instances that were" if len(ids) > 1 else "an instance that was"
    return [f"not in it: {told} started without a lease, and billed until stopped (see: inferlease leases)"]


def _of_unknown_outcome(records: Sequence[StartRecord]) -> list[str]:
    """The starts that may have made an instance, or are just being made."""
    unknown = [record for record in records if record.ending is None and record.instance_id is None]
    if not unknown:
        return []
    told = f"{len(unknown)} starts" if len(unknown) > 1 else "a start"
    verb = "reap" if any(record.owner == "dead" for record in unknown) else "leases"
    return [f"not in it: {told} whose outcome is unknown (see: inferlease {verb})"]
