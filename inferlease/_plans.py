"""How each object of the API is read from JSON: which keys, of which type, and what is wrong with the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar, cast

from attrs import frozen
from cattrs import Converter

from ._mapping import DEEPEST, TypedMapping, is_deep
from .errors import DecodeError
from .objects import (
    Balance,
    Creator,
    HardwareConfig,
    HardwareInfo,
    HardwareType,
    InitProgress,
    InstanceArgs,
    InstanceState,
    InstanceStatus,
    ModelDetail,
    ModelPreview,
    PriceInfo,
    WorkerStatus,
    as_utc,
)

T = TypeVar("T")
Raw: TypeAlias = dict[str, Any]
Hook: TypeAlias = Callable[[Any, Any], Any]

# What is wrong, and where


class MismatchError(ValueError):
    """A value is not what it should be; `where` is its path from the value that a hook was given."""

    def __init__(self, where: str, expected: str, found: object) -> None:
        super().__init__(where, expected)
        self.where = where
        self.cause: Exception | None = None
        self.problem = f"expected {expected}, found {_shown(found)}"

    def __str__(self) -> str:
        return f"{self.where.removeprefix('.')}: {self.problem}".removeprefix(": ")


def under(step: str, error: Exception) -> MismatchError:
    """`error`, as seen from the value that contains the one at `step`."""
    if isinstance(error, MismatchError):
        error.where = step + error.where
        return error
    mismatch = MismatchError(step, "", None)
    mismatch.problem = f"{type(error).__name__}: {_escaped(str(error), 80)}"
    mismatch.cause = error
    return mismatch


def decode_error(error: Exception, payload: object, path: str) -> DecodeError:
    mismatch = under(path, error)
    instance_id = readable_id(payload, "instance_id")
    problem = DecodeError(f"{mismatch.where}: {mismatch.problem}", path=mismatch.where, instance_id=instance_id)
    problem.__cause__ = mismatch.cause
    return problem


def readable_id(payload: object, key: str) -> str | None:
    value = cast("Raw", payload).get(key) if isinstance(payload, dict) else None
    return value if type(value) is str and value and value.isprintable() else None


def _escaped(text: str, limit: int) -> str:
    shown = ascii(text[:limit])[1:-1]
    return shown if len(text) <= limit and len(shown) <= limit else shown[:limit] + "..."


_MISSING = object()


def _shown(value: object) -> str:
    """`value` in a few escaped characters, in the words of JSON."""
    if value is None or value is _MISSING:
        return "null" if value is None else "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{_escaped(value, 60)}"'
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= 200):
        return repr(value)
    return f"a Python {type(value).__name__}"


# Leaves


def _string(raw: object) -> str:
    if type(raw) is not str:
        raise MismatchError("", "a string", raw)
    return raw


_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


def _integer(raw: object) -> int:
    if type(raw) is not int or not _INT_MIN <= raw <= _INT_MAX:
        raise MismatchError("", "an integer of 64 bits", raw)
    return raw


def _number(raw: object) -> float:
    if type(raw) is float and math.isfinite(raw):
        return raw
    if type(raw) is int and _INT_MIN <= raw <= _INT_MAX:
        return float(raw)
    raise MismatchError("", "a finite number", raw)


def _boolean(raw: object) -> bool:
    if type(raw) is not bool:
        raise MismatchError("", "true or false", raw)
    return raw


def _time(raw: object) -> datetime:
    # The separator tells a time from a bare date, which `fromisoformat` reads too.
    if type(raw) is str and raw[10:11] in {"T", "t", " "}:
        try:
            return as_utc(datetime.fromisoformat(raw.upper()))
        except ValueError:
            pass
    raise MismatchError("", "an ISO 8601 time", raw)


def iso_format(value: datetime) -> str:
    text = as_utc(value).isoformat()
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


LEAVES: dict[type, Callable[[object], Any]] = {
    str: _string,
    int: _integer,
    float: _number,
    bool: _boolean,
    datetime: _time,
}


def read_leaf(raw: object, cls: Any) -> Any:
    check = LEAVES.get(cls)
    if check is None:  # a subclass, such as an enumeration of strings
        base = next(base for base in cls.__mro__ if base in LEAVES)
        return cls(LEAVES[base](raw))
    return check(raw)


# Objects

Check: TypeAlias = Callable[[object], Any]
Part: TypeAlias = Callable[[type], Check]


@frozen(eq=False, repr=False)
class _Plan:
    """The structure hook of one class: what its keys hold. A key of `optional` that is null or absent is left to
    the class's default; `prepare` maps what the wire has under another key."""

    required: dict[str, Check]
    optional: dict[str, Check]
    prepare: Callable[[Raw], Raw] | None = None

    def __call__(self, raw: object, cls: Any) -> Any:
        given = _object(raw) if self.prepare is None else self.prepare(_object(raw))
        fields: Raw = {key: _required(given, key, check) for key, check in self.required.items()}
        for key, check in self.optional.items():
            if given.get(key) is not None:
                fields[key] = _required(given, key, check)
        if issubclass(cls, TypedMapping):
            fields["extra"] = {key: _required(given, key, _kept) for key in given if key not in self.optional}
        return cls(**fields)


