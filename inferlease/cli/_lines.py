"""Lines for stderr: each names an instance once, and a terminal breaks no word of them, and no command."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Protocol

__all__ = ["broken", "for_stream"]

# Ids mostly say themselves that they are of an instance.
_DOUBLED = re.compile(r"\binstance (?=instance-)")
_COMMAND = re.compile(r"inferlease [a-z]+(?: [^\s;,()]+)*")
_IN_PARENTHESES = re.compile(r"([?!.]?) \(([^()]*: inferlease [^()]*)\)$")
# A number says nothing without what it counts: "5 s", "0.03 EUR for" and "(2 workers".
_QUANTITY = r"\(?[\d.,]*\d%? (?!inferlease )[^\s\d(]\S*"
_PART = re.compile(rf"{_COMMAND.pattern}[;,.)]*(?!\S)|{_QUANTITY}|\S+")


class _Stream(Protocol):
    def isatty(self) -> bool: ...

    def fileno(self) -> int: ...


def for_stream(text: str, stream: _Stream) -> str:
    """`text` as a stream gets it: in lines that fit where it is a terminal, else in those that it has."""
    text = _DOUBLED.sub("", text)
    try:
        columns = _columns(stream) if stream.isatty() else 0
    except ValueError:  # it is closed
        columns = 0
    return "\n".join(part for line in text.split("\n") for part in broken(line, columns)) if columns else text


def broken(line: str, columns: int) -> Iterator[str]:
    """`line` in lines that fit, broken at blanks only: what is longer than that is still copied whole.

    A number stays with its unit, or with what it counts.
    A command that would be broken gets a line of its own if it fits there, without what stands behind it for grammar:
    it is copied by the line.
    """
    if len(line) <= columns:
        yield line
        return
    shown = ""
    for part in _parts(_IN_PARENTHESES.sub(_unparenthesised, line), columns):
        if not shown or len(shown) + 1 + len(part) <= columns:
            shown = f"{shown} {part}" if shown else part
            continue
        yield shown
        shown = part
        if _COMMAND.match(part) and " " in part:
            yield shown.rstrip(";,.")
            shown = ""
    if shown:
        yield shown


def _unparenthesised(found: re.Match[str]) -> str:
    return f"{found[1] or ','} {found[2]}"


def _parts(line: str, columns: int) -> Iterator[str]:
    """Words; and commands, and numbers with what they count, that fit in a line."""
    for part in _PART.findall(line):
        yield from [part] if len(part) <= columns else part.split()


def _columns(stream: _Stream) -> int:
    """The width of the terminal that a stream is, as shutil tells that of stdout."""
    told = os.environ.get("COLUMNS", "")
    try:
        return int(told) if told.isdecimal() and int(told) else os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80
