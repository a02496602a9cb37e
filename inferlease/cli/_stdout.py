"""What a command has to say on stdout, for a person or a pipe."""

from __future__ import annotations

import os
import sys

import click

__all__ = ["printed"]

_GONE = 141


def printed(text: str) -> int:
    """Print `text`; returns the exit code, which tells where nobody reads stdout any more.

    Raises:
        ClickException: stdout is closed, or can't be written.
    """
    if sys.stdout is None:
        raise click.ClickException("stdout is closed: there is nowhere to write to")
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _GONE
    except OSError as error:
        raise click.ClickException(f"stdout can't be written: {error.strerror}") from None
    return 0
