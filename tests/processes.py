"""Scripts in processes of their own, pointed at an emulator."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inferlease.emulator import Emulator


def environment(emulator: Emulator) -> dict[str, str]:
    """This process's environment, with the variables of `emulator`."""
    return {**os.environ, **emulator.environment()}


def run_script(emulator: Emulator, script: str, *flags: str, seconds: float = 40.0) -> subprocess.CompletedProcess[str]:
    """Run a Python script to its end, whatever its exit code; `flags` are the interpreter's.

    Raises TimeoutExpired after `seconds`, when the script and all that it has forked are killed.
    """
    with subprocess.Popen(
        [sys.executable, *flags, "-c", script],
        env=environment(emulator),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, complained = process.communicate(timeout=seconds)
        except BaseException:  # the timeout of the test too
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, said, complained)
