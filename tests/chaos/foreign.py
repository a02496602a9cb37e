"""Somebody else on the account: starts and stops one spec over and over, without any ledger.

`python -m tests.chaos.foreign MODEL`: at any time at least one instance is live, the next is started before the one
before it is stopped. Ends with a line on stdin, or its end, and stops then what it knows of.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from typing import Any

from attrs import define, field

from tests.chaos.account import FAILURES, plain_call, token_of
from tests.chaos.reporting import tell

ATTEMPTS = 30


@define
class Foreign:
    model_id: str
    own: list[str] = field(factory=list[str])
    token: str | None = None

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The answer, `None` where there is none that can be read."""
        with contextlib.suppress(*FAILURES, KeyError, TypeError):
            self.token = self.token or token_of(os.environ)
            return plain_call(os.environ, method, path, body, self.token)
        self.token = None
        return None

    def start(self) -> None:
        answer = self.call("POST", "/instances/start", {"model_id": self.model_id})
        with contextlib.suppress(KeyError, TypeError):
            self.own.append(str(answer["instance"]["instance_id"]))

    def stop(self, instance_id: str) -> None:
        for _ in range(ATTEMPTS):
            if self.call("POST", "/instances/stop", {"instance_id": instance_id}) is not None:
                break
        for _ in range(ATTEMPTS):
            if self.call("DELETE", f"/instances/{instance_id}") is not None:
                break


def main() -> None:
    foreign = Foreign(sys.argv[1].replace("/", "--", 1))
    while not foreign.own:
        foreign.start()
    tell("ready", ids=foreign.own)
    while not select.select([0], [], [], 0.3)[0]:
        foreign.start()
        if len(foreign.own) > 1:
            foreign.stop(foreign.own.pop(0))
    for instance_id in foreign.own:
        foreign.stop(instance_id)
    tell("closed", at=time.monotonic())


if __name__ == "__main__":
    main()
