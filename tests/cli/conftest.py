"""Fixtures of the command line tool's tests: real processes, real signals."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.support import Tool
from tests.faults import FaultyEmulator

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True, scope="package")
def _signals_as_in_a_shell() -> Iterator[None]:
    """A process started in the background may ignore SIGINT, and its children would inherit that."""
    previous = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.fixture
def emulator(request: pytest.FixtureRequest) -> Iterator[FaultyEmulator]:
    """As the one for all tests, but an instance is usable at once: the tool polls at its users' pace."""
    options: dict[str, Any] = {"seconds_per_step": 0.0} | getattr(request, "param", {})
    with FaultyEmulator(**options) as server:
        yield server


@pytest.fixture
def tool(emulator: FaultyEmulator) -> Iterator[Tool]:
    """The tool, pointed at `emulator`; whatever it has started and not ended is killed."""
    with Tool(emulator.environment()) as started:
        yield started
