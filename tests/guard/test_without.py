"""Where there is no guard: the platform lacks what it takes, or it is turned off."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.faults import emulated
from tests.guard.support import (
    IN_MEMORY,
    LOGGED,
    REFUSED,
    WAIT,
    end,
    guarded,
    guards,
    is_stopped,
    ready,
    running,
)
from tests.processes import environment, run_script

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults import FaultyEmulator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at its guards through /proc")


UNSUITABLE = {"a frozen program": "sys.frozen = True", "an embedded interpreter": "sys.executable = '/usr/sbin/uwsgi'"}


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize("what", UNSUITABLE)
def test_where_there_is_no_interpreter_to_start_a_lease_that_must_have_it_is_refused(
    emulator: FaultyEmulator, what: str
) -> None:
    ended = run_script(emulator, guarded(body=REFUSED, before=UNSUITABLE[what]))
    assert ended.stdout.startswith("there can be no guard: this program has no Python interpreter"), ended.stderr


LACKING = {
    "os.fork": "import os; del os.fork",
    # Python's own modules ask only for os.fork.
    "os.register_at_fork": "import asyncio, concurrent.futures.thread, logging, os, random; del os.register_at_fork",
    "os.pidfd_open": "import os; del os.pidfd_open",
    "fcntl": "import sys; sys.modules['fcntl'] = None",
}


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize("what", LACKING)
def test_where_the_platform_lacks_what_it_takes_a_lease_that_must_have_it_is_refused(
    emulator: FaultyEmulator, what: str
) -> None:
    script = f"{LACKING[what]}\n{guarded(body=REFUSED, options='ledger=MemoryLedger()', before=IN_MEMORY)}"
    ended = run_script(emulator, script)
    assert ended.stdout.startswith("there can be no guard: this platform"), ended.stderr
    assert what in ended.stdout
    assert emulator.books().starts == 0


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize("what", LACKING)
def test_where_the_platform_lacks_what_it_takes_a_lease_works_and_warns(emulator: FaultyEmulator, what: str) -> None:
    before = f"{IN_MEMORY}\n{LOGGED}"
    body = "for _ in range(2):\n    with client.lease(MODEL): pass"
    script = f"{LACKING[what]}\n{guarded(body=body, options='ledger=MemoryLedger()', before=before)}"
    ended = run_script(emulator, script)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("instances are not guarded") == 1
    assert emulator.books().starts == 2
    assert is_stopped(emulator)


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize("what", LACKING)
def test_where_the_platform_lacks_what_it_takes_the_tool_works(emulator: FaultyEmulator, what: str) -> None:
    variables = {name: value for name, value in environment(emulator).items() if name != "INFERLEASE_STATE_DIR"}
    script = f"{LACKING[what]}\nimport sys\nfrom inferlease.cli import main\nsys.exit(main())"
    ended = subprocess.run(
        [sys.executable, "-c", script, "leases"], env=variables, capture_output=True, text=True, timeout=40, check=False
    )
    assert ended.returncode == 0, ended.stderr


OFF: dict[str, tuple[str, Callable[[dict[str, str]], dict[str, str]]]] = {
    "INFERLEASE_GUARD=0": ("", lambda variables: variables | {"INFERLEASE_GUARD": "0"}),
    "guard=False": (", guard=False", lambda variables: variables),
}


@emulated(seconds_per_step=0.0)
@pytest.mark.parametrize("how", OFF)
def test_it_can_be_turned_off(emulator: FaultyEmulator, how: str) -> None:
    argument, changed = OFF[how]
    script = guarded(body=f"with client.lease(MODEL{argument}):\n    {WAIT}", before=LOGGED)
    with running(emulator, script, env=changed(environment(emulator))) as parent:
        ready(parent)
        assert guards(parent.pid) == []
        assert end(parent) == ("", "")


@emulated(seconds_per_step=0.0)
def test_an_argument_wins_over_the_environment(emulator: FaultyEmulator) -> None:
    script = guarded(body=f"with client.lease(MODEL, guard=True):\n    {WAIT}")
    with running(emulator, script, env=environment(emulator) | {"INFERLEASE_GUARD": "0"}) as parent:
        ready(parent)
        assert guards(parent.pid)
        end(parent)
