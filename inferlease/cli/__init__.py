"""The command line tool `inferlease`; needs the extra `cli`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Do what the arguments of this process say; returns its exit code."""
    try:
        from inferlease.cli._commands import invoke

        return invoke(sys.argv[1:])
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("click", "rich"):
            raise
        sys.stderr.write(f"error: {missing} is missing, get it with: pip install 'inferlease[cli]'\n")
        return 1
