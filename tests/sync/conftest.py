"""What the tests of the facade itself need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferlease.sync import Client
    from tests.faults import FaultyEmulator


@pytest.fixture
def sync_client(emulator: FaultyEmulator) -> Iterator[Client]:
    """A synchronous client of `emulator` that polls fast."""
    with emulator.sync_client(poll_interval=0.02, settle_time=0.2) as client:
        yield client
