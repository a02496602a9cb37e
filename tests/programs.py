"""Programs with a lease, written once for both worlds."""

from __future__ import annotations

from textwrap import indent

import pytest

__all__ = ["READY", "both_styles", "program", "written"]

IMPORTS = """
import asyncio, io, logging, multiprocessing, os, select, signal, sys, threading, time
from inferlease import _keeper, _sigterm
from PACKAGE import Client
MODEL = "meta-llama/Llama-3.1-8B-Instruct"

def disposition():
    return "default" if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL else "handled"
"""

WORDS = {
    "async": {
        "PACKAGE": "inferlease",
        "ASYNC ": "async ",
        "AWAIT ": "await ",
        "PAUSE": "[await asyncio.sleep(0.05) for _ in range(1200)]",
        "RUN": "asyncio.run(main())",
    },
    "sync": {
        "PACKAGE": "inferlease.sync",
        "ASYNC ": "",
        "AWAIT ": "",
        "PAUSE": "[time.sleep(0.05) for _ in range(1200)]",
        "RUN": "main()",
    },
}

READY = "print('ready', flush=True); PAUSE"

both_styles = pytest.mark.parametrize("style", WORDS)


def written(style: str, text: str) -> str:
    """`text` in that style, after the usual imports. PAUSE is longer than any test, in steps: Python misses a
    signal that comes just before a sleep until that is over; RUN runs `main`."""
    text = IMPORTS + text
    for word, meaning in WORDS[style].items():
        text = text.replace(word, meaning)
    return text


def program(style: str, body: str = READY, *, before: str = "", within: str = "", after: str = "") -> str:
    """A program that runs `body` in a lease; what comes `before` in the module, `within` and `after` in `main`."""
    main = f"""
ASYNC def main():
{indent(within, "    ")}
    ASYNC with Client(poll_interval=0.02) as client, client.lease(MODEL) as instance:
{indent(body, "        ")}
{indent(after, "    ")}
"""
    return written(style, f"{before}\n{main}\nRUN\n")
