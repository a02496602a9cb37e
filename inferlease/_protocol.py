"""The protocol without I/O: what an outcome means, what follows from it, and which error tells of it."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import cast

import orjson
from attrs import field, frozen
from multidict import CIMultiDict

from ._printing import printable
from ._requests import Operation, Request, is_valid_id
from .errors import (
    CHECK_ADDRESS,
    APIError,
    AuthenticationError,
    ConflictError,
    DecodeError,
    InferleaseError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TransportError,
)

MAX_BODY = 64 * 1024 * 1024
NOT_SENT = "could not be sent: "
_SHOWN = 300  # characters of foreign text in a message
REFUSALS = frozenset({400, 404, 409, 422})


@frozen(eq=False, repr=False)
class NotSent:
    """No connection was obtained.

    Attributes:
        permanent: Trying again can't help (a certificate, a bad header).
        reason: Who was not reached and why, in words; "" where `error` alone tells.
    """

    error: BaseException
    permanent: bool = False
    reason: str = ""


@frozen(eq=False, repr=False)
class Lost:
    """The request was sent and no whole answer came back."""

    error: BaseException


@frozen(eq=False, repr=False)
class Answer:
    """A whole answer; `body` is `None` where it was larger than `MAX_BODY`."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None = field(repr=False)


Outcome = NotSent | Lost | Answer


class Kind(enum.Enum):
    """The rows of the outcome table."""

    NOT_SENT = enum.auto()
    IMPOSSIBLE = enum.auto()
    UNAUTHORIZED = enum.auto()
    RATE_LIMITED = enum.auto()
    REFUSED = enum.auto()
    BROKEN = enum.auto()
    GARBLED = enum.auto()
    OVERSIZED = enum.auto()
    MISSHAPEN = enum.auto()
    GOOD = enum.auto()


class Action(enum.Enum):
    """What follows from an outcome."""

    DONE = enum.auto()
    FAIL = enum.auto()
    RETRY = enum.auto()  # again, paid from the client's retry budget
    REPEAT = enum.auto()  # again, whatever the budget
    LOOK = enum.auto()  # the server did it: one GET tells the result
    LOOK_ELSE_FAIL = enum.auto()  # one GET tells whether the goal is reached anyway
    LOOK_ELSE_REPEAT = enum.auto()
    AMBIGUOUS = enum.auto()  # a start that may have happened
    SALVAGE = enum.auto()  # a start whose answer is unusable but for its id
    UNKNOWN = enum.auto()  # a change that may have happened


def _table() -> dict[Operation, dict[Kind, Action]]:
    done, fail, retry, repeat = Action.DONE, Action.FAIL, Action.RETRY, Action.REPEAT
    look, else_fail, else_repeat = Action.LOOK, Action.LOOK_ELSE_FAIL, Action.LOOK_ELSE_REPEAT
    ambiguous, unknown = Action.AMBIGUOUS, Action.UNKNOWN
    columns = (
        Operation.READ, Operation.START, Operation.STOP, Operation.DELETE, Operation.RESTART, Operation.BULK,
    )  # fmt: skip
    rows = {
        Kind.NOT_SENT:     (retry, retry,          repeat,    repeat,    repeat,      retry),
        Kind.IMPOSSIBLE:   (fail,  fail,           fail,      fail,      fail,        fail),
        Kind.UNAUTHORIZED: (fail,  fail,           fail,      fail,      fail,        fail),
        Kind.RATE_LIMITED: (retry, retry,          repeat,    repeat,    repeat,      retry),
        Kind.REFUSED:      (fail,  fail,           else_fail, else_fail, else_fail,   fail),
        Kind.BROKEN:       (retry, ambiguous,      repeat,    repeat,    else_repeat, unknown),
        Kind.GARBLED:      (retry, ambiguous,      look,      done,      look,        unknown),
        Kind.OVERSIZED:    (fail,  ambiguous,      look,      done,      look,        unknown),
        Kind.MISSHAPEN:    (fail,  Action.SALVAGE, look,      done,      look,        fail),
        Kind.GOOD:         (done,  done,           done,      done,      done,        done),
    }  # fmt: skip
    return {
        operation: {kind: actions[column] for kind, actions in rows.items()} for column, operation in enumerate(columns)
    }


DECISIONS = _table()


def classify(outcome: Outcome) -> Kind:
    """The row of an outcome, before a 2xx body has been read as JSON."""
    if isinstance(outcome, NotSent):
        return Kind.IMPOSSIBLE if outcome.permanent else Kind.NOT_SENT
    if isinstance(outcome, Lost):
        return Kind.BROKEN
    status = outcome.status
    if 200 <= status < 300:
        return Kind.GOOD if outcome.body is not None else Kind.OVERSIZED
    if status == 401:
        return Kind.UNAUTHORIZED
    if status == 429:
        return Kind.RATE_LIMITED
    if status == 408 or status >= 500:
        return Kind.BROKEN
    return Kind.REFUSED


def parse_json(body: bytes) -> object:
    """JSON of an answer. Raises ValueError for what is not JSON: NaN, excess digits, nesting or bytes."""
    return orjson.loads(body)


# A whole pair is mended into two characters: what is read this way serves for nothing but its id.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def parse_mended(body: bytes) -> object:
    """What is JSON but for halves of surrogate pairs, with U+FFFD in their place; ValueError for what is not."""
    mended, found = _SURROGATE.subn(rb"\\ufffd", body)
    if not found:
        raise ValueError("there is no surrogate in it")
    return parse_json(mended)