def _object(raw: object) -> Raw:
    if isinstance(raw, Mapping):
        return cast("Raw", raw if isinstance(raw, dict) else dict(cast("Mapping[str, Any]", raw)))
    raise MismatchError("", "an object", raw)


def _kept(raw: T) -> T:
    if is_deep(raw):
        raise MismatchError("", f"at most {DEEPEST} levels", raw)
    return raw


def _required(raw: Raw, key: str, check: Callable[[object], T]) -> T:
    if key not in raw:
        raise MismatchError(_step(key), "a value", _MISSING)
    try:
        return check(raw[key])
    except Exception as error:  # noqa: BLE001 (a user's hook may raise anything)
        raise under(_step(key), error) from None


def _step(key: str) -> str:
    return f".{key}" if key.isascii() and key.isidentifier() else f'["{_escaped(key, 40)}"]'


def _each(check: Callable[[object], T]) -> Callable[[object], list[T]]:
    def check_list(raw: object) -> list[T]:
        if not isinstance(raw, list):
            raise MismatchError("", "a list", raw)
        items: list[T] = []
        try:
            for item in cast("list[object]", raw):
                items.append(check(item))  # noqa: PERF401 (the index of a bad item is the length so far)
        except Exception as error:  # noqa: BLE001 (a user's hook may raise anything)
            raise under(f"[{len(items)}]", error) from None
        return items

    return check_list


def _each_value(check: Callable[[object], T]) -> Callable[[object], dict[str, T]]:
    def check_object(raw: object) -> dict[str, T]:
        given = _object(raw)
        return {key: _required(given, key, check) for key in given}

    return check_object


def _or_null(check: Callable[[object], T]) -> Callable[[object], T | None]:
    return lambda raw: None if raw is None else check(raw)


def _as_is(raw: object) -> object:  # checked by `prepare`, which knows its place on the wire
    return raw


def _with_base_url(raw: Raw) -> Raw:
    return raw if "base_url" in raw else {"base_url": None, **raw}


def _documented_model(raw: Raw) -> Raw:
    """A model with its attributes where they are documented, from the places where the wire has them."""
    model = dict(raw)
    if raw.get("model_name") is not None and raw["model_name"] != "":
        model["model_id"] = _required(raw, "model_name", _string)
    if raw.get("hardware_configs") is not None:
        model["hardware_configs"] = _required(raw, "hardware_configs", _hardware_ids)
    elif raw.get("hardware_info") is not None:
        model["hardware_configs"] = _required(raw, "hardware_info", _hardware_ids_within)
    return model


def _hardware_ids(raw: object) -> list[str]:
    return _each(_string)(list(cast("Raw", raw)) if isinstance(raw, dict) else raw)


def _hardware_ids_within(raw: object) -> list[str] | None:
    return _required({"hardware_configs": None, **_object(raw)}, "hardware_configs", _or_null(_hardware_ids))


def _preview_plan(part: Part) -> _Plan:
    optional: dict[str, Check] = {"hf_name": _string, "instant_provisioned": _boolean, "creator": part(Creator)}
    optional |= {"description": _string, "screen_name": _string, "size": _integer, "hardware_configs": _as_is}
    return _Plan({"model_id": _string}, optional, _documented_model)


def _detail_plan(part: Part) -> _Plan:
    preview = _preview_plan(part)
    config = part(HardwareConfig)
    configs = _or_null(_each_value(lambda raw: HardwareConfig() if raw is None else config(raw)))

    def prepare(raw: Raw) -> Raw:
        # On the wire the map stands in place of the list; what we unstructured has it beside the list.
        key = "hardware_configs" if isinstance(raw.get("hardware_configs"), dict) else "configs"
        return {**_documented_model(raw), "configs": _required({key: None, **raw}, key, configs)}

    return _Plan(preview.required, {**preview.optional, "recommended_config": _string, "configs": _as_is}, prepare)


