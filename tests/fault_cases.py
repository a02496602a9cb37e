"""Rows of the fault table that statuses and bodies make up: what is done, what is answered, how it must end."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import orjson
from attrs import field, frozen

from inferlease import (
    APIError,
    AuthenticationError,
    ConflictError,
    DecodeError,
    InferleaseError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    StartOutcomeUnknownError,
)
from tests.raw_server import instance

GET, LIST, START = "GET /instances/i-1", "GET /instances/", "POST /instances/start"
STOP, RESTART, DELETE = "POST /instances/stop", "POST /instances/restart", "DELETE /instances/i-1"
STOP_ALL, DELETE_ALL = "POST /instances/stop-all", "DELETE /instances/delete-all?force_deletion=false"
CALLS = {
    "get": GET,
    "list": LIST,
    "start": START,
    "stop": STOP,
    "restart": RESTART,
    "delete": DELETE,
    "stop_all": STOP_ALL,
    "delete_all": DELETE_ALL,
}
Verb: TypeAlias = Literal["get", "list", "start", "stop", "restart", "delete", "stop_all", "delete_all", "wait"]
VERBS: tuple[Verb, ...] = ("get", "list", "start", "stop", "restart", "delete", "stop_all", "delete_all")


@frozen
class Said:
    """One answer of the server."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(factory=dict)


@frozen
class Ends:
    """How a call ends: what is true of what it returns or raises, and what the message of an error has in it."""

    told: dict[str, Any]
    says: str = ""


def returns(**told: Any) -> Ends:
    """It returns a value of which this is true."""
    return Ends({"raises": None, **told})


def raises(error: type[InferleaseError], says: str = "", **told: Any) -> Ends:
    """It raises exactly this class, with these attributes."""
    return Ends({"raises": error, **told}, says)


@frozen
class Case:
    """What one row of the table means for one call.

    Attributes:
        row: The number of the row.
        about: What the case is about, in a few words.
        does: What the client does: a verb, or waiting until an instance is usable.
        answers: For each call the answers in their order, the last of which stands for all that follow.
        ends: How it ends.
        asked: The requests that the server gets, in their order.
        waits: Seconds waited between them, where the client waits before it goes on.
        tokens: How often a token is fetched.
        timeout: The client's, in seconds.
    """

    row: int
    about: str
    does: Verb
    answers: dict[str, list[Said]]
    ends: Ends
    asked: list[str]
    waits: list[float] = field(factory=list)
    tokens: int = 1
    timeout: float = 100.0

    def __str__(self) -> str:
        return f"{self.row}-{self.does}-{self.about}"


# ---- answers --------------------------------------------------------------------------------------


