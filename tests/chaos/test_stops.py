"""A stop comes through beside many polls; how fast is a figure, not a matter of passing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos import latency

if TYPE_CHECKING:
    from collections.abc import Callable

POLLS = 1_000
RELEASES, RELEASES_IN_FULL = 3, 100


@pytest.mark.storm
@pytest.mark.timeout(3600)
def test_a_lease_is_released_beside_a_thousand_polls(is_full: bool, show: Callable[[str], None]) -> None:
    latencies = latency.beside_polls("async", POLLS, RELEASES_IN_FULL if is_full else RELEASES)
    show(str(latencies))
    assert latencies.billed == []
    assert latencies.failed_polls == 0
