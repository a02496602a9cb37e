"""`inferlease balance`: what is left on the account."""

from __future__ import annotations

import click

from inferlease import Client
from inferlease.cli._client import ask
from inferlease.cli._options import in_json
from inferlease.cli._output import Form, write_json, write_lines
from inferlease.cli._terminal import Terminal
from inferlease.money import amount

__all__ = ["command"]


@click.command("balance")
@in_json("An object with current_balance and currency.")
def command(*, form: Form) -> int:
    """Tell what is left on the account. How long it lasts: inferlease quote MODEL."""

    async def tell(client: Client, _: Terminal) -> None:
        balance = await client.account.balance()
        if form == "json":
            write_json(client.converter.unstructure(balance))
        else:
            write_lines([amount(balance.current_balance, balance.currency, 2)])

    return ask(tell)
