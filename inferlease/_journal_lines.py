"""What stands in the journal of a start: one JSON object a line. Nothing here does I/O."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeAlias, TypeVar, get_args

from attrs import evolve, field, frozen

from .ledger import Bounds, Ending, Facts, Intent
from .money import Price
from .objects import InstanceArgs, as_utc

__all__ = [
    "Claim",
    "Contents",
    "GarbledError",
    "claim_line",
    "end_line",
    "facts_line",
    "intent_line",
    "keep_line",
    "read_claim",
    "read_journal",
]

T = TypeVar("T")
Line: TypeAlias = dict[str, Any]

VERSION = 1


class GarbledError(ValueError):
    """It is no journal that this version can read; the message says why."""


@frozen
class Claim:
    """That a journal lays claim to an instance."""

    journal: str
    instance_id: str
    is_answered: bool
    at: datetime


@frozen
class Contents:
    """What a journal says.

    Attributes:
        intent: Its first line.
        size: Bytes up to the end of its last whole line; what follows was torn.
        claims: The claims in their order. One counts if the ledger's own note of that id names this journal.
        is_kept: Whether the instance stays.
        bounds: Up to where, if its process is killed.
        facts: What became known of it.
        ending: How it ended, if it did.
        ended_at: When.
        reason: Why it was refused, if that was told.
    """

    intent: Intent
    size: int
    claims: tuple[Claim, ...] = ()
    is_kept: bool = False
    bounds: Bounds = field(factory=Bounds)
    facts: Facts = field(factory=Facts)
    ending: Ending | None = None
    ended_at: datetime | None = None
    reason: str | None = None


# Writing


def intent_line(intent: Intent) -> bytes:
    """Raises GarbledError if it could not be read again."""
    args = intent.args
    raw = _line(
        "intent",
        intent.at,
        version=VERSION,
        journal=intent.journal,
        spec=intent.spec,
        args={name: getattr(args, name) for name in _ARGS},
        kind=intent.kind,
        baseline=sorted(intent.baseline),
        foreign=sorted(intent.foreign),
        unclaimed=sorted(intent.unclaimed),
        exclusive=intent.exclusive,
        settle_time=intent.settle_time,
        late_window=intent.late_window,
        label=intent.label,
        **_price_fields(intent.price),
    )
    if read_journal(raw).intent != intent:
        raise GarbledError("it would not be read as it was written")
    return raw


def claim_line(claim: Claim) -> bytes:
    return _line("claim", claim.at, journal=claim.journal, instance_id=claim.instance_id, is_answered=claim.is_answered)


def keep_line(bounds: Bounds, at: datetime) -> bytes:
    return _line("keep", at, limit_at=_written(bounds.limit_at), min_balance=bounds.min_balance)


def facts_line(facts: Facts, at: datetime) -> bytes:
    return _line(
        "facts",
        at,
        hardware_type_id=facts.hardware_type_id,
        billing_interval=facts.billing_interval,
        usable_at=_written(facts.usable_at),
        **_price_fields(facts.price),
    )


def end_line(how: Ending, at: datetime, reason: str | None = None) -> bytes:
    return _line("end", at, how=how, reason=reason)


def _price_fields(price: Price | None) -> dict[str, object]:
    return {"price_per_hour": price.amount, "currency": price.currency} if price is not None else {}


def _written(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None


def _line(what: str, at: datetime, /, **fields: object) -> bytes:
    # ASCII escapes: an id may hold a lone surrogate, which no encoding takes.
    return json.dumps({"line": what, "at": at.isoformat(), **fields}).encode("ascii") + b"\n"


# Reading


def read_journal(raw: bytes) -> Contents:
    """Read a whole journal.

    What follows the last newline, and a last line that is no JSON, was torn when the power failed or the disk was
    full: whoever wrote it was never told that it is safe, so it counts as never written.

    Raises:
        GarbledError: Anything else is not as this version writes it.
    """
    lines = raw.split(b"\n")[:-1]
    if not lines:
        raise GarbledError("it has no line")
    contents = Contents(_intent(_parse(lines[0])), len(lines[0]) + 1)
    for number, text in enumerate(lines[1:], 2):
        try:
            line = _parse(text)
        except GarbledError as error:
            if number == len(lines):
                break
            raise GarbledError(f"line {number}: {error}") from None
        try:
            contents = _continued(contents, line)
        except GarbledError as error:
            raise GarbledError(f"line {number}: {error}") from None
        contents = evolve(contents, size=contents.size + len(text) + 1)
    return contents


def read_claim(raw: bytes) -> Claim:
    """Read the ledger's note of one id. Raises GarbledError."""
    line = _parse(raw)
    if line.get("line") != "claim":
        raise GarbledError("it is no claim")
    return _claim(line)


