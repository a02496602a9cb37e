"""What a fault makes of an answer: functions from the right answer to a wrong one."""

import functools
import gzip
import math
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, TypeAlias, get_args

import orjson
from aiohttp import web
from attrs import evolve, frozen

from inferlease.emulator.holds import Operation
from inferlease.emulator.replies import Delivery, InferenceRefusal, Refusal, Reply

ALL_OPERATIONS: tuple[Operation, ...] = get_args(Operation)
CHANGES: tuple[Operation, ...] = ("start", "restart", "stop", "stop_all", "delete", "delete_all")
"""Operations that change something, so that it matters whether they were handled."""
AUTHORIZED: tuple[Operation, ...] = ("balance", "list", "get", *CHANGES)
"""Operations that need an access token."""
WITH_INSTANCES: tuple[Operation, ...] = ("list", "get", "start", "restart", "stop")
"""Operations whose answer holds whole instances."""
PROVISIONING: tuple[Operation, ...] = tuple(operation for operation in ALL_OPERATIONS if operation != "inference")

MANY_BYTES = 65 * 2**20
"""A body of this size is more than 64 MiB."""

_LISTS: Mapping[Operation, str] = {
    "list": "instances",
    "models": "models",
    "hardware_types": "hardware_types",
    "available": "hardware_types",
}
LISTS: tuple[Operation, ...] = tuple(_LISTS)

_REQUIRED: Mapping[Operation, tuple[str, ...]] = {
    "token": ("access_token",),
    "balance": ("current_balance",),
    **{operation: (key,) for operation, key in _LISTS.items()},
    **dict.fromkeys(("get", "start", "restart", "stop"), ("instance", "instance_status")),
    "delete": ("instance_id",),
    "delete_all": ("instance_ids",),
    "model": ("model",),
}
"""Where a field is that an answer can't do without; the id of an instance stays readable."""
WITH_REQUIRED: tuple[Operation, ...] = tuple(_REQUIRED)

_IDS = {"instance_id", "model_id", "model_name", "hardware_type_id"}
_LIFETIMES: tuple[object, ...] = (None, 0, -3600, "soon", 10**18, True)
_GZIP_MEMBERS = 2_000


@frozen
class Case:
    """One request and what its fault needs to know of it."""

    operation: Operation
    request: web.Request
    reply: Reply
    """The right answer; an empty one if the request was not handled."""
    seconds: float
    """Of the fault."""
    turn: int
    """How often the fault was delivered before."""


Spoil: TypeAlias = Callable[[Case], Reply | None]
"""The wrong answer, or None where the right one can't be spoiled that way."""

_Edit: TypeAlias = Callable[[Case, dict[str, Any]], object]
"""Spoils the content of an answer in place, or returns another one; False where it can't."""


@frozen
class Effect:
    """What a kind of fault does."""

    spoil: Spoil
    handled: bool = True
    """Whether the request is handled before it is answered wrongly."""
    opaque: bool = False
    """Whether the answer does not tell what became of the request."""
    operations: tuple[Operation, ...] = ALL_OPERATIONS
    """Those that it can happen to."""
    revokes: bool = False
    """Whether the request's access token is revoked before the request is handled."""


def delivered(delivery: Delivery) -> Spoil:
    """The right answer, but sent in another way."""
    return lambda case: evolve(case.reply, delivery=delivery)


def dripping(case: Case) -> Reply:
    """The right answer, byte by byte."""
    return evolve(case.reply, delivery="drip", pause=case.seconds)


def unchanged(case: Case) -> Reply:
    """The answer as it is."""
    return case.reply


def status(number: int, *, retry_after: str | None = None) -> Spoil:
    """An error in the shape of the API; `retry_after`: "seconds" or "date"."""

    def spoil(case: Case) -> Reply:
        refusal_type = InferenceRefusal if case.operation == "inference" else Refusal
        reply = refusal_type(number, f"An emulated fault: status {number}.").reply()
        seconds = math.ceil(case.seconds)
        if retry_after == "seconds":
            return evolve(reply, headers={"Retry-After": str(seconds)})
        if retry_after == "date":
            until = datetime.now(UTC) + timedelta(seconds=seconds)
            return evolve(reply, headers={"Retry-After": format_datetime(until, usegmt=True)})
        return reply

    return spoil


def html(_case: Case) -> Reply:
    """A page such as a proxy answers, with 200."""
    return Reply(200, b"<!doctype html><title>Welcome</title><p>Please come in.</p>", "text/html; charset=utf-8")


def redirect(scheme: str, host: str | None = None) -> Spoil:
    """307, which repeats method and body, to the same path; to the same host unless told otherwise."""

    def spoil(case: Case) -> Reply:
        location = f"{scheme}://{host or case.request.host}{case.request.path_qs}"
        return Reply(307, b"", headers={"Location": location})

    return spoil


def body(content: bytes, status: int = 200) -> Spoil:
    """These bytes instead of a success."""
    return lambda case: Reply(status, content) if _succeeded(case) else None


def plain_text(case: Case) -> Reply | None:
    """The right body, declared as plain text."""
    return evolve(case.reply, content_type="text/plain") if _content(case) is not None else None


