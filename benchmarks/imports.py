"""CPU of imports and of `inferlease --help`, each in fresh interpreters with warm bytecode."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from figures import Figure, differences, interleaved, ratios

ROUNDS = 40
CORE = ("aiohttp", "attrs", "cattrs", "anyio", "tenacity", "orjson")
CODE = {
    "bare": "pass",
    "package": "import inferlease",
    "core": f"import {', '.join(CORE)}",
    "client": "from inferlease import Client",
}
# Bytecode is to be written and to stay warm, whatever the machine says.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def milliseconds(command: list[str]) -> float:
    """CPU of one run, of the user and the system, from its start to its end."""
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command} failed")
    return (used.ru_utime + used.ru_stime) * 1e3


def python(*arguments: str) -> list[str]:
    # -P: nothing is imported from the folder that this is run in.
    return [sys.executable, "-P", *arguments]


def failure(command: list[str]) -> str | None:
    """Why a command cannot be measured; a success leaves its bytecode warm."""
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    last = (done.stderr.strip() or "no message").splitlines()[-1]
    return f"exit code {done.returncode}: {last}" if done.returncode else None


def measure() -> list[Figure]:
    commands = {name: python("-c", code) for name, code in CODE.items()}
    commands["help"] = python(str(Path(sys.executable).with_name("inferlease")), "--help")
    missing = {name: failure(command) for name, command in commands.items()}
    runnable = {name: command for name, command in commands.items() if missing[name] is None}
    taken = interleaved(ROUNDS, {name: partial(milliseconds, command) for name, command in runnable.items()})
    above = {name: differences(samples, taken["bare"]) for name, samples in taken.items()}
    pairs = [] if missing["client"] or missing["core"] else ratios(above["client"], above["core"])
    return [
        Figure("bare Python", taken["bare"], "ms"),
        Figure("import inferlease, above bare", above.get("package", []), "ms", 60.0, missing["package"]),
        Figure("import the six core dependencies, above bare", above.get("core", []), "ms", missing=missing["core"]),
        Figure("from inferlease import Client, above bare", above.get("client", []), "ms", missing=missing["client"]),
        Figure(
            "import Client / import the six, both above bare", pairs, "x", 1.15, missing["client"] or missing["core"]
        ),
        Figure("inferlease --help, above bare", above.get("help", []), "ms", 150.0, missing["help"]),
    ]