def _continued(so_far: Contents, line: Line) -> Contents:
    at = _time(line, "at")
    if so_far.ending is not None:
        raise GarbledError("it goes on after its end")
    match line.get("line"):
        case "claim":
            claim = _claim(line)
            if claim.journal != so_far.intent.journal:
                raise GarbledError("the claim is another journal's")
            return evolve(so_far, claims=(*so_far.claims, claim))
        case "keep":
            bounds = Bounds(_may_be(line, "limit_at", _time), _may_be(line, "min_balance", _number))
            return evolve(so_far, is_kept=True, bounds=bounds)
        case "facts":
            return evolve(so_far, facts=_facts(line))
        case "end":
            how: Ending = _one_of(line, "how", get_args(Ending))
            return evolve(so_far, ending=how, ended_at=at, reason=_may_be(line, "reason", _text))
        case _:
            raise GarbledError("it is of no kind that is known here")


def _intent(line: Line) -> Intent:
    if line.get("line") != "intent":
        raise GarbledError("it does not begin with an intent")
    version = _of(line, "version", int)
    if version != VERSION:
        raise GarbledError(f"it has version {version}, and this is made for version {VERSION}")
    args = _of(line, "args", dict)
    if args.keys() != _ARGS.keys():
        raise GarbledError("args: other arguments than are known here")
    return Intent(
        spec=_of(line, "spec", str),
        args=InstanceArgs(**{name: _of(args, name, *types) for name, types in _ARGS.items()}),
        kind=_one_of(line, "kind", ("lease", "start")),
        baseline=_ids(line, "baseline"),
        foreign=_ids(line, "foreign"),
        exclusive=_of(line, "exclusive", bool, type(None)),
        settle_time=_number(line, "settle_time"),
        late_window=_number(line, "late_window"),
        journal=_of(line, "journal", str),
        at=_time(line, "at"),
        label=_may_be(line, "label", _text),
        price=_price(line),
        unclaimed=_ids(line, "unclaimed") if "unclaimed" in line else frozenset(),
    )


def _facts(line: Line) -> Facts:
    return Facts(
        hardware_type_id=_may_be(line, "hardware_type_id", _text),
        billing_interval=_may_be(line, "billing_interval", _text),
        price=_price(line),
        usable_at=_may_be(line, "usable_at", _time),
    )


def _price(line: Line) -> Price | None:
    per_hour = _may_be(line, "price_per_hour", _number)
    return None if per_hour is None else Price(per_hour, _text(line, "currency"))


_ARGS: dict[str, tuple[type, ...]] = {
    "model_id": (str,),
    "hardware_type_id": (str, type(None)),
    "billing_interval": (str, type(None)),
    "context_length": (int, type(None)),
    "num_workers": (int, type(None)),
}


def _claim(line: Line) -> Claim:
    return Claim(
        _of(line, "journal", str), _of(line, "instance_id", str), _of(line, "is_answered", bool), _time(line, "at")
    )


def _parse(text: bytes) -> Line:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        raise GarbledError("it is no JSON") from None
    if type(line) is not dict:
        raise GarbledError("it is no object")
    return line


def _of(line: Line, key: str, *types: type) -> Any:
    """The value of `key`, of exactly one of `types`: `True` is no integer."""
    if key not in line or type(line[key]) not in types:
        raise GarbledError(f"{key}: missing, or of the wrong type")
    return line[key]


def _may_be(line: Line, key: str, read: Callable[[Line, str], T]) -> T | None:
    """What journals of earlier versions lack."""
    return None if line.get(key) is None else read(line, key)


def _text(line: Line, key: str) -> str:
    return str(_of(line, key, str))


def _one_of(line: Line, key: str, values: tuple[str, ...]) -> Any:
    if (value := _of(line, key, str)) not in values:
        raise GarbledError(f"{key}: a value that is not known here")
    return value


def _ids(line: Line, key: str) -> frozenset[str]:
    ids: list[object] = _of(line, key, list)
    if not all(type(value) is str for value in ids):
        raise GarbledError(f"{key}: not all are ids")
    return frozenset(str(value) for value in ids)


def _number(line: Line, key: str) -> float:
    if not math.isfinite(value := _of(line, key, int, float)):
        raise GarbledError(f"{key}: no finite number")
    return float(value)


def _time(line: Line, key: str) -> datetime:
    try:
        value = datetime.fromisoformat(_of(line, key, str))
    except ValueError:
        raise GarbledError(f"{key}: no time") from None
    if value.tzinfo is None:
        raise GarbledError(f"{key}: a time without a zone")
    return as_utc(value)
