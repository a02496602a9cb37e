"""Wall time per `client.instances.get(id)` of the synchronous facade, beside other blocking clients.

As `get_cpu`; and one bare hop of the facade beside one of `asyncio.run_coroutine_threadsafe`.
"""

from __future__ import annotations

from figures import Figure, not_installed, ratios
from launching import launch_all, shared_core

CLIENTS = ("inferlease", "requests", "httpx", "cortecs_py")
HOPS = ("hop", "run_coroutine_threadsafe")
TARGETS = {"cortecs_py": 0.45, "requests": 0.55, "httpx": 0.95}


def measure() -> list[Figure]:
    missing = {name: not_installed(name) for name in CLIENTS}
    names = [name for name in CLIENTS if missing[name] is None]
    samples = launch_all("sync_getters.py", [*names, *HOPS])
    figures = [Figure(f"wall per get, {name}", samples.get(name, ()), "us", missing=missing[name]) for name in CLIENTS]
    for name, target in TARGETS.items():
        pairs = [] if missing[name] else ratios(samples["inferlease"], samples[name])
        figures.append(Figure(f"wall per get, inferlease / {name}", pairs, "x", target, missing[name]))
    figures += [Figure(f"wall per bare hop, {name}", samples[name], "us") for name in HOPS]
    figures.append(Figure("wall per bare hop, ours / asyncio's", ratios(samples["hop"], samples[HOPS[1]]), "x"))
    return figures + shared_core("wall per get")
