"""The catalogue: every kind of fault that the emulator can be told to deliver, and what it does."""

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Self, cast

from attrs import field, frozen

from inferlease.emulator.effects import (
    AUTHORIZED,
    CHANGES,
    LISTS,
    PROVISIONING,
    WITH_INSTANCES,
    WITH_REQUIRED,
    Effect,
    body,
    cut_off,
    delivered,
    dripping,
    each_instance,
    edited,
    gzip_bomb,
    gzip_members,
    html,
    in_a_list,
    oversized,
    plain_text,
    redirect,
    status,
    unchanged,
    with_bad_item,
    with_conflict,
    with_duplicate,
    with_extra_fields,
    with_member,
    with_progress,
    with_status,
    with_wrong_lifetime,
    without_first,
    without_required,
)
from inferlease.emulator.holds import Operation


class FaultKind(StrEnum):
    """What may go wrong with a request. A kind that spoils a success leaves an error of the API as it is."""

    description: str
    """One line."""
    effect: Effect
    """What it does; the emulator's own."""

    def __new__(cls, name: str, description: str, effect: Effect) -> Self:
        """A row of the table."""
        kind = str.__new__(cls, name)
        kind._value_ = name
        kind.description = description
        kind.effect = effect
        return kind

    RESET_BEFORE = (
        "reset_before",
        "The connection is reset; the request is not handled.",
        Effect(delivered("reset"), handled=False, opaque=True),
    )
    RESET_AFTER = (
        "reset_after",
        "The connection is reset; the request is handled.",
        Effect(delivered("reset"), opaque=True),
    )
    EOF_BEFORE = (
        "eof_before",
        "The connection is closed without an answer; the request is not handled.",
        Effect(delivered("eof"), handled=False, opaque=True),
    )
    EOF_AFTER = (
        "eof_after",
        "The connection is closed without an answer; the request is handled.",
        Effect(delivered("eof"), opaque=True),
    )
    HANG_BEFORE = (
        "hang_before",
        "No answer, for as long as the client waits; the request is not handled.",
        Effect(delivered("never"), handled=False, opaque=True),
    )
    HANG_AFTER = (
        "hang_after",
        "No answer, for as long as the client waits; the request is handled.",
        Effect(delivered("never"), opaque=True),
    )
    TRUNCATED = (
        "truncated",
        "The connection is closed after half of the body, whose length was declared.",
        Effect(delivered("half"), opaque=True),
    )
    TRUNCATED_CHUNKED = (
        "truncated_chunked",
        "The connection is closed after half of the body, sent in chunks.",
        Effect(delivered("half_chunked"), opaque=True),
    )
    SLOW_DRIP = "slow_drip", "The body comes byte by byte, with a pause after each.", Effect(dripping, opaque=True)
    STATUS_400 = "status_400", "Bad request; not handled.", Effect(status(400), handled=False)
    STATUS_401 = "status_401", "Unauthorized; the token stays valid; not handled.", Effect(status(401), handled=False)
    STATUS_402 = "status_402", "Payment required; not handled.", Effect(status(402), handled=False)
    STATUS_403 = "status_403", "Forbidden; not handled.", Effect(status(403), handled=False)
    STATUS_404 = "status_404", "Not found; not handled.", Effect(status(404), handled=False)
    STATUS_409 = "status_409", "Conflict; not handled.", Effect(status(409), handled=False)
    STATUS_429 = (
        "status_429",
        "Too many requests, without `Retry-After`; not handled.",
        Effect(status(429), handled=False),
    )
    STATUS_429_SECONDS = (
        "status_429_seconds",
        "Too many requests, `Retry-After` in seconds; not handled.",
        Effect(status(429, retry_after="seconds"), handled=False),
    )
    STATUS_429_DATE = (
        "status_429_date",
        "Too many requests, `Retry-After` as a date; not handled.",
        Effect(status(429, retry_after="date"), handled=False),
    )
    STATUS_408 = "status_408", "Request timeout; not handled.", Effect(status(408), handled=False, opaque=True)
    STATUS_408_HANDLED = "status_408_handled", "Request timeout; handled.", Effect(status(408), opaque=True)
    STATUS_500 = "status_500", "Internal server error; not handled.", Effect(status(500), handled=False, opaque=True)
    STATUS_500_HANDLED = "status_500_handled", "Internal server error; handled.", Effect(status(500), opaque=True)
    STATUS_502 = "status_502", "Bad gateway; not handled.", Effect(status(502), handled=False, opaque=True)
    STATUS_502_HANDLED = "status_502_handled", "Bad gateway; handled.", Effect(status(502), opaque=True)
    STATUS_503 = "status_503", "Service unavailable; not handled.", Effect(status(503), handled=False, opaque=True)
    STATUS_503_HANDLED = "status_503_handled", "Service unavailable; handled.", Effect(status(503), opaque=True)
    STATUS_504 = "status_504", "Gateway timeout; not handled.", Effect(status(504), handled=False, opaque=True)
    STATUS_504_HANDLED = "status_504_handled", "Gateway timeout; handled.", Effect(status(504), opaque=True)
    STATUS_503_SECONDS = (
        "status_503_seconds",
        "Service unavailable, `Retry-After` in seconds; not handled.",
        Effect(status(503, retry_after="seconds"), handled=False, opaque=True),
    )
    STATUS_503_SECONDS_HANDLED = (
        "status_503_seconds_handled",
        "Service unavailable, `Retry-After` in seconds; handled.",
        Effect(status(503, retry_after="seconds"), opaque=True),
    )
    REDIRECT_HOST = (
        "redirect_host",
        "A redirect (307) to another host; not handled.",
        Effect(redirect("https", "elsewhere.invalid"), handled=False),
    )
    REDIRECT_HTTP = (
        "redirect_http",
        "A redirect (307) to the same path over http; not handled.",
        Effect(redirect("http"), handled=False),
    )
    HTML = "html", "A page of HTML with 200; not handled.", Effect(html, handled=False, opaque=True)
    HTML_HANDLED = "html_handled", "A page of HTML with 200; handled.", Effect(html, opaque=True)
    STATUS_204 = "status_204", "204 without a body instead of a success.", Effect(body(b"", 204), opaque=True)
    EMPTY = "empty", "200 with an empty body instead of a success.", Effect(body(b""), opaque=True)
    WRONG_CONTENT_TYPE = "wrong_content_type", "The right JSON, declared as `text/plain`.", Effect(plain_text)
    TRUNCATED_JSON = "truncated_json", "The first half of the JSON, as if it were all.", Effect(cut_off, opaque=True)
    DEEP_NESTING = (
        "deep_nesting",
        "JSON nested 100,000 deep.",
        Effect(with_member(b"[" * 100_000 + b"]" * 100_000), opaque=True),
    )
    NAN = "nan", "`NaN` in the JSON.", Effect(with_member(b"NaN"), opaque=True)
    INFINITY = "infinity", "`1e999` in the JSON.", Effect(with_member(b"1e999"), opaque=True)
    HUGE_INTEGER = (
        "huge_integer",
        "An integer of 5,000 digits in the JSON.",
        Effect(with_member(b"9" * 5_000), opaque=True),
    )
    LONE_SURROGATE = (
        "lone_surrogate",
        "Half of a surrogate pair, escaped, in the JSON.",
        Effect(with_member(rb'"\ud800"')),
    )
    BAD_UTF8 = "bad_utf8", "A byte that is no UTF-8 in the JSON.", Effect(with_member(b'"\xff"'), opaque=True)
    TOP_LEVEL_NULL = "top_level_null", "`null` instead of an object.", Effect(body(b"null"), opaque=True)
    TOP_LEVEL_LIST = "top_level_list", "The object in a list.", Effect(in_a_list, opaque=True)
    MISSING_FIELD = (
        "missing_field",
        "A required field is missing; ids of instances are there.",
        Effect(edited(without_required), operations=WITH_REQUIRED),
    )
    NULL_STATUS = (
        "null_status",
        "The status of every instance is null.",
        Effect(edited(with_status(None)), operations=WITH_INSTANCES),
    )
    UNKNOWN_STATUS = (
        "unknown_status",
        "The status of every instance is `hibernating`.",
        Effect(edited(with_status("hibernating")), operations=WITH_INSTANCES),
    )
    NULL_BASE_URL = (
        "null_base_url",
        "No instance has a base URL, whatever its status.",
        Effect(edited(each_instance(lambda instance: instance.update(base_url=None))), operations=WITH_INSTANCES),
    )
    NO_WORKERS = (
        "no_workers",
        "No instance has a worker.",
        Effect(edited(each_instance(lambda instance: instance.update(worker_statuses=[]))), operations=WITH_INSTANCES),
    )
    NULL_PROGRESS = (
        "null_progress",
        "The progress of every worker is null.",
        Effect(edited(with_progress(None)), operations=WITH_INSTANCES),
    )
    ODD_PROGRESS = (
        "odd_progress",
        "Every worker is at step 7 of 0.",
        Effect(
            edited(with_progress({"current_step": 7, "num_steps": 0, "description": ""})), operations=WITH_INSTANCES
        ),
    )
    EXTRA_FIELDS = (
        "extra_fields",
        "Every object has one more field, which nobody knows.",
        Effect(edited(with_extra_fields), operations=PROVISIONING),
    )
    BAD_ITEM = (
        "bad_item",
        "The first item of a list has numbers for all its fields but the id.",
        Effect(edited(with_bad_item), operations=LISTS),
    )
    ABSENT_ITEM = (
        "absent_item",
        "The first instance is missing from the list.",
        Effect(edited(without_first), operations=("list",)),
    )
    DUPLICATE_ITEM = (
        "duplicate_item",
        "The first instance is listed twice.",
        Effect(edited(with_duplicate), operations=("list",)),
    )
    CONFLICTING_ITEM = (
        "conflicting_item",
        "The first instance is listed twice, in different states.",
        Effect(edited(with_conflict), operations=("list",)),
    )
    OVERSIZED = "oversized", "65 MiB of blanks instead of a success.", Effect(oversized, opaque=True)
    GZIP_BOMB = "gzip_bomb", "65 MiB of blanks in 64 KiB of gzip instead of a success.", Effect(gzip_bomb, opaque=True)
    GZIP_MEMBERS = (
        "gzip_members",
        "The right body in gzip, behind 2,000 empty members.",
        Effect(gzip_members, opaque=True),
    )
    REVOKED_TOKEN = (
        "revoked_token",
        "401, and the token is revoked; spared are a token's first request, and all until refused ones are repeated.",
        Effect(unchanged, operations=AUTHORIZED, revokes=True),
    )
    WRONG_EXPIRES_IN = (
        "wrong_expires_in",
        "`expires_in` is in turn missing, 0, negative, a string, huge, a boolean.",
        Effect(edited(with_wrong_lifetime), operations=("token",)),
    )

    @property
    def is_handled(self) -> bool:
        """Whether the request takes effect all the same."""
        return self.effect.handled and not self.effect.revokes

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The operations that it can happen to."""
        return self.effect.operations

    def is_ambiguous_on(self, operation: Operation) -> bool:
        """Whether it leaves open if a request that changes something took effect.

        That is the view of a client: it got no whole answer, a 408 or 5xx, or a success that it can't read. False for
        an operation that only reads, or that the kind can't happen to.
        """
        return self.effect.opaque and operation in CHANGES and operation in self.operations


_BY_NAME: Mapping[str, FaultKind] = {kind.value: kind for kind in FaultKind}


def _kind(name: FaultKind | str) -> FaultKind:
    kind = _BY_NAME.get(name)
    if kind is None:
        raise ValueError(f"there is no fault {name!r:.100}, but there are: {', '.join(_BY_NAME)}")
    return kind


@frozen
class Fault:
    """A kind of fault, and which requests it is delivered to.

    Args:
        kind: a `FaultKind` or its value, such as `"reset_after"`.
        operation: only to requests of this operation; by default to all that the kind can happen to.
        rate: to how many of them, from 0.0 to 1.0. The rates of several faults of one operation add up; what goes
            beyond 1.0 is never drawn.
        seconds: whole ones, rounded up, that `Retry-After` asks for, or the pause after each byte of a slow drip.
        times: how often at most; by default without a limit.

    Raises:
        ValueError: there is no such kind, it does not happen to the operation, `rate` is not from 0 to 1, or `seconds`
            or `times` is negative.
    """

    kind: FaultKind = field(converter=_kind)
    operation: Operation | None = None
    rate: float = 1.0
    seconds: float = field(default=1.0, kw_only=True)
    times: int | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        allowed = self.kind.operations
        if self.operation is not None and self.operation not in allowed:
            raise ValueError(f"fault {self.kind} happens to {', '.join(allowed)}, not to {self.operation!r:.100}")
        if not 0 <= self.rate <= 1:
            raise ValueError(f"the rate of a fault is from 0 to 1, not {self.rate}")
        if not 0 <= self.seconds < math.inf or (self.times is not None and self.times < 0):
            raise ValueError("the seconds and times of a fault are finite and not negative")

    @classmethod
    def parse(cls, text: str) -> Self:
        """A fault as the command line writes it: `KIND[:OPERATION][=RATE]`, such as `status_503:get=0.1`.

        Raises:
            ValueError: as the class; or the rate is no number.
        """
        name, has_rate, rate = text.partition("=")
        kind, has_operation, operation = name.partition(":")
        try:
            number = float(rate) if has_rate else 1.0
        except ValueError:
            raise ValueError(f"the rate of a fault is a number from 0 to 1, not {rate!r:.100}") from None
        return cls(kind, cast(Operation, operation) if has_operation else None, number)
