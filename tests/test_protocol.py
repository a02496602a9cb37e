"""The outcome table of the design, and what is read off an answer, without I/O."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from inferlease import _protocol, _requests, errors
from inferlease._protocol import DECISIONS, Action, Answer, Kind, Lost, NotSent, Outcome, classify
from inferlease._requests import Operation

NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)


def answer(status: int = 200, body: bytes | None = b"{}", **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def shown(value: object) -> str:
    """`value` in the name of a test: the same in each run, and without the backslashes that pytest doubles."""
    if isinstance(value, Answer):
        return f"{value.status} {shown(value.body and value.body[:9])}"
    return type(value).__name__ if isinstance(value, NotSent | Lost) else ascii(value).replace("\\", "")


# ---- the table ------------------------------------------------------------------------------------

OUTCOMES: dict[str, list[Outcome]] = {
    "not sent": [NotSent(ConnectionRefusedError()), NotSent(TimeoutError())],
    "impossible": [NotSent(ValueError(), permanent=True)],
    "401": [answer(401)],
    "429": [answer(429), answer(429, None)],
    "other 3xx, 4xx": [answer(status) for status in (300, 301, 304, 307, 400, 402, 403, 404, 409, 422, 451)],
    "408, 5xx, lost": [Lost(ConnectionResetError()), *(answer(status) for status in (408, 500, 502, 503, 504, 599))],
    "2xx, too large": [answer(200, None), answer(201, None)],
    "2xx": [answer(200), answer(201), answer(204, b"")],
}
"""What a request can come to, by the rows of the design that can be told without reading a body."""

D, F, R, P = "done", "fail", "retry", "repeat"
A, S, U, L = "ambiguous", "salvage", "unknown", "look"
LF, LP = "look_else_fail", "look_else_repeat"
TABLE: dict[str, tuple[str, str, str, str, str, str]] = {
    #                        read start stop delete restart bulk
    "not sent":             (R,   R,    P,   P,     P,      R),
    "impossible":           (F,   F,    F,   F,     F,      F),
    "401":                  (F,   F,    F,   F,     F,      F),
    "429":                  (R,   R,    P,   P,     P,      R),
    "other 3xx, 4xx":       (F,   F,    LF,  LF,    LF,     F),
    "408, 5xx, lost":       (R,   A,    P,   P,     LP,     U),
    "2xx, not JSON":        (R,   A,    L,   D,     L,      U),
    "2xx, too large":       (F,   A,    L,   D,     L,      U),
    "2xx, the wrong shape": (F,   S,    L,   D,     L,      F),
    "2xx":                  (D,   D,    D,   D,     D,      D),
}  # fmt: skip
"""The table *Outcomes* of the design. A 401 stands here for one that was replayed already."""

KINDS = {"2xx, not JSON": Kind.GARBLED, "2xx, the wrong shape": Kind.MISSHAPEN}
"""The rows that only the body tells."""


@pytest.mark.parametrize(("row", "outcome"), [(row, one) for row, some in OUTCOMES.items() for one in some], ids=shown)
def test_every_outcome_is_in_its_row(row: str, outcome: Outcome) -> None:
    expected = [Action[action.upper()] for action in TABLE[row]]
    assert [DECISIONS[operation][classify(outcome)] for operation in Operation] == expected


@pytest.mark.parametrize("row", KINDS)
def test_every_body_is_in_its_row(row: str) -> None:
    expected = [Action[action.upper()] for action in TABLE[row]]
    assert [DECISIONS[operation][KINDS[row]] for operation in Operation] == expected


def test_the_table_has_no_further_row() -> None:
    covered = {classify(outcomes[0]) for outcomes in OUTCOMES.values()} | set(KINDS.values())
    assert covered == set(Kind)
    assert all(set(decisions) == set(Kind) for decisions in DECISIONS.values())


def test_the_decisions_are_the_tables() -> None:
    # The table is read at import, before `nox -s mutants` changes it.
    assert _protocol._table() == DECISIONS


@pytest.mark.parametrize("operation", [op for op in Operation if op is not Operation.READ])
@pytest.mark.parametrize("kind", [Kind.BROKEN, Kind.GARBLED, Kind.OVERSIZED])
def test_a_start_or_a_bulk_call_that_may_have_arrived_is_never_sent_again(operation: Operation, kind: Kind) -> None:
    again = {Action.RETRY, Action.REPEAT, Action.LOOK_ELSE_REPEAT}
    if operation in {Operation.START, Operation.BULK}:
        assert DECISIONS[operation][kind] not in again


# ---- bodies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b'{"instance": {"instance_id": "i-1"',
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"size": NaN}',
        b'{"size": Infinity}',
        b'{"size": 1e999}',
        b'{"size": ' + b"9" * 5000 + b"}",
        b'{"text": "\\ud800"}',
        b'{"text": "\xff"}',
        b"\xef\xbb\xbf{}",
    ],
    ids=lambda body: shown(body[:24]),
)
def test_what_is_not_json_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        _protocol.parse_json(body)


@pytest.mark.fault(36)
@pytest.mark.parametrize(
    ("text", "mended"),
    [
        (r"\ud800", "\ufffd"),
        (r"\uDFFF", "\ufffd"),
        (r"i-1\udc00\ud800", "i-1\ufffd\ufffd"),
        (r"\ud83d\ude00\ud800", "\ufffd\ufffd\ufffd"),
    ],
    ids=["the first half", "the second half", "two halves", "a pair and a half"],
)
def test_half_a_surrogate_pair_is_mended(text: str, mended: str) -> None:
    assert _protocol.parse_mended(b'{"text": "%s"}' % text.encode()) == {"text": mended}


@pytest.mark.fault(36)
def test_what_has_no_half_of_a_pair_is_not_mended() -> None:
    with pytest.raises(ValueError, match=r"^there is no surrogate in it$"):
        _protocol.parse_mended(b'{"text": "whole"}')


@pytest.mark.fault(36)
def test_what_had_to_be_mended_is_a_decode_error_with_the_id() -> None:
    with pytest.raises(errors.DecodeError, match=r"^expected text, found half of a surrogate pair$") as caught:
        _protocol.check_form(answer(), "i-1", is_mended=True)
    assert (caught.value.path, caught.value.instance_id) == ("", "i-1")


@pytest.mark.fault(36)
@pytest.mark.parametrize(
    "rest",
    [
        b"NaN", b"1e999", b"9" * 5000, b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'"\xff"', b'"\\ud80"', b"",
        b"\\ud800",
    ],
    ids=["NaN", "infinity", "digits", "open", "deep", "bytes", "short", "nothing", "outside of a text"],
)  # fmt: skip
def test_nothing_else_is_mended(rest: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        _protocol.parse_mended(b'{"text": "\\ud800", "more": %s}' % rest)


@pytest.mark.parametrize("payload", [None, [], "instance", 5, True])
def test_an_answer_that_is_no_object_is_a_decode_error(payload: Any) -> None:
    text = f"^expected an object with 'instance', found {type(payload).__name__}$"
    with pytest.raises(errors.DecodeError, match=text) as caught:
        _protocol.member(payload, "instance")
    assert caught.value.path == ""


def test_a_missing_member_is_named() -> None:
    with pytest.raises(errors.DecodeError, match=r"^instance: missing$") as caught:
        _protocol.member({"message": "ok"}, "instance")
    assert caught.value.path == "instance"


@pytest.mark.parametrize(("payload", "value"), [({}, None), ({"instance_ids": []}, [])])
def test_an_optional_member_may_be_missing(payload: dict[str, Any], value: object) -> None:
    assert _protocol.member(payload, "instance_ids", optional=True) == value


@pytest.mark.parametrize("asked", [None, "i-1"])
def test_the_id_that_was_asked_for_or_any_valid_one_is_taken(asked: str | None) -> None:
    _protocol.check_answer_id("i-1", asked)


@pytest.mark.parametrize("value", ["..", "delete-all", "a/b", "", "i\ud800"])
def test_an_id_of_the_server_that_no_path_can_carry_is_a_decode_error(value: str) -> None:
    with pytest.raises(errors.DecodeError) as caught:
        _protocol.check_answer_id(value, None)
    assert caught.value.path == "instance.instance_id"
    expected = "an id of letters, digits, '-', '_' and '.'"
    assert str(caught.value) == f"instance.instance_id: expected {expected}, found {value!a}"


def test_a_long_id_of_the_server_is_cut() -> None:
    with pytest.raises(errors.DecodeError, match=f"found '{'x' * 79}$"):
        _protocol.check_answer_id("x" * 500, None)


def test_an_answer_about_another_instance_is_a_decode_error() -> None:
    with pytest.raises(errors.DecodeError, match=r"^instance\.instance_id: expected 'i-1', found 'i-2'$") as caught:
        _protocol.check_answer_id("i-2", "i-1")
    assert caught.value.path == "instance.instance_id"


@pytest.mark.parametrize("value", ["application/json", "APPLICATION/JSON ; charset=utf-8", "application/problem+json"])
def test_json_may_be_declared_in_more_than_one_way(value: str) -> None:
    _protocol.check_form(answer(Content_Type=value), "i-1", is_mended=False)


def test_an_answer_that_declares_nothing_is_taken_for_json() -> None:
    _protocol.check_form(answer(), "i-1", is_mended=False)


@pytest.mark.parametrize("value", ["text/html", "", "json", "application/json, text/html", "application/jsonp"])
def test_what_is_declared_to_be_something_else_is_a_decode_error_with_the_id(value: str) -> None:
    with pytest.raises(errors.DecodeError) as caught:
        _protocol.check_form(answer(Content_Type=value), "i-1", is_mended=False)
    assert str(caught.value) == f"expected JSON, found the content type {value!r}"
    assert (caught.value.path, caught.value.instance_id) == ("", "i-1")


def test_a_long_content_type_is_cut() -> None:
    with pytest.raises(errors.DecodeError, match=f"found the content type '{'x' * 80}…'$"):
        _protocol.check_form(answer(Content_Type="x" * 81), None, is_mended=False)


# ---- echoes ---------------------------------------------------------------------------------------

SECRETS = ["s3cret/x", "t0ken"]


def test_secrets_are_taken_out_of_header_and_body() -> None:
    echo = answer(403, rb"t0ken s3cret/x s3cret\/x", X_Request_Id="r-t0ken", Other="s3cret/x")
    told = _protocol.without(echo, SECRETS)
    assert isinstance(told, Answer)
    assert (told.status, told.body) == (403, "… … …".encode())
    assert (told.headers["x-request-id"], told.headers["other"]) == ("r-…", "…")


@pytest.mark.parametrize("echo", [answer(403, b"t0ken", Other="no"), answer(403, b"no", Other="t0ken")])
def test_an_echo_in_one_place_is_enough(echo: Answer) -> None:
    told = _protocol.without(echo, SECRETS)
    assert isinstance(told, Answer)
    assert sorted([told.body, told.headers["other"].encode()]) == [b"no", "…".encode()]


@pytest.mark.parametrize("outcome", [answer(403, b"no"), answer(403, None), answer(403, b""), Lost(OSError("no"))])
def test_without_an_echo_the_outcome_is_the_same(outcome: Outcome) -> None:
    assert _protocol.without(outcome, SECRETS) is outcome


@pytest.mark.parametrize("kind", [NotSent, Lost])
@pytest.mark.parametrize("error", [OSError("t0ken"), ValueError(b"s3cret/x")])
def test_an_exception_that_repeats_a_secret_is_replaced(kind: type[NotSent | Lost], error: Exception) -> None:
    told = _protocol.without(kind(error), SECRETS)
    assert type(told) is kind
    assert str(told.error) == "(not shown, as it repeats a secret)"


def test_a_reason_that_repeats_a_secret_is_replaced() -> None:
    told = _protocol.without(NotSent(OSError("no"), permanent=True, reason="no connection to t0ken"), SECRETS)
    assert isinstance(told, NotSent)
    assert (told.permanent, told.reason) == (True, "")


# ---- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, errors.APIError),
        (400, errors.APIError),
        (401, errors.AuthenticationError),
        (402, errors.PaymentRequiredError),
        (403, errors.PermissionDeniedError),
        (404, errors.NotFoundError),
        (408, errors.APIError),
        (409, errors.ConflictError),
        (418, errors.APIError),
        (422, errors.APIError),
        (429, errors.RateLimitError),
        (500, errors.ServerError),
        (503, errors.ServerError),
        (599, errors.ServerError),
    ],
)
def test_each_status_has_its_class(status: int, kind: type[errors.APIError]) -> None:
    error = _protocol.outcome_error(_requests.get_instance("i-1"), answer(status))
    assert type(error) is kind
    assert (error.status, error.instance_id) == (status, "i-1")


def test_a_status_error_carries_what_the_server_said() -> None:
    told = answer(429, b'{"message": "slow down"}', X_Request_Id="r-1", Retry_After="7")
    error = _protocol.status_error(_requests.GET_BALANCE, told)
    assert str(error) == "GET /user/balance was answered 429: slow down"
    assert (error.request_id, error.retry_after) == ("r-1", 7.0)


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (answer(500, b""), "GET /user/balance was answered 500"),
        (answer(299, b"<"), "GET /user/balance was answered 299, but the body is not JSON"),
        (answer(300, b""), "GET /user/balance was answered 300 (a redirect, which is never followed)"),
        (answer(399, b""), "GET /user/balance was answered 399 (a redirect, which is never followed)"),
        (answer(400, b'{"message": "no"}'), "GET /user/balance was answered 400: no"),
        (NotSent(OSError("no\nroute")), "GET /user/balance could not be sent: OSError: no\\nroute"),
        (NotSent(TimeoutError()), "GET /user/balance could not be sent: the time was up"),
        (
            NotSent(OSError("no route"), reason="no connection to a\nb"),
            "GET /user/balance could not be sent: no connection to a\\nb; check the network and base_url",
        ),
        (Lost(OSError("x" * 301)), f"GET /user/balance was sent, but no whole answer came back: OSError: {'x' * 300}…"),
    ],
    ids=["500", "no JSON", "300", "399", "message", "not sent", "without a text", "reason", "long"],
)
def test_an_error_tells_what_was_asked_and_what_came_of_it(outcome: Outcome, text: str) -> None:
    assert str(_protocol.outcome_error(_requests.GET_BALANCE, outcome)) == text


@pytest.mark.parametrize(
    ("outcome", "passes"),
    [
        (NotSent(OSError()), True),
        (NotSent(OSError(), permanent=True), False),
        (Lost(OSError()), True),
        (answer(200, b"<html>"), True),
        (answer(200, None), False),
        (answer(403), False),
        (answer(408), True),
        (answer(429), True),
        (answer(500), True),
    ],
    ids=shown,
)
def test_an_error_knows_whether_the_same_request_may_succeed_later(outcome: Outcome, passes: bool) -> None:
    assert _protocol.outcome_error(_requests.GET_BALANCE, outcome)._passes is passes


@pytest.mark.parametrize("failure", [NotSent(OSError("x")), Lost(OSError("x"))], ids=shown)
def test_the_error_of_a_failed_attempt_has_its_cause_and_the_instance(failure: NotSent | Lost) -> None:
    error = _protocol.outcome_error(_requests.get_instance("i-1"), failure)
    assert (error.__cause__, error.instance_id) == (failure.error, "i-1")


def test_the_error_of_a_garbled_answer_has_its_facts() -> None:
    error = _protocol.outcome_error(_requests.get_instance("i-1"), answer(202, b"<", X_Request_Id="r-1"))
    assert isinstance(error, errors.DecodeError)
    assert (error.status, error.request_id, error.instance_id, error.path) == (202, "r-1", "i-1", "")


@pytest.mark.parametrize(
    "body", [None, b"", b"<html>", b"[]", b"null", b'{"message": null}', b'{"message": 5}', b"[" * 100_000]
)
def test_an_error_without_a_readable_message_has_none(body: bytes | None) -> None:
    assert _protocol.server_message(answer(500, body)) == ""


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("two\nlines", "two\\nlines"),
        ("\x1b[31mred\x00", "\\x1b[31mred\\x00"),
        ("right\u202eleft", "right\\u202eleft"),
        ("größer 模型", "größer 模型"),
        ("It is gone.", "It is gone"),
    ],
)
def test_a_text_of_the_server_is_shown_on_one_printable_line(message: str, shown: str) -> None:
    assert _protocol.server_message(answer(500, orjson.dumps({"message": message}))) == shown


def test_a_long_text_of_the_server_is_cut() -> None:
    said = _protocol.server_message(answer(500, orjson.dumps({"message": "x" * 100_000})))
    assert 100 < len(said) < 400


def test_a_request_id_is_escaped() -> None:
    error = _protocol.status_error(_requests.GET_BALANCE, answer(500, X_Request_Id="a\x1bb" + "c" * 200))
    assert error.request_id is not None
    assert error.request_id.isprintable()
    assert error.request_id == "a\\x1bb" + "c" * 97 + "…"


@pytest.mark.parametrize(
    ("outcome", "kind", "text"),
    [
        (NotSent(ConnectionRefusedError("refused")), errors.TransportError, "could not be sent: ConnectionRefused"),
        (Lost(ConnectionResetError("reset")), errors.TransportError, "was sent, but no whole answer came back"),
        (answer(200, b"<html>"), errors.DecodeError, "the body is not JSON"),
        (answer(200, None), errors.DecodeError, "is larger than 64 MiB"),
        (answer(307), errors.APIError, "a redirect, which is never followed"),
    ],
)
def test_an_outcome_without_data_has_an_error(outcome: Outcome, kind: type[Exception], text: str) -> None:
    error = _protocol.outcome_error(_requests.GET_BALANCE, outcome)
    assert type(error) is kind
    assert text in str(error)


# ---- Retry-After ----------------------------------------------------------------------------------


@pytest.mark.fault(17, 19)
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 7\t", 7),
        ("007", 7),
        ("60", 60),
        ("61", 60),
        ("999999999", 60),
        ("Wed, 01 Jan 2025 12:00:05 GMT", 5),
        ("Wed, 01 Jan 2025 13:00:05 +0100", 5),
        ("Wed, 01 Jan 2025 12:00:05", 5),
        ("Wed, 01 Jan 2025 12:00:05 -0000", 5),
        ("Wed, 01 Jan 2025 12:30:00 GMT", 60),
        ("Wed, 01 Jan 2025 11:59:59 GMT", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        (f"Wed, 01 Jan 2025 12:00:05 GMT ({'x' * 32})", 5),  # 64 characters
    ],
)
def test_a_wait_that_the_server_asks_for_is_capped(value: str, seconds: float) -> None:
    assert _protocol.retry_after(answer(429, Retry_After=value), NOW) == seconds


@pytest.mark.fault(18)
@pytest.mark.parametrize(
    "value",
    [
        "", "nan", "NaN", "inf", "-inf", "Infinity", "-5", "+5", "5.0", "5s", "1e3", "0x10", "1_000", "٣", "\uff15",
        "9" * 10, "9" * 5000, "5, 6", "soon", "Wed, 99 Jan 2025 12:00:00 GMT", "Wed, 01 Jan 99999 12:00:00 GMT",
        f"Wed, 01 Jan 2025 12:00:05 GMT ({'x' * 33})", "Wed, 0\u0661 Jan 2025 12:00:05 GMT", "\x0b7", "X7",
        "Wed, 01 Jan 2025 12:00:00 +9999999999", "\x00", "Wed, 01 Jan 2025 12:00:05 GMT" + " " * 5000,
    ],
    ids=lambda value: shown(value[:40]),
)  # fmt: skip
def test_a_wait_that_makes_no_sense_is_ignored(value: str) -> None:
    told = _protocol.retry_after(answer(429, Retry_After=value), NOW)
    assert told is None or (value.endswith(" ") and told == 5)


@pytest.mark.parametrize("outcome", [NotSent(OSError()), Lost(OSError()), answer(503)])
def test_without_the_header_no_wait_is_asked_for(outcome: Outcome) -> None:
    assert _protocol.retry_after(outcome) is None


@pytest.mark.fault(17)
def test_a_date_is_told_from_the_clock() -> None:
    value = format(datetime.now(UTC) + timedelta(seconds=30), "%a, %d %b %Y %H:%M:%S GMT")
    told = _protocol.retry_after(answer(429, Retry_After=value))
    assert told is not None
    assert 0 < told <= 30
