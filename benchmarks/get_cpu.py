"""CPU per `await client.instances.get(id)`, beside other clients of the same emulator.

The clients take turns within one process, the emulator is in another, on a core of its own. A ratio is that
of two turns of one round.
"""

from __future__ import annotations

from figures import Figure, not_installed, ratios
from launching import launch_all, shared_core

CLIENTS = ("inferlease", "aiohttp", "httpx", "cortecs_py")
TARGETS = {"aiohttp": 1.25, "httpx": None, "cortecs_py": 0.25}


def measure() -> list[Figure]:
    missing = {name: not_installed(name) for name in CLIENTS}
    names = [name for name in CLIENTS if missing[name] is None]
    samples = launch_all("getters.py", names)
    figures = [Figure(f"CPU per get, {name}", samples.get(name, ()), "us", missing=missing[name]) for name in CLIENTS]
    for name, target in TARGETS.items():
        pairs = [] if missing[name] else ratios(samples["inferlease"], samples[name])
        figures.append(Figure(f"CPU per get, inferlease / {name}", pairs, "x", target, missing[name]))
    return figures + shared_core("CPU per get")
