"""The instances of the emulated account: what may be started, what runs, and what it costs."""

import math
import secrets
import threading
from collections.abc import Iterable, Mapping

from attrs import define, field, frozen

from inferlease.emulator.books import InstanceBooks, RunBooks
from inferlease.emulator.catalogue import (
    BILLING_INTERVALS,
    DEFAULT_CONTEXT_LENGTH,
    HARDWARE_TYPES,
    MAX_WORKERS,
    MODELS,
    HardwareType,
    Model,
)
from inferlease.emulator.life import Billing, Clock, Pace, Run
from inferlease.emulator.replies import Refusal


@frozen
class Spec:
    """What was started, every default resolved."""

    model: Model
    hardware_type: HardwareType
    context_length: int
    billing_interval: str
    num_workers: int

    @property
    def price_per_hour(self) -> float:
        """EUR per hour for all workers."""
        return self.hardware_type.price_per_hour * self.num_workers

    def wire(self) -> dict[str, object]:
        """`instance_args` as the API shows them."""
        return {
            "model_id": self.model.model_id,
            "hardware_type_id": self.hardware_type.hardware_type_id,
            "context_length": self.context_length,
            "billing_interval": self.billing_interval,
            "num_workers": self.num_workers,
        }


@define(eq=False)
class EmulatedInstance:
    """One instance with all its lives; kept for the books after it is deleted."""

    instance_id: str
    spec: Spec
    runs: list[Run]
    late_by: float
    started_by: str
    stop_requests: list[float] = field(factory=list)
    refused_stops: int = 0
    deleted_at: float | None = None

    @property
    def run(self) -> Run:
        """The latest life."""
        return self.runs[-1]

    def run_at(self, instant: float) -> Run:
        """The life that was the latest at `instant`."""
        return next((run for run in reversed(self.runs) if run.pending_at <= instant), self.runs[0])

    def exists(self, instant: float) -> bool:
        """Whether it was there at `instant`: created, and not deleted yet."""
        return self.runs[0].pending_at <= instant and (self.deleted_at is None or instant < self.deleted_at)


