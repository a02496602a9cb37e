"""Every fault of the catalogue is delivered as it says, to whom it says, as often as it says."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest

from inferlease.emulator import Fault, FaultKind, Operation
from tests.emulator.raw import START, Seen, call, exchanged, sent
from tests.emulator.support import CREDENTIALS, Api, serving, until

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "emulator-faults.md"

ENDLESS = {FaultKind.HANG_BEFORE, FaultKind.HANG_AFTER, FaultKind.SLOW_DRIP}
"""Kinds whose answers don't end; they have tests of their own."""


def ends_unanswered(*, is_reset: bool) -> Callable[[Seen], bool]:
    return lambda seen: (seen.status, seen.is_reset) == (None, is_reset)


def ends_halfway(seen: Seen) -> bool:
    return seen.status == 200 and len(seen.body) == int(seen.headers["content-length"]) // 2


def ends_halfway_in_chunks(seen: Seen) -> bool:
    is_chunked = seen.headers["transfer-encoding"] == "chunked"
    return is_chunked and b'{"message"' in seen.body and not seen.body.endswith(b"0\r\n\r\n")


def is_refused(status: int, retry_after: str | None = None) -> Callable[[Seen], bool]:
    def check(seen: Seen) -> bool:
        said = seen.headers.get("retry-after")
        return (seen.status, seen.json.keys(), said) == (status, {"message"}, retry_after)

    return check


def is_refused_until_a_date(seen: Seen) -> bool:
    until = parsedate_to_datetime(seen.headers["retry-after"])
    return seen.status == 429 and until.tzinfo is not None and (until - datetime.now(UTC)).total_seconds() < 2


def has(status: int, body: bytes | None = None, **headers: str) -> Callable[[Seen], bool]:
    """Such an answer; headers with `_` for `-`."""

    def check(seen: Seen) -> bool:
        said = {name: seen.headers.get(name.replace("_", "-")) for name in headers}
        return seen.status == status and said == headers and body in (None, seen.body)

    return check


def has_member(value: bytes) -> Callable[[Seen], bool]:
    beginning = b'{"emulated_fault":' + value + b","
    return lambda seen: seen.status == 200 and seen.body.startswith(beginning) and seen.body.endswith(b"}")


def statuses(seen: Seen) -> list[object]:
    instances = seen.json["instances"] if "instances" in seen.json else [seen.json["instance"]]
    return [instance["instance_status"]["status"] for instance in instances]


def progress(seen: Seen) -> Any:
    return seen.json["instance"]["worker_statuses"][0]["init_progress"]


def inflated(body: bytes, most: int) -> int:
    """How many bytes the first member of gzip becomes, up to `most`."""
    return len(zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(body, most))


def lists_one_twice(seen: Seen, *, are_equal: bool) -> bool:
    first, second = seen.json["instances"]
    return first["instance_id"] == second["instance_id"] and (first == second) == are_equal


