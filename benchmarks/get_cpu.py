"""CPU per `await client.instances.get(id)`, beside other clients of the same emulator.

The clients take turns within one process, the emulator is in another, on a core of its own. A ratio is that
of two turns of one round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from figures import Figure, not_installed, ratios

HERE = Path(__file__).parent
# A process keeps a few per cent of luck for its whole life (hashes, addresses): several are asked.
LAUNCHES = 8
CLIENTS = ("inferlease", "aiohttp", "httpx", "cortecs_py")
TARGETS = {"aiohttp": 1.25, "httpx": None, "cortecs_py": 0.25}


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


def launch(names: list[str], *, client_core: int, server_core: int) -> dict[str, list[float]]:
    """The microseconds per get of each client, one per round."""
    with script("server.py", core=server_core, environment={}) as server:
        assert server.stdout is not None
        told: dict[str, Any] = json.loads(server.stdout.readline())
        arguments = [told["instance_id"], *names]
        with script("getters.py", *arguments, core=client_core, environment=told["environment"]) as getters:
            output, _ = getters.communicate()
            if getters.returncode != 0:
                raise RuntimeError("getters.py failed: see above")
    samples: dict[str, list[float]] = json.loads(output)
    return samples


def measure() -> list[Figure]:
    missing = {name: not_installed(name) for name in CLIENTS}
    names = [name for name in CLIENTS if missing[name] is None]
    cores = sorted(os.sched_getaffinity(0))
    samples: dict[str, list[float]] = {name: [] for name in CLIENTS}
    for _ in range(LAUNCHES):
        for name, more in launch(names, client_core=cores[0], server_core=cores[-1]).items():
            samples[name] += more
    figures = [Figure(f"CPU per get, {name}", samples[name], "us", missing=missing[name]) for name in CLIENTS]
    for name, target in TARGETS.items():
        pairs = [] if missing[name] else ratios(samples["inferlease"], samples[name])
        figures.append(Figure(f"CPU per get, inferlease / {name}", pairs, "x", target, missing[name]))
    if len(cores) < 2:
        figures.append(Figure("CPU per get, two cores", missing="client and server had to share the only core"))
    return figures
