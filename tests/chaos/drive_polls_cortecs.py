"""The same beside polls through `cortecs-py`, a thread each: `python -m tests.chaos.drive_polls_cortecs PLAN`.

A thousand threads in one process get nowhere, so they are those of several; one of them stops.
"""

from __future__ import annotations

import itertools
import multiprocessing
import threading
import time
from multiprocessing.synchronize import Event

from cortecs_py import Cortecs

from tests.chaos import reporting
from tests.chaos.reporting import Plan, tell

THREADS = 100
"""Of one process."""


def poll(instance_id: str, number: int, is_over: Event, are_under_way: Event) -> None:
    """Ask for one instance again and again in so many threads; what failed is told."""
    client, failed = Cortecs(), itertools.count()
    turns = itertools.count(1)

    def ask() -> None:
        while not is_over.is_set():
            try:
                client.get_instance(instance_id)
            except Exception:  # noqa: BLE001 - whatever it is, it is counted
                next(failed)
            if next(turns) == 2 * number:
                are_under_way.set()

    threads = [threading.Thread(target=ask) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tell("polled", failed=next(failed))


def release_beside_polls(client: Cortecs, plan: Plan, polled: str) -> None:
    instance = client.start(plan.model, poll_interval=plan.poll_interval)
    is_over = multiprocessing.Event()
    started = [multiprocessing.Event() for _ in range(plan.at_once // THREADS)]
    others = [multiprocessing.Process(target=poll, args=(polled, THREADS, is_over, each)) for each in started[1:]]
    for process in others:
        process.start()
    own = threading.Thread(target=poll, args=(polled, THREADS, is_over, started[0]))
    own.start()
    for each in started:
        each.wait()
    began = time.monotonic()
    client.stop(instance.instance_id)
    tell("released", id=instance.instance_id, at=began, seconds=time.monotonic() - began)
    is_over.set()
    for process in [*others, own]:
        process.join()
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
