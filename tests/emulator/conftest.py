"""Fixtures of the emulator's own tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.emulator.support import Api, SetClock, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Api]:
    """A logged-in caller of an emulator whose instances are usable at once."""
    async with serving() as caller:
        yield caller


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """The clock of every emulator that the test makes after this."""
    set_clock = SetClock()
    monkeypatch.setattr("inferlease.emulator.life.time", set_clock)
    return set_clock
