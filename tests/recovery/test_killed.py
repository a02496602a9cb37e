"""Processes that are killed while they have a lease, and a new process that recovers what they have left."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults import MODEL, FaultyEmulator, emulated
from tests.processes import environment, go_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from inferlease.emulator import Operation, Phase

HOLDER = f"""
import sys
from inferlease.sync import Client

with Client(poll_interval=0.02, exclusive=True, settle_time=2.0) as client:
    with client.lease({MODEL!r}, keep="kept" in sys.argv):
        print("ready", flush=True)
        input()
"""


@contextmanager
def holder(emulator: FaultyEmulator, *arguments: str, through: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """A process that has a lease until it reads a line."""
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [*through, sys.executable, "-c", HOLDER, *arguments]
    with subprocess.Popen(command, env=environment(emulator), text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def kill(process: subprocess.Popen[Any]) -> None:
    process.kill()
    process.wait()


def reap(emulator: FaultyEmulator, *arguments: str) -> dict[str, Any]:
    """What a new process has stopped and left."""
    command = [sys.executable, "-m", "inferlease.cli", "reap", "--json", *arguments]
    done = subprocess.run(command, env=environment(emulator), capture_output=True, text=True, timeout=40, check=False)
    assert done.stderr == ""
    answer: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == bool(answer["left"] or answer["errors"])
    return answer


@pytest.fixture
def foreign(emulator: FaultyEmulator, tmp_path: Path) -> str:
    """An instance of another spec that somebody else has on the account."""
    with emulator.sync_client(ledger=tmp_path / "theirs") as stranger:
        return stranger.instances.start("microsoft/phi-4").instance_id


PHASES: dict[str, tuple[Operation, Phase]] = {
    "before the start is handled": ("start", "before"),
    "started and unanswered": ("start", "unanswered"),
    "waiting": ("get", "before"),
    "releasing": ("stop", "before"),
}


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize("phase", [*PHASES, "body"])
def test_what_a_killed_process_has_left_is_recovered_and_nothing_else_touched(
    emulator: FaultyEmulator, foreign: str, phase: str
) -> None:
    with holder(emulator) as living:
        ready(living)
        untouched = set(emulator.books().still_billed)
        assert foreign in untouched
        with holder(emulator) as victim:
            if phase == "body":
                ready(victim)
                kill(victim)
            else:
                with emulator.hold(*PHASES[phase]) as hold:
                    if phase == "releasing":
                        ready(victim)
                        go_on(victim)
                    hold.wait_arrived()
                    kill(victim)
        reap(emulator, "--yes")
        assert set(emulator.books().still_billed) == untouched
        living.communicate("\n")
        assert living.returncode == 0
    assert emulator.books().still_billed == [foreign]


@emulated(seconds_per_step=0.0)
def test_racing_reaps_stop_each_orphan_once(emulator: FaultyEmulator) -> None:
    for _ in range(3):
        with holder(emulator) as victim:
            ready(victim)
            kill(victim)
    ids = emulator.books().still_billed
    command = [sys.executable, "-m", "inferlease.cli", "reap", "--json", "--yes"]
    reaps = [subprocess.Popen(command, env=environment(emulator), stdout=subprocess.PIPE, text=True) for _ in range(3)]
    stopped = [each["instance_id"] for one in reaps for each in json.loads(one.communicate(timeout=40)[0])["stopped"]]
    assert sorted(stopped) == sorted(ids)
    assert [len(emulator.books().instances[each].stop_requests) for each in ids] == [1] * 3


@emulated(seconds_per_step=0.0)
def test_a_reap_that_is_killed_leaves_the_orphan_to_the_next(emulator: FaultyEmulator) -> None:
    with holder(emulator) as victim:
        ready(victim)
        kill(victim)
    command = [sys.executable, "-m", "inferlease.cli", "reap", "--yes"]
    with emulator.hold("stop", "before") as hold, subprocess.Popen(command, env=environment(emulator)) as reaping:
        hold.wait_arrived()
        kill(reaping)
    assert len(reap(emulator, "--yes")["left"]) == 0
    assert emulator.books().still_billed == []


@emulated(seconds_per_step=0.0)
@pytest.mark.fault(80)
def test_what_was_to_be_kept_outlives_its_process(emulator: FaultyEmulator) -> None:
    with holder(emulator, "kept") as victim:
        ready(victim)
        kill(victim)
    assert reap(emulator, "--yes") == {"stopped": [], "left": [], "errors": []}
    assert len(emulator.books().still_billed) == 1


@emulated(seconds_per_step=0.0)
@pytest.mark.fault(80)
def test_an_owner_in_another_container_is_alive(emulator: FaultyEmulator) -> None:
    """Its pid means nothing here."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-pf", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this user can't make a namespace of processes")
    with holder(emulator, through=(unshare, "-pf", "--kill-child")) as owner:
        ready(owner)
        assert reap(emulator, "--yes") == {"stopped": [], "left": [], "errors": []}
        assert len(emulator.books().still_billed) == 1
        owner.communicate("\n")
    assert emulator.books().still_billed == []


@emulated(seconds_per_step=0.0)
@pytest.mark.fault(79)
def test_what_was_stopped_and_started_again_by_somebody_else_is_theirs(
    emulator: FaultyEmulator, tmp_path: Path
) -> None:
    with holder(emulator) as victim:
        ready(victim)
        kill(victim)
    (instance_id,) = emulator.books().still_billed
    with emulator.sync_client(ledger=tmp_path / "theirs") as stranger:
        stranger.instances.stop(instance_id)
        reap(emulator)
        stranger.instances.restart(instance_id)
    assert reap(emulator, "--yes")["stopped"] == []
    assert emulator.books().still_billed == [instance_id]
