"""The access token: fetched once, renewed early, by one request at a time on each loop."""

from __future__ import annotations

import asyncio
import math
import os
import re
import time
from collections.abc import Awaitable, Callable
from weakref import WeakKeyDictionary

from attrs import field, frozen

from .errors import ConfigurationError, DecodeError

__all__ = ["Credentials", "InferenceKey", "Token", "TokenCache", "decode_token"]

DEFAULT_LIFETIME = 3600.0
# A server that says 0 or -1 must not make every call fetch a token: a 401 renews it anyway.
SHORTEST_LIFETIME, LONGEST_LIFETIME = 30.0, 86_400.0
_EARLY = 60.0
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+", re.ASCII)


@frozen(eq=False, repr=False)
class Credentials:
    """Client id and secret: arguments win over `CORTECS_CLIENT_ID` and `CORTECS_CLIENT_SECRET`."""

    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)

    def resolve(self) -> tuple[str, str]:
        """The pair that is in force now. Raises ConfigurationError if one is missing."""
        client_id = self.client_id or os.environ.get("CORTECS_CLIENT_ID")
        client_secret = self.client_secret or os.environ.get("CORTECS_CLIENT_SECRET")
        found = {"CORTECS_CLIENT_ID": client_id, "CORTECS_CLIENT_SECRET": client_secret}
        if client_id and not client_secret and "INFERLEASE_MODEL" in os.environ:  # which `run` gives its command
            raise ConfigurationError(
                "no credentials: `inferlease run` withholds CORTECS_CLIENT_SECRET from its command; do this outside of "
                "it, or pass client_secret to Client()"
            )
        if not client_id or not client_secret:
            missing = " and ".join(name for name, value in found.items() if not value)
            raise ConfigurationError(f"no credentials: set {missing}, or pass client_id and client_secret to Client()")
        try:
            f"{client_id}{client_secret}".encode()
        except UnicodeEncodeError:
            raise ConfigurationError("the client id or secret has characters that are no text") from None
        return client_id, client_secret


@frozen(eq=False, repr=False)
class InferenceKey:
    """The key that inference requests carry; it never is the API's access token."""

    argument: str | None = field(default=None, repr=False)

    def resolve(self) -> str:
        """The key in force now: the argument, `INFERLEASE_INFERENCE_KEY`, `OPENAI_API_KEY`.

        Raises ConfigurationError if there is none, or if what `OPENAI_API_KEY` has is another provider's.
        """
        key = self.argument or os.environ.get("INFERLEASE_INFERENCE_KEY")
        if not key:
            key = os.environ.get("OPENAI_API_KEY")
            if key and key.startswith("sk-proj-"):
                raise ConfigurationError(
                    "OPENAI_API_KEY holds another provider's key (sk-proj-…): set INFERLEASE_INFERENCE_KEY, "
                    "or pass inference_key to Client()"
                )
        if not key:
            raise ConfigurationError(
                "no key for inference: set INFERLEASE_INFERENCE_KEY, or pass inference_key to Client()"
            )
        if not _HEADER_SAFE.fullmatch(key):
            raise ConfigurationError("the key for inference has characters that no header can carry")
        return key


@frozen(eq=False, repr=False)
class Token:
    value: str = field(repr=False)
    renew_at: float  # monotonic


def decode_token(payload: object) -> Token:
    """A token answer; every field but `access_token` may be missing. Raises DecodeError."""
    value = payload.get("access_token") if isinstance(payload, dict) else None
    if not isinstance(value, str) or not _HEADER_SAFE.fullmatch(value):
        raise DecodeError(
            "access_token: expected a token of printable ASCII characters in the answer to POST /oauth2/token",
            path="access_token",
        )
    lifetime = _lifetime(payload.get("expires_in") if isinstance(payload, dict) else None)
    return Token(value, time.monotonic() + lifetime - min(_EARLY, lifetime / 10))


def _lifetime(seconds: object) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return DEFAULT_LIFETIME
    return min(max(float(seconds), SHORTEST_LIFETIME), LONGEST_LIFETIME)


class TokenCache:
    """The token of one client, shared by all its loops.

    On each loop at most one fetch is under way; whoever waits for it may be cancelled without harm
    to the others.
    """

    def __init__(self, fetch: Callable[[], Awaitable[Token]]) -> None:
        self._fetch = fetch
        self._token: Token | None = None
        self._fetching: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[Token]] = WeakKeyDictionary()

    def current(self) -> str | None:
        """The token, unless it has to be fetched first."""
        token = self._token
        return token.value if token is not None and time.monotonic() < token.renew_at else None

    async def fresh(self, *, stale: str | None = None) -> str:
        """A token other than `stale`, which the server has refused."""
        current = self.current()
        if current is not None and current != stale:
            return current
        loop = asyncio.get_running_loop()
        task = self._fetching.get(loop)
        if task is None or task.done():
            task = self._fetching[loop] = loop.create_task(self._renew())
            task.add_done_callback(_note_failure)
        return (await asyncio.shield(task)).value

    async def _renew(self) -> Token:
        self._token = token = await self._fetch()
        return token


def _note_failure(task: asyncio.Task[Token]) -> None:
    """Whoever still waits hears of it; asyncio need not complain where nobody does."""
    if not task.cancelled():
        task.exception()
