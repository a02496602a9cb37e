"""One logical request: authorised, attempted, decided by the table, tried again where it says so."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar, cast

from attrs import evolve, frozen

from ._auth import Credentials, Token, TokenCache, decode_token
from ._protocol import (
    DECISIONS,
    Action,
    Answer,
    Kind,
    NotSent,
    Outcome,
    check_form,
    classify,
    parse_json,
    parse_mended,
    request_id,
    without,
)
from ._requests import Request, token
from ._retry import ATTEMPTS, Backoff, Budget, Settled, persist
from ._transport import Transport, require_asyncio
from .errors import (
    AuthenticationError,
    ConfigurationError,
    DecodeError,
    InferleaseError,
    OutcomeUnknownError,
    TransportError,
)

__all__ = ["RETRIED", "Decode", "Exchange", "Look"]

T = TypeVar("T")
Decode = Callable[[object], T]


@frozen(eq=False, repr=False)
class Look(Generic[T]):
    """How to find out what a doubtful mutation came to.

    Attributes:
        read: Reads what it was about.
        reached: Whether that shows the goal of the mutation.
    """

    read: Callable[[], Awaitable[T]]
    reached: Callable[[T], bool]


log = logging.getLogger("inferlease")

# How a retry is logged: what failed, and the seconds until the next attempt and until the last.
RETRIED = "%s: again in %.1f s, and so on for at most %.0f s"

# Tokens that a server may still echo: a replay has two, and others may be under way with an older one.
_TOKENS_KEPT = 3
# Seconds that an attempt of a release is given, however little is left.
_LEAST_PATIENCE = 2.0


class Exchange:
    """What one client says to the server, and the token and budget it does so with."""

    def __init__(self, transport: Transport, credentials: Credentials, *, timeout: float) -> None:
        self.transport = transport
        self.timeout = timeout
        self.backoff: Backoff = Backoff()
        self.budget: Budget = Budget()
        self._credentials = credentials
        self._account: tuple[str, str] | None = None
        self._tokens = TokenCache(self._fetch_token)
        self._secrets: list[str] = []

    async def read(self, request: Request, decode: Decode[T], *, attempts: int = ATTEMPTS) -> T:
        """The data of a read. Raises TransportError, DecodeError or an APIError class."""
        settled = await self.settle(request, decode, attempts=attempts)
        if settled.action is Action.DONE:
            return cast(T, settled.value)
        raise self.error(request, settled)

    async def change(self, request: Request, decode: Decode[T], look: Look[T]) -> T:
        """Stop, delete or restart: the data once the goal is reached.

        `look` is asked where an answer leaves that open. Raises OutcomeUnknownError where it stays open,
        TransportError where nothing was sent, an APIError class where the server refused.
        """
        settled = await self.settle(request, decode, look=look)
        if settled.action is Action.DONE:
            return cast(T, settled.value)
        if settled.action is Action.LOOK:
            value = await self._looked(request, look)
            if look.reached(value) or not _is_page(settled):
                return value
            settled = evolve(settled, action=Action.UNKNOWN)
        raise self.error(request, settled)

    async def settle(
        self,
        request: Request,
        decode: Decode[T],
        *,
        look: Look[T] | None = None,
        attempts: int | None = ATTEMPTS,
        until: float | None = None,
        is_wanted: Callable[[], bool] | None = None,
    ) -> Settled[T]:
        """Attempt until the table says something else than *again*, or attempts, time or budget run out.

        Args:
            look: Asked where the table says that the server's state decides; for a release after each failure.
            attempts: How many at most, the first included; `None` for no limit.
            until: For a release: repeat after every failure but an impossible one, to this monotonic time.
            is_wanted: Asked before each attempt after the first.
        """
        require_asyncio()
        deadline = time.monotonic() + self.timeout if until is None else until

        async def attempt_once() -> Settled[T]:
            if is_wanted is not None and not is_wanted():
                given_up = InferleaseError(f"{request} was given up before it was sent again")
                return Settled(Action.FAIL, Kind.NOT_SENT, NotSent(given_up), error=given_up)
            return await self._attempt(request, decode, look, deadline)

        async def attempt_release() -> Settled[T]:
            # One connection that stalls must not use up the whole release.
            now = time.monotonic()
            patience = min(self.timeout, max((deadline - now) / 3, _LEAST_PATIENCE))
            settled = await self._attempt(request, decode, None, min(deadline, now + patience))
            return await _persistent(settled, look, deadline)

        if until is None:
            attempt = attempt_once
            settled = await self._attempt(request, decode, look, deadline)
        else:
            attempt = attempt_release
            settled = await attempt()
        if settled.action is Action.DONE:
            self.budget.refund()
            return settled
        if settled.action not in (Action.RETRY, Action.REPEAT) or attempts == 1:
            return settled

        def on_retry(failed: Settled[T], seconds: float) -> None:
            level = logging.WARNING if request.operation.mutates else logging.DEBUG
            if failed.kind is Kind.NOT_SENT:
                level = max(level, logging.INFO)
            left = max(deadline - time.monotonic(), 0.0)
            # A user's log handler that raises must not end a release.
            with contextlib.suppress(Exception):
                log.log(level, RETRIED, failed.cause(request), seconds, left)

        settled = await persist(
            settled,
            attempt,
            deadline=deadline,
            attempts=attempts,
            backoff=self.backoff,
            budget=self.budget,
            on_retry=on_retry,
        )
        if settled.action is Action.DONE:
            self.budget.refund()
        return settled

    def error(self, request: Request, settled: Settled[T]) -> InferleaseError:
        """The error of a request that did not come to its data."""
        cause = settled.cause(request)
        if settled.action is not Action.UNKNOWN:
            return cause
        error = OutcomeUnknownError(
            f"{cause}; it may or may not have taken effect",
            status=cause.status,
            instance_id=request.instance_id,
        )
        error.__cause__ = cause
        return error

    async def _attempt(self, request: Request, decode: Decode[T], look: Look[T] | None, deadline: float) -> Settled[T]:
        try:
            outcome = await self._authorised(request, deadline)
        except InferleaseError as failed:
            # Without a token nothing was sent; the fetch has had its own retries.
            kind = Kind.IMPOSSIBLE if isinstance(failed, ConfigurationError) else Kind.NOT_SENT
            return Settled(Action.FAIL, kind, NotSent(failed), error=failed)
        kind = classify(outcome)
        value: T | None = None
        error: DecodeError | None = None
        if kind is Kind.GOOD:
            kind, value, error = _decoded(cast(Answer, outcome), decode)
        if kind is not Kind.GOOD:
            outcome, error = self._redacted(outcome, error)
        action = DECISIONS[request.operation][kind]
        if look is not None and action in (Action.LOOK_ELSE_FAIL, Action.LOOK_ELSE_REPEAT):
            return await _looked_else(action, kind, outcome, look)
        return Settled(action, kind, outcome, value, error)

    async def _authorised(self, request: Request, deadline: float) -> Outcome:
        """One attempt; a 401 renews the token and replays it once."""
        if not request.authenticated:
            return await self.transport.send(request, {}, deadline)
        access = self._tokens.current() or await self._fresh(deadline)
        outcome = await self.transport.send(request, _headers(access), deadline)
        if isinstance(outcome, Answer) and outcome.status == 401:
            access = await self._fresh(deadline, stale=access)
            outcome = await self.transport.send(request, _headers(access), deadline)
        return outcome

    async def _fresh(self, deadline: float, *, stale: str | None = None) -> str:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await self._tokens.fresh(stale=stale)
        except TimeoutError as error:
            raise TransportError(f"no access token within {self.timeout:g} s") from error

    def account(self) -> tuple[str, str]:
        """Client id and secret; raises ConfigurationError if there are none."""
        if self._account is None:
            # Once and for all: a release must not go to the account of an environment that has changed.
            self._account = self._credentials.resolve()
            self._secrets.append(self._account[1])
        return self._account

    async def _fetch_token(self) -> Token:
        try:
            fetched = await self.read(token(*self.account()), decode_token)
        except InferleaseError as error:
            if error.status in (400, 401):
                raise AuthenticationError(
                    f"the client id and secret were not accepted: {error}",
                    status=error.status,
                    request_id=error.request_id,
                ) from None  # a traceback would say the same twice
            raise
        self._secrets[1:] = [*self._secrets[1:][-_TOKENS_KEPT:], fetched.value]
        return fetched

    def _redacted(self, outcome: Outcome, error: DecodeError | None) -> tuple[Outcome, DecodeError | None]:
        """The same, without what the server has echoed of the secrets that it was sent."""
        redacted = without(outcome, self._secrets)
        if error is not None and redacted is not outcome:
            error = DecodeError(
                "the answer is not what the API documents (what is wrong is not shown, as it repeats a secret)",
                path="",
                status=error.status,
                instance_id=error.instance_id,
            )
        return redacted, error

    async def _looked(self, request: Request, look: Look[T]) -> T:
        try:
            return await look.read()
        except InferleaseError as error:
            raise OutcomeUnknownError(
                f"{request} was accepted, but what came of it could not be read: {error}",
                instance_id=request.instance_id,
            ) from error


def _headers(access: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {access}"}


def _decoded(answer: Answer, decode: Decode[T]) -> tuple[Kind, T | None, DecodeError | None]:
    body, is_mended = answer.body or b"", False
    try:
        payload = parse_json(body)
    except ValueError:
        try:
            payload, is_mended = parse_mended(body), True
        except ValueError:
            return Kind.GARBLED, None, None
    try:
        value = decode(payload)
        check_form(answer, getattr(value, "instance_id", None), is_mended=is_mended)
    except DecodeError as error:
        error.status, error.request_id = answer.status, request_id(answer)
        return Kind.MISSHAPEN, None, error
    return Kind.GOOD, value, None


def _is_page(settled: Settled[T]) -> bool:
    """Whether the answer may come from something in between, which has not passed the request on."""
    return settled.kind is Kind.GARBLED and isinstance(settled.outcome, Answer) and bool(settled.outcome.body)


async def _looked_else(action: Action, kind: Kind, outcome: Outcome, look: Look[T]) -> Settled[T]:
    otherwise = Action.FAIL if action is Action.LOOK_ELSE_FAIL else Action.REPEAT
    try:
        value = await look.read()
    except InferleaseError:
        return Settled(otherwise, kind, outcome)
    if not look.reached(value):
        return Settled(otherwise, kind, outcome)
    return Settled(Action.DONE, Kind.GOOD, outcome, value)


async def _persistent(settled: Settled[T], look: Look[T] | None, deadline: float) -> Settled[T]:
    """What follows in a release: after any failure but an impossible one it looks, then repeats."""
    again = (Action.FAIL, Action.REPEAT, Action.LOOK_ELSE_FAIL, Action.LOOK_ELSE_REPEAT)
    if settled.action not in again or settled.kind is Kind.IMPOSSIBLE:
        return settled
    if look is not None and settled.kind in (Kind.REFUSED, Kind.BROKEN):
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await _looked_else(Action.LOOK_ELSE_REPEAT, settled.kind, settled.outcome, look)
        except TimeoutError:
            pass
    return evolve(settled, action=Action.REPEAT)
