"""A run of all tests fails unless the rows that are marked are those that are done; a part of them does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import fault_rows

if TYPE_CHECKING:
    from collections.abc import Callable

SUITE = """
    import pytest

    @pytest.mark.fault(1)
    def test_one(): ...

    @pytest.mark.fault(2, 3)
    def test_two_and_three(): ...
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pytest.ExitCode | int]:
    """Runs a suite whose tests stand for rows 1, 2 and 3, with these rows for done."""
    pytester.makeini("""
        [pytest]
        testpaths = checks
        markers = fault
        asyncio_default_fixture_loop_scope = function
    """)
    pytester.makeconftest("from tests.fault_rows import pytest_collection_finish, pytest_deselected")
    pytester.mkdir("checks")
    pytester.makepyfile(**{"checks/test_rows": SUITE, "checks/test_others": "def test_other(): ..."})

    def run(done: set[int], *arguments: str) -> pytest.ExitCode | int:
        monkeypatch.setattr(fault_rows, "ROWS", frozenset(done))
        return pytester.inline_run(*arguments).ret

    return run


@pytest.mark.parametrize("arguments", [(), ("checks",)], ids=str)
@pytest.mark.parametrize(
    ("done", "ends"),
    [
        ({1, 2, 3}, pytest.ExitCode.OK),
        ({1, 2, 3, 4}, pytest.ExitCode.USAGE_ERROR),
        ({1, 2}, pytest.ExitCode.USAGE_ERROR),
    ],
    ids=["all marked", "one not marked", "one too many"],
)
def test_a_whole_run_fails_unless_the_rows_are_those_that_are_done(
    suite: Callable[..., pytest.ExitCode | int], arguments: tuple[str, ...], done: set[int], ends: pytest.ExitCode
) -> None:
    assert suite(done, *arguments) == ends


@pytest.mark.parametrize(
    "arguments",
    [
        ("checks/test_others.py",),
        ("checks/test_rows.py",),
        ("checks/test_rows.py::test_one",),
        ("-k", "one"),
        ("-m", "fault"),
        ("--ignore", "checks/test_others.py"),
        ("--ignore-glob", "*others*"),
        ("--deselect", "checks/test_rows.py::test_one"),
    ],
    ids=" ".join,
)
def test_a_partial_run_does_not(suite: Callable[..., pytest.ExitCode | int], arguments: tuple[str, ...]) -> None:
    assert suite({1, 2, 3, 4}, *arguments) == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("marked", "problem"),
    [
        ({1, 2, 10}, None),
        ({1}, "rows of the fault table without a test: 2, 10"),
        ({1, 2, 10, 88}, "rows of the fault table marked, but no rows that are done: 88"),
        ({1, 2, "10"}, "rows of the fault table without a test: 10; marked, but no rows that are done: 10"),
    ],
    ids=str,
)
def test_the_rows_that_differ_are_named(marked: set[object], problem: str | None) -> None:
    assert fault_rows.difference(marked, frozenset({1, 2, 10})) == problem