CHECKS: dict[str, Callable[[Seen], object]] = {
    "reset_before": ends_unanswered(is_reset=True),
    "reset_after": ends_unanswered(is_reset=True),
    "eof_before": ends_unanswered(is_reset=False),
    "eof_after": ends_unanswered(is_reset=False),
    "truncated": ends_halfway,
    "truncated_chunked": ends_halfway_in_chunks,
    **{f"status_{status}": is_refused(status) for status in (400, 401, 402, 403, 404, 408, 409, 429)},
    **{f"status_{status}": is_refused(status) for status in (500, 502, 503, 504)},
    **{f"status_{status}_handled": is_refused(status) for status in (408, 500, 502, 503, 504)},
    "status_429_seconds": is_refused(429, "1"),
    "status_429_date": is_refused_until_a_date,
    "status_503_seconds": is_refused(503, "1"),
    "status_503_seconds_handled": is_refused(503, "1"),
    "redirect_host": has(307, location="https://elsewhere.invalid/api/v1/instances/start"),
    "redirect_http": lambda seen: seen.status == 307 and seen.headers["location"].startswith("http://127.0.0.1:"),
    "html": has(200, content_type="text/html; charset=utf-8"),
    "html_handled": has(200, content_type="text/html; charset=utf-8"),
    "status_204": has(204, b""),
    "empty": has(200, b"", content_length="0"),
    "wrong_content_type": lambda seen: seen.json["instance"] and seen.headers["content-type"] == "text/plain",
    "truncated_json": lambda seen: (
        seen.body.startswith(b'{"message"')
        and not seen.body.endswith(b"}")
        and len(seen.body) == int(seen.headers["content-length"])
    ),
    "deep_nesting": has_member(b"[" * 100_000 + b"]" * 100_000),
    "nan": has_member(b"NaN"),
    "infinity": has_member(b"1e999"),
    "huge_integer": has_member(b"9" * 5_000),
    "lone_surrogate": has_member(rb'"\ud800"'),
    "bad_utf8": has_member(b'"\xff"'),
    "top_level_null": has(200, b"null"),
    "top_level_list": lambda seen: seen.json[0]["instance"],
    "missing_field": lambda seen: (
        "instance_id" in seen.json["instance"] and "instance_status" not in seen.json["instance"]
    ),
    "null_status": lambda seen: statuses(seen) == [None],
    "unknown_status": lambda seen: statuses(seen) == ["hibernating"],
    "null_base_url": lambda seen: seen.json["instance"]["base_url"] is None and statuses(seen) == ["running"],
    "no_workers": lambda seen: seen.json["instance"]["worker_statuses"] == [],
    "null_progress": lambda seen: progress(seen) is None,
    "odd_progress": lambda seen: (progress(seen)["current_step"], progress(seen)["num_steps"]) == (7, 0),
    "extra_fields": lambda seen: (
        seen.json["emulated_extra"] == seen.json["instance"]["instance_args"]["emulated_extra"]
        and seen.json["instance"]["worker_statuses"][0]["init_progress"]["emulated_extra"]
    ),
    "bad_item": lambda seen: (
        isinstance(seen.json["instances"][0]["instance_id"], str) and seen.json["instances"][0]["instance_args"] == 7
    ),
    "absent_item": lambda seen: seen.json == {"instances": []},
    "duplicate_item": lambda seen: lists_one_twice(seen, are_equal=True),
    "conflicting_item": lambda seen: (
        lists_one_twice(seen, are_equal=False) and statuses(seen) == ["running", "stopped"]
    ),
    "oversized": lambda seen: seen.status == 200 and seen.body.count(b" ") > 64 * 2**20,
    "gzip_bomb": lambda seen: len(seen.body) < 2**17 and inflated(seen.body, 2**27) > 64 * 2**20,
    "gzip_members": lambda seen: (
        seen.body.count(b"\x1f\x8b\x08") > 1_024 and b"instance_id" in gzip.decompress(seen.body)
    ),
    "revoked_token": is_refused(401),
    "wrong_expires_in": lambda seen: "access_token" in seen.json and "expires_in" not in seen.json,
}


def typical(kind: FaultKind) -> Operation:
    return "start" if "start" in kind.operations else kind.operations[0]


def test_every_kind_is_checked() -> None:
    assert CHECKS.keys() | ENDLESS == set(FaultKind)


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", sorted(set(FaultKind) - ENDLESS))
async def test_a_kind_is_delivered_as_described(api: Api, kind: FaultKind) -> None:
    operation: Operation = "list" if "item" in kind else typical(kind)
    request = call(operation, await api.start())
    api.emulator.inject(Fault(kind, operation))
    seen = await exchanged(api, *request)
    assert CHECKS[kind](seen), (seen.status, seen.headers, seen.body[:200])
    assert api.emulator.books().faults == {kind: {operation: 1}}


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", sorted(set(FaultKind) - ENDLESS))
async def test_a_kind_is_delivered_to_every_operation_that_it_names(api: Api, kind: FaultKind) -> None:
    for operation in kind.operations:
        await api.log_in()
        instance = await api.start()
        request = call(operation, instance)
        if operation in ("restart", "delete", "delete_all"):
            await api.stop(instance["instance_id"])
        if kind == "revoked_token":
            await exchanged(api, *request)
        api.emulator.inject(Fault(kind, operation, times=1))
        await exchanged(api, *request)
        if kind == "revoked_token":
            await api.log_in()
            await exchanged(api, *request)
    assert api.emulator.books().faults == {kind: dict.fromkeys(kind.operations, 1)}


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", [kind for kind in FaultKind if "start" in kind.operations and kind not in ENDLESS])
async def test_a_request_is_handled_where_its_kind_says_so(api: Api, kind: FaultKind) -> None:
    await api.call("GET", "/user/balance")  # the token is not new any more
    api.emulator.inject(Fault(kind, "start"))
    await exchanged(api, *START)
    assert api.emulator.books().starts == kind.is_handled


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", [FaultKind.HANG_BEFORE, FaultKind.HANG_AFTER])
async def test_a_request_that_hangs_gets_no_answer(api: Api, kind: FaultKind) -> None:
    api.emulator.inject(Fault(kind, "start"))
    async with sent(api, *START) as (reader, _):
        await until(lambda: kind in api.emulator.books().faults)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)
    assert api.emulator.books().starts == kind.is_handled


@pytest.mark.asyncio
async def test_a_slow_drip_sends_byte_by_byte(api: Api) -> None:
    api.emulator.inject(Fault("slow_drip", "start", seconds=600.0))
    async with sent(api, *START) as (reader, _):
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read(100) == b"{"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)
    assert api.emulator.books().starts == 1


