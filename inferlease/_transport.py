"""Sockets: one attempt at one request, told as an outcome. Nothing is decided here."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import sys
import time
from ssl import SSLError
from types import SimpleNamespace
from typing import Any, TypeAlias
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]
from weakref import WeakKeyDictionary, WeakSet

import aiohttp
import orjson
from aiohttp.resolver import ThreadedResolver
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from . import _keeper
from ._job import is_in_job
from ._protocol import MAX_BODY, Answer, Lost, NotSent, Outcome
from ._requests import Request
from .errors import ConfigurationError

__all__ = ["Transport", "is_loopback", "require_asyncio"]


_Sessions: TypeAlias = WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession]


class _Connector(aiohttp.TCPConnector):
    """A forked child must not close its parent's sockets: the epoll they are in is shared."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._pid = os.getpid()

    @property
    def closed(self) -> bool:
        # A session of a client that was never closed complains on stderr when it is collected, which is the client's
        # to warn of; while the interpreter finalizes, nobody can close it any more.
        return super().closed or sys.is_finalizing()

    def __del__(self, *hidden: Any) -> None:
        if os.getpid() == self._pid and not _keeper.is_exiting():
            super().__del__(*hidden)


class _LookupLoop:
    """Name look-ups for the resolver; inline once the interpreter's exit has taken the executor away."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    async def getaddrinfo(self, host: str, port: int, **options: Any) -> Any:
        try:
            return await self._loop.getaddrinfo(host, port, **options)
        except RuntimeError:
            return socket.getaddrinfo(host, port, **options)

    async def getnameinfo(self, address: Any, flags: int = 0) -> Any:
        try:
            return await self._loop.getnameinfo(address, flags)
        except RuntimeError:
            return socket.getnameinfo(address, flags)


class _Interrupted(Exception):
    """Stands for an aiohttp error that aiohttp would answer by silently sending the request again."""


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        if isinstance(error, aiohttp.ClientConnectorError):
            raise
        raise _Interrupted from error


async def _mark_connected(_session: object, context: SimpleNamespace, _params: object) -> None:
    context.trace_request_ctx.connected = True


class _Progress:
    """Whether any attempt at a request has obtained a connection."""

    __slots__ = ("connected",)

    def __init__(self) -> None:
        self.connected = False


class Transport:
    """The sessions of one client: for each loop one that reads, pooled, and one that mutates."""

    def __init__(self, base_url: str, *, connect_timeout: float, proxy: str | bool | None, ssl: Any) -> None:
        self._reading: _Sessions = WeakKeyDictionary()
        self._mutating: _Sessions = WeakKeyDictionary()
        self.base_url: str = checked_base_url(base_url)
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout)
        self._proxy_option = proxy
        self.proxy: str | None = _proxy_for(URL(self.base_url), proxy)
        self.ssl: Any = ssl
        self.closed = False
        self.finished = False  # closed, and what was under way on the keeper has ended too
        self.answered_at: float = time.monotonic()  # of the last answer, whatever it said; at first, of its making

    @property
    def is_open(self) -> bool:
        """Whether there are sessions that nobody has closed; one collected together with this may be closed by that."""
        return any(self._sessions)

    @property
    def _sessions(self) -> tuple[_Sessions, _Sessions]:
        return self._reading, self._mutating

    def require_open(self) -> None:
        """Raises ConfigurationError once the client is closed; what was begun before may go on."""
        if self.closed:
            raise ConfigurationError("the client is closed: make a new one")

    async def send(self, request: Request, headers: dict[str, str], deadline: float) -> Outcome:
        """Make one attempt, until the monotonic time `deadline`."""
        progress = _Progress() if request.operation.mutates else None
        data = None
        if request.body is not None:
            data, headers = orjson.dumps(request.body), {**headers, "Content-Type": "application/json"}
        return await self._attempt(
            request.method,
            self.base_url + request.path,
            data=data,
            headers=headers,
            proxy=self.proxy,
            deadline=deadline,
            progress=progress,
        )

    async def fetch(self, url: str, headers: dict[str, str], deadline: float) -> Outcome:
        """GET an absolute URL, such as an instance's; `headers` has to be fit for whoever is there."""
        proxy = self.proxy_to(URL(url))
        return await self._attempt(
            "GET", url, data=None, headers=headers, proxy=proxy, deadline=deadline, progress=None
        )

    def proxy_to(self, url: URL) -> str | None:
        """The proxy by which `url` is reached, if by any; raises ConfigurationError if it is not usable."""
        return _proxy_for(url, self._proxy_option)

    async def _attempt(
        self,
        method: str,
        url: str,
        *,
        data: bytes | None,
        headers: dict[str, str],
        proxy: str | None,
        deadline: float,
        progress: _Progress | None,
    ) -> Outcome:
        try:
            session = self._session(mutating=progress is not None)
            async with (
                asyncio.timeout(deadline - time.monotonic()),
                session.request(
                    method,
                    URL(url, encoded=True),
                    data=data,
                    headers=headers,
                    allow_redirects=False,
                    proxy=proxy,
                    ssl=self.ssl if self.ssl is not None else True,
                    trace_request_ctx=progress,
                ) as response,
            ):
                answer = Answer(response.status, response.headers, await _read_capped(response))
                self.answered_at = time.monotonic()
                return answer
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch) as error:
            return NotSent(error, permanent=True)
        except aiohttp.ClientHttpProxyError as error:
            return NotSent(_bare(error), permanent=error.status == 407)
        except _Interrupted as error:
            cause = error.__cause__ or error
            return Lost(cause) if progress and progress.connected else NotSent(cause)
        except (aiohttp.InvalidURL, ValueError, TypeError) as error:
            return Lost(error) if progress and progress.connected else NotSent(error, permanent=True)
        except (aiohttp.ClientError, OSError) as error:
            # A read has no trace events: its class tells as well as it can, and its row is the same.
            sent = progress.connected if progress is not None else not isinstance(error, _CONNECTING)
            return Lost(_bare(error)) if sent else _not_reached(error, URL(url))

    def _session(self, *, mutating: bool) -> aiohttp.ClientSession:
        if self.finished or not is_in_job():
            self.require_open()
        loop = asyncio.get_running_loop()
        session = self._sessions[mutating].get(loop)
        if session is None or session.closed:
            self._drop_closed_loops()
            session = self._sessions[mutating][loop] = self._open(loop, mutating=mutating)
            _open_sessions.add(session)
        return session

    def _drop_closed_loops(self) -> None:
        for sessions in self._sessions:
            for loop, session in self._closable(sessions):
                if loop.is_closed():
                    sessions.pop(loop, None)
                    session.detach()

    def _open(self, loop: asyncio.AbstractEventLoop, *, mutating: bool) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        if mutating:
            trace.on_connection_create_end.append(_mark_connected)
            trace.on_connection_reuseconn.append(_mark_connected)
        return aiohttp.ClientSession(
            connector=_Connector(
                # A pooled connection may have been closed by the server unseen: a mutation opens its own.
                force_close=mutating,
                limit=100,
                resolver=ThreadedResolver(loop=_LookupLoop(loop)),  # type: ignore[arg-type]
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            trace_configs=[trace] if mutating else None,
            middlewares=(_send_once,) if mutating else (),
            trust_env=False,
        )

    @staticmethod
    def _closable(sessions: _Sessions) -> list[tuple[asyncio.AbstractEventLoop, aiohttp.ClientSession]]:
        # From the references, which are copied at once: other threads add loops of theirs.
        loops = [loop for ref in sessions.keyrefs() if (loop := ref()) is not None]
        found = [(loop, session) for loop in loops if (session := sessions.get(loop)) is not None]
        return [(loop, session) for loop, session in found if not session.closed]

    async def close(self) -> None:
        """Close the sessions of the running loop."""
        loop = asyncio.get_running_loop()
        self._drop_closed_loops()
        for sessions in self._sessions:
            session = sessions.pop(loop, None)
            if session is not None:
                await session.close()

    def detach(self) -> None:
        """Let go of the sessions that nobody can close any more, those of the loops of users."""
        for loop, session in self._closable(self._reading):
            if not _keeper.owns(loop):
                self._reading.pop(loop, None)
                session.detach()

    def __del__(self) -> None:
        # aiohttp would warn of each session; the client has warned of all of them.
        for sessions in self._sessions:
            for _, session in self._closable(sessions):
                session.detach()


_CONNECTING = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


def _not_reached(error: aiohttp.ClientError | OSError, url: URL) -> NotSent:
    """What is told of a connection that was not obtained: the operating system's reason, not aiohttp's layers on it."""
    if isinstance(error, aiohttp.ClientConnectorError):
        proxy = "the proxy " if isinstance(error, aiohttp.ClientProxyConnectionError) else ""
        cause = error.os_error
        said = cause.strerror or str(cause) or type(cause).__name__
        if cause.errno and not isinstance(cause, socket.gaierror | SSLError):  # these have numbers of their own
            said = os.strerror(cause.errno)
        reason = f"no connection to {proxy}{error.host} port {error.port}: {said}"
        # Its traceback leads through these libraries alone.
        return NotSent(cause.with_traceback(None), reason=reason)
    reason = f"no connection to {url.host} port {url.port} in time" if isinstance(error, TimeoutError) else ""
    return NotSent(_bare(error), reason=reason)


def _bare(error: BaseException) -> BaseException:
    """`error` without the secrets of the request that aiohttp keeps in it: its headers, a proxy's password."""
    if isinstance(error, aiohttp.ClientResponseError):
        asked = error.request_info
        error.request_info = asked._replace(
            headers=CIMultiDictProxy(CIMultiDict()), real_url=asked.real_url.with_user(None)
        )
        error.args = (error.request_info, error.history)
    return error


async def _read_capped(response: aiohttp.ClientResponse) -> bytes | None:
    try:
        return await _read(response)
    except aiohttp.ClientPayloadError as error:
        # aiohttp gives up on bodies of very many compressed members: a matter of size, not a loss.
        if _is_about_size(error):
            return None
        raise


def _is_about_size(error: BaseException | None) -> bool:
    """Whether aiohttp's reason, whose class is private and has changed, is the size of what it inflated."""
    while error is not None:
        if type(error).__name__ in ("DecompressSizeError", "TooManyMembersError"):
            return True
        error = error.__cause__ or error.__context__
    return False


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    content = response.content
    body = await content.readany()
    if content.at_eof() and len(body) <= MAX_BODY:
        return body
    chunks, size = [body], len(body)
    while size <= MAX_BODY:
        chunk = await content.readany()
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        size += len(chunk)
    response.close()
    return None


def require_asyncio() -> None:
    """Raises ConfigurationError where no asyncio loop is running, as under trio."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError("inferlease runs on asyncio only: no asyncio event loop is running here") from None


# ---- where to -------------------------------------------------------------------------------------


def is_loopback(url: URL) -> bool:
    host = url.host or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def checked_base_url(base_url: str) -> str:
    """`base_url` without a trailing slash; raises ConfigurationError where a secret must not go there."""
    try:
        url = URL(base_url)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host or "@" in url.raw_authority or url.query or url.fragment:
        shown = "(not shown, as it may hold a password)" if "@" in base_url else repr(base_url)
        raise ConfigurationError(f"base_url {shown:.200} is not a plain http(s) URL such as https://host/api/v1")
    if url.scheme == "http" and not is_loopback(url):
        raise ConfigurationError(f"base_url {base_url!r:.200} would send secrets in the clear: use https")
    return str(url).rstrip("/")


def _checked_proxy(proxy: str) -> str:
    try:
        url = URL(proxy)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(
            "the proxy (not shown, as it may hold a password) is not a URL such as http://host:3128"
        )
    return proxy


def _proxy_for(url: URL, proxy: str | bool | None) -> str | None:
    if proxy is False or url.host is None or is_loopback(url):
        return None
    if isinstance(proxy, str):
        return _checked_proxy(proxy)
    proxies = getproxies_environment()
    if proxy_bypass_environment(f"{url.host}:{url.port}", proxies):
        return None
    found = proxies.get(url.scheme)
    return _checked_proxy(found) if found else None


# ---- fork -----------------------------------------------------------------------------------------

_open_sessions: WeakSet[aiohttp.ClientSession] = WeakSet()
_inherited: list[object] = []


def _after_fork_in_child() -> None:
    for session in list(_open_sessions):
        _inherited.append(session.connector)
        with contextlib.suppress(Exception):
            session.detach()
    _open_sessions.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
