"""What a command answers on stdout: a table for a person, lines with tabs or JSON for a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["STDOUT_GONE", "write_json", "write_table"]

STDOUT_GONE = 141


class _StdoutGoneError(click.ClickException):
    exit_code = STDOUT_GONE

    def __init__(self) -> None:
        super().__init__("whoever read the answer is gone")


def write_json(value: object) -> None:
    """Write JSON, indented, its keys in their order."""
    _write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write rows of text: with titles and as wide as the terminal, or one a line with tabs where it is none."""
    if sys.stdout is None or not sys.stdout.isatty():
        _write("".join("\t".join(row) + "\n" for row in rows))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(table)
    _write(captured.get())


def _write(text: str) -> None:
    if sys.stdout is None:
        raise click.ClickException("stdout is closed: there is nowhere to write the answer to")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = None  # else the interpreter's exit tries once more, and complains
        raise _StdoutGoneError from None
    except OSError as error:
        raise click.ClickException(f"stdout can't be written: {error.strerror}") from None
