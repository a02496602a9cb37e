"""The data of the API as attrs objects, every attribute by its documented name. Nothing here does I/O."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Any, ClassVar

from attrs import Factory, asdict, define, evolve, field, frozen
from attrs.converters import optional

from ._mapping import TypedMapping
from ._names import shown_hf_name
from ._printing import printable

__all__ = [
    "Balance",
    "Creator",
    "HardwareConfig",
    "HardwareInfo",
    "HardwareType",
    "InitProgress",
    "InstanceArgs",
    "InstanceEvent",
    "InstanceState",
    "InstanceStatus",
    "ModelDetail",
    "ModelPreview",
    "PriceInfo",
    "WorkerStatus",
    "as_utc",
    "completed",
]


def as_utc(value: datetime) -> datetime:
    """The same instant in UTC; a zone-less time is taken as UTC."""
    if value.tzinfo is UTC:
        return value
    if value.utcoffset() is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:  # within a day of year 1 or 9999: it is the right instant as it is
        return value


@frozen(slots=False, eq=False, repr=False)
class InitProgress(TypedMapping):
    """How far a worker's initialization is; also reads as a mapping.

    Attributes:
        current_step: The step it is at, from 1 to `num_steps`; `None` if unknown.
        num_steps: The number of steps, 5 as documented; `None` if unknown.
        description: The current step in words; `None` if unknown.
    """

    current_step: int | None = None
    num_steps: int | None = None
    description: str | None = None


@frozen(slots=False, eq=False, repr=False)
class Creator(TypedMapping):
    """Who made a model; also reads as a mapping.

    Attributes:
        name: The creator's name; `None` if unknown.
        url: The creator's page; `None` if unknown.
    """

    name: str | None = None
    url: str | None = None


@frozen(slots=False, eq=False, repr=False)
class PriceInfo(TypedMapping):
    """What a hardware type costs; also reads as a mapping.

    Attributes:
        price_per_hour: In `currency`; `None` if unknown.
        price_per_minute: In `currency`; `None` if unknown.
        currency: ISO 4217 code, such as `EUR`; `None` if unknown.
    """

    price_per_hour: float | None = None
    price_per_minute: float | None = None
    currency: str | None = None


@frozen(slots=False, eq=False, repr=False)
class HardwareInfo(TypedMapping):
    """The GPUs of a hardware type; also reads as a mapping.

    Attributes:
        gpu_type: Such as `NVIDIA L4`; `None` if unknown.
        num_gpus: GPUs per worker; `None` if unknown.
        gpu_ram_gb: GPU memory in gigabytes; `None` if unknown.
    """

    gpu_type: str | None = None
    num_gpus: int | None = None
    gpu_ram_gb: float | None = None


@frozen
class InstanceArgs:
    """What an instance was started with. `None` means that the server did not say, not a default.

    Attributes:
        model_id: The model's internal id, such as `org--model`.
        hardware_type_id: The hardware of one worker, such as `NVIDIA_L4_1`.
        billing_interval: `per_minute` or `per_hour`.
        context_length: In tokens.
        num_workers: From 1 to 8; each is billed.
    """

    model_id: str
    hardware_type_id: str | None = None
    billing_interval: str | None = None
    context_length: int | None = None
    num_workers: int | None = None

    @property
    def hf_name(self) -> str:
        """The model's Hugging Face name, such as `org/model`."""
        return shown_hf_name(self.model_id)


@frozen
class InstanceStatus:
    """Where an instance is in its life.

    Attributes:
        status: `pending`, `running`, `stopped`, or whatever else the server said.
        started_at: When it was started, in UTC; `None` if it was not yet. A zone-less time is taken as UTC.
        stopped_at: When it was stopped, in UTC; `None` if it was not.
    """

    status: str
    started_at: datetime | None = field(default=None, converter=optional(as_utc))
    stopped_at: datetime | None = field(default=None, converter=optional(as_utc))


@frozen
class WorkerStatus:
    """One worker of an instance.

    Attributes:
        init_progress: Its initialization; `None` once it is stopped, or if the server does not say.
    """

    init_progress: InitProgress | None = None


