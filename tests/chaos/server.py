"""An emulator in a process of its own: `python -m tests.chaos.server OPTIONS`, told on stdin what to do.

The options are the arguments of `Emulator` as JSON. It prints the variables that point a client at it; then it reads
one command per line, a JSON list of a name and its arguments, and answers each with a line. It ends with stdin.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from inferlease.emulator import Emulator, Fault, Hold


def main() -> None:
    options = json.loads(sys.argv[1])
    options["faults"] = list(map(Fault.parse, options.get("faults", [])))
    holds: list[Hold] = []
    with Emulator(**options) as emulator:

        def hold(operation: Any, phase: Any, skip: int = 0) -> int:
            holds.append(emulator.hold(operation, phase, skip=skip))
            return len(holds) - 1

        commands: dict[str, Callable[..., object]] = {
            "hold": hold,
            "arrived": lambda number: holds[number].arrived,
            "release": lambda number: holds[number].release(),
            "inject": lambda *faults: emulator.inject(*(Fault.parse(text) for text in faults)),
            "inject_once": lambda kind, operation: emulator.inject(Fault(kind, operation, times=1)),
            "mend": emulator.mend,
        }
        _print(emulator.environment())
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            _print(commands[name](*arguments))


def _print(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
