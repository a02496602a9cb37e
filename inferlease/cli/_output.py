"""What a command answers on stdout: a table for a person, lines with tabs, ids or JSON for a program."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any, Literal, NoReturn, TypeAlias

import click
from click.exceptions import Exit

from inferlease.cli._lines import broken

__all__ = [
    "DECIMALS",
    "STDOUT_GONE",
    "Form",
    "Table",
    "fits",
    "is_terminal",
    "reader_gone",
    "rounded",
    "write_entry",
    "write_json",
    "write_line_of_json",
    "write_lines",
    "write_notes",
    "write_rows",
    "write_table",
]

STDOUT_GONE = 141
"""The exit code where nobody reads stdout any more: that of a program which SIGPIPE has ended."""

Form: TypeAlias = Literal["json", "ids"] | None
"""How an answer is to be written; `None` for a table or lines with tabs."""

Table: TypeAlias = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Titles, and rows with a cell for each of them."""

# Columns that a cell needs to be read with ease where it may be broken, or cut; and those between two cells.
_LEAST_WIDTH, _LEAST_CUT, _GAP = 16, 7, 2
# Columns of a terminal from which on nothing is shortened, even if a row takes two lines.
_ROOMY = 120


DECIMALS = 6
"""Of an amount of money, where a program reads it."""


def rounded(value: Any) -> Any:
    """`value`, as JSON has it, without what fractions leave when they are added or multiplied."""
    match value:
        case float():
            return round(value, DECIMALS)
        case dict():
            return {key: rounded(each) for key, each in value.items()}
        case list():
            return [rounded(each) for each in value]
        case _:
            return value


def write_json(value: object) -> None:
    """Write JSON, indented, its keys in their order."""
    _write(json.dumps(value, indent=2) + "\n")


def write_line_of_json(value: object) -> None:
    """Write JSON in one line, its keys in their order."""
    _write(json.dumps(value) + "\n")


async def reader_gone() -> NoReturn:
    """Wait until nobody reads the pipe that stdout is, which else shows only with the next write.

    Raises:
        Exit: Nobody does.
    """
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    descriptor = sys.stdout.fileno() if sys.stdout is not None else -1
    is_pipe = descriptor >= 0 and stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    if is_pipe:
        # There is never anything to read at this end: only its being broken is told.
        loop.add_reader(descriptor, gone.set)
    try:
        await gone.wait()
    finally:
        if is_pipe:
            loop.remove_reader(descriptor)
    raise Exit(STDOUT_GONE)


def is_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout is not None and sys.stdout.isatty()


def write_lines(lines: Sequence[str]) -> None:
    """Write lines as they are."""
    _write("".join(f"{line}\n" for line in lines))


def write_rows(rows: Sequence[Sequence[str]]) -> None:
    """Write each row in a line with tabs."""
    write_lines(["\t".join(row) for row in rows])


def write_table(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    folds: Collection[str] = (),
    brief: Table | None = None,
    below: Sequence[str] = (),
) -> None:
    """Write rows: at a terminal below their titles, else each in a line with tabs.

    Args:
        titles: Of the columns. The first one's cells tell rows apart.
        rows: A cell for each title.
        folds: Titles of the columns whose cells may be broken at blanks, or stand below their row where the terminal is
            narrow. All others stay whole, so that they can be copied, and so does every word.
        brief: The same rows in fewer or shorter columns, for a narrow terminal on which they take two lines else.
            There, what folds is cut where that is enough.
        below: What stands below each row at a terminal.
    """
    if not is_terminal():
        write_rows(rows)
        return
    terminal = shutil.get_terminal_size().columns
    if brief is not None and terminal < _ROOMY and _width(_natural(titles, rows)) > terminal:
        titles, rows = brief[0], _cut_rows(*brief, folds, terminal)
    natural = _natural(titles, rows)
    wholes = [index for index, title in enumerate(titles) if title not in folds]
    lay: Callable[[Sequence[str]], Iterator[str]]
    if widths := _shared(natural, wholes, terminal, _LEAST_WIDTH):
        lay = partial(_in_columns_or_below, widths=widths, wholes=wholes, terminal=terminal)
    elif _width([natural[index] for index in wholes]) <= terminal:
        lay = partial(_with_rest_below, widths=natural, wholes=wholes, terminal=terminal)
    else:
        lay, titles = partial(_with_all_below, titles=titles, terminal=terminal), ()
    lines = [*lay(titles)] if titles else []
    for row, more in zip(rows, below or [""] * len(rows), strict=True):
        lines += [*lay(row), *_filled(more.split(), " ", terminal)]
    write_lines(lines)


