"""Leases through faults of every kind do their work, start once, and leave nothing billed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from inferlease.emulator import FaultKind
from tests.chaos import loads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.chaos.figures import Figures

CYCLES, CYCLES_IN_FULL = 42, 1_667
"""Of each seed; so are the others."""
UNRECONCILED, UNRECONCILED_IN_FULL = 20, 100
BESIDE, BESIDE_IN_FULL = 12, 200
OF_EACH, OF_EACH_IN_FULL = 4, 100
OF_EACH_KILLED = 24
LEAST = 20
"""How often each kind of fault is met at full size."""
ANSWERED, ANSWERED_IN_SHORT = 0.9, 0.85
"""The least share of the bodies; where there are few, chance takes some."""


def show_all(show: Callable[[str], None], title: str, by_seed: Mapping[int, Figures]) -> None:
    for seed, figures in by_seed.items():
        show(f"{title}, seed {seed}: {figures}")


def assert_clean(figures: Figures) -> None:
    assert figures.untyped == []
    assert figures.shared == []
    assert figures.billed == []
    assert figures.started <= figures.cycles + figures.late


@pytest.mark.storm
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("through", ["async", "sync"])
def test_leases_start_once_and_leave_nothing_billed(
    through: str, seeds: list[int], is_full: bool, show: Callable[[str], None]
) -> None:
    cycles = CYCLES_IN_FULL if is_full else CYCLES
    by_seed = loads.for_each(seeds, lambda seed: loads.lease_cycles(through, seed, cycles))
    show_all(show, through, by_seed)
    delivered = sum((figures.faults for figures in by_seed.values()), Counter[str]())
    show(f"{delivered.total()} faults, least often: {delivered.most_common()[-3:]}")
    for figures in by_seed.values():
        assert_clean(figures)
    answered = ANSWERED if is_full else ANSWERED_IN_SHORT
    assert sum(figures.completed for figures in by_seed.values()) >= answered * cycles * len(seeds)
    assert not is_full or {kind for kind in FaultKind if delivered[kind] < LEAST} == set()


@pytest.mark.storm
@pytest.mark.timeout(4 * 3600)
def test_whatever_is_left_by_processes_that_are_killed_is_stopped_by_their_guards(
    seeds: list[int], is_full: bool, show: Callable[[str], None]
) -> None:
    cycles, every = (CYCLES_IN_FULL, loads.KILLED_EVERY) if is_full else (OF_EACH_KILLED, OF_EACH_KILLED // 3)
    by_seed = loads.for_each(
        seeds if is_full else seeds[-1:], lambda seed: loads.killed_cycles("async", seed, cycles, every=every)
    )
    show_all(show, "killed", by_seed)
    for figures in by_seed.values():
        assert figures.kills > 0
        assert figures.untyped == []
        assert figures.shared == []
        assert figures.billed == []


@pytest.mark.storm
@pytest.mark.timeout(3600)
def test_without_reconciliation_the_same_leaks_or_duplicates(
    seeds: list[int], is_full: bool, show: Callable[[str], None]
) -> None:
    cycles = UNRECONCILED_IN_FULL if is_full else UNRECONCILED
    by_seed = loads.for_each(seeds, lambda seed: loads.lease_cycles("async", seed, cycles, reconciles=False))
    show_all(show, "without", by_seed)
    assert any(figures.billed or figures.started > cycles + figures.late for figures in by_seed.values())


@pytest.mark.storm
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("exclusive", [None, False])
def test_beside_somebody_else_nothing_foreign_is_touched_and_what_is_left_is_named(
    exclusive: bool | None, seeds: list[int], is_full: bool, show: Callable[[str], None]
) -> None:
    cycles = BESIDE_IN_FULL if is_full else BESIDE
    by_seed = loads.for_each(
        seeds, lambda seed: loads.beside_a_foreign_client("async", seed, cycles, exclusive=exclusive)
    )
    show_all(show, f"exclusive {exclusive}", by_seed)
    for figures in by_seed.values():
        assert figures.touched == []
        assert figures.unsaid == []
        assert figures.untyped == []


@pytest.mark.storm
@pytest.mark.timeout(3600)
def test_processes_on_one_ledger_neither_duplicate_nor_share_an_instance(
    seeds: list[int], is_full: bool, show: Callable[[str], None]
) -> None:
    cycles = OF_EACH_IN_FULL if is_full else OF_EACH
    by_seed = loads.for_each(seeds, lambda seed: loads.on_one_ledger(("async", "sync", "async"), seed, cycles))
    show_all(show, "one ledger", by_seed)
    for figures in by_seed.values():
        assert_clean(figures)