_STATE = ("instance_id", "base_url", "instance_args", "instance_status", "worker_statuses")


@define(slots=False, eq=False, repr=False)
class InstanceState:
    """The state of an instance, as the server last told it: plain data.

    Equal by value, across subclasses too; not hashable, because it can change.

    Attributes:
        instance_id: Unique id.
        base_url: Where inference requests go; `None` until the instance is usable.
        instance_args: What it was started with.
        instance_status: Where it is in its life.
        worker_statuses: One entry per worker that the server reports; may be empty.
    """

    # Threads: an update replaces `__dict__` whole, and whoever reads more than one attribute reads them from
    # one reference to it. So nobody sees half an update.

    _stands_for_a_state: ClassVar[bool] = True

    instance_id: str
    base_url: str | None
    instance_args: InstanceArgs
    instance_status: InstanceStatus
    worker_statuses: list[WorkerStatus] = field(factory=list[WorkerStatus])

    @property
    def progress(self) -> float | None:
        """From 0.0 to 1.0: the mean over the workers that report, `None` if none does; 1.0 once usable."""
        state = self.__dict__
        if _usable(state):
            return 1.0
        fractions = [fraction for fraction, _ in _reports(state) if fraction is not None]
        return sum(fractions) / len(fractions) if fractions else None

    @property
    def description(self) -> str | None:
        """The current step in words, of the least advanced worker that says one; else `None`."""
        reports = [(2.0 if fraction is None else fraction, text) for fraction, text in _reports(self.__dict__) if text]
        return min(reports, key=lambda report: report[0])[1] if reports else None

    @property
    def is_usable(self) -> bool:
        """Whether inference requests can be sent: it runs and has a `base_url`."""
        return _usable(self.__dict__)

    @property
    def is_stopped(self) -> bool:
        """Whether the server says `stopped`. Any other status may be billed."""
        status: InstanceStatus = self.__dict__["instance_status"]
        return status.status == "stopped"

    def snapshot(self) -> InstanceState:
        """A detached copy of the state as it is now, which no later update changes."""
        state = self.__dict__
        return InstanceState(
            state["instance_id"],
            state["base_url"],
            state["instance_args"],
            state["instance_status"],
            list(state["worker_statuses"]),
        )

    def _assign(self, other: InstanceState) -> None:
        """Take over the state of `other`, but keep an argument that `other` leaves unknown."""
        old, new = self.__dict__, other.snapshot().__dict__
        new["instance_args"] = completed(new["instance_args"], old["instance_args"])
        self.__dict__ = {**old, **new}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, InstanceState):
            return NotImplemented
        mine, theirs = self.__dict__, other.__dict__
        return all(mine[name] == theirs[name] for name in _STATE)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__
        return {name: state[name] for name in _STATE}

    def __repr__(self) -> str:
        now = self.snapshot()
        parts = [repr(now.instance_id), now.instance_status.status, f"model={now.instance_args.hf_name!r}"]
        if now.instance_args.hardware_type_id is not None:
            parts.append(f"hardware={now.instance_args.hardware_type_id!r}")
        parts.append(f"workers={len(now.worker_statuses)}")
        if now.progress is not None and not now.is_usable:
            parts.append(f"progress={now.progress:.0%}")
        parts.append(f"base_url={now.base_url!r}")
        return f"<{type(self).__name__} {printable(', '.join(parts))}>"

    def _repr_html_(self) -> str:
        now = self.snapshot()
        rows = {"instance_id": now.instance_id, "progress": now.progress, "description": now.description}
        rows |= {**asdict(now.instance_status), **asdict(now.instance_args), "base_url": now.base_url}
        body = "".join(
            f"<tr><th>{name}</th><td>{escape(printable(str(value)))}</td></tr>"
            for name, value in rows.items()
            if value is not None
        )
        return f"<table><caption>{escape(type(self).__name__)}</caption>{body}</table>"


def _usable(state: dict[str, Any]) -> bool:
    status: InstanceStatus = state["instance_status"]
    return status.status == "running" and bool(state["base_url"])


