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

__all__ = ["STDOUT_GONE", "is_terminal", "write_json", "write_lines", "write_rows", "write_table"]

STDOUT_GONE = 141


class _StdoutGoneError(click.ClickException):
    exit_code = STDOUT_GONE

    def __init__(self) -> None:
        super().__init__("whoever read the answer is gone")


def write_json(value: object) -> None:
    """Write JSON, indented, its keys in their order."""
    _write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def is_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout is not None and sys.stdout.isatty()


def write_lines(lines: Sequence[str]) -> None:
    """Write lines as they are."""
    _write("".join(f"{line}\n" for line in lines))


def write_rows(rows: Sequence[Sequence[str]]) -> None:
    """Write each row in a line with tabs."""
    write_lines(["\t".join(row) for row in rows])


def write_table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, whole: str = "") -> None:
    """Write rows with titles, as wide as the terminal; the column `whole` is never broken, so that it can be copied."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold", no_wrap=title == whole)
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