_PLANS: dict[type, Callable[[Part], _Plan]] = {
    InitProgress: lambda _: _Plan({}, {"current_step": _integer, "num_steps": _integer, "description": _string}),
    Creator: lambda _: _Plan({}, {"name": _string, "url": _string}),
    PriceInfo: lambda _: _Plan({}, {"price_per_hour": _number, "price_per_minute": _number, "currency": _string}),
    HardwareInfo: lambda _: _Plan({}, {"gpu_type": _string, "num_gpus": _integer, "gpu_ram_gb": _number}),
    InstanceArgs: lambda _: _Plan(
        {"model_id": _string},
        {"hardware_type_id": _string, "billing_interval": _string, "context_length": _integer, "num_workers": _integer},
    ),
    InstanceStatus: lambda part: _Plan(
        {"status": _string}, {"started_at": part(datetime), "stopped_at": part(datetime)}
    ),
    WorkerStatus: lambda part: _Plan({}, {"init_progress": part(InitProgress)}),
    InstanceState: lambda part: _Plan(
        {
            "instance_id": _string,
            "base_url": _or_null(_string),
            "instance_args": part(InstanceArgs),
            "instance_status": part(InstanceStatus),
        },
        {"worker_statuses": _each(part(WorkerStatus))},
        _with_base_url,
    ),
    ModelPreview: _preview_plan,
    ModelDetail: _detail_plan,
    HardwareConfig: lambda _: _Plan({}, dict.fromkeys(("params", "requirements"), lambda raw: _kept(_object(raw)))),
    HardwareType: lambda part: _Plan(
        {"hardware_type_id": _string}, {"price_info": part(PriceInfo), "hardware_info": part(HardwareInfo)}
    ),
    Balance: lambda _: _Plan({"current_balance": _number, "currency": _string}, {}),
}


def is_planned(cls: object) -> bool:
    return isinstance(cls, type) and any(base in _PLANS for base in cls.__mro__)


def plan_of(cls: type, converter: Converter) -> _Plan:
    def part(of: type) -> Check:
        hook: Hook = converter.get_structure_hook(of)
        return lambda raw: hook(raw, of)

    return _PLANS[next(base for base in cls.__mro__ if base in _PLANS)](part)


# Instances come by the thousand, every poll. Their parts are frozen and a fleet has few distinct ones, so equal
# parts are shared: the same as the plan, at a fifth of the time.


def state_hook(_: type, converter: Converter) -> Hook:
    plan = plan_of(InstanceState, converter)
    parts = (InstanceArgs, InstanceStatus, WorkerStatus, InitProgress)
    hooks: list[Hook] = [converter.get_structure_hook(part) for part in parts]
    time_hook: Hook = converter.get_structure_hook(datetime)
    if time_hook is not read_leaf or not all(isinstance(hook, _Plan) for hook in hooks):
        return plan  # the user has hooks for parts

    def structure(raw: Any, cls: Any) -> Any:
        try:
            instance_id, base_url, workers = raw["instance_id"], raw["base_url"], raw["worker_statuses"]
            args, status = raw["instance_args"], raw["instance_status"]
            if type(instance_id) is str and (base_url is None or type(base_url) is str) and type(workers) is list:
                get = args.get
                return cls(
                    instance_id,
                    base_url,
                    _shared_args(
                        args["model_id"],
                        get("hardware_type_id"),
                        get("billing_interval"),
                        get("context_length"),
                        get("num_workers"),
                    ),
                    _shared_status(status["status"], status["started_at"], status["stopped_at"]),
                    [_quick_worker(worker["init_progress"]) for worker in workers],
                )
        except (LookupError, TypeError, ValueError, AttributeError):
            pass
        return plan(raw, cls)  # something is unusual: the plan reads it, or says what is wrong

    return structure


_IDLE_WORKER = WorkerStatus()


def _quick_worker(progress: Any) -> WorkerStatus:
    if progress is None:
        return _IDLE_WORKER
    step, steps, description = progress["current_step"], progress["num_steps"], progress["description"]
    return cast("WorkerStatus", _shared_worker(step, steps, description, len(progress)))


# `typed`, because True == 1. What raises is not cached; what is long is not to be kept.


@lru_cache(maxsize=4096, typed=True)
def _shared_args(model_id: object, hardware: object, billing: object, context: object, count: object) -> Any:
    _refuse_long(f"{model_id}{hardware}{billing}")
    return InstanceArgs(
        _string(model_id),
        _string_or_null(hardware),
        _string_or_null(billing),
        _integer_or_null(context),
        _integer_or_null(count),
    )


@lru_cache(maxsize=4096, typed=True)
def _shared_status(status: object, started_at: object, stopped_at: object) -> Any:
    _refuse_long(f"{status}{started_at}{stopped_at}")
    return InstanceStatus(_string(status), _time_or_null(started_at), _time_or_null(stopped_at))


@lru_cache(maxsize=4096, typed=True)
def _shared_worker(step: object, steps: object, description: object, keys: int) -> Any:
    _refuse_long(f"{description}")
    if keys > 3:
        raise ValueError("unknown keys")
    return WorkerStatus(InitProgress(_integer_or_null(step), _integer_or_null(steps), _string_or_null(description)))


def _refuse_long(text: str) -> None:
    if len(text) > 200:
        raise ValueError("long")


_string_or_null, _integer_or_null, _time_or_null = _or_null(_string), _or_null(_integer), _or_null(_time)