def _reports(state: dict[str, Any]) -> list[tuple[float | None, str | None]]:
    """For each worker that reports: how far it is, from 0.0 to 1.0, and its step in words."""
    workers: list[WorkerStatus] = state["worker_statuses"]
    reports = [worker.init_progress for worker in workers if worker.init_progress is not None]
    return [(_fraction(report.current_step, report.num_steps), report.description) for report in reports]


def _fraction(step: int | None, steps: int | None) -> float | None:
    if step is None or steps is None or steps <= 0:
        return None
    return min(max(step / steps, 0.0), 1.0)


def completed(args: InstanceArgs, earlier: InstanceArgs) -> InstanceArgs:
    """`args`, with what is unknown there taken from `earlier`."""
    unknown = [name for name, value in asdict(args).items() if value is None]
    known = {name: getattr(earlier, name) for name in unknown if getattr(earlier, name, None) is not None}
    return evolve(args, **known) if known else args


@frozen
class InstanceEvent:
    """A change that a wait or `watch()` saw.

    Attributes:
        instance: The state at that time, detached; without an id while there is no hardware to start it on.
        state: The status string, or `gone`; `no capacity` while there is no hardware.
        progress: Initialization from 0.0 to 1.0; `None` if unknown.
        description: The current initialization step in words, or what hardware there is; `None` if unknown.
        elapsed: Seconds since the watch began; that for hardware is one of its own.
    """

    instance: InstanceState
    state: str
    progress: float | None
    description: str | None
    elapsed: float

    def __str__(self) -> str:
        parts = [f"{self.elapsed:5.0f} s", *filter(None, [self.instance.instance_id]), self.state]
        if self.progress is not None:
            parts.append(f"{self.progress:.0%}")
        if self.description:
            parts.append(self.description)
        return printable("  ".join(parts))


def _derived_hf_name(model: ModelPreview) -> str:
    return shown_hf_name(model.model_id)


@frozen
class ModelPreview:
    """A model that can be served. An optional attribute is `None` if the server does not say.

    Attributes:
        model_id: The model's internal id, such as `org--model`.
        hf_name: Its Hugging Face name, such as `org/model`; derived from `model_id` if not given.
        instant_provisioned: Whether it can be provisioned instantly.
        creator: Who made it.
        description: In a few words.
        screen_name: The name to display.
        size: In parameters.
        hardware_configs: Ids of the hardware types that can serve it.
    """

    model_id: str
    hf_name: str = field(default=Factory(_derived_hf_name, takes_self=True))
    instant_provisioned: bool | None = None
    creator: Creator | None = None
    description: str | None = None
    screen_name: str | None = None
    size: int | None = None
    hardware_configs: list[str] | None = None


@frozen
class HardwareConfig:
    """How a model is served on one hardware type.

    Attributes:
        params: Parameters of the inference server, such as `--max-model-len`.
        requirements: What the server demands of the hardware.
    """

    params: dict[str, object] = field(factory=dict[str, object])
    requirements: dict[str, object] = field(factory=dict[str, object])


@frozen
class ModelDetail(ModelPreview):
    """A model with how it is served.

    Attributes:
        recommended_config: Id of the hardware type that a start uses by default; `None` if unknown.
        configs: By hardware type id, how the model is served on it.
    """

    recommended_config: str | None = None
    configs: dict[str, HardwareConfig] = field(factory=dict[str, HardwareConfig])


@frozen
class HardwareType:
    """Hardware that an instance can be started on.

    Attributes:
        hardware_type_id: Such as `NVIDIA_L4_1`.
        price_info: What it costs.
        hardware_info: Its GPUs.
    """

    hardware_type_id: str
    price_info: PriceInfo = field(factory=PriceInfo)
    hardware_info: HardwareInfo = field(factory=HardwareInfo)


@frozen
class Balance:
    """What is left on the account.

    Attributes:
        current_balance: In `currency`; may be negative.
        currency: ISO 4217 code, such as `EUR`.
    """

    current_balance: float
    currency: str
