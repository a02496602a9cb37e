"""The same cycles through `cortecs-py`, as its documentation has them: `python -m tests.chaos.drive_cortecs PLAN`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from cortecs_py import Cortecs

from tests.chaos import reporting
from tests.chaos.reporting import Plan, tell, tell_error


def cycle(plan: Plan, number: int) -> None:
    client = Cortecs()  # one each: a client whose token is refused never gets another
    try:
        instance = client.start(plan.model, poll_interval=plan.poll_interval)
        try:
            while not instance.base_url:  # what `start` takes for running may not be
                instance = client.get_instance(instance.instance_id)
            reporting.ask(instance.base_url, plan.model)
            tell("answered", number=number, id=instance.instance_id)
            if plan.stays:
                reporting.take_line()
        finally:
            client.stop(instance.instance_id)
            client.delete(instance.instance_id)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        tell_error(number, error, typed=False)


def main() -> None:
    plan = reporting.read_plan()
    tell("ready", lacks=[])
    if plan.cycles == 1:
        cycle(plan, 0)
    else:
        with ThreadPoolExecutor(plan.at_once) as pool:
            list(pool.map(lambda number: cycle(plan, number), range(plan.cycles)))
    tell("done")
    if not plan.stays:
        reporting.take_line()
    tell("closed")


if __name__ == "__main__":
    main()
