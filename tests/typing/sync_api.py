# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""The synchronous API as a user writes it: checked by mypy and pyright, never run."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import Literal, assert_type

from inferlease import sync
from inferlease.sync import (
    APIError,
    Balance,
    Check,
    Client,
    CostEstimate,
    CostGroup,
    HardwareConfig,
    HardwareQuote,
    HardwareType,
    Instance,
    InstanceArgs,
    InstanceEvent,
    InstanceState,
    InstanceStatus,
    Lease,
    LeaseLimitError,
    ModelDetail,
    ModelPreview,
    NoCapacityError,
    Orphan,
    Quote,
    Receipt,
    StartOutcomeUnknownError,
    StartRecord,
    WaitTimeoutError,
    WorkerStatus,
)


def typos() -> None:
    """Both are errors: were one not, the comment on its line would be."""
    from inferlease.sync import Cleint  # type: ignore[attr-defined]  # noqa: F401 - its error is the point

    sync.Cleint  # type: ignore[attr-defined]


def clients() -> None:
    with Client() as client:
        assert_type(client, Client)

    Client("id", "secret").close()
    Client(
        client_id=None,
        client_secret=None,
        base_url="https://api.example/v1",
        inference_key="key",
        timeout=30.0,
        poll_interval=0.5,
        proxy=False,
        ssl=ssl.create_default_context(),
    )
    Client(proxy="http://127.0.0.1:3128", poll_interval=None, reap=True)

    Client("id", "secret", "https://api.example/v1")  # type: ignore[call-arg]
    Client(time_out=3)  # type: ignore[call-arg]


def instances(client: Client) -> None:
    instance = client.instances.start(
        "org/model",
        hardware_type_id="NVIDIA_L4_1",
        context_length=16000,
        billing_interval="per_minute",
        num_workers=2,
    )
    assert_type(instance, Instance)
    assert_type(instance.wait_until_running(timeout=900, on_progress=print), Instance)
    assert_type(instance.wait_until_running(stall_timeout=60.0, probe=True), Instance)
    for event in instance.watch():
        assert_type(event, InstanceEvent)
        assert_type(event.state, str)
        assert_type(event.progress, float | None)
        assert_type(event.description, str | None)
        assert_type(event.elapsed, float)
    instance.refresh()
    instance.stop()
    instance.wait_until_stopped(timeout=120)
    instance.restart()
    instance.delete()
    assert_type(instance.snapshot(), InstanceState)

    client.instances.start("org/model", hardware_type_id=["NVIDIA_L4_1", "NVIDIA_L40S_1"], wait_for_capacity=60)
    client.instances.ensure("org/model", hardware_type_id=("NVIDIA_L4_1", "NVIDIA_L40S_1"))
    client.instances.start("org/model", hardware_type_id=[1])  # type: ignore[list-item]
    client.instances.ensure("org/model", wait_for_capacity=60)  # type: ignore[call-arg]
    assert_type(client.instances.get("id"), Instance)
    assert_type(client.instances.ensure("org/model", num_workers=1), Instance)
    for found in client.instances.list():
        assert_type(found, Instance)
    for invalid in client.instances.list().invalid:
        print(invalid)
    client.instances.stop("id")
    client.instances.restart("id")
    client.instances.delete("id")
    assert_type(client.instances.stop_all(), list[str])
    assert_type(client.instances.delete_all(force=True), list[str])


def catalogue(client: Client) -> None:
    models = client.models.list()
    assert_type(models[0], ModelPreview)
    assert_type([model.hf_name for model in models], list[str])
    model = client.models.get("org/model")
    assert_type(model, ModelDetail)
    assert_type(model.recommended_config, str | None)
    assert_type(model.configs, dict[str, HardwareConfig])
    for hardware_type in client.hardware_types.list():
        assert_type(hardware_type, HardwareType)
    for hardware_type in client.hardware_types.list_available():
        assert_type(hardware_type.hardware_type_id, str)
    balance = client.account.balance()
    assert_type(balance, Balance)
    assert_type(balance.current_balance, float)
    assert_type(client.check_up(), list[Check])
    quote = client.quote("org/model", hardware_type_id=["NVIDIA_L4_1"], num_workers=2, duration=3600)
    assert_type(quote, Quote)
    assert_type(client.costs(since=86400, by="model"), list[CostGroup])
    client.costs(by="colour")  # type: ignore[arg-type]
    assert_type(quote.balance, Balance | None)
    for each in quote.hardware:
        assert_type(each, HardwareQuote)
        assert_type(each.price_per_hour, float | None)
        assert_type(each.runway, float | None)


