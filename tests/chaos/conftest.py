"""The seeds of the loads, and where their figures go."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

SEEDS = (1, 2, 3, 4, 5)


@pytest.fixture
def seeds() -> list[int]:
    """Five fixed ones and a random one; a load prints its own."""
    return [*SEEDS, random.randrange(10**6)]


@pytest.fixture
def show() -> Callable[[str], None]:
    """Print a figure: pytest shows it where the test fails, and with `-rP`."""
    return print
