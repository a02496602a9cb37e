"""What a process leaves behind that a signal ends: nothing, or what the ledger recovers."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest

from tests.chaos import kills

if TYPE_CHECKING:
    from collections.abc import Callable

KILLS, KILLS_IN_FULL = 1, 20
"""In each phase and world."""
SIGNALLED = 6
SIGNALLED_IN_FULL = {"five SIGINTs": 200, "SIGTERM, then SIGKILL": 100}


@pytest.mark.storm
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("through", ["async", "sync"])
@pytest.mark.parametrize("phase", kills.HOLDS)
def test_what_a_killed_process_left_is_recovered_and_nothing_else_is_touched(
    phase: str, through: str, is_full: bool, show: Callable[[str], None]
) -> None:
    killed = kills.killed_in(phase, through, KILLS_IN_FULL if is_full else KILLS)
    show(f"{through}, {phase}: {killed}")
    assert killed.reaps == []
    assert killed.billed == []
    assert killed.disturbed == []


@pytest.mark.storm
@pytest.mark.timeout(3600)
def test_what_a_killed_process_left_is_stopped_by_its_guard_in_time(is_full: bool, show: Callable[[str], None]) -> None:
    cases = [(phase, through) for phase in kills.HOLDS for through in ("async", "sync")]
    for phase, through in cases if is_full else [("unanswered", "async")]:
        killed = kills.guarded_in(phase, through, KILLS_IN_FULL if is_full else KILLS)
        show(f"{through}, {phase}: {killed}")
        assert killed.late == 0
        assert killed.billed == []
        assert killed.disturbed == []


@pytest.mark.storm
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("through", ["async", "sync"])
@pytest.mark.parametrize("how", get_args(kills.Signals))
def test_a_process_that_is_asked_to_end_leaves_nothing_billed(
    how: kills.Signals, through: str, seeds: list[int], is_full: bool, show: Callable[[str], None]
) -> None:
    number = SIGNALLED_IN_FULL[how] if is_full else SIGNALLED
    seed = seeds[-1]
    killed = kills.signalled(how, through, seed, number)
    show(f"{through}, {how}, seed {seed}: {killed}")
    assert killed.billed == []
