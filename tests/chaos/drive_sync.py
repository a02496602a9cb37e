"""Lease cycles through the synchronous API: `python -m tests.chaos.drive_sync PLAN`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from inferlease import InferleaseError
from inferlease.sync import Client
from tests.chaos import reporting, unreconciled
from tests.chaos.reporting import Plan, tell, tell_error


def cycle(client: Client, plan: Plan, number: int) -> None:
    try:
        lease = client.lease(
            plan.model,
            timeout=plan.lease_timeout,
            release_timeout=plan.release_timeout,
            max_duration=plan.max_duration,
            keep=plan.keep,
        )
        with lease as instance:
            reporting.ask(instance.base_url, plan.model)
            tell("answered", number=number, id=instance.instance_id)
            if plan.stays:
                reporting.take_line()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        tell_error(number, error, typed=isinstance(error, InferleaseError))


def main() -> None:
    plan = reporting.read_plan()
    with Client(**reporting.client_arguments(Client, plan)) as client:
        if plan.cycles == 1:
            cycle(client, plan, 0)  # on the main thread, where the signals arrive
        else:
            with ThreadPoolExecutor(plan.at_once) as pool:
                list(pool.map(lambda number: cycle(client, plan, number), range(plan.cycles)))
        tell("done")
        if not plan.stays:
            reporting.take_line()
    tell("closed")


if __name__ == "__main__":
    reporting.tell_warnings()
    unreconciled.apply(reporting.read_plan())
    main()
