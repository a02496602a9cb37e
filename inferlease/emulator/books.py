"""What the emulator saw and what it bills: the truth against which a client is judged."""

from datetime import datetime

from attrs import frozen

from inferlease.emulator.holds import Operation


@frozen
class RunBooks:
    """One life of an instance, from a start or restart on; instants in monotonic seconds (`time.monotonic`)."""

    pending_at: float
    running_at: float | None
    """When it became usable; None if it has not, or was stopped before."""
    stopped_at: float | None
    billed_seconds: float


@frozen
class InstanceBooks:
    """The bill of one instance, kept after it is deleted."""

    instance_id: str
    model_id: str
    hardware_type_id: str
    context_length: int
    billing_interval: str
    num_workers: int
    status: str
    deleted: bool
    started: float
    """Monotonic seconds of the first start."""
    started_wall: datetime
    """The same instant in UTC."""
    runs: tuple[RunBooks, ...]
    stop_requests: tuple[float, ...]
    """Monotonic seconds of each request that asked to stop it, by id or with all others."""
    billed_seconds: float
    """Over all runs, up to now; an instance with two workers runs up one second per second too, at twice the price."""
    cost: float
    """EUR."""
    late_by: float
    """Seconds from the request that started it to `started`; 0 unless a fault left its start open."""
    started_by: str
    """The `User-Agent` of the request that started it."""

    @property
    def billed_until_stopped(self) -> bool:
        """Whether the bill is closed: it is stopped or gone."""
        return self.status == "stopped" or self.deleted

    @property
    def usable_at(self) -> float | None:
        """When the latest run became usable, in monotonic seconds; None if it did not."""
        return self.runs[-1].running_at


@frozen
class Books:
    """Everything so far, at one instant."""

    instances: dict[str, InstanceBooks]
    """By instance id, in the order of their starts, deleted ones included."""
    requests: dict[str, int]
    """Requests that reached the server, by operation, refused ones included."""
    faults: dict[str, dict[Operation, int]]
    """Faults delivered, by kind and operation, such as `{"reset_after": {"start": 2}}`."""
    asked_by: dict[str, dict[Operation, dict[str, int]]]
    """Requests to restart, stop or delete one instance: by the id that they name, operation, and `User-Agent`; those
    included that were refused or met a fault."""
    tokens_issued: int
    api_tokens_at_inference: int
    """Requests for inference that showed an API access token, which must never leave the API."""
    balance: float
    """EUR left."""

    @property
    def starts(self) -> int:
        """Starts that created an instance."""
        return len(self.instances)

    @property
    def still_billed(self) -> list[str]:
        """Ids of the instances whose bill still grows."""
        return [entry.instance_id for entry in self.instances.values() if not entry.billed_until_stopped]

    @property
    def billed_seconds(self) -> float:
        """Over all instances."""
        return sum(entry.billed_seconds for entry in self.instances.values())

    @property
    def cost(self) -> float:
        """EUR, over all instances."""
        return sum(entry.cost for entry in self.instances.values())