def check_form(answer: Answer, instance_id: str | None, *, is_mended: bool) -> None:
    """Raises DecodeError for an answer that had to be mended or says to be no JSON; `instance_id` is kept in it."""
    if is_mended:
        raise DecodeError("expected text, found half of a surrogate pair", path="", instance_id=instance_id)
    said = answer.headers.get("Content-Type", "application/json")
    kind = said.partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise DecodeError(
            f"expected JSON, found the content type {printable(said, 80)!r}", path="", instance_id=instance_id
        )


def member(payload: object, key: str, *, optional: bool = False) -> object:
    """`payload[key]` of an answer's outermost object. Raises DecodeError where there is none."""
    if not isinstance(payload, dict):
        raise DecodeError(f"expected an object with {key!r}, found {type(payload).__name__}", path="")
    if key not in payload and not optional:
        raise DecodeError(f"{key}: missing", path=key)
    return cast(object, payload.get(key))


def check_answer_id(value: str, asked: str | None) -> None:
    """Raises DecodeError for an instance id, sent by the server, that no path could carry or nobody asked for."""
    if value == asked:
        return
    if not is_valid_id(value):
        expected = "an id of letters, digits, '-', '_' and '.'"
    elif asked is not None:
        expected = repr(asked)
    else:
        return
    path = "instance.instance_id"
    raise DecodeError(f"{path}: expected {expected}, found {ascii(value)[:80]}", path=path)


def without(outcome: Outcome, secrets: Iterable[str]) -> Outcome:
    """`outcome` without what it repeats of `secrets`: its text goes into messages, and may be cut there."""
    if not isinstance(outcome, Answer):
        text = f"{why(outcome)} {outcome.error!s} {outcome.error!r}"
        if any(secret in text for secret in secrets):
            hidden = ConnectionError("(not shown, as it repeats a secret)")
            return Lost(hidden) if isinstance(outcome, Lost) else NotSent(hidden, outcome.permanent)
        return outcome
    headers, body = dict(outcome.headers), outcome.body
    for secret in secrets:
        headers = {name: value.replace(secret, "…") for name, value in headers.items()}
        # Some servers escape a slash in JSON.
        for written in {secret, secret.replace("/", r"\/")} if body else ():
            body = body and body.replace(written.encode(), "…".encode())
    if body == outcome.body and headers == dict(outcome.headers):
        return outcome
    return Answer(outcome.status, CIMultiDict(headers), body)


# ---- errors ---------------------------------------------------------------------------------------

_BY_STATUS: dict[int, type[APIError]] = {
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    429: RateLimitError,
}


def status_error(request: Request, answer: Answer) -> APIError:
    """The error of an answer whose status is not 2xx."""
    status = answer.status
    error = _BY_STATUS.get(status) or (ServerError if status >= 500 else APIError)
    said = server_message(answer)
    text = f"{request} was answered {status}" + (f": {said}" if said else "")
    if 300 <= status < 400:
        text += " (a redirect, which is never followed)"
    made = error(
        text,
        status=status,
        request_id=request_id(answer),
        instance_id=request.instance_id,
        retry_after=retry_after(answer),
    )
    made._passes = made._passes or status == 408
    return made


def outcome_error(request: Request, outcome: Outcome) -> InferleaseError:
    """The error that tells of an outcome which brought no usable data."""
    if isinstance(outcome, Answer):
        if not 200 <= outcome.status < 300:
            return status_error(request, outcome)
        what = "is not JSON" if outcome.body is not None else f"is larger than {MAX_BODY >> 20} MiB"
        garbled = DecodeError(
            f"{request} was answered {outcome.status}, but the body {what}",
            path="",
            status=outcome.status,
            request_id=request_id(outcome),
            instance_id=request.instance_id,
        )
        # What is no JSON at all comes from something in between, and passes like a lost answer.
        garbled._passes = outcome.body is not None
        return garbled
    what = NOT_SENT if isinstance(outcome, NotSent) else "was sent, but no whole answer came back: "
    way_out = CHECK_ADDRESS if isinstance(outcome, NotSent) and outcome.reason else ""
    error = TransportError(f"{request} {what}{why(outcome)}{way_out}", instance_id=request.instance_id)
    error.__cause__ = outcome.error
    error._passes = not (isinstance(outcome, NotSent) and outcome.permanent)
    return error


def request_id(answer: Answer) -> str | None:
    value = answer.headers.get("X-Request-Id")
    return printable(value, 100) if value else None


def why(outcome: NotSent | Lost) -> str:
    """Why no answer arrived, in a few words of one line."""
    if isinstance(outcome, NotSent) and outcome.reason:
        return printable(outcome.reason, _SHOWN)
    text = printable(str(outcome.error), _SHOWN)
    if not text and isinstance(outcome.error, TimeoutError):
        return "the time was up"
    name = type(outcome.error).__name__
    return f"{name}: {text}" if text else name


def server_message(answer: Answer) -> str:
    """The `message` of an error answer in one printable line, "" if there is none.

    Without the full stop at its end: it stands in the middle of a sentence.
    """
    try:
        data = orjson.loads(answer.body or b"")
    except ValueError:
        return ""
    message = data.get("message") if isinstance(data, dict) else None
    return printable(message, _SHOWN).removesuffix(".") if isinstance(message, str) else ""


# ---- Retry-After ----------------------------------------------------------------------------------

MAX_RETRY_AFTER = 60.0
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


def retry_after(outcome: Outcome, now: datetime | None = None) -> float | None:
    """Seconds that the server asks to wait, capped at `MAX_RETRY_AFTER`; `None` if it does not say so."""
    if not isinstance(outcome, Answer):
        return None
    value = outcome.headers.get("Retry-After", "").strip(" \t")
    if _SECONDS.fullmatch(value):
        return min(float(value), MAX_RETRY_AFTER)
    if not value or len(value) > 64 or not value.isascii():
        return None
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    seconds = (when - (now or datetime.now(UTC))).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
