"""The prompts of a demo: one a line."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

import click

__all__ = ["read_prompts"]


def read_prompts(source: str | None) -> list[str]:
    """The prompts of a file, of stdin if it is `-`, or the bundled ones if it is `None`.

    A line is a prompt as it stands, without its line end; a blank one is none.
    """
    try:
        name, content = _read(source)
    except OSError as error:
        raise click.ClickException(f"{source} can't be read: {error.strerror}") from None
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise click.ClickException(
            f"{name}, line {line}: byte 0x{byte:02x} is not UTF-8; convert it, for example with: iconv -t UTF-8"
        ) from None
    lines = text.removeprefix("\ufeff").split("\n")
    return [line.removesuffix("\r") for line in lines if line.strip()]


def _read(source: str | None) -> tuple[str, bytes]:
    if source is None:
        return "prompts.txt", files("inferlease.cli").joinpath("prompts.txt").read_bytes()
    if source != "-":
        return source, Path(source).read_bytes()
    if sys.stdin is None:
        raise click.ClickException("stdin is closed: name a file instead of -")
    if sys.stdin.isatty():
        click.echo("one prompt a line, Ctrl-D ends:", err=True)
    return "stdin", sys.stdin.buffer.read()
