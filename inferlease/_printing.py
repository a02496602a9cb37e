"""Text that came from elsewhere, made safe for one line of a terminal or log."""

from __future__ import annotations


def printable(text: str, limit: int | None = None) -> str:
    """`text` on one line, control characters and surrogates escaped, cut after `limit` characters."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:limit])
    return shown if limit is None or len(text) <= limit else shown + "…"
