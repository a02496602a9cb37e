"""Scripts in processes of their own, pointed at an emulator."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inferlease.emulator import Emulator


def environment(emulator: Emulator) -> dict[str, str]:
    """This process's environment, with the variables of `emulator`."""
    return {**os.environ, **emulator.environment()}


def run_script(emulator: Emulator, script: str, *flags: str, seconds: float = 40.0) -> subprocess.CompletedProcess[str]:
    """Run a Python script to its end, whatever its exit code; `flags` are the interpreter's."""
    return subprocess.run(
        [sys.executable, *flags, "-c", script],
        env=environment(emulator),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
