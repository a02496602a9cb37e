"""`inferlease doctor`: what keeps leases from working here, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

import click
from attrs import asdict, evolve

from inferlease import Check, Client, ConfigurationError
from inferlease.cli import _signals
from inferlease.cli._options import in_json
from inferlease.cli._output import Form, is_terminal, write_json, write_rows, write_table
from inferlease.cli._terminal import Terminal
from inferlease.cli._wording import at_shell

__all__ = ["command"]


@click.command("doctor")
@in_json("A list of objects: name, status, said, advice.")
def command(*, form: Form) -> int:
    """Check credentials, inference key, reachability, clock, ledger, orphans and balance, and say what to do.

    Nothing is started or stopped. Exits with 1 if any check fails. Where stdout is no terminal, each check is a line
    with tabs: check, status, what was found, what to do.
    """
    terminal = Terminal()
    return _signals.run_reader(lambda: _check(terminal, form))


async def _check(terminal: Terminal, form: Form) -> int:
    with terminal.bars() as bars:
        bars.waiting_for("checking")
        checks = [evolve(each, said=at_shell(each.said), advice=at_shell(each.advice)) for each in await _checks()]
    if form == "json":
        write_json([asdict(check) for check in checks])
    else:
        _write(checks)
    return 1 if any(each.status == "failed" for each in checks) else 0


def _write(checks: Sequence[Check]) -> None:
    rows = [(each.name, each.status, each.said) for each in checks]
    if is_terminal():
        advice = [f"to do: {each.advice}" if each.advice else "" for each in checks]
        write_table(("check", "status", "found"), rows, folds=("found",), below=advice)
    else:
        write_rows([(*row, each.advice or "-") for row, each in zip(rows, checks, strict=True)])


async def _checks() -> list[Check]:
    try:
        client = Client()
    except ConfigurationError as error:
        return [Check("reachability", "failed", str(error), "correct CORTECS_API_BASE_URL, or unset it")]
    async with client:
        return await client.check_up()
