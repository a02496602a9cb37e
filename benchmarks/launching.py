"""Starts the emulator and a script that gets from it, each in a process and on a core of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from figures import Figure

HERE = Path(__file__).parent
# A process keeps a few per cent of luck for its whole life (hashes, addresses): several are asked.
LAUNCHES = 8


def script(name: str, *arguments: str, core: int, environment: dict[str, str]) -> subprocess.Popen[str]:
    """A script of this folder, started on one core; proxies of the machine are not its concern."""
    unproxied = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    process = subprocess.Popen(
        [sys.executable, str(HERE / name), *arguments],
        env=unproxied | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    os.sched_setaffinity(process.pid, {core})
    return process


def launch(getters: str, names: list[str], *, client_core: int, server_core: int) -> dict[str, list[float]]:
    """What the script `getters` measures of each client, one number per round."""
    with script("server.py", core=server_core, environment={}) as server:
        assert server.stdout is not None
        told: dict[str, Any] = json.loads(server.stdout.readline())
        arguments = [told["instance_id"], *names]
        with script(getters, *arguments, core=client_core, environment=told["environment"]) as measuring:
            output, _ = measuring.communicate()
            if measuring.returncode != 0:
                raise RuntimeError(f"{getters} failed: see above")
    samples: dict[str, list[float]] = json.loads(output)
    return samples


def launch_all(getters: str, names: list[str]) -> dict[str, list[float]]:
    """The samples of all launches together."""
    cores = sorted(os.sched_getaffinity(0))
    samples: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(LAUNCHES):
        for name, more in launch(getters, names, client_core=cores[0], server_core=cores[-1]).items():
            samples[name] += more
    return samples


def shared_core(what: str) -> list[Figure]:
    """A figure that says so where client and server could not have a core each."""
    if len(os.sched_getaffinity(0)) > 1:
        return []
    return [Figure(f"{what}, two cores", missing="client and server had to share the only core")]