def recovery(client: Client) -> None:
    for record in client.leases.list(since=datetime.now(UTC)):
        assert_type(record, StartRecord)
        assert_type(record.args, InstanceArgs)
        assert_type(record.instance_id, str | None)
        assert_type(record.ended_at, datetime | None)
        assert_type(record.reason, str | None)
        if record.owner == "dead" and record.ending is None:
            print(record.id, record.kind, record.began, record.is_kept)
    for orphan in client.leases.orphans():
        assert_type(orphan, Orphan)
        if orphan.verdict == "possible" and orphan.instance_id is not None:
            print(orphan.reason, orphan.price.amount if orphan.price is not None else None, orphan.until)
    assert_type(client.leases.reap("id", "another"), list[Orphan])


def attributes(instance: Instance) -> None:
    assert_type(instance.instance_id, str)
    assert_type(instance.base_url, str | None)
    assert_type(instance.instance_args, InstanceArgs)
    assert_type(instance.instance_args.num_workers, int | None)
    assert_type(instance.instance_status, InstanceStatus)
    assert_type(instance.instance_status.started_at, datetime | None)
    assert_type(instance.worker_statuses, list[WorkerStatus])
    assert_type(instance.progress, float | None)
    assert_type(instance.is_usable, bool)
    assert_type(instance.cost, CostEstimate | None)
    for worker in instance.worker_statuses:
        if worker.init_progress is not None:
            assert_type(worker.init_progress.current_step, int | None)
            print(worker.init_progress["current_step"], {**worker.init_progress})


def leases(client: Client) -> None:
    def show(event: InstanceEvent) -> None:
        print(event)

    with client.lease("org/model") as instance:
        assert_type(instance, Instance)

    lease = client.lease(
        "org/model",
        hardware_type_id="NVIDIA_L4_1",
        context_length=16000,
        billing_interval="per_hour",
        num_workers=2,
        timeout=900.0,
        stall_timeout=120.0,
        probe=True,
        on_progress=show,
        delete=True,
        release_timeout=120.0,
        wait_for_capacity=600.0,
        max_cost=2.5,
        max_duration=3600,
        min_balance=10.0,
        label="team a",
    )
    client.lease("org/model", hardware_type_id=["NVIDIA_L4_1", "NVIDIA_L40S_1"], wait_for_capacity=None)
    assert_type(lease, Lease)
    assert_type(lease.acquire(), Instance)
    print(lease.instance)
    assert_type(lease.receipt, Receipt | None)
    lease.release()

    client.lease("org/model", "NVIDIA_L4_1")  # type: ignore[call-arg]


async def the_other_world(client: Client) -> None:
    """All are errors: were one not, the comment on its line would be."""
    async with Client():  # type: ignore[attr-defined]
        pass
    async with client.lease("org/model"):  # type: ignore[attr-defined]
        pass


def errors(client: Client) -> None:
    try:
        with client.lease("org/model"):
            pass
    except LeaseLimitError as error:
        assert_type(error.limit, Literal["max_cost", "max_duration", "min_balance"])
        assert_type(error.value, float)
        assert_type(error.reached, float | None)
    except NoCapacityError as error:
        assert_type(error.available, tuple[HardwareType, ...])
        assert_type(error.message, str)
    except StartOutcomeUnknownError as error:
        assert_type(error.candidates, tuple[InstanceState, ...])
    except WaitTimeoutError as error:
        assert_type(error.last_state, InstanceState | None)
        assert_type(error.instance_id, str | None)
    except APIError as error:
        assert_type(error.status, int | None)
        assert_type(error.request_id, str | None)


def emulated() -> None:
    from inferlease.emulator import Emulator, Fault, FaultKind, Operation

    with Emulator(seconds_per_step=0.05) as emulator:
        assert_type(emulator.base_url, str)
        with emulator.sync_client(poll_interval=0.02) as client:
            assert_type(client, Client)
        print(emulator.books())
    clear = [Fault(kind, rate=0.01) for kind in FaultKind if not kind.is_ambiguous_on("start")]
    faults = [*clear, Fault("reset_after", "stop", 0.1, times=3), Fault(FaultKind.STATUS_429_SECONDS, seconds=2.0)]
    with Emulator(
        faults=faults, seed=7, list_lag=1.0, late_creation=5.0, outages={"NVIDIA_L4_1": (1.0, 5.0)}
    ) as emulator:
        emulator.inject(Fault.parse("status_503:get=0.1"))
        emulator.mend("get")
        assert_type(emulator.books().faults, dict[str, dict[Operation, int]])