@pytest.mark.asyncio
async def test_a_drip_without_a_pause_is_the_whole_answer(api: Api) -> None:
    api.emulator.inject(Fault("slow_drip", seconds=0.0))
    assert (await api.call("GET", "/user/balance")).status == 200


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", [*sorted(ENDLESS), FaultKind.OVERSIZED])
async def test_what_does_not_end_ends_with_its_client(
    api: Api, kind: FaultKind, caplog: pytest.LogCaptureFixture
) -> None:
    api.emulator.inject(Fault(kind, "balance", times=1, seconds=0.01))
    async with sent(api, *call("balance", {"instance_id": "", "base_url": ""})):
        await until(lambda: kind in api.emulator.books().faults)
    await until(lambda: not any("_handle_request" in repr(task) for task in asyncio.all_tasks(api.emulator._loop)))
    assert caplog.records == []


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", sorted(ENDLESS))
async def test_what_does_not_end_ends_with_the_emulator(kind: FaultKind) -> None:
    async with serving(faults=[Fault(kind, "start", seconds=600.0)]) as api, sent(api, *START) as (reader, _):
        await until(lambda: kind in api.emulator.books().faults)
        await api.emulator.__aexit__(None, None, None)
        await reader.read()


@pytest.mark.asyncio
async def test_an_inference_fault_speaks_the_language_of_inference(api: Api) -> None:
    instance = await api.start()
    api.emulator.inject(Fault("status_503", "inference", times=1))
    answer = await api.infer(instance, "/models")
    assert (answer.status, answer.body["error"]["type"]) == (503, "server_error")
    assert (await api.infer(instance, "/models")).status == 200


@pytest.mark.asyncio
async def test_half_of_a_stream_is_truncated(api: Api) -> None:
    method, path, body = call("inference", await api.start())
    api.emulator.inject(Fault("truncated", "inference"))
    assert isinstance(body, dict)
    seen = await exchanged(api, method, path, {**body, "stream": True})
    assert b"data: " in seen.body
    assert b"[DONE]" not in seen.body


@pytest.mark.asyncio
async def test_a_fault_on_a_server_behind_the_emulator_counts_too() -> None:
    async with serving() as behind:
        instance = await behind.start()
        async with serving(upstream=instance["base_url"], upstream_key="emulator") as api:
            request = call("inference", await api.start())
            api.emulator.inject(Fault("status_502_handled", "inference", times=1), Fault("nan", "inference", times=1))
            assert (await exchanged(api, *request)).status == 502
            assert CHECKS["nan"](await exchanged(api, *request))
            assert (await exchanged(api, *request)).status == 200
        assert behind.emulator.books().requests["inference"] == 3


@pytest.mark.asyncio
async def test_retry_after_asks_for_the_seconds_of_the_fault(api: Api) -> None:
    api.emulator.inject(Fault("status_429_seconds", "balance", seconds=2.5))
    assert (await exchanged(api, "GET", "/user/balance")).headers["retry-after"] == "3"


@pytest.mark.asyncio
async def test_every_wrong_lifetime_is_told_in_turn(api: Api) -> None:
    api.emulator.inject(Fault("wrong_expires_in"))
    told = [(await api.call("POST", "/oauth2/token", CREDENTIALS)).body.get("expires_in") for _ in range(7)]
    assert told == [None, 0, -3600, "soon", 10**18, True, None]


@pytest.mark.parametrize("kind", FaultKind)
def test_only_a_change_is_ambiguous(kind: FaultKind) -> None:
    assert not any(kind.is_ambiguous_on(operation) for operation in ("token", "get", "list", "inference"))


def test_what_leaves_a_start_open_is_told_apart() -> None:
    clear = {kind.value for kind in FaultKind if not kind.is_ambiguous_on("start")}
    refusals = {f"status_{status}" for status in (400, 401, 402, 403, 404, 409, 429)}
    assert clear == refusals | {
        *("status_429_seconds", "status_429_date", "redirect_host", "redirect_http", "revoked_token"),
        "lone_surrogate",
        *("wrong_content_type", "missing_field", "null_status", "unknown_status", "extra_fields"),
        *("null_base_url", "no_workers", "null_progress", "odd_progress", "absent_item"),
        *("bad_item", "duplicate_item", "conflicting_item", "wrong_expires_in"),
    }


def documented(kind: FaultKind) -> str:
    """The row of a kind in the table of the documentation."""
    happens_to = "all" if kind.operations == get_args(Operation) else ", ".join(f"`{name}`" for name in kind.operations)
    if kind.operations == get_args(Operation)[:-1]:
        happens_to = "all but `inference`"
    return f"| `{kind}` | {kind.description} | {happens_to} | {'yes' if kind.is_ambiguous_on('start') else ''} |"


def test_the_documentation_has_the_table_of_kinds() -> None:
    text = DOCUMENTATION.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `") and line.count("|") == 5]
    assert rows == [documented(kind) for kind in FaultKind]
