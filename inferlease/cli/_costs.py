"""`inferlease costs`: what leases have cost, for whoever pays."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import get_args

import attrs
import click

from inferlease import Client, CostGroup
from inferlease.cli import _signals
from inferlease.cli._stdout import printed
from inferlease.cli._terminal import Terminal
from inferlease.money import ASSUMPTION, GroupBy, amount

__all__ = ["command"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class _Span(click.ParamType[float]):
    """How far to look back."""

    name = "span"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smhdw])", str(value), re.ASCII)
        if found is None or not float(found[1]):
            self.fail(f"{value!r:.80} is no span of time, such as 12h, 7d or 4w", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


@click.command("costs")
@click.option("--since", type=_Span(), default="7d", show_default=True, metavar="SPAN", help="Such as 12h, 7d or 4w.")
@click.option("--by", type=click.Choice(get_args(GroupBy)), default="label", show_default=True, help="What to sum up.")
@click.option("--json", "form", flag_value="json", help="A list of JSON objects instead of a table.")
@click.option("--csv", "form", flag_value="csv", help="One line for each group and currency.")
def command(*, since: float, by: GroupBy, form: str | None) -> int:
    """Tell what the leases that live, or ended since then, have cost at most, by this machine's ledger.

    A lease counts whole, and for `--by day` on the day of its start in UTC. Instances that were started without a lease
    are not in it.
    """
    terminal = Terminal()

    async def tell() -> int:
        async with Client() as client:
            groups = await client.costs(since, by)
        if form == "json":
            return printed(json.dumps([attrs.asdict(group) for group in groups]))
        return printed(_csv(groups, by) if form == "csv" else "\n".join(_table(groups, by)))

    return _signals.run(lambda _: tell(), terminal.say)


def _csv(groups: Sequence[CostGroup], by: GroupBy) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([by, "leases", "live", "seconds", "unknown_prices", "at_most", "currency"])
    for group in groups:
        costs = [(f"{value:.6f}", currency) for currency, value in sorted(group.amounts.items())]
        for cost, currency in costs or [("", "")]:
            name = group.name or ""
            # What begins like a formula would be one in a spreadsheet.
            shown = f"'{name}" if name.startswith(("=", "+", "-", "@")) else name
            writer.writerow([shown, group.leases, group.live, f"{group.seconds:.3f}", group.unknown, cost, currency])
    return text.getvalue().rstrip("\n")


def _table(groups: Sequence[CostGroup], by: GroupBy) -> list[str]:
    rows = [[by, "leases", "hours", "at most"]]
    for group in groups:
        costs = [amount(value, currency, 2) for currency, value in sorted(group.amounts.items())]
        if group.unknown:
            costs.append(f"{group.unknown} of unknown price")
        leases = f"{group.leases} ({group.live} live)" if group.live else str(group.leases)
        rows.append([group.name or "(none)", leases, f"{group.seconds / 3600:.2f}", " + ".join(costs)])
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*lines, _total(groups), f"estimates: {ASSUMPTION}"]


def _total(groups: Sequence[CostGroup]) -> str:
    sums: dict[str, float] = {}
    for group in groups:
        for currency, value in group.amounts.items():
            sums[currency] = sums.get(currency, 0.0) + value
    told = [amount(value, currency, 2) for currency, value in sorted(sums.items())] or ["nothing of known price"]
    unknown = sum(group.unknown for group in groups)
    return f"in all: {' + '.join(told)}" + (f"; {unknown} of unknown price are not in it" if unknown else "")
