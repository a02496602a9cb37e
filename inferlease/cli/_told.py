"""What stderr was told: a trouble that is logged and then raised is one line, not two."""

from __future__ import annotations

__all__ = ["is_news"]

_told: set[str] = set()


def is_news(text: str) -> bool:
    """Whether `text` was not told yet. From now on it was."""
    if text in _told:
        return False
    _told.add(text)
    return True