def fits(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether each row takes one line of the terminal, and nothing is broken."""
    return _width(_natural(titles, rows)) <= shutil.get_terminal_size().columns


def write_entry(head: str, parts: Sequence[str], below: str) -> None:
    """Write `head`, `parts` beside it and `below` below them, in lines that fit in the terminal; no part is broken."""
    room = shutil.get_terminal_size().columns - len(head)
    lines = [*_filled(parts, "  ", room, indent=0), *broken(below, room)]
    write_lines([f"{' ' * len(head) if index else head}{line}" for index, line in enumerate(lines)])


def write_notes(notes: Sequence[str], say: Callable[[str], object]) -> None:
    """Write what a table rests on: at a terminal below it, else by `say`, so that no program takes it for a row."""
    if not is_terminal():
        for note in notes:
            say(note)
        return
    terminal = shutil.get_terminal_size().columns
    write_lines([line for note in notes for line in broken(note, terminal)])


def _natural(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """The columns' widths if nothing is broken or cut."""
    return [max(map(len, column)) for column in zip(titles, *rows, strict=True)]


def _width(widths: Sequence[int]) -> int:
    """The width of a line with columns of these widths."""
    return sum(widths) + _GAP * (len(widths) - 1)


def _shared(natural: Sequence[int], wholes: Sequence[int], terminal: int, least: int) -> list[int]:
    """The columns' widths if those that fold share what the others leave; none if one gets less than `least`."""
    widths, left = list(natural), terminal - sum(natural[index] for index in wholes) - _GAP * (len(natural) - 1)
    folding = sorted(set(range(len(natural))) - set(wholes), key=lambda index: natural[index])
    for number, index in enumerate(folding):
        widths[index] = min(natural[index], left // (len(folding) - number))
        left -= widths[index]
    is_enough = left >= 0 and all(widths[index] >= min(natural[index], least) for index in folding)
    return widths if is_enough else []


def _cut_rows(
    titles: Sequence[str], rows: Sequence[Sequence[str]], folds: Collection[str], terminal: int
) -> Sequence[Sequence[str]]:
    """The rows with what folds cut so that each fits in a line, as they are where that leaves too little."""
    natural = _natural(titles, rows)
    wholes = [index for index, title in enumerate(titles) if title not in folds]
    widths = _shared(natural, wholes, terminal, _LEAST_CUT) or natural
    return [[_cut(cell, width) for cell, width in zip(row, widths, strict=True)] for row in rows]


def _cut(text: str, width: int) -> str:
    """`text` in so many columns: without what stands before its last slash, else without its middle too."""
    name = text.rpartition("/")[2]
    for shown in (text, f"…/{name}", name):
        if len(shown) <= width:
            return shown
    head = width // 2
    return f"{name[:head]}…{name[head + 1 - width :]}"


def _in_columns_or_below(
    row: Sequence[str], widths: Sequence[int], wholes: Sequence[int], terminal: int
) -> Iterator[str]:
    """In columns, unless one of them is too narrow for a word."""
    has_room = all(len(word) <= width for cell, width in zip(row, widths, strict=True) for word in cell.split())
    return _in_columns(row, widths) if has_room else _with_rest_below(row, widths, wholes, terminal)


def _in_columns(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    cells = [
        textwrap.wrap(cell, width, break_on_hyphens=False) or [""] for cell, width in zip(row, widths, strict=True)
    ]
    for parts in zip_longest(*cells, fillvalue=""):
        padded = (part.ljust(width) for part, width in zip(parts, widths, strict=True))
        yield (" " * _GAP).join(padded).rstrip()


def _with_rest_below(row: Sequence[str], widths: Sequence[int], wholes: Sequence[int], terminal: int) -> Iterator[str]:
    yield from _in_columns([row[index] for index in wholes], [widths[index] for index in wholes])
    for index, cell in enumerate(row):
        if index not in wholes and cell != "-":
            yield from _filled(cell.split(), " ", terminal)


def _with_all_below(row: Sequence[str], titles: Sequence[str], terminal: int) -> Iterator[str]:
    yield row[0]
    told = ", ".join(f"{title} {cell}" for title, cell in zip(titles[1:], row[1:], strict=True) if cell != "-")
    yield from _filled(told.split(", "), ", ", terminal)


def _filled(parts: Sequence[str], separator: str, terminal: int, indent: int = _GAP) -> Iterator[str]:
    """Indented lines of as many parts as fit; no part is broken."""
    line = ""
    for part in parts:
        longer = f"{line}{separator}{part}" if line else part
        if line and indent + len(longer) > terminal:
            yield " " * indent + line + separator.rstrip()
            longer = part
        line = longer
    if line:
        yield " " * indent + line


def _write(text: str) -> None:
    if sys.stdout is None:
        raise click.ClickException("stdout is closed: there is nowhere to write the answer to")
    try:
        sys.stdout.write(_encodable(text, sys.stdout.encoding))
        sys.stdout.flush()
    except OSError as error:
        # What is left in the buffer is written once more at the interpreter's end, which would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise Exit(STDOUT_GONE) from None
        raise click.ClickException(f"stdout can't be written: {error.strerror}") from None


def _encodable(text: str, encoding: str) -> str:
    """`text` with escapes for what a terminal of old can't show."""
    return text.encode(encoding, "backslashreplace").decode(encoding)
