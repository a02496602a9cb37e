"""Instances as a person reads them: in rows, and whole."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from attrs import field, frozen

from inferlease import Client, HardwareType, InferleaseError, InstanceArgs, InstanceState
from inferlease._printing import printable
from inferlease.ledger import now
from inferlease.money import duration
from inferlease.pricing import hourly

__all__ = ["BRIEF_TITLES", "TITLES", "Prices", "brief_duration", "brief_row", "described", "prices", "row"]

TITLES = ("instance", "state", "age", "at most", "hardware", "model")
BRIEF_TITLES = ("instance", "state", "age", "at most", "model")


@frozen
class Prices:
    """What hardware types cost."""

    types: dict[str, HardwareType] = field(factory=dict[str, HardwareType])

    def told(self, args: InstanceArgs) -> str:
        """The price per hour of an instance, at most."""
        hardware = self.types.get(args.hardware_type_id or "")
        return str((hourly(hardware, args.num_workers) if hardware is not None else None) or "-")


async def prices(client: Client) -> Prices:
    """What hardware types cost; that it can't be read is no reason to fail."""
    try:
        return Prices({each.hardware_type_id: each for each in await client.hardware_types.list()})
    except InferleaseError:
        return Prices()


def row(state: InstanceState, known: Prices) -> tuple[str, ...]:
    """The cells below `TITLES`."""
    args = state.instance_args
    return (
        printable(state.instance_id),
        _status(state),
        _since(state.instance_status.started_at) or "-",
        known.told(args),
        f"{_number(args.num_workers)} x {printable(args.hardware_type_id or '-', 100)}",
        printable(args.hf_name, 200),
    )


def brief_row(state: InstanceState, known: Prices) -> tuple[str, ...]:
    """The cells below `BRIEF_TITLES`: of an instance that is not up yet only how far it is."""
    instance_id, status, _, price, _, model = row(state, known)
    brief_status = f"at {progress}" if (progress := _progress(state)) else status
    return instance_id, brief_status, _brief_age(state.instance_status.started_at), price, model


def _brief_age(when: datetime | None) -> str:
    """How long ago; clocks may differ."""
    return "-" if when is None else brief_duration((now() - when).total_seconds())


def brief_duration(seconds: float) -> str:
    """A duration for people, in four characters at most for the first 999 days."""
    seconds = max(int(seconds), 0)
    for unit, length, longest in (("s", 1, 120), ("m", 60, 120), ("h", 3600, 48)):
        if seconds < longest * length:
            return f"{seconds // length}{unit}"
    return f"{seconds // 86400}d"


def described(state: InstanceState, known: Prices, cost: str) -> list[str]:
    """All that is known of an instance, a line each; `cost` is what it has cost, in words."""
    args, status = state.instance_args, state.instance_status
    told: list[tuple[str, str]] = [
        ("instance", state.instance_id),
        ("state", _status(state)),
        ("base_url", state.base_url or "-"),
        ("model", args.hf_name),
        ("hardware", args.hardware_type_id or "-"),
        ("price", f"at most {known.told(args)}"),
        ("cost", cost or "-"),
        ("billing", args.billing_interval or "-"),
        ("context", f"{args.context_length} tokens" if args.context_length is not None else "-"),
        ("came up", _when(status.started_at)),
        ("stopped", _when(status.stopped_at)),
        ("workers", _number(args.num_workers)),
        *_workers(state),
    ]
    return [f"{name:<9} {printable(text)}" for name, text in told]


def _workers(state: InstanceState) -> Sequence[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    for number, worker in enumerate(state.worker_statuses, 1):
        progress = worker.init_progress
        if progress is not None:
            step = f"{_number(progress.current_step)}/{_number(progress.num_steps)}"
            told.append((f"worker {number}", f"{step} {progress.description or ''}".rstrip()))
    return told


def _status(state: InstanceState) -> str:
    return f"{printable(state.instance_status.status, 30)} {_progress(state)}".rstrip()


def _progress(state: InstanceState) -> str:
    is_done = state.is_usable or state.is_stopped or state.progress is None
    return "" if is_done else f"{state.progress:.0%}"


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _since(when: datetime | None) -> str:
    """How long ago; clocks may differ."""
    return "" if when is None else duration(max((now() - when).total_seconds() // 1, 0))


def _when(when: datetime | None) -> str:
    return "-" if when is None else f"{when.astimezone():%Y-%m-%d %H:%M:%S} ({_since(when)} ago)"
