"""`inferlease models`: what can be served."""

from __future__ import annotations

import click

from inferlease import Client, ModelPreview
from inferlease._printing import printable
from inferlease.cli._client import ask
from inferlease.cli._options import ids_only, in_json
from inferlease.cli._output import Form, write_json, write_lines, write_table
from inferlease.cli._terminal import Terminal

__all__ = ["command"]


@click.command("models", context_settings={"allow_extra_args": True})
@click.pass_context
@in_json("A list of models with all that the server says.")
@ids_only("Hugging Face names only, one a line.")
def command(ctx: click.Context, *, form: Form) -> int:
    """List the models that can be served, and the hardware types that serve each.

    Needs no credentials. What a model costs: inferlease quote MODEL. Where stdout is no terminal, each is a line with
    tabs.
    """
    if ctx.args:
        raise click.UsageError(
            f"it lists all models, and {ctx.args[0]!r:.100} names one: inferlease quote MODEL tells of it"
        )

    async def tell(client: Client, _: Terminal) -> None:
        models = sorted(await client.models.list(), key=lambda model: model.hf_name.lower())
        if form == "json":
            write_json(client.converter.unstructure(models))
        elif form == "ids":
            write_lines([printable(model.hf_name) for model in models])
        else:
            write_table(
                ("model", "parameters", "hardware types"), [_row(each) for each in models], folds=("hardware types",)
            )

    return ask(tell)


def _row(model: ModelPreview) -> tuple[str, ...]:
    hardware = ", ".join(model.hardware_configs or ()) or "-"
    return printable(model.hf_name, 200), _parameters(model.size), printable(hardware, 1000)


def _parameters(size: int | None) -> str:
    if size is None:
        return "-"
    return f"{size / 1e9:.1f} B" if size >= 1e9 else f"{size / 1e6:.0f} M"