def json(body: object, status: int = 200, **headers: str) -> Said:
    """An answer in JSON; headers with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Said(status, orjson.dumps(body), headers=named)


def refused(status: int, **headers: str) -> Said:
    return json({"message": f"said {status}"}, status, **headers)


def one(status: str = "pending", **fields: Any) -> Said:
    return json({"message": "ok", "instance": instance("i-1", status, **fields)})


def listed(*instances: dict[str, Any]) -> Said:
    return json({"instances": instances})


def at_step(current: int | None, of: int | None, description: str = "", **more: Any) -> dict[str, Any]:
    return {"init_progress": {"current_step": current, "num_steps": of, "description": description, **more}}


IDS, NONE_LISTED, ONE_LISTED = json({"instance_ids": ["i-1"]}), listed(), listed(instance())
PENDING, RUNNING, STOPPED = one(), one("running"), one("stopped")
USABLE = one("running", base_url="https://i-1.example/v1")
GOOD: dict[Verb, Said] = {
    "get": PENDING,
    "list": ONE_LISTED,
    "start": PENDING,
    "stop": STOPPED,
    "restart": PENDING,
    "delete": json({"instance_id": "i-1"}),
    "stop_all": IDS,
    "delete_all": IDS,
}
ENDS_WELL: dict[Verb, Ends] = {
    "get": returns(status="pending"),
    "list": returns(ids=["i-1"]),
    "start": returns(status="pending"),
    "stop": returns(status="stopped"),
    "restart": returns(status="pending"),
    "delete": returns(nothing=True),
    "stop_all": returns(ids=["i-1"]),
    "delete_all": returns(ids=["i-1"]),
}


def without(key: str) -> Said:
    return json({"instance": {name: value for name, value in instance().items() if name != key}})


def half_a_pair(key: str) -> Said:
    """The answer of one instance that has half of a surrogate pair for `key`."""
    return Said(body=json({"instance": instance() | {key: "i-?"}}).body.replace(b"?", rb"\ud800"))


# ---- how the verbs end ----------------------------------------------------------------------------


def case(row: int, about: str, does: Verb, said: list[Said], ends: Ends, *, times: int = 1, **more: Any) -> Case:
    """A call that is answered with `said` and sent `times` times; a start lists first."""
    call = CALLS[does]
    asked = [LIST] * (does == "start") + [call] * times
    answers = {call: said} | ({LIST: [NONE_LISTED]} if does == "start" else {})
    return Case(row, about, does, answers, ends, asked, **more)


def ambiguous(row: int, about: str, said: Said, *, status: int | None = None, wait: float = 2.0) -> Case:
    """A start that may have happened, and is not provably ours: posted once, and the error has what was found."""
    answers = {START: [said], LIST: [NONE_LISTED, ONE_LISTED]}
    told = {"candidates": ["i-1"], "status": status or said.status}
    return Case(row, about, "start", answers, raises(StartOutcomeUnknownError, **told), [LIST, START, LIST], [wait])


def looked(row: int, about: str, does: Verb, said: Said) -> Case:
    """A change that was carried out: one GET tells what it came to."""
    call, found = CALLS[does], GOOD[does]
    return Case(row, about, does, {call: [said], GET: [found]}, ENDS_WELL[does], [call, GET])


def kept(row: int, about: str, said: Said, *, path: str) -> list[Case]:
    """A start whose answer is unusable but for its id."""
    answers, asked = {START: [said], LIST: [NONE_LISTED]}, [LIST, START, GET]
    error = raises(DecodeError, instance_id="i-1", path=path, says="stop it with: inferlease stop i-1")
    return [
        Case(row, about, "start", {**answers, GET: [PENDING]}, ENDS_WELL["start"], asked),
        Case(row, f"{about} for ever", "start", {**answers, GET: [said]}, error, asked),
    ]


def no_json(row: int, about: str, said: Said) -> list[Case]:
    """The row *2xx, not JSON* of the outcomes, for every verb."""
    garbled = raises(DecodeError, status=200, says="not JSON")
    return [
        *(case(row, about, does, [said, GOOD[does]], ENDS_WELL[does], times=2, waits=[0]) for does in READS),
        *(case(row, f"{about} for ever", does, [said], garbled, times=8, waits=[0] * 7) for does in READS),
        ambiguous(row, about, said),
        looked(row, about, "stop", said),
        looked(row, about, "restart", said),
        case(row, about, "delete", [said], ENDS_WELL["delete"]),
        *(case(row, about, does, [said], raises(OutcomeUnknownError, status=200)) for does in BULK),
    ]


def misshapen(row: int, about: str, said: Said) -> list[Case]:
    """The row *2xx, JSON of the wrong shape* of the outcomes, for every verb but start."""
    return [
        *(case(row, about, does, [said], raises(DecodeError, status=200)) for does in (*READS, *BULK)),
        looked(row, about, "stop", said),
        looked(row, about, "restart", said),
        case(row, about, "delete", [said], ENDS_WELL["delete"]),
    ]


READS: tuple[Verb, ...] = ("get", "list")
BULK: tuple[Verb, ...] = ("stop_all", "delete_all")


# ---- statuses -------------------------------------------------------------------------------------

# The clock of the tests stands at noon of 1 January 2025, UTC, and their zone is far from that.
SOON, SOON_WITHOUT_ZONE = "Wed, 01 Jan 2025 12:00:05 GMT", "Wed, 01 Jan 2025 12:00:05"
LATER, PAST = "Wed, 01 Jan 2025 13:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"
SENSELESS = {"nan": "nan", "inf": "inf", "-5": "-5", "1_000": "1_000", "Arabic digit": "٣", "5,000 digits": "9" * 5000}

STATUSES: list[Case] = [
    *(case(17, "seconds", does, [refused(429, Retry_After="7"), GOOD[does]], ENDS_WELL[does], times=2, waits=[7])
      for does in VERBS),
    *(case(17, about, "get", [refused(429, Retry_After=value), PENDING], ENDS_WELL["get"], times=2, waits=[seconds])
      for about, value, seconds in (("date", SOON, 5), ("capped seconds", "3600", 60), ("capped date", LATER, 60))),
    *(case(17, about, does, [refused(429, Retry_After=value), GOOD[does]],
           raises(RateLimitError, status=429, retry_after=60), timeout=30)
      for does in VERBS for about, value in (("seconds past the deadline", "3600"), ("date past the deadline", LATER))),
    *(case(18, about, "get", [refused(429, Retry_After=value)],
           raises(RateLimitError, retry_after=None), times=8, waits=[0] * 7) for about, value in SENSELESS.items()),
    case(19, "past", "get", [refused(429, Retry_After=PAST)],
         raises(RateLimitError, retry_after=0), times=8, waits=[0] * 7),
    case(19, "without a zone", "get", [refused(429, Retry_After=SOON_WITHOUT_ZONE), PENDING],
         ENDS_WELL["get"], times=2, waits=[5]),
    *(ambiguous(21, str(status), refused(status)) for status in (408, 500, 502, 504)),
    ambiguous(22, "seconds", refused(503, Retry_After="7"), wait=7),
    ambiguous(22, "date", refused(503, Retry_After=SOON), wait=5),
    *(case(23, "401", does, [refused(401), GOOD[does]], ENDS_WELL[does], times=2, tokens=2) for does in VERBS),
    *(case(24, "401 for ever", does, [refused(401)], raises(AuthenticationError, status=401), times=2, tokens=2)
      for does in VERBS),
    *(case(25, "403", does, [refused(403)], raises(PermissionDeniedError, status=403))
      for does in ("get", "list", "start", "stop_all", "delete_all")),
    *(Case(25, "403", does, {CALLS[does]: [refused(403)], GET: [found]}, raises(PermissionDeniedError, status=403),
           [CALLS[does], GET]) for does, found in (("stop", RUNNING), ("restart", STOPPED), ("delete", STOPPED))),
]  # fmt: skip

# ---- bodies ---------------------------------------------------------------------------------------

NO_JSON: dict[int, dict[str, Said]] = {
    29: {"HTML": Said(body=b"<html>busy</html>", content_type="text/html")},
    31: {"cut off": Said(body=b'{"instance": {"instance_id": "i-1"')},
    32: {"nested": Said(body=b'{"instance": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")},
    33: {"NaN": Said(body=b'{"instances": NaN}'), "1e999": Said(body=b'{"instance_ids": 1e999}')},
    34: {"5,000 digits": Said(body=b'{"instance": ' + b"9" * 5_000 + b"}")},
    37: {"bad UTF-8": Said(body=b'{"instance": "\xff"}')},
}
AS_TEXT = Said(body=PENDING.body, content_type="text/plain")
NO_STATUS, NULL_STATUS = without("instance_status"), one(instance_status={"status": None})
STATUS_PATH = "instance.instance_status.status"

BODIES: list[Case] = [
    ambiguous(28, "204", Said(204)),
    ambiguous(28, "empty", Said(200)),
    *(made for row, bodies in NO_JSON.items() for about, said in bodies.items() for made in no_json(row, about, said)),
    case(30, "as text", "get", [AS_TEXT], raises(DecodeError, status=200, says="text/plain")),
    *kept(30, "as text", AS_TEXT, path=""),
    *(made for about, body in (("null", b"null"), ("list", b"[]")) for made in misshapen(35, about, Said(body=body))),
    *(ambiguous(35, about, Said(body=body)) for about, body in (("null", b"null"), ("list", b"[]"))),
    *misshapen(36, "in a text", Said(body=rb'{"instance": "\ud800", "instances": [], "instance_ids": []}')),
    *kept(36, "in a text", half_a_pair("base_url"), path=""),
    ambiguous(36, "in the id", half_a_pair("instance_id")),
    case(38, "no status", "get", [NO_STATUS], raises(DecodeError, instance_id="i-1", path="instance.instance_status")),
    *kept(38, "no status", NO_STATUS, path="instance.instance_status"),
    case(39, "null status", "get", [NULL_STATUS], raises(DecodeError, instance_id="i-1", path=STATUS_PATH)),
    case(39, "null status", "list", [listed(instance(status=None))], returns(ids=[], invalid=["i-1"])),
    *kept(39, "null status", NULL_STATUS, path=STATUS_PATH),
]

# ---- instances in doubt ---------------------------------------------------------------------------

ODD, BAD = instance(status="hibernating"), {"instance_id": "i-1", "instance_args": 5}
EXTRA = one(colour="blue", worker_statuses=[{**at_step(1, 5, eta=7), "node": "n-1"}])
REFUSED_STOP = raises(ConflictError, status=409, instance_id="i-1")
NOT_GONE = raises(APIError, status=400, instance_id="i-1")


def doubted(row: int, about: str, lists: list[Said]) -> Case:
    """A stop that is refused; whether the instance is gone hangs on what two lists say."""
    answers = {STOP: [refused(400)], GET: [refused(400)], LIST: lists}
    asked = [STOP, GET, *[LIST] * len(lists)]
    return Case(row, about, "stop", answers, NOT_GONE, asked, [0.0, 1.0][: len(lists)])


def candidate(row: int, about: str, found: Said, **told: Any) -> Case:
    """What the list has after an ambiguous start."""
    ends = raises(StartOutcomeUnknownError, **told)
    return Case(
        row, about, "start", {START: [refused(500)], LIST: [NONE_LISTED, found]}, ends, [LIST, START, LIST], [2]
    )


INSTANCES: list[Case] = [
    case(40, "everywhere", "get", [EXTRA], returns(
        status="pending",
        workers=[{"current_step": 1, "num_steps": 5, "description": "", "eta": 7}],
    )),
    case(41, "kept", "get", [json({"instance": ODD})], returns(status="hibernating", stopped=False, usable=False)),
    candidate(41, "billed", listed(ODD), candidates=["i-1"]),
    Case(41, "not stopped", "stop", {STOP: [refused(409)], GET: [json({"instance": ODD})]}, REFUSED_STOP, [STOP, GET]),
    case(42, "listed", "list", [listed(BAD, instance("i-2"))], returns(ids=["i-2"], invalid=["i-1"])),
    candidate(42, "billed", listed(BAD), candidates=[], says="inferlease stop i-1"),
    doubted(42, "not gone", [listed(BAD)]),
    case(43, "alike", "list", [listed(instance(), instance())], returns(ids=["i-1"], states=["pending"])),
    Case(43, "conflicting", "list", {LIST: [listed(instance(), ODD)], GET: [STOPPED]},
         returns(ids=["i-1"], states=["stopped"]), [LIST, GET]),
    Case(43, "conflicting and gone", "list", {LIST: [listed(instance(), ODD)], GET: [refused(404)]},
         returns(ids=[], invalid=[]), [LIST, GET]),
    Case(43, "conflicting and refused", "list", {LIST: [listed(instance(), ODD)], GET: [refused(403)]},
         returns(ids=[], invalid=["i-1"]), [LIST, GET]),
    doubted(44, "from the first list", [NONE_LISTED, ONE_LISTED]),
]  # fmt: skip

# ---- waiting --------------------------------------------------------------------------------------


def waited(
    row: int, about: str, *workers: list[dict[str, Any]], tells: list[tuple[float | None, float | None]]
) -> Case:
    """Polls that see these workers, each time with a change, and then a usable instance without any.

    `tells` has the progress that is shown with each change, and the one on the object.
    """
    answers = [one(worker_statuses=each) for each in workers]
    asked = [GET] * (len(workers) + 2)
    ends = returns(told=[*(("pending", *each) for each in tells), ("running", 1.0, 1.0)])
    return Case(row, about, "wait", {GET: [PENDING, *answers, USABLE]}, ends, asked)


NO_PROGRESS = {"init_progress": None}

LIFE: list[Case] = [
    waited(45, "none", [], tells=[(None, None)]),
    waited(46, "null", [NO_PROGRESS, NO_PROGRESS], tells=[(None, None)]),
    waited(46, "null of one", [NO_PROGRESS, at_step(1, 5)], tells=[(0.2, 0.2)]),
    waited(47, "one worker", [at_step(4, 5, "a")], [at_step(2, 5, "b")], [at_step(3, 5, "c")],
           tells=[(0.8, 0.8), (0.8, 0.4), (0.8, 0.6)]),
    waited(48, "changes", [at_step(2, 5, "a")], [at_step(2, 10, "b")], tells=[(0.4, 0.4), (0.4, 0.2)]),
    waited(48, "0", [at_step(3, 0)], tells=[(None, None)]),
    waited(48, "negative", [at_step(3, -5)], tells=[(None, None)]),
    waited(48, "step above", [at_step(7, 5)], tells=[(1.0, 1.0)]),
    waited(48, "step below", [at_step(-1, 5)], tells=[(0.0, 0.0)]),
]  # fmt: skip

CASES = [*STATUSES, *BODIES, *INSTANCES, *LIFE]