class Fleet:
    """All instances, under one lock: handlers use it on the server's thread, a test reads the books on its own.

    Args:
        clock: what time it is.
        pace: how fast workers come up.
        stop_delay: seconds from a stop request to the stop.
        billing: what is billed.
        balance: EUR to begin with.
        capacity: how many live instances each hardware type has room for; a type that is not named has no limit.
        refused_stops: how many requests to stop each live instance are refused before one is granted.
        outages: for how many seconds of every so many a hardware type is not available, beginning now.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        pace: Pace,
        stop_delay: float,
        billing: Billing,
        balance: float,
        capacity: Mapping[str, int],
        refused_stops: int,
        outages: Mapping[str, tuple[float, float]],
    ) -> None:
        self._clock = clock
        self._pace = pace
        self._stop_delay = stop_delay
        self._billing = billing
        self._credit = balance
        self._capacity = dict(capacity)
        self._refused_stops = refused_stops
        self._outages = dict(outages)
        self._began = clock.now()
        self._instances: dict[str, EmulatedInstance] = {}
        self._lock = threading.RLock()

    def instances(self, ago: float = 0.0) -> list[EmulatedInstance]:
        """Those that there are, or were `ago` seconds before now."""
        with self._lock:
            instant = self._clock.now() - ago
            return [instance for instance in self._instances.values() if instance.exists(instant)]

    def find(self, instance_id: object) -> EmulatedInstance:
        """One of them, by its id.

        Raises:
            Refusal: 404, there is none.
        """
        with self._lock:
            instance = self._instances.get(instance_id) if isinstance(instance_id, str) else None
            if instance is None or not instance.exists(self._clock.now()):
                raise Refusal(404, f"Instance '{instance_id}' not found.")
            return instance

    def available(self) -> list[HardwareType]:
        """The hardware types on which one more instance can be started."""
        with self._lock:
            return [hardware_type for hardware_type in HARDWARE_TYPES.values() if self._has_room(hardware_type)]

    def start(self, request: Mapping[str, object], delay: float = 0.0, caller: str = "") -> EmulatedInstance:
        """Start what `request` of `caller` asks for; until `delay` seconds from now nothing is to be seen of it.

        Raises:
            Refusal: 400 or 404, it is not valid or there is no room; 402, no money is left.
        """
        spec = resolve(request)
        with self._lock:
            self._require_means(spec)
            run = Run(self._pace, self._clock.now() + delay)
            instance = EmulatedInstance(f"instance-{secrets.token_hex(8)}", spec, [run], delay, caller)
            self._instances[instance.instance_id] = instance
            return instance

    def restart(self, instance_id: object) -> EmulatedInstance:
        """Begin another life of a stopped instance.

        Raises:
            Refusal: 400, it is not stopped or there is no room; 402, no money is left; 404, there is none.
        """
        with self._lock:
            instance = self.find(instance_id)
            now = self._clock.now()
            if instance.run.state(now) != "stopped":
                raise Refusal(400, f"Instance '{instance_id}' is not stopped.")
            self._require_means(instance.spec)
            instance.runs.append(Run(self._pace, now))
            return instance

    def stop(self, instance_id: object) -> EmulatedInstance:
        """Stop an instance; one that stops or has stopped already stays as it is.

        Raises:
            Refusal: 404, there is none; 409, it is not to be stopped yet.
        """
        with self._lock:
            instance = self.find(instance_id)
            if instance.run.stop_at is None and instance.refused_stops < self._refused_stops:
                instance.refused_stops += 1
                instance.stop_requests.append(self._clock.now())
                raise Refusal(409, f"Instance '{instance_id}' can't be stopped at the moment.")
            self._stop(instance, self._stop_delay)
            return instance

    def stop_all(self) -> list[str]:
        """Stop every live instance; their ids."""
        with self._lock:
            live = self._live()
            for instance in live:
                self._stop(instance, self._stop_delay)
            return [instance.instance_id for instance in live]

    def delete(self, instance_id: object) -> None:
        """Delete a stopped instance.

        Raises:
            Refusal: 400, it is not stopped; 404, there is none.
        """
        with self._lock:
            instance = self.find(instance_id)
            if instance.run.state(self._clock.now()) != "stopped":
                raise Refusal(400, f"Instance '{instance_id}' is not stopped: stop it before you delete it.")
            instance.deleted_at = self._clock.now()

    def delete_all(self, *, force: bool) -> list[str]:
        """Delete the stopped instances, with `force` the live ones too, which stop at once; the ids of the deleted."""
        with self._lock:
            live = self._live()
            if force:
                for instance in live:
                    self._stop(instance, delay=0.0)
            doomed = [instance for instance in self.instances() if force or instance not in live]
            for instance in doomed:
                instance.deleted_at = self._clock.now()
            return [instance.instance_id for instance in doomed]

    def balance(self) -> float:
        """EUR left: what was there at the beginning less all bills so far, to a millionth."""
        with self._lock:
            now = self._clock.now()
            return round(self._credit - sum(self._cost(instance, now) for instance in self._instances.values()), 6)

    def books(self) -> dict[str, InstanceBooks]:
        """The bill of every instance there ever was, by id."""
        with self._lock:
            now = self._clock.now()
            return {
                instance_id: self._entry(instance, now)
                for instance_id, instance in self._instances.items()
                if instance.runs[0].pending_at <= now
            }

    def _entry(self, instance: EmulatedInstance, now: float) -> InstanceBooks:
        spec = instance.spec
        runs = tuple(
            RunBooks(
                pending_at=run.pending_at,
                running_at=run.running_at(now),
                stopped_at=run.stopped_at(now),
                billed_seconds=self._billing.seconds(run, now, spec.billing_interval),
            )
            for run in instance.runs
        )
        return InstanceBooks(
            instance_id=instance.instance_id,
            model_id=spec.model.model_id,
            hardware_type_id=spec.hardware_type.hardware_type_id,
            context_length=spec.context_length,
            billing_interval=spec.billing_interval,
            num_workers=spec.num_workers,
            status=instance.run.state(now),
            deleted=instance.deleted_at is not None,
            started=runs[0].pending_at,
            started_wall=self._clock.wall(runs[0].pending_at),
            runs=runs,
            stop_requests=tuple(instance.stop_requests),
            billed_seconds=self._billed(instance, now),
            cost=self._cost(instance, now),
            late_by=instance.late_by,
            started_by=instance.started_by,
        )

    def _billed(self, instance: EmulatedInstance, now: float) -> float:
        interval = instance.spec.billing_interval
        return math.fsum(self._billing.seconds(run, now, interval) for run in instance.runs)

    def _cost(self, instance: EmulatedInstance, now: float) -> float:
        spec = instance.spec
        units = spec.hardware_type.num_gpus if self._billing.per_gpu else 1
        return self._billed(instance, now) / 3600 * spec.price_per_hour * units

    def _stop(self, instance: EmulatedInstance, delay: float) -> None:
        now = self._clock.now()
        instance.stop_requests.append(now)
        stop_at = instance.run.stop_at
        instance.run.stop_at = now + delay if stop_at is None else min(stop_at, now + delay)

    def _live(self) -> list[EmulatedInstance]:
        now = self._clock.now()
        return [instance for instance in self.instances() if instance.run.state(now) != "stopped"]

    def _has_room(self, hardware_type: HardwareType) -> bool:
        seconds, every = self._outages.get(hardware_type.hardware_type_id, (0.0, 1.0))
        if (self._clock.now() - self._began) % every < seconds:
            return False
        room = self._capacity.get(hardware_type.hardware_type_id)
        taken = sum(instance.spec.hardware_type is hardware_type for instance in self._live())
        return room is None or taken < room

    def _require_means(self, spec: Spec) -> None:
        if self.balance() <= 0:
            raise Refusal(402, "Your balance is used up.")
        if not self._has_room(spec.hardware_type):
            raise Refusal(400, f"Hardware type '{spec.hardware_type.hardware_type_id}' is not available at the moment.")


def resolve(request: Mapping[str, object]) -> Spec:
    """What a start request asks for, with the server's defaults for what it leaves out or null.

    Raises:
        Refusal: 404 for a model that does not exist, 400 for any other argument that is not valid.
    """
    model = find_model(request.get("model_id"))
    hardware_type = _hardware_type(request.get("hardware_type_id"), model)
    most_context = model.contexts[hardware_type.hardware_type_id]
    return Spec(
        model=model,
        hardware_type=hardware_type,
        context_length=_whole_number(
            request, "context_length", most=most_context, default=min(DEFAULT_CONTEXT_LENGTH, most_context)
        ),
        billing_interval=_one_of(request, "billing_interval", BILLING_INTERVALS),
        num_workers=_whole_number(request, "num_workers", most=MAX_WORKERS, default=1),
    )


def find_model(model_id: object) -> Model:
    """The model with this id.

    Raises:
        Refusal: 400, it is no string; 404, there is none.
    """
    if not isinstance(model_id, str):
        raise Refusal(400, "'model_id' must be a string.")
    if model_id not in MODELS:
        raise Refusal(404, f"Model '{model_id}' not found.")
    return MODELS[model_id]


def _hardware_type(asked: object, model: Model) -> HardwareType:
    hardware_type_id = model.recommended_config if asked is None else asked
    if not isinstance(hardware_type_id, str) or hardware_type_id not in HARDWARE_TYPES:
        raise Refusal(400, f"Hardware type '{hardware_type_id}' does not exist.")
    if hardware_type_id not in model.contexts:
        raise Refusal(
            400,
            f"Model '{model.model_id}' does not run on '{hardware_type_id}', but on: {', '.join(model.contexts)}.",
        )
    return HARDWARE_TYPES[hardware_type_id]


def _whole_number(request: Mapping[str, object], name: str, *, most: int, default: int) -> int:
    value = request.get(name)
    if value is None:
        return default
    # In JSON, 2.0 is a whole number too.
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in range(1, most + 1):
        raise Refusal(400, f"'{name}' must be a whole number from 1 to {most}.")
    return int(value)


def _one_of(request: Mapping[str, object], name: str, choices: Iterable[str]) -> str:
    allowed = list(choices)
    value = request.get(name)
    if value is None:
        return allowed[0]
    if not isinstance(value, str) or value not in allowed:
        raise Refusal(400, f"'{name}' must be one of: {', '.join(allowed)}.")
    return value