def cut_off(case: Case) -> Reply | None:
    """The first half of the right body, as if it were all."""
    right = case.reply.body
    return Reply(200, right[: len(right) // 2]) if isinstance(right, bytes) and _content(case) is not None else None


def in_a_list(case: Case) -> Reply | None:
    """The right object in a list of one."""
    content = _content(case)
    return None if content is None else Reply.json([content])


def with_member(value: bytes) -> Spoil:
    """The right object with one more member, of this text."""

    def spoil(case: Case) -> Reply | None:
        right = case.reply.body
        if not isinstance(right, bytes) or not _content(case):
            return None
        return Reply(200, b'{"emulated_fault":' + value + b"," + right[1:])

    return spoil


def edited(edit: _Edit) -> Spoil:
    """The right object as `edit` changes it."""

    def spoil(case: Case) -> Reply | None:
        content = _content(case)
        if content is None or edit(case, content) is False:
            return None
        return Reply.json(content)

    return spoil


def without_required(case: Case, content: dict[str, Any]) -> None:
    """Drop a field that the answer can't do without."""
    *path, last = _REQUIRED[case.operation]
    for key in path:
        content = content[key]
    del content[last]


def each_instance(change: Callable[[dict[str, Any]], object]) -> _Edit:
    """Change every instance."""

    def edit(_case: Case, content: dict[str, Any]) -> bool:
        instances = content["instances"] if "instances" in content else [content["instance"]]
        for instance in instances:
            change(instance)
        return bool(instances)

    return edit


def with_status(status: str | None) -> _Edit:
    """Give every instance this status."""
    return each_instance(lambda instance: instance["instance_status"].update(status=status))


def with_progress(progress: Mapping[str, object] | None) -> _Edit:
    """Let every worker report this progress."""
    return each_instance(
        lambda instance: [worker.update(init_progress=progress) for worker in instance["worker_statuses"]]
    )


def with_extra_fields(_case: Case, content: dict[str, Any]) -> None:
    """Put an unknown field into every object."""
    for value in list(content.values()):
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                with_extra_fields(_case, inner)
    content["emulated_extra"] = {"nested": [1, None, "text"]}


def with_bad_item(case: Case, content: dict[str, Any]) -> bool:
    """Make a number of every field of the first item but its id."""
    items = content[_LISTS[case.operation]]
    items[:1] = [{key: value if key in _IDS else 7 for key, value in item.items()} for item in items[:1]]
    return bool(items)


def without_first(_case: Case, content: dict[str, Any]) -> bool:
    """Leave out the first instance."""
    items = content["instances"]
    left_out = items[:1]
    del items[:1]
    return bool(left_out)


def with_duplicate(_case: Case, content: dict[str, Any]) -> bool:
    """List the first instance once more."""
    items = content["instances"]
    items += items[:1]
    return bool(items)


def with_conflict(_case: Case, content: dict[str, Any]) -> bool:
    """List the first instance once more, in another state."""
    items = content["instances"]
    for item in items[:1]:
        other = "pending" if item["instance_status"]["status"] == "stopped" else "stopped"
        items.append({**item, "base_url": None, "instance_status": {**item["instance_status"], "status": other}})
    return bool(items)


def with_wrong_lifetime(case: Case, content: dict[str, Any]) -> None:
    """Tell a wrong lifetime of the token, another one each time; null means that it is left out."""
    lifetime = _LIFETIMES[case.turn % len(_LIFETIMES)]
    if lifetime is None:
        del content["expires_in"]
    else:
        content["expires_in"] = lifetime


def oversized(case: Case) -> Reply | None:
    """Blanks instead of a success, piece by piece."""
    return Reply(200, [b" " * 2**20] * (MANY_BYTES // 2**20)) if _succeeded(case) else None


def gzip_bomb(case: Case) -> Reply | None:
    """Blanks instead of a success, compressed."""
    return Reply(200, _bomb(), headers={"Content-Encoding": "gzip"}) if _succeeded(case) else None


def gzip_members(case: Case) -> Reply | None:
    """The right body in gzip, behind many empty members."""
    right = case.reply.body
    if not isinstance(right, bytes) or not _succeeded(case):
        return None
    compressed = gzip.compress(b"") * _GZIP_MEMBERS + gzip.compress(right)
    return evolve(case.reply, body=compressed, headers={"Content-Encoding": "gzip"})


@functools.cache
def _bomb() -> bytes:
    deflate = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    block = b" " * 2**20
    return b"".join(deflate.compress(block) for _ in range(MANY_BYTES // len(block))) + deflate.flush()


def _succeeded(case: Case) -> bool:
    return 200 <= case.reply.status < 300


def _content(case: Case) -> dict[str, Any] | None:
    """The JSON object of a success."""
    right = case.reply
    if not _succeeded(case) or not isinstance(right.body, bytes) or right.content_type != "application/json":
        return None
    try:
        content: object = orjson.loads(right.body)
    except ValueError:  # of a server behind the emulator
        return None
    return content if isinstance(content, dict) else None
