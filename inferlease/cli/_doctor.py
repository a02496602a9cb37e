"""`inferlease doctor`: what keeps leases from working here, and what to do about it."""

from __future__ import annotations

import click

from inferlease import Client, ConfigurationError
from inferlease._checkup import Check, check_up
from inferlease.cli import _signals
from inferlease.cli._output import is_terminal, write_json, write_rows, write_table
from inferlease.cli._terminal import Terminal

__all__ = ["command"]


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="A list of objects: check, status, said, advice.")
def command(*, as_json: bool) -> int:
    """Check credentials, reachability, clock, ledger, orphans and balance, and say what to do.

    Nothing is started or stopped. Exits with 1 if any check fails. Where stdout is no terminal, each check is a line
    with tabs: check, status, what was found, what to do.
    """
    terminal = Terminal()
    return _signals.run(lambda _: _check(terminal, as_json), terminal.say)


async def _check(terminal: Terminal, as_json: bool) -> int:
    with terminal.bars() as bars:
        bars.waiting_for("checking")
        checks = await _checks()
    if as_json:
        write_json(
            [{"check": each.name, "status": each.status, "said": each.said, "advice": each.advice} for each in checks]
        )
    else:
        rows = [(each.name, each.status, each.said, each.advice or "-") for each in checks]
        if is_terminal():
            write_table(("check", "status", "found", "what to do"), rows)
        else:
            write_rows(rows)
    return 1 if any(each.status == "failed" for each in checks) else 0


async def _checks() -> list[Check]:
    try:
        client = Client()
    except ConfigurationError as error:
        return [Check("reachability", "failed", str(error), "correct CORTECS_API_BASE_URL, or unset it")]
    async with client:
        core = client._core
        return await core.carry("the checks", lambda: check_up(core), bound=8 * core.exchange.timeout)
