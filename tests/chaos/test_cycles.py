"""Leases through faults of every kind do their work, start once, and leave nothing billed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from inferlease.emulator import FaultKind
from tests.chaos import loads

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.figures import Figures

CYCLES_IN_FULL, CYCLES = 10_000, 250
UNRECONCILED, UNRECONCILED_IN_FULL = 40, 500
BESIDE, BESIDE_IN_FULL = 24, 250
OF_EACH, OF_EACH_IN_FULL = 10, 100
LEAST = 20
"""How often each kind of fault is met at full size."""
ANSWERED = 0.9


def assert_reached(figures: Figures) -> None:
    assert figures.untyped == []
    assert figures.shared == []
    assert figures.billed == []
    assert figures.started <= figures.cycles + figures.late
    assert figures.completed >= ANSWERED * figures.cycles


@pytest.mark.storm
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("world", ["async", "sync"])
def test_leases_start_once_and_leave_nothing_billed(
    world: str, seeds: list[int], is_full: bool, show: Callable[[str], None]
) -> None:
    cycles = CYCLES_IN_FULL // len(seeds) if is_full else CYCLES
    delivered: Counter[str] = Counter()
    for seed in seeds:
        figures = loads.lease_cycles(world, seed, cycles)
        show(f"{world}, seed {seed}: {figures}")
        assert_reached(figures)
        delivered += figures.faults
    show(f"least often: {delivered.most_common()[-3:]}")
    assert not is_full or {kind for kind in FaultKind if delivered[kind] < LEAST} == set()


@pytest.mark.storm
@pytest.mark.timeout(3600)
def test_without_reconciliation_the_same_leaks_or_duplicates(
    seeds: list[int], is_full: bool, show: Callable[[str], None]
) -> None:
    cycles = UNRECONCILED_IN_FULL if is_full else UNRECONCILED
    for seed in seeds:
        figures = loads.lease_cycles("async", seed, cycles, reconciles=False)
        show(f"seed {seed}: {figures}")
        assert figures.billed or figures.started > figures.cycles + figures.late


@pytest.mark.storm
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("exclusive", [None, False])
def test_beside_somebody_else_nothing_foreign_is_touched_and_what_is_left_is_named(
    exclusive: bool | None, seeds: list[int], is_full: bool, show: Callable[[str], None]
) -> None:
    cycles = BESIDE_IN_FULL if is_full else BESIDE
    for seed in seeds:
        figures = loads.beside_a_foreign_client("async", seed, cycles, exclusive=exclusive)
        show(f"exclusive {exclusive}, seed {seed}: {figures}")
        assert figures.touched == []
        assert figures.unsaid == []
        assert figures.untyped == []


@pytest.mark.storm
@pytest.mark.timeout(3600)
def test_processes_on_one_ledger_neither_duplicate_nor_share_an_instance(
    seeds: list[int], is_full: bool, show: Callable[[str], None]
) -> None:
    cycles = OF_EACH_IN_FULL if is_full else OF_EACH
    for seed in seeds:
        figures = loads.on_one_ledger(("async", "sync", "async"), seed, cycles)
        show(f"seed {seed}: {figures}")
        assert_reached(figures)
