"""Which rows of the fault table the tests stand for, and that a run of the whole suite has them all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROWS = frozenset({*range(1, 74), *range(75, 82), *range(84, 88)})
"""The rows that are done: exactly these are marked with `fault`."""

_DESELECTED = pytest.StashKey[bool]()


def marked_rows(items: Iterable[pytest.Item]) -> set[object]:
    return {row for item in items for mark in item.iter_markers("fault") for row in mark.args}


def difference(marked: set[object], done: frozenset[int]) -> str | None:
    """What is wrong with the marked rows, `None` if nothing is."""
    parts = {"without a test": done - marked, "marked, but no rows that are done": marked - done}
    said = [f"{what}: {', '.join(sorted(map(str, rows), key=_in_order))}" for what, rows in parts.items() if rows]
    return f"rows of the fault table {'; '.join(said)}" if said else None


def _in_order(row: str) -> tuple[int, str]:
    return len(row), row


def is_whole(config: pytest.Config) -> bool:
    """Whether the whole suite was asked for: by no path, or by the path of all tests, and with nothing left out."""
    option = config.option
    if option.ignore or option.ignore_glob or config.stash.get(_DESELECTED, False):
        return False
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        return True
    return _paths(config, config.args) == _paths(config, config.getini("testpaths"))


def _paths(config: pytest.Config, names: Sequence[str]) -> set[Path]:
    return {(config.invocation_params.dir / name).resolve() for name in names}


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    if items:
        items[0].config.stash[_DESELECTED] = True


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.testsfailed or not is_whole(session.config):
        return
    problem = difference(marked_rows(session.items), ROWS)
    if problem is not None:
        raise pytest.UsageError(problem)
