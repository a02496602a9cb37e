"""Decoding an answer, from its bytes to objects, beside pydantic's `validate_json` and msgspec, as strict as ours.

Equal parts of instances are shared, so that polling the same fleet again is cheaper than its first sight:
both are measured.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from figures import Figure, interleaved, not_installed, ratios

from inferlease import Client

ROUNDS, WARM_UP = 40, 3
TARGET = 0.8
SIZES = {1: 500, 1000: 1}
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def fleet(size: int, batch: int) -> list[dict[str, Any]]:
    """Instances as the API shows them: a few kinds of arguments, and start times of their own."""
    return [
        {
            "instance_id": f"instance-{batch:08x}{number:08x}",
            "base_url": f"https://instance-{batch:08x}{number:08x}.example.com/v1",
            "instance_args": {
                "model_id": f"org--model-{number % 7}",
                "hardware_type_id": "NVIDIA_L4_1",
                "context_length": 16_000,
                "billing_interval": "per_minute",
                "num_workers": 2,
            },
            "instance_status": {
                "status": "running",
                "started_at": (BEGIN + timedelta(seconds=batch * size + number)).isoformat(),
                "stopped_at": (BEGIN + timedelta(days=90, seconds=batch * size + number)).isoformat(),
            },
            "worker_statuses": [
                {"init_progress": {"current_step": 5, "num_steps": 5, "description": "Running"}},
                {"init_progress": {"current_step": 1 + number % 5, "num_steps": 5, "description": "Downloading"}},
            ],
        }
        for number in range(size)
    ]


def answers(size: int) -> Iterator[bytes]:
    """Answers to get or list, each of other instances."""
    for batch in itertools.count():
        instances = fleet(size, batch)
        yield orjson.dumps({"instance": instances[0]} if size == 1 else {"instances": instances})


def our_decoder(size: int) -> Callable[[bytes], object]:
    """What the client does with the body of a get or list."""
    from inferlease._convert import decode, decode_list
    from inferlease.objects import InstanceState

    converter = Client().converter
    if size == 1:
        return lambda body: decode(converter, orjson.loads(body)["instance"], InstanceState, "instance")
    return lambda body: decode_list(
        converter, orjson.loads(body)["instances"], InstanceState, "instances", "instance_id"
    )


def pydantic_decoder(size: int) -> Callable[[bytes], object]:
    from pydantic import BaseModel, ConfigDict

    class Strict(BaseModel):
        model_config = ConfigDict(strict=True, protected_namespaces=())

    class InitProgress(Strict, extra="allow"):
        current_step: int | None = None
        num_steps: int | None = None
        description: str | None = None

    class WorkerStatus(Strict):
        init_progress: InitProgress | None = None

    class InstanceStatus(Strict):
        status: str
        started_at: datetime | None = None
        stopped_at: datetime | None = None

    class InstanceArgs(Strict):
        model_id: str
        hardware_type_id: str | None = None
        billing_interval: str | None = None
        context_length: int | None = None
        num_workers: int | None = None

    class Instance(Strict):
        instance_id: str
        base_url: str | None
        instance_args: InstanceArgs
        instance_status: InstanceStatus
        worker_statuses: list[WorkerStatus]

    class One(Strict):
        instance: Instance

    class Many(Strict):
        instances: list[Instance]

    return One.model_validate_json if size == 1 else Many.model_validate_json


def msgspec_decoder(size: int) -> Callable[[bytes], object]:
    from msgspec import defstruct
    from msgspec.json import Decoder

    def struct(name: str, optional: dict[str, Any], **required: Any) -> Any:
        return defstruct(name, [*required.items(), *((key, kind | None, None) for key, kind in optional.items())])

    init_progress = struct("InitProgress", {"current_step": int, "num_steps": int, "description": str})
    worker_status = struct("WorkerStatus", {"init_progress": init_progress})
    instance_status = struct("InstanceStatus", {"started_at": datetime, "stopped_at": datetime}, status=str)
    optional = {"hardware_type_id": str, "billing_interval": str, "context_length": int, "num_workers": int}
    instance = struct(
        "Instance",
        {},
        instance_id=str,
        base_url=str | None,
        instance_args=struct("InstanceArgs", optional, model_id=str),
        instance_status=instance_status,
        worker_statuses=list[worker_status],
    )
    one, many = struct("One", {}, instance=instance), struct("Many", {}, instances=list[instance])
    return Decoder(one if size == 1 else many).decode


PEERS = {"pydantic": pydantic_decoder, "msgspec": msgspec_decoder}


def timed(decode: Callable[[bytes], object], bodies: Iterator[bytes], count: int) -> Callable[[], float]:
    """Measures the CPU microseconds per body, over the next `count` of them."""

    def take() -> float:
        block = list(itertools.islice(bodies, count))
        gc.collect()
        start = time.process_time()
        for body in block:
            decode(body)
        return (time.process_time() - start) / count * 1e6

    for _ in range(WARM_UP):
        take()
    return take


def measure() -> list[Figure]:
    figures: list[Figure] = []
    missing = {name: not_installed(name) for name in PEERS}
    for size, count in SIZES.items():
        name = "decode one instance" if size == 1 else f"decode a list of {size}"
        ours = our_decoder(size)
        measures = {
            "new": timed(ours, answers(size), count),
            "again": timed(ours, itertools.repeat(next(answers(size))), count),
        }
        for peer, make in PEERS.items():
            if missing[peer] is None:
                measures[peer] = timed(make(size), answers(size), count)
        taken = interleaved(ROUNDS, measures)
        for seen in ("new", "again"):
            figures.append(Figure(f"{name}, {seen}", taken[seen], "us"))
            for peer in PEERS:
                pairs = [] if missing[peer] else ratios(taken[seen], taken[peer])
                target = TARGET if (size, seen, peer) == (1000, "new", "pydantic") else None
                figures.append(Figure(f"{name}, {seen} / {peer}", pairs, "x", target, missing[peer]))
    return figures
