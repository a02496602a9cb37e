"""The same beside as many threads that poll through `cortecs-py`: `python -m tests.chaos.drive_polls_cortecs PLAN`."""

from __future__ import annotations

import threading
import time

from cortecs_py import Cortecs

from tests.chaos import reporting
from tests.chaos.reporting import Plan, tell


class Polls:
    """Threads that ask for one instance again and again, until they are told to end."""

    def __init__(self, client: Cortecs, instance_id: str, number: int) -> None:
        self.failed = 0
        self._client = client
        self._instance_id = instance_id
        self._answered = threading.Semaphore(0)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._poll) for _ in range(number)]
        for thread in self._threads:
            thread.start()
        for _ in range(2 * number):
            self._answered.acquire()

    def _poll(self) -> None:
        while not self._over.is_set():
            try:
                self._client.get_instance(self._instance_id)
            except Exception:  # noqa: BLE001 - whatever it is, it is counted
                self.failed += 1
            self._answered.release()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def release_beside_polls(client: Cortecs, plan: Plan, polled: str) -> None:
    instance = client.start(plan.model, poll_interval=plan.poll_interval)
    polls = Polls(client, polled, plan.at_once)
    began = time.monotonic()
    client.stop(instance.instance_id)
    tell("released", id=instance.instance_id, at=began, seconds=time.monotonic() - began)
    polls.end()
    tell("polled", failed=polls.failed)
    client.delete(instance.instance_id)


def main() -> None:
    plan = reporting.read_plan()
    tell("ready", lacks=[])
    client = Cortecs()
    polled = client.start(plan.model, poll_interval=plan.poll_interval).instance_id
    for _ in range(plan.cycles):
        release_beside_polls(client, plan, polled)
    client.stop(polled)
    client.delete(polled)
    tell("closed")


if __name__ == "__main__":
    main()
